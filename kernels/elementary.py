"""Elementary functions that LLVM can vectorise: the usual ones are calls, one point at a time.

`exp_poly` and `log_poly` follow fdlibm (Sun Microsystems 1993; e_exp.c, e_log.c), with its
branches turned into selections and its table of bits into integer arithmetic.
"""

from __future__ import annotations

import math

import numpy as np
from gpusaxs.kernels.curve_kernel import device_function

# exp(-41) is 1.6e-18: nothing beside one.
_NOTHING = 41.0

_INV_LN2 = 1.44269504088896338700
# ln 2 in two parts: the first has 33 bits, so that its product with an exponent is exact.
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
# 1.5 * 2**52: what is added to it is rounded to an integer, which its lowest bits then hold.
_ROUNDING = 6755399441055744.0
_ROUNDING_BITS = 0x4338000000000000
_LARGEST = 709.782712893384
_SMALLEST = -745.1332191019412
_SMALLEST_NORMAL = 2.2250738585072014e-308
_TWO_54 = 18014398509481984.0
# Bits of sqrt(1/2): a mantissa counts from there, so that log_poly sees [sqrt(1/2), sqrt(2)).
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
_ONE_BITS = 0x3FF0000000000000
_MANTISSA_BITS = 0x000FFFFFFFFFFFFF


@device_function
def exp_minus(x):  # type: ignore[no-untyped-def]
    """exp(-x) for x >= 0, within 1e-10 of it and 3e-14 of one; beyond x = 41 it stays at exp(-41).

    The Taylor series of exp(-x / 256), squared eight times: sums and products alone.
    """
    t = -min(x, _NOTHING) * 0.00390625
    y = 1.0 + t * (
        1.0
        + t
        * (
            0.5
            + t
            * (
                1.0 / 6.0
                + t
                * (
                    1.0 / 24.0
                    + t * (1.0 / 120.0 + t * (1.0 / 720.0 + t * (1.0 / 5040.0 + t / 40320.0)))
                )
            )
        )
    )
    y *= y
    y *= y
    y *= y
    y *= y
    y *= y
    y *= y
    y *= y
    y *= y
    return y


@device_function
def exp_poly(x):  # type: ignore[no-untyped-def]
    """exp(x) within 2.3e-16 of it (one unit in the last place), for every float64.

    Overflow gives inf, underflow a subnormal (to its spacing) or 0, NaN gives NaN.
    """
    bounded = x if x > _SMALLEST - 1.0 else _SMALLEST - 1.0
    bounded = bounded if bounded < _LARGEST + 1.0 else _LARGEST + 1.0
    rounded = bounded * _INV_LN2 + _ROUNDING
    exponent = np.float64(rounded).view(np.int64) - _ROUNDING_BITS
    power = rounded - _ROUNDING
    high = bounded - power * _LN2_HIGH
    low = power * _LN2_LOW
    r = high - low
    t = r * r
    c = r - t * (
        1.66666666666666019037e-01
        + t
        * (
            -2.77777777770155933842e-03
            + t
            * (
                6.61375632143793436117e-05
                + t * (-1.65339022054652515390e-06 + t * 4.13813679705723846039e-08)
            )
        )
    )
    y = 1.0 - ((low - (r * c) / (2.0 - c)) - high)
    # Two factors: 2**exponent alone would leave the range for subnormals and just below overflow.
    half = exponent >> 1
    first = np.int64((half + 1023) << 52).view(np.float64)
    second = np.int64((exponent - half + 1023) << 52).view(np.float64)
    y = y * first * second
    y = y if x <= _LARGEST else math.inf
    y = y if x >= _SMALLEST else 0.0
    return x if math.isnan(x) else y


@device_function
def log_poly(x):  # type: ignore[no-untyped-def]
    """ln(x) within 2.3e-16 of it (one unit in the last place), for every float64.

    0 gives -inf, a negative number NaN, inf gives inf, NaN gives NaN.
    """
    small = x < _SMALLEST_NORMAL
    scaled = x * _TWO_54 if small else x
    bits = np.float64(scaled).view(np.int64) + (_ONE_BITS - _SQRT_HALF_BITS)
    k = float((bits >> 52) - 1023) - (54.0 if small else 0.0)
    f = np.int64((bits & _MANTISSA_BITS) + _SQRT_HALF_BITS).view(np.float64) - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (
        3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01)
    )
    odd = z * (
        6.666666666666735130e-01
        + w
        * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    half_square = 0.5 * f * f
    y = k * _LN2_HIGH - ((half_square - (s * (half_square + even + odd) + k * _LN2_LOW)) - f)
    y = y if x < math.inf else x
    limit = -math.inf if x == 0.0 else math.nan
    return y if x > 0.0 else limit


@device_function
def exp_row(x, out):  # type: ignore[no-untyped-def]
    """Write exp(x) point by point; `out` may be `x`.

    x, out : (points,) float64
    """
    for i in range(x.shape[0]):
        out[i] = exp_poly(x[i])


@device_function
def log_row(x, out):  # type: ignore[no-untyped-def]
    """Write ln(x) point by point; `out` may be `x`.

    x, out : (points,) float64
    """
    for i in range(x.shape[0]):
        out[i] = log_poly(x[i])
