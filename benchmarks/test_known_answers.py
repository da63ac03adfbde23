"""The benchmarks of answers count what they name: by hand-made answers, and small sizes of all."""

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import accuracy, calibration, known_answers, measured, perfect_lines, robustness
from benchmarks.accuracy_page import fill
from gpusaxs.pipeline import Pipeline
from gpusaxs.sample import LineKind, Peak, PhaseMatch, Sample, Verdict
from gpusaxs.simulate import simulate

LATTICES = {"Pn-3m": 10.0, "Im-3m": 12.79}


@pytest.fixture(scope="module")
def standard():
    return Pipeline.load("standard")


@pytest.mark.parametrize(
    ("truth", "verdict", "given", "answer"),
    [
        ({"Pn-3m": 10.0}, "identified", [{"Pn-3m": 10.02}], "right"),
        ({"Pn-3m": 10.0}, "identified", [{"Pn-3m": 14.1}], "misindexed"),
        ({"Pn-3m": 10.0}, "identified", [{"Im-3m": 10.0}], "wrong"),
        ({"Pn-3m": 10.0}, "identified", [{"Pn-3m": 10.0, "Im-3m": 12.8}], "wrong"),
        ({"Pn-3m": 10.0}, "ambiguous", [{"Im-3m": 7.0}, {"Pn-3m": 10.0}], "ambiguous with"),
        ({"Pn-3m": 10.0}, "ambiguous", [{"Im-3m": 7.0}], "ambiguous without"),
        ({"Pn-3m": 10.0}, "unindexed", [], "unindexed"),
        (LATTICES, "identified", [{"Pn-3m": 10.0, "Im-3m": 12.8}], "right"),
        (LATTICES, "identified", [{"Im-3m": 12.8}], "partly"),
        (LATTICES, "identified", [{"Im-3m": 18.1}], "misindexed"),
        (LATTICES, "identified", [{"Im-3m": 12.8, "lamellar": 5.0}], "wrong"),
        (LATTICES, "identified", [{"Pn-3m": 10.0, "Im-3m": 13.2}], "misindexed"),
        ({}, "identified", [{"lamellar": 5.0}], "wrong"),
        ({}, "none", [], "none"),
    ],
)
def test_an_answer_is_judged(truth, verdict, given, answer):
    assert known_answers.judged(truth, verdict, given)[0] == answer


def test_the_larger_error_of_two_lattice_parameters_counts():
    _, error = known_answers.judged(LATTICES, "identified", [{"Pn-3m": 9.99, "Im-3m": 12.79}])
    assert error == pytest.approx(-0.001)


def test_rows_with_the_same_candidate_are_one_answer():
    rows = [("a", "Pn-3m", 10.0, 0), ("a", "Im-3m", 12.8, 0), ("b", "Im-3m", 9.0, 1)]
    names = ("id", "phase", "lattice", "candidate")
    phases = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    assert known_answers.candidates(phases)["a"] == [{"Pn-3m": 10.0, "Im-3m": 12.8}]
    assert known_answers.candidates(phases)["b"] == [{"Im-3m": 9.0}]


def test_the_set_is_what_it_says():
    drawn = known_answers.groups(1000, 71000)
    assert len({group.seed for group in drawn}) == len(drawn) == 4 * 14
    assert sum(group.curves for group in drawn if group.name == known_answers.NEGATIVES) == 5000
    assert sum(group.curves for group in drawn if group.name == "Ia-3d") == 4000
    [pairs] = known_answers.Group(known_answers.PAIRS, 2000.0, 1, 5).simulate().truth.to_pylist()
    assert pairs["kind"] == "coexistence"


@pytest.fixture(scope="module")
def found(standard):
    """Answers to forty lamellar curves, ten pairs and twenty negatives."""
    small = [
        known_answers.Group("lamellar", 20000.0, 40, 50),
        known_answers.Group(known_answers.PAIRS, 20000.0, 10, 51),
        known_answers.Group(known_answers.NEGATIVES, 200.0, 20, 52),
    ]
    return accuracy.Answers(
        pa.concat_tables(list(known_answers.answers(small, standard, workers=1)))
    )


def test_every_curve_is_counted_once(found):
    assert sum(one.curves for one in accuracy.one_phase(found)[::2]) == 40
    assert sum(one.curves for one in accuracy.pairs(found)[:4]) == 10
    assert sum(one.curves for of in accuracy.negatives(found).values() for one in of) == 20
    matrices = accuracy.confusion(found)
    assert sum(matrices[20000.0][known_answers.PAIRS].values()) == 10
    assert sum(matrices[200.0][known_answers.NEGATIVES].values()) == 20
    for one in accuracy.one_phase(found):
        assert sum(one.kinds.values()) == one.curves
        assert one.close <= one.near <= one.kinds["right"]


