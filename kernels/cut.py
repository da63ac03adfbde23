"""Which points of a curve take part."""

from __future__ import annotations

import math

from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import Output, Row, Scratch, Shared, curve_kernel, device_function
from gpusaxs.kernels.select import median

# Points at each end that may be shadowed, as a share of the curve.
_SHADOW = 1.0 / 16.0
# An end is shadowed where it is nearer to zero than this share of the level inside.
_DARK = 0.3
# The points of a shadow together lack this many times the noise inside.
_BEYOND_NOISE = 5.0
# Median of |difference| of two neighbours with normal noise, over its standard deviation.
_NORMAL_DIFFERENCE = 0.6744897501960817 * math.sqrt(2.0)
# Points beside the shadow that still feel it.
_MARGIN = 5


@device_function
def level(intensity, first, last, work):  # type: ignore[no-untyped-def]
    """Median of the points from first to last."""
    count = 0
    for i in range(max(first, 0), min(last, intensity.shape[0])):
        work[count] = intensity[i]
        count += 1
    return median(work, count) if count > 0 else math.nan


@device_function
def scatter(intensity, first, last, work):  # type: ignore[no-untyped-def]
    """Robust noise of the points from first to last, from the differences of neighbours."""
    for i in range(first, last - 1):
        work[i - first] = abs(intensity[i + 1] - intensity[i])
    return median(work, last - 1 - first) / _NORMAL_DIFFERENCE


@device_function
def shadowed(intensity, direction, work):  # type: ignore[no-untyped-def]
    """Number of points in the shadow at one end; direction 1 at the low-q end, -1 at the high.

    Scattering neither rises from nothing at the lowest q nor breaks off at the highest: an end
    that is next to nothing beside the level just inside, for so many points that noise cannot be
    the reason, is a beamstop or the detector's edge.
    """
    points = intensity.shape[0]
    reach = max(10, int(points * _SHADOW))
    if points < 6 * reach:
        return 0
    first = reach // 2 if direction > 0 else points - 2 * reach
    last = 2 * reach if direction > 0 else points - reach // 2
    inside = level(intensity, first, last, work)
    dark = 0
    while dark < reach:
        i = dark if direction > 0 else points - 1 - dark
        if not abs(level(intensity, i - 1, i + 2, work)) < _DARK * inside:
            break
        dark += 1
    if dark == 0:
        return 0
    noise = scatter(intensity, first, last, work)
    return dark + _MARGIN if inside * math.sqrt(dark) > _BEYOND_NOISE * noise else 0


@curve_kernel
def cut(
    q: Row,
    intensity: Row,
    start: Output,
    stop: Output,
    status: Output,
    q_min: Shared,
    q_max: Shared,
    skip_first: Shared,
    skip_last: Shared,
    trim_edges: Shared,
    least: Shared,
    work: Scratch,
) -> None:
    """Move the curve's start and stop.

    q : (points,) float64, 1/nm; q_min, q_max in 1/nm
    skip_first, skip_last : points to leave out at the ends
    least : points that a curve must keep
    """
    points = q.shape[0]
    first = 0
    last = points
    if trim_edges:
        low = shadowed(intensity, 1, work)
        high = shadowed(intensity, -1, work)
        if low + high > 0:
            status[0] |= codes.EDGES_TRIMMED
        first += low
        last -= high
    first = max(first, skip_first)
    last = min(last, points - skip_last)
    while first < last and q[first] < q_min:
        first += 1
    while last > first and q[last - 1] > q_max:
        last -= 1
    if last - first < least:
        status[0] |= codes.TOO_FEW_POINTS
        return
    stop[0] = start[0] + last
    start[0] += first
