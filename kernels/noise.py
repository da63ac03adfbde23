"""The noise of a curve, from the curve itself."""

from __future__ import annotations

import math

from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import (
    Output,
    PerCurve,
    Row,
    Scratch,
    Shared,
    curve_kernel,
    device_function,
)
from gpusaxs.kernels.select import median

# Median of |x| of a normal variable with unit standard deviation.
_NORMAL = 0.6744897501960817
# 1 + 16 + 36 + 16 + 1: variance of the fourth difference of white noise.
_GAIN = 70.0
# Noise that sums of points show over that of single ones, above which neighbours share it; the
# second where no sigma column confirms it, because at high counts the curve's shape adds to it.
_SHARED = 1.15
_SHARED_ALONE = 1.6
# Sums of this many points are what a peak is seen by.
_SUM = 3
_LEAST_SUMS = 16
# Share of equal neighbours beyond which counts are too few for medians: about one a point.
_SPARSE = 0.25


@device_function
def fourth_difference(values, i, lag):  # type: ignore[no-untyped-def]
    """Second difference taken twice, of the five values `lag` apart from the i-th on.

    It passes noise and stops smooth structure.
    """
    return (
        values[i]
        - 4.0 * values[i + lag]
        + 6.0 * values[i + 2 * lag]
        - 4.0 * values[i + 3 * lag]
        + values[i + 4 * lag]
    )


@device_function
def difference_variance(variances, i, lag):  # type: ignore[no-untyped-def]
    """Variance of the fourth difference, from those of the values."""
    return (
        variances[i]
        + 16.0 * variances[i + lag]
        + 36.0 * variances[i + 2 * lag]
        + 16.0 * variances[i + 3 * lag]
        + variances[i + 4 * lag]
    )


@device_function
def is_sparse(intensity, first, last):  # type: ignore[no-untyped-def]
    """Whether so many neighbours are equal that the median of differences is no measure."""
    one = intensity[first : last - 1]
    other = intensity[first + 1 : last]
    equal = 0
    for i in range(one.shape[0]):
        equal += one[i] == other[i]
    return equal > _SPARSE * (last - first)


@device_function
def squares_over_variance(values, variances, lag, stride, count, work):  # type: ignore[no-untyped-def]
    """Write squared fourth differences over their variance, one every `stride` points."""
    for j in range(count):
        difference = fourth_difference(values, stride * j, lag)
        work[j] = difference * difference / difference_variance(variances, stride * j, lag)


