"""Radius of gyration and intensity at zero angle, with the range of q in which they show."""

from __future__ import annotations

import math

from gpusaxs.kernels.curve_kernel import (
    PerCurve,
    Row,
    Rows,
    Scratch,
    Shared,
    curve_kernel,
    device_function,
)
from gpusaxs.kernels.elementary import exp_poly, log_poly
from gpusaxs.kernels.regression import line, parabola_top

# Columns of the numbers.
RG = 0
RG_SIGMA = 1
I0 = 2
I0_SIGMA = 3
CORRELATION = 4
FIRST = 5
LAST = 6
POINTS = 7
Q_MIN = 8
Q_MAX = 9
Q_MIN_RG = 10
Q_MAX_RG = 11
REDUCED_CHI2 = 12
CURVATURE = 13
CURVATURE_SIGMA = 14
RANGE = 15
NUMBERS = 16

# Values of RANGE.
FOUND = 0
FEW_POINTS = 1
NO_DECAY = 2
UPTURN = 3
DOWNTURN = 4
NOT_STRAIGHT = 5
UNCERTAIN = 6
BEYOND = 7

# Limits, in the order of the stage's parameters.
MAX_Q_RG = 0
MAX_FIRST_Q_RG = 1
MIN_POINTS = 2
MAX_UPTURN = 3
MAX_DOWNTURN = 4
MAX_RELATIVE_SIGMA = 5
MAX_REDUCED_CHI2 = 6
MIN_SIGNIFICANCE = 7
LIMITS = 8

# Points to either side whose mean is the level about which the logarithm is taken.
_REACH = 5
# Intensity over sigma above which its logarithm is taken as it is.
_CLEAR = 20.0
# Deviation of the first points from the line, as a share of it, that no form factor exceeds.
_STRAIGHT = 0.02
# What the intensity has fallen to where the search for the last point begins; at q Rg = 1.3 it
# is at 0.57.
_FALLEN = 0.1
_ROUNDS = 30
# Starts that are asked why there is no range.
_TOLD = 16
_NEWTON_STEPS = 20


@device_function
def level_of(intensity, i):  # type: ignore[no-untyped-def]
    """Mean of the points about point i; of fewer at the ends."""
    reach = min(_REACH, min(i, intensity.shape[0] - 1 - i))
    total = 0.0
    for k in range(i - reach, i + reach + 1):
        total += intensity[k]
    return total / (2 * reach + 1)


@device_function
def guinier_space(q, intensity, sigma, y, w):  # type: ignore[no-untyped-def]
    """Write ln I about the curve's level, and its weight; return the number of points with one.

    Where the noise is not small, ln I lies too low on average, and there is none of a negative
    intensity: there ln m + (I - m) / m stands for it, m the level.
    """
    usable = 0
    for i in range(q.shape[0]):
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
def sum_up(q, y, w, n, x, x2, x3, x4, sy, xy, x2y, y2):  # type: ignore[no-untyped-def]
    """Write running sums over the points: at i those of the points up to i."""
    scale = q[q.shape[0] - 1] * q[q.shape[0] - 1]
    for i in range(q.shape[0]):
        u = q[i] * q[i] / scale
        wu = w[i] * u
        wy = w[i] * y[i]
        n[i] = w[i]
        x[i] = wu
        x2[i] = wu * u
        x3[i] = wu * u * u
        x4[i] = wu * u * u * u
        sy[i] = wy
        xy[i] = wy * u
        x2y[i] = wy * u * u
        y2[i] = wy * y[i]
    for i in range(1, q.shape[0]):
        n[i] += n[i - 1]
        x[i] += x[i - 1]
        x2[i] += x2[i - 1]
        x3[i] += x3[i - 1]
        x4[i] += x4[i - 1]
        sy[i] += sy[i - 1]
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
def settled(q, first, end, n, x, x2, sy, xy, limits):  # type: ignore[no-untyped-def]
    """Last point of the range that begins at `first`: where q Rg of the range's own Rg is largest.

    Returns
    -------
    The point, at most `end`; and minus the slope of the line through the range, NaN where the
    intensity does not fall.
    """
    scale = q[q.shape[0] - 1] * q[q.shape[0] - 1]
    least = first + int(limits[MIN_POINTS]) - 1
    fall = math.nan
    last = end
    for _ in range(_ROUNDS):
        if last < least:
            return last, fall
        _, slope, _, _, _ = line(
            between(n, first, last),
            between(x, first, last),
            between(x2, first, last),
            between(sy, first, last),
            between(xy, first, last),
        )
        if not slope < 0.0:
            return last, math.nan
        fall = -slope
        limit = limits[MAX_Q_RG] * math.sqrt(scale / (3.0 * fall))
        following = min(last_below(q, limit), end)
        if following == last:
            break
        last = following
    return last, fall


