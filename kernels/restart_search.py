"""Point the search for peaks at the reduced curve."""

from __future__ import annotations

from gpusaxs.kernels.curve_kernel import Row, curve_kernel


@curve_kernel
def restart_search(intensity: Row, sigma: Row, residual: Row, search: Row, noise: Row) -> None:
    """Copy the curve to where peaks are looked for and taken away.

    intensity, sigma, residual, search, noise : (points,) float64, the curve's own unit
    """
    for i in range(intensity.shape[0]):
        residual[i] = intensity[i]
        search[i] = intensity[i]
        noise[i] = sigma[i]
