"""Least squares of a peak's width and height within bounds, its centre fixed.

The trust-region reflective algorithm (M.A. Branch, T.F. Coleman, Y. Li, SIAM J. Sci. Comput. 21
(1999) 1) with the steps, tolerances and starting point of `scipy.optimize.curve_fit` with bounds,
``method="trf"``: of several minima it ends in the same one. In two dimensions the singular value
decomposition that SciPy takes of the Jacobian is a rotation of the normal equations.

Here s is the width and a the height; a hat, in names ``_hat``, marks what is scaled by the square
root of the distance to the bound that a parameter moves towards.
"""

from __future__ import annotations

import math

from gpusaxs.kernels.curve_kernel import device_function
from gpusaxs.kernels.elementary import exp_poly

_EPSILON = 2.220446049250313e-16
_TOLERANCE = 1e-8
_MAX_EVALUATIONS = 200
_MAX_ROUNDS = 10
# A step ends this share of the way to a bound.
_STEP_BACK = 0.995


@device_function
def profile_row(x2, gaussian, s, profile):  # type: ignore[no-untyped-def]
    """Write exp(-x^2 / s^2), or the parabola 1 - x^2 / s^2.

    x2, profile : (points,) float64; x2 is the squared distance from the centre
    """
    inverse = 1.0 / (s * s)
    if gaussian:
        for i in range(x2.shape[0]):
            profile[i] = exp_poly(-x2[i] * inverse)
    else:
        for i in range(x2.shape[0]):
            profile[i] = 1.0 - x2[i] * inverse


@device_function
def normal_equations(x2, y, weight, gaussian, s, a, profile):  # type: ignore[no-untyped-def]
    """Half chi-squared of a profile; its gradient by s and a; J^T J as ss, sa, aa.

    x2, y, weight, profile : (points,) float64; weight is 1 / sigma, profile working memory
    """
    profile_row(x2, gaussian, s, profile)
    rising = 2.0 * a / (s * s * s)
    cost = of_s = of_a = ss = sa = aa = 0.0
    for i in range(x2.shape[0]):
        by_a = weight[i] * profile[i]
        by_s = rising * x2[i] * (by_a if gaussian else weight[i])
        r = a * by_a - weight[i] * y[i]
        cost += r * r
        of_s += by_s * r
        of_a += by_a * r
        ss += by_s * by_s
        sa += by_s * by_a
        aa += by_a * by_a
    return 0.5 * cost, of_s, of_a, ss, sa, aa


@device_function
def distance_to_bound(value, gradient, low, high):  # type: ignore[no-untyped-def]
    """How far a parameter may go down the gradient; 1 without a gradient."""
    if gradient < 0.0:
        return high - value
    if gradient > 0.0:
        return value - low
    return 1.0


@device_function
def kept_inside(value, low, high):  # type: ignore[no-untyped-def]
    """Return a value that is on neither bound."""
    if value <= low:
        return low + _EPSILON * abs(low)
    if value >= high:
        return high - 0.5 * _EPSILON * abs(high)
    return value


@device_function
def quadratic(g_s, g_a, ss, sa, aa, p_s, p_a):  # type: ignore[no-untyped-def]
    """Value of g p + p M p / 2."""
    return g_s * p_s + g_a * p_a + 0.5 * (ss * p_s * p_s + aa * p_a * p_a) + sa * p_s * p_a


@device_function
def lowest_between(square, linear, low, high):  # type: ignore[no-untyped-def]
    """Where, from `low` to `high`, ``square t^2 + linear t`` is lowest."""
    best = low
    if high * (square * high + linear) < low * (square * low + linear):
        best = high
    if square != 0.0:
        t = -0.5 * linear / square
        if low < t < high and t * (square * t + linear) < best * (square * best + linear):
            best = t
    return best


@device_function
def regularised_length(first, second, c_first, c_second, alpha):  # type: ignore[no-untyped-def]
    """Length of (M + alpha)^-1 c in the basis of M's eigenvectors, and its derivative by alpha."""
    a = first + alpha
    b = second + alpha
    length = math.hypot(c_first / a, c_second / b)
    slope = -(c_first * c_first / (a * a * a) + c_second * c_second / (b * b * b)) / length
    return length, slope


