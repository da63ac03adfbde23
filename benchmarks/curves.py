"""Curves to measure with: 1,000 points, any phase, so many lines or peaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import gpusaxs
from gpusaxs.simulate import Simulation, simulate

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

    def seven(drawn: Simulation) -> NDArray[np.bool_]:
        return np.array(drawn.truth["visible"].to_pylist()) == LINES

    return _repeated(curves, different, points, seven)


def curves_with_peaks(peaks: int, curves: int, different: int = 200, points: int = 1000) -> Curves:
    """Draw `different` curves in which so many peaks are found and fitted, and repeat them."""

    def found(drawn: Simulation) -> NDArray[np.bool_]:
        result = gpusaxs.process(
            drawn.q, drawn.intensity, drawn.sigma, q_unit="1/nm", backend="numpy"
        )
        return result.samples["n_peaks"].to_numpy() == peaks

    return _repeated(curves, different, points, found)


def _repeated(
    curves: int, different: int, points: int, wanted: Callable[[Simulation], NDArray[np.bool_]]
) -> Curves:
    different = min(curves, different)
    intensity: list[FloatArray] = []
    sigma: list[FloatArray] = []
    seed = 1
    while len(intensity) < different:
        drawn = simulate(_DRAWN, seed=seed, counts=COUNTS, points=points)
        chosen = wanted(drawn)
        intensity += list(drawn.intensity[chosen])
        sigma += list(drawn.sigma[chosen])
        seed += 1
    places = np.arange(curves) % different
    return Curves(drawn.q, np.array(intensity)[places], np.array(sigma)[places])
