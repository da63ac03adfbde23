"""Joins what was found in the curves of a series from curve to curve into branches."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

REACH = 1.0
"""Widths by which a place may miss what its branch's drift predicts: the drift changes too."""

STEP_REACH = 2.0
"""Widths that a branch of which no drift is known may move beside that, in a step as usual."""

MOST_REACH = 2.0
"""Widths that the unknown part of a drift may add, however long the step."""

SIGMAS = 3.0
"""Standard uncertainties by which a place may miss its prediction beside its reach."""

_REMEMBERED = 5
_ROUGHNESS = 0.1  # of the width: how far from a straight line places are, beside their sigma


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What was found in one curve of a series.

    Parameters
    ----------
    coordinate
        Of the curve; not below that of the step before.
    places : (found,) float64
        ln q of peaks, or ln of lattice parameters.
    sigmas : (found,) float64
        Standard uncertainties of the places.
    widths : (found,) float64
        How far from each other two places are that can be told apart: of peaks FWHM over q.
    decided
        Whether what was not found in the curve is not there.
    """

    coordinate: float
    places: FloatArray
    sigmas: FloatArray
    widths: FloatArray
    decided: bool


def join(steps: Sequence[Step], most_missed: int) -> list[IntArray]:
    """Return the number of the branch of each place, counted in the order in which they begin.

    A place goes to the branch whose prediction is nearest, one to one, so that the sum over a
    step is least; a place too far from all of them begins a branch, and so does the second of
    two into which one splits. A prediction goes on from the last place of the branch with the
    drift of its last places, which is a least-squares slope through the last one, drawn towards
    zero as far as it is not known. How far a place may be from it:

    ``REACH`` widths + ``SIGMAS`` (place's sigma² + last one's sigma² + step² slope's sigma²)^½,

    where the slope of a branch of one place has the sigma with which the last term is
    ``STEP_REACH`` widths in a step of the median length, and never is it more than
    ``MOST_REACH`` widths.

    Parameters
    ----------
    steps
        The curves of one series by their coordinate.
    most_missed
        Decided steps in a row that may lack a place of a branch that goes on.

    Returns
    -------
    list of (found,) int64
        One array a step.
    """
    usual = _usual_step(steps)
    branches: list[_Branch] = []
    active: list[int] = []
    joined = []
    for step in steps:
        going_on = _matched([branches[number] for number in active], step)
        numbers = np.empty(len(step.places), np.int64)
        for entry in range(len(step.places)):
            place = going_on.get(entry)
            if place is None:
                numbers[entry] = len(branches)
                branches.append(_Branch(usual))
            else:
                numbers[entry] = active[place]
            branches[numbers[entry]].add(step, entry)
        found = set(numbers.tolist())
        for number in active:
            branches[number].missed += step.decided and number not in found
        active = [n for n in sorted({*active, *found}) if branches[n].missed <= most_missed]
        joined.append(numbers)
    return joined


@dataclass(slots=True)
class _Branch:
    """A branch as far as it has come: its last places, and how it drifts."""

    usual_step: float
    missed: int = 0
    sigma: float = 0.0
    width: float = 0.0
    slope: float = 0.0
    slope_sigma: float = 0.0
    last: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def add(self, step: Step, entry: int) -> None:
        """Go on to a place."""
        self.missed = 0
        self.width = float(step.widths[entry])
        self.sigma = float(step.sigmas[entry])
        here, place = step.coordinate, float(step.places[entry])
        noise = self.sigma**2 + (_ROUGHNESS * self.width) ** 2
        unknown = STEP_REACH * self.width / (SIGMAS * self.usual_step)
        weight = noise / unknown**2
        product = 0.0
        for coordinate, value in self.last:
            weight += (coordinate - here) ** 2
            product += (coordinate - here) * (value - place)
        self.slope = product / weight
        self.slope_sigma = float(np.sqrt(noise / weight))
        self.last.append((here, place))


def _usual_step(steps: Sequence[Step]) -> float:
    between = np.diff(np.unique([step.coordinate for step in steps]))
    return float(np.median(between)) if between.size else 1.0


def _matched(branches: Sequence[_Branch], step: Step) -> dict[int, int]:
    """Which branch each place of a step continues: the branch's place by that of the entry."""
    if not branches or not len(step.places):
        return {}
    ahead = np.array([step.coordinate - branch.last[-1][0] for branch in branches])
    slope = np.array([branch.slope for branch in branches])
    predicted = np.array([branch.last[-1][1] for branch in branches]) + slope * ahead
    width = np.maximum(np.array([branch.width for branch in branches])[:, np.newaxis], step.widths)
    drift_sigma = ahead * np.array([branch.slope_sigma for branch in branches])
    unknown = np.minimum(drift_sigma[:, np.newaxis], MOST_REACH / SIGMAS * width)
    # A centre that is known no better than its width is not known at all.
    sigmas = np.minimum(step.sigmas, width)
    last_sigmas = np.minimum(np.array([branch.sigma for branch in branches])[:, np.newaxis], width)
    allowed = REACH * width + SIGMAS * np.sqrt(sigmas**2 + last_sigmas**2 + unknown**2)
    apart = (step.places - predicted[:, np.newaxis]) / allowed
    # What a pair saves over leaving both alone: nothing from where it is too far apart.
    cost = np.minimum(apart**2 - 1.0, 0.0)
    chosen = zip(*linear_sum_assignment(cost), strict=True)
    return {int(entry): int(place) for place, entry in chosen if cost[place, entry] < 0.0}
