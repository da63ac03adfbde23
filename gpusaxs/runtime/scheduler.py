"""Which launch comes next: plain objects, without threads, asyncio or arrays on a device."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpusaxs.backends import IndexArray


class Launch(NamedTuple):
    """One stage over rows that wait for it."""

    stage_num: int
    stage: str
    rows: IndexArray


_Key = tuple[int, str, int | None]
"""Number and name of a stage; and the run whose rows are a launch of their own, if they are."""


@dataclass(slots=True)
class Scheduler:
    """A priority queue of rows that wait for a stage.

    The lowest stage number goes first, so slow curves catch up while fast ones wait. All rows
    that wait for the same stage become one launch. Among stages of one number the one whose
    first row came first goes first; rows keep the order of their arrival.
    """

    _order: list[tuple[int, int, _Key]] = field(default_factory=list)
    _waiting: dict[_Key, list[IndexArray]] = field(default_factory=dict)
    _arrivals: int = 0

    def push(self, stage_num: int, stage: str, rows: IndexArray, apart: int | None = None) -> None:
        """Let `rows` wait for a stage.

        Parameters
        ----------
        apart
            Number of the run whose rows become one launch, however many they are, without others.
        """
        if rows.size == 0:
            return
        key = (stage_num, stage, apart)
        if key not in self._waiting:
            self._waiting[key] = []
            heapq.heappush(self._order, (stage_num, self._arrivals, key))
        self._waiting[key].append(rows)
        self._arrivals += 1

    def pop(self, most: int | None = None) -> Launch | None:
        """Take the next launch, or None when nothing waits.

        Parameters
        ----------
        most
            Rows that one launch may have; the rest keeps its turn.
        """
        if not self._order:
            return None
        key = self._order[0][2]
        stage_num, stage, apart = key
        parts = self._waiting[key]
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if most is not None and apart is None and rows.size > most:
            self._waiting[key] = [rows[most:]]
            return Launch(stage_num, stage, rows[:most])
        heapq.heappop(self._order)
        del self._waiting[key]
        return Launch(stage_num, stage, rows)

    def waiting(self) -> int:
        """Number of rows that wait."""
        return sum(rows.size for parts in self._waiting.values() for rows in parts)

    def remove(self, rows: IndexArray) -> dict[int, IndexArray]:
        """Take these rows out wherever they wait; return those that did, by stage number."""
        return self._take_out(lambda key, waiting: np.isin(waiting, rows))

    def take_from(self, min_stage: int) -> dict[int, IndexArray]:
        """Take out every row that waits for stage `min_stage` or a later one, by stage number."""
        return self._take_out(lambda key, waiting: np.full(waiting.size, key[0] >= min_stage))

    def _take_out(
        self, chosen: Callable[[_Key, IndexArray], NDArray[np.bool_]]
    ) -> dict[int, IndexArray]:
        taken: dict[int, IndexArray] = {}
        for key, parts in list(self._waiting.items()):
            waiting = np.concatenate(parts)
            out = chosen(key, waiting)
            if not out.any():
                continue
            earlier = taken.get(key[0], waiting[:0])
            taken[key[0]] = np.concatenate([earlier, waiting[out]])
            if out.all():
                del self._waiting[key]
            else:
                self._waiting[key] = [waiting[~out]]
        if taken:
            self._order = [entry for entry in self._order if entry[2] in self._waiting]
            heapq.heapify(self._order)
        return taken
