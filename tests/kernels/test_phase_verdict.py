"""The odds of phases by the explanations that hold them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gpusaxs.kernels import lattice_score as explain
from gpusaxs.kernels.phase_verdict import lead_of, log_sum, probability

CHANCE = 4.0


def table_of(*explanations):
    """Explanations by their score and the phases and lattices that they have."""
    rows = np.full((len(explanations) + 1, explain.EXPLANATION_COLUMNS), np.nan)
    rows[-1, explain.SCORE] = -math.inf
    for row, (score, *phases) in zip(rows, explanations, strict=False):
        row[explain.SCORE] = score
        row[explain.COUNT] = len(phases)
        for member, (phase, beta) in enumerate(phases):
            row[explain.PHASE + member] = phase
            row[explain.BETA + member] = beta
    return rows


A, SAME_A, OTHER_A, B, C = (0, 1.0), (0, 1.004), (0, 1.1), (1, 2.0), (2, 2.5)
ROWS = table_of((20.0, A, B), (19.5, SAME_A, C), (18.0, B, OTHER_A), (17.0, A), (12.0, C))


@pytest.mark.parametrize(
    ("group", "within", "against"),
    [
        (0b01, (20.0, 19.5, 17.0), (18.0, 12.0, CHANCE)),
        (0b10, (20.0, 18.0), (19.5, 17.0, 12.0, CHANCE)),
        (0b11, (20.0,), (19.5, 18.0, 17.0, 12.0, CHANCE)),
    ],
)
def test_all_explanations_that_have_the_phases_are_for_them(group, within, against):
    expected = np.logaddexp.reduce(within) - np.logaddexp.reduce(against)
    assert lead_of(ROWS, len(ROWS), 0, group, CHANCE) == pytest.approx(expected, abs=1e-12)


def test_a_phase_is_at_least_as_likely_as_it_is_with_another():
    alone, both = (lead_of(ROWS, len(ROWS), 0, group, CHANCE) for group in (0b01, 0b11))
    assert alone > both
    assert log_sum(ROWS[:, explain.SCORE], len(ROWS)) > 20.0


@pytest.mark.parametrize(("seen", "members"), [(2, 1), (3, 1), (5, 1), (8, 1), (8, 2)])
def test_a_probability_grows_with_the_lead_and_leaves_a_doubt(seen, members):
    chances = [probability(lead, seen, members) for lead in (-40.0, -2.0, 0.0, 2.0, 5.0, 40.0)]
    assert np.all(np.diff(chances) > 0.0)
    assert chances[0] == pytest.approx(0.0, abs=1e-9)
    assert 0.8 < chances[-1] < 1.0
