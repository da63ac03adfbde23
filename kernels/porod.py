"""Power law at high q, Porod's constant, the invariant and the volume that follow from them."""

from __future__ import annotations

import math

from gpusaxs.kernels import guinier
from gpusaxs.kernels.curve_kernel import Row, Rows, Scratch, Shared, curve_kernel, device_function
from gpusaxs.kernels.elementary import exp_poly, log_poly
from gpusaxs.kernels.regression import (
    between,
    decay_fit,
    last_below,
    line,
    log_space,
    parabola_top,
    sum_up,
)

# Columns of the numbers.
EXPONENT = 0
EXPONENT_SIGMA = 1
EXPONENT_Q_MIN = 2
EXPONENT_Q_MAX = 3
EXPONENT_REDUCED_CHI2 = 4
EXPONENT_RANGE = 5
CONSTANT = 6
CONSTANT_SIGMA = 7
BACKGROUND = 8
BACKGROUND_SIGMA = 9
Q_MIN = 10
Q_MAX = 11
POINTS = 12
REDUCED_CHI2 = 13
INVARIANT = 14
INVARIANT_SIGMA = 15
VOLUME = 16
VOLUME_SIGMA = 17
LAW = 18
NUMBERS = 19

# Values of EXPONENT_RANGE.
FOUND = 0
FEW_POINTS = 1
NOT_STRAIGHT = 2
UNCERTAIN = 3
# Values of LAW, beside the first two.
NO_RANGE = 2
NOT_SEEN = 3

# Settings, in the order of the stage's parameters; the switches are 0 or 1.
GIVEN_Q_MIN = 0
GIVEN_Q_MAX = 1
MIN_Q_RG = 2
MAX_Q_RG = 3
MIN_SPAN = 4
MAX_BEND = 5
MIN_POINTS = 6
MAX_SIGMA = 7
SUBTRACT_BACKGROUND = 8
EXTRAPOLATE_LOW = 9
EXTRAPOLATE_HIGH = 10
MAX_SCATTER = 11
MIN_FALL = 12
SETTINGS = 13

# Steps of ln q at which a straight range may begin and end.
_STEPS = 24
_SIGNIFICANT = 2.0
_ROUNDS = 50


@device_function
def bend_of(first, last, n, x1, x2, x3, x4, y1, xy, x2y, y2):  # type: ignore[no-untyped-def]
    """How a range departs from a power law.

    Returns
    -------
    The exponent; its change by unit of ln q, and the standard uncertainty of that; and the scatter
    about a parabola beyond what the noise explains, as a share of the intensity
    """
    weight = between(n, first, last)
    moment = between(x1, first, last)
    square = between(x2, first, last)
    y = between(y1, first, last)
    product = between(xy, first, last)
    intercept, slope, _, _, _ = line(weight, moment, square, y, product)
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
        return math.nan, math.nan, math.nan, math.nan
    chi2 = between(y2, first, last) - intercept * y - slope * product - top * top / variance
    freedom = last - first - 2
    scatter = math.sqrt(max(0.0, chi2 - freedom) / weight)
    return -slope, 2.0 * top, 2.0 * math.sqrt(variance * max(1.0, chi2 / freedom)), scatter


@device_function
def straight_range(x, low, high, settings, n, x1, x2, x3, x4, y1, xy, x2y, y2):  # type: ignore[no-untyped-def]
    """Longest range of ln q within low..high over which the exponent stays the same.

    Of ranges of one length it is the one at the lowest q.

    Returns
    -------
    Its first and last point; -1 for both where there is none.
    """
    step = (x[high] - x[low]) / _STEPS
    least = log_poly(settings[MIN_SPAN])
    for length in range(_STEPS, 0, -1):
        if length * step < least * (1.0 - 1e-9):
            break
        for place in range(_STEPS - length + 1):
            first = low
            last = high
            if place > 0:
                first = last_below(x, x[low] + place * step) + 1
            if place + length < _STEPS:
                last = last_below(x, x[low] + (place + length) * step)
            if last - first + 1 >= settings[MIN_POINTS]:
                exponent, bend, its_sigma, scatter = bend_of(
                    first, last, n, x1, x2, x3, x4, y1, xy, x2y, y2
                )
                span = x[last] - x[first]
                straight = abs(bend) * span <= settings[MAX_BEND] + _SIGNIFICANT * its_sigma * span
                falls = exponent * span >= log_poly(settings[MIN_FALL])
                if straight and falls and scatter <= settings[MAX_SCATTER]:
                    return first, last
    return -1, -1


