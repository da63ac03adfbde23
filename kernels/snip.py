"""SNIP background: iterative clipping of peaks."""

from __future__ import annotations

import math

from gpusaxs.kernels.curve_kernel import Row, Scratch, Shared, curve_kernel, device_function
from gpusaxs.kernels.elementary import exp_minus


@device_function
def clip(before, after, half):  # type: ignore[no-untyped-def]
    """One round: min(v[i], (v[i - half] + v[i + half]) / 2); the ends stay.

    before, after : (points,) float64
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
    for i in range(half):
        after[i] = before[i]
        after[points - 1 - i] = before[points - 1 - i]


@curve_kernel
def snip(
    intensity: Row,
    background: Row,
    max_half_window: Shared,
    decreasing: Shared,
    smooth: Shared,
    transform: Shared,
    one: Scratch,
    two: Scratch,
) -> None:
    """Subtract the background that clipping leaves (C.G. Ryan et al., NIM B 34 (1988) 396).

    Clips with half windows from `max_half_window` down to 1 (or up, without `decreasing`), on
    ln(ln(sqrt(y + 1) + 1) + 1) with `transform`, after a centred mean of 2 smooth + 1 points.
    Intensities below zero are shifted up to it for the transform.

    intensity, background : (points,) float64, the curve's own unit; background adds up
    """
    points = intensity.shape[0]
    for i in range(points):
        reach = min(smooth, i, points - 1 - i)
        total = 0.0
        for k in range(i - reach, i + reach + 1):
            total += intensity[k]
        one[i] = total / (2 * reach + 1)
    shift = 0.0
    if transform:
        for i in range(points):
            shift = min(shift, one[i])
        for i in range(points):
            one[i] = math.log(math.log(math.sqrt(one[i] - shift + 1.0) + 1.0) + 1.0)
    widest = min(max_half_window, (points - 1) // 2)
    flipped = False
    for step in range(widest):
        half = widest - step if decreasing else step + 1
        if flipped:
            clip(two, one, half)
        else:
            clip(one, two, half)
        flipped = not flipped
    clipped = two if flipped else one
    if transform:
        for i in range(points):
            # exp(exp(v) - 1) - 1, from a function that vectorises.
            root = 1.0 / exp_minus(1.0 / exp_minus(clipped[i]) - 1.0) - 1.0
            clipped[i] = root * root - 1.0 + shift
    for i in range(points):
        background[i] += clipped[i]
        intensity[i] -= clipped[i]
