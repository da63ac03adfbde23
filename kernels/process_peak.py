"""Fit the current peak of a curve and take it away."""

from __future__ import annotations

import math

from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import profile_fit as fit
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import (
    Output,
    PerCurve,
    Row,
    Rows,
    Scratch,
    Shared,
    curve_kernel,
    device_function,
)
from gpusaxs.kernels.elementary import exp_minus

_LN2 = math.log(2.0)
# A fit that starts from a wrong width may need this much more or less of it.
_NARROWEST = 0.15
_WIDEST = 4.0
# A fitted FWHM this many times off the estimated one calls for another window.
_WIDTH_OFF = 1.7
_WINDOW_TRIALS = 3
# A FWHM beyond this share of q is no peak but a slope.
_BROADEST = 0.5
# The model is taken away within this many FWHM of the centre.
_SUBTRACT_REACH = 12.0
# The window ends in a valley where the curve rises again by this many standard uncertainties.
_VALLEY_RISE = 5.0


@device_function
def half_width(q, search, index, level, direction):  # type: ignore[no-untyped-def]
    """Distance in q from point `index` to where the search curve falls below `level`; NaN if not.

    `direction` is -1 or 1.
    """
    points = q.shape[0]
    i = index
    while 0 <= i + direction < points:
        i += direction
        if search[i] < level:
            inner = search[i - direction]
            share = (inner - level) / (inner - search[i])
            return abs(q[i - direction] + share * (q[i] - q[i - direction]) - q[index])
    return math.nan


@device_function
def window_edge(q, search, noise, index, reach, least, direction):  # type: ignore[no-untyped-def]
    """Last point of the fit's window on one side.

    At most `reach` away in q; nearer where the curve passes a valley and rises to a neighbour,
    but at least `least` away in q and four points.
    """
    points = q.shape[0]
    lowest = search[index]
    valley = index
    i = index
    while 0 <= i + direction < points and (
        abs(q[i + direction] - q[index]) <= reach or abs(i + direction - index) <= 4
    ):
        i += direction
        if search[i] < lowest:
            lowest = search[i]
            valley = i
        far = abs(q[valley] - q[index]) >= least and abs(valley - index) >= 4
        if far and search[i] - lowest > _VALLEY_RISE * noise[i]:
            return valley
    return i


@device_function
def write_fit(line, workspace, origin, unit, chi2, points):  # type: ignore[no-untyped-def]
    """Write a fit in the scaled abscissa x = (q - origin) / unit to a row of the peak table."""
    n = fit.PARAMETERS
    p = workspace[0:n]
    c = workspace[fit.COVARIANCE : fit.WORKSPACE]
    fixed = workspace[fit.LOWER + fit.ETA] == workspace[fit.UPPER + fit.ETA]
    height, fwhm, eta = p[fit.HEIGHT], p[fit.FWHM], p[fit.ETA]
    line[table.Q] = origin + unit * p[fit.CENTRE]
    line[table.Q_SIGMA] = unit * math.sqrt(c[fit.CENTRE * n + fit.CENTRE])
    line[table.FWHM] = unit * fwhm
    line[table.FWHM_SIGMA] = unit * math.sqrt(c[fit.FWHM * n + fit.FWHM])
    line[table.HEIGHT] = height
    line[table.HEIGHT_SIGMA] = math.sqrt(c[fit.HEIGHT * n + fit.HEIGHT])
    line[table.AREA] = unit * fit.profile_area(height, fwhm, eta)
    line[table.ETA] = eta
    eta_variance = c[fit.ETA * n + fit.ETA]
    line[table.ETA_SIGMA] = math.sqrt(eta_variance) if eta_variance > 0.0 else math.nan
    line[table.LEVEL] = p[fit.LEVEL] + p[fit.SLOPE] * p[fit.CENTRE]
    line[table.SLOPE] = p[fit.SLOPE] / unit
    free = n - 1 if fixed else n
    line[table.REDUCED_CHI2] = chi2 / (points - free)
    fit.release_eta(workspace)
    variance = fit.area_variance(height, fwhm, eta, c, n, (fit.HEIGHT, fit.FWHM, fit.ETA))
    line[table.AREA_SIGMA] = unit * math.sqrt(max(0.0, variance))


@device_function
def profile_row(q, line, profile):  # type: ignore[no-untyped-def]
    """Fill the profile of a fitted peak, without its straight line, where it is not negligible.

    q, profile : (points,) float64

    Returns
    -------
    first, last
        The points that were filled.
    """
    centre, fwhm, eta = line[table.Q], line[table.FWHM], line[table.ETA]
    height = line[table.HEIGHT]
    below = 1.0
    if line[table.ASYMMETRY] != 0.0:
        below = 2.0 / (1.0 + math.exp(line[table.ASYMMETRY]))
    first = lower_bound(q, centre - _SUBTRACT_REACH * fwhm)
    last = lower_bound(q, centre + _SUBTRACT_REACH * fwhm)
    inverse_below = 2.0 / (fwhm * below)
    inverse_above = 2.0 / (fwhm * (2.0 - below))
    near = q[first:last]
    filled = profile[first:last]
    for i in range(near.shape[0]):
        away = near[i] - centre
        u = away * (inverse_below if away < 0.0 else inverse_above)
        u2 = u * u
        filled[i] = height * (eta / (1.0 + u2) + (1.0 - eta) * exp_minus(_LN2 * u2))
    return first, last


@device_function
def subtract(q, line, residual, search, profile):  # type: ignore[no-untyped-def]
    """Take the fitted profile, without its straight line, away from both curves."""
    first, last = profile_row(q, line, profile)
    for i in range(first, last):
        residual[i] -= profile[i]
        search[i] -= profile[i]


