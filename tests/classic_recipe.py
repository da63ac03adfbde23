"""The older program's recipe as a plain SciPy script: what the preset `classic` is held to.

q is in 1/angstrom here, as the recipe's numbers want it. Where its description leaves a choice,
this is the reading that gives the numbers known of it: the cut comes before the smoothing; rows
count before those with NaN are left out; `curve_fit` is given sigma, for the background and for
the peaks; min(diff q) is that of the cut curve; max I that of what is left of it; and a window
"k +- h" is the slice from k - h up to, not with, k + h, like the k - 2 to k + 1 of the parabola.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.signal import find_peaks

FloatArray = NDArray[np.float64]

CUT = 100
WINDOW = 10
SHARE = 0.7
MAX_PASSES = 32
RATIOS = {
    "Pn-3m": [2, 3, 4, 6, 8, 9, 10, 11, 12, 14, 16, 17, 18, 19, 20, 21, 22, 24, 26, 27],
    "Im-3m": [2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 30, 32],
    "Ia-3d": [6, 8, 14, 16, 20, 22, 24, 26, 30, 32, 38, 40, 42],
}


class Pass(NamedTuple):
    """A peak, and the curve before and after it was taken away."""

    index: int
    parabola_s: float
    s: float
    height: float
    before: FloatArray
    after: FloatArray


def power_law(q: FloatArray, a: float, b: float) -> FloatArray:
    return b * q**-a


def smoothed(intensity: FloatArray) -> FloatArray:
    return np.convolve(intensity, np.ones(WINDOW) / WINDOW, "same")


def fit_background(q: FloatArray, curve: FloatArray, sigma: FloatArray) -> FloatArray:
    """The exponent a and the factor b."""
    best, _ = curve_fit(power_law, q, curve, (3, 2), sigma)
    return best


def found(curve: FloatArray) -> NDArray[np.intp]:
    return find_peaks(curve, height=0.5, prominence=0.3, distance=10)[0]


def fit_about(
    k: int, q: FloatArray, curve: FloatArray, sigma: FloatArray
) -> tuple[float, float, float]:
    """s of the parabola; s and A of the Gaussian.

    Raises
    ------
    ValueError, RuntimeError
        As `curve_fit` does: the Gaussian has no window, or 200 evaluations are not enough.
    """

    def parabola(x: FloatArray, s: float, height: float) -> FloatArray:
        return height * (1 - (x - q[k]) ** 2 / s**2)

    def gaussian(x: FloatArray, s: float, height: float) -> FloatArray:
        return height * np.exp(-((x - q[k]) ** 2) / s**2)

    def fit(model: Any, half: int) -> Any:
        window = slice(max(k - half, 0), k + half)
        with warnings.catch_warnings():
            # Of two points there is no covariance.
            warnings.simplefilter("ignore", OptimizeWarning)
            best, _ = curve_fit(model, q[window], curve[window], sigma=sigma[window], bounds=bounds)
        return best

    step = np.diff(q).min()
    bounds = ([step**2, 1.0], [0.05, 4.0 * curve.max()])
    parabola_s, _ = fit(parabola, 2)
    s, height = fit(gaussian, int(parabola_s / step))
    return parabola_s, s, height


def passes(q: FloatArray, reduced: FloatArray, sigma: FloatArray) -> Iterator[Pass]:
    """Take one peak after another away until none is left, or a fit fails."""
    curve = reduced
    for _ in range(MAX_PASSES):
        peaks = found(curve)
        if not peaks.size:
            return
        k = int(peaks[np.argmax(curve[peaks])])
        try:
            parabola_s, s, height = fit_about(k, q, curve, sigma)
        except (ValueError, RuntimeError):
            return
        after = np.maximum(curve - height * np.exp(-((q - q[k]) ** 2) / s**2), 0.0)
        yield Pass(k, parabola_s, s, height, curve, after)
        curve = after


def reduced_curve(
    q: FloatArray, intensity: FloatArray, sigma: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """q, what is left without the background, sigma, and (a, b)."""
    q, sigma = q[CUT:], sigma[CUT:]
    curve = smoothed(intensity[CUT:])
    fitted = fit_background(q, curve, sigma)
    return q, curve - SHARE * power_law(q, *fitted), sigma, fitted


def phase_of(positions: list[float]) -> str | None:
    """Name of the phase."""
    if not positions:
        return None
    if len(positions) == 1:
        return "lamellar"
    observed = np.sort(positions)[1:] / min(positions)
    with np.errstate(divide="ignore"):
        likeness = {
            name: sum(
                1.0 / abs(np.sqrt(n / squares[0]) - ratio)
                for n, ratio in zip(squares[1:], observed, strict=False)
            )
            for name, squares in RATIOS.items()
        }
    return max(likeness, key=lambda name: likeness[name])
