"""Fit all peaks of a curve again, those that overlap together."""

from __future__ import annotations

import math
from typing import Annotated, Any

from gpusaxs.kernels import joint_fit as fit
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import profile_fit
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import (
    FloatArray,
    Output,
    Row,
    Rows,
    Scratch,
    ScratchOf,
    Shared,
    curve_kernel,
    device_function,
    inlined_function,
)
from gpusaxs.kernels.normal_matrix import factorise
from gpusaxs.kernels.process_peak import is_drawn, lower_bound, profile_row
from gpusaxs.kernels.select import median

# Beside the shapes of `gpusaxs.kernels.profile_fit`.
BEST = 4

MOST_PEAKS = 64
# Rows of the table of order: the row of a peak in the table of peaks; whether a group begins with
# it; the first point of that group's window, and how many there are; whether the peak may be what
# an asymmetric neighbour leaves over; and the rows of the peaks of the group at work.
_PEAK = 0
_BEGINS = 1
_FIRST = 2
_POINTS = 3
_SATELLITE = 4
_MEMBERS = 5
Order = Annotated[Any, ScratchOf((6, MOST_PEAKS), "int64")]
# Rows of what the groups say of the asymmetry: its value, and its inverse variance.
_VALUE = 0
_PRECISION = 1
Evidence = Annotated[FloatArray, ScratchOf((2, MOST_PEAKS))]
Kept = Annotated[FloatArray, ScratchOf((MOST_PEAKS, table.PEAK_COLUMNS))]

# A peak this many times wider than the median one has a window of its own.
_BROAD = 4.0
# How far a refined peak may be from where it was, in FWHM, and how much narrower or wider.
_SHIFT = 0.75
_NARROWER = 0.4
_WIDER = 2.5
# ln of the ratio of the widths of the two halves, at most, and what is thought of it beforehand.
_MOST_ASYMMETRY = 1.5
_ASYMMETRY_SPREAD = 0.5
# Of two peaks nearer than this, in FWHM, the lower one is none.
_SAME = 0.3
# A peak this near to a higher one, in its FWHM, and below this share of its height may be what a
# symmetric profile leaves over of an asymmetric line. It is a peak beside an asymmetric profile
# only if it stands out by so many standard uncertainties.
_SATELLITE_REACH = 2.0
_SATELLITE_HEIGHT = 0.2
_SATELLITE_SIGMAS = 4.0

_NO_FIT = -1.0
# Rounds over all groups: symmetric profiles; asymmetric ones, without satellites, each group by
# itself and then by what all say; and with the satellites again.
_SYMMETRIC = 0
_ALONE = 1
_SHARED = 2
_COMPLETE = 3

# In place of a peak's status.
_DROPPED = -1.0


@device_function
def sort_peaks(peaks, count, order, work):  # type: ignore[no-untyped-def]
    """Put the rows of drawn peaks in the order of q, broad ones behind all others.

    work : (MOST_PEAKS,) float64

    Returns
    -------
    number, narrow
        Of drawn peaks, and of those among them that are not broad.
    """
    number = 0
    for i in range(min(count, MOST_PEAKS)):
        if is_drawn(peaks[i]):
            work[number] = peaks[i, table.FWHM]
            number += 1
    widest = _BROAD * median(work, number) if number > 0 else math.inf
    number = 0
    narrow = 0
    for i in range(min(count, MOST_PEAKS)):
        if is_drawn(peaks[i]):
            broad = peaks[i, table.FWHM] > widest
            j = number
            while j > 0 and is_before(peaks[i], broad, peaks[order[_PEAK, j - 1]], widest):
                order[_PEAK, j] = order[_PEAK, j - 1]
                j -= 1
            order[_PEAK, j] = i
            number += 1
            if not broad:
                narrow += 1
    return number, narrow


@device_function
def is_before(line, broad, other, widest):  # type: ignore[no-untyped-def]
    """Whether a peak stands before another one in the order of `sort_peaks`."""
    other_broad = other[table.FWHM] > widest
    if broad != other_broad:
        return other_broad
    return line[table.Q] < other[table.Q]