@device_function
def is_drawn(line):  # type: ignore[no-untyped-def]
    """Whether a peak has a profile; a fit that ran away from what was seen must tear no hole."""
    seen = max(line[table.VALUE], line[table.PROMINENCE])
    return 0.0 < line[table.HEIGHT] < 10.0 * seen


@device_function
def lower_bound(q, value):  # type: ignore[no-untyped-def]
    """First point whose q is not below `value`."""
    low = 0
    high = q.shape[0]
    while low < high:
        middle = (low + high) // 2
        if q[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@device_function
def start_fit(line, top, x, shape, workspace):  # type: ignore[no-untyped-def]
    """Starting values and bounds of a fit in x = (q - q of the maximum) / estimated FWHM."""
    p = workspace[0 : fit.PARAMETERS]
    lower = workspace[fit.LOWER : fit.LOWER + fit.PARAMETERS]
    upper = workspace[fit.UPPER : fit.UPPER + fit.PARAMETERS]
    for k in range(fit.PARAMETERS):
        lower[k] = -math.inf
        upper[k] = math.inf
    p[fit.HEIGHT] = line[table.PROMINENCE]
    lower[fit.HEIGHT] = 0.0
    p[fit.CENTRE] = 0.0
    lower[fit.CENTRE] = max(x[0], -1.5)
    upper[fit.CENTRE] = min(x[x.shape[0] - 1], 1.5)
    p[fit.FWHM] = 1.0
    lower[fit.FWHM] = _NARROWEST
    upper[fit.FWHM] = _WIDEST
    p[fit.ETA] = 0.5
    lower[fit.ETA] = 0.0
    upper[fit.ETA] = 1.0
    if shape != fit.PSEUDO_VOIGT:
        p[fit.ETA] = float(shape)
        lower[fit.ETA] = float(shape)
        upper[fit.ETA] = float(shape)
    p[fit.LEVEL] = top - line[table.PROMINENCE]
    p[fit.SLOPE] = 0.0


@curve_kernel
def process_peak(
    q: Row,
    residual: Row,
    sigma: Row,
    search: Row,
    noise: Row,
    candidates: Rows,
    peaks: Rows,
    n_peaks: Output,
    start: PerCurve,
    shape: Shared,
    window: Shared,
    scaled: Shared,
    x: Scratch,
    y: Scratch,
    weight: Scratch,
    gaussians: Scratch,
    workspace: fit.Workspace,
) -> None:
    """Fit the highest candidate and move it to the table of peaks.

    q : (points,) float64, 1/nm
    residual, sigma, search, noise : (points,) float64, the curve's own unit
    shape : 0 Gaussian, 1 Lorentzian, 2 pseudo-Voigt
    window : half the fit's window in FWHM
    scaled : whether uncertainties are scaled by sqrt(reduced chi-squared)
    """
    line = peaks[n_peaks[0]]
    n_peaks[0] += 1
    for column in range(table.PEAK_COLUMNS):
        line[column] = math.nan
    line[table.INDEX] = candidates[0, table.INDEX]
    line[table.VALUE] = candidates[0, table.VALUE]
    line[table.PROMINENCE] = candidates[0, table.PROMINENCE]
    line[table.ASYMMETRY] = 0.0
    line[table.REMARKS] = candidates[0, table.FOUND_AS]
    line[table.BRAGG] = codes.LINE_NOT_JUDGED

    index = int(line[table.INDEX]) - start
    origin = q[index]
    top = search[index]
    half = top - 0.5 * line[table.PROMINENCE]
    left = half_width(q, search, index, half, -1)
    right = half_width(q, search, index, half, 1)
    if math.isnan(left):
        left = right
    if math.isnan(right):
        right = left
    unit = 2.0 * min(left, right)
    if math.isnan(unit):
        line[table.STATUS] = codes.FIT_TOO_FEW_POINTS
        return
    line[table.FWHM] = unit

    status = codes.FIT_TOO_FEW_POINTS
    chi2 = 0.0
    points = 0
    for trial in range(_WINDOW_TRIALS):
        first = window_edge(q, search, noise, index, window * unit, unit, -1)
        points = window_edge(q, search, noise, index, window * unit, unit, 1) + 1 - first
        if points <= fit.PARAMETERS:
            line[table.STATUS] = codes.FIT_TOO_FEW_POINTS
            return
        for i in range(points):
            x[i] = (q[first + i] - origin) / unit
            y[i] = residual[first + i]
            weight[i] = 1.0 / sigma[first + i]
        start_fit(line, top, x[:points], shape, workspace)
        status, chi2 = fit.fit_profile(
            x[:points], y[:points], weight[:points], gaussians[:points], workspace
        )
        fwhm = workspace[fit.FWHM]
        if status == codes.FIT_SINGULAR or 1.0 / _WIDTH_OFF < fwhm < _WIDTH_OFF:
            break
        if unit * fwhm > _BROADEST * origin:
            unit *= fwhm
            status = codes.FIT_BOUND_HIT
            break
        # The last fit stays in the unit in which it was made.
        if trial + 1 < _WINDOW_TRIALS:
            unit *= fwhm
    line[table.STATUS] = status
    # The search keeps away from a failed fit as far as this.
    line[table.FWHM] = min(unit, _BROADEST * origin)
    if status == codes.FIT_SINGULAR or unit > _BROADEST * origin:
        return
    write_fit(line, workspace, origin, unit, chi2, points)
    if scaled:
        grow = math.sqrt(line[table.REDUCED_CHI2])
        for column in (
            table.Q_SIGMA,
            table.FWHM_SIGMA,
            table.HEIGHT_SIGMA,
            table.AREA_SIGMA,
            table.ETA_SIGMA,
        ):
            line[column] *= grow
    if is_drawn(line):
        subtract(q, line, residual, search, x)
