"""Power-law background."""

from __future__ import annotations

import math

from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import Output, Row, Scratch, Shared, curve_kernel, device_function
from gpusaxs.kernels.elementary import exp_poly, log_row
from gpusaxs.kernels.select import median

_MAX_ITERATIONS = 100
# A fit has converged when another step would lower chi-squared by less than this share of it.
_PRECISION = 1e-15
# Longest step of the exponent.
_LONGEST = 1.0
# Nothing scatters with a steeper power of q, falling or rising.
_STEEPEST = 8.0
_ROBUST_ROUNDS = 20
# Points this many times their scatter above the fit are peaks, not background.
_TOO_HIGH = 2.5
# Median of |x| of a normal variable with unit standard deviation.
_NORMAL = 0.6744897501960817
# Exponents that a fit may start from: smooth surfaces scatter with 4, mass fractals below 3; at
# wide angles the curve rises towards the halo of the solvent, and from 3 the fit ends elsewhere.
_STARTS = (3.0, 1.0, -1.0, -3.0)
# Fewer points do not tell the parameters from each other.
_LEAST_POINTS = 8


@device_function
def powers(log_q, a, power):  # type: ignore[no-untyped-def]
    """Write exp(-a log_q): q^-a in units of the q whose log_q is zero."""
    for i in range(log_q.shape[0]):
        power[i] = exp_poly(-a * log_q[i])


@device_function
def totals(intensity, weight):  # type: ignore[no-untyped-def]
    """Sums of weight, and of weight times intensity."""
    of_one = of_intensity = 0.0
    for i in range(intensity.shape[0]):
        of_one += weight[i]
        of_intensity += weight[i] * intensity[i]
    return of_one, of_intensity


@device_function
def power_totals(log_q, power, weight):  # type: ignore[no-untyped-def]
    """Sums of weight times power, and of weight times power times log_q."""
    of_power = of_slope = 0.0
    for i in range(power.shape[0]):
        term = weight[i] * power[i]
        of_power += term
        of_slope += term * log_q[i]
    return of_power, of_slope


@device_function
def products(log_q, intensity, power, weight, level, mean, slope):  # type: ignore[no-untyped-def]
    """Weighted products of power (p), its log_q-fold (s) and intensity (y), less their means.

    Returns pp, py, ps, ss.
    """
    pp = py = ps = ss = 0.0
    for i in range(power.shape[0]):
        p = power[i] - mean
        s = power[i] * log_q[i] - slope
        wp = weight[i] * p
        pp += wp * p
        py += wp * (intensity[i] - level)
        ps += wp * s
        ss += weight[i] * s * s
    return pp, py, ps, ss


@device_function
def deviations(log_q, intensity, power, weight, level, mean, slope, b):  # type: ignore[no-untyped-def]
    """Chi-squared, and the product of the deviations with power times log_q less its mean."""
    chi2 = gradient = 0.0
    for i in range(power.shape[0]):
        r = intensity[i] - level - b * (power[i] - mean)
        wr = weight[i] * r
        chi2 += wr * r
        gradient += wr * (power[i] * log_q[i] - slope)
    return chi2, gradient


@device_function
def evaluate(log_q, intensity, weight, a, with_constant, power):  # type: ignore[no-untyped-def]
    """Best b and c for an exponent, and where to go from there.

    Returns b, c, chi-squared, half its derivative by a, and half the second one as Gauss and
    Newton take it: without the curvature of the model.
    """
    powers(log_q, a, power)
    level = mean = slope = 0.0
    if with_constant:
        of_one, of_intensity = totals(intensity, weight)
        of_power, of_slope = power_totals(log_q, power, weight)
        level = of_intensity / of_one
        mean = of_power / of_one
        slope = of_slope / of_one
    pp, py, ps, ss = products(log_q, intensity, power, weight, level, mean, slope)
    b = py / pp
    chi2, gradient = deviations(log_q, intensity, power, weight, level, mean, slope, b)
    return b, level - b * mean, chi2, b * gradient, b * b * (ss - ps * ps / pp)