@device_function
def form_groups(peaks, number, narrow, window, order):  # type: ignore[no-untyped-def]
    """Mark where groups begin: peaks whose windows touch, at most MAX_GROUP of them.

    Larger ones are cut where neighbours are farthest apart in units of their FWHM.
    """
    edge = -math.inf
    for j in range(number):
        line = peaks[order[_PEAK, j]]
        reach = window * line[table.FWHM]
        apart = line[table.Q] - reach > edge
        order[_BEGINS, j] = 1 if j == 0 or j >= narrow or apart else 0
        edge = max(edge, line[table.Q] + reach)
    first = 0
    while first < number:
        last = end_of_group(order, first, number)
        if last - first <= fit.MAX_GROUP:
            first = last
            continue
        widest = first + 1
        most = -1.0
        for j in range(first + 1, last):
            left, right = peaks[order[_PEAK, j - 1]], peaks[order[_PEAK, j]]
            gap = (right[table.Q] - left[table.Q]) / (left[table.FWHM] + right[table.FWHM])
            if gap > most:
                most = gap
                widest = j
        order[_BEGINS, widest] = 1


@device_function
def mark_windows(q, peaks, number, window, order):  # type: ignore[no-untyped-def]
    """Note the window of each group, and which of its peaks are satellites; return how many."""
    satellites = 0
    group = 0
    while group < number:
        end = end_of_group(order, group, number)
        low = math.inf
        high = -math.inf
        for j in range(group, end):
            line = peaks[order[_PEAK, j]]
            low = min(low, line[table.Q] - window * line[table.FWHM])
            high = max(high, line[table.Q] + window * line[table.FWHM])
            order[_SATELLITE, j] = 0
            for m in range(group, end):
                other = peaks[order[_PEAK, m]]
                near = abs(line[table.Q] - other[table.Q]) < _SATELLITE_REACH * other[table.FWHM]
                if near and line[table.HEIGHT] < _SATELLITE_HEIGHT * other[table.HEIGHT]:
                    order[_SATELLITE, j] = 1
            satellites += order[_SATELLITE, j]
        order[_FIRST, group] = lower_bound(q, low)
        order[_POINTS, group] = lower_bound(q, high) - order[_FIRST, group]
        group = end
    return satellites


@device_function
def end_of_group(order, first, number):  # type: ignore[no-untyped-def]
    """Place behind the last peak of the group that begins at `first`."""
    last = first + 1
    while last < number and order[_BEGINS, last] == 0:
        last += 1
    return last


@device_function
def add_profile(q, line, share, profile, residual):  # type: ignore[no-untyped-def]
    """Add a share of a peak's profile to the curve."""
    first, last = profile_row(q, line, profile)
    given = profile[first:last]
    left = residual[first:last]
    for i in range(given.shape[0]):
        left[i] += share * given[i]


@device_function
def counts_per_unit(intensity, background, sigma, work):  # type: ignore[no-untyped-def]
    """Counts in one unit of intensity: the median of intensity over variance; 0.0 without any.

    intensity, background, sigma, work : (points,) float64
    """
    found = 0
    for i in range(intensity.shape[0]):
        total = intensity[i] + background[i]
        if total > 0.0:
            work[found] = total / (sigma[i] * sigma[i])
            found += 1
    return median(work, found) if found > 0 else 0.0


@device_function
def take_all_away(q, intensity, peaks, order, number, satellites, profile, residual):  # type: ignore[no-untyped-def]
    """Fill the curve less its peaks, with or without the satellites among them."""
    for i in range(q.shape[0]):
        residual[i] = intensity[i]
    for j in range(number):
        line = peaks[order[_PEAK, j]]
        if line[table.STATUS] != _DROPPED and (satellites or order[_SATELLITE, j] == 0):
            add_profile(q, line, -1.0, profile, residual)


