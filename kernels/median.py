"""Moving median."""

from __future__ import annotations

import math

from gpusaxs.kernels.curve_kernel import Row, Scratch, Shared, curve_kernel, device_function
from gpusaxs.kernels.moving_average import mean_noise, reach_of

# Standard deviation of a median over that of a mean, for many normal values.
_EFFICIENCY = math.sqrt(math.pi / 2.0)


@device_function
def insert(ordered, count, value):  # type: ignore[no-untyped-def]
    """Put a value in its place among the first `count`, which are in ascending order."""
    k = count
    while k > 0 and ordered[k - 1] > value:
        ordered[k] = ordered[k - 1]
        k -= 1
    ordered[k] = value


@device_function
def replace(ordered, count, old, new):  # type: ignore[no-untyped-def]
    """Put a value in the place of another among the first `count`, and keep them in order."""
    k = 0
    while k < count - 1 and ordered[k] < old:
        k += 1
    while k < count - 1 and ordered[k + 1] < new:
        ordered[k] = ordered[k + 1]
        k += 1
    while k > 0 and ordered[k - 1] > new:
        ordered[k] = ordered[k - 1]
        k -= 1
    ordered[k] = new


@curve_kernel
def moving_median(
    intensity: Row,
    sigma: Row,
    window: Shared,
    smoothed: Row,
    noise: Row,
    ordered: Scratch,
    variance: Scratch,
) -> None:
    """Median of `window` points (odd) around each point, shortened symmetrically at the ends.

    intensity, sigma, smoothed, noise : (points,) float64, the curve's own unit

    noise is sqrt(pi / 2) times the standard uncertainty of the mean over the same points: the
    standard uncertainty of the median of many normal values of like sigma, up to 9 % too large
    for few of them. Where the window is one point it is sigma itself.
    """
    points = intensity.shape[0]
    if points == 0:
        return
    last = points - 1
    half = min(window // 2, last // 2)
    # Windows grow by two points up to the full one, which moves, and shrink again.
    for i in range(half + 1):
        if i > 0:
            insert(ordered, 2 * i - 1, intensity[2 * i - 1])
        insert(ordered, 2 * i, intensity[2 * i])
        smoothed[i] = ordered[i]
    for i in range(half + 1, points - half):
        replace(ordered, 2 * half + 1, intensity[i - half - 1], intensity[i + half])
        smoothed[i] = ordered[half]
    for k in range(half):
        lowest = last - 2 * k
        if k > 0:
            insert(ordered, 2 * k - 1, intensity[lowest + 1])
        insert(ordered, 2 * k, intensity[lowest])
        smoothed[last - k] = ordered[k]
    mean_noise(sigma, window, variance, noise)
    for i in range(points):
        if reach_of(i, points, window) > 0:
            noise[i] *= _EFFICIENCY