@device_function
def fit_power_law(log_q, intensity, weight, a, with_constant, power):  # type: ignore[no-untyped-def]
    """Least squares of b exp(-a log_q) + c from a given a; returns a, b, c, whether it converged.

    b and c are solved for at every a (variable projection: G.H. Golub, V. Pereyra, SIAM J. Numer.
    Anal. 10 (1973) 413), which leaves one dimension; its second derivative is Gauss's and
    Newton's first, then the secant's, damped wherever a step leads up.

    log_q, intensity, weight : (points,) float64; weight is 1/sigma^2, 0 leaves a point out
    power : (points,) float64, working memory
    """
    b, c, chi2, slope, curvature = evaluate(log_q, intensity, weight, a, with_constant, power)
    damping = 0.0
    for _ in range(_MAX_ITERATIONS):
        # Written so that NaN fails.
        if not (math.isfinite(chi2) and curvature > 0.0 and abs(a) < _STEEPEST):
            return a, b, c, False
        step = -slope / (curvature * (1.0 + damping))
        if slope * slope <= _PRECISION * chi2 * curvature or abs(step) <= 1e-15 * max(1.0, abs(a)):
            return a, b, c, True
        step = max(-_LONGEST, min(_LONGEST, step))
        trial_b, trial_c, trial_chi2, trial_slope, trial_curvature = evaluate(
            log_q, intensity, weight, a + step, with_constant, power
        )
        if trial_chi2 <= chi2:
            secant = (trial_slope - slope) / step
            curvature = secant if secant > 0.0 else trial_curvature
            slope = trial_slope
            a += step
            b = trial_b
            c = trial_c
            chi2 = trial_chi2
            damping = 0.0
        else:
            damping = max(1.0, 4.0 * damping)
    return a, b, c, False


@device_function
def best_start(log_q, intensity, weight, with_constant, power):  # type: ignore[no-untyped-def]
    """Return the one of the exponents to start from that fits best as it is."""
    best = _STARTS[0]
    least = math.inf
    for start in _STARTS:
        _, _, chi2, _, _ = evaluate(log_q, intensity, weight, start, with_constant, power)
        if chi2 < least:
            best = start
            least = chi2
    return best


@device_function
def leave_out_peaks(log_q, intensity, sigma, weight, a, b, c, power):  # type: ignore[no-untyped-def]
    """Give weight zero to points far above a fit, 1/sigma^2 to the others.

    Returns whether any weight changed, and how many points have one. The scatter that "far" is
    measured by is sigma, or what the points in use show where that is more: no power law follows
    a precise curve everywhere, and all that lies above it must not be lost.
    """
    points = log_q.shape[0]
    powers(log_q, a, power)
    count = 0
    for i in range(points):
        if weight[i] > 0.0:
            power[count] = abs(intensity[i] - b * power[i] - c) / sigma[i]
            count += 1
    limit = _TOO_HIGH * max(1.0, median(power, count) / _NORMAL)
    powers(log_q, a, power)
    changed = False
    kept = 0
    for i in range(points):
        excess = (intensity[i] - b * power[i] - c) / sigma[i]
        new = 0.0 if excess > limit else 1.0 / (sigma[i] * sigma[i])
        changed = changed or new != weight[i]
        weight[i] = new
        kept += new > 0.0
    return changed, kept


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
    power: Scratch,
) -> None:
    """Subtract `share` times b q^-a + c, fitted by weighted least squares.

    With `robust`, points far above the fit are left out and the fit repeated until their set
    stays the same: peaks stand on the background. Where the fit fails nothing is subtracted.

    q : (points,) float64, 1/nm
    intensity, sigma, background : (points,) float64, the curve's own unit
    """
    points = q.shape[0]
    log_row(q, log_q)
    # Powers of q over the middle of its range neither overflow nor hide the constant.
    middle = 0.5 * (log_q[0] + log_q[points - 1])
    for i in range(points):
        log_q[i] -= middle
        weight[i] = 1.0 / (sigma[i] * sigma[i])
    start = best_start(log_q, intensity, weight, with_constant, power)
    a, b, c, converged = fit_power_law(log_q, intensity, weight, start, with_constant, power)
    # Peaks can keep the first fit from converging; without them it may.
    rounds = _ROBUST_ROUNDS if robust and math.isfinite(b) and math.isfinite(c) else 0
    for _ in range(rounds):
        changed, kept = leave_out_peaks(log_q, intensity, sigma, weight, a, b, c, power)
        if not changed:
            break
        converged = kept >= _LEAST_POINTS
        if converged:
            a, b, c, converged = fit_power_law(log_q, intensity, weight, a, with_constant, power)
        if not converged:
            break
    if not converged:
        status[0] |= codes.BACKGROUND_FAILED
        return
    powers(log_q, a, power)
    for i in range(points):
        base = share * (b * power[i] + c)
        background[i] += base
        intensity[i] -= base
