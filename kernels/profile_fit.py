"""Weighted Levenberg-Marquardt fit of one peak profile on a straight line."""

from __future__ import annotations

import math
from typing import Annotated

from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import (
    FloatArray,
    ScratchOf,
    device_function,
    inlined_function,
    reassociating_function,
)
from gpusaxs.kernels.elementary import exp_minus, exp_poly
from gpusaxs.kernels.normal_matrix import eliminate, factorise, invert, substitute

# Parameters of the model, in the order of every small table here.
HEIGHT = 0
CENTRE = 1
FWHM = 2
ETA = 3
LEVEL = 4
SLOPE = 5
ASYMMETRY = 6
PARAMETERS = 7

GAUSSIAN = 0
LORENTZIAN = 1
PSEUDO_VOIGT = 2
ASYMMETRIC = 3

_SQUARE = PARAMETERS * PARAMETERS
# Where the parts of the workspace begin. (A function on a GPU cannot return a slice.)
# parameters, trial, lower, upper, gradient, step, pinned, trial gradient, along; normal matrix,
# factor, trial matrix, covariance
_END = 9 * PARAMETERS + 4 * _SQUARE
# What the fit itself says of the asymmetry, and the inverse variance of that.
SHOWN = _END
SHOWN_PRECISION = _END + 1
WORKSPACE = _END + 2
LOWER = 2 * PARAMETERS
UPPER = 3 * PARAMETERS
_PINNED = 6 * PARAMETERS
_MATRIX = 9 * PARAMETERS
_FACTOR = _MATRIX + _SQUARE
_TRIAL_MATRIX = _MATRIX + 2 * _SQUARE
COVARIANCE = _MATRIX + 3 * _SQUARE
Workspace = Annotated[FloatArray, ScratchOf((WORKSPACE,))]

_LN2 = math.log(2.0)
_AREA_GAUSSIAN = 0.5 * math.sqrt(math.pi / _LN2)
_AREA_LORENTZIAN = 0.5 * math.pi

MAX_ITERATIONS = 30
# Passes after which a width that is far from where it started counts.
_SETTLED = 3
# The last step is one that is expected to lower chi-squared by less than this share of the reduced
# one, 3e-5 of a standard uncertainty long; or after which, as fast as steps got shorter, the next
# one would be.
_CONVERGED = 1e-9
_LAST_STEP = 1e-8
# After the last iteration a hundredth of a standard uncertainty is near enough.
_NEARLY_CONVERGED = 1e-4
# Curvature of chi-squared along a step over that of the normal matrix, less one.
_LEAST_BEND = -0.5
_MOST_BEND = 4.0
# It is that of the normal matrix where chi-squared fell by what was predicted, to this share.
_STRAIGHT = 0.05
# ln of the ratio of the widths of the two halves, at most; how far it differs from line to line.
MOST_ASYMMETRY = 1.5
_SPREAD = 0.1
# From a symmetric fit as near as this the gain of an asymmetry is known.
_NEAR = 2.0


@device_function
def width_below(asymmetry):  # type: ignore[no-untyped-def]
    """Width of a profile below its centre over its FWHM; that above is 2 less this."""
    return 2.0 / (1.0 + exp_poly(asymmetry))


@inlined_function
def gaussian_row(x, p, below, slanted, gaussians):  # type: ignore[no-untyped-def]
    """Fill the Gaussian of the parameters `p`, with height one; x, gaussians : (points,)."""
    centre = p[CENTRE]
    inverse = 2.0 / p[FWHM]
    inverse_below, inverse_above = inverse / below, inverse / (2.0 - below)
    for i in range(x.shape[0]):
        away = x[i] - centre
        if slanted:
            inverse = inverse_below if away < 0.0 else inverse_above
        u = away * inverse
        gaussians[i] = exp_minus(_LN2 * u * u)


