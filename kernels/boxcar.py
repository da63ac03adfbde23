"""Running mean as `numpy.convolve` takes it."""

from __future__ import annotations

from gpusaxs.kernels.curve_kernel import Row, Shared, curve_kernel


@curve_kernel
def boxcar(intensity: Row, sigma: Row, window: Shared, smoothed: Row, noise: Row) -> None:
    """``numpy.convolve(intensity, ones(window) / window, "same")``, sigma left as it is.

    The mean of `window` points about each point, zeros beyond the ends; of an even window one
    point more lies before the point than after it.

    intensity, sigma, smoothed, noise : (points,) float64, the curve's own unit
    """
    points = intensity.shape[0]
    for i in range(points):
        smoothed[i] = 0.0
        noise[i] = sigma[i]
    # One distance after the other, for all points that reach so far: long loops over neighbours.
    for back in range(min(window // 2, points - 1), 0, -1):
        reaching = smoothed[back:]
        for i in range(points - back):
            reaching[i] += intensity[i]
    for ahead in range(min((window + 1) // 2, points)):
        after = intensity[ahead:]
        for i in range(points - ahead):
            smoothed[i] += after[i]
    for i in range(points):
        smoothed[i] /= window
