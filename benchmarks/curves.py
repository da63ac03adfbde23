"""Curves to measure with: 1,000 points, one phase, seven lines that can be seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpusaxs.simulate import simulate

FloatArray = NDArray[np.float64]

LINES = 7
COUNTS = 20000.0
_DRAWN = 500


@dataclass(frozen=True)
class Curves:
    """q (points,) in 1/nm; intensity and sigma (curves, points)."""

    q: FloatArray
    intensity: FloatArray
    sigma: FloatArray

    def __len__(self) -> int:
        return len(self.intensity)

    def first(self, number: int) -> Curves:
        """Return the first curves."""
        return Curves(self.q, self.intensity[:number], self.sigma[:number])


def seven_line_curves(curves: int, different: int = 200, points: int = 1000) -> Curves:
    """Draw `different` curves of any phase with seven visible lines, and repeat them."""
    different = min(curves, different)
    intensity: list[FloatArray] = []
    sigma: list[FloatArray] = []
    seed = 1
    while len(intensity) < different:
        drawn = simulate(_DRAWN, seed=seed, counts=COUNTS, points=points)
        seven = np.array(drawn.truth["visible"].to_pylist()) == LINES
        intensity += list(drawn.intensity[seven])
        sigma += list(drawn.sigma[seven])
        seed += 1
    chosen = np.arange(curves) % different
    return Curves(drawn.q, np.array(intensity)[chosen], np.array(sigma)[chosen])
