"""Lattices whose lines all lie an offset of q beside their reflections."""

from __future__ import annotations

import math

from gpusaxs.kernels import bragg_lines as bragg
from gpusaxs.kernels import lattice_score as explain
from gpusaxs.kernels.curve_kernel import device_function
from gpusaxs.kernels.one_phase import copy_explanation, mean_width

# Largest offset that is looked for, over the q of the first reflection.
_LARGEST = 0.05
# Two lines give any lattice and offset: so many have to agree.
FEWEST_LINES = 4


@device_function
def fit_both(lines, count, positions):  # type: ignore[no-untyped-def]
    """Weighted least squares of q = offset + beta s on the lines of a phase; beta and offset."""
    s0 = s1 = s2 = t0 = t1 = 0.0
    for j in range(count):
        k = int(lines[bragg.ASSIGNED, j])
        if k >= 0:
            w = lines[bragg.WEIGHT, j]
            s0 += w
            s1 += w * positions[k]
            s2 += w * positions[k] * positions[k]
            t0 += w * lines[bragg.MEASURED, j]
            t1 += w * lines[bragg.MEASURED, j] * positions[k]
    det = s0 * s2 - s1 * s1
    return (s0 * t1 - s1 * t0) / det, (s2 * t0 - s1 * t1) / det


@device_function
def try_offset(case, phase, trial, best, beta, offset):  # type: ignore[no-untyped-def]
    """Put a lattice and offset in the place of the best ones if they explain the lines better."""
    lines, count, known = case.lines, case.size, case.known
    positions = known.positions[phase]
    reflections = known.reflections[phase]
    explain.shift_lines(case, offset)
    if explain.assign(lines, count, 0, positions, reflections, beta) < FEWEST_LINES:
        return
    beta, offset = fit_both(lines, count, positions)
    if not abs(offset) < _LARGEST * beta * positions[0]:
        return
    if abs(beta - best[explain.BETA]) < explain.SAME_LATTICE * beta:
        return
    explain.shift_lines(case, offset)
    if explain.assign(lines, count, 0, positions, reflections, beta) < FEWEST_LINES:
        return
    if mean_width(lines, count, 0) > known.broadest[phase] * beta:
        return
    trial[explain.COUNT] = 1.0
    trial[explain.PHASE] = phase
    trial[explain.BETA] = beta
    trial[explain.OFFSET] = offset
    enough = best[explain.SCORE]
    if explain.score(case, trial, False, explain.UNEXPLAINED, enough) > enough:
        copy_explanation(trial, best)


@device_function
def best_with_offset(case, phase, trial, best, base):  # type: ignore[no-untyped-def]
    """Try one line with each other one as two of a phase's first reflections.

    `best` becomes the best explanation by this phase alone; its score is -inf without one.
    """
    lines, known = case.lines, case.known
    positions = known.positions[phase]
    first = min(known.candidates[phase], known.reflections[phase])
    best[explain.SCORE] = -math.inf
    best[explain.BETA] = math.nan
    for other in range(case.size):
        if lines[bragg.SURE, other] == 0.0 or other == base:
            continue
        low, high = min(base, other), max(base, other)
        apart = lines[bragg.MEASURED, high] - lines[bragg.MEASURED, low]
        for k in range(first):
            for m in range(k + 1, first):
                beta = apart / (positions[m] - positions[k])
                offset = lines[bragg.MEASURED, low] - beta * positions[k]
                if abs(offset) < _LARGEST * beta * positions[0]:
                    try_offset(case, phase, trial, best, beta, offset)
    explain.shift_lines(case, 0.0)
