from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpusaxs import branches
from gpusaxs.branches import Step, join

WIDTH = 0.01


def step(coordinate, places, *, sigma=1e-5, decided=True):
    places = np.array(places, dtype=np.float64)
    same = np.ones_like(places)
    return Step(float(coordinate), places, sigma * same, WIDTH * same, decided)


def joined(*places, most_missed=2):
    """Branches of the places in curves at 0, 1, 2 ...; None stands for a failed curve."""
    steps = [
        step(number, () if row is None else row, decided=row is not None)
        for number, row in enumerate(places)
    ]
    return [numbers.tolist() for numbers in join(steps, most_missed)]


@given(st.integers(0, 2**32 - 1))
def test_lines_that_drift_slowly_are_one_branch_each(seed):
    rng = np.random.default_rng(seed)
    coordinates = np.cumsum(rng.uniform(0.3, 2.0, 15))
    lines = np.cumsum(rng.uniform(40, 60, 5)) * WIDTH
    drift = rng.uniform(-0.5, 0.5, 5) * WIDTH
    steps, truth = [], []
    for coordinate in coordinates:
        order = rng.permutation(5)
        places = lines + drift * coordinate + rng.normal(0.0, 0.02 * WIDTH, 5)
        steps.append(step(coordinate, places[order], sigma=0.02 * WIDTH))
        truth.append(order)
    found = join(steps, 2)
    names = {int(number): line for number, line in zip(found[0], truth[0], strict=True)}
    for numbers, order in zip(found, truth, strict=True):
        assert [names[number] for number in numbers.tolist()] == order.tolist()


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.floats(-5, 5))
def test_units_do_not_matter(seed, scale, shift, ln_unit):
    rng = np.random.default_rng(seed)
    rows = [np.sort(rng.uniform(0.0, 0.3, rng.integers(0, 6))) for _ in range(8)]
    coordinates = np.cumsum(rng.uniform(0.3, 2.0, 8))
    once = [step(x, row) for x, row in zip(coordinates, rows, strict=True)]
    again = [
        step(scale * x + shift, row + ln_unit) for x, row in zip(coordinates, rows, strict=True)
    ]
    assert list(map(list, join(once, 2))) == list(map(list, join(again, 2)))


def test_lines_that_cross_keep_their_branches():
    falling = [0.1 - 0.3 * WIDTH * k for k in range(21)]
    rising = [0.1 - 6.0 * WIDTH + 0.3 * WIDTH * k for k in range(21)]
    rows = [
        # Where they are on each other, only one is found.
        [a] if abs(a - b) < 0.5 * WIDTH else [a, b]
        for a, b in zip(falling, rising, strict=True)
    ]
    assert [len(row) for row in rows].count(1) == 1
    assert joined(*rows)[-1] == [0, 1]
    assert max(map(max, joined(*rows))) == 1


@pytest.mark.parametrize(("missing", "last"), [(1, 0), (2, 0), (3, 1)])
def test_a_branch_goes_on_over_a_gap_of_up_to_two_curves(missing, last):
    assert joined([0.0], [0.0], *[[]] * missing, [0.0])[-1] == [last]


def test_failed_curves_are_no_gap():
    assert joined([0.0], None, [], None, None, [], None, [0.0])[-1] == [0]


def test_of_a_line_that_splits_the_nearer_part_goes_on_and_the_other_is_new():
    rows = joined([0.0], [0.0], [0.0], [0.2 * WIDTH, -0.6 * WIDTH], [0.3 * WIDTH, -0.9 * WIDTH])
    assert rows == [[0], [0], [0], [0, 1], [0, 1]]


def test_of_two_lines_that_merge_one_goes_on():
    rows = joined([0.0, 0.03], [0.006, 0.024], [0.012, 0.018], [0.0148], [0.015], [0.015])
    assert rows[2] == [0, 1]
    assert rows[3] == rows[4] == rows[5]
    assert rows[3][0] in (0, 1)


def test_a_line_that_jumps_begins_a_branch():
    assert joined([0.0], [0.0], [0.0], [2.5 * WIDTH], [2.5 * WIDTH]) == [[0], [0], [0], [1], [1]]


def test_the_first_step_of_a_branch_may_be_larger():
    assert joined([0.0], [2.5 * WIDTH])[-1] == [0]
    assert joined([0.0], [3.5 * WIDTH])[-1] == [1]


def test_a_known_drift_carries_a_branch_over_a_gap():
    drift = 0.8 * WIDTH
    places = [[drift * k] for k in range(5)]
    assert joined(*places, [], [], [drift * 7])[-1] == [0]
    assert joined(*places, [], [], [drift * 4])[-1] == [1]


