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
from gpusaxs.kernels.elementary import exp_poly
from gpusaxs.kernels.regression import (
    REACH,
    between,
    decay_fit,
    last_below,
    level_of,
    line,
    log_space,
    parabola_top,
    sum_up,
)

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
MAX_POINTS_ABOVE = 8
MAX_BELOW = 9
MIN_LAST_Q_RG = 10
LIMITS = 11

# Deviation of the first points from the line, as a share of it, that no form factor exceeds.
_STRAIGHT = 0.02
# What the intensity has fallen to where the search for the last point begins; at q Rg = 1.3 it
# is at 0.57.
_FALLEN = 0.1
_ROUNDS = 30
# Starts that are asked why there is no range.
_TOLD = 16


@device_function
def settled(q, first, end, n, x1, x2, y1, xy, limits):  # type: ignore[no-untyped-def]
    """Last point of the range that begins at `first`: where q Rg, of its own Rg, is at its limit.

    Returns
    -------
    The point, at most `end`; and intercept and slope of the line of ln I on q^2 through the range,
    NaN where the intensity does not fall.
    """
    least = first + int(limits[MIN_POINTS]) - 1
    last = end
    for _ in range(_ROUNDS):
        if last < least:
            break
        intercept, slope, _, _, _ = line(
            between(n, first, last),
            between(x1, first, last),
            between(x2, first, last),
            between(y1, first, last),
            between(xy, first, last),
        )
        if not slope < 0.0:
            break
        following = min(last_below(q, limits[MAX_Q_RG] / math.sqrt(-3.0 * slope)), end)
        if following == last:
            return last, intercept, slope
        last = following
    else:
        return last, intercept, slope
    return last, math.nan, math.nan


@device_function
def start_deviates(first, last, n, x1, y1, intercept, slope, v0, v1, v01, spread, k):  # type: ignore[no-untyped-def]
    """Say whether the first points lie off the line of their range: 1 above, -1 below, 0 not."""
    m = 1
    while m <= 8 and 3 * m <= last - first + 1:
        end = first + m - 1
        weight = between(n, first, end)
        if weight > 0.0:
            x = between(x1, first, end) / weight
            deviation = between(y1, first, end) / weight - intercept - slope * x
            variance = 1.0 / weight - (v0 + 2.0 * v01 * x + v1 * x * x)
            if abs(deviation) > _STRAIGHT + k * spread * math.sqrt(max(variance, 0.0)):
                return 1 if deviation > 0.0 else -1
        m *= 2
    return 0


@device_function
def judged(q, first, last, n, x1, x2, x3, x4, y1, xy, x2y, y2, limits):  # type: ignore[no-untyped-def]
    """Say whether a range is a straight line in Guinier's plot.

    Returns
    -------
    A value of RANGE; the curvature, as the coefficient of (q Rg)^4 in ln I, and its standard
    uncertainty.
    """
    weight = between(n, first, last)
    moment = between(x1, first, last)
    square = between(x2, first, last)
    y = between(y1, first, last)
    product = between(xy, first, last)
    intercept, slope, v0, v1, v01 = line(weight, moment, square, y, product)
    top, variance = parabola_top(
        weight,
        moment,
        square,
        between(x3, first, last),
        between(x4, first, last),
        y,
        product,
        between(x2y, first, last),
    )
    if not variance > 0.0:
        return UNCERTAIN, math.nan, math.nan
    chi2 = between(y2, first, last) - intercept * y - slope * product - top * top / variance
    reduced = max(1.0, chi2 / (last - first - 2))
    spread = math.sqrt(reduced)
    rg2 = -3.0 * slope
    curvature = top / (rg2 * rg2)
    curvature_sigma = math.sqrt(variance) / (rg2 * rg2)
    k = limits[MIN_SIGNIFICANCE]
    verdict = FOUND
    if math.sqrt(rg2) * q[first] > limits[MAX_FIRST_Q_RG]:
        verdict = BEYOND
    elif 1.5 * math.sqrt(v1) * spread > limits[MAX_RELATIVE_SIGMA] * rg2:
        verdict = UNCERTAIN
    elif curvature > limits[MAX_UPTURN] + k * spread * curvature_sigma:
        verdict = UPTURN
    elif curvature < -limits[MAX_DOWNTURN] - k * spread * curvature_sigma:
        verdict = DOWNTURN
    elif reduced > limits[MAX_REDUCED_CHI2]:
        verdict = NOT_STRAIGHT
    else:
        off = start_deviates(first, last, n, x1, y1, intercept, slope, v0, v1, v01, spread, k + 1.0)
        if off > 0:
            verdict = UPTURN
        elif off < 0:
            verdict = DOWNTURN
    return verdict, curvature, curvature_sigma


@device_function
def points_off(q, intensity, sigma, first, rg, i0, k):  # type: ignore[no-untyped-def]
    """Return how many points before the range lie above its continuation, and how many below."""
    above = 0
    below = 0
    for i in range(first):
        model = i0 * exp_poly(-rg * rg * q[i] * q[i] / 3.0)
        allowed = _STRAIGHT * model + k * sigma[i]
        if intensity[i] > model + allowed:
            above += 1
        elif intensity[i] < model - allowed:
            below += 1
    return above, below