@reassociating_function
def normal_equations(  # type: ignore[no-untyped-def]
    x, y, weight, p, below, slanted, matrix, gradient, gaussians
):
    """Fill J^T W J and J^T W r of the model `p`; return chi-squared.

    x, y, weight : (points,) float64
    below : width below the centre over the FWHM
    slanted : whether the asymmetry has a row; it is zero where it has none
    gaussians : (points,) float64, from `gaussian_row` of the same parameters
    """
    height, centre, eta, level, slope = p[HEIGHT], p[CENTRE], p[ETA], p[LEVEL], p[SLOPE]
    fwhm = p[FWHM]
    inverse = 2.0 / fwhm
    above = 2.0 - below
    inverse_below, inverse_above = inverse / below, inverse / above
    # d ln(width) / d asymmetry of the halves, times FWHM
    turn_below, turn_above = -0.5 * above * fwhm, 0.5 * below * fwhm
    chi2 = 0.0
    a00 = a01 = a02 = a03 = a04 = a05 = a06 = 0.0
    a11 = a12 = a13 = a14 = a15 = a16 = 0.0
    a22 = a23 = a24 = a25 = a26 = 0.0
    a33 = a34 = a35 = a36 = 0.0
    a44 = a45 = a46 = a55 = a56 = a66 = 0.0
    g0 = g1 = g2 = g3 = g4 = g5 = g6 = 0.0
    for i in range(x.shape[0]):
        w = weight[i]
        away = x[i] - centre
        if slanted:
            inverse = inverse_below if away < 0.0 else inverse_above
        u = away * inverse
        u2 = u * u
        lorentzian = 1.0 / (1.0 + u2)
        gaussian = gaussians[i]
        profile = eta * lorentzian + (1.0 - eta) * gaussian
        r = (y[i] - height * profile - level - slope * x[i]) * w
        # -dP/du / (2 u)
        fall = eta * lorentzian * lorentzian + (1.0 - eta) * _LN2 * gaussian
        scale = 2.0 * height * u * fall * w
        d0 = profile * w
        d1 = scale * inverse
        d2 = scale * u / fwhm
        d3 = height * (lorentzian - gaussian) * w
        d4 = w
        d5 = x[i] * w
        chi2 += r * r
        g0 += d0 * r
        g1 += d1 * r
        g2 += d2 * r
        g3 += d3 * r
        g4 += d4 * r
        g5 += d5 * r
        a00 += d0 * d0
        a01 += d0 * d1
        a02 += d0 * d2
        a03 += d0 * d3
        a04 += d0 * d4
        a05 += d0 * d5
        a11 += d1 * d1
        a12 += d1 * d2
        a13 += d1 * d3
        a14 += d1 * d4
        a15 += d1 * d5
        a22 += d2 * d2
        a23 += d2 * d3
        a24 += d2 * d4
        a25 += d2 * d5
        a33 += d3 * d3
        a34 += d3 * d4
        a35 += d3 * d5
        a44 += d4 * d4
        a45 += d4 * d5
        a55 += d5 * d5
        if slanted:
            d6 = d2 * (turn_below if away < 0.0 else turn_above)
            g6 += d6 * r
            a06 += d0 * d6
            a16 += d1 * d6
            a26 += d2 * d6
            a36 += d3 * d6
            a46 += d4 * d6
            a56 += d5 * d6
            a66 += d6 * d6
    gradient[0], gradient[1], gradient[2] = g0, g1, g2
    gradient[3], gradient[4], gradient[5] = g3, g4, g5
    gradient[6] = g6
    # Lower triangle, row by row.
    matrix[0] = a00
    matrix[7], matrix[8] = a01, a11
    matrix[14], matrix[15], matrix[16] = a02, a12, a22
    matrix[21], matrix[22], matrix[23], matrix[24] = a03, a13, a23, a33
    matrix[28], matrix[29], matrix[30], matrix[31], matrix[32] = a04, a14, a24, a34, a44
    matrix[35], matrix[36], matrix[37], matrix[38], matrix[39], matrix[40] = (
        a05,
        a15,
        a25,
        a35,
        a45,
        a55,
    )
    matrix[42], matrix[43], matrix[44], matrix[45], matrix[46], matrix[47], matrix[48] = (
        a06,
        a16,
        a26,
        a36,
        a46,
        a56,
        a66,
    )
    return chi2