@device_function
def start_group(peaks, members, origin, unit, asymmetric, released, asymmetry, shape, workspace):  # type: ignore[no-untyped-def]
    """Starting values and bounds of a fit in x = (q - origin) / unit.

    members : (peaks of the group,) int64, their rows in the table
    """
    number = members.shape[0]
    n = fit.parameters_of(number, asymmetric)
    p = workspace[0:n]
    lower = workspace[fit.LOWER : fit.LOWER + n]
    upper = workspace[fit.UPPER : fit.UPPER + n]
    highest = 0
    for k in range(number):
        line = peaks[members[k]]
        place = fit.FIRST + fit.A_PEAK * k
        centre = (line[table.Q] - origin) / unit
        fwhm = line[table.FWHM] / unit
        p[place + fit.HEIGHT] = line[table.HEIGHT]
        lower[place + fit.HEIGHT] = 0.0
        upper[place + fit.HEIGHT] = math.inf
        p[place + fit.CENTRE] = centre
        lower[place + fit.CENTRE] = centre - _SHIFT * fwhm
        upper[place + fit.CENTRE] = centre + _SHIFT * fwhm
        p[place + fit.FWHM] = fwhm
        lower[place + fit.FWHM] = _NARROWER * fwhm
        upper[place + fit.FWHM] = _WIDER * fwhm
        if line[table.HEIGHT] > peaks[members[highest], table.HEIGHT]:
            highest = k
    line = peaks[members[highest]]
    p[fit.ETA] = line[table.ETA]
    lower[fit.ETA] = 0.0
    upper[fit.ETA] = 1.0
    if shape in (profile_fit.GAUSSIAN, profile_fit.LORENTZIAN):
        p[fit.ETA] = lower[fit.ETA] = upper[fit.ETA] = float(shape)
    p[fit.SLOPE] = line[table.SLOPE] * unit
    p[fit.LEVEL] = line[table.LEVEL] - line[table.SLOPE] * (line[table.Q] - origin)
    lower[fit.SLOPE] = lower[fit.LEVEL] = -math.inf
    upper[fit.SLOPE] = upper[fit.LEVEL] = math.inf
    if asymmetric:
        p[n - 1] = asymmetry
        lower[n - 1] = -_MOST_ASYMMETRY if released else asymmetry
        upper[n - 1] = _MOST_ASYMMETRY if released else asymmetry


@device_function
def free_parameters(n, workspace):  # type: ignore[no-untyped-def]
    """Number of parameters that are not fixed."""
    free = 0
    for i in range(n):
        if workspace[fit.LOWER + i] < workspace[fit.UPPER + i]:
            free += 1
    return free


@device_function
def vanished(members, n, satellites, chi2, workspace):  # type: ignore[no-untyped-def]
    """Place in the group of a peak that its neighbours explain; -1 where there is none.

    satellites : one bit a peak that has to stand out; chi2 : reduced
    """
    number = members.shape[0]
    side = fit.side_of(n)
    for k in range(number):
        height = fit.FIRST + fit.A_PEAK * k + fit.HEIGHT
        if workspace[fit.PINNED + height] != 0.0:
            return k
        if satellites >> k & 1:
            variance = workspace[fit.COVARIANCE + height * side + height] * max(1.0, chi2)
            if not workspace[height] > _SATELLITE_SIGMAS * math.sqrt(variance):
                return k
    for k in range(number):
        place = fit.FIRST + fit.A_PEAK * k
        for m in range(number):
            other = fit.FIRST + fit.A_PEAK * m
            least = min(workspace[place + fit.FWHM], workspace[other + fit.FWHM])
            apart = abs(workspace[place + fit.CENTRE] - workspace[other + fit.CENTRE])
            lower = workspace[place + fit.HEIGHT] <= workspace[other + fit.HEIGHT]
            if m != k and lower and apart < _SAME * least:
                return k
    return -1


@device_function
def write_peak(line, k, n, asymmetric, origin, unit, chi2, scaled, workspace):  # type: ignore[no-untyped-def]
    """Write peak `k` of a group that was fitted in x = (q - origin) / unit to its row.

    chi2 : reduced
    """
    side = fit.side_of(n)
    c = workspace[fit.COVARIANCE : fit.COVARIANCE + side * side]
    place = fit.FIRST + fit.A_PEAK * k
    h, m, w = place + fit.HEIGHT, place + fit.CENTRE, place + fit.FWHM
    height, fwhm, eta = workspace[h], workspace[w], workspace[fit.ETA]
    grow = math.sqrt(chi2) if scaled else 1.0
    line[table.Q] = origin + unit * workspace[m]
    line[table.Q_SIGMA] = grow * unit * math.sqrt(c[m * side + m])
    line[table.FWHM] = unit * fwhm
    line[table.FWHM_SIGMA] = grow * unit * math.sqrt(c[w * side + w])
    line[table.HEIGHT] = height
    line[table.HEIGHT_SIGMA] = grow * math.sqrt(c[h * side + h])
    line[table.AREA] = unit * profile_fit.profile_area(height, fwhm, eta)
    line[table.ETA] = eta
    variance = c[fit.ETA * side + fit.ETA]
    line[table.ETA_SIGMA] = grow * math.sqrt(variance) if variance > 0.0 else math.nan
    line[table.ASYMMETRY] = 0.0
    line[table.ASYMMETRY_SIGMA] = math.nan
    if asymmetric:
        line[table.ASYMMETRY] = workspace[n - 1]
        variance = c[n * side - side + n - 1]
        if variance > 0.0:
            line[table.ASYMMETRY_SIGMA] = grow * math.sqrt(variance)
    line[table.LEVEL] = workspace[fit.LEVEL] + workspace[fit.SLOPE] * workspace[m]
    line[table.SLOPE] = workspace[fit.SLOPE] / unit
    line[table.REDUCED_CHI2] = chi2
    line[table.REMARKS] = float(int(line[table.REMARKS]) | codes.PEAK_REFINED)
    status = codes.FIT_CONVERGED
    if is_at_bound(fit.ETA, workspace) or (asymmetric and is_at_bound(n - 1, workspace)):
        status = codes.FIT_SHAPE_AT_LIMIT
    if is_at_bound(m, workspace) or is_at_bound(w, workspace):
        status = codes.FIT_BOUND_HIT
    line[table.STATUS] = status


