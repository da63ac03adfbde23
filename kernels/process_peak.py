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
    inlined_function,
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
# A line, and no hump: its FWHM over q, at most, and its height over its uncertainty, at least.
_LINE_WIDTH = 0.14
_LINE_SIGMAS = 8.0
# The model is taken away within this many FWHM of the centre.
_SUBTRACT_REACH = 12.0
# Its Gaussian is below 1e-16 beyond this many half widths.
_GAUSSIAN_REACH = 7.3
# Points of a window are taken in multiples of this: whole vectors.
_VECTOR = 8
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
def write_fit(line, workspace, origin, unit, chi2, points, scaled):  # type: ignore[no-untyped-def]
    """Write a fit in the scaled abscissa x = (q - origin) / unit to a row of the peak table."""
    n = fit.PARAMETERS
    p = workspace[0:n]
    c = workspace[fit.COVARIANCE : fit.SHOWN]
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
    line[table.ASYMMETRY] = p[fit.ASYMMETRY]
    variance = c[fit.ASYMMETRY * n + fit.ASYMMETRY]
    line[table.ASYMMETRY_SIGMA] = math.sqrt(variance) if variance > 0.0 else math.nan
    line[table.LEVEL] = p[fit.LEVEL] + p[fit.SLOPE] * p[fit.CENTRE]
    line[table.SLOPE] = p[fit.SLOPE] / unit
    free = n - (1 if fixed else 0) - (1 if p[fit.ASYMMETRY] == 0.0 else 0)
    line[table.REDUCED_CHI2] = chi2 / (points - free)
    fit.release_eta(workspace)
    variance = fit.area_variance(height, fwhm, eta, c, n, (fit.HEIGHT, fit.FWHM, fit.ETA))
    line[table.AREA_SIGMA] = unit * math.sqrt(max(0.0, variance))
    line[table.SHOWN] = workspace[fit.SHOWN]
    line[table.SHOWN_PRECISION] = workspace[fit.SHOWN_PRECISION]
    if scaled:
        grow = math.sqrt(line[table.REDUCED_CHI2])
        for column in (
            table.Q_SIGMA,
            table.FWHM_SIGMA,
            table.HEIGHT_SIGMA,
            table.AREA_SIGMA,
            table.ETA_SIGMA,
            table.ASYMMETRY_SIGMA,
        ):
            line[column] *= grow


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
    below = fit.width_below(line[table.ASYMMETRY])
    inverse_below = 2.0 / (fwhm * below)
    inverse_above = 2.0 / (fwhm * (2.0 - below))
    first = lower_bound(q, centre - _SUBTRACT_REACH * fwhm)
    last = lower_bound(q, centre + _SUBTRACT_REACH * fwhm)
    near = q[first:last]
    filled = profile[first:last]
    for i in range(near.shape[0]):
        away = near[i] - centre
        u = away * (inverse_below if away < 0.0 else inverse_above)
        filled[i] = height * eta / (1.0 + u * u)
    # Further away the Gaussian is nothing beside its height.
    start = lower_bound(near, centre - _GAUSSIAN_REACH / inverse_below)
    stop = lower_bound(near, centre + _GAUSSIAN_REACH / inverse_above)
    core = near[start:stop]
    filled = filled[start:stop]
    for i in range(core.shape[0]):
        away = core[i] - centre
        u = away * (inverse_below if away < 0.0 else inverse_above)
        filled[i] += height * (1.0 - eta) * exp_minus(_LN2 * u * u)
    return first, last


@device_function
def add_profile(q, line, share, residual, search, profile):  # type: ignore[no-untyped-def]
    """Add a share of the fitted profile, without its straight line, to both curves."""
    first, last = profile_row(q, line, profile)
    added = profile[first:last]
    left, searched = residual[first:last], search[first:last]
    for i in range(added.shape[0]):
        left[i] += share * added[i]
        searched[i] += share * added[i]


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
    if shape in (fit.GAUSSIAN, fit.LORENTZIAN):
        p[fit.ETA] = float(shape)
        lower[fit.ETA] = float(shape)
        upper[fit.ETA] = float(shape)
    p[fit.LEVEL] = top - line[table.PROMINENCE]
    p[fit.SLOPE] = 0.0
    p[fit.ASYMMETRY] = line[table.ASYMMETRY]
    lower[fit.ASYMMETRY] = -fit.MOST_ASYMMETRY
    upper[fit.ASYMMETRY] = fit.MOST_ASYMMETRY


@device_function
def is_line(line):  # type: ignore[no-untyped-def]
    """Whether a fit has a say in the asymmetry of its curve: no hump, and no noise."""
    narrow = line[table.FWHM] < _LINE_WIDTH * line[table.Q]
    sure = line[table.HEIGHT] > _LINE_SIGMAS * line[table.HEIGHT_SIGMA]
    return narrow and sure and line[table.SHOWN_PRECISION] > 0.0


@device_function
def shown_by_others(peaks, number, row):  # type: ignore[no-untyped-def]
    """What the lines of a curve but `row` show of its asymmetry.

    Returns
    -------
    precision, weighted
        Sums of their weights, and of their asymmetries times these.
    slanted
        Whether any was fitted with one.
    """
    precision = weighted = 0.0
    slanted = False
    for i in range(number):
        if i != row and is_line(peaks[i]):
            weight = fit.weight_of(peaks[i, table.SHOWN_PRECISION])
            precision += weight
            weighted += weight * peaks[i, table.SHOWN]
            slanted = slanted or peaks[i, table.ASYMMETRY] != 0.0
    return precision, weighted, slanted


