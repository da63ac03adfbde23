"""Levenberg-Marquardt fit of several peaks on one straight line, by chi-squared or by counts."""

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
from gpusaxs.kernels.elementary import exp_minus, exp_poly, log_poly
from gpusaxs.kernels.normal_matrix import factorise, invert, solve

MAX_GROUP = 5
# Parameters of the model: the line and the shape, which all peaks have in common; then three
# numbers a peak; then the asymmetry, in common as well, where there is one.
LEVEL = 0
SLOPE = 1
ETA = 2
FIRST = 3
A_PEAK = 3
HEIGHT = 0
CENTRE = 1
FWHM = 2
MAX_PARAMETERS = FIRST + A_PEAK * MAX_GROUP + 1

# The residual is one more row; rows are taken two at a time.
_SIDE = MAX_PARAMETERS + 1 + (MAX_PARAMETERS + 1) % 2
_SQUARE = _SIDE * _SIDE
# Parameters, trial, lower, upper, step, pinned; normal matrix, trial matrix, factor, covariance.
LOWER = 2 * _SIDE
UPPER = 3 * _SIDE
_STEP = 4 * _SIDE
PINNED = 5 * _SIDE
MATRIX = 6 * _SIDE
_TRIAL_MATRIX = MATRIX + _SQUARE
FACTOR = MATRIX + 2 * _SQUARE
COVARIANCE = MATRIX + 3 * _SQUARE
WORKSPACE = MATRIX + 4 * _SQUARE
Workspace = Annotated[FloatArray, ScratchOf((WORKSPACE,))]

# Points whose derivatives are held at once.
BLOCK = 64
_X = _SIDE
_Y = _SIDE + 1
_SECOND = _SIDE + 2
_MODEL = _SIDE + 3
_GAUSSIAN = _SIDE + 4
DERIVATIVES = (_SIDE + 5, BLOCK)
Derivatives = Annotated[FloatArray, ScratchOf(DERIVATIVES)]

_LN2 = math.log(2.0)

MAX_ITERATIONS = 60
# A step that is expected to lower chi-squared by less than this share of the reduced one is 3e-5
# of a standard uncertainty long.
_CONVERGED = 1e-9
# After the last iteration a hundredth of a standard uncertainty is near enough.
_NEARLY_CONVERGED = 1e-4
# A model of counts is never below this many.
_FEWEST_COUNTS = 1e-3


@device_function
def parameters_of(peaks, asymmetric):  # type: ignore[no-untyped-def]
    """Number of parameters of a model."""
    return FIRST + A_PEAK * peaks + (1 if asymmetric else 0)


@device_function
def side_of(n):  # type: ignore[no-untyped-def]
    """Length of a row of the normal matrix of `n` parameters: one more, and even."""
    return n + 1 + (n + 1) % 2


@device_function
def load_block(x, y, second, first, rows):  # type: ignore[no-untyped-def]
    """Copy the points from `first` on; behind the last of them the weight is zero."""
    points = min(BLOCK, x.shape[0] - first)
    to_x, to_y, to_second = rows[_X], rows[_Y], rows[_SECOND]
    for i in range(points):
        to_x[i] = x[first + i]
        to_y[i] = y[first + i]
        to_second[i] = second[first + i]
    for i in range(points, BLOCK):
        to_x[i] = to_y[i] = to_second[i] = 0.0
    return points


@device_function
def profile_rows(p, n, peaks, asymmetric, rows):  # type: ignore[no-untyped-def]
    """Fill the model, and its derivatives by the parameters, at the points of a block."""
    level, slope, eta = p[LEVEL], p[SLOPE], p[ETA]
    below = above = 1.0
    if asymmetric:
        below = 2.0 / (1.0 + exp_poly(p[n - 1]))
        above = 2.0 - below
    width = rows.shape[1]
    x, model, gaussian = rows[_X], rows[_MODEL], rows[_GAUSSIAN]
    by_level, by_slope, by_eta, by_asymmetry = rows[LEVEL], rows[SLOPE], rows[ETA], rows[n - 1]
    for i in range(width):
        model[i] = level + slope * x[i]
        by_level[i] = 1.0
        by_slope[i] = x[i]
        by_eta[i] = 0.0
    if asymmetric:
        for i in range(width):
            by_asymmetry[i] = 0.0
    for k in range(peaks):
        place = FIRST + A_PEAK * k
        height, centre, fwhm = p[place + HEIGHT], p[place + CENTRE], p[place + FWHM]
        by_height = rows[place + HEIGHT]
        by_centre = rows[place + CENTRE]
        by_fwhm = rows[place + FWHM]
        inverse_below, inverse_above = 2.0 / (fwhm * below), 2.0 / (fwhm * above)
        for i in range(width):
            away = x[i] - centre
            u = away * (inverse_below if away < 0.0 else inverse_above)
            gaussian[i] = exp_minus(_LN2 * u * u)
        for i in range(width):
            away = x[i] - centre
            inverse = inverse_below if away < 0.0 else inverse_above
            u = away * inverse
            lorentzian = 1.0 / (1.0 + u * u)
            profile = eta * lorentzian + (1.0 - eta) * gaussian[i]
            # -dP/du / (2 u)
            fall = eta * lorentzian * lorentzian + (1.0 - eta) * _LN2 * gaussian[i]
            scale = 2.0 * height * u * fall
            by_height[i] = profile
            by_centre[i] = scale * inverse
            by_fwhm[i] = scale * u / fwhm
            by_eta[i] += height * (lorentzian - gaussian[i])
            model[i] += height * profile
        if asymmetric:
            for i in range(width):
                # d ln(width) / d asymmetry of the half on which the point lies
                turn = -0.5 * above if x[i] < centre else 0.5 * below
                by_asymmetry[i] += by_fwhm[i] * fwhm * turn


