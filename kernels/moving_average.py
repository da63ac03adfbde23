"""Centred moving average."""

from __future__ import annotations

import math

from gpusaxs.kernels.curve_kernel import Row, Shared, curve_kernel


@curve_kernel
def moving_average(intensity: Row, sigma: Row, window: Shared, smoothed: Row, noise: Row) -> None:
    """Mean of `window` points (odd) around each point, shortened symmetrically at the ends.

    intensity, sigma, smoothed, noise : (points,) float64, the curve's own unit;
    noise is the standard uncertainty of smoothed for independent sigma.
    """
    points = intensity.shape[0]
    half = window // 2
    for i in range(points):
        reach = min(half, i, points - 1 - i)
        total = 0.0
        variance = 0.0
        for k in range(i - reach, i + reach + 1):
            total += intensity[k]
            variance += sigma[k] * sigma[k]
        count = 2 * reach + 1
        smoothed[i] = total / count
        noise[i] = math.sqrt(variance) / count
