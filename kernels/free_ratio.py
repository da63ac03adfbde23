"""Lattices with two parameters: where their reflections are, and the ratio of their axes."""

from __future__ import annotations

import math

from gpusaxs.kernels import bragg_lines as bragg
from gpusaxs.kernels.curve_kernel import device_function

# Ratios are scanned in steps of this share, within which no line leaves its tolerance.
_STEP = 0.008


@device_function
def place_reflections(planes, reflections, ratio, positions, order):  # type: ignore[no-untyped-def]
    """Write s of each reflection at a ratio of the axes, sorted, and which reflection it is.

    planes : (reflections, 2) float64, U and W of s^2 = U + W / ratio^2
    """
    inverse = 1.0 / (ratio * ratio)
    for k in range(reflections):
        s = math.sqrt(planes[k, 0] + planes[k, 1] * inverse)
        place = k
        while place > 0 and positions[place - 1] > s:
            positions[place] = positions[place - 1]
            order[place] = order[place - 1]
            place -= 1
        positions[place] = s
        order[place] = k


@device_function
def ratio_steps(low, high):  # type: ignore[no-untyped-def]
    """How many ratios a scan from `low` to `high` takes."""
    return int(math.log(high / low) / _STEP) + 2


@device_function
def ratio_at(low, high, step):  # type: ignore[no-untyped-def]
    """Ratio number `step` of a scan, evenly spaced in its logarithm."""
    return low * math.exp(math.log(high / low) * step / (ratio_steps(low, high) - 1))


@device_function
def fit_axes(lines, count, member, planes, order):  # type: ignore[no-untyped-def]
    """Weighted least squares of q^2 = X U + Y W on the lines that a phase matches.

    Returns beta = sqrt(X) = 2 pi / a and its sigma, the ratio sqrt(X / Y) and its sigma, and the
    reduced chi-squared; the sigmas grow with its root above one. NaN where the lines do not
    determine both axes.
    """
    uu = uw = ww = ty_u = ty_w = 0.0
    n = 0
    for j in range(count):
        k = int(lines[bragg.ASSIGNED + member, j])
        if k >= 0:
            q = lines[bragg.CENTRE, j]
            w = 1.0 / (2.0 * q * lines[bragg.CLOSE_SIGMA, j]) ** 2
            u, v = planes[order[k], 0], planes[order[k], 1]
            uu += w * u * u
            uw += w * u * v
            ww += w * v * v
            ty_u += w * u * q * q
            ty_w += w * v * q * q
            n += 1
    det = uu * ww - uw * uw
    if n < 3 or not det > 1e-9 * uu * ww:
        return math.nan, math.nan, math.nan, math.nan, math.nan
    x = (ty_u * ww - ty_w * uw) / det
    y = (ty_w * uu - ty_u * uw) / det
    if not (x > 0.0 and y > 0.0):
        return math.nan, math.nan, math.nan, math.nan, math.nan
    chi2 = 0.0
    for j in range(count):
        k = int(lines[bragg.ASSIGNED + member, j])
        if k >= 0:
            q = lines[bragg.CENTRE, j]
            away = q * q - x * planes[order[k], 0] - y * planes[order[k], 1]
            chi2 += (away / (2.0 * q * lines[bragg.CLOSE_SIGMA, j])) ** 2
    reduced = chi2 / (n - 2)
    grow = math.sqrt(max(1.0, reduced))
    beta = math.sqrt(x)
    ratio = math.sqrt(x / y)
    # Relative variances of X and Y, and their covariance.
    xx, yy, xy = ww / det / (x * x), uu / det / (y * y), -uw / det / (x * y)
    beta_sigma = 0.5 * beta * math.sqrt(xx) * grow
    ratio_sigma = 0.5 * ratio * math.sqrt(xx + yy - 2.0 * xy) * grow
    return beta, beta_sigma, ratio, ratio_sigma, reduced