@reassociating_function
def add_products(rows, side, matrix):  # type: ignore[no-untyped-def]
    """Add the products of all pairs of rows, summed over a block, to the matrix (lower half)."""
    for i in range(0, side, 2):
        a = rows[i]
        b = rows[i + 1]
        for j in range(0, i + 2, 2):
            c = rows[j]
            d = rows[j + 1]
            ac = ad = bc = bd = 0.0
            for t in range(a.shape[0]):
                ac += a[t] * c[t]
                ad += a[t] * d[t]
                bc += b[t] * c[t]
                bd += b[t] * d[t]
            matrix[i * side + j] += ac
            matrix[i * side + j + 1] += ad
            matrix[(i + 1) * side + j] += bc
            matrix[(i + 1) * side + j + 1] += bd


@inlined_function
def normal_equations(  # type: ignore[no-untyped-def]
    x, y, second, counting, peaks, asymmetric, p, n, matrix, rows
):
    """Fill J^T W J, and under it J^T W r and r^T W r; return what the fit makes least.

    Chi-squared, or with `counting` the deviance 2 sum(c - k + k ln(k / c)) of k counts where c
    are expected, whose normal equations are those of chi-squared with the model's own variance.
    """
    side = side_of(n)
    width = rows.shape[1]
    for i in range(side * side):
        matrix[i] = 0.0
    deviance = 0.0
    y_row, beside, model, residual = rows[_Y], rows[_SECOND], rows[_MODEL], rows[n]
    if side > n + 1:
        unused = rows[n + 1]
        for i in range(width):
            unused[i] = 0.0
    for first in range(0, x.shape[0], BLOCK):
        points = load_block(x, y, second, first, rows)
        profile_rows(p, n, peaks, asymmetric, rows)
        for i in range(width):
            residual[i] = y_row[i] - model[i]
        if counting > 0.0:
            for i in range(points):
                expected = max(counting * (model[i] + beside[i]), _FEWEST_COUNTS)
                counted = counting * (y_row[i] + beside[i])
                beside[i] = counting / math.sqrt(expected)
                ratio = counted / expected
                information = counted * log_poly(ratio) if ratio > 0.0 else 0.0
                deviance += 2.0 * (expected - counted + information)
        for k in range(n + 1):
            row = rows[k]
            for i in range(width):
                row[i] *= beside[i]
        add_products(rows, side, matrix)
    return deviance if counting > 0.0 else matrix[n * side + n]


@device_function
def release_eta(n, workspace):  # type: ignore[no-untyped-def]
    """Let the covariance be that with eta free: see `gpusaxs.kernels.profile_fit.release_eta`."""
    side = side_of(n)
    square = side * side
    pinned = workspace[PINNED : PINNED + n]
    kept = pinned[ETA]
    if kept != 0.0 and workspace[LOWER + ETA] < workspace[UPPER + ETA]:
        pinned[ETA] = 0.0
        matrix = workspace[MATRIX : MATRIX + square]
        factor = workspace[FACTOR : FACTOR + square]
        invert(matrix, n, side, pinned, factor, workspace[COVARIANCE : COVARIANCE + square])
        pinned[ETA] = kept


