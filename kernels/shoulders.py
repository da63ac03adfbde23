"""Peaks without a maximum of their own, on the slopes of others."""

from __future__ import annotations

import math

from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import device_function
from gpusaxs.kernels.process_peak import lower_bound

# Distance of the means that are compared, in the neighbour's FWHM.
_LAG = 0.8
# How much lower the means beside a Gaussian are than the one at its top, over its height.
_GAUSSIAN_GAIN = 0.57
# A shoulder is sought this many FWHM from a peak.
_REACH = 4.0
# What is broader than this share of its q is a hump and has no shoulders.
_HUMP = 0.1
# Points from where a peak was found within which another is the same.
_SAME_PLACE = 2


@device_function
def sum_from(values, first, count, squared, sums):  # type: ignore[no-untyped-def]
    """Write sums of a value and all before it, or of their squares; sums : (count + 1,)."""
    sums[0] = 0.0
    for k in range(count):
        value = values[first + k]
        sums[k + 1] = sums[k] + (value * value if squared else value)


@device_function
def bend(sums, middle, lag, half):  # type: ignore[no-untyped-def]
    """Mean about a point over the means `lag` points before and behind it."""
    before = sums[middle - lag + half + 1] - sums[middle - lag - half]
    here = sums[middle + half + 1] - sums[middle - half]
    behind = sums[middle + lag + half + 1] - sums[middle + lag - half]
    return (here - 0.5 * (before + behind)) / (2 * half + 1)


@device_function
def bend_sigma(squares, middle, lag, half):  # type: ignore[no-untyped-def]
    """Standard uncertainty of `bend`, from sums of squared uncertainties."""
    before = squares[middle - lag + half + 1] - squares[middle - lag - half]
    here = squares[middle + half + 1] - squares[middle - half]
    behind = squares[middle + lag + half + 1] - squares[middle + lag - half]
    return math.sqrt(here + 0.25 * (before + behind)) / (2 * half + 1)


@device_function
def lag_of(q, line):  # type: ignore[no-untyped-def]
    """Points between the means that are compared beside a peak; 0 where it has no shoulders."""
    centre, fwhm = line[table.Q], line[table.FWHM]
    if line[table.STATUS] not in (codes.FIT_CONVERGED, codes.FIT_SHAPE_AT_LIMIT):
        return 0
    if not (line[table.HEIGHT] > 0.0 and 0.0 < fwhm < _HUMP * centre):
        return 0
    first = lower_bound(q, centre - 0.5 * fwhm)
    last = lower_bound(q, centre + 0.5 * fwhm)
    return max(2, int(_LAG * (last - first) + 0.5))


@device_function
def window_of(q, line, lag, half):  # type: ignore[no-untyped-def]
    """First point and number of points of the surroundings of a peak, means included.

    One less than the curve at most, so that sums from zero on fit into a row.
    """
    reach = _REACH * line[table.FWHM]
    margin = lag + half
    first = max(0, lower_bound(q, line[table.Q] - reach) - margin)
    last = min(q.shape[0], lower_bound(q, line[table.Q] + reach) + margin)
    return first, min(last - first, q.shape[0] - 1)


@device_function
def is_apart(q, point, height, start, peaks, n_peaks, exclusion, share):  # type: ignore[no-untyped-def]
    """Whether what the fits leave at a point is no remainder of one: see `strongest_shoulder`."""
    for j in range(n_peaks):
        if abs(point + start - int(peaks[j, table.INDEX])) <= _SAME_PLACE:
            return False
        fwhm = peaks[j, table.FWHM]
        distance = abs(q[point] - peaks[j, table.Q])
        if distance < exclusion * fwhm and fwhm < _HUMP * peaks[j, table.Q]:
            return False
        if distance < _REACH * fwhm and height < share * peaks[j, table.HEIGHT]:
            return False
    return True


@device_function
def strongest_shoulder(  # type: ignore[no-untyped-def]
    q, residual, sigma, start, peaks, n_peaks, exclusion, share, significance, sums, squares
):
    """Highest shoulder in what the fitted peaks leave: its point and height; (-1, 0.0) without.

    Beside every peak, the curve's mean over the peak's width is compared with the means on both
    sides, a second derivative at the scale of the peak. A shoulder is where that is largest and
    at least `significance` times its standard uncertainty, outside `exclusion` FWHM of all peaks,
    and higher than `share` of every peak nearby.

    q : (points,) float64, 1/nm
    residual, sigma : (points,) float64, the curve's own unit
    sums, squares : (points,) float64, working memory
    """
    best = -1
    highest = 0.0
    for j in range(n_peaks):
        lag = lag_of(q, peaks[j])
        if lag == 0:
            continue
        half = lag // 2
        first, count = window_of(q, peaks[j], lag, half)
        if count < 2 * (lag + half) + 3:
            continue
        sum_from(residual, first, count, False, sums)
        sum_from(sigma, first, count, True, squares)
        for k in range(lag + half + 1, count - lag - half - 1):
            height = bend(sums, k, lag, half)
            if (
                height > highest * _GAUSSIAN_GAIN
                and height > significance * bend_sigma(squares, k, lag, half)
                and height >= bend(sums, k - 1, lag, half)
                and height >= bend(sums, k + 1, lag, half)
                and is_apart(
                    q, first + k, height / _GAUSSIAN_GAIN, start, peaks, n_peaks, exclusion, share
                )
            ):
                best = first + k
                highest = height / _GAUSSIAN_GAIN
    return best, highest
