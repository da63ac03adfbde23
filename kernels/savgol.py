"""Savitzky-Golay smoothing."""

from __future__ import annotations

import math

from gpusaxs.kernels.curve_kernel import Row, Shared, curve_kernel, device_function


@device_function
def edge_point(values, weights, first):  # type: ignore[no-untyped-def]
    """Sum of weights times values from `first` on."""
    total = 0.0
    for k in range(weights.shape[0]):
        total += weights[k] * values[first + k]
    return total


@device_function
def edge_noise(sigma, weights, first):  # type: ignore[no-untyped-def]
    """Standard uncertainty of `edge_point`."""
    total = 0.0
    for k in range(weights.shape[0]):
        part = weights[k] * sigma[first + k]
        total += part * part
    return math.sqrt(total)


@curve_kernel
def savgol(
    intensity: Row,
    sigma: Row,
    coefficients: Shared,
    edges: Shared,
    smoothed: Row,
    noise: Row,
) -> None:
    """Least-squares polynomial in a moving window (A. Savitzky, M.J.E. Golay 1964).

    The ends follow the polynomial of the first and last window, as SciPy's mode "interp". A curve
    shorter than the window is copied.

    intensity, sigma, smoothed, noise : (points,) float64, the curve's own unit
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
    inner = smoothed[half : points - half]
    inner_noise = noise[half : points - half]
    inside = points - 2 * half
    for i in range(inside):
        inner[i] = 0.0
        inner_noise[i] = 0.0
    for k in range(window):
        weight = coefficients[k]
        shifted = intensity[k : k + inside]
        spread = sigma[k : k + inside]
        for i in range(inside):
            inner[i] += weight * shifted[i]
            inner_noise[i] += (weight * spread[i]) * (weight * spread[i])
    for i in range(inside):
        inner_noise[i] = math.sqrt(inner_noise[i])
    for i in range(half):
        smoothed[i] = edge_point(intensity, edges[i], 0)
        noise[i] = edge_noise(sigma, edges[i], 0)
        smoothed[points - 1 - i] = edge_point(intensity, edges[i, ::-1], points - window)
        noise[points - 1 - i] = edge_noise(sigma, edges[i, ::-1], points - window)