def test_most_clear_lamellar_curves_are_right_and_the_goals_say_so(found):
    bright = accuracy.by_phase(found)["lamellar"][-1]
    assert bright.curves > 20
    assert bright.share("right") > 0.8
    goals = {goal.what: goal.reached for goal in accuracy.goals(found)}
    assert goals["four lines or more: right"][1] == pytest.approx(bright.share("right"))


def test_the_lines_of_a_bright_curve_are_found(found):
    clear = (found["group"] == "lamellar") & (found["answer"] == "right")
    assert (found["found"] <= found["visible"])[found.one_phase].all()
    assert found["bragg"][clear].sum() > 0.9 * found["visible"][clear].sum()
    smooth = found.negatives & (found["visible"] == 0)
    assert (found["found"][smooth] == 0).all()


def test_perfect_lines_are_the_visible_ones_where_they_are(standard):
    drawn = simulate(6, seed=9, phases=["Pn-3m"], counts=2000.0, perturbations=())
    result = known_answers.processed(drawn, perfect_lines.with_perfect_lines(standard, drawn))
    lines = [line for line in drawn.lines.to_pylist() if line["visible"]]
    peaks = result.peaks.to_pylist()
    assert [peak["id"] for peak in peaks] == [line["id"] for line in lines]
    assert len(lines) > 12
    off = [(a["q"] - b["q"]) / a["q_sigma"] for a, b in zip(peaks, lines, strict=True)]
    assert 0.5 < np.std(off) < 1.5
    assert all(peak["bragg"] for peak in peaks)


def test_a_group_has_the_perturbations_that_the_tables_divide_it_by(found):
    one_phase = found.one_phase
    assert 3 <= (one_phase & found.befallen("offset")).sum() <= 16
    assert not found.befallen("satellites").any()


def test_noise_drawn_anew_is_that_of_the_simulation():
    simulation = simulate(3, seed=8, counts=500.0, perturbations=())
    intensity, sigma = calibration.with_noise(simulation, 200, 1)
    pulls = (intensity - simulation.expected.repeat(200, axis=0)) / sigma
    bright = simulation.expected.repeat(200, axis=0) > 20.0 * sigma**2 / intensity.clip(1e-9)
    assert np.std(pulls[bright]) == pytest.approx(1.0, abs=0.02)
    own = simulation.sigma[simulation.intensity > 0.0]
    assert np.median(sigma) == pytest.approx(np.median(own), rel=0.3)


def test_pulls_tell_a_wrong_sigma_from_a_bias():
    rng = np.random.default_rng(3)
    sigma = np.full(400, 0.1)
    right = [calibration.Fits(rng.normal(5.0, 0.1, 400), sigma, 5.0, 10.0) for _ in range(20)]
    summary = calibration.pulls("right", right)
    assert summary.plain == pytest.approx(1.0, abs=0.03)
    assert summary.robust == pytest.approx(1.0, abs=0.03)
    assert summary.beyond == pytest.approx(0.0027, abs=0.002)
    large = [calibration.Fits(one.value, 2.0 * sigma, 5.0, 10.0) for one in right]
    assert calibration.pulls("too large", large).plain == pytest.approx(0.5, abs=0.02)
    biased = calibration.pulls(
        "biased", [calibration.Fits(one.value, sigma, 5.3, 10.0) for one in right]
    )
    assert biased.plain == pytest.approx(1.0, abs=0.03)
    assert biased.bias == pytest.approx(3.0, abs=0.1)
    assert biased.total > 3.0


def test_reliability_finds_probabilities_that_are_too_sure(found):
    rng = np.random.default_rng(4)
    said = rng.uniform(0.5, 1.0, 20000)
    columns = {
        "probability": said,
        "verdict": np.full(said.size, "identified"),
        "answer": np.where(rng.random(said.size) < said, "right", "wrong"),
    }
    everything = np.ones(said.size, dtype=bool)
    honest = calibration.reliability(columns, everything)
    assert calibration.departure(honest) < 0.01
    for one in honest:
        assert abs(one.right - one.said) < 4.0 * one.error
    columns["answer"] = np.where(rng.random(said.size) < said - 0.2, "right", "wrong")
    assert calibration.departure(calibration.reliability(columns, everything)) > 0.15
    assert calibration.reliability(found, found.one_phase & ~found.one_phase) == []