@device_function
def porod_fit(q, intensity, sigma, first, last, spread, with_background):  # type: ignore[no-untyped-def]
    """Weighted least squares of K / q^4 + B.

    spread : variance of K from point to point, beside what sigma says

    Returns
    -------
    K, B, their variances, their covariance, chi-squared, and its derivative by the spread
        NaN where the points do not determine them; B is 0 where there is to be none.
    """
    s0 = 0.0
    s1 = 0.0
    s2 = 0.0
    t0 = 0.0
    t1 = 0.0
    for i in range(first, last + 1):
        if sigma[i] > 0.0:
            p = 1.0 / (q[i] * q[i] * q[i] * q[i])
            w = 1.0 / (sigma[i] * sigma[i] + spread * p * p)
            s0 += w
            s1 += w * p
            s2 += w * p * p
            t0 += w * intensity[i]
            t1 += w * p * intensity[i]
    if with_background:
        b, k, vb, vk, covariance = line(s0, s1, s2, t0, t1)
    elif s2 > 0.0:
        k = t1 / s2
        vk = 1.0 / s2
        b = 0.0
        vb = 0.0
        covariance = 0.0
    else:
        return math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, math.nan
    chi2 = 0.0
    by_spread = 0.0
    for i in range(first, last + 1):
        if sigma[i] > 0.0:
            p = 1.0 / (q[i] * q[i] * q[i] * q[i])
            w = 1.0 / (sigma[i] * sigma[i] + spread * p * p)
            r = intensity[i] - k * p - b
            chi2 += w * r * r
            by_spread -= w * w * p * p * r * r
    return k, b, vk, vb, covariance, chi2, by_spread


@device_function
def spread_of(q, intensity, sigma, first, last, freedom, with_background):  # type: ignore[no-untyped-def]
    """Variance of K from point to point with which K / q^4 + B fits: 0 where sigma explains all.

    Oscillations of a form factor go with K / q^4. Weighted by sigma alone, their minima would
    decide (R.C. Paule, J. Mandel 1982: chi-squared is brought to its expectation).
    """
    spread = 0.0
    for _ in range(_ROUNDS):
        _, _, vk, _, _, chi2, by_spread = porod_fit(
            q, intensity, sigma, first, last, spread, with_background
        )
        if not vk > 0.0 or chi2 <= freedom + _SIGNIFICANT * math.sqrt(2.0 * freedom):
            break
        # Newton's step of 1 / chi-squared, which is nearly a straight line.
        spread += chi2 * (freedom - chi2) / (freedom * by_spread)
    return spread


@device_function
def guinier_part(rg, i0, q):  # type: ignore[no-untyped-def]
    """Integral of q^2 I from 0 to q below Guinier's law, and its derivative by Rg."""
    alpha = rg * rg / 3.0
    root = math.sqrt(alpha)
    fallen = i0 * exp_poly(-alpha * q * q)
    whole = 0.25 * math.sqrt(math.pi) * i0 * math.erf(root * q) / (alpha * root)
    integral = whole - 0.5 * q * fallen / alpha
    # d/d alpha of the integral is minus that of q^4 I.
    fourth = 1.5 * integral / alpha - 0.5 * q * q * q * fallen / alpha
    return integral, -2.0 * rg / 3.0 * fourth


@device_function
def invariant_of(q, intensity, sigma, first, low, high, fit, with_background, with_tail):  # type: ignore[no-untyped-def]
    """Integral of q^2 (I - B) from point `first` to `high`, and of K / q^2 from there on.

    K and B come from the points low..high by `porod_fit`, so what a point adds to the integral
    and what it changes in K and B are summed before they are squared.

    Returns
    -------
    The integral and its variance.
    """
    k, b, vk, vb, covariance, spread = fit
    tail = 1.0 / q[high] if with_tail else 0.0
    background = 1.0 if with_background else 0.0
    cube = 0.0
    for i in range(first, high + 1):
        cube += trapezoid(q, first, high, i) * q[i] * q[i]
    total = k * tail - b * cube * background
    variance = 0.0
    for i in range(first, high + 1):
        gain = trapezoid(q, first, high, i) * q[i] * q[i]
        total += gain * intensity[i]
        s = sigma[i] if sigma[i] > 0.0 else 0.0
        if i >= low and s > 0.0:
            p = 1.0 / (q[i] * q[i] * q[i] * q[i])
            w = 1.0 / (s * s + spread * p * p)
            by_k = (vk * p + covariance) * w
            by_b = (covariance * p + vb) * w
            gain += tail * by_k - cube * background * by_b
        variance += gain * gain * s * s
    return total, variance


@device_function
def trapezoid(q, first, last, i):  # type: ignore[no-untyped-def]
    """Width of point i in the trapezoidal rule over the points first..last."""
    below = q[i] - q[i - 1] if i > first else 0.0
    above = q[i + 1] - q[i] if i < last else 0.0
    return 0.5 * (below + above)


