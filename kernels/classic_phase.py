"""Name a phase from ratios of peak positions as an older program did."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.curve_kernel import (
    Output,
    PerCurve,
    Rows,
    ScratchOf,
    Shared,
    curve_kernel,
    device_function,
)
from numpy.typing import NDArray

MAX_PEAKS = 64
# Ratios that differ by less are the same number.
_SAME_RATIO = 2.220446049250313e-16

Positions = Annotated[NDArray[np.float64], ScratchOf(shape=(MAX_PEAKS,))]
"""(MAX_PEAKS,) float64 working memory."""


@device_function
def sorted_positions(peaks, n_peaks, positions):  # type: ignore[no-untyped-def]
    """Write q of the fitted peaks, lowest first, and mark these as lines; return their number."""
    count = 0
    for j in range(n_peaks):
        status = int(peaks[j, table.STATUS])
        fitted = status in (codes.FIT_CONVERGED, codes.FIT_BOUND_HIT)
        peaks[j, table.BRAGG] = codes.LINE_BRAGG if fitted else codes.LINE_NOT_FITTED
        if not fitted or count == MAX_PEAKS:
            continue
        place = count
        while place > 0 and positions[place - 1] > peaks[j, table.Q]:
            positions[place] = positions[place - 1]
            place -= 1
        positions[place] = peaks[j, table.Q]
        count += 1
    return count


@device_function
def likeness(positions, count, reflections):  # type: ignore[no-untyped-def]
    """Sum of 1 / |reference - observed| over the ratios to the first, one after the other."""
    total = 0.0
    for j in range(1, count):
        distance = abs(reflections[j] / reflections[0] - positions[j] / positions[0])
        total += 1.0 / max(distance, _SAME_RATIO)
    return total


@curve_kernel
def classic_phase(
    peaks: Rows,
    n_peaks: PerCurve,
    reflections: Shared,
    counts: Shared,
    phases: Rows,
    n_phases: Output,
    verdict: Output,
    margin: Output,
    positions: Positions,
) -> None:
    """Name the phase whose ratios are most like those of the peaks; of one peak alone, the first.

    reflections : (phases, reflections) float64, s of each reflection: q = 2 pi s / lattice
    counts : (phases,) int64, how many reflections there are
    """
    n_phases[0] = 0
    margin[0] = math.nan
    verdict[0] = table.VERDICT_NONE
    count = sorted_positions(peaks, n_peaks, positions)
    if count == 0:
        return
    phase = 0
    score = math.nan
    if count > 1:
        score = -math.inf
        for k in range(1, counts.shape[0]):
            total = likeness(positions, min(count, counts[k]), reflections[k])
            if total > score:
                score = total
                phase = k
    row = phases[0]
    for column in range(table.PHASE_COLUMNS):
        row[column] = math.nan
    row[table.PHASE] = phase
    row[table.LATTICE] = 2.0 * math.pi * reflections[phase, 0] / positions[0]
    row[table.SCORE] = score
    row[table.MATCHED] = (1 << min(count, counts[phase])) - 1
    row[table.MISSING] = 0.0
    row[table.UNEXPLAINED] = 0.0
    row[table.CANDIDATE] = 0.0
    n_phases[0] = 1
    verdict[0] = table.VERDICT_IDENTIFIED
