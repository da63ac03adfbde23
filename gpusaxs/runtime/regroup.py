"""Samples that have passed a stage and wait to be regrouped or released from a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from gpusaxs.backends import IndexArray


@dataclass(slots=True)
class RegroupPool:
    """Holds rows by the stage they wait for.

    A stage number in `checkpoints` holds every row that arrives there until all rows that can
    still arrive have: those still moving below it. Rows that finished or failed block nothing.
    """

    checkpoints: frozenset[int] = frozenset()
    _held: dict[int, list[IndexArray]] = field(default_factory=dict)

    def set_checkpoints(self, stage_nums: Iterable[int]) -> None:
        """Hold rows at these stages from now on."""
        self.checkpoints = frozenset(stage_nums)

    def add(self, stage_num: int, rows: IndexArray) -> None:
        """Hold rows that wait for a stage."""
        if rows.size:
            self._held.setdefault(stage_num, []).append(rows)

    def held(self, stage_num: int) -> int:
        """Number of rows held at a stage."""
        return sum(rows.size for rows in self._held.get(stage_num, []))

    def regroup(self, min_stage: int) -> dict[int, IndexArray]:
        """Take every row held at `min_stage` or beyond, by stage; the rest stays.

        Each row is handed out once, in the order of its arrival.
        """
        ready = sorted(stage for stage in self._held if stage >= min_stage)
        return {stage: np.concatenate(self._held.pop(stage)) for stage in ready}

    def checkpoint_ready(self, stage_num: int, moving_below: int) -> bool:
        """Whether a checkpoint can release what it holds.

        Parameters
        ----------
        stage_num
            The checkpoint.
        moving_below
            Rows that still move at stages below it, held ones included.
        """
        return self.held(stage_num) > 0 and moving_below == 0
