"""Fit the highest peak of a curve as an older program did, and take it away."""

from __future__ import annotations

import math

from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import (
    Output,
    PerCurve,
    Row,
    Rows,
    Scratch,
    Shared,
    curve_kernel,
    device_function,
)
from gpusaxs.kernels.elementary import exp_poly
from gpusaxs.kernels.trust_region import fit_within_bounds

# The fits are in 1/angstrom, the unit that their numbers are meant for: this many in a 1/nm.
_INVERSE_ANGSTROMS = 0.1
_ROOT_PI = math.sqrt(math.pi)
# FWHM of exp(-x^2 / s^2) in s.
_FWHM = 2.0 * math.sqrt(math.log(2.0))
# A parameter this near to a bound, over the distance of the bounds, is on it.
_AT_BOUND = 1e-6


@device_function
def least_step(q):  # type: ignore[no-untyped-def]
    """Shortest distance of neighbouring points."""
    least = math.inf
    for i in range(1, q.shape[0]):
        least = min(least, q[i] - q[i - 1])
    return least


@device_function
def highest(values):  # type: ignore[no-untyped-def]
    """Largest value of a curve."""
    top = values[0]
    for i in range(1, values.shape[0]):
        top = max(top, values[i])
    return top


@device_function
def at_bound(value, low, high):  # type: ignore[no-untyped-def]
    """Whether a fitted parameter lies on one of its bounds."""
    return min(value - low, high - value) < _AT_BOUND * (high - low)


@curve_kernel
def classic_peak(
    q: Row,
    sigma: Row,
    search: Row,
    residual: Row,
    candidates: Rows,
    peaks: Rows,
    n_peaks: Output,
    start: PerCurve,
    max_width: Shared,
    min_height: Shared,
    max_height: Shared,
    squared: Scratch,
    weight: Scratch,
    profile: Scratch,
) -> None:
    """Fit a parabola, then a Gaussian, about the highest candidate; move it to the table of peaks.

    Both are centred on the candidate's point. The parabola A (1 - x^2 / s^2) on the points from
    two before it to one after it says how wide the Gaussian's window is: from h points before it
    to h - 1 after it, h the whole steps of q in s. The Gaussian A exp(-x^2 / s^2) is subtracted
    everywhere, and what would fall below zero is zero. s lies between the square of the least
    step, both in 1/angstrom, and `max_width`; A between `min_height` and `max_height` times the
    highest point.

    q : (points,) float64, 1/nm; max_width in 1/nm
    sigma, search, residual : (points,) float64, the curve's own unit
    """
    line = peaks[n_peaks[0]]
    n_peaks[0] += 1
    for column in range(table.PEAK_COLUMNS):
        line[column] = math.nan
    line[table.INDEX] = candidates[0, table.INDEX]
    line[table.VALUE] = candidates[0, table.VALUE]
    line[table.PROMINENCE] = candidates[0, table.PROMINENCE]
    line[table.REMARKS] = 0.0
    line[table.BRAGG] = codes.LINE_NOT_JUDGED

    points = q.shape[0]
    index = int(line[table.INDEX]) - start
    centre = q[index]
    line[table.Q] = centre
    step = _INVERSE_ANGSTROMS * least_step(q)
    low_s = step * step
    high_s = _INVERSE_ANGSTROMS * max_width
    low_a = min_height
    high_a = max_height * highest(search)
    if not (low_s < high_s and low_a < high_a):
        line[table.STATUS] = codes.FIT_SINGULAR
        return

    before = 2
    after = 2
    s = a = 0.0
    for gaussian in range(2):
        first = max(index - before, 0)
        count = min(index + after, points) - first
        # A parabola that is narrower than the grid leaves the Gaussian no window.
        if count < 2:
            line[table.STATUS] = codes.FIT_TOO_FEW_POINTS
            return
        for i in range(count):
            x = _INVERSE_ANGSTROMS * (q[first + i] - centre)
            squared[i] = x * x
            weight[i] = 1.0 / sigma[first + i]
        s, a, converged = fit_within_bounds(
            squared[:count],
            search[first : first + count],
            weight[:count],
            gaussian == 1,
            low_s,
            high_s,
            low_a,
            high_a,
            profile[:count],
        )
        if not converged:
            line[table.STATUS] = codes.FIT_NOT_CONVERGED
            return
        before = after = int(s / step)

    on_bound = at_bound(s, low_s, high_s) or at_bound(a, low_a, high_a)
    line[table.STATUS] = codes.FIT_BOUND_HIT if on_bound else codes.FIT_CONVERGED
    width = s / _INVERSE_ANGSTROMS
    line[table.FWHM] = _FWHM * width
    line[table.HEIGHT] = a
    line[table.AREA] = _ROOT_PI * a * width
    line[table.ETA] = 0.0
    line[table.ASYMMETRY] = 0.0
    inverse = 1.0 / width
    for i in range(points):
        u = (q[i] - centre) * inverse
        left = search[i] - a * exp_poly(-u * u)
        search[i] = left if left > 0.0 else 0.0
        residual[i] = search[i]