@inlined_function
def equations(  # type: ignore[no-untyped-def]
    x, y, weight, p, slanted, expected_asymmetry, precision, matrix, gradient, gaussians
):
    """Fill the normal equations at `p`, with what is known of the asymmetry; return chi-squared."""
    if not slanted:
        gaussian_row(x, p, 1.0, False, gaussians)
        return normal_equations(x, y, weight, p, 1.0, False, matrix, gradient, gaussians)
    below = width_below(p[ASYMMETRY])
    gaussian_row(x, p, below, True, gaussians)
    chi2 = normal_equations(x, y, weight, p, below, True, matrix, gradient, gaussians)
    off = expected_asymmetry - p[ASYMMETRY]
    gradient[ASYMMETRY] += precision * off
    matrix[ASYMMETRY * PARAMETERS + ASYMMETRY] += precision
    return chi2 + precision * off * off


@device_function
def weight_of(precision):  # type: ignore[no-untyped-def]
    """Weight of an asymmetry among those of a curve, which differ by _SPREAD; 0.0 for none."""
    return precision / (1.0 + precision * _SPREAD * _SPREAD)


@device_function
def is_demanded(shown, precision, demand, all_precision, all_weighted):  # type: ignore[no-untyped-def]
    """Whether a line and the others of its curve show an asymmetry of `demand` uncertainties."""
    weight = weight_of(precision)
    total = all_weighted + weight * min(max(shown, -MOST_ASYMMETRY), MOST_ASYMMETRY)
    return total * total > demand * demand * (all_precision + weight)


@device_function
def hold_at_bounds(p, lower, upper, gradient, matrix, pinned, step, right):  # type: ignore[no-untyped-def]
    """Let parameters that a step takes past a bound go there; fill the equations of the others.

    p, lower, upper, gradient, pinned, step, right : (PARAMETERS,) float64
    matrix : (PARAMETERS * PARAMETERS,) float64, the lower triangle
    """
    for i in range(PARAMETERS):
        if pinned[i] == 0.0 and not lower[i] <= p[i] + step[i] <= upper[i]:
            step[i] = (lower[i] if step[i] < 0.0 else upper[i]) - p[i]
            pinned[i] = 1.0
    for i in range(PARAMETERS):
        right[i] = step[i]
        if pinned[i] == 0.0:
            right[i] = gradient[i]
            for j in range(PARAMETERS):
                if pinned[j] != 0.0:
                    right[i] -= matrix[max(i, j) * PARAMETERS + min(i, j)] * step[j]


@inlined_function
def curvature(step, gradient, next_gradient, matrix, along):  # type: ignore[no-untyped-def]
    """What to add to the normal matrix for its curvature along the last step to be that seen.

    The normal matrix leaves the curvature of the model itself out, which makes steps too long or
    too short where the residuals are not small (J.E. Dennis, D.M. Gay and R.E. Welsch, ACM Trans.
    Math. Softw. 7 (1981) 348).

    Returns
    -------
    bend
        The correction is `bend` times the outer product of `along`, which is written.
    """
    n = PARAMETERS
    expected = 0.0
    seen = 0.0
    for i in range(n):
        value = 0.0
        for j in range(n):
            value += matrix[max(i, j) * n + min(i, j)] * step[j]
        along[i] = value
        expected += step[i] * value
        seen += step[i] * (gradient[i] - next_gradient[i])
    if not expected > 0.0:
        return 0.0
    return min(max(seen / expected - 1.0, _LEAST_BEND), _MOST_BEND) / expected


