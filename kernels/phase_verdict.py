"""How sure an answer is, and whether it is one."""

from __future__ import annotations

import math

from gpusaxs.kernels import lattice_score as explain
from gpusaxs.kernels.coexistence import ONE_ANSWER, has_phase
from gpusaxs.kernels.curve_kernel import device_function

# P = (1 - floor) / (1 + exp(-(offset + slope lead))), the floor by how many reflections are seen.
# Made by `python -m benchmarks.calibrate --curves 250`, from 8,135 answers.
_OFFSET = -0.277
_SLOPE = 0.974
_FLOOR_TWO = 0.1692
_FLOOR_THREE = 0.0496
_FLOOR_FOUR = 0.0152
_FLOOR_SIX = 0.0028
_FLOOR_SEVERAL = 0.0053


@device_function
def log_sum(scores, total):  # type: ignore[no-untyped-def]
    """Ln of the sum of all explanations' odds."""
    top = -math.inf
    for one in range(total):
        top = max(top, scores[one])
    odds = 0.0
    for one in range(total):
        odds += math.exp(scores[one] - top)
    return top + math.log(odds)


@device_function
def is_chosen(group, member):  # type: ignore[no-untyped-def]
    """Whether a group, one bit a phase of an explanation, has one of them."""
    return group >> member & 1 == 1


@device_function
def chosen_of(group, members):  # type: ignore[no-untyped-def]
    """How many of an explanation's phases a group has."""
    chosen = 0
    for member in range(members):
        chosen += is_chosen(group, member)
    return chosen


@device_function
def has_group(explanation, best, group):  # type: ignore[no-untyped-def]
    """Whether an explanation has a group of the best one's phases, with about their lattices."""
    found = True
    for member in range(int(best[explain.COUNT])):
        if is_chosen(group, member):
            phase, beta = best[explain.PHASE + member], best[explain.BETA + member]
            found &= has_phase(explanation, phase, beta, ONE_ANSWER)
    return found


@device_function
def lead_of(explanations, total, best, group, chance):  # type: ignore[no-untyped-def]
    """Ln of the odds that a group of the best explanation's phases is there.

    All explanations that have them are for it; all others, and `chance`, against it.
    """
    top = explanations[best, explain.SCORE]
    within = 0.0
    against = math.exp(chance - top)
    for one in range(total):
        if explanations[one, explain.SCORE] > -math.inf:
            odds = math.exp(explanations[one, explain.SCORE] - top)
            if has_group(explanations[one], explanations[best], group):
                within += odds
            else:
                against += odds
    return math.log(within / against)


@device_function
def probability(lead, seen, members):  # type: ignore[no-untyped-def]
    """Probability that all phases that are named are there.

    lead : log of their odds, see `lead_of`
    seen : reflections that are seen
    members : how many phases they are
    """
    if members > 1:
        floor = _FLOOR_SEVERAL
    elif seen < 3:
        floor = _FLOOR_TWO
    elif seen < 4:
        floor = _FLOOR_THREE
    elif seen < 6:
        floor = _FLOOR_FOUR
    else:
        floor = _FLOOR_SIX
    return (1.0 - floor) / (1.0 + math.exp(-(_OFFSET + _SLOPE * lead)))
