"""Power-law background."""

from __future__ import annotations

import math

from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import Output, Row, Scratch, Shared, curve_kernel, device_function

_MAX_ITERATIONS = 100
_ROBUST_ROUNDS = 8
# Points this many standard uncertainties above the fit are peaks, not background.
_TOO_HIGH = 2.5


@device_function
def weighted_chi2(log_q, intensity, weight, a, b, c):  # type: ignore[no-untyped-def]
    """Sum of squared weighted deviations from b q^-a + c."""
    total = 0.0
    for i in range(log_q.shape[0]):
        r = (intensity[i] - b * math.exp(-a * log_q[i]) - c) * weight[i]
        total += r * r
    return total


@device_function
def fit_power_law(log_q, intensity, weight, a, b, c, with_constant):  # type: ignore[no-untyped-def]
    """Levenberg-Marquardt fit of b q^-a + c; returns a, b, c and whether it converged.

    log_q, intensity, weight : (points,) float64; weight is 1/sigma, 0 leaves a point out
    """
    damping = 1e-3
    chi2 = weighted_chi2(log_q, intensity, weight, a, b, c)
    for _ in range(_MAX_ITERATIONS):
        aa = ab = ac = bb = bc = cc = 0.0
        ga = gb = gc = 0.0
        for i in range(log_q.shape[0]):
            w = weight[i]
            power = math.exp(-a * log_q[i])
            da = -b * power * log_q[i] * w
            db = power * w
            dc = w if with_constant else 0.0
            r = (intensity[i] - b * power - c) * w
            aa += da * da
            ab += da * db
            ac += da * dc
            bb += db * db
            bc += db * dc
            cc += dc * dc
            ga += da * r
            gb += db * r
            gc += dc * r
        if not with_constant:
            cc = 1.0
        accepted = False
        while not accepted:
            # Cramer's rule on the damped symmetric 3 x 3 system.
            m00 = aa * (1.0 + damping)
            m11 = bb * (1.0 + damping)
            m22 = cc * (1.0 + damping)
            d0 = m11 * m22 - bc * bc
            d1 = ab * m22 - bc * ac
            d2 = ab * bc - m11 * ac
            determinant = m00 * d0 - ab * d1 + ac * d2
            if not abs(determinant) > 0.0 or math.isinf(determinant):
                return a, b, c, False
            step_a = (ga * d0 - gb * d1 + gc * d2) / determinant
            step_b = (
                -ga * d1 + gb * (m00 * m22 - ac * ac) - gc * (m00 * bc - ab * ac)
            ) / determinant
            step_c = (ga * d2 - gb * (m00 * bc - ab * ac) + gc * (m00 * m11 - ab * ab)) / (
                determinant
            )
            trial = weighted_chi2(log_q, intensity, weight, a + step_a, b + step_b, c + step_c)
            expected = step_a * ga + step_b * gb + step_c * gc
            if expected < 1e-14 * chi2:
                return a, b, c, True
            accepted = trial <= chi2
            if not accepted:
                damping *= 10.0
                if damping > 1e12:
                    return a, b, c, True
        a += step_a
        b += step_b
        c += step_c
        chi2 = trial
        damping = max(0.1 * damping, 1e-12)
    return a, b, c, False


@curve_kernel
def power_law(
    q: Row,
    intensity: Row,
    sigma: Row,
    background: Row,
    status: Output,
    with_constant: Shared,
    robust: Shared,
    share: Shared,
    log_q: Scratch,
    weight: Scratch,
) -> None:
    """Subtract `share` times b q^-a + c, fitted by weighted least squares from a = 3, b = 2.

    With `robust`, points far above the fit are left out and the fit repeated until their set
    stays the same: peaks stand on the background. Where the fit fails nothing is subtracted.

    q : (points,) float64, 1/nm
    intensity, sigma, background : (points,) float64, the curve's own unit
    """
    points = q.shape[0]
    for i in range(points):
        log_q[i] = math.log(q[i])
        weight[i] = 1.0 / sigma[i]
    a, b, c, converged = fit_power_law(log_q, intensity, weight, 3.0, 2.0, 0.0, with_constant)
    rounds = _ROBUST_ROUNDS if robust and converged else 0
    for _ in range(rounds):
        changed = False
        for i in range(points):
            excess = (intensity[i] - b * math.exp(-a * log_q[i]) - c) / sigma[i]
            new = 0.0 if excess > _TOO_HIGH else 1.0 / sigma[i]
            changed = changed or new != weight[i]
            weight[i] = new
        if not changed:
            break
        a, b, c, converged = fit_power_law(log_q, intensity, weight, a, b, c, with_constant)
        if not converged:
            break
    if not converged:
        status[0] |= codes.BACKGROUND_FAILED
        return
    for i in range(points):
        base = share * (b * math.exp(-a * log_q[i]) + c)
        background[i] += base
        intensity[i] -= base
