"""Savitzky-Golay smoothing."""

from __future__ import annotations

import math

from gpusaxs.kernels.curve_kernel import Row, Scratch, Shared, curve_kernel, device_function

# Terms of a sum that are added in one go: each go reads and writes the whole row of sums.
_TERMS = 4


@device_function
def weight_of(weights, k, squared):  # type: ignore[no-untyped-def]
    """Weight of a window's point, or its square; zero beyond the window."""
    if k >= weights.shape[0]:
        return 0.0
    return weights[k] * weights[k] if squared else weights[k]


@device_function
def sum_windows(values, weights, squared, total):  # type: ignore[no-untyped-def]
    """Write the sum of weights (or their squares) times values for each whole window.

    values : (points,); weights : (window,); total : (points - window + 1,), written
    """
    inside = total.shape[0]
    last = weights.shape[0] - 1
    for i in range(inside):
        total[i] = 0.0
    for k in range(0, last + 1, _TERMS):
        weight0 = weight_of(weights, k, squared)
        weight1 = weight_of(weights, k + 1, squared)
        weight2 = weight_of(weights, k + 2, squared)
        weight3 = weight_of(weights, k + 3, squared)
        values0 = values[k : k + inside]
        values1 = values[min(k + 1, last) : min(k + 1, last) + inside]
        values2 = values[min(k + 2, last) : min(k + 2, last) + inside]
        values3 = values[min(k + 3, last) : min(k + 3, last) + inside]
        for i in range(inside):
            total[i] += (weight0 * values0[i] + weight1 * values1[i]) + (
                weight2 * values2[i] + weight3 * values3[i]
            )


@device_function
def edge_sum(values, weights, squared):  # type: ignore[no-untyped-def]
    """Sum of weights (or their squares) times as many values."""
    total = 0.0
    for k in range(weights.shape[0]):
        total += weight_of(weights, k, squared) * values[k]
    return total


@curve_kernel
def savgol(
    intensity: Row,
    sigma: Row,
    coefficients: Shared,
    edges: Shared,
    smoothed: Row,
    noise: Row,
    variance: Scratch,
) -> None:
    """Least-squares polynomial in a moving window (A. Savitzky, M.J.E. Golay 1964).

    The ends follow the polynomial of the first and last window, as SciPy's mode "interp". A curve
    shorter than the window is copied, unsmoothed.

    intensity, sigma, smoothed, noise : (points,) float64, the curve's own unit; noise is the
        standard uncertainty of smoothed for independent sigma
    coefficients : (window,) float64; edges : (window // 2, window) float64, the weights of the
        first points; those of the last are the same, mirrored
    """
    points = intensity.shape[0]
    window = coefficients.shape[0]
    half = window // 2
    if points < window:
        for i in range(points):
            smoothed[i] = intensity[i]
            noise[i] = sigma[i]
        return
    for i in range(points):
        variance[i] = sigma[i] * sigma[i]
    sum_windows(intensity, coefficients, False, smoothed[half : points - half])
    sum_windows(variance, coefficients, True, noise[half : points - half])
    for i in range(half):
        j = points - 1 - i
        mirrored = edges[i, ::-1]
        smoothed[i] = edge_sum(intensity[:window], edges[i], False)
        smoothed[j] = edge_sum(intensity[points - window :], mirrored, False)
        noise[i] = edge_sum(variance[:window], edges[i], True)
        noise[j] = edge_sum(variance[points - window :], mirrored, True)
    for i in range(points):
        noise[i] = math.sqrt(noise[i])
