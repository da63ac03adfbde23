"""The noise of a curve, from the curve itself."""

from __future__ import annotations

import math

from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import Output, Row, Scratch, Shared, curve_kernel, device_function
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
    """Second difference taken twice, about point i; it passes noise and stops smooth structure."""
    return (
        values[i - 2 * lag]
        - 4.0 * values[i - lag]
        + 6.0 * values[i]
        - 4.0 * values[i + lag]
        + values[i + 2 * lag]
    )


@device_function
def difference_variance(sigma, i, lag):  # type: ignore[no-untyped-def]
    """Variance of the fourth difference, from the standard uncertainty of the points."""
    a = sigma[i - 2 * lag]
    b = sigma[i - lag]
    c = sigma[i]
    d = sigma[i + lag]
    e = sigma[i + 2 * lag]
    return a * a + 16.0 * b * b + 36.0 * c * c + 16.0 * d * d + e * e


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
def noise_ratio(intensity, sigma, first, last, work):  # type: ignore[no-untyped-def]
    """Robust noise over what sigma says, on every other point from first to last; NaN without any.

    work : (points,) float64
    """
    points = intensity.shape[0]
    begin = max(first, 2)
    count = max(0, (min(last, points - 2) - begin + 1) // 2)
    for j in range(count):
        i = begin + 2 * j
        difference = fourth_difference(intensity, i, 1)
        work[j] = difference * difference / difference_variance(sigma, i, 1)
    # The root of the median is the median of the roots.
    return math.sqrt(median(work, count)) / _NORMAL if count > 0 else math.nan


@device_function
def noise_ratio_of_sums(intensity, sigma, work):  # type: ignore[no-untyped-def]
    """Robust noise over what sigma says of independent points, of sums of `_SUM` neighbours.

    NaN for a curve that is too short to say it.

    work : (points,) float64
    """
    points = intensity.shape[0]
    reach = 2 * _SUM + _SUM // 2
    count = max(0, (points - 2 * reach + 3) // 4)
    for j in range(count):
        i = reach + 4 * j
        difference = (
            fourth_difference(intensity, i - 1, _SUM)
            + fourth_difference(intensity, i, _SUM)
            + fourth_difference(intensity, i + 1, _SUM)
        )
        work[j] = (difference * difference) / (
            difference_variance(sigma, i - 1, _SUM)
            + difference_variance(sigma, i, _SUM)
            + difference_variance(sigma, i + 1, _SUM)
        )
    return math.sqrt(median(work, count)) / _NORMAL if count >= _LEAST_SUMS else math.nan


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
def block_edge(block, blocks, points):  # type: ignore[no-untyped-def]
    """First point of a block when `points` are cut into even blocks."""
    return block * points // blocks


@device_function
def fill_between(values, blocks, row):  # type: ignore[no-untyped-def]
    """Interpolate one value a block linearly, from centre to centre, over a row."""
    points = row.shape[0]
    centre = (block_edge(0, blocks, points) + block_edge(1, blocks, points)) // 2
    for i in range(centre):
        row[i] = values[0]
    for block in range(blocks - 1):
        following = (
            block_edge(block + 1, blocks, points) + block_edge(block + 2, blocks, points)
        ) // 2
        rise = (values[block + 1] - values[block]) / (following - centre)
        segment = row[centre:following]
        for k in range(segment.shape[0]):
            segment[k] = values[block] + rise * k
        centre = following
    for i in range(centre, points):
        row[i] = values[blocks - 1]


@device_function
def estimate(intensity, blocks, values, work, row):  # type: ignore[no-untyped-def]
    """Fill a row with the noise of the curve, block by block; False where it shows none."""
    points = intensity.shape[0]
    floor = 0.0
    for block in range(blocks):
        first = block_edge(block, blocks, points)
        last = block_edge(block + 1, blocks, points)
        count = 0
        square = 0.0
        for i in range(max(first, 2), min(last, points - 2)):
            work[count] = abs(fourth_difference(intensity, i, 1)) / math.sqrt(_GAIN)
            square += work[count] * work[count]
            count += 1
        if count == 0:
            values[block] = 0.0
        elif is_sparse(intensity, first, last):
            values[block] = math.sqrt(square / count)
        else:
            values[block] = median(work, count) / _NORMAL
        if values[block] > 0.0 and (floor == 0.0 or values[block] < floor):
            floor = values[block]
    if floor == 0.0:
        return False
    for block in range(blocks):
        # A stretch of equal values shows no noise; it is no better measured than the rest.
        values[block] = max(values[block], floor)
    fill_between(values, blocks, row)
    return True


@curve_kernel
def noise(
    intensity: Row,
    sigma: Row,
    status: Output,
    tolerance: Shared,
    local_excess: Shared,
    least_ratio: Shared,
    block: Shared,
    work: Scratch,
    values: Scratch,
    row: Scratch,
) -> None:
    """Complete and check sigma against the robust fourth difference of the curve, in place.

    intensity, sigma : (points,) float64, the curve's own unit; sigma NaN where unknown
    tolerance : ratio of noise to sigma, either way, that is accepted
    local_excess : the same for a block of the curve, upwards only
    least_ratio : sigma is never scaled down by more
    block : points of a block
    """
    points = intensity.shape[0]
    blocks = max(1, points // block)
    unknown = 0
    for i in range(points):
        if not sigma[i] > 0.0:
            unknown += 1
    if unknown > 0:
        status[0] |= codes.SIGMA_ESTIMATED
        if not estimate(intensity, blocks, values, work, row):
            status[0] |= codes.NO_SIGNAL
            return
        for i in range(points):
            if not sigma[i] > 0.0:
                sigma[i] = row[i]
    for b in range(blocks):
        first = block_edge(b, blocks, points)
        last = block_edge(b + 1, blocks, points)
        # Few counts are no reason to trust sigma less.
        values[b] = 1.0
        if not is_sparse(intensity, first, last):
            values[b] = noise_ratio(intensity, sigma, first, last, work)
        row[b] = values[b]
    of_sums = noise_ratio_of_sums(intensity, sigma, work)
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
        fill_between(values, blocks, row)
        for i in range(points):
            sigma[i] *= row[i]


@curve_kernel
def noise_level(noise: Row, block: Shared, work: Scratch, levels: Scratch) -> None:
    """Level a row of uncertainties, in place.

    Each becomes the median of every other point of its block, interpolated: what a point's own
    count says of its noise follows the peak that stands on it, and whether a peak stands out is
    judged by the noise about it.

    noise : (points,) float64, the curve's own unit
    block : points of a block
    """
    points = noise.shape[0]
    blocks = max(1, points // block)
    for b in range(blocks):
        first = block_edge(b, blocks, points)
        half = (block_edge(b + 1, blocks, points) - first + 1) // 2
        for j in range(half):
            work[j] = noise[first + 2 * j]
        levels[b] = median(work, half)
    fill_between(levels, blocks, noise)
