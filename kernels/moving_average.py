"""Centred moving average."""

from __future__ import annotations

import math

from gpusaxs.kernels.curve_kernel import Row, Scratch, Shared, curve_kernel, device_function


@device_function
def reach_of(i, points, window):  # type: ignore[no-untyped-def]
    """Points on either side of point `i` in its window, which is shortened at the ends."""
    return min(window // 2, i, points - 1 - i)


@device_function
def sum_windows(values, window, total):  # type: ignore[no-untyped-def]
    """Write the sum of the values in the window around each point."""
    points = values.shape[0]
    for i in range(points):
        total[i] = values[i]
    # One distance after the other, for all points that reach so far: long loops over neighbours.
    for reach in range(1, min(window // 2, (points - 1) // 2) + 1):
        inside = points - 2 * reach
        centre = total[reach : reach + inside]
        before = values[:inside]
        after = values[2 * reach :]
        for i in range(inside):
            centre[i] += before[i] + after[i]


@device_function
def mean_noise(sigma, window, variance, noise):  # type: ignore[no-untyped-def]
    """Write the standard uncertainty of the mean over the window around each point."""
    points = sigma.shape[0]
    for i in range(points):
        variance[i] = sigma[i] * sigma[i]
    sum_windows(variance, window, noise)
    for i in range(points):
        noise[i] = math.sqrt(noise[i]) / (2 * reach_of(i, points, window) + 1)


@curve_kernel
def moving_average(
    intensity: Row, sigma: Row, window: Shared, smoothed: Row, noise: Row, variance: Scratch
) -> None:
    """Mean of `window` points (odd) around each point, shortened symmetrically at the ends.

    intensity, sigma, smoothed, noise : (points,) float64, the curve's own unit;
    noise is the standard uncertainty of smoothed for independent sigma.
    """
    points = intensity.shape[0]
    sum_windows(intensity, window, smoothed)
    for i in range(points):
        smoothed[i] /= 2 * reach_of(i, points, window) + 1
    mean_noise(sigma, window, variance, noise)