@device_function
def start_deviates(first, last, n, x, sy, intercept, slope, v0, v1, v01, spread, k):  # type: ignore[no-untyped-def]
    """Say whether the first points lie off the line of their range: 1 above, -1 below, 0 not."""
    m = 1
    while m <= 8 and 3 * m <= last - first + 1:
        end = first + m - 1
        weight = between(n, first, end)
        moment = between(x, first, end)
        if weight > 0.0:
            deviation = (between(sy, first, end) - intercept * weight - slope * moment) / weight
            by_line = v0 + 2.0 * v01 * moment / weight + v1 * (moment / weight) * (moment / weight)
            variance = 1.0 / weight - by_line
            allowed = _STRAIGHT + k * spread * math.sqrt(max(variance, 0.0))
            if abs(deviation) > allowed:
                return 1 if deviation > 0.0 else -1
        m *= 2
    return 0


@device_function
def judged(q, first, last, fall, n, x, x2, x3, x4, sy, xy, x2y, y2, limits):  # type: ignore[no-untyped-def]
    """Say whether a range is a straight line in Guinier's plot.

    Returns
    -------
    A value of RANGE; the curvature, as the coefficient of (q Rg)^4 in ln I, and its variance.
    """
    points = last - first + 1
    if points < limits[MIN_POINTS]:
        return BEYOND, math.nan, math.nan
    weight = between(n, first, last)
    moments = between(x, first, last)
    squares = between(x2, first, last)
    y = between(sy, first, last)
    products = between(xy, first, last)
    intercept, slope, v0, v1, v01 = line(weight, moments, squares, y, products)
    if not slope < 0.0:
        return NO_DECAY, math.nan, math.nan
    top, variance = parabola_top(
        weight,
        moments,
        squares,
        between(x3, first, last),
        between(x4, first, last),
        y,
        products,
        between(x2y, first, last),
    )
    if not variance > 0.0:
        return UNCERTAIN, math.nan, math.nan
    chi2 = between(y2, first, last) - intercept * y - slope * products
    reduced = max(1.0, (chi2 - top * top / variance) / (points - 3))
    spread = math.sqrt(reduced)
    # u = (q Rg)^2 = 3 fall x, x the square of q as the sums have it.
    unit = 9.0 * fall * fall
    curvature = top / unit
    curvature_variance = variance / (unit * unit)
    margin = limits[MIN_SIGNIFICANCE] * spread * math.sqrt(curvature_variance)
    rg_q_first = math.sqrt(3.0 * fall) * q[first] / q[q.shape[0] - 1]
    verdict = FOUND
    if rg_q_first > limits[MAX_FIRST_Q_RG]:
        verdict = BEYOND
    elif 0.5 * math.sqrt(v1) * spread > limits[MAX_RELATIVE_SIGMA] * fall:
        verdict = UNCERTAIN
    elif curvature > limits[MAX_UPTURN] + margin:
        verdict = UPTURN
    elif curvature < -limits[MAX_DOWNTURN] - margin:
        verdict = DOWNTURN
    elif reduced > limits[MAX_REDUCED_CHI2]:
        verdict = NOT_STRAIGHT
    else:
        k = limits[MIN_SIGNIFICANCE] + 1.0
        off = start_deviates(first, last, n, x, sy, intercept, slope, v0, v1, v01, spread, k)
        if off > 0:
            verdict = UPTURN
        elif off < 0:
            verdict = DOWNTURN
    return verdict, curvature, curvature_variance


@device_function
def fitted(q, intensity, sigma, first, last, rg, i0):  # type: ignore[no-untyped-def]
    """Least squares of I0 exp(-(q Rg)^2 / 3) to the intensity itself, from a start near it.

    The intensity is what has the noise that sigma says; its logarithm has another.

    Returns
    -------
    Rg, I0, their standard uncertainties, their correlation, and chi-squared
        NaN where there is no minimum.
    """
    a = math.log(i0)
    b = rg * rg / 3.0
    va = math.nan
    vb = math.nan
    vab = math.nan
    chi2 = math.nan
    for _ in range(_NEWTON_STEPS):
        s0 = 0.0
        s1 = 0.0
        s2 = 0.0
        r0 = 0.0
        r1 = 0.0
        chi2 = 0.0
        for i in range(first, last + 1):
            if sigma[i] > 0.0:
                x = q[i] * q[i]
                model = exp_poly(a - b * x)
                weight = 1.0 / (sigma[i] * sigma[i])
                residual = intensity[i] - model
                gain = model * model * weight
                pull = model * weight * residual
                s0 += gain
                s1 += gain * x
                s2 += gain * x * x
                r0 += pull
                r1 += pull * x
                chi2 += residual * residual * weight
        determinant = s0 * s2 - s1 * s1
        if not determinant > 0.0:
            return math.nan, math.nan, math.nan, math.nan, math.nan, math.nan
        da = (s2 * r0 - s1 * r1) / determinant
        db = (s1 * r0 - s0 * r1) / determinant
        va = s2 / determinant
        vb = s0 / determinant
        vab = s1 / determinant
        a += da
        b += db
        if da * da <= 1e-16 * va and db * db <= 1e-16 * vb:
            break
    if not (b > 0.0 and va > 0.0 and vb > 0.0):
        return math.nan, math.nan, math.nan, math.nan, math.nan, math.nan
    rg = math.sqrt(3.0 * b)
    i0 = exp_poly(a)
    return rg, i0, 1.5 * math.sqrt(vb) / rg, i0 * math.sqrt(va), vab / math.sqrt(va * vb), chi2