def test_a_reliability_diagram_is_drawn(tmp_path):
    bins = [
        calibration.Bin(0.5, 0.9, 20, 0.7, 0.72, 0.1, 0.7),
        calibration.Bin(0.9, 1, 90, 0.97, 1, 0, 0.9),
    ]
    calibration.draw({"all curves": bins}, tmp_path / "drawn.svg")
    assert "probability said" in (tmp_path / "drawn.svg").read_text("utf-8")


@pytest.mark.parametrize("together", [3, 5])
def test_another_grid_has_independent_noise_as_large_as_its_sigma(together):
    rng = np.random.default_rng(5)
    q = np.linspace(0.1, 3.0, 1000)
    level = 100.0 + 50.0 * np.sin(3.0 * q)
    given = robustness.Curves(q, level + rng.normal(0.0, 4.0, (60, 1000)), np.full((60, 1000), 8.0))
    again = robustness.resampled(together)(given)
    assert again.q.size == pytest.approx(1000 * 4 / together, abs=3)
    assert (np.diff(again.q) > 0.0).all()
    noise = again.intensity - (100.0 + 50.0 * np.sin(3.0 * again.q))
    # The sigma given is twice too large, and stays so.
    assert noise.std() == pytest.approx(0.5 * again.sigma.mean(), rel=0.03)
    neighbours = np.mean(noise[:, 1:] * noise[:, :-1]) / noise.var()
    assert abs(neighbours) < 0.02


def test_the_unit_of_q_changes_no_verdict_and_another_pipeline_may(standard):
    group = known_answers.Group("hexagonal", 200.0, 12, 60)
    found = robustness.of_group(group, standard)
    assert not [one for one in found if one.variant == "q in 1/angstrom"]
    rows = robustness.summary({"at 200 counts": 12}, found)
    assert len(rows) == len(robustness.VARIANTS)
    changed = robustness.Said("identified", frozenset({"Ia-3d"}), 3.0)
    one = robustness.Change("at 200 counts", "x", robustness.VARIANTS[0].name, changed, changed)
    assert not one.is_of_names
    [first, *_] = robustness.summary({"at 200 counts": 4}, [one])
    assert first[1] == "25.00 (0.00)"


def processed(verdict, phases=(), lines=()):
    sample = Sample("x", np.linspace(0.1, 3.0, 20), np.ones(20), verdict=verdict, phases=phases)
    for q in lines:
        sample.metadata.processed_peaks.append(
            Peak(1, 1.0, 1.0, q=q, height=1.0 / q, kind=LineKind.BRAGG)
        )
    return sample


@pytest.mark.parametrize(
    ("sample", "expected", "judgement"),
    [
        (processed(Verdict.NONE), "none", "right"),
        (processed(Verdict.IDENTIFIED, (PhaseMatch("lamellar", 6.0, 0.1, 9.0),)), "none", "wrong"),
        (
            processed(Verdict.IDENTIFIED, (PhaseMatch("lamellar", 6.3, 0.1, 9.0),)),
            "lamellar",
            "right",
        ),
        (
            processed(Verdict.IDENTIFIED, (PhaseMatch("lamellar", 3.1, 0.1, 9.0),)),
            "lamellar",
            "wrong",
        ),
        (processed(Verdict.UNINDEXED, (), (1.0, 2.3)), "lamellar", "first line"),
        (processed(Verdict.UNINDEXED, (), (1.2, 2.3)), "lamellar", "not named"),
        (processed(Verdict.NONE), "lamellar", "not named"),
        (processed(Verdict.NONE), None, ""),
    ],
)
def test_a_measured_curve_is_judged(sample, expected, judgement):
    lattice = 2.0 * np.pi if expected == "lamellar" else None
    assert measured.answer("x", sample, expected, lattice, 0.01).judgement == judgement


def test_a_page_is_filled_between_its_marks():
    page = "# Title\n<!-- goals -->\nold\n<!-- /goals -->\nprose\n<!-- pairs -->\n<!-- /pairs -->\n"
    done = fill(page, {"goals": "new", "pairs": "| a |"})
    assert done == fill(done, {"goals": "new", "pairs": "| a |"})
    assert "old" not in done
    assert "\nprose\n" in done
    assert "<!-- pairs -->\n\n| a |\n\n<!-- /pairs -->" in done
    with pytest.raises(ValueError, match="negatives"):
        fill(page, {"negatives": "none"})
