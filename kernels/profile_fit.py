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
from gpusaxs.kernels.elementary import exp_minus
from gpusaxs.kernels.normal_matrix import factorise, invert, solve

# Parameters of the model, in the order of every small table here.
HEIGHT = 0
CENTRE = 1
FWHM = 2
ETA = 3
LEVEL = 4
SLOPE = 5
PARAMETERS = 6

GAUSSIAN = 0
LORENTZIAN = 1
PSEUDO_VOIGT = 2

_SQUARE = PARAMETERS * PARAMETERS
# parameters, trial, lower, upper, gradient, step, pinned, trial gradient; normal matrix, factor,
# trial matrix, covariance
WORKSPACE = 8 * PARAMETERS + 4 * _SQUARE
# Where they begin. (A function on a GPU cannot return a slice.)
LOWER = 2 * PARAMETERS
UPPER = 3 * PARAMETERS
_PINNED = 6 * PARAMETERS
_MATRIX = 8 * PARAMETERS
_FACTOR = _MATRIX + _SQUARE
_TRIAL_MATRIX = _MATRIX + 2 * _SQUARE
COVARIANCE = _MATRIX + 3 * _SQUARE
Workspace = Annotated[FloatArray, ScratchOf((WORKSPACE,))]

_LN2 = math.log(2.0)
_AREA_GAUSSIAN = 0.5 * math.sqrt(math.pi / _LN2)
_AREA_LORENTZIAN = 0.5 * math.pi

MAX_ITERATIONS = 60
# A step that is expected to lower chi-squared by less than this share of the reduced one is 3e-5
# of a standard uncertainty long.
_CONVERGED = 1e-9
# After the last iteration a hundredth of a standard uncertainty is near enough.
_NEARLY_CONVERGED = 1e-4


@device_function
def gaussian_row(x, p, gaussians):  # type: ignore[no-untyped-def]
    """Fill the Gaussian of the parameters `p`, with height one; x, gaussians : (points,)."""
    centre = p[CENTRE]
    inverse = 2.0 / p[FWHM]
    for i in range(x.shape[0]):
        u = (x[i] - centre) * inverse
        gaussians[i] = exp_minus(_LN2 * u * u)


@reassociating_function
def normal_equations(x, y, weight, p, matrix, gradient, gaussians):  # type: ignore[no-untyped-def]
    """Fill J^T W J and J^T W r of the model `p`; return chi-squared.

    x, y, weight : (points,) float64
    gaussians : (points,) float64, from `gaussian_row` of the same parameters
    """
    height, centre, eta, level, slope = p[HEIGHT], p[CENTRE], p[ETA], p[LEVEL], p[SLOPE]
    fwhm = p[FWHM]
    inverse = 2.0 / fwhm
    chi2 = 0.0
    a00 = a01 = a02 = a03 = a04 = a05 = 0.0
    a11 = a12 = a13 = a14 = a15 = 0.0
    a22 = a23 = a24 = a25 = 0.0
    a33 = a34 = a35 = 0.0
    a44 = a45 = a55 = 0.0
    g0 = g1 = g2 = g3 = g4 = g5 = 0.0
    for i in range(x.shape[0]):
        w = weight[i]
        u = (x[i] - centre) * inverse
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
    gradient[0], gradient[1], gradient[2] = g0, g1, g2
    gradient[3], gradient[4], gradient[5] = g3, g4, g5
    # Lower triangle, row by row.
    matrix[0] = a00
    matrix[6], matrix[7] = a01, a11
    matrix[12], matrix[13], matrix[14] = a02, a12, a22
    matrix[18], matrix[19], matrix[20], matrix[21] = a03, a13, a23, a33
    matrix[24], matrix[25], matrix[26], matrix[27], matrix[28] = a04, a14, a24, a34, a44
    matrix[30], matrix[31], matrix[32], matrix[33], matrix[34], matrix[35] = (
        a05,
        a15,
        a25,
        a35,
        a45,
        a55,
    )
    return chi2


