"""Phases named from lines whose origin is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.index_phase import index_phase
from hypothesis import given, settings
from hypothesis import strategies as st

from gpusaxs.phases import PHASE_BY_NAME, PHASES
from gpusaxs.stages.phase import Phase

VERDICTS = {
    table.VERDICT_NONE: "none",
    table.VERDICT_UNINDEXED: "unindexed",
    table.VERDICT_AMBIGUOUS: "ambiguous",
    table.VERDICT_IDENTIFIED: "identified",
}

NAMES = [phase.name for phase in PHASES]


@dataclass
class Answer:
    """What the kernel concludes."""

    verdict: str
    phases: list[str]
    lattices: list[float]
    bragg: int
    margin: float
    matched: int
    probability: float
    offset: float
    candidates: list[int]
    unexplained: int


def peaks_at(centres: Any, fwhm: Any = 0.01, height: Any = 100.0, **columns: Any) -> Any:
    """A table of fitted peaks, the highest first."""
    centres = np.asarray(centres, np.float64)
    lines = np.full((centres.size, table.PEAK_COLUMNS), np.nan)
    for column, value in (
        (table.Q, centres),
        (table.Q_SIGMA, 1e-4),
        (table.FWHM, fwhm),
        (table.HEIGHT, height),
        (table.HEIGHT_SIGMA, 1.0),
        (table.REDUCED_CHI2, 1.0),
        (table.STATUS, codes.FIT_CONVERGED),
        *((getattr(table, name.upper()), value) for name, value in columns.items()),
    ):
        lines[:, column] = value
    return lines[np.argsort(-lines[:, table.HEIGHT], kind="stable")]


def index(
    run: Any,
    lines: Any,
    low: float = 0.05,
    high: float | None = None,
    residual: Any = None,
    **options: Any,
) -> Answer:
    """Index peaks in a curve from `low` to `high`, by default just beyond the last one."""
    end = lines[:, table.Q].max() * 1.02 + 0.02 if high is None else high
    q = np.linspace(low, end, 500)
    phases = np.full((table.MAX_PHASES, table.PHASE_COLUMNS), np.nan)
    n_phases, verdict = np.zeros(1, np.int64), np.full(1, -1)
    margin = np.zeros(1)
    stage = Phase(**options)
    count = np.array([len(lines)])
    given_lines = lines.copy()
    residual = np.zeros(500) if residual is None else residual
    run(index_phase, q, residual, np.ones(500), np.ones(500), given_lines, count, *stage._tables,
        phases, n_phases, verdict, margin)  # fmt: skip
    found = phases[: n_phases[0]]
    return Answer(
        VERDICTS[int(verdict[0])],
        [stage.known[int(row[table.PHASE])].name for row in found],
        [float(row[table.LATTICE]) for row in found],
        int((given_lines[:, table.BRAGG] == 1.0).sum()),
        float(margin[0]),
        int(found[0, table.MATCHED]).bit_count() if len(found) else 0,
        float(found[0, table.PROBABILITY]) if len(found) else 0.0,
        float(found[0, table.OFFSET]) if len(found) else math.nan,
        found[:, table.CANDIDATE].astype(int).tolist(),
        int(found[0, table.UNEXPLAINED]).bit_count() if len(found) else 0,
    )


@pytest.mark.parametrize("lattice", [4.7, 9.0, 23.0])
@pytest.mark.parametrize("name", NAMES)
def test_exact_lines_name_their_phase_and_its_lattice(run, name, lattice):
    centres = PHASE_BY_NAME[name].q(lattice)[:8]
    answer = index(run, peaks_at(centres, fwhm=0.01 * centres[0]), low=0.2 * centres[0])
    assert (answer.verdict, answer.phases) == ("identified", [name])
    np.testing.assert_allclose(answer.lattices, lattice, rtol=1e-6)
    assert answer.bragg == answer.matched == 8


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(sorted(NAMES)), st.floats(4.0, 40.0), st.randoms())
def test_the_order_of_equally_high_peaks_does_not_matter(run, name, lattice, random):
    centres = PHASE_BY_NAME[name].q(lattice)[:8]
    lines = peaks_at(centres, fwhm=0.01 * centres[0])
    shuffled = lines[random.sample(range(len(lines)), len(lines))]
    answer = index(run, shuffled, low=0.2 * centres[0])
    assert (answer.verdict, answer.phases) == ("identified", [name])
    np.testing.assert_allclose(answer.lattices, lattice, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_centres_off_by_their_uncertainty_give_the_lattice_within_a_few_of_its_own(run, name):
    rng = np.random.default_rng(1)
    centres = PHASE_BY_NAME[name].q(12.0)[:8]
    lines = peaks_at(centres * rng.normal(1.0, 5e-4, centres.size), fwhm=0.01 * centres[0])
    answer = index(run, lines, low=0.2 * centres[0])
    assert name in answer.phases
    np.testing.assert_allclose(answer.lattices[answer.phases.index(name)], 12.0, rtol=1e-3)


def test_no_peaks_are_no_phase(run):
    assert index(run, peaks_at([]), high=2.0).verdict == "none"


def test_one_line_alone_is_unindexed(run):
    answer = index(run, peaks_at([0.8]), high=2.0)
    assert (answer.verdict, answer.phases, answer.bragg) == ("unindexed", [], 1)
    assert np.isnan(answer.margin)


def test_two_lines_at_one_and_root_three_are_hexagonal(run):
    answer = index(run, peaks_at([0.8, 0.8 * np.sqrt(3.0)]))
    assert (answer.verdict, answer.phases) == ("identified", ["hexagonal"])


def test_two_lines_at_one_and_two_are_lamellar(run):
    answer = index(run, peaks_at([0.8, 1.6]))
    assert (answer.verdict, answer.phases) == ("identified", ["lamellar"])
    np.testing.assert_allclose(answer.lattices, 2.0 * np.pi / 0.8, rtol=1e-6)


@pytest.mark.parametrize("ratio", [1.6, 1.3, 2.5])
def test_two_lines_at_another_ratio_are_unindexed(run, ratio):
    answer = index(run, peaks_at([0.8, 0.8 * ratio]))
    assert (answer.verdict, answer.phases) == ("unindexed", [])


def test_lines_at_no_lattice_are_unindexed(run):
    assert index(run, peaks_at([0.8, 0.97, 1.27, 1.51])).verdict == "unindexed"


def test_broad_humps_are_no_phase(run):
    centres = np.array([0.5, 1.0, 1.5])
    answer = index(run, peaks_at(centres, fwhm=0.3 * centres), high=3.0)
    assert (answer.verdict, answer.bragg) == ("none", 0)


def test_evenly_spaced_broad_lobes_are_no_phase(run):
    # A sphere's: they follow each other at pi / R and are half as broad.
    centres = 0.6 + 0.3 * np.arange(7)
    heights = 1e4 * centres**-4.0
    lines = peaks_at(centres, fwhm=0.12, height=heights, height_sigma=0.01 * heights)
    answer = index(run, lines, high=3.0)
    assert (answer.verdict, answer.bragg) == ("none", 0)


def test_as_many_narrow_lines_as_evenly_spaced_are_a_stack(run):
    centres = 0.3 * np.arange(1, 8)
    answer = index(run, peaks_at(centres))
    assert (answer.verdict, answer.phases) == ("identified", ["lamellar"])


@pytest.mark.parametrize(
    "columns",
    [
        {"status": codes.FIT_BOUND_HIT},
        {"status": codes.FIT_SINGULAR},
        {"status": codes.FIT_TOO_FEW_POINTS},
        {"status": codes.FIT_NOT_CONVERGED},
        {"height_sigma": 80.0},
        {"height_sigma": 8.0, "reduced_chi2": 100.0},
    ],
    ids=str,
)
def test_a_peak_that_is_not_sure_is_no_line(run, columns):
    answer = index(run, peaks_at([0.8, 1.6, 2.4], **columns))
    assert (answer.verdict, answer.bragg) == ("none", 0)


def test_a_shape_at_its_limit_is_a_line_all_the_same(run):
    lines = peaks_at([0.8, 1.6, 2.4], status=codes.FIT_SHAPE_AT_LIMIT)
    assert index(run, lines).phases == ["lamellar"]


def test_a_faint_peak_below_the_strongest_line_is_its_satellite(run):
    lines = peaks_at([0.7, 0.8, 1.6, 2.4], height=np.array([2.0, 100.0, 60.0, 50.0]),
                     height_sigma=0.1)  # fmt: skip
    answer = index(run, lines)
    assert answer.bragg == 3
    assert answer.phases == ["lamellar"]


def test_a_peak_cut_off_by_the_end_of_the_curve_is_no_line(run):
    assert index(run, peaks_at([0.8, 1.6, 2.4]), low=0.795).bragg == 2
    assert index(run, peaks_at([0.8, 1.6, 2.4]), high=2.405).bragg == 2


def test_a_missing_reflection_is_named(run):
    centres = PHASE_BY_NAME["hexagonal"].q(9.0)[[0, 1, 2, 4, 5]]
    q = np.linspace(0.3, centres[-1] + 0.03, 500)
    phases = np.full((table.MAX_PHASES, table.PHASE_COLUMNS), np.nan)
    n_phases, verdict, margin = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1)
    lines = peaks_at(centres)
    run(index_phase, q, np.zeros(500), np.ones(500), np.ones(500), lines, np.array([5]),
        *Phase()._tables, phases, n_phases, verdict, margin)  # fmt: skip
    row = phases[0]
    assert PHASES[int(row[table.PHASE])].name == "hexagonal"
    assert int(row[table.MATCHED]) == 0b110111
    assert int(row[table.MISSING]) == 0b001000


def test_only_the_phases_asked_for_are_named(run):
    centres = PHASE_BY_NAME["hexagonal"].q(9.0)[:6]
    answer = index(run, peaks_at(centres), phases=("lamellar", "Ia-3d"))
    assert "hexagonal" not in answer.phases


def test_what_is_ambiguous_names_the_candidates_and_a_margin(run):
    centres = PHASE_BY_NAME["hexagonal"].q(9.0)[:6]
    answer = index(run, peaks_at(centres), min_probability=1.0)
    assert answer.verdict == "ambiguous"
    assert answer.phases[0] == "hexagonal"
    assert 0.0 < answer.margin < 1000.0
    assert answer.probability < 1.0


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(0.1, 5.0), max_size=32, unique=True), st.integers(0, 2**32 - 1))
def test_whatever_the_peaks_there_is_a_verdict_and_finite_lattices(run, centres, seed):
    rng = np.random.default_rng(seed)
    lines = peaks_at(
        centres,
        fwhm=rng.uniform(0.001, 0.3, len(centres)),
        height=rng.uniform(1.0, 1e3, len(centres)),
    )
    answer = index(run, lines, high=6.0)
    assert np.isfinite(answer.lattices).all()
    assert (answer.verdict in ("identified", "ambiguous")) == bool(answer.phases)


@pytest.mark.parametrize(
    ("first", "second", "ratio"),
    [
        ("Pn-3m", "Im-3m", 1.279),
        ("lamellar", "hexagonal", 1.31),
        ("Ia-3d", "lamellar", 0.43),
    ],
)
def test_two_phases_that_coexist_are_both_named(run, first, second, ratio):
    one, other = PHASE_BY_NAME[first].q(11.0)[:7], PHASE_BY_NAME[second].q(11.0 * ratio)[:5]
    # Lines that fall together are one peak.
    other = other[np.abs(other[:, np.newaxis] - one).min(axis=1) > 0.01]
    height = np.concatenate([np.full(one.size, 100.0), np.full(other.size, 60.0)])
    lines = peaks_at(np.concatenate([one, other]), fwhm=0.008, height=height)
    answer = index(run, lines, low=0.2)
    assert (answer.verdict, sorted(answer.phases)) == ("identified", sorted([first, second]))
    expected = {first: 11.0, second: 11.0 * ratio}
    for name, lattice in zip(answer.phases, answer.lattices, strict=True):
        np.testing.assert_allclose(lattice, expected[name], rtol=1e-4)


def test_two_phases_are_found_where_one_explains_nearly_all_of_their_lines(run):
    # All but two are lines of Pm-3n, which no second phase would have been looked for beside.
    one, other = PHASE_BY_NAME["Im-3m"].q(12.0)[:7], PHASE_BY_NAME["Pn-3m"].q(9.302)[:4]
    other = other[np.abs(other[:, np.newaxis] - one).min(axis=1) > 0.01]
    height = np.concatenate([np.full(one.size, 100.0), np.full(other.size, 60.0)])
    lines = peaks_at(np.concatenate([one, other]), fwhm=0.008, height=height)
    assert index(run, lines, low=0.2, phases=("Pm-3n",)).unexplained == 2
    answer = index(run, lines, low=0.2)
    assert (answer.verdict, answer.phases) == ("identified", ["Im-3m", "Pn-3m"])
    np.testing.assert_allclose(answer.lattices, [12.0, 9.302], rtol=1e-4)


def test_of_two_phases_of_which_one_is_sure_this_one_is_named(run):
    # The first lines of Im-3m are those of Pm-3m.
    sure, doubtful = PHASE_BY_NAME["lamellar"].q(15.0)[:6], PHASE_BY_NAME["Im-3m"].q(5.2)[:4]
    lines = peaks_at(np.concatenate([sure, doubtful]), fwhm=0.008)
    answer = index(run, lines, low=0.2, high=3.7)
    assert answer.verdict == "identified"
    assert answer.unexplained == 4
    together = [
        {name for name, number in zip(answer.phases, answer.candidates, strict=True) if number == k}
        for k in range(3)
    ]
    assert together[0] == {"lamellar"}
    assert sorted(together[1:], key=sorted) == [{"lamellar", "Im-3m"}, {"lamellar", "Pm-3m"}]
    np.testing.assert_allclose(answer.lattices[0], 15.0, rtol=1e-6)
    assert answer.probability > 0.95


def test_three_phases_that_coexist_are_all_named(run):
    lattices = {"lamellar": 5.0, "Pn-3m": 11.0, "hexagonal": 8.7}
    centres = np.concatenate([PHASE_BY_NAME[name].q(a)[:6] for name, a in lattices.items()])
    apart = np.abs(centres[:, np.newaxis] - centres) + np.eye(centres.size) > 0.012
    answer = index(run, peaks_at(centres[apart.all(axis=1)], fwhm=0.008), low=0.2)
    assert (answer.verdict, sorted(answer.phases)) == ("identified", sorted(lattices))


def test_a_phase_that_explains_every_line_is_alone(run):
    answer = index(run, peaks_at(PHASE_BY_NAME["Pn-3m"].q(11.0)[:8], fwhm=0.008), low=0.2)
    assert (answer.verdict, answer.phases) == ("identified", ["Pn-3m"])


def test_a_reflection_that_is_seen_only_where_it_is_expected_is_matched(run):
    centres = PHASE_BY_NAME["hexagonal"].q(9.0)[:5]
    end = centres[-1] * 1.02 + 0.02
    q = np.linspace(0.3, end, 500)
    faint = 12.0 * np.exp2(-((2.0 * (q - centres[3]) / 0.01) ** 2))
    lines = peaks_at(np.delete(centres, 3))
    without = index(run, lines, low=0.3)
    answer = index(run, lines, low=0.3, residual=faint)
    assert answer.phases == without.phases == ["hexagonal"]
    assert (answer.matched, without.matched) == (5, 4)


def test_lines_that_fit_two_phases_are_ambiguous_with_both(run):
    # Six lines of Im-3m without the seventh are those of Pm-3m.
    centres = PHASE_BY_NAME["Im-3m"].q(14.0)[:4]
    answer = index(run, peaks_at(centres, fwhm=0.008), low=0.2)
    assert answer.verdict == "ambiguous"
    assert {"Im-3m", "Pm-3m"} <= set(answer.phases)


def test_an_offset_of_q_is_found_and_freed_from_the_lattice(run):
    centres = PHASE_BY_NAME["Pn-3m"].q(11.0)[:8] + 0.004
    answer = index(run, peaks_at(centres, fwhm=0.008), low=0.3, high=centres[-1] + 0.03)
    np.testing.assert_allclose(answer.offset, 0.004, rtol=1e-6)
    np.testing.assert_allclose(answer.lattices[0], 11.0, rtol=1e-6)


@pytest.mark.parametrize("extra", [0.61, 0.955, 1.12, 1.31])
def test_a_line_that_is_left_unexplained_is_named_and_makes_the_answer_less_sure(run, extra):
    centres = PHASE_BY_NAME["hexagonal"].q(9.0)[:4]
    q = np.linspace(0.3, centres[-1] + 0.03, 500)
    scores = []
    stage = Phase()
    for at in (centres, np.append(centres, extra)):
        phases = np.full((table.MAX_PHASES, table.PHASE_COLUMNS), np.nan)
        n_phases, verdict, margin = np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1)
        run(index_phase, q, np.zeros(500), np.ones(500), np.ones(500), peaks_at(at),
            np.array([at.size]), *stage._tables, phases, n_phases, verdict,
            margin)  # fmt: skip
        scores.append(phases[0, table.SCORE])
    assert int(phases[0, table.UNEXPLAINED]) == 1 << centres.size
    assert scores[1] < scores[0] - 1.0


@pytest.mark.parametrize("share", [-0.03, 0.03])
@pytest.mark.parametrize("name", ["hexagonal", "Pn-3m", "lamellar"])
def test_lines_that_all_lie_beside_their_reflections_show_an_offset_of_q(run, name, share):
    centres = PHASE_BY_NAME[name].q(9.0)[:6]
    offset = share * centres[0]
    lines = peaks_at(centres + offset, fwhm=0.01 * centres[0])
    answer = index(run, lines, low=0.2 * centres[0], high=1.1 * centres[-1])
    assert (answer.verdict, answer.phases, answer.matched) == ("identified", [name], 6)
    np.testing.assert_allclose(answer.offset, offset, rtol=1e-6)
    np.testing.assert_allclose(answer.lattices, 9.0, rtol=1e-6)


def test_three_lines_show_no_offset_of_q(run):
    centres = PHASE_BY_NAME["hexagonal"].q(9.0)[:3]
    answer = index(run, peaks_at(centres - 0.03 * centres[0], fwhm=0.008), low=0.2)
    assert answer.verdict != "identified"


def test_a_line_of_another_phase_where_a_reflection_may_be_is_no_sign_of_it(run):
    # The last line of the stack lies where a high reflection of Fm-3m would; what should be there
    # between it and the first three of Fm-3m would speak against Fm-3m, were the line a sign of it.
    cubic = PHASE_BY_NAME["Fm-3m"].q(13.0)
    stack = PHASE_BY_NAME["lamellar"].q(2.0 * np.pi * 5.0 / (1.0035 * cubic[11]))[:5]
    height = np.concatenate([np.full(3, 100.0), np.full(5, 90.0)])
    lines = peaks_at(np.concatenate([cubic[:3], stack]), fwhm=0.008, height=height)
    answer = index(run, lines, low=0.2)
    assert sorted(answer.phases) == ["Fm-3m", "lamellar"]
    assert answer.verdict == "identified"


def test_two_lines_name_a_phase_beside_small_lines_where_the_first_dominates(run):
    centres = [0.8, 0.8 * np.sqrt(3.0), 0.8 * 2.31]
    named = index(run, peaks_at(centres, height=[400.0, 30.0, 40.0]), low=0.2)
    assert (named.verdict, named.phases) == ("identified", ["hexagonal"])
    assert index(run, peaks_at(centres, height=[100.0, 30.0, 40.0]), low=0.2).phases == []


def test_lines_in_a_window_of_the_instrument_are_left_aside(run):
    centres = [0.8, 0.8 * np.sqrt(3.0), 0.8 * 2.31]
    lines = peaks_at(centres, height=[100.0, 30.0, 90.0])
    assert index(run, lines, low=0.2).phases == []
    answer = index(run, lines, low=0.2, instrument_lines=((1.8, 1.9),))
    assert (answer.verdict, answer.phases, answer.bragg) == ("identified", ["hexagonal"], 2)