@inlined_function
def fit_joint(  # type: ignore[no-untyped-def]
    x, y, second, counting, peaks, asymmetric, expected_asymmetry, precision, rows, workspace
):
    """Fit pseudo-Voigts of one shape on a straight line within bounds.

    A parameter whose bounds coincide is fixed: eta 0 makes Gaussians, 1 Lorentzians. A parameter
    that the gradient presses against its bound is pinned there, so the others still converge
    quadratically (J.J. More 1978; the pinning is the usual projected step).

    Parameters
    ----------
    x, y : (points,) float64
        Abscissa and ordinate.
    second : (points,) float64
        1/sigma; with `counting` what the detector counted beside the model and `y`.
    counting
        Counts in one unit of intensity, where the counts' likelihood is asked for; 0.0 for
        least squares.
    peaks
        Up to MAX_GROUP.
    asymmetric
        Whether the last parameter is an asymmetry: ln of the width above a centre over the
        width below it.
    expected_asymmetry, precision
        What is known of it beforehand, and its inverse variance; 0.0 for nothing.
    rows : DERIVATIVES float64
        Working memory.
    workspace : (WORKSPACE,) float64
        On entry the starting parameters first, and their bounds from LOWER and UPPER on; on
        return the solution first, which parameters are pinned from PINNED on, the normal matrix,
        with the gradient as its last row, from MATRIX on, and the covariance from COVARIANCE on
        (not scaled by chi-squared; zero for pinned parameters). Rows are `side_of(n)` long.

    Returns
    -------
    status, objective, chi2
        A FIT_... code of `gpusaxs.kernels.status`; chi-squared or the deviance at the solution;
        and chi-squared, with `counting` that of Pearson.
    """
    n = parameters_of(peaks, asymmetric)
    side = side_of(n)
    p = workspace[0:n]
    trial = workspace[_SIDE : _SIDE + n]
    lower = workspace[LOWER : LOWER + n]
    upper = workspace[UPPER : UPPER + n]
    step = workspace[_STEP : _STEP + n]
    pinned = workspace[PINNED : PINNED + n]
    matrix = workspace[MATRIX : MATRIX + side * side]
    trial_matrix = workspace[_TRIAL_MATRIX : _TRIAL_MATRIX + side * side]
    factor = workspace[FACTOR : FACTOR + side * side]
    covariance = workspace[COVARIANCE : COVARIANCE + side * side]
    gradient = matrix[n * side : n * side + n]

    # The start is a fit already.
    damping = 1e-5
    growth = 2.0
    objective = math.inf
    expected = math.inf
    predicted = math.inf
    unit = 1.0
    status = codes.FIT_NOT_CONVERGED
    for i in range(n):
        trial[i] = p[i]
    for _ in range(MAX_ITERATIONS):
        trial_objective = normal_equations(
            x, y, second, counting, peaks, asymmetric, trial, n, trial_matrix, rows
        )
        if precision > 0.0:
            off = expected_asymmetry - trial[n - 1]
            trial_objective += precision * off * off
            trial_matrix[(n - 1) * side + n - 1] += precision
            trial_matrix[n * side + n - 1] += precision * off
        if trial_objective <= objective:
            # H.B. Nielsen (1999): the better the model predicted, the less damping.
            if objective < math.inf:
                gain = 2.0 * (objective - trial_objective) / predicted - 1.0
                damping = max(damping * max(0.1, 1.0 - gain * gain * gain), 1e-12)
                growth = 2.0
            objective = trial_objective
            for i in range(n):
                p[i] = trial[i]
            for i in range(side * side):
                matrix[i] = trial_matrix[i]
        elif objective < math.inf:
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
        for i in range(n):
            low = p[i] <= lower[i] and gradient[i] <= 0.0
            high = p[i] >= upper[i] and gradient[i] >= 0.0
            pinned[i] = 1.0 if low or high else 0.0
        while not factorise(matrix, n, side, damping, pinned, factor):
            if damping > 1e6:
                status = codes.FIT_SINGULAR
                break
            damping = max(10.0 * damping, 1e-6)
        if status == codes.FIT_SINGULAR:
            break
        for i in range(n):
            trial[i] = gradient[i] if pinned[i] == 0.0 else 0.0
        solve(factor, n, side, trial, step)
        expected = 0.0
        predicted = 0.0
        for i in range(n):
            trial[i] = min(max(p[i] + step[i], lower[i]), upper[i])
            if pinned[i] == 0.0:
                expected += step[i] * gradient[i]
                predicted += step[i] * step[i] * damping * matrix[i * side + i]
        predicted += expected
        unit = max(1.0, objective / x.shape[0])
        if expected < _CONVERGED * unit and damping < 1e-2:
            # The last step needs no other look: what it changes is below rounding.
            status = codes.FIT_CONVERGED
            for i in range(n):
                p[i] = trial[i]
            break
    if status == codes.FIT_NOT_CONVERGED and expected < _NEARLY_CONVERGED * unit:
        status = codes.FIT_CONVERGED
    if status != codes.FIT_SINGULAR and not invert(matrix, n, side, pinned, factor, covariance):
        status = codes.FIT_SINGULAR
    return status, objective, matrix[n * side + n]