@inlined_function
def fit_profile(x, y, weight, gaussians, workspace):  # type: ignore[no-untyped-def]
    """Fit height * pseudo-Voigt + level + slope x by weighted least squares within bounds.

    A parameter whose bounds coincide is fixed: eta 0 makes a Gaussian, 1 a Lorentzian. A
    parameter that the gradient presses against its bound is pinned there, so the others still
    converge quadratically (J.J. More 1978; the pinning is the usual projected step).

    Parameters
    ----------
    x, y, weight : (points,) float64
        Abscissa, ordinate, and 1/sigma.
    gaussians : (points,) float64
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
    matrix = workspace[_MATRIX:_FACTOR]
    factor = workspace[_FACTOR:_TRIAL_MATRIX]
    trial_matrix = workspace[_TRIAL_MATRIX:COVARIANCE]
    covariance = workspace[COVARIANCE:WORKSPACE]

    damping = 1e-3
    growth = 2.0
    expected = math.inf
    unit = 1.0
    status = codes.FIT_NOT_CONVERGED
    gaussian_row(x, p, gaussians)
    chi2 = normal_equations(x, y, weight, p, matrix, gradient, gaussians)
    for _ in range(MAX_ITERATIONS):
        for i in range(n):
            low = p[i] <= lower[i] and gradient[i] <= 0.0
            high = p[i] >= upper[i] and gradient[i] >= 0.0
            pinned[i] = 1.0 if low or high else 0.0
        if not factorise(matrix, n, n, damping, pinned, factor):
            if damping > 1e6:
                status = codes.FIT_SINGULAR
                break
            damping = max(10.0 * damping, 1e-6)
            continue
        for i in range(n):
            trial[i] = gradient[i] if pinned[i] == 0.0 else 0.0
        solve(factor, n, n, trial, step)
        expected = 0.0
        predicted = 0.0
        for i in range(n):
            trial[i] = min(max(p[i] + step[i], lower[i]), upper[i])
            if pinned[i] == 0.0:
                expected += step[i] * gradient[i]
                predicted += step[i] * step[i] * damping * matrix[i * n + i]
        predicted += expected
        unit = max(1.0, chi2 / x.shape[0])
        if expected < _CONVERGED * unit and damping < 1e-2:
            # The last step needs no other look: what it changes is below rounding.
            status = codes.FIT_CONVERGED
            for i in range(n):
                p[i] = trial[i]
            break
        # Steps are rarely refused: the equations come with chi-squared, in one pass.
        gaussian_row(x, trial, gaussians)
        trial_chi2 = normal_equations(x, y, weight, trial, trial_matrix, trial_gradient, gaussians)
        if trial_chi2 <= chi2:
            gain = 2.0 * (chi2 - trial_chi2) / predicted - 1.0
            chi2 = trial_chi2
            for i in range(n):
                p[i] = trial[i]
                gradient[i] = trial_gradient[i]
            for i in range(_SQUARE):
                matrix[i] = trial_matrix[i]
            # H.B. Nielsen (1999): the better the model predicted, the less damping.
            damping = max(damping * max(0.1, 1.0 - gain * gain * gain), 1e-12)
            growth = 2.0
        else:
            damping *= growth
            growth *= 2.0
            if damping > 1e12:
                # No step in any direction lowers chi-squared: this is the minimum to rounding.
                status = codes.FIT_CONVERGED
                break
    if status == codes.FIT_NOT_CONVERGED and expected < _NEARLY_CONVERGED * unit:
        status = codes.FIT_CONVERGED
    if status != codes.FIT_SINGULAR and not invert(matrix, n, n, pinned, factor, step, covariance):
        status = codes.FIT_SINGULAR
    if status == codes.FIT_CONVERGED:
        for i in range(n):
            if pinned[i] != 0.0 and lower[i] != upper[i]:
                if i != ETA:
                    status = codes.FIT_BOUND_HIT
                elif status == codes.FIT_CONVERGED:
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
        column = workspace[5 * n : 6 * n]
        invert(matrix, n, n, pinned, factor, column, workspace[COVARIANCE:WORKSPACE])
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
