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
)
from gpusaxs.kernels.process_peak import is_drawn, lower_bound, profile_row
from gpusaxs.kernels.select import median

# Beside the shapes of `gpusaxs.kernels.profile_fit`.
ASYMMETRIC = 3
BEST = 4

MOST_PEAKS = 64
# Rows of the table of order: the row of a peak in the table of peaks; whether a group begins here.
_PEAK = 0
_BEGINS = 1
Order = Annotated[Any, ScratchOf((2, MOST_PEAKS), "int64")]
# Rows of what the groups say of the asymmetry: its value, and its inverse variance.
_VALUE = 0
_PRECISION = 1
Evidence = Annotated[FloatArray, ScratchOf((2, MOST_PEAKS))]

# A peak this many times wider than the median one has a window of its own.
_BROAD = 4.0
# How far a refined peak may be from where it was, in FWHM, and how much narrower or wider.
_SHIFT = 0.75
_NARROWER = 0.4
_WIDER = 2.5
# ln of the ratio of the widths of the two halves, at most.
_MOST_ASYMMETRY = 1.5
# Of two peaks nearer than this, in FWHM, the lower one is none.
_SAME = 0.3
# Rounds with an asymmetry that the whole curve shares.
_ASYMMETRIC_ROUNDS = 2

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
    for i in range(first, last):
        residual[i] += share * profile[i]


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
def start_group(  # type: ignore[no-untyped-def]
    peaks, members, origin, unit, asymmetric, released, asymmetry, shape, workspace
):
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
    if shape == profile_fit.GAUSSIAN or shape == profile_fit.LORENTZIAN:
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
def vanished(members, workspace):  # type: ignore[no-untyped-def]
    """Place in the group of a peak that its neighbours explain; -1 where there is none."""
    number = members.shape[0]
    for k in range(number):
        place = fit.FIRST + fit.A_PEAK * k
        if workspace[fit.PINNED + place + fit.HEIGHT] != 0.0:
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
    variance = profile_fit.area_variance(height, fwhm, eta, c, side, (h, w, fit.ETA))
    line[table.AREA_SIGMA] = grow * unit * math.sqrt(max(0.0, variance))
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
    known = fit.factorise(matrix, n, 0.0, pinned, factor)
    pinned[last] = kept
    evidence[_VALUE, group] = 0.0
    evidence[_PRECISION, group] = 0.0
    if known:
        value = workspace[last]
        own = factor[last * side + last] * factor[last * side + last] - precision
        slope = matrix[n * side + last] - precision * (expected - value)
        if own > 0.0:
            evidence[_VALUE, group] = value + slope / own
            evidence[_PRECISION, group] = own / max(1.0, chi2)


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
    asymmetry_sigmas: Shared,
    poisson: Shared,
    scaled: Shared,
    x: Scratch,
    y: Scratch,
    second: Scratch,
    order: Order,
    evidence: Evidence,
    rows: fit.Derivatives,
    workspace: fit.Workspace,
) -> None:
    """Fit the peaks of a curve again, jointly where their windows touch.

    q : (points,) float64, 1/nm
    intensity, sigma, background, residual : (points,) float64, the curve's own unit
    shape : 0 Gaussian, 1 Lorentzian, 2 pseudo-Voigt, 3 asymmetric, 4 the best of them
    window : half the window of a peak in FWHM
    asymmetry_sigmas : significance at which a curve counts as asymmetric
    poisson : whether the likelihood of the counts is made greatest
    scaled : whether uncertainties are scaled by sqrt(reduced chi-squared)
    """
    number, narrow = sort_peaks(peaks, n_peaks[0], order, evidence[0])
    form_groups(peaks, number, narrow, window, order)
    for i in range(q.shape[0]):
        residual[i] = intensity[i]
    for j in range(number):
        add_profile(q, peaks[order[_PEAK, j]], -1.0, x, residual)

    asymmetric = shape == ASYMMETRIC or shape == BEST
    released = False
    rounds = 1 + _ASYMMETRIC_ROUNDS if asymmetric else 1
    fitted_points = 0
    total_precision = total_weighted = 0.0
    for turn in range(rounds):
        if turn == 1:
            for j in range(number):
                total_precision += evidence[_PRECISION, j]
                total_weighted += evidence[_PRECISION, j] * evidence[_VALUE, j]
            needed = asymmetry_sigmas * asymmetry_sigmas
            if shape == BEST:
                needed = math.log(max(2.0, float(fitted_points)))
            if not total_weighted * total_weighted > needed * total_precision:
                break
            released = True
        group = 0
        while group < number:
            end = end_of_group(order, group, number)
            # Dropped peaks stand behind the others of their group.
            size = end - group
            while size > 0 and peaks[order[_PEAK, group + size - 1], table.STATUS] == _DROPPED:
                size -= 1
            if turn == 0:
                evidence[_VALUE, group:end] = 0.0
                evidence[_PRECISION, group:end] = 0.0
            while size > 0:
                members = order[_PEAK, group : group + size]
                low = math.inf
                high = -math.inf
                unit = math.inf
                for k in range(size):
                    line = peaks[members[k]]
                    low = min(low, line[table.Q] - window * line[table.FWHM])
                    high = max(high, line[table.Q] + window * line[table.FWHM])
                    unit = min(unit, line[table.FWHM])
                first = lower_bound(q, low)
                points = lower_bound(q, high) - first
                n = fit.parameters_of(size, asymmetric)
                if points <= n:
                    break
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
                prior = precision = 0.0
                if released:
                    precision = total_precision - evidence[_PRECISION, group]
                    own = evidence[_PRECISION, group] * evidence[_VALUE, group]
                    prior = (total_weighted - own) / precision if precision > 0.0 else 0.0
                    asymmetry = total_weighted / total_precision
                else:
                    asymmetry = 0.0
                status = codes.FIT_SINGULAR
                chi2 = 0.0
                best = profile_fit.PSEUDO_VOIGT
                least = math.inf
                for attempt in range(4 if shape == BEST else 1):
                    form = shape
                    if shape == BEST:
                        form = attempt if attempt < 3 else best
                        if attempt == 3 and best == profile_fit.PSEUDO_VOIGT:
                            break
                    start_group(
                        peaks, members, origin, unit, asymmetric, released, asymmetry, form,
                        workspace,
                    )  # fmt: skip
                    status, objective, chi2 = fit.fit_joint(
                        x[:points], y[:points], second[:points], counting, size, asymmetric,
                        prior, precision, rows, workspace,
                    )  # fmt: skip
                    free = free_parameters(n, workspace)
                    criterion = objective + free * math.log(float(points))
                    if status == codes.FIT_CONVERGED and criterion < least:
                        least = criterion
                        best = form
                if status != codes.FIT_CONVERGED or (poisson and not counting > 0.0):
                    for k in range(size):
                        add_profile(q, peaks[members[k]], -1.0, x, residual)
                    break
                gone = vanished(members, workspace)
                if gone >= 0:
                    row = members[gone]
                    peaks[row, table.STATUS] = _DROPPED
                    for k in range(size):
                        if k != gone:
                            add_profile(q, peaks[members[k]], -1.0, x, residual)
                    for k in range(gone, size - 1):
                        members[k] = members[k + 1]
                    members[size - 1] = row
                    size -= 1
                    continue
                if turn == 0:
                    fitted_points += points
                reduced = chi2 / (points - free_parameters(n, workspace))
                for k in range(size):
                    line = peaks[members[k]]
                    write_peak(
                        line, k, n, asymmetric, origin, unit, reduced, scaled, workspace
                    )
                    add_profile(q, line, -1.0, x, residual)
                if asymmetric:
                    before = evidence[_PRECISION, group]
                    weighted = before * evidence[_VALUE, group]
                    note_asymmetry(n, prior, precision, reduced, group, workspace, evidence)
                    if released:
                        total_precision += evidence[_PRECISION, group] - before
                        total_weighted += (
                            evidence[_PRECISION, group] * evidence[_VALUE, group] - weighted
                        )
                break
            group = end

    kept = 0
    for i in range(n_peaks[0]):
        if peaks[i, table.STATUS] != _DROPPED:
            if kept < i:
                for column in range(table.PEAK_COLUMNS):
                    peaks[kept, column] = peaks[i, column]
            kept += 1
    for i in range(kept, n_peaks[0]):
        for column in range(table.PEAK_COLUMNS):
            peaks[i, column] = math.nan
    n_peaks[0] = kept