def test_a_drift_seen_over_almost_no_distance_is_not_carried_far():
    steps = [step(x, [place]) for x, place in [(0, 0.0), (0.001, 0.001), (1, 0.0), (2, 0.0)]]
    assert [numbers.tolist() for numbers in join(steps, 2)] == [[0]] * 4


def test_after_a_long_step_a_branch_of_one_place_reaches_no_further_than_after_three_widths():
    for away, number in ((2.9, 1), (3.1, 2)):
        steps = [step(k, [0.0]) for k in range(5)]
        steps += [step(5, [0.0, 0.5]), step(50, [0.0, 0.5 + away * WIDTH])]
        assert join(steps, 2)[-1].tolist() == [0, number]


def drifting(seed, drift, sigma):
    """Lines that drift, cross, are missed and merge, in 40 curves; and which place is which."""
    rng = np.random.default_rng(seed)
    base, rate = np.cumsum(rng.uniform(4, 25, 8)) * WIDTH, rng.normal(0.0, drift, 8) * WIDTH
    steps, truth = [], []
    for coordinate in range(40):
        places = base + rate * (coordinate - 20)
        resolved = []
        for line in np.argsort(places).tolist():
            near = resolved and places[line] - places[resolved[-1]] < 0.6 * WIDTH
            if rng.random() > 0.05 and not near:
                resolved.append(line)
        kept = rng.permutation(np.array(resolved, np.int64))
        sigmas = rng.uniform(0.005, sigma, kept.size) * WIDTH
        found = places[kept] + rng.normal(0.0, sigmas)
        same = np.full(kept.size, WIDTH)
        steps.append(Step(float(coordinate), found, sigmas, same, decided=True))
        truth.append(kept.tolist())
    return steps, truth


def joins(seed, drift, sigma):
    """How many steps of a line over up to two gaps were joined rightly, broken off, and wrongly."""
    steps, truth = drifting(seed, drift, sigma)
    right = broken = wrong = 0
    last, owner = {}, {}
    for number, (lines, numbers) in enumerate(zip(truth, join(steps, 2), strict=True)):
        for line, branch in zip(lines, numbers.tolist(), strict=True):
            before, known = last.get(line, (-np.inf, None))
            if number - before <= 3:
                right += known == branch
                wrong += known != branch and owner.get(branch, line) != line
                broken += known != branch and owner.get(branch, line) == line
            last[line] = number, branch
        owner |= dict(zip(numbers.tolist(), lines, strict=True))
    return right, broken, wrong


@pytest.mark.parametrize(
    ("drift", "sigma", "least", "most_wrong"), [(0.6, 0.1, 0.994, 0.003), (0.6, 0.4, 0.983, 0.01)]
)
def test_lines_that_cross_and_drop_out_are_followed(drift, sigma, least, most_wrong):
    right, broken, wrong = np.sum([joins(seed, drift, sigma) for seed in range(40)], axis=0)
    whole = right + broken + wrong
    assert whole > 10_000
    assert right / whole > least
    assert wrong / whole < most_wrong


def test_a_place_of_unknown_uncertainty_does_not_match_everything():
    wild = Step(1.0, np.array([0.2]), np.array([1e6]), np.array([WIDTH]), decided=True)
    assert [row.tolist() for row in join([step(0, [0.0]), wild], 2)] == [[0], [1]]


def test_a_good_match_is_not_given_up_for_two_bad_ones():
    # The line of branch 1 is gone, and one came beyond branch 0: 0 to 0 alone is best.
    rows = joined([0.0, -0.02], [0.0, -0.02], [0.0, -0.02], [0.0, 0.008])
    assert rows[-1] == [0, 2]


@given(st.integers(0, 2**32 - 1))
def test_the_assignment_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    first, second = (rng.uniform(0.0, 0.08, rng.integers(1, 5)) for _ in range(2))
    [_, found] = join([step(0, first), step(1, second)], 2)
    allowed = (branches.REACH + branches.STEP_REACH) * WIDTH

    def saved(chosen):
        apart = [(second[entry] - first[branch]) / allowed for entry, branch in chosen]
        return sum(min(distance**2 - 1.0, 0.0) for distance in apart)

    mine = [(entry, number) for entry, number in enumerate(found) if number < first.size]
    size = max(first.size, second.size)
    best = min(
        saved([(e, b) for e, b in enumerate(order) if e < second.size and b < first.size])
        for order in permutations(range(size))
    )
    assert saved(mine) == pytest.approx(best, abs=1e-3)


def test_nothing_comes_of_nothing():
    assert join([], 2) == []
    assert joined([], [], []) == [[], [], []]