@device_function
def write_area_sigma(line, k, n, chi2, unit, scaled, workspace):  # type: ignore[no-untyped-def]
    """Write the uncertainty of a peak's area; the covariance has to be that with eta free."""
    side = fit.side_of(n)
    c = workspace[fit.COVARIANCE : fit.COVARIANCE + side * side]
    place = fit.FIRST + fit.A_PEAK * k
    height, fwhm, eta = (
        workspace[place + fit.HEIGHT],
        workspace[place + fit.FWHM],
        workspace[fit.ETA],
    )
    places = (place + fit.HEIGHT, place + fit.FWHM, fit.ETA)
    variance = profile_fit.area_variance(height, fwhm, eta, c, side, places)
    grow = math.sqrt(chi2) if scaled else 1.0
    line[table.AREA_SIGMA] = grow * unit * math.sqrt(max(0.0, variance))


@device_function
def is_at_bound(i, workspace):  # type: ignore[no-untyped-def]
    """Whether a parameter that is not fixed was pressed against a bound."""
    fixed = workspace[fit.LOWER + i] == workspace[fit.UPPER + i]
    return workspace[fit.PINNED + i] != 0.0 and not fixed


@device_function
def note_asymmetry(n, expected, precision, chi2, group, workspace, evidence):  # type: ignore[no-untyped-def]
    """Write what a group itself says of its asymmetry, without what was known beforehand.

    At a minimum where the gradient by the asymmetry is g and its inverse variance P, all other
    parameters following, chi-squared is least g / P further on.

    chi2 : reduced; an imperfect model knows less
    """
    side = fit.side_of(n)
    last = n - 1
    pinned = workspace[fit.PINNED : fit.PINNED + n]
    matrix = workspace[fit.MATRIX : fit.MATRIX + side * side]
    kept = pinned[last]
    pinned[last] = 0.0
    factor = workspace[fit.FACTOR : fit.FACTOR + side * side]
    known = factorise(matrix, n, side, 0.0, pinned, factor)
    pinned[last] = kept
    evidence[_VALUE, group] = 0.0
    evidence[_PRECISION, group] = 0.0
    if known:
        value = workspace[last]
        own = 1.0 / factor[last * side + last] - precision
        slope = matrix[n * side + last] - precision * (expected - value)
        if own > 0.0:
            evidence[_VALUE, group] = value + slope / own
            evidence[_PRECISION, group] = own / max(1.0, chi2)


@device_function
def sum_of_evidence(evidence, number):  # type: ignore[no-untyped-def]
    """Inverse variance of the asymmetry that all groups show, and the asymmetry times that."""
    precision = weighted = 0.0
    for j in range(number):
        if evidence[_PRECISION, j] > 0.0:
            precision += evidence[_PRECISION, j]
            weighted += evidence[_PRECISION, j] * evidence[_VALUE, j]
    return precision, weighted


@device_function
def copy_rows(peaks, copy, number):  # type: ignore[no-untyped-def]
    """Copy the first rows of a table of peaks."""
    for i in range(min(number, MOST_PEAKS)):
        for column in range(table.PEAK_COLUMNS):
            copy[i, column] = peaks[i, column]