@device_function
def trust_region_step(g_s, g_a, ss, sa, aa, radius, alpha, points):  # type: ignore[no-untyped-def]
    """Lowest point of the quadratic within the radius (J.J. More, 1978); and the new alpha."""
    angle = 0.5 * math.atan2(2.0 * sa, ss - aa)
    cosine = math.cos(angle)
    sine = math.sin(angle)
    first = 0.5 * (ss + aa) + math.hypot(0.5 * (ss - aa), sa)
    second = max(0.0, (ss * aa - sa * sa) / first)
    c_first = cosine * g_s + sine * g_a
    c_second = cosine * g_a - sine * g_s
    full_rank = math.sqrt(second) > _EPSILON * points * math.sqrt(first)
    longest = math.hypot(c_first, c_second) / radius
    shortest = 0.0
    if full_rank:
        length, slope = regularised_length(first, second, c_first, c_second, 0.0)
        if length <= radius:
            p_first = -c_first / first
            p_second = -c_second / second
            return cosine * p_first - sine * p_second, sine * p_first + cosine * p_second, 0.0
        shortest = -(length - radius) / slope
    if not full_rank and alpha == 0.0:
        alpha = max(0.001 * longest, math.sqrt(shortest * longest))
    for _ in range(_MAX_ROUNDS):
        if alpha < shortest or alpha > longest:
            alpha = max(0.001 * longest, math.sqrt(shortest * longest))
        length, slope = regularised_length(first, second, c_first, c_second, alpha)
        excess = length - radius
        if excess < 0.0:
            longest = alpha
        shortest = max(shortest, alpha - excess / slope)
        alpha -= length * excess / (slope * radius)
        if abs(excess) < 0.01 * radius:
            break
    p_first = -c_first / (first + alpha)
    p_second = -c_second / (second + alpha)
    shrink = radius / math.hypot(p_first, p_second)
    p_s = shrink * (cosine * p_first - sine * p_second)
    p_a = shrink * (sine * p_first + cosine * p_second)
    return p_s, p_a, alpha


@device_function
def stride(value, step, low, high):  # type: ignore[no-untyped-def]
    """Multiple of a step that ends on a bound."""
    if step == 0.0:
        return math.inf
    return max((low - value) / step, (high - value) / step)


@device_function
def select_step(  # type: ignore[no-untyped-def]
    s, a, low_s, high_s, low_a, high_a, d_s, d_a, g_s, g_a, ss, sa, aa, p_s, p_a, radius, theta
):
    """Best of the trust region's step, the same reflected at a bound, and the steepest descent.

    All steps are hatted; `d_s` and `d_a` take the hat off. Returns the step and how far the
    quadratic falls along it.
    """
    if low_s <= s + d_s * p_s <= high_s and low_a <= a + d_a * p_a <= high_a:
        return p_s, p_a, -quadratic(g_s, g_a, ss, sa, aa, p_s, p_a)

    to_s = stride(s, d_s * p_s, low_s, high_s)
    to_a = stride(a, d_a * p_a, low_a, high_a)
    to_bound = min(to_s, to_a)
    # The reflected step begins where the step meets the bound.
    r_s = -p_s if to_s == to_bound else p_s
    r_a = -p_a if to_a == to_bound else p_a
    p_s *= to_bound
    p_a *= to_bound
    square = r_s * r_s + r_a * r_a
    along = p_s * r_s + p_a * r_a
    inside = p_s * p_s + p_a * p_a - radius * radius
    far = -(along + math.copysign(math.sqrt(max(0.0, along * along - square * inside)), along))
    to_radius = max(far / square, inside / far)
    to_next = min(
        stride(s + d_s * p_s, d_s * r_s, low_s, high_s),
        stride(a + d_a * p_a, d_a * r_a, low_a, high_a),
    )
    longest = min(to_next, to_radius)
    reflected = math.inf
    if longest > 0.0:
        shortest = (1.0 - theta) * to_bound / longest
        if longest == to_next:
            longest = theta * to_next
        if shortest <= longest:
            m_s = ss * r_s + sa * r_a
            m_a = sa * r_s + aa * r_a
            half_square = 0.5 * (r_s * m_s + r_a * m_a)
            linear = g_s * r_s + g_a * r_a + p_s * m_s + p_a * m_a
            t = lowest_between(half_square, linear, shortest, longest)
            r_s = p_s + t * r_s
            r_a = p_a + t * r_a
            reflected = quadratic(g_s, g_a, ss, sa, aa, r_s, r_a)
    p_s *= theta
    p_a *= theta
    direct = quadratic(g_s, g_a, ss, sa, aa, p_s, p_a)

    to_bound = min(
        stride(s, -d_s * g_s, low_s, high_s),
        stride(a, -d_a * g_a, low_a, high_a),
    )
    to_radius = radius / math.hypot(g_s, g_a)
    longest = theta * to_bound if to_bound < to_radius else to_radius
    half_square = quadratic(0.0, 0.0, ss, sa, aa, g_s, g_a)
    t = lowest_between(half_square, -g_s * g_s - g_a * g_a, 0.0, longest)
    steepest = quadratic(g_s, g_a, ss, sa, aa, -t * g_s, -t * g_a)
    if direct < reflected and direct < steepest:
        return p_s, p_a, -direct
    if reflected < direct and reflected < steepest:
        return r_s, r_a, -reflected
    return -t * g_s, -t * g_a, -steepest