@device_function
def predicted_loss(gradient, matrix, step):  # type: ignore[no-untyped-def]
    """What chi-squared loses by a step where the model is linear: 2 g s - s M s."""
    loss = 0.0
    for i in range(PARAMETERS):
        slope = 2.0 * gradient[i]
        for j in range(PARAMETERS):
            slope -= matrix[max(i, j) * PARAMETERS + min(i, j)] * step[j]
        loss += step[i] * slope
    return loss


@inlined_function
def fit_profile(  # type: ignore[no-untyped-def]
    x, y, weight, points, demand, all_precision, all_weighted, width_off, gaussians, workspace
):
    """Fit height * pseudo-Voigt + level + slope x by weighted least squares within bounds.

    A parameter whose bounds coincide is fixed: eta 0 makes a Gaussian, 1 a Lorentzian. A
    parameter that the gradient presses against its bound is pinned there, so the others still
    converge quadratically (J.J. More 1978; the pinning is the usual projected step); one that a
    step would take past its bound goes there, and the others follow it.

    An asymmetry that starts at zero is free only if it is demanded: once the symmetric fit is
    near its end, by what chi-squared would lose by it, to first order (C.R. Rao's score test,
    Proc. Camb. Phil. Soc. 44 (1948) 50).

    Parameters
    ----------
    x, y, weight : (points or more,) float64
        Abscissa, ordinate, and 1/sigma, which is zero behind the last point.
    points
        How many there are.
    demand
        Asymmetry over its standard uncertainty from which on it is free; infinite for a
        symmetric fit.
    all_precision, all_weighted
        Sum of the weights of what other lines of the curve show of the asymmetry, see
        `weight_of`, and that of the asymmetries times their weights.
    width_off
        How many times larger or smaller than one the FWHM may become before the fit is given up:
        `x` is in the wrong unit. Infinite for any.
    gaussians : (as many as x,) float64
        Working memory.
    workspace : (WORKSPACE,) float64
        On entry the starting parameters first, and their bounds from LOWER and UPPER on; on
        return the solution first, and its covariance, row by row, from COVARIANCE on (not scaled
        by chi-squared; zero for pinned parameters).

    Returns
    -------
    status, chi2
        A FIT_... code of `gpusaxs.kernels.status`, and chi-squared at the solution.
    """
    n = PARAMETERS
    p = workspace[0:n]
    trial = workspace[n : 2 * n]
    lower = workspace[LOWER : LOWER + n]
    upper = workspace[UPPER : UPPER + n]
    gradient = workspace[4 * n : 5 * n]
    step = workspace[5 * n : 6 * n]
    pinned = workspace[_PINNED : _PINNED + n]
    trial_gradient = workspace[7 * n : 8 * n]
    along = workspace[8 * n : 9 * n]
    matrix = workspace[_MATRIX:_FACTOR]
    factor = workspace[_FACTOR:_TRIAL_MATRIX]
    trial_matrix = workspace[_TRIAL_MATRIX:COVARIANCE]
    covariance = workspace[COVARIANCE:_END]

    expected_asymmetry = all_weighted / all_precision if all_precision > 0.0 else 0.0
    precision = weight_of(all_precision)
    workspace[SHOWN] = 0.0
    workspace[SHOWN_PRECISION] = 0.0
    damping = 1e-3
    growth = 2.0
    chi2 = math.inf
    predicted = math.inf
    bend = 0.0
    unit = 1.0
    free = p[ASYMMETRY] != 0.0
    judged = free or demand == math.inf
    slanted = False
    status = codes.FIT_NOT_CONVERGED
    for i in range(n):
        trial[i] = p[i]
        along[i] = 0.0
    for iteration in range(MAX_ITERATIONS):
        # Steps are rarely refused: the equations come with chi-squared, in one pass.
        with_asymmetry = free or (not judged and predicted < _NEAR * unit)
        trial_chi2 = equations(
            x, y, weight, trial, with_asymmetry, expected_asymmetry, precision if free else 0.0,
            trial_matrix, trial_gradient, gaussians,
        )  # fmt: skip
        if trial_chi2 <= chi2:
            if chi2 < math.inf:
                # H.B. Nielsen (1999): the better the model predicted, the less damping.
                gain = 2.0 * (chi2 - trial_chi2) / predicted - 1.0
                damping = max(damping * max(0.1, 1.0 - gain * gain * gain), 1e-12)
                growth = 2.0
                bend = 0.0
                if abs(gain - 1.0) > _STRAIGHT:
                    bend = curvature(step, gradient, trial_gradient, trial_matrix, along)
            chi2 = trial_chi2
            slanted = with_asymmetry
            for i in range(n):
                p[i] = trial[i]
                gradient[i] = trial_gradient[i]
            for i in range(_SQUARE):
                matrix[i] = trial_matrix[i]
        elif chi2 < math.inf:
            damping *= growth
            growth *= 2.0
            if damping > 1e12:
                # No step in any direction lowers chi-squared: this is the minimum to rounding.
                status = codes.FIT_CONVERGED
                break
        else:
            # The start itself has no chi-squared.
            status = codes.FIT_SINGULAR
            break
        if iteration >= _SETTLED and (p[FWHM] > width_off or p[FWHM] * width_off < 1.0):
            return codes.FIT_NOT_CONVERGED, chi2
        for i in range(n):
            low = p[i] <= lower[i] and gradient[i] <= 0.0
            high = p[i] >= upper[i] and gradient[i] >= 0.0
            pinned[i] = 1.0 if low or high else 0.0
            trial[i] = 0.0 if low or high else gradient[i]
        if not free and (judged or not slanted):
            pinned[ASYMMETRY] = 1.0
            trial[ASYMMETRY] = 0.0
        # Until the next pass there is room for the matrix of the step.
        for i in range(n):
            for j in range(i + 1):
                trial_matrix[i * n + j] = matrix[i * n + j] + bend * along[i] * along[j]
        held = False
        past = True
        while past:
            while not factorise(trial_matrix, n, n, damping, pinned, factor):
                if damping > 1e6:
                    status = codes.FIT_SINGULAR
                    break
                damping = max(10.0 * damping, 1e-6)
            if status == codes.FIT_SINGULAR:
                break
            eliminate(factor, n, n, trial, step)
            if slanted and not judged:
                judged = True
                shown = step[ASYMMETRY] * factor[_SQUARE - 1]
                own = 1.0 / factor[_SQUARE - 1]
                own /= max(1.0, (chi2 - shown * shown * own) / points)
                workspace[SHOWN] = shown
                workspace[SHOWN_PRECISION] = own
                free = is_demanded(shown, own, demand, all_precision, all_weighted)
                if free:
                    off = expected_asymmetry - p[ASYMMETRY]
                    chi2 += precision * off * off
                    gradient[ASYMMETRY] += precision * off
                    matrix[_SQUARE - 1] += precision
                    trial_matrix[_SQUARE - 1] += precision
                    trial[ASYMMETRY] = gradient[ASYMMETRY]
                    continue
                pinned[ASYMMETRY] = 1.0
                step[ASYMMETRY] = 0.0
            substitute(factor, n, n, step)
            past = False
            for i in range(n):
                beyond = (p[i] + step[i] < lower[i]) | (p[i] + step[i] > upper[i])
                past = past | (beyond & (pinned[i] == 0.0))
            if past:
                held = True
                hold_at_bounds(p, lower, upper, gradient, trial_matrix, pinned, step, trial)
        if status == codes.FIT_SINGULAR:
            break
        before = predicted
        predicted = 0.0
        for i in range(n):
            predicted += step[i] * (gradient[i] + step[i] * damping * trial_matrix[i * n + i])
        if held:
            predicted = predicted_loss(gradient, trial_matrix, step)
        for i in range(n):
            trial[i] = min(max(p[i] + step[i], lower[i]), upper[i])
        unit = max(1.0, chi2 / points)
        near = predicted < _CONVERGED * unit
        if predicted < _LAST_STEP * unit:
            near = near or predicted * predicted < _CONVERGED * unit * before
        if near and judged and damping < 1e-2:
            # The last step needs no other look.
            status = codes.FIT_CONVERGED
            chi2 = max(0.0, chi2 - predicted)
            for i in range(n):
                p[i] = trial[i]
            break
    if status == codes.FIT_NOT_CONVERGED and predicted < _NEARLY_CONVERGED * unit:
        status = codes.FIT_CONVERGED
    if status != codes.FIT_SINGULAR and not invert(matrix, n, n, pinned, factor, covariance):
        status = codes.FIT_SINGULAR
    variance = covariance[_SQUARE - 1]
    if free and status != codes.FIT_SINGULAR and variance > 0.0:
        own = 1.0 / variance - precision
        shown = p[ASYMMETRY] / variance - precision * expected_asymmetry
        workspace[SHOWN] = shown / own if own > 0.0 else 0.0
        workspace[SHOWN_PRECISION] = max(0.0, own) / max(1.0, chi2 / points)
    if status == codes.FIT_CONVERGED:
        for i in range(n):
            if pinned[i] != 0.0 and lower[i] != upper[i]:
                if i not in (ETA, ASYMMETRY):
                    status = codes.FIT_BOUND_HIT
                elif status == codes.FIT_CONVERGED and (i == ETA or free):
                    status = codes.FIT_SHAPE_AT_LIMIT
    return status, chi2