@device_function
def objection(q, intensity, sigma, first, last, rg, rg_sigma, i0, limits):  # type: ignore[no-untyped-def]
    """Return what speaks against a fit for all its range is straight: a value of RANGE."""
    if not rg_sigma <= limits[MAX_RELATIVE_SIGMA] * rg:
        return UNCERTAIN
    if rg * q[last] < limits[MIN_LAST_Q_RG]:
        return NO_DECAY
    # A few points above are parasitic scattering at the beamstop, more are what is larger than
    # Rg says; a shadow is short, what repulsion and a peak take away is not.
    above, below = points_off(q, intensity, sigma, first, rg, i0, limits[MIN_SIGNIFICANCE])
    if above > limits[MAX_POINTS_ABOVE]:
        return UPTURN
    if below > limits[MAX_BELOW] * (last - first + 1):
        return DOWNTURN
    return FOUND


@curve_kernel
def guinier(
    q: Row,
    intensity: Row,
    sigma: Row,
    start: PerCurve,
    limits: Shared,
    scale_uncertainties: Shared,
    numbers: Rows,
    x: Scratch,
    y: Scratch,
    w: Scratch,
    n: Scratch,
    x1: Scratch,
    x2: Scratch,
    x3: Scratch,
    x4: Scratch,
    y1: Scratch,
    xy: Scratch,
    x2y: Scratch,
    y2: Scratch,
) -> None:
    """Find the lowest q from which ln I falls as a straight line of q^2, and fit it.

    Each range begins at a point and ends where q Rg, with the range's own Rg, is at its limit.
    The first that no test speaks against is taken (A. Guinier 1939; the limits and the search
    from low q on follow M.V. Petoukhov et al. 2007; docs/solution.md states the tests).

    q, intensity, sigma : (points,) float64; q in 1/nm
    start : number of the curve's first point
    limits : (LIMITS,) float64
    numbers : (NUMBERS,) float64, written
    """
    points = q.shape[0]
    for column in range(NUMBERS):
        numbers[column] = math.nan
    if log_space(intensity, sigma, y, w) < limits[MIN_POINTS]:
        numbers[RANGE] = FEW_POINTS
        return
    for i in range(points):
        x[i] = q[i] * q[i]
    sum_up(x, y, w, n, x1, x2, x3, x4, y1, xy, x2y, y2)
    answer = NO_DECAY
    found = NO_DECAY
    lead = 0
    a = math.nan
    slope = math.nan
    curvature = math.nan
    curvature_sigma = math.nan
    last = 0
    end = 0
    first = 0
    while found != FOUND and first + limits[MIN_POINTS] <= points:
        fallen = _FALLEN * level_of(intensity, min(first + REACH, points - 1))
        end = max(end, first)
        while end + 1 < points and level_of(intensity, end + 1) > fallen:
            end += 1
        last, a, slope = settled(q, first, end, n, x1, x2, y1, xy, limits)
        if last - first + 1 < limits[MIN_POINTS]:
            found = BEYOND
        elif slope < 0.0:
            found, curvature, curvature_sigma = judged(
                q, first, last, n, x1, x2, x3, x4, y1, xy, x2y, y2, limits
            )
        else:
            found = NO_DECAY
        # What most of the lowest starts gave (R.S. Boyer, J.S. Moore 1981).
        if first < _TOLD:
            if lead == 0:
                answer = found
            lead += 1 if answer == found else -1
        if found != FOUND:
            # Every point near the start, then in steps of a few per cent.
            first += max(1, first // 32)
    numbers[RANGE] = answer
    if found != FOUND:
        return
    a, b, va, vb, covariance, chi2 = decay_fit(x, intensity, sigma, first, last, a, -slope)
    limit = limits[MAX_Q_RG] * limits[MAX_Q_RG]
    while 3.0 * b * x[last] > limit and last - first + 1 > limits[MIN_POINTS]:
        last -= 1
        a, b, va, vb, covariance, chi2 = decay_fit(x, intensity, sigma, first, last, a, b)
    rg = math.sqrt(3.0 * b) if b > 0.0 else math.nan
    i0 = exp_poly(a)
    count = last - first + 1
    reduced = chi2 / (count - 2)
    factor = math.sqrt(max(1.0, reduced)) if scale_uncertainties else 1.0
    rg_sigma = factor * 1.5 * math.sqrt(vb) / rg
    numbers[RANGE] = objection(q, intensity, sigma, first, last, rg, rg_sigma, i0, limits)
    if numbers[RANGE] != FOUND:
        return
    numbers[RG] = rg
    numbers[RG_SIGMA] = rg_sigma
    numbers[I0] = i0
    numbers[I0_SIGMA] = factor * i0 * math.sqrt(va)
    numbers[CORRELATION] = covariance / math.sqrt(va * vb)
    numbers[FIRST] = start + first
    numbers[LAST] = start + last
    numbers[POINTS] = count
    numbers[Q_MIN] = q[first]
    numbers[Q_MAX] = q[last]
    numbers[Q_MIN_RG] = rg * q[first]
    numbers[Q_MAX_RG] = rg * q[last]
    numbers[REDUCED_CHI2] = reduced
    numbers[CURVATURE] = curvature
    numbers[CURVATURE_SIGMA] = factor * curvature_sigma
