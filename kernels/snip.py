"""SNIP background: iterative clipping of peaks."""

from __future__ import annotations

import math

from gpusaxs.kernels.curve_kernel import Row, Scratch, Shared, curve_kernel, device_function
from gpusaxs.kernels.elementary import exp_poly, log_poly


@device_function
def smooth_into(values, half, smoothed):  # type: ignore[no-untyped-def]
    """Write the centred mean of 2 half + 1 points, shortened symmetrically at the ends.

    values, smoothed : (points,) float64, two arrays
    """
    points = values.shape[0]
    reach = min(half, (points - 1) // 2)
    inside = smoothed[reach : points - reach]
    middle = values[reach : points - reach]
    for i in range(inside.shape[0]):
        inside[i] = middle[i]
    for offset in range(reach):
        before = values[offset : offset + points - 2 * reach]
        behind = values[2 * reach - offset : points - offset]
        for i in range(inside.shape[0]):
            inside[i] += before[i] + behind[i]
    share = 1.0 / (2 * reach + 1)
    for i in range(inside.shape[0]):
        inside[i] *= share
    left = 0.0
    right = 0.0
    for i in range(reach):
        # The mean over 2 i + 1 points grows by one point on either side.
        left += values[2 * i] + (values[2 * i - 1] if i > 0 else 0.0)
        last = points - 1 - 2 * i
        right += values[last] + (values[last + 1] if i > 0 else 0.0)
        smoothed[i] = left / (2 * i + 1)
        smoothed[points - 1 - i] = right / (2 * i + 1)


@device_function
def counts_a_unit(intensity, sigma):  # type: ignore[no-untyped-def]
    """Return how many detector counts make one unit of the intensity, as sigma says.

    The variance of counts is their number. Without sigma the unit is taken as a count.
    """
    total = variance = 0.0
    for i in range(intensity.shape[0]):
        total += abs(intensity[i])
        variance += sigma[i] * sigma[i]
    counts = total / variance
    # Written so that NaN fails.
    return counts if 0.0 < counts < math.inf else 1.0


@device_function
def compress(values, shift, counts):  # type: ignore[no-untyped-def]
    """ln(ln(sqrt(y + 1) + 1) + 1) of y = (value - shift) counts, in place."""
    for i in range(values.shape[0]):
        values[i] = log_poly(math.sqrt((values[i] - shift) * counts + 1.0) + 1.0) + 1.0
    for i in range(values.shape[0]):
        values[i] = log_poly(values[i])


@device_function
def expand(values, shift, counts):  # type: ignore[no-untyped-def]
    """Undo `compress`, in place."""
    for i in range(values.shape[0]):
        values[i] = exp_poly(values[i]) - 1.0
    for i in range(values.shape[0]):
        root = exp_poly(values[i]) - 1.0
        values[i] = (root * root - 1.0) / counts + shift


@device_function
def clip(before, after, half):  # type: ignore[no-untyped-def]
    """One round: min(v[i], (v[i - half] + v[i + half]) / 2); the `half` points at the ends stay.

    before, after : (points,) float64
        They are equal from the ends up to point half - 3 on entry, and up to half - 1 on return.
    """
    points = before.shape[0]
    left = before[: points - 2 * half]
    right = before[2 * half :]
    middle = before[half : points - half]
    target = after[half : points - half]
    # Indices from zero: LLVM vectorises this loop, and not one with i - half in it.
    for i in range(target.shape[0]):
        mean = 0.5 * (left[i] + right[i])
        target[i] = mean if mean < middle[i] else middle[i]
    # The windows before this one were narrower by two points at most.
    for i in range(max(0, half - 2), half):
        after[i] = before[i]
        after[points - 1 - i] = before[points - 1 - i]


@curve_kernel
def snip(
    intensity: Row,
    sigma: Row,
    background: Row,
    max_half_window: Shared,
    decreasing: Shared,
    thin_above: Shared,
    smooth: Shared,
    transform: Shared,
    one: Scratch,
    two: Scratch,
) -> None:
    """Subtract the background that clipping leaves (C.G. Ryan et al., NIM B 34 (1988) 396).

    Clips with half windows from `max_half_window` down to 1 (or up, without `decreasing`), on
    ln(ln(sqrt(y + 1) + 1) + 1) with `transform`, after a centred mean of 2 smooth + 1 points. Of
    the half windows above `thin_above`, the widest and every other one are taken.
    A window that reaches over an end clips nothing: the first and the last point are background.
    For the transform y is in detector counts, as sigma says, so that the unit of the intensity
    changes nothing; intensities below zero are shifted up to it, so that y >= 0.

    intensity, sigma, background : (points,) float64, the curve's own unit; background adds up
    """
    points = intensity.shape[0]
    smooth_into(intensity, smooth, one)
    shift = 0.0
    counts = 1.0
    if transform:
        counts = counts_a_unit(intensity, sigma)
        for i in range(points):
            shift = min(shift, one[i])
        compress(one, shift, counts)
    for i in range(points):
        two[i] = one[i]
    widest = min(max_half_window, (points - 1) // 2)
    flipped = False
    for step in range(widest):
        half = widest - step if decreasing else step + 1
        if half > thin_above and (widest - half) % 2 == 1:
            continue
        if flipped:
            clip(two, one, half)
        else:
            clip(one, two, half)
        flipped = not flipped
    clipped = two if flipped else one
    if transform:
        expand(clipped, shift, counts)
    for i in range(points):
        background[i] += clipped[i]
        intensity[i] -= clipped[i]
