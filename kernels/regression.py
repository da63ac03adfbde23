"""Weighted least squares of logarithms and of exponentials, over any interval of a curve.

From running sums every interval is judged at the same cost; the one that is chosen is then fitted
to the intensity itself.
"""

from __future__ import annotations

import math

from gpusaxs.kernels.curve_kernel import device_function
from gpusaxs.kernels.elementary import exp_poly, log_poly

# Points to either side whose mean is the level about which the logarithm is taken.
REACH = 5
# Intensity over sigma above which its logarithm is taken as it is.
_CLEAR = 20.0
_NEWTON_STEPS = 30


@device_function
def level_of(intensity, i):  # type: ignore[no-untyped-def]
    """Mean of the points about point i; of fewer at the ends."""
    reach = min(REACH, i, intensity.shape[0] - 1 - i)
    total = 0.0
    for k in range(i - reach, i + reach + 1):
        total += intensity[k]
    return total / (2 * reach + 1)


@device_function
def log_space(intensity, sigma, y, w):  # type: ignore[no-untyped-def]
    """Write ln I about the curve's level, and its weight; return the number of points with one.

    Where the noise is not small, ln I lies too low on average, and there is none of a negative
    intensity: there ln m + (I - m) / m stands for it, m the level.
    """
    usable = 0
    for i in range(intensity.shape[0]):
        level = level_of(intensity, i)
        if level > 0.0 and sigma[i] > 0.0:
            if intensity[i] > _CLEAR * sigma[i]:
                y[i] = log_poly(intensity[i])
            else:
                y[i] = log_poly(level) + (intensity[i] - level) / level
            ratio = level / sigma[i]
            w[i] = ratio * ratio
            usable += 1
        else:
            y[i] = 0.0
            w[i] = 0.0
    return usable


@device_function
def sum_up(x, y, w, n, x1, x2, x3, x4, y1, xy, x2y, y2):  # type: ignore[no-untyped-def]
    """Write running sums over weighted points: at i those of the points up to i.

    They are of the weights, of their products with powers of x, with y, x y, x^2 y, and y^2.
    """
    for i in range(x.shape[0]):
        wx = w[i] * x[i]
        wy = w[i] * y[i]
        n[i] = w[i]
        x1[i] = wx
        x2[i] = wx * x[i]
        x3[i] = wx * x[i] * x[i]
        x4[i] = wx * x[i] * x[i] * x[i]
        y1[i] = wy
        xy[i] = wy * x[i]
        x2y[i] = wy * x[i] * x[i]
        y2[i] = wy * y[i]
    for i in range(1, x.shape[0]):
        n[i] += n[i - 1]
        x1[i] += x1[i - 1]
        x2[i] += x2[i - 1]
        x3[i] += x3[i - 1]
        x4[i] += x4[i - 1]
        y1[i] += y1[i - 1]
        xy[i] += xy[i - 1]
        x2y[i] += x2y[i - 1]
        y2[i] += y2[i - 1]


@device_function
def between(sums, first, last):  # type: ignore[no-untyped-def]
    """Sum over the points from first to last, that included."""
    return sums[last] - (sums[first - 1] if first > 0 else 0.0)


@device_function
def last_below(q, limit):  # type: ignore[no-untyped-def]
    """Return the last point whose q is at most `limit`; -1 where there is none."""
    low = -1
    high = q.shape[0]
    while high - low > 1:
        middle = (low + high) // 2
        if q[middle] <= limit:
            low = middle
        else:
            high = middle
    return low


@device_function
def line(n, x, x2, y, xy):  # type: ignore[no-untyped-def]
    """Straight line through weighted points, from sums over them.

    Returns
    -------
    intercept, slope, and their variances and covariance for weights of 1 / sigma^2
        All NaN where the points do not determine a line.
    """
    determinant = n * x2 - x * x
    if not determinant > 1e-12 * n * x2:
        return math.nan, math.nan, math.nan, math.nan, math.nan
    slope = (n * xy - x * y) / determinant
    intercept = (x2 * y - x * xy) / determinant
    return intercept, slope, x2 / determinant, n / determinant, -x / determinant


@device_function
def parabola_top(n, x, x2, x3, x4, y, xy, x2y):  # type: ignore[no-untyped-def]
    """Coefficient of x^2 of the parabola through weighted points, and its variance.

    Both NaN where the points do not determine a parabola.
    """
    if not n > 0.0:
        return math.nan, math.nan
    # About the mean of x, where the sums of a narrow interval do not cancel.
    mean = x / n
    m2 = x2 - mean * x
    m3 = x3 - mean * (3.0 * x2 - 2.0 * mean * x)
    m4 = x4 - mean * (4.0 * x3 - mean * (6.0 * x2 - 3.0 * mean * x))
    d1 = xy - mean * y
    d2 = x2y - mean * (2.0 * xy - mean * y)
    if not m2 > 0.0:
        return math.nan, math.nan
    left = m4 - m2 * m2 / n - m3 * m3 / m2
    if not left > 1e-9 * m4:
        return math.nan, math.nan
    return (d2 - m2 * y / n - m3 * d1 / m2) / left, 1.0 / left


@device_function
def decay_fit(x, intensity, sigma, first, last, a, b):  # type: ignore[no-untyped-def]
    """Least squares of exp(a - b x) to the intensity itself, from a start near it.

    The intensity is what has the noise that sigma says; its logarithm has another.

    x, intensity, sigma : (points,) float64; points without sigma are left out

    Returns
    -------
    a, b, their variances, their covariance, and chi-squared
        NaN where there is no minimum.
    """
    for _ in range(_NEWTON_STEPS):
        s0 = 0.0
        s1 = 0.0
        s2 = 0.0
        r0 = 0.0
        r1 = 0.0
        chi2 = 0.0
        for i in range(first, last + 1):
            if sigma[i] > 0.0:
                model = exp_poly(a - b * x[i])
                weight = 1.0 / (sigma[i] * sigma[i])
                residual = intensity[i] - model
                gain = model * model * weight
                pull = model * weight * residual
                s0 += gain
                s1 += gain * x[i]
                s2 += gain * x[i] * x[i]
                r0 += pull
                r1 += pull * x[i]
                chi2 += residual * residual * weight
        determinant = s0 * s2 - s1 * s1
        if not determinant > 1e-12 * s0 * s2:
            break
        va = s2 / determinant
        vb = s0 / determinant
        da = (s2 * r0 - s1 * r1) / determinant
        db = (s1 * r0 - s0 * r1) / determinant
        a += da
        b += db
        if da * da <= 1e-16 * va and db * db <= 1e-16 * vb:
            return a, b, va, vb, s1 / determinant, chi2
    return math.nan, math.nan, math.nan, math.nan, math.nan, math.nan
