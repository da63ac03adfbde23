"""A column of the resolution of q, condensed to the two numbers that a curve has of it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Share of what it could be at which a determinant is but rounding: then one factor says all.
_SAME = 1e-12
_FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))


def resolution_of(q: FloatArray, deviation: FloatArray) -> list[dict[str, str | float]]:
    """What a standard deviation of q at each point says of each curve, as entries of its metadata.

    The FWHM w of the resolution is taken for w^2 = a^2 + (b q)^2, as a divergence and a spread of
    wavelengths make it. a and b are no less than zero and have the least squares of the deviations
    from w^2, relative to it: so they hold over all decades of q, and where a column has steps or
    outliers they are rather too small than too large, so that no line is lost. Points where either
    number is not finite and positive do not count; nothing comes of a column without any other.

    Parameters
    ----------
    q : (points,) or (curves, points) float64
        1/nm.
    deviation : (points,) or (curves, points) float64
        1/nm; one row where all curves share it. There are as many answers as rows in the larger.
    """
    with np.errstate(all="ignore"):
        known = np.isfinite(q) & (q > 0.0) & np.isfinite(deviation) & (deviation > 0.0)
        constant = np.where(known, (_FWHM * deviation) ** -2.0, 0.0)
        growing = np.where(known, q**2 * constant, 0.0)
        a2, b2 = _non_negative(np.atleast_2d(constant), np.atleast_2d(growing))
    return [
        {"resolution": a, "relative_resolution": b} if math.isfinite(a + b) else {}
        for a, b in zip(np.sqrt(a2).tolist(), np.sqrt(b2).tolist(), strict=True)
    ]


def _non_negative(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Factors of x and y, rows of non-negative numbers, whose sum comes closest to 1.

    NaN where a row holds zeros alone. Closed form: where the free minimum has a negative factor,
    the best non-negative one has zero in its place.
    """
    xx, xy, yy = (np.sum(product, axis=1) for product in (x * x, x * y, y * y))
    x1, y1 = np.sum(x, axis=1), np.sum(y, axis=1)
    of_x, of_y = x1 * yy - y1 * xy, y1 * xx - x1 * xy
    determinant = xx * yy - xy * xy
    alone_x = (of_y <= 0.0) | (determinant <= _SAME * xx * yy)
    alone_y = of_x <= 0.0
    return (
        np.where(alone_x, x1 / xx, np.where(alone_y, 0.0, of_x / determinant)),
        np.where(alone_x, 0.0, np.where(alone_y, y1 / yy, of_y / determinant)),
    )
