"""Weighted least squares from running sums: every interval of a curve at the same cost."""

from __future__ import annotations

import math

from gpusaxs.kernels.curve_kernel import device_function

# Rows of a table of running sums: of the weights, of their products with powers of x, with y and
# its products with powers of x, and with the square of y.
WEIGHT = 0
X = 1
X2 = 2
X3 = 3
X4 = 4
Y = 5
XY = 6
X2Y = 7
Y2 = 8
SUMS = 9


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
