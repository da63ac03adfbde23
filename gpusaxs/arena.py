"""A batch in which curves come and go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpusaxs.backends import Backend, IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.sample import Sample

MIN_CURVES = 64
MIN_POINTS = 256


class Arena:
    """Holds curves of any length in one batch; the rows of those that left are used again.

    Where a row stands changes nothing about a curve's result. The batch is replaced by a larger
    one when there is no room: take `batch` anew after `add`.
    """

    def __init__(self, backend: Backend) -> None:
        self.batch = SampleBatch.blank(MIN_CURVES, MIN_POINTS, backend)
        self._free = list(reversed(range(MIN_CURVES)))

    def add(self, samples: Sequence[Sample]) -> IndexArray:
        """Take in curves; return their rows."""
        arrived = SampleBatch.from_samples(samples, self.batch.backend)
        self._make_room(len(samples), arrived.intensity.shape[1])
        rows = np.array([self._free.pop() for _ in samples], np.int64)
        self.batch.put(rows, arrived.take(np.arange(len(samples))))
        for row, sample in zip(rows.tolist(), samples, strict=True):
            self.batch.ids[row] = sample.id
        return rows

    def free(self, rows: IndexArray) -> None:
        """Let the places of curves be used again."""
        self._free += rows.tolist()

    def _make_room(self, curves: int, points: int) -> None:
        had, width = self.batch.intensity.shape
        missing = curves - len(self._free)
        if missing <= 0 and points <= width:
            return
        capacity = had if missing <= 0 else max(2 * had, had + missing)
        larger = SampleBatch.blank(capacity, max(points, width), self.batch.backend)
        for stage, numbers in self.batch.number_columns.items():
            larger.number_table(stage, numbers)
        used = np.arange(had)
        larger.put(used, self.batch.take(used))
        larger.ids[:had] = self.batch.ids
        larger.reasons = self.batch.reasons
        larger.known = self.batch.known
        self._free = [*reversed(range(had, capacity)), *self._free]
        self.batch = larger