@device_function
def close_gaps(peaks, number):  # type: ignore[no-untyped-def]
    """Move the rows of a table of peaks over those of dropped ones; return how many are left."""
    left = 0
    for i in range(number):
        if peaks[i, table.STATUS] != _DROPPED:
            if left < i:
                for column in range(table.PEAK_COLUMNS):
                    peaks[left, column] = peaks[i, column]
            left += 1
    for i in range(left, number):
        for column in range(table.PEAK_COLUMNS):
            peaks[i, column] = math.nan
    return left


@inlined_function
def refine_group(  # type: ignore[no-untyped-def]
    q, intensity, sigma, background, residual, peaks, order, group, end, shape, turn, poisson,
    scaled, all_precision, all_weighted, x, y, second, evidence, rows, workspace,
):  # fmt: skip
    """Fit the peaks of a group and write them, but those that their neighbours explain.

    all_precision, all_weighted : inverse variance of the asymmetry that all groups show, and the
        asymmetry times that

    Returns
    -------
    objective, free
        What the fit made least, and the number of its parameters without the asymmetry; NaN
        where there is no fit: then nothing was written.
    """
    asymmetric = shape in (profile_fit.ASYMMETRIC, BEST)
    released = turn != _SYMMETRIC
    with_satellites = turn in (_SYMMETRIC, _COMPLETE)
    first, points = order[_FIRST, group], order[_POINTS, group]
    while True:
        size = 0
        satellites = 0
        unit = math.inf
        for j in range(group, end):
            row = order[_PEAK, j]
            if peaks[row, table.STATUS] != _DROPPED and (
                with_satellites or order[_SATELLITE, j] == 0
            ):
                order[_MEMBERS, size] = row
                if turn == _COMPLETE and order[_SATELLITE, j] != 0:
                    satellites |= 1 << size
                size += 1
                unit = min(unit, peaks[row, table.FWHM])
        members = order[_MEMBERS, :size]
        if size == 0:
            return 0.0, 0
        n = fit.parameters_of(size, asymmetric)
        if points <= n:
            return math.nan, 0
        for k in range(size):
            add_profile(q, peaks[members[k]], 1.0, x, residual)
        counting = 0.0
        if poisson:
            last = first + points
            counting = counts_per_unit(
                intensity[first:last], background[first:last], sigma[first:last], x
            )
        origin = peaks[members[0], table.Q]
        for i in range(points):
            x[i] = (q[first + i] - origin) / unit
            y[i] = residual[first + i]
            if poisson:
                second[i] = intensity[first + i] + background[first + i] - y[i]
            else:
                second[i] = 1.0 / sigma[first + i]
        asymmetry = expected = precision = 0.0
        if turn == _ALONE:
            precision = 1.0 / (_ASYMMETRY_SPREAD * _ASYMMETRY_SPREAD)
        elif released:
            precision = all_precision - evidence[_PRECISION, group]
            others = all_weighted - evidence[_PRECISION, group] * evidence[_VALUE, group]
            expected = others / precision if precision > 0.0 else 0.0
            asymmetry = all_weighted / all_precision
        status = codes.FIT_SINGULAR
        objective = chi2 = 0.0
        best = profile_fit.PSEUDO_VOIGT
        least = math.inf
        attempts = 4 if shape == BEST and turn == _SYMMETRIC else 1
        for attempt in range(attempts):
            form = attempt if attempts > 1 else shape
            if attempt == 3:
                if best == profile_fit.PSEUDO_VOIGT:
                    break
                form = best
            start_group(
                peaks, members, origin, unit, asymmetric, released, asymmetry, form, workspace
            )
            status, objective, chi2 = fit.fit_joint(
                x[:points], y[:points], second[:points], counting, size, asymmetric, expected,
                precision, rows, workspace,
            )  # fmt: skip
            free = free_parameters(n, workspace)
            criterion = objective + free * math.log(float(points))
            if status == codes.FIT_CONVERGED and criterion < least:
                least = criterion
                best = form
        if status != codes.FIT_CONVERGED or (poisson and not counting > 0.0):
            # Satellites that cannot be told from their neighbours are none.
            for k in range(size):
                if satellites >> k & 1:
                    peaks[members[k], table.STATUS] = _DROPPED
                else:
                    add_profile(q, peaks[members[k]], -1.0, x, residual)
            if satellites == 0:
                return math.nan, 0
            continue
        free = free_parameters(n, workspace)
        chi2 /= points - free
        gone = vanished(members, n, satellites, chi2, workspace)
        for k in range(size):
            line = peaks[members[k]]
            if gone < 0:
                write_peak(line, k, n, asymmetric, origin, unit, chi2, scaled, workspace)
            elif gone == k:
                line[table.STATUS] = _DROPPED
                continue
            add_profile(q, line, -1.0, x, residual)
        if gone < 0:
            fit.release_eta(n, workspace)
            for k in range(size):
                write_area_sigma(peaks[members[k]], k, n, chi2, unit, scaled, workspace)
            if asymmetric:
                note_asymmetry(n, expected, precision, chi2, group, workspace, evidence)
            return objective, free - 1 if released else free


