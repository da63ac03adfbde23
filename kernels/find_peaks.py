"""Local maxima and the conditions that make them peaks, as `scipy.signal.find_peaks` has them."""

from __future__ import annotations

import math

from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import (
    IndexScratch,
    Output,
    PerCurve,
    Row,
    Rows,
    Scratch,
    Shared,
    curve_kernel,
    device_function,
)

# Rows of the array of conditions: lowest and highest value that is accepted.
PLATEAU_SIZE = 0
HEIGHT = 1
THRESHOLD = 2
DISTANCE = 3
PROMINENCE = 4
WIDTH = 5
HEIGHT_NOISE = 6
PROMINENCE_NOISE = 7
CONDITIONS = 8

# Columns of what `find_peaks` writes, beside the index in column 0, in SciPy's words.
FOUND_INDEX = 0
FOUND_LEFT_EDGE = 1
FOUND_RIGHT_EDGE = 2
FOUND_LEFT_THRESHOLD = 3
FOUND_RIGHT_THRESHOLD = 4
FOUND_PROMINENCE = 5
FOUND_LEFT_BASE = 6
FOUND_RIGHT_BASE = 7
FOUND_WIDTH = 8
FOUND_WIDTH_HEIGHT = 9
FOUND_LEFT_IP = 10
FOUND_RIGHT_IP = 11
FOUND_COLUMNS = 12

# A failed fit without a width keeps the search this many points away.
_KEEP_AWAY = 2


@device_function
def accepts(conditions, condition, value):  # type: ignore[no-untyped-def]
    """Whether a value lies within the limits of a condition."""
    return conditions[condition, 0] <= value <= conditions[condition, 1]


@device_function
def next_maximum(values, i):  # type: ignore[no-untyped-def]
    """Next local maximum at or after point `i`: its first and last point; (-1, -1) without one.

    A maximum is higher than the points on both sides; it may be flat.
    """
    last = values.shape[0] - 1
    while i < last:
        if values[i - 1] < values[i]:
            ahead = i + 1
            while ahead < last and values[ahead] == values[i]:
                ahead += 1
            if values[ahead] < values[i]:
                return i, ahead - 1
        i += 1
    return -1, -1


