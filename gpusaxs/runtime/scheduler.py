"""Which launch comes next: plain objects, without threads, asyncio or arrays on a device."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np

from gpusaxs.backends import IndexArray


@dataclass(frozen=True, slots=True)
class Launch:
    """One stage over the rows that wait for it."""

    stage_num: int
    stage: str
    rows: IndexArray


@dataclass(slots=True)
class Scheduler:
    """A priority queue of rows that wait for a stage.

    The lowest stage number goes first, so slow curves catch up while fast ones wait. All rows
    that wait for the same stage become one launch. Among stages of one number the one whose
    first row came first goes first; rows keep the order of their arrival.
    """

    _order: list[tuple[int, int, str]] = field(default_factory=list)
    _waiting: dict[tuple[int, str], list[IndexArray]] = field(default_factory=dict)
    _arrivals: int = 0

    def push(self, stage_num: int, stage: str, rows: IndexArray) -> None:
        """Let `rows` wait for a stage."""
        if rows.size == 0:
            return
        key = (stage_num, stage)
        if key not in self._waiting:
            self._waiting[key] = []
            heapq.heappush(self._order, (stage_num, self._arrivals, stage))
        self._waiting[key].append(rows)
        self._arrivals += 1

    def pop(self) -> Launch | None:
        """Take the next launch, or None when nothing waits."""
        if not self._order:
            return None
        stage_num, _, stage = heapq.heappop(self._order)
        rows = np.concatenate(self._waiting.pop((stage_num, stage)))
        return Launch(stage_num, stage, rows)

    def waiting(self) -> int:
        """Number of rows that wait."""
        return sum(rows.size for parts in self._waiting.values() for rows in parts)
