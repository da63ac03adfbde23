"""Keep a range of q."""

from __future__ import annotations

import math
from typing import ClassVar

from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.kernels.cut import cut
from gpusaxs.repair import MIN_POINTS
from gpusaxs.stages.base import NO_REQUESTS, Part, Requests, Stage, parameter


class Cut(Stage):
    """Keep the points from q_min to q_max, and leave out ends that the detector shadows."""

    reads: ClassVar[frozenset[Part]] = frozenset({"curve"})
    may_write: ClassVar[frozenset[Part]] = frozenset({"curve"})

    q_min: float | None = parameter(None, "Lowest q that is kept.", unit="1/nm", ge=0.0)
    q_max: float | None = parameter(None, "Highest q that is kept.", unit="1/nm", gt=0.0)
    skip_first: int = parameter(0, "Points left out at the low-q end.", unit="points", ge=0)
    skip_last: int = parameter(0, "Points left out at the high-q end.", unit="points", ge=0)
    trim_edges: bool = parameter(
        False, "Whether ends are left out that lie far below the level inside: beamstop, edges."
    )

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Move start and stop of each curve."""
        batch.launch(
            cut,
            rows,
            batch.q,
            batch.intensity,
            batch.start,
            batch.stop,
            batch.status,
            -math.inf if self.q_min is None else self.q_min,
            math.inf if self.q_max is None else self.q_max,
            self.skip_first,
            self.skip_last,
            self.trim_edges,
            MIN_POINTS,
        )
        return NO_REQUESTS