@device_function
def fit_within_bounds(x2, y, weight, gaussian, low_s, high_s, low_a, high_a, profile):  # type: ignore[no-untyped-def]
    """Least squares of ``a exp(-x^2 / s^2)`` or ``a (1 - x^2 / s^2)``; s, a, whether it converged.

    It starts in the middle of the bounds, and never leaves them.

    x2, y, weight, profile : (points,) float64; x2 is the squared distance from the centre, weight
        1 / sigma, profile working memory
    """
    points = x2.shape[0]
    s = 0.5 * (low_s + high_s)
    a = 0.5 * (low_a + high_a)
    cost, of_s, of_a, ss, sa, aa = normal_equations(x2, y, weight, gaussian, s, a, profile)
    v_s = distance_to_bound(s, of_s, low_s, high_s)
    v_a = distance_to_bound(a, of_a, low_a, high_a)
    radius = math.hypot(s / math.sqrt(v_s), a / math.sqrt(v_a))
    alpha = 0.0
    evaluations = 1
    while True:
        v_s = distance_to_bound(s, of_s, low_s, high_s)
        v_a = distance_to_bound(a, of_a, low_a, high_a)
        flatness = max(abs(of_s * v_s), abs(of_a * v_a))
        # Written so that NaN ends it as well.
        if not flatness >= _TOLERANCE:
            return s, a, flatness < _TOLERANCE
        d_s = math.sqrt(v_s)
        d_a = math.sqrt(v_a)
        g_s = d_s * of_s
        g_a = d_a * of_a
        m_ss = d_s * d_s * ss + abs(of_s)
        m_sa = d_s * d_a * sa
        m_aa = d_a * d_a * aa + abs(of_a)
        theta = max(_STEP_BACK, 1.0 - flatness)
        accepted = False
        while not accepted:
            if evaluations == _MAX_EVALUATIONS:
                return s, a, False
            p_s, p_a, alpha = trust_region_step(g_s, g_a, m_ss, m_sa, m_aa, radius, alpha, points)
            p_s, p_a, predicted = select_step(
                s, a, low_s, high_s, low_a, high_a, d_s, d_a,
                g_s, g_a, m_ss, m_sa, m_aa, p_s, p_a, radius, theta,
            )  # fmt: skip
            new_s = kept_inside(s + d_s * p_s, low_s, high_s)
            new_a = kept_inside(a + d_a * p_a, low_a, high_a)
            new_cost, new_of_s, new_of_a, new_ss, new_sa, new_aa = normal_equations(
                x2, y, weight, gaussian, new_s, new_a, profile
            )
            evaluations += 1
            gain = cost - new_cost
            length = math.hypot(p_s, p_a)
            ratio = gain / predicted if predicted > 0.0 else 0.0
            new_radius = radius
            if not ratio >= 0.25:
                new_radius = 0.25 * length
            elif ratio > 0.75 and length > 0.95 * radius:
                new_radius = 2.0 * radius
            small = gain < _TOLERANCE * cost and ratio > 0.25
            short = math.hypot(d_s * p_s, d_a * p_a) < _TOLERANCE * (_TOLERANCE + math.hypot(s, a))
            accepted = gain > 0.0
            if accepted:
                s = new_s
                a = new_a
                cost = new_cost
                of_s = new_of_s
                of_a = new_of_a
                ss = new_ss
                sa = new_sa
                aa = new_aa
            if small or short:
                return s, a, True
            alpha *= radius / new_radius
            radius = new_radius