@inlined_function
def fit_line(  # type: ignore[no-untyped-def]
    q, residual, sigma, search, noise, line, index, shape, window, demand, precision, weighted,
    x, y, weight, gaussians, workspace,
):  # fmt: skip
    """Fit the peak whose maximum is point `index`, from a row that says how it was seen.

    precision, weighted : what other lines show of the asymmetry, see `fit.fit_profile`

    Returns
    -------
    status, unit, chi2, points
        The solution is in x = (q - q of the maximum) / unit. The unit is NaN where the maximum
        falls on neither side.
    """
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
    status = codes.FIT_TOO_FEW_POINTS
    chi2 = 0.0
    points = 0
    if math.isnan(unit):
        return status, unit, chi2, points
    for trial in range(_WINDOW_TRIALS):
        first = window_edge(q, search, noise, index, window * unit, unit, -1)
        points = window_edge(q, search, noise, index, window * unit, unit, 1) + 1 - first
        if points <= fit.PARAMETERS:
            return codes.FIT_TOO_FEW_POINTS, unit, chi2, points
        last = first + points
        near_q, near_y, near_sigma = q[first:last], residual[first:last], sigma[first:last]
        for i in range(points):
            x[i] = (near_q[i] - origin) / unit
            y[i] = near_y[i]
            weight[i] = 1.0 / near_sigma[i]
        # Points without weight behind the last one.
        filled = min(-(-points // _VECTOR) * _VECTOR, x.shape[0])
        for i in range(points, filled):
            x[i] = x[points - 1]
            y[i] = y[points - 1]
            weight[i] = 0.0
        start_fit(line, top, x[:points], shape, workspace)
        status, chi2 = fit.fit_profile(
            x[:filled], y[:filled], weight[:filled], points, demand, precision, weighted,
            _WIDTH_OFF if trial + 1 < _WINDOW_TRIALS else math.inf, gaussians[:filled], workspace,
        )  # fmt: skip
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
    return status, unit, chi2, points


@device_function
def first_row(candidate, line):  # type: ignore[no-untyped-def]
    """Fill the row of a peak with what the search says of it."""
    for column in range(table.PEAK_COLUMNS):
        line[column] = math.nan
    line[table.INDEX] = candidate[table.INDEX]
    line[table.VALUE] = candidate[table.VALUE]
    line[table.PROMINENCE] = candidate[table.PROMINENCE]
    line[table.ASYMMETRY] = 0.0
    line[table.REMARKS] = candidate[table.FOUND_AS]
    line[table.BRAGG] = codes.LINE_NOT_JUDGED


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
    demand: Shared,
    x: Scratch,
    y: Scratch,
    weight: Scratch,
    gaussians: Scratch,
    workspace: fit.Workspace,
) -> None:
    """Fit the highest candidate and move it to the table of peaks.

    With the line by which the asymmetry of a curve is sure, those before it are fitted again.

    q : (points,) float64, 1/nm
    residual, sigma, search, noise : (points,) float64, the curve's own unit
    shape : 0 Gaussian, 1 Lorentzian, 2 pseudo-Voigt, 3 pseudo-Voigt, each with its own asymmetry
    window : half the fit's window in FWHM
    scaled : whether uncertainties are scaled by sqrt(reduced chi-squared)
    demand : asymmetry of the lines so far over its uncertainty from which on they have one
    """
    newest = n_peaks[0]
    n_peaks[0] += 1
    first_row(candidates[0], peaks[newest])
    shared = shape != fit.ASYMMETRIC and demand < math.inf
    rows = 1
    turn = 0
    while turn < rows:
        row = newest if turn == 0 else turn - 1
        turn += 1
        line = peaks[row]
        if row < newest:
            if not (is_line(line) and is_drawn(line)):
                continue
            add_profile(q, line, 1.0, residual, search, x)
        precision = weighted = 0.0
        if shared:
            precision, weighted, slanted = shown_by_others(peaks, newest + 1, row)
            if slanted:
                line[table.ASYMMETRY] = weighted / precision
        index = int(line[table.INDEX]) - start
        status, unit, chi2, points = fit_line(
            q, residual, sigma, search, noise, line, index, shape, window, demand, precision,
            weighted, x, y, weight, gaussians, workspace,
        )  # fmt: skip
        fitted = status in (codes.FIT_CONVERGED, codes.FIT_SHAPE_AT_LIMIT)
        if row == newest or fitted:
            widest = _BROADEST * q[index]
            line[table.STATUS] = status
            # The search keeps away from a failed fit as far as this.
            line[table.FWHM] = unit if unit < widest or math.isnan(unit) else widest
            no_fit = status in (codes.FIT_SINGULAR, codes.FIT_TOO_FEW_POINTS)
            if not (no_fit or unit > widest):
                write_fit(line, workspace, q[index], unit, chi2, points, scaled)
        if is_drawn(line):
            add_profile(q, line, -1.0, residual, search, x)
        if row == newest and shared and not slanted and line[table.ASYMMETRY] != 0.0:
            rows = newest + 1
