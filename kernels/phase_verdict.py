"""How sure an answer is, and whether it is one."""

from __future__ import annotations

import math

from gpusaxs.kernels.curve_kernel import device_function

# P = (1 - floor) / (1 + exp(-(offset + slope lead))), the floor by how many reflections are seen.
# Made by `python -m benchmarks.calibrate --curves 250`, from 8,193 answers.
_OFFSET = -0.198
_SLOPE = 0.901
_FLOOR_TWO = 0.1506
_FLOOR_THREE = 0.0427
_FLOOR_FOUR = 0.0123
_FLOOR_SIX = 0.0054
_FLOOR_SEVERAL = 0.0066


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
def lead_over(scores, total, chosen, chance):  # type: ignore[no-untyped-def]
    """Lead of one score over all others and `chance` together: -ln of their odds."""
    odds = math.exp(chance - scores[chosen])
    for one in range(total):
        if one != chosen:
            odds += math.exp(scores[one] - scores[chosen])
    return -math.log(odds)


@device_function
def probability(lead, seen, members):  # type: ignore[no-untyped-def]
    """Probability that all phases that are named are there.

    lead : log Bayes factor over all other explanations together
    seen : reflections that are seen
    members : phases of the explanation
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