@curve_kernel
def refine(
    q: Row,
    intensity: Row,
    sigma: Row,
    background: Row,
    residual: Row,
    peaks: Rows,
    n_peaks: Output,
    shape: Shared,
    window: Shared,
    poisson: Shared,
    scaled: Shared,
    x: Scratch,
    y: Scratch,
    second: Scratch,
    order: Order,
    evidence: Evidence,
    kept: Kept,
    rows: fit.Derivatives,
    workspace: fit.Workspace,
) -> None:
    """Fit the peaks of a curve again, jointly where their windows touch.

    q : (points,) float64, 1/nm
    intensity, sigma, background, residual : (points,) float64, the curve's own unit
    shape : 0 Gaussian, 1 Lorentzian, 2 pseudo-Voigt, 3 asymmetric, 4 the best of them
    window : half the window of a peak in FWHM
    poisson : whether the likelihood of the counts is made greatest
    scaled : whether uncertainties are scaled by sqrt(reduced chi-squared)
    """
    number, narrow = sort_peaks(peaks, n_peaks[0], order, evidence[0])
    form_groups(peaks, number, narrow, window, order)
    satellites = mark_windows(q, peaks, number, window, order)
    for j in range(number):
        evidence[_VALUE, j] = 0.0
        evidence[_PRECISION, j] = 0.0
    rounds = 1
    if shape in (profile_fit.ASYMMETRIC, BEST):
        rounds = _COMPLETE + 1 if satellites > 0 else _SHARED + 1
    precision = weighted = 0.0
    all_points = 0
    turn = 0
    symmetric_objective = asymmetric_objective = math.nan
    symmetric_parameters = asymmetric_parameters = 0
    while turn < rounds:
        if turn in (_ALONE, _SHARED):
            precision, weighted = sum_of_evidence(evidence, number)
            gain = weighted * weighted / precision if precision > 0.0 else 0.0
            hidden = turn == _ALONE and satellites > 0
            # Only what asymmetric profiles can win pays for trying them.
            if not (hidden or gain > math.log(float(max(2, all_points)))):
                break
        if turn == _ALONE:
            copy_rows(peaks, kept, n_peaks[0])
        if turn != _SHARED:
            take_all_away(q, intensity, peaks, order, number, turn != _ALONE, x, residual)
        objective = 0.0
        parameters = 0
        group = 0
        while group < number:
            end = end_of_group(order, group, number)
            if evidence[_PRECISION, group] >= 0.0:
                least, free = refine_group(
                    q, intensity, sigma, background, residual, peaks, order, group, end, shape,
                    turn, poisson, scaled, precision, weighted, x, y, second, evidence, rows,
                    workspace,
                )  # fmt: skip
                if turn == _SYMMETRIC and math.isnan(least):
                    evidence[_PRECISION, group] = _NO_FIT
                else:
                    objective += least
                    parameters += free
                    all_points += order[_POINTS, group] if turn == _SYMMETRIC else 0
            group = end
        if turn == _SYMMETRIC:
            symmetric_objective, symmetric_parameters = objective, parameters
        elif turn != _ALONE:
            asymmetric_objective, asymmetric_parameters = objective, parameters + 1
        turn += 1
        if math.isnan(objective):
            break
    if turn > _ALONE:
        freedom = max(1, all_points - asymmetric_parameters)
        unit = max(1.0, asymmetric_objective / freedom)
        gain = (symmetric_objective - asymmetric_objective) / unit
        more = asymmetric_parameters - symmetric_parameters
        if turn < rounds or not gain > more * math.log(float(all_points)):
            copy_rows(kept, peaks, n_peaks[0])
            take_all_away(q, intensity, peaks, order, number, True, x, residual)

    n_peaks[0] = close_gaps(peaks, n_peaks[0])