@curve_kernel
def porod(
    q: Row,
    intensity: Row,
    sigma: Row,
    of_guinier: Rows,
    settings: Shared,
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
    """Fit a power law and K / q^4 + B at high q, and integrate q^2 I (G. Porod 1951).

    q, intensity, sigma : (points,) float64; q in 1/nm
    of_guinier : (guinier.NUMBERS,) float64, what the kernel `guinier` found
    settings : (SETTINGS,) float64
    numbers : (NUMBERS,) float64, written
    """
    points = q.shape[0]
    for column in range(NUMBERS):
        numbers[column] = math.nan
    rg = of_guinier[guinier.RG]
    q_min = settings[GIVEN_Q_MIN]
    q_max = settings[GIVEN_Q_MAX]
    if rg > 0.0:
        q_min = q_min if q_min > 0.0 else settings[MIN_Q_RG] / rg
        q_max = q_max if q_max > 0.0 else settings[MAX_Q_RG] / rg
    low = 0
    if q_min > 0.0:
        low = last_below(q, q_min)
        low += 1 if low < 0 or q[low] < q_min else 0
    high = last_below(q, q_max) if q_max > 0.0 else points - 1
    if high - low + 1 < settings[MIN_POINTS]:
        numbers[EXPONENT_RANGE] = FEW_POINTS
        numbers[LAW] = FEW_POINTS
        return
    log_space(intensity, sigma, y, w)
    for i in range(points):
        x[i] = log_poly(q[i])
    sum_up(x, y, w, n, x1, x2, x3, x4, y1, xy, x2y, y2)
    first, last = straight_range(x, low, high, settings, n, x1, x2, x3, x4, y1, xy, x2y, y2)
    numbers[EXPONENT_RANGE] = NOT_STRAIGHT
    if first >= 0:
        a, slope, _, _, _ = line(
            between(n, first, last),
            between(x1, first, last),
            between(x2, first, last),
            between(y1, first, last),
            between(xy, first, last),
        )
        a, p, _, vp, _, chi2 = decay_fit(x, intensity, sigma, first, last, a, -slope)
        numbers[EXPONENT_RANGE] = UNCERTAIN
        if math.sqrt(vp) <= settings[MAX_SIGMA]:
            numbers[EXPONENT] = p
            numbers[EXPONENT_SIGMA] = math.sqrt(vp)
            numbers[EXPONENT_Q_MIN] = q[first]
            numbers[EXPONENT_Q_MAX] = q[last]
            numbers[EXPONENT_REDUCED_CHI2] = chi2 / (last - first - 1)
            numbers[EXPONENT_RANGE] = FOUND
    if not q_min > 0.0:
        # Without Rg and without a range of its own, Porod's law is sought where a power law is.
        if first < 0:
            numbers[LAW] = NO_RANGE
            return
        low = first
        high = last
    with_background = settings[SUBTRACT_BACKGROUND] > 0.0
    count = high - low + 1
    freedom = count - (2 if with_background else 1)
    k, b, vk, vb, covariance, chi2, _ = porod_fit(
        q, intensity, sigma, low, high, 0.0, with_background
    )
    if not vk > 0.0:
        numbers[LAW] = FEW_POINTS
        return
    numbers[REDUCED_CHI2] = chi2 / freedom
    spread = spread_of(q, intensity, sigma, low, high, freedom, with_background)
    if spread > 0.0:
        k, b, vk, vb, covariance, chi2, _ = porod_fit(
            q, intensity, sigma, low, high, spread, with_background
        )
    numbers[CONSTANT] = k
    numbers[CONSTANT_SIGMA] = math.sqrt(vk)
    if with_background:
        numbers[BACKGROUND] = b
        numbers[BACKGROUND_SIGMA] = math.sqrt(vb)
    numbers[Q_MIN] = q[low]
    numbers[Q_MAX] = q[high]
    numbers[POINTS] = count
    numbers[LAW] = FOUND if k > _SIGNIFICANT * math.sqrt(vk) else NOT_SEEN
    if numbers[LAW] != FOUND:
        return
    begin = 0
    integral = 0.0
    variance = 0.0
    if settings[EXTRAPOLATE_LOW] > 0.0:
        if not rg > 0.0:
            return
        i0 = of_guinier[guinier.I0]
        begin = last_below(q, of_guinier[guinier.Q_MIN])
        integral, by_rg = guinier_part(rg, i0, q[begin])
        from_rg = by_rg * of_guinier[guinier.RG_SIGMA]
        from_i0 = integral / i0 * of_guinier[guinier.I0_SIGMA]
        shared = 2.0 * of_guinier[guinier.CORRELATION] * from_rg * from_i0
        variance = from_rg * from_rg + from_i0 * from_i0 + shared
    fit = (k, b, vk, vb, covariance, spread)
    with_tail = settings[EXTRAPOLATE_HIGH] > 0.0
    more, its_variance = invariant_of(
        q, intensity, sigma, begin, low, high, fit, with_background, with_tail
    )
    integral += more
    variance += its_variance
    numbers[INVARIANT] = integral
    numbers[INVARIANT_SIGMA] = math.sqrt(variance)
    if rg > 0.0 and integral > 0.0:
        i0 = of_guinier[guinier.I0]
        volume = 2.0 * math.pi * math.pi * i0 / integral
        share = of_guinier[guinier.I0_SIGMA] / i0
        numbers[VOLUME] = volume
        numbers[VOLUME_SIGMA] = volume * math.sqrt(share * share + variance / (integral * integral))
