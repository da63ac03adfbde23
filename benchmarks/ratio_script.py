"""An ordinary careful script: `find_peaks` with fixed thresholds, and a comparison of ratios.

One curve at a time: SNIP of pybaselines on the log-log-sqrt scale, `savgol_filter`, `find_peaks`
with a prominence that is a fixed share of the highest point, the top of a parabola through three
points as the peak's position, and the phase whose reflections, counted from its first, explain
the positions within one per cent. It names a phase from three lines, lamellar and hexagonal from
two, and only where at most two peaks are left over and at most four reflections are missing below
the last that was found.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks, savgol_filter

from benchmarks.peers import background
from gpusaxs.phases import PHASES

FloatArray = NDArray[np.float64]

# The best of 2, 5, 10 and 20 per cent, 1 to 3 and 1, 2 or 4, by right less wrong answers on other
# curves than those that are compared (seed 51000).
PROMINENCE = 0.05
MOST_LEFT_OVER = 2
MOST_MISSING = 4
WINDOW, ORDER = 7, 2
LEAST_WIDTH = 3
MOST_PEAKS = 10
TOLERANCE = 0.01
CURVES_A_TASK = 25


class Answer(NamedTuple):
    """What the script says of a curve; no phase is None, lattice in nm."""

    phase: str | None
    lattice: float


NOTHING = Answer(None, math.nan)


def positions_of_peaks(
    q: FloatArray, intensity: FloatArray, prominence: float = PROMINENCE
) -> FloatArray:
    """Return q of the peaks, lowest first."""
    smooth = savgol_filter(intensity - background(intensity), WINDOW, ORDER)
    peaks, _ = find_peaks(smooth, prominence=prominence * smooth.max(), width=LEAST_WIDTH)
    highest = np.sort(peaks[np.argsort(smooth[peaks])[::-1][:MOST_PEAKS]])
    below, top, above = smooth[highest - 1], smooth[highest], smooth[highest + 1]
    shift = 0.5 * (below - above) / (below - 2.0 * top + above)
    return np.interp(highest + shift, np.arange(q.size), q)


def phase_of(positions: FloatArray) -> Answer:
    """Phase whose ratios fit best; ties go to the one that comes first in the list of phases."""
    best, best_score = NOTHING, -math.inf
    for phase in PHASES:
        ratios = phase.positions / phase.positions[0]
        observed = positions / positions[0]
        nearest = np.abs(observed[:, np.newaxis] - ratios).argmin(axis=1)
        fits = np.abs(observed / ratios[nearest] - 1.0) < TOLERANCE
        matched = np.unique(nearest[fits])
        left_over = positions.size - matched.size
        missing = matched[-1] + 1 - matched.size
        enough = 2 if phase.name in ("lamellar", "hexagonal") else 3
        if matched.size < enough or left_over > MOST_LEFT_OVER or missing > MOST_MISSING:
            continue
        score = matched.size - left_over - missing
        if score > best_score:
            s = phase.positions[nearest[fits]]
            slope = (s @ positions[fits]) / (s @ s)
            best, best_score = Answer(phase.name, 2.0 * math.pi / slope), score
    return best


def answer(q: FloatArray, intensity: FloatArray, prominence: float = PROMINENCE) -> Answer:
    """Name the phase of one curve."""
    positions = positions_of_peaks(q, intensity, prominence)
    return phase_of(positions) if positions.size > 1 else NOTHING


def _timed(curves: list[tuple[FloatArray, FloatArray]]) -> tuple[list[Answer], float]:
    """Answers for some curves, and the processor time that they took."""
    began = time.process_time()
    with np.errstate(all="ignore"):
        answers = [answer(q, intensity) for q, intensity in curves]
    return answers, time.process_time() - began


def answers(
    curves: list[tuple[FloatArray, FloatArray]], each: Callable[..., Iterable[Any]] = map
) -> tuple[list[Answer], float]:
    """Answers for curves (q in 1/nm, intensity), and the processor time that they took.

    `each` is `map`, or that of an executor of processes.
    """
    tasks = [
        curves[first : first + CURVES_A_TASK] for first in range(0, len(curves), CURVES_A_TASK)
    ]
    parts = list(each(_timed, tasks))
    return [one for part, _ in parts for one in part], sum(seconds for _, seconds in parts)