@device_function
def noise_ratio(intensity, variances, first, last, work):  # type: ignore[no-untyped-def]
    """Robust noise over what sigma says, on every other point from first to last; NaN without any.

    work : (points,) float64
    """
    points = intensity.shape[0]
    begin = max(first, 2)
    count = max(0, (min(last, points - 2) - begin + 1) // 2)
    squares_over_variance(intensity[begin - 2 :], variances[begin - 2 :], 1, 2, count, work)
    # The root of the median is the median of the roots.
    return math.sqrt(median(work, count)) / _NORMAL if count > 0 else math.nan


@device_function
def sum_neighbours(values, sums):  # type: ignore[no-untyped-def]
    """Write the sum of each point and the next two; sums : (points - 2,)."""
    one, two, three = values[: sums.shape[0]], values[1:], values[2:]
    for i in range(sums.shape[0]):
        sums[i] = one[i] + two[i] + three[i]


@device_function
def noise_ratio_of_sums(intensity, variances, start, work, sums, variances_of_sums):  # type: ignore[no-untyped-def]
    """Robust noise over what sigma says of independent points, of sums of `_SUM` neighbours.

    NaN for a curve that is too short to say it. Every fourth is taken, the same ones wherever the
    curve is cut off; `start` points are, before its first.

    work, sums, variances_of_sums : (points,) float64
    """
    points = intensity.shape[0]
    reach = 2 * _SUM + _SUM // 2
    begin = reach + (-(start + reach) & 3)
    count = max(0, (points - reach - begin + 3) // 4)
    if count < _LEAST_SUMS:
        return math.nan
    sum_neighbours(intensity, sums[: points - 2])
    sum_neighbours(variances, variances_of_sums[: points - 2])
    first = begin - reach
    squares_over_variance(sums[first:], variances_of_sums[first:], _SUM, 4, count, work)
    return math.sqrt(median(work, count)) / _NORMAL


@device_function
def ratio_of_neighbours(near, of_sums, stated):  # type: ignore[no-untyped-def]
    """Noise over sigma, where neighbours may share it (pixel splitting, smoothing, desmearing).

    Differences of neighbours hide such noise, sums of them do not. A sigma column, where it is
    `stated`, that lies between the two is the noise of what is summed.
    """
    if stated and near < 1.0 and of_sums > _SHARED * near:
        return of_sums if of_sums < 1.0 else 1.0
    return of_sums if of_sums > _SHARED_ALONE * near else near


@device_function
def blocks_of(points, start, block):  # type: ignore[no-untyped-def]
    """Into how many blocks a curve is cut, and where the first cut would be.

    Cuts lie at whole blocks from the measured start of the curve, `start` points before its first:
    blocks inside are the same wherever it is cut off. At the ends half a block more or less.
    """
    first = block - start % block
    if 2 * first < block:
        first += block
    if 2 * (points - first) < block:
        return 1, first
    return 2 + (points - first - block // 2) // block, first


@device_function
def block_edge(number, blocks, first, block, points):  # type: ignore[no-untyped-def]
    """First point of a block, or one past the last block's last."""
    if number == 0:
        return 0
    return points if number == blocks else first + (number - 1) * block


@device_function
def fill_between(values, blocks, first, block, row):  # type: ignore[no-untyped-def]
    """Interpolate one value a block linearly, from centre to centre, over a row."""
    points = row.shape[0]
    edge = block_edge(1, blocks, first, block, points)
    centre = edge // 2
    for i in range(centre):
        row[i] = values[0]
    for number in range(blocks - 1):
        next_edge = block_edge(number + 2, blocks, first, block, points)
        following = (edge + next_edge) // 2
        rise = (values[number + 1] - values[number]) / (following - centre)
        segment = row[centre:following]
        for k in range(segment.shape[0]):
            segment[k] = values[number] + rise * k
        centre = following
        edge = next_edge
    for i in range(centre, points):
        row[i] = values[blocks - 1]


@device_function
def estimate(intensity, start, block, values, work, row):  # type: ignore[no-untyped-def]
    """Fill a row with the noise of the curve, block by block; False where it shows none."""
    points = intensity.shape[0]
    blocks, cut = blocks_of(points, start, block)
    floor = 0.0
    for b in range(blocks):
        first = block_edge(b, blocks, cut, block, points)
        last = block_edge(b + 1, blocks, cut, block, points)
        begin = max(first, 2)
        count = max(0, min(last, points - 2) - begin)
        from_begin = intensity[begin - 2 :]
        square = 0.0
        for i in range(count):
            work[i] = abs(fourth_difference(from_begin, i, 1)) / math.sqrt(_GAIN)
            square += work[i] * work[i]
        if count == 0:
            values[b] = 0.0
        elif is_sparse(intensity, first, last):
            values[b] = math.sqrt(square / count)
        else:
            values[b] = median(work, count) / _NORMAL
        if values[b] > 0.0 and (floor == 0.0 or values[b] < floor):
            floor = values[b]
    if floor == 0.0:
        return False
    for b in range(blocks):
        # A stretch of equal values shows no noise; it is no better measured than the rest.
        values[b] = max(values[b], floor)
    fill_between(values, blocks, cut, block, row)
    return True


@curve_kernel
def noise(
    intensity: Row,
    sigma: Row,
    status: Output,
    start: PerCurve,
    tolerance: Shared,
    local_excess: Shared,
    least_ratio: Shared,
    block: Shared,
    work: Scratch,
    values: Scratch,
    row: Scratch,
    variance: Scratch,
) -> None:
    """Complete and check sigma against the robust fourth difference of the curve, in place.

    intensity, sigma : (points,) float64, the curve's own unit; sigma NaN where unknown
    tolerance : ratio of noise to sigma, either way, that is accepted
    local_excess : the same for a block of the curve, upwards only
    least_ratio : sigma is never scaled down by more
    start : points cut off before the first
    block : points of a block
    """
    points = intensity.shape[0]
    blocks, cut = blocks_of(points, start, block)
    unknown = 0
    for i in range(points):
        if not sigma[i] > 0.0:
            unknown += 1
    if unknown > 0:
        status[0] |= codes.SIGMA_ESTIMATED
        if not estimate(intensity, start, block, values, work, row):
            status[0] |= codes.NO_SIGNAL
            return
        for i in range(points):
            if not sigma[i] > 0.0:
                sigma[i] = row[i]
    for i in range(points):
        variance[i] = sigma[i] * sigma[i]
    of_sums = noise_ratio_of_sums(intensity, variance, start, work, values, row)
    for b in range(blocks):
        first = block_edge(b, blocks, cut, block, points)
        last = block_edge(b + 1, blocks, cut, block, points)
        # Few counts are no reason to trust sigma less.
        values[b] = 1.0
        if not is_sparse(intensity, first, last):
            values[b] = noise_ratio(intensity, variance, first, last, work)
        row[b] = values[b]
    ratio = ratio_of_neighbours(median(row, blocks), of_sums, 2 * unknown < points)
    if math.isnan(ratio) or 1.0 / tolerance < ratio < tolerance:
        ratio = 1.0
    else:
        ratio = max(ratio, least_ratio)
        status[0] |= codes.SIGMA_RESCALED
        for i in range(points):
            sigma[i] *= ratio
    excess = False
    for b in range(blocks):
        local = values[b] / ratio
        values[b] = local if local > local_excess else 1.0
        excess = excess or local > local_excess
    if excess:
        status[0] |= codes.SIGMA_RESCALED
        fill_between(values, blocks, cut, block, row)
        for i in range(points):
            sigma[i] *= row[i]


@curve_kernel
def noise_level(noise: Row, start: PerCurve, block: Shared, work: Scratch, levels: Scratch) -> None:
    """Level a row of uncertainties, in place.

    Each becomes the median of every fourth point of its block, interpolated: what a point's own
    count says of its noise follows the peak that stands on it, and whether a peak stands out is
    judged by the noise about it.

    noise : (points,) float64, the curve's own unit
    start : points cut off before the first
    block : points of a block
    """
    points = noise.shape[0]
    blocks, cut = blocks_of(points, start, block)
    for b in range(blocks):
        first = block_edge(b, blocks, cut, block, points)
        last = block_edge(b + 1, blocks, cut, block, points)
        quarter = (last - first + 3) // 4
        for j in range(quarter):
            work[j] = noise[first + 4 * j]
        levels[b] = median(work, quarter)
    fill_between(levels, blocks, cut, block, noise)
