"""Moving median."""

from __future__ import annotations

import math

from gpusaxs.kernels.curve_kernel import Row, Scratch, Shared, curve_kernel
from gpusaxs.kernels.select import median

# Standard deviation of a median over that of a mean, for many normal values.
_EFFICIENCY = math.sqrt(math.pi / 2.0)


@curve_kernel
def moving_median(
    intensity: Row, sigma: Row, window: Shared, smoothed: Row, noise: Row, work: Scratch
) -> None:
    """Median of `window` points (odd) around each point, shortened symmetrically at the ends.

    intensity, sigma, smoothed, noise : (points,) float64, the curve's own unit; noise is
    sqrt(pi / 2) times the standard uncertainty of the mean, its value for many normal points,
    and sigma itself where the window is one point.
    """
    points = intensity.shape[0]
    half = window // 2
    for i in range(points):
        reach = min(half, i, points - 1 - i)
        variance = 0.0
        for k in range(i - reach, i + reach + 1):
            work[k - i + reach] = intensity[k]
            variance += sigma[k] * sigma[k]
        count = 2 * reach + 1
        smoothed[i] = median(work, count)
        noise[i] = math.sqrt(variance) / count * (1.0 if reach == 0 else _EFFICIENCY)
