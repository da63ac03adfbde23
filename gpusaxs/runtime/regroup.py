"""Where the rows of one run stand, and who waits for whom at a checkpoint: plain objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from gpusaxs.backends import IndexArray

Reach = Mapping[int, frozenset[int]]
"""For each stage number, the stages at which a row that stands there can still arrive."""


@dataclass(slots=True)
class RegroupPool:
    """Rows of one run by stage number: those that move, and those held at a checkpoint.

    A checkpoint holds every row that arrives until all rows that still can have arrived. Rows
    that ended or failed block nothing. Of checkpoints at which each other's rows can arrive the
    lowest goes first: rows held further on never block it, so one of them is always ready.

    Parameters
    ----------
    reach
        Where a row can still arrive, by the stage at which it stands.
    checkpoints
        Stage numbers that hold what arrives.
    entry_stage
        The stage number at which new rows enter, as long as the run is `open` for more.
    """

    reach: Reach
    checkpoints: frozenset[int] = frozenset()
    entry_stage: int = 0
    open: bool = False
    _moving: Counter[int] = field(default_factory=Counter)
    _held: dict[int, list[IndexArray]] = field(default_factory=dict)

    def set_checkpoints(self, stage_nums: Iterable[int]) -> None:
        """Hold rows that arrive at these stages from now on."""
        self.checkpoints = frozenset(stage_nums)

    def arrive(self, stage_num: int, rows: IndexArray) -> bool:
        """Note rows that have come to a stage; return whether they are held there."""
        if rows.size == 0:
            return False
        if stage_num in self.checkpoints:
            self._held.setdefault(stage_num, []).append(rows)
            return True
        self._moving[stage_num] += rows.size
        return False

    def leave(self, stage_num: int, count: int) -> None:
        """Note that `count` rows that moved have left a stage."""
        self._moving[stage_num] -= count

    def held(self, stage_num: int) -> int:
        """Number of rows held at a stage."""
        return sum(rows.size for rows in self._held.get(stage_num, []))

    def regroup(self, min_stage: int) -> dict[int, IndexArray]:
        """Take every row held at `min_stage` or beyond, by stage number; the rest stays.

        Each row is handed out once, in the order of its arrival.
        """
        ready = sorted(stage for stage in self._held if stage >= min_stage)
        return {stage: np.concatenate(self._held.pop(stage)) for stage in ready}

    def remove(self, rows: IndexArray) -> IndexArray:
        """Take these rows out wherever they are held; return those that were."""
        taken = [np.empty(0, np.int64)]
        for stage, parts in list(self._held.items()):
            held = np.concatenate(parts)
            out = np.isin(held, rows)
            taken.append(held[out])
            self._held[stage] = [held[~out]]
            if out.all():
                del self._held[stage]
        return np.concatenate(taken)

    def checkpoint_ready(self, stage_num: int) -> bool:
        """Whether rows are held at a checkpoint and none that could still arrive is missing."""
        if not self.held(stage_num):
            return False
        coming = {stage for stage, count in self._moving.items() if count}
        coming |= {stage for stage in self._held if stage < stage_num}
        return not self._can_enter(stage_num) and not any(
            stage_num in self.reach[stage] for stage in coming
        )

    def _can_enter(self, stage_num: int) -> bool:
        entry = self.entry_stage
        return self.open and (stage_num == entry or stage_num in self.reach[entry])

    def ready(self) -> int | None:
        """Return the lowest checkpoint that is ready, or None."""
        return next((stage for stage in sorted(self._held) if self.checkpoint_ready(stage)), None)

    def release(self, stage_num: int) -> IndexArray:
        """Take the rows held at a checkpoint; from now on they move."""
        rows = np.concatenate(self._held.pop(stage_num))
        self._moving[stage_num] += rows.size
        return rows
