"""The height of a line whose place and shape are known, above a straight line."""

from __future__ import annotations

import math

from gpusaxs.kernels.curve_kernel import device_function
from gpusaxs.kernels.elementary import exp_minus
from gpusaxs.kernels.process_peak import lower_bound

_LN2 = math.log(2.0)
# Half the window, in FWHM.
_REACH = 2.0
_FEWEST_POINTS = 6


@device_function
def height_alone(q, intensity, sigma, centre, fwhm):  # type: ignore[no-untyped-def]
    """Fit the height of a Gaussian on a straight line within 2 FWHM by weighted least squares.

    q, intensity, sigma : (points,) float64, q and FWHM in 1/nm

    Returns
    -------
    height, sigma, reduced_chi2
        0, inf and 1 where there are too few points.
    """
    first = lower_bound(q, centre - _REACH * fwhm)
    last = lower_bound(q, centre + _REACH * fwhm)
    if last - first < _FEWEST_POINTS:
        return 0.0, math.inf, 1.0
    s00 = s01 = s02 = s11 = s12 = s22 = 0.0
    t0 = t1 = t2 = tt = 0.0
    inverse = 2.0 / fwhm
    for i in range(first, last):
        u = (q[i] - centre) * inverse
        g = exp_minus(_LN2 * u * u)
        w = 1.0 / (sigma[i] * sigma[i])
        y = intensity[i]
        s00 += w * g * g
        s01 += w * g
        s02 += w * g * u
        s11 += w
        s12 += w * u
        s22 += w * u * u
        t0 += w * g * y
        t1 += w * y
        t2 += w * u * y
        tt += w * y * y
    # The level and the slope go first; what is left belongs to the height.
    det = s11 * s22 - s12 * s12
    if not det > 0.0:
        return 0.0, math.inf, 1.0
    a1 = (s01 * s22 - s02 * s12) / det
    a2 = (s02 * s11 - s01 * s12) / det
    information = s00 - a1 * s01 - a2 * s02
    if not information > 1e-9 * s00:
        return 0.0, math.inf, 1.0
    height = (t0 - a1 * t1 - a2 * t2) / information
    b1 = (t1 * s22 - t2 * s12) / det
    b2 = (t2 * s11 - t1 * s12) / det
    chi2 = tt - b1 * t1 - b2 * t2 - height * height * information
    return height, 1.0 / math.sqrt(information), chi2 / (last - first - 3)