@device_function
def prominence_of(values, peak, wlen):  # type: ignore[no-untyped-def]
    """Prominence of a peak, with its bases, within `wlen` points if that is positive."""
    low = 0
    high = values.shape[0] - 1
    if wlen >= 2:
        low = max(peak - wlen // 2, low)
        high = min(peak + wlen // 2, high)
    top = values[peak]
    left_base = peak
    left = top
    i = peak
    while i >= low and values[i] <= top:
        if values[i] < left:
            left = values[i]
            left_base = i
        i -= 1
    right_base = peak
    right = top
    i = peak
    while i <= high and values[i] <= top:
        if values[i] < right:
            right = values[i]
            right_base = i
        i += 1
    return top - max(left, right), left_base, right_base


@device_function
def width_of(values, peak, prominence, left_base, right_base, rel_height):  # type: ignore[no-untyped-def]
    """Width at `rel_height` of the prominence: width, its height, and both crossings, in points."""
    height = values[peak] - prominence * rel_height
    i = peak
    while left_base < i and height < values[i]:
        i -= 1
    left = float(i)
    if values[i] < height:
        left += (height - values[i]) / (values[i + 1] - values[i])
    i = peak
    while i < right_base and height < values[i]:
        i += 1
    right = float(i)
    if values[i] < height:
        right -= (height - values[i]) / (values[i - 1] - values[i])
    return right - left, height, left, right


@device_function
def sinks(values, peaks, order, a, b):  # type: ignore[no-untyped-def]
    """Whether entry `a` of the order comes before entry `b`: lower, or as high and earlier."""
    one = values[peaks[order[a]]]
    other = values[peaks[order[b]]]
    return one < other or (one == other and order[a] < order[b])


@device_function
def sift(values, peaks, order, root, count):  # type: ignore[no-untyped-def]
    """Let an entry of a heap sink to its place."""
    while 2 * root + 1 < count:
        child = 2 * root + 1
        if child + 1 < count and sinks(values, peaks, order, child, child + 1):
            child += 1
        if not sinks(values, peaks, order, root, child):
            return
        order[root], order[child] = order[child], order[root]
        root = child


@device_function
def drop_neighbours(values, peaks, count, distance, order, kept):  # type: ignore[no-untyped-def]
    """Keep peaks at least `distance` points apart, higher ones first; return how many are left.

    Of peaks of the same height the later one counts as higher.
    """
    reach = math.ceil(distance)
    for j in range(count):
        order[j] = j
        kept[j] = 1.0
    for back in range(count // 2):
        sift(values, peaks, order, count // 2 - 1 - back, count)
    for back in range(count):
        end = count - 1 - back
        order[0], order[end] = order[end], order[0]
        sift(values, peaks, order, 0, end)
    for back in range(count):
        j = order[count - 1 - back]
        if kept[j] == 0.0:
            continue
        k = j - 1
        while k >= 0 and peaks[j] - peaks[k] < reach:
            kept[k] = 0.0
            k -= 1
        k = j + 1
        while k < count and peaks[k] - peaks[j] < reach:
            kept[k] = 0.0
            k += 1
    left = 0
    for j in range(count):
        if kept[j] == 1.0:
            peaks[left] = peaks[j]
            left += 1
    return left


@curve_kernel
def find_peaks(
    values: Row,
    conditions: Shared,
    wlen: Shared,
    rel_height: Shared,
    found: Rows,
    count: Output,
    peaks: IndexScratch,
    order: IndexScratch,
    kept: Scratch,
) -> None:
    """Find all peaks, to the indices and bits of `scipy.signal.find_peaks`.

    Peaks of exactly the same height closer than `distance` are the one exception: SciPy leaves
    their order to an unstable sort, here the later one stays.

    values : (points,) float64
    conditions : (CONDITIONS, 2) float64, infinite where there is none
    wlen : points, odd or rounded up to it; -1 for the whole curve
    found : (at least points / 2, FOUND_COLUMNS) float64, written; `count` rows are in use
    """
    number = 0
    first, last = next_maximum(values, 1)
    while first >= 0:
        peak = (first + last) // 2
        left = values[peak] - values[peak - 1]
        right = values[peak] - values[peak + 1]
        if (
            accepts(conditions, PLATEAU_SIZE, last - first + 1)
            and accepts(conditions, HEIGHT, values[peak])
            and conditions[THRESHOLD, 0] <= min(left, right)
            and max(left, right) <= conditions[THRESHOLD, 1]
        ):
            peaks[number] = peak
            number += 1
        first, last = next_maximum(values, last + 1)
    if conditions[DISTANCE, 0] > 1.0:
        number = drop_neighbours(values, peaks, number, conditions[DISTANCE, 0], order, kept)
    count[0] = 0
    for j in range(number):
        peak = peaks[j]
        prominence, left_base, right_base = prominence_of(values, peak, wlen)
        if not accepts(conditions, PROMINENCE, prominence):
            continue
        width, height, left_ip, right_ip = width_of(
            values, peak, prominence, left_base, right_base, rel_height
        )
        if not accepts(conditions, WIDTH, width):
            continue
        line = found[count[0]]
        count[0] += 1
        first = peak
        while values[first - 1] == values[peak]:
            first -= 1
        last = peak
        while values[last + 1] == values[peak]:
            last += 1
        line[FOUND_INDEX] = peak
        line[FOUND_LEFT_EDGE] = first
        line[FOUND_RIGHT_EDGE] = last
        line[FOUND_LEFT_THRESHOLD] = values[peak] - values[peak - 1]
        line[FOUND_RIGHT_THRESHOLD] = values[peak] - values[peak + 1]
        line[FOUND_PROMINENCE] = prominence
        line[FOUND_LEFT_BASE] = left_base
        line[FOUND_RIGHT_BASE] = right_base
        line[FOUND_WIDTH] = width
        line[FOUND_WIDTH_HEIGHT] = height
        line[FOUND_LEFT_IP] = left_ip
        line[FOUND_RIGHT_IP] = right_ip


@device_function
def is_taken(q, value, peak, start, peaks, n_peaks, exclusion, satellite, reach):  # type: ignore[no-untyped-def]
    """Whether a maximum belongs to a peak that was processed before.

    It lies within `exclusion` FWHM of its centre, or within `reach` FWHM and is lower than
    `satellite` times its height: what an imperfect fit leaves behind.
    """
    for j in range(n_peaks):
        if abs(peak + start - peaks[j, table.INDEX]) <= _KEEP_AWAY:
            return True
        fwhm = peaks[j, table.FWHM]
        centre = peaks[j, table.Q]
        if math.isnan(centre):
            centre = q[int(peaks[j, table.INDEX]) - start]
        distance = abs(q[peak] - centre)
        # Comparisons with NaN are false: a fit without a width or height excludes nothing more.
        if distance < exclusion * fwhm:
            return True
        if distance < reach * fwhm and value < satellite * peaks[j, table.HEIGHT]:
            return True
    return False


@curve_kernel
def find_peak(
    q: Row,
    values: Row,
    noise: Row,
    start: PerCurve,
    conditions: Shared,
    wlen: Shared,
    rel_height: Shared,
    exclusion: Shared,
    satellite: Shared,
    reach: Shared,
    peaks: Rows,
    n_peaks: PerCurve,
    candidates: Rows,
    n_candidates: Output,
    status: Output,
    found: IndexScratch,
    order: IndexScratch,
    kept: Scratch,
) -> None:
    """Find the peaks that were not processed yet, under the conditions of `find_peaks` and noise.

    The cheap conditions come first and the same ones are asked as in `find_peaks`, so that a
    curve of which nothing was processed gives the same peaks.

    q : (points,) float64, 1/nm
    values, noise : (points,) float64, the curve's own unit
    conditions : (CONDITIONS, 2) float64, infinite where there is none
    candidates : (max_candidates, CANDIDATE_COLUMNS) float64, written, the highest first
    """
    number = 0
    first, last = next_maximum(values, 1)
    while first >= 0:
        peak = (first + last) // 2
        value = values[peak]
        if (
            accepts(conditions, HEIGHT_NOISE, value / noise[peak])
            and accepts(conditions, HEIGHT, value)
            and accepts(conditions, PLATEAU_SIZE, last - first + 1)
            and conditions[THRESHOLD, 0] <= min(value - values[peak - 1], value - values[peak + 1])
            and max(value - values[peak - 1], value - values[peak + 1]) <= conditions[THRESHOLD, 1]
            and not is_taken(q, value, peak, start, peaks, n_peaks, exclusion, satellite, reach)
        ):
            found[number] = peak
            number += 1
        first, last = next_maximum(values, last + 1)
    if conditions[DISTANCE, 0] > 1.0:
        number = drop_neighbours(values, found, number, conditions[DISTANCE, 0], order, kept)
    count = 0
    room = candidates.shape[0]
    for j in range(number):
        peak = found[j]
        value = values[peak]
        if count == room and value <= candidates[room - 1, table.VALUE]:
            continue
        prominence, left_base, right_base = prominence_of(values, peak, wlen)
        if not accepts(conditions, PROMINENCE, prominence) or not accepts(
            conditions, PROMINENCE_NOISE, prominence / noise[peak]
        ):
            continue
        width, _, _, _ = width_of(values, peak, prominence, left_base, right_base, rel_height)
        if not accepts(conditions, WIDTH, width):
            continue
        place = min(count, room - 1)
        while place > 0 and candidates[place - 1, table.VALUE] < value:
            for column in range(table.CANDIDATE_COLUMNS):
                candidates[place, column] = candidates[place - 1, column]
            place -= 1
        candidates[place, table.INDEX] = peak + start
        candidates[place, table.VALUE] = value
        candidates[place, table.PROMINENCE] = prominence
        count = min(count + 1, room)
    if count > 0 and n_peaks == peaks.shape[0]:
        status[0] |= codes.PEAKS_TRUNCATED
        count = 0
    n_candidates[0] = count