@curve_kernel
def guinier(
    q: Row,
    intensity: Row,
    sigma: Row,
    start: PerCurve,
    limits: Shared,
    scale_uncertainties: Shared,
    numbers: Rows,
    y: Scratch,
    w: Scratch,
    n: Scratch,
    x: Scratch,
    x2: Scratch,
    x3: Scratch,
    x4: Scratch,
    sy: Scratch,
    xy: Scratch,
    x2y: Scratch,
    y2: Scratch,
) -> None:
    """Find the lowest q from which ln I falls as a straight line of q^2, and fit it.

    Each range begins at a point and ends where q Rg, with the range's own Rg, is at its limit.
    The first that no test speaks against is taken (A. Guinier 1939; the limits and the order of
    the search follow M.V. Petoukhov et al. 2007, the tests are stated in docs/solution.md).

    q, intensity, sigma : (points,) float64; q in 1/nm
    start : number of the curve's first point
    limits : (LIMITS,) float64
    numbers : (NUMBERS,) float64, written
    """
    points = q.shape[0]
    for column in range(NUMBERS):
        numbers[column] = math.nan
    if guinier_space(q, intensity, sigma, y, w) < limits[MIN_POINTS]:
        numbers[RANGE] = FEW_POINTS
        return
    sum_up(q, y, w, n, x, x2, x3, x4, sy, xy, x2y, y2)
    answer = NO_DECAY
    lead = 0
    curvature = math.nan
    variance = math.nan
    fall = math.nan
    last = 0
    end = 0
    first = 0
    while first + limits[MIN_POINTS] <= points:
        if w[first] > 0.0:
            end = max(end, first)
            fallen = _FALLEN * level_of(intensity, min(first + _REACH, points - 1))
            while end + 1 < points and level_of(intensity, end + 1) > fallen:
                end += 1
            last, fall = settled(q, first, end, n, x, x2, sy, xy, limits)
            found = NO_DECAY
            if last - first + 1 < limits[MIN_POINTS]:
                found = BEYOND
            elif fall > 0.0:
                found, curvature, variance = judged(
                    q, first, last, fall, n, x, x2, x3, x4, sy, xy, x2y, y2, limits
                )
            if found == FOUND:
                answer = FOUND
                break
            # What most of the lowest starts gave (R.S. Boyer, J.S. Moore 1981).
            if first < _TOLD:
                if lead == 0:
                    answer = found
                lead += 1 if answer == found else -1
        # Every point near the start, then in steps of a few per cent.
        first += max(1, first // 32)
    numbers[RANGE] = answer
    if answer != FOUND:
        return
    scale = q[points - 1] * q[points - 1]
    rg = math.sqrt(3.0 * fall / scale)
    i0 = level_of(intensity, first) * exp_poly(rg * rg * q[first] * q[first] / 3.0)
    rg, i0, rg_sigma, i0_sigma, correlation, chi2 = fitted(
        q, intensity, sigma, first, last, rg, i0
    )
    while rg * q[last] > limits[MAX_Q_RG] and last - first + 1 > limits[MIN_POINTS]:
        last -= 1
        rg, i0, rg_sigma, i0_sigma, correlation, chi2 = fitted(
            q, intensity, sigma, first, last, rg, i0
        )
    if not rg_sigma <= limits[MAX_RELATIVE_SIGMA] * rg:
        numbers[RANGE] = UNCERTAIN
        return
    count = last - first + 1
    reduced = chi2 / (count - 2)
    factor = math.sqrt(max(1.0, reduced)) if scale_uncertainties else 1.0
    numbers[RG] = rg
    numbers[RG_SIGMA] = factor * rg_sigma
    numbers[I0] = i0
    numbers[I0_SIGMA] = factor * i0_sigma
    numbers[CORRELATION] = correlation
    numbers[FIRST] = start + first
    numbers[LAST] = start + last
    numbers[POINTS] = count
    numbers[Q_MIN] = q[first]
    numbers[Q_MAX] = q[last]
    numbers[Q_MIN_RG] = rg * q[first]
    numbers[Q_MAX_RG] = rg * q[last]
    numbers[REDUCED_CHI2] = reduced
    numbers[CURVATURE] = curvature
    numbers[CURVATURE_SIGMA] = factor * math.sqrt(variance)
