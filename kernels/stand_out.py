"""How far a maximum stands out of what it stands on."""

from __future__ import annotations

from gpusaxs.kernels.curve_kernel import device_function


@device_function
def walk_down(values, peak, place, direction, reach, lowest):  # type: ignore[no-untyped-def]
    """Follow a curve from `place` to `reach` points from a peak, or to where it is higher than it.

    Returns how far it came (past `reach` where it met the end or a higher point) and the lowest
    value on the way.
    """
    points = values.shape[0]
    top = values[peak]
    while place < reach:
        place += 1
        i = peak + direction * place
        if i < 0 or i >= points or values[i] > top:
            return points, lowest
        lowest = min(lowest, values[i])
    return place, lowest


@device_function
def half_distance(values, peak, direction, lowest):  # type: ignore[no-untyped-def]
    """Points from a peak to where the curve has fallen half way to `lowest`, which it reaches."""
    level = 0.5 * (values[peak] + lowest)
    place = 0
    while values[peak + direction * place] > level:
        place += 1
    return place


@device_function
def local_prominence(values, peak, least, growth):  # type: ignore[no-untyped-def]
    """Prominence of a peak without that of a hump on which it stands, and whether it is cut off.

    Looked at from twice as far, a peak that is seen whole grows little, the broad maximum beneath
    it by a factor of about four: the prominence ends where it reaches `least` and grows by less
    than `growth`; with a `growth` of zero it is that of SciPy. A peak is cut off where an end of
    the curve is nearer than half of its height is on the other side.
    """
    points = values.shape[0]
    top = values[peak]
    left, right = top, top
    left_place, right_place = 0, 0
    reach = 1
    prominence = 0.0
    while left_place < points or right_place < points:
        reach *= 2
        left_place, left = walk_down(values, peak, left_place, -1, reach, left)
        right_place, right = walk_down(values, peak, right_place, 1, reach, right)
        before = prominence
        prominence = top - max(left, right)
        if before >= least and prominence < growth * before:
            break
    behind = points - 1 - peak
    cut_off = False
    if right < left and left_place > peak:
        cut_off = half_distance(values, peak, 1, right) > peak
    elif left < right and right_place > behind:
        cut_off = half_distance(values, peak, -1, left) > behind
    return prominence, cut_off
