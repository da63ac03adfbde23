"""Local maxima and the conditions that make them peaks, as `scipy.signal.find_peaks` has them."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import (
    IndexScratch,
    Output,
    PerCurve,
    Row,
    Rows,
    Scratch,
    ScratchOf,
    Shared,
    curve_kernel,
    device_function,
    inlined_function,
)
from gpusaxs.kernels.process_peak import half_width, is_drawn
from gpusaxs.kernels.shoulders import strongest_shoulder
from gpusaxs.kernels.stand_out import local_prominence
from numpy.typing import NDArray

# Rows of the array of conditions: lowest and highest value that is accepted.
PLATEAU_SIZE = 0
HEIGHT = 1
THRESHOLD = 2
DISTANCE = 3
PROMINENCE = 4
WIDTH = 5
HEIGHT_NOISE = 6
PROMINENCE_NOISE = 7
RESOLUTION = 8
RELATIVE_RESOLUTION = 9
CONDITIONS = 10

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

# A peak found within this many points of where one was found before is the same, whatever became
# of its fit.
_SAME_PLACE = 2
# Share of q beyond which a FWHM is that of a hump, which keeps the search no further away.
_HUMP = 0.1
# Share of a hump's FWHM below which a maximum on it is a line.
_ON_HUMP = 0.3
# A maximum this many times narrower than its whole prominence says is a line on a hump; any other
# is taken from its valleys where these lie this many times deeper than they need to.
_LINE_ON_HUMP = 2.5
_CLEAR = 4.0
# Share of the instrument's resolution that the width of a maximum may seem to be.
_SEEMS = 0.6
# Walks over a curve take this many points in one step.
_BLOCK_BITS = 4
_BLOCK = 1 << _BLOCK_BITS
# Points looked at one by one on both sides of a maximum, before a walk goes in blocks.
_NEAR = 24

MarkScratch = Annotated[NDArray[np.int8], ScratchOf(dtype="int8")]
"""(points,) int8 working memory."""


@inlined_function
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
def span_of(values, peak, wlen):  # type: ignore[no-untyped-def]
    """First and last point that the prominence of a peak may depend on."""
    last = values.shape[0] - 1
    if wlen >= 2:
        return max(peak - wlen // 2, 0), min(peak + wlen // 2, last)
    return 0, last


@device_function
def prominence_of(values, peak, wlen):  # type: ignore[no-untyped-def]
    """Prominence of a peak, with its bases, within `wlen` points if that is positive."""
    low, high = span_of(values, peak, wlen)
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
def room_for(q, value, peak, start, peaks, n_peaks, exclusion, satellite, reach):  # type: ignore[no-untyped-def]
    """FWHM below which a maximum does not belong to a peak that was processed before; 0 if it does.

    It lies where one was found before, within `exclusion` FWHM of its centre, or within `reach`
    FWHM and is lower than `satellite` times its height: what an imperfect fit leaves behind. A
    hump leaves broad maxima behind; the lines that stand on it are far narrower.
    """
    room = math.inf
    for j in range(n_peaks):
        index = int(peaks[j, table.INDEX]) - start
        if abs(peak - index) <= _SAME_PLACE:
            return 0.0
        fwhm = peaks[j, table.FWHM]
        centre = peaks[j, table.Q]
        if math.isnan(centre) and 0 <= index < q.shape[0]:
            centre = q[index]
        # Comparisons with NaN are false: a fit without a width or height excludes nothing more.
        # (min() of a NaN is the other number on a GPU.)
        hump = fwhm > _HUMP * centre
        near = _HUMP * centre if hump else fwhm
        distance = abs(q[peak] - centre)
        low = value < satellite * peaks[j, table.HEIGHT]
        if (distance < exclusion * near) or (low and distance < reach * near):
            if not hump:
                return 0.0
            room = min(room, _ON_HUMP * fwhm)
    return room


@inlined_function
def exceeds(value, share, noise):  # type: ignore[no-untyped-def]
    """Whether a value is at least `share` times the noise; -inf asks for nothing."""
    return (value >= share * noise) | (share == -math.inf)


@device_function
def height_share(conditions, peaks, n_peaks):  # type: ignore[no-untyped-def]
    """Height over the noise that a maximum needs; -inf where a hump was taken away.

    The tails of its profile reach far, and what is left lies below zero, with all lines on it.
    """
    for j in range(n_peaks):
        if peaks[j, table.FWHM] > _HUMP * peaks[j, table.Q] and is_drawn(peaks[j]):
            return -math.inf
    return conditions[HEIGHT_NOISE, 0]


@device_function
def starts_of_maxima(values, noise, conditions, share, marks, starts):  # type: ignore[no-untyped-def]
    """First points of what may be a maximum that is high enough; return their number.

    Where the curve stays level, the caller has to see whether it falls afterwards, and to ask for
    the noise in the middle.

    share : see `height_share`
    """
    inside = values.shape[0] - 2
    if inside < 1:
        return 0
    before = values[:inside]
    here = values[1 : inside + 1]
    after = values[2:]
    level = noise[1 : inside + 1]
    lowest = conditions[HEIGHT, 0]
    highest = conditions[HEIGHT, 1]
    # Two loops without a branch: the first is vectorised, the second cannot be mispredicted.
    for i in range(inside):
        value = here[i]
        high = (value >= lowest) & (value <= highest)
        flat = value == after[i]
        loud = exceeds(value, share, level[i])
        marks[i] = (before[i] < value) & (value >= after[i]) & high & (flat | loud)
    number = 0
    for i in range(inside):
        starts[number] = i + 1
        number += marks[i]
    return number


@device_function
def block_extremes(values, tops, lows):  # type: ignore[no-untyped-def]
    """Highest and lowest value of each whole block of points."""
    for block in range(values.shape[0] // _BLOCK):
        part = values[block * _BLOCK : (block + 1) * _BLOCK]
        # Four chains, because a comparison has to wait for the one before it in its chain.
        top0, top1, top2, top3 = part[0], part[1], part[2], part[3]
        low0, low1, low2, low3 = part[0], part[1], part[2], part[3]
        for k in range(4, _BLOCK, 4):
            top0 = part[k] if part[k] > top0 else top0
            top1 = part[k + 1] if part[k + 1] > top1 else top1
            top2 = part[k + 2] if part[k + 2] > top2 else top2
            top3 = part[k + 3] if part[k + 3] > top3 else top3
            low0 = part[k] if part[k] < low0 else low0
            low1 = part[k + 1] if part[k + 1] < low1 else low1
            low2 = part[k + 2] if part[k + 2] < low2 else low2
            low3 = part[k + 3] if part[k + 3] < low3 else low3
        tops[block] = max(top0, top1, top2, top3)
        lows[block] = min(low0, low1, low2, low3)


@inlined_function
def is_small(values, peak, first, last, least):  # type: ignore[no-untyped-def]
    """Whether a nearby higher point says that the prominence of a maximum is below `least`."""
    top = values[peak]
    left = top
    right = top
    for step in range(1, _NEAR):
        i = peak - step
        if i < first or values[i] > top:
            return top - left < least
        left = min(left, values[i])
        i = peak + step
        if i > last or values[i] > top:
            return top - right < least
        right = min(right, values[i])
    return False


@device_function
def base_before(values, tops, lows, peak, first):  # type: ignore[no-untyped-def]
    """Lowest value left of a peak, down to `first` or to where the curve is higher than it."""
    top = values[peak]
    lowest = top
    i = peak - 1
    while i >= first:
        block = i >> _BLOCK_BITS
        if (i & (_BLOCK - 1)) == _BLOCK - 1 and i - _BLOCK + 1 >= first and tops[block] <= top:
            lowest = min(lowest, lows[block])
            i -= _BLOCK
            continue
        if values[i] > top:
            break
        lowest = min(lowest, values[i])
        i -= 1
    return lowest


@device_function
def base_after(values, tops, lows, peak, last, enough):  # type: ignore[no-untyped-def]
    """Lowest value right of a peak, up to `last` or to where the curve is higher than it.

    Ends early once it is not above `enough`.
    """
    top = values[peak]
    lowest = top
    i = peak + 1
    while i <= last and lowest > enough:
        block = i >> _BLOCK_BITS
        if (i & (_BLOCK - 1)) == 0 and i + _BLOCK - 1 <= last and tops[block] <= top:
            lowest = min(lowest, lows[block])
            i += _BLOCK
            continue
        if values[i] > top:
            break
        lowest = min(lowest, values[i])
        i += 1
    return lowest


@device_function
def width_in_q(q, values, peak, prominence):  # type: ignore[no-untyped-def]
    """FWHM of a maximum in 1/nm, from its narrower side; NaN where the curve ends before."""
    level = values[peak] - 0.5 * prominence
    left = half_width(q, values, peak, level, -1)
    right = half_width(q, values, peak, level, 1)
    return 2.0 * (right if math.isnan(left) or left > right else left)


@device_function
def appearance(q, values, peak, prominence, least, growth):  # type: ignore[no-untyped-def]
    """Prominence and FWHM (1/nm) of a maximum as it looks from nearby, and whether it is cut off.

    Where noise alone can make a valley beside a peak, the peak is taken whole.
    """
    fwhm = width_in_q(q, values, peak, prominence)
    local, cut_off = local_prominence(values, peak, least, growth)
    if local < prominence:
        narrow = width_in_q(q, values, peak, local)
        if local >= _CLEAR * least or narrow * _LINE_ON_HUMP < fwhm:
            return local, narrow, cut_off
    return prominence, fwhm, cut_off


@device_function
def insert_candidate(candidates, count, index, value, prominence, remarks):  # type: ignore[no-untyped-def]
    """Put a peak in its place among the candidates, the highest first; return their number."""
    room = candidates.shape[0]
    place = min(count, room - 1)
    while place > 0 and candidates[place - 1, table.VALUE] < value:
        for column in range(table.CANDIDATE_COLUMNS):
            candidates[place, column] = candidates[place - 1, column]
        place -= 1
    candidates[place, table.INDEX] = index
    candidates[place, table.VALUE] = value
    candidates[place, table.PROMINENCE] = prominence
    candidates[place, table.FOUND_AS] = remarks
    return min(count + 1, room)


@inlined_function
def least_prominence(conditions, noise):  # type: ignore[no-untyped-def]
    """Lowest prominence that is accepted where the noise is this."""
    return max(conditions[PROMINENCE, 0], conditions[PROMINENCE_NOISE, 0] * noise)


@inlined_function
def has_shape(values, first, last, conditions):  # type: ignore[no-untyped-def]
    """Whether the top of a maximum is as long, and as far above its neighbours, as is asked for.

    first, last : the ends of the top; the same point where it is not flat
    """
    peak = (first + last) // 2
    left = values[peak] - values[peak - 1]
    right = values[peak] - values[peak + 1]
    return (
        accepts(conditions, PLATEAU_SIZE, last - first + 1)
        and conditions[THRESHOLD, 0] <= min(left, right)
        and max(left, right) <= conditions[THRESHOLD, 1]
    )


@inlined_function
def accepted_prominence(  # type: ignore[no-untyped-def]
    q,
    values,
    noise,
    tops,
    lows,
    peak,
    room,
    conditions,
    wlen,
    rel_height,
    growth,
    resolution,
    relative_resolution,
):
    """Prominence of a maximum, NaN where that or its width are not accepted.

    room : 1/nm, the FWHM that it has to stay below; infinite for any
    tops, lows : see `block_extremes`
    """
    value = values[peak]
    first, last = span_of(values, peak, wlen)
    least = least_prominence(conditions, noise[peak])
    left = base_before(values, tops, lows, peak, first)
    if value - left < least:
        return math.nan
    # How far the other side falls below the known one does not matter.
    right = base_after(values, tops, lows, peak, last, left)
    prominence = value - max(left, right)
    share = conditions[PROMINENCE_NOISE, 0]
    if not (
        accepts(conditions, PROMINENCE, prominence) and exceeds(prominence, share, noise[peak])
    ):
        return math.nan
    if conditions[WIDTH, 0] > -math.inf or conditions[WIDTH, 1] < math.inf:
        _, left_base, right_base = prominence_of(values, peak, wlen)
        width, _, _, _ = width_of(values, peak, prominence, left_base, right_base, rel_height)
        if not accepts(conditions, WIDTH, width):
            return math.nan
    narrowest = math.hypot(resolution, relative_resolution * q[peak])
    if narrowest > 0.0 or room < math.inf:
        _, fwhm, _ = appearance(q, values, peak, prominence, least, growth)
        on_hump = room < math.inf and not fwhm <= room
        if fwhm < _SEEMS * narrowest or on_hump:
            return math.nan
    return prominence


@device_function
def keep_waiting(values, start, candidates, waiting):  # type: ignore[no-untyped-def]
    """Put those behind the first candidate in order, highest first as they are now; their number.

    Those that lie no longer inside the curve are left out.
    """
    count = 0
    for j in range(1, waiting):
        index = int(candidates[j, table.INDEX])
        prominence = candidates[j, table.PROMINENCE]
        if 0 < index - start < values.shape[0] - 1:
            count = insert_candidate(candidates, count, index, values[index - start], prominence, 0)
    return count


@device_function
def drop_first(candidates, count):  # type: ignore[no-untyped-def]
    """Take the first candidate away; return how many are left."""
    for j in range(1, count):
        for column in range(table.CANDIDATE_COLUMNS):
            candidates[j - 1, column] = candidates[j, column]
    return count - 1


@inlined_function
def search_curve(  # type: ignore[no-untyped-def]
    q,
    values,
    noise,
    start,
    conditions,
    wlen,
    rel_height,
    growth,
    exclusion,
    satellite,
    reach,
    again,
    resolution,
    relative_resolution,
    peaks,
    n_peaks,
    candidates,
    marks,
    found,
    order,
    tops,
    lows,
    room,
):
    """Write the highest maxima of a curve that are peaks to the candidates; return their number.

    The arguments are those of `find_peak`.
    """
    spaced = conditions[DISTANCE, 0] > 1.0
    share = height_share(conditions, peaks, n_peaks)
    maxima = starts_of_maxima(values, noise, conditions, share, marks, found)
    number = 0
    for j in range(maxima):
        first = found[j]
        value = values[first]
        ahead = first + 1
        while ahead < values.shape[0] - 1 and values[ahead] == value:
            ahead += 1
        if not (values[ahead] < value and has_shape(values, first, ahead - 1, conditions)):
            continue
        peak = (first + ahead - 1) // 2
        if not exceeds(value, share, noise[peak]):
            continue
        if not spaced:
            low, high = span_of(values, peak, wlen)
            if is_small(values, peak, low, high, least_prominence(conditions, noise[peak])):
                continue
        room[peak] = math.inf
        if not again:
            room[peak] = room_for(
                q, value, peak, start, peaks, n_peaks, exclusion, satellite, reach
            )
        if room[peak] > 0.0:
            found[number] = peak
            number += 1
    if spaced:
        number = drop_neighbours(values, found, number, conditions[DISTANCE, 0], order, tops)
    if number > 0:
        block_extremes(values, tops, lows)
    count = 0
    for j in range(number):
        peak = found[j]
        value = values[peak]
        if count == candidates.shape[0] and value <= candidates[count - 1, table.VALUE]:
            continue
        if spaced:
            first, last = span_of(values, peak, wlen)
            if is_small(values, peak, first, last, least_prominence(conditions, noise[peak])):
                continue
        prominence = accepted_prominence(
            q,
            values,
            noise,
            tops,
            lows,
            peak,
            room[peak],
            conditions,
            wlen,
            rel_height,
            growth,
            resolution,
            relative_resolution,
        )
        if not math.isnan(prominence):
            count = insert_candidate(candidates, count, peak + start, value, prominence, 0)
    return count


@curve_kernel
def find_peak(
    q: Row,
    values: Row,
    noise: Row,
    residual: Row,
    sigma: Row,
    start: PerCurve,
    conditions: Shared,
    wlen: Shared,
    rel_height: Shared,
    growth: Shared,
    exclusion: Shared,
    satellite: Shared,
    reach: Shared,
    again: Shared,
    shoulder_noise: Shared,
    shoulder_share: Shared,
    own_resolution: PerCurve,
    own_relative_resolution: PerCurve,
    peaks: Rows,
    n_peaks: PerCurve,
    candidates: Rows,
    n_candidates: Output,
    status: Output,
    marks: MarkScratch,
    found: IndexScratch,
    order: IndexScratch,
    tops: Scratch,
    lows: Scratch,
    room: Scratch,
) -> None:
    """Find the peaks that were not processed yet, under the conditions of `find_peaks` and noise.

    Maxima that belong to processed peaks (`room_for`) do not count, unless `again`; of the others,
    the conditions keep what `find_peaks` would keep, those on the noise standing beside those on
    height and prominence. The order of the tests is another, cheap ones first, and no prominence
    is followed further than its test needs. Where no maximum is left, shoulders are looked for.

    Where the first candidate of the last search has been processed, the curve is not searched:
    the highest of the others that is a maximum still comes next, as long as there is one. What a
    processed peak has hidden is found in the search that follows.

    q : (points,) float64, 1/nm
    values, noise : (points,) float64, the curve's own unit: what is searched
    residual, sigma : (points,) float64, the curve's own unit: what the fits leave
    conditions : (CONDITIONS, 2) float64, infinite where there is none. The lowest widths that
        `RESOLUTION` (1/nm, NaN for the curve's own) and `RELATIVE_RESOLUTION` (over q) allow add in
        quadrature; zero where there is none.
    wlen : points, odd or rounded up to it; -1 for the whole curve
    growth : see `local_prominence`
    exclusion, reach : FWHM
    shoulder_noise : significance of a shoulder; infinite for no shoulders
    shoulder_share : least height of a shoulder over that of a peak nearby
    own_resolution : FWHM in 1/nm of the resolution of this curve, NaN where it is not known
    own_relative_resolution : the same over q
    peaks : (max_peaks, PEAK_COLUMNS) float64; `n_peaks` are in use
    candidates : (max_candidates, CANDIDATE_COLUMNS) float64, written, the highest first, of equal
        ones the first first; the lowest are left out where there is no room. The first has the
        prominence that it shows from nearby, and its remarks; the others wait for their turn.
    """
    resolution = conditions[RESOLUTION, 0]
    relative_resolution = conditions[RELATIVE_RESOLUTION, 0]
    if math.isnan(resolution):
        resolution = own_resolution if own_resolution > 0.0 else 0.0
        if own_relative_resolution > 0.0:
            relative_resolution = math.hypot(relative_resolution, own_relative_resolution)
    count = 0
    # A prominence seen from nearby, as those that wait have it, says nothing of a window, a width
    # or a highest prominence that is asked for.
    if (
        not again
        and n_candidates[0] > 1
        and n_peaks > 0
        and candidates[0, table.INDEX] == peaks[n_peaks - 1, table.INDEX]
        and wlen < 2
        and conditions[PROMINENCE, 1] == math.inf
        and conditions[WIDTH, 0] == -math.inf
        and conditions[WIDTH, 1] == math.inf
        and resolution == 0.0
        and relative_resolution == 0.0
    ):
        count = keep_waiting(values, start, candidates, n_candidates[0])
    share = height_share(conditions, peaks, n_peaks)
    while count > 0:
        peak = int(candidates[0, table.INDEX]) - start
        value = values[peak]
        # One that a processed peak has moved, or that lies on a hump, is left to the search.
        if (
            values[peak - 1] < value
            and values[peak + 1] < value
            and has_shape(values, peak, peak, conditions)
            and accepts(conditions, HEIGHT, value)
            and exceeds(value, share, noise[peak])
            and room_for(q, value, peak, start, peaks, n_peaks, exclusion, satellite, reach)
            == math.inf
        ):
            least = least_prominence(conditions, noise[peak])
            prominence, cut_off = local_prominence(values, peak, least, growth)
            if prominence < _CLEAR * least:
                block_extremes(values, tops, lows)
                prominence = accepted_prominence(
                    q,
                    values,
                    noise,
                    tops,
                    lows,
                    peak,
                    math.inf,
                    conditions,
                    wlen,
                    rel_height,
                    growth,
                    resolution,
                    relative_resolution,
                )
                if prominence >= least:
                    prominence, _, cut_off = appearance(q, values, peak, prominence, least, growth)
            if prominence >= least:
                candidates[0, table.PROMINENCE] = prominence
                candidates[0, table.FOUND_AS] = codes.PEAK_AT_EDGE if cut_off else 0
                break
        count = drop_first(candidates, count)
    if count == 0:
        count = search_curve(
            q,
            values,
            noise,
            start,
            conditions,
            wlen,
            rel_height,
            growth,
            exclusion,
            satellite,
            reach,
            again,
            resolution,
            relative_resolution,
            peaks,
            n_peaks,
            candidates,
            marks,
            found,
            order,
            tops,
            lows,
            room,
        )
        if count > 0:
            peak = int(candidates[0, table.INDEX]) - start
            least = least_prominence(conditions, noise[peak])
            prominence, _, cut_off = appearance(
                q, values, peak, candidates[0, table.PROMINENCE], least, growth
            )
            candidates[0, table.PROMINENCE] = prominence
            candidates[0, table.FOUND_AS] = codes.PEAK_AT_EDGE if cut_off else 0
    if count == 0 and n_peaks > 0 and shoulder_noise < math.inf:
        shoulder, height = strongest_shoulder(
            q,
            residual,
            sigma,
            start,
            peaks,
            n_peaks,
            exclusion,
            shoulder_share,
            shoulder_noise,
            tops,
            lows,
        )
        if shoulder >= 0:
            count = insert_candidate(
                candidates, count, shoulder + start, height, height, codes.PEAK_SHOULDER
            )
    if count > 0 and n_peaks == peaks.shape[0]:
        status[0] |= codes.PEAKS_TRUNCATED
        count = 0
    n_candidates[0] = count
