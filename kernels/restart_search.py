"""Point the search for peaks at the reduced curve."""

from __future__ import annotations

from gpusaxs.kernels.curve_kernel import Row, curve_kernel, device_function


@device_function
def start_again(intensity, sigma, residual, search, noise):  # type: ignore[no-untyped-def]
    """Copy the curve to where peaks are looked for and taken away; (points,) float64 each."""
    for i in range(intensity.shape[0]):
        residual[i] = intensity[i]
        search[i] = intensity[i]
        noise[i] = sigma[i]


@curve_kernel
def restart_search(intensity: Row, sigma: Row, residual: Row, search: Row, noise: Row) -> None:
    """Copy the curve to where peaks are looked for and taken away.

    intensity, sigma, residual, search, noise : (points,) float64, the curve's own unit
    """
    start_again(intensity, sigma, residual, search, noise)