@device_function
def release_eta(workspace):  # type: ignore[no-untyped-def]
    """Let the covariance be that with eta free, where a fit has pinned it at a limit.

    With the shape taken for known an area would look far better known than it is.
    """
    n = PARAMETERS
    pinned = workspace[_PINNED : _PINNED + n]
    kept = pinned[ETA]
    if kept != 0.0 and workspace[LOWER + ETA] < workspace[UPPER + ETA]:
        pinned[ETA] = 0.0
        matrix = workspace[_MATRIX:_FACTOR]
        factor = workspace[_FACTOR:_TRIAL_MATRIX]
        invert(matrix, n, n, pinned, factor, workspace[COVARIANCE:_END])
        pinned[ETA] = kept


@device_function
def profile_area(height, fwhm, eta):  # type: ignore[no-untyped-def]
    """Area under a pseudo-Voigt: height fwhm (eta pi/2 + (1 - eta) sqrt(pi / ln 2) / 2)."""
    return height * fwhm * (eta * _AREA_LORENTZIAN + (1.0 - eta) * _AREA_GAUSSIAN)


@device_function
def area_variance(height, fwhm, eta, covariance, side, places):  # type: ignore[no-untyped-def]
    """Variance of `profile_area` from the covariance of height, FWHM and eta.

    covariance : rows of `side` numbers; places : of height, FWHM and eta among them
    """
    shape = eta * _AREA_LORENTZIAN + (1.0 - eta) * _AREA_GAUSSIAN
    by_height = fwhm * shape
    by_fwhm = height * shape
    by_eta = height * fwhm * (_AREA_LORENTZIAN - _AREA_GAUSSIAN)
    c = covariance
    h, w, e = places
    return (
        by_height * by_height * c[h * side + h]
        + by_fwhm * by_fwhm * c[w * side + w]
        + by_eta * by_eta * c[e * side + e]
        + 2.0 * by_height * by_fwhm * c[h * side + w]
        + 2.0 * by_height * by_eta * c[h * side + e]
        + 2.0 * by_fwhm * by_eta * c[w * side + e]
    )
