"""Check sigma against the noise that the curve shows."""

from __future__ import annotations

import math
from typing import ClassVar

from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.kernels.noise import noise
from gpusaxs.stages.base import NO_REQUESTS, Part, Requests, Stage, parameter


class Noise(Stage):
    """Estimate sigma where it is missing, and rescale it where it is wrong.

    The curve's noise is the robust spread of its fourth differences. sigma that agrees with it is
    left alone; the status says what was done.
    """

    reads: ClassVar[frozenset[Part]] = frozenset({"curve"})
    may_write: ClassVar[frozenset[Part]] = frozenset({"curve"})

    check: bool = parameter(
        True, "Whether sigma is checked where it is known; where unknown it is always estimated."
    )
    tolerance: float = parameter(
        1.3, "Ratio of the curve's noise to sigma, either way, that is accepted.", gt=1.0
    )
    local_excess: float = parameter(
        2.0, "The same for a block of the curve, upwards: scatter at the beamstop.", gt=1.0
    )
    least_ratio: float = parameter(0.2, "sigma is never scaled down by more.", gt=0.0, le=1.0)
    block: int = parameter(64, "Length of a block.", unit="points", ge=16)

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Check each curve."""
        batch.launch(
            noise,
            rows,
            batch.intensity,
            batch.sigma,
            batch.status,
            batch.start,
            self.tolerance if self.check else math.inf,
            self.local_excess if self.check else math.inf,
            self.least_ratio,
            self.block,
        )
        batch.restart_search(rows)
        return NO_REQUESTS
