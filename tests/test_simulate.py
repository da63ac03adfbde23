"""Simulated curves are what their truth says, and the score counts what it names."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from scipy.optimize import curve_fit

from gpusaxs.phases import PHASE_BY_NAME, PHASES
from gpusaxs.simulate import (
    HARD_NEGATIVES,
    PERTURBATIONS,
    TAME_NEGATIVES,
    Simulation,
    Tally,
    score,
    simulate,
)
from gpusaxs.simulate.alternatives import sets_that_fit
from gpusaxs.simulate.curves import fit_as_well
from gpusaxs.simulate.negatives import pair_ratios, phases_that_fit

NEGATIVES = TAME_NEGATIVES + HARD_NEGATIVES


def pulls(simulation: Simulation) -> np.ndarray:
    return (simulation.intensity - simulation.expected) / simulation.sigma


def test_the_same_seed_gives_the_same_bits() -> None:
    first = simulate(20, seed=3, negatives=0.3, coexistence=0.2, hard=True)
    again = simulate(20, seed=3, negatives=0.3, coexistence=0.2, hard=True)
    np.testing.assert_array_equal(first.intensity, again.intensity)
    np.testing.assert_array_equal(first.sigma, again.sigma)
    assert first.truth.equals(again.truth)
    assert first.lines.equals(again.lines)


def test_another_seed_gives_other_curves() -> None:
    assert not np.array_equal(simulate(2, seed=1).intensity, simulate(2, seed=2).intensity)


def test_a_curve_does_not_depend_on_how_many_are_drawn() -> None:
    few = simulate(5, seed=4, negatives=0.3, hard=True)
    many = simulate(40, seed=4, negatives=0.3, hard=True)
    np.testing.assert_array_equal(few.intensity, many.intensity[:5])
    assert few.truth.equals(many.truth.slice(0, 5))


def test_the_share_of_negatives_does_not_change_the_other_curves() -> None:
    without = simulate(30, seed=5)
    with_some = simulate(30, seed=5, negatives=0.5)
    positive = np.array(with_some.truth.column("kind").to_pylist()) == "bragg"
    assert 0 < positive.sum() < 30
    np.testing.assert_array_equal(with_some.intensity[positive], without.intensity[positive])


def test_counts_change_the_noise_alone() -> None:
    low, high = simulate(10, seed=6, counts=200.0), simulate(10, seed=6, counts=2e6)
    np.testing.assert_allclose(low.expected, high.expected, rtol=1e-12)
    np.testing.assert_allclose(high.intensity, high.expected, rtol=0.2)


@pytest.mark.parametrize("phase", [phase.name for phase in PHASES])
def test_every_phase_can_be_simulated_with_four_lines_in_the_window(phase: str) -> None:
    simulation = simulate(20, seed=7, phases=[phase], counts=1e5)
    assert set(simulation.truth.column("phase").to_pylist()) == {phase}
    lines = simulation.lines.to_pylist()
    for row in simulation.truth.to_pylist():
        inside = [line for line in lines if line["id"] == row["id"]]
        assert len(inside) >= 4
        n = [PHASE_BY_NAME[phase].reflections.index(line["n"]) for line in inside]
        np.testing.assert_allclose(
            [line["q"] for line in inside], PHASE_BY_NAME[phase].q(row["lattice"])[n], rtol=1e-12
        )


@pytest.mark.parametrize("grid", ["linear", "log"])
def test_lines_are_resolved_by_three_points_or_more_and_not_too_broad(grid: str) -> None:
    simulation = simulate(200, seed=8, grid=grid)  # type: ignore[arg-type]
    centres = simulation.lines.column("q").to_numpy()
    fwhm = simulation.lines.column("fwhm").to_numpy()
    spacing = np.interp(centres, simulation.q, np.gradient(simulation.q))
    assert (fwhm / spacing).min() > 2.5
    assert np.median(fwhm / spacing) > 3.5
    assert (fwhm / centres).max() < 0.06
    assert (fwhm / centres).min() > 0.003


def test_a_fit_finds_the_strongest_line_where_the_truth_says() -> None:
    simulation = simulate(30, seed=9, counts=1e6, phases=["Ia-3d", "hexagonal", "lamellar"])
    lines = simulation.lines.to_pylist()

    def model(q, centre, fwhm, height, eta, level, slope, bend):  # type: ignore[no-untyped-def]
        x = 2.0 * (q - centre) / fwhm
        profile = eta / (1.0 + x**2) + (1.0 - eta) * np.exp2(-(x**2))
        away = q - centre
        return height * profile + level + slope * away + bend * away**2

    errors = []
    for i, name in enumerate(simulation.truth.column("id").to_pylist()):
        own = [line for line in lines if line["id"] == name]
        top = max(own, key=lambda line: line["height"])
        reach = 2.5 * top["fwhm"]
        if any(line is not top and abs(line["q"] - top["q"]) < 3.0 * reach for line in own):
            continue
        near = np.abs(simulation.q - top["q"]) < reach
        q, intensity, sigma = (
            simulation.q[near],
            simulation.intensity[i, near],
            simulation.sigma[i, near],
        )
        start = [q[intensity.argmax()], reach / 2.5, np.ptp(intensity), 0.5, intensity.min(), 0, 0]
        fit, covariance = curve_fit(model, q, intensity, start, sigma, absolute_sigma=True)
        assert abs(fit[0] - top["q"]) < 5.0 * np.sqrt(covariance[0, 0]) + 0.005 * top["fwhm"]
        assert fit[1] == pytest.approx(top["fwhm"], rel=0.1)
        errors.append(fit[2] / top["height"] - 1.0)
    assert len(errors) >= 10
    assert np.abs(np.median(errors)) < 0.03


def test_the_strongest_line_has_the_counts_asked_for() -> None:
    simulation = simulate(20, seed=10, counts=500.0)
    for i, name in enumerate(simulation.truth.column("id").to_pylist()):
        top = max(
            h for h, own in zip(*_columns(simulation, "height", "id"), strict=True) if own == name
        )
        counts = simulation.intensity[i] / top * 500.0
        np.testing.assert_allclose(counts, np.round(counts), atol=1e-6)
        np.testing.assert_allclose(
            simulation.sigma[i] / top * 500.0, np.sqrt(np.maximum(counts, 1.0)), rtol=1e-9
        )


def _columns(simulation: Simulation, *names: str) -> list[list[object]]:
    return [simulation.lines.column(name).to_pylist() for name in names]


@pytest.mark.parametrize("perturbations", [(), ("subtracted",), ("beamstop",), ("edges",)])
def test_the_noise_is_as_large_as_sigma(perturbations: tuple[str, ...]) -> None:
    simulation = simulate(100, seed=12, counts=5000.0, perturbations=perturbations)
    bright = simulation.expected > 5.0 * simulation.sigma
    assert np.mean(pulls(simulation)[bright] ** 2) == pytest.approx(1.0, abs=0.03)


def test_a_wrong_sigma_is_off_by_half_or_more() -> None:
    simulation = simulate(60, seed=13, counts=1e4, perturbations=["wrong_sigma"])
    spread = np.std(pulls(simulation), axis=1)
    assert np.all((spread < 0.75) | (spread > 1.35))
    assert (spread < 0.75).any()
    assert (spread > 1.35).any()


def test_pixel_splitting_correlates_neighbours_and_lowers_the_noise() -> None:
    simulation = simulate(40, seed=14, counts=1e4, perturbations=["correlated"])
    noise = pulls(simulation)
    assert (np.std(noise, axis=1) < 0.95).all()
    correlation = np.mean(noise[:, 1:] * noise[:, :-1], axis=1) / np.var(noise, axis=1)
    assert (correlation > 0.1).all()


def test_the_snr_of_a_line_is_the_spread_of_its_fitted_height() -> None:
    simulation = simulate(1, seed=21, counts=300.0, phases=["lamellar"])
    line = max(simulation.lines.to_pylist(), key=lambda line: line["height"])
    q, expected = simulation.q, simulation.expected[0]
    near = np.abs(q - line["q"]) < 2.5 * line["fwhm"]
    counts = expected[near] / line["height"] * 300.0
    shape = np.exp2(-((2.0 * (q[near] - line["q"]) / line["fwhm"]) ** 2))
    design = np.column_stack([shape, np.ones(near.sum()), q[near] - line["q"]])
    weighted = design / np.sqrt(counts)[:, None]
    drawn = np.random.default_rng(0).poisson(counts, (4000, counts.size)) / np.sqrt(counts)
    heights = (np.linalg.pinv(weighted) @ drawn.T)[0]
    assert line["snr"] == pytest.approx(300.0 / heights.std(), rel=0.25)


def test_more_counts_show_more_lines() -> None:
    shown = [
        np.mean(simulate(100, seed=15, counts=counts).truth.column("visible").to_numpy())
        for counts in (50.0, 500.0, 5000.0, 50000.0)
    ]
    assert np.all(np.diff(shown) > 0.3)


def test_a_missing_first_line_has_no_height() -> None:
    simulation = simulate(20, seed=16, perturbations=["first_missing"])
    lines = simulation.lines.to_pylist()
    for name in simulation.truth.column("id").to_pylist():
        own = [line for line in lines if line["id"] == name]
        lowest = min(own, key=lambda line: line["q"])
        assert lowest["height"] == 0.0
        assert not lowest["visible"]


def test_the_first_two_lines_can_be_missing_and_the_third_is_there_then() -> None:
    plain = simulate(60, seed=30, phases=["Pn-3m"])
    simulation = simulate(60, seed=30, phases=["Pn-3m"], perturbations=["first_two_missing"])
    lines = simulation.lines.to_pylist()
    for name in simulation.truth.column("id").to_pylist():
        heights = [line["height"] for line in lines if line["id"] == name]
        assert heights[:2] == [0.0, 0.0]
        assert heights[2] > 0.0
        assert max(heights) > 0.0
    assert plain.lines["q"].equals(simulation.lines["q"])


def test_each_perturbation_befalls_its_share_of_the_curves_apart_from_the_others() -> None:
    asked = {"offset": 0.3, "first_two_missing": 0.2, "wrong_sigma": 1.0, "step": 0.0}
    few = simulate(200, seed=31, points=100, perturbations=asked)
    names = [set(row.split()) for row in few.truth["perturbations"].to_pylist()]
    assert all("wrong_sigma" in row and "step" not in row for row in names)
    assert 40 < sum("offset" in row for row in names) < 80
    assert 22 < sum("first_two_missing" in row for row in names) < 58
    assert 3 < sum({"offset", "first_two_missing"} <= row for row in names) < 25
    more = simulate(40, seed=31, points=100, perturbations=asked | {"step": 0.5})
    found = [set(row.split()) for row in more.truth["perturbations"].to_pylist()]
    assert [row - {"step"} for row in found] == names[:40]


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_every_perturbation_changes_the_curve_and_keeps_the_answer(name: str) -> None:
    plain, perturbed = simulate(10, seed=17), simulate(10, seed=17, perturbations=[name])
    assert np.isfinite(perturbed.intensity).all()
    assert (perturbed.sigma > 0.0).all()
    changed = (plain.intensity != perturbed.intensity) | (plain.sigma != perturbed.sigma)
    assert changed.any(axis=1).all()
    for column in ("phase", "lattice"):
        assert plain.truth.column(column).equals(perturbed.truth.column(column))
    assert set(perturbed.truth.column("perturbations").to_pylist()) == {name}


def test_an_offset_moves_all_lines_of_a_curve_by_the_same_amount() -> None:
    plain, moved = simulate(5, seed=18), simulate(5, seed=18, perturbations=["offset"])
    shift = moved.lines.column("q").to_numpy() - plain.lines.column("q").to_numpy()
    owner = np.array(plain.lines.column("id").to_pylist())
    for name in np.unique(owner):
        assert np.ptp(shift[owner == name]) < 1e-12
        assert shift[owner == name][0] != 0.0


@pytest.mark.parametrize("kind", NEGATIVES)
def test_a_negative_has_no_phase(kind: str) -> None:
    simulation = simulate(20, seed=19, negatives=1.0, negative_kinds=[kind])
    assert np.isfinite(simulation.intensity).all()
    assert (simulation.sigma > 0.0).all()
    assert set(simulation.truth.column("kind").to_pylist()) == {kind}
    assert simulation.truth.column("phase").null_count == 20
    assert simulation.truth.column("lattice").null_count == 20
    assert set(simulation.lines.column("phase").to_pylist()) <= {None}


@pytest.mark.parametrize(
    ("kind", "fewest", "most"),
    [("single_line", 1, 1), ("split_ring", 2, 2), ("two_lines", 2, 2), ("random_lines", 4, 8)],
)
def test_a_negative_has_the_lines_that_its_kind_says(kind: str, fewest: int, most: int) -> None:
    simulation = simulate(30, seed=20, negatives=1.0, negative_kinds=[kind])
    lines = simulation.lines.to_pylist()
    for name in simulation.truth.column("id").to_pylist():
        assert fewest <= sum(line["id"] == name for line in lines) <= most


def test_smooth_negatives_have_no_lines() -> None:
    smooth = (*TAME_NEGATIVES, "monodisperse_spheres", "beamstop", "edges", "step")
    simulation = simulate(40, seed=22, negatives=1.0, negative_kinds=smooth)
    assert simulation.lines.num_rows == 0
    assert set(simulation.truth.column("visible").to_pylist()) == {0}


def test_random_lines_fit_no_phase() -> None:
    simulation = simulate(40, seed=23, negatives=1.0, negative_kinds=["random_lines"])
    centres = np.array(simulation.lines.column("q").to_pylist())
    owner = np.array(simulation.lines.column("id").to_pylist())
    for name in np.unique(owner):
        assert not phases_that_fit(centres[owner == name])


def test_two_lines_stand_at_a_ratio_that_no_phase_has() -> None:
    simulation = simulate(40, seed=24, negatives=1.0, negative_kinds=["two_lines"])
    centres = simulation.lines.column("q").to_numpy().reshape(40, 2)
    ratio = centres.max(axis=1) / centres.min(axis=1)
    assert np.abs(ratio[:, None] / pair_ratios() - 1.0).min() > 0.01


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.name)
def test_the_lines_of_a_phase_fit_it(phase) -> None:  # type: ignore[no-untyped-def]
    for first in (0, 1, 2):
        lines = phase.q(13.0)[first : first + 6] * np.linspace(1.004, 0.996, 6)
        assert phase.name in phases_that_fit(lines)


def test_six_lines_of_simple_cubic_fit_bcc_as_well_and_the_seventh_decides() -> None:
    simple_cubic = PHASE_BY_NAME["Pm-3m"]
    assert "Im-3m" in fit_as_well(simple_cubic, (1, 2, 3, 4, 5, 6))
    assert fit_as_well(simple_cubic, (1, 2, 3, 4, 5, 6, 8, 9)) == []
    im3m = PHASE_BY_NAME["Im-3m"]
    assert "Pm-3m" in fit_as_well(im3m, (2, 4, 6, 8, 10, 12))
    assert "Pm-3m" not in fit_as_well(im3m, (2, 4, 6, 8, 10, 12, 14))


def test_even_lamellar_orders_fit_half_the_spacing() -> None:
    assert "lamellar" in fit_as_well(PHASE_BY_NAME["lamellar"], (2, 4, 6))
    assert not fit_as_well(PHASE_BY_NAME["lamellar"], (1, 2, 3, 4))


def test_a_pair_is_told_from_the_pairs_that_its_lines_fit_as_well() -> None:
    def also(**lattices: tuple[float, int]) -> list[str]:
        names = {"Im3m": "Im-3m", "lamellar": "lamellar", "Pn3m": "Pn-3m"}
        q = [PHASE_BY_NAME[names[k]].q(a)[:n] for k, (a, n) in lattices.items()]
        given = {names[k]: a for k, (a, _) in lattices.items()}
        return sets_that_fit(np.sort(np.concatenate(q)), given)

    few = also(Im3m=(12.0, 4), lamellar=(5.3, 4))
    assert "Pm-3m+lamellar" in few
    assert "Im-3m+lamellar" not in few
    assert also(Im3m=(12.0, 9), lamellar=(5.3, 4)) == []
    assert also(Pn3m=(11.0, 8), lamellar=(5.3, 4)) == []


def test_coexistence_has_two_different_phases_and_the_lines_of_both() -> None:
    simulation = simulate(40, seed=25, coexistence=1.0, counts=1e4)
    lines = simulation.lines.to_pylist()
    bonnet = 0
    for row in simulation.truth.to_pylist():
        assert row["kind"] == "coexistence"
        assert row["phase"] != row["second_phase"]
        bonnet += {row["phase"], row["second_phase"]} == {"Pn-3m", "Im-3m"}
        for prefix in ("", "second_"):
            own = [
                line["q"]
                for line in lines
                if line["id"] == row["id"] and line["phase"] == row[f"{prefix}phase"]
            ]
            expected = PHASE_BY_NAME[row[f"{prefix}phase"]].q(row[f"{prefix}lattice"])
            np.testing.assert_allclose(min(own), expected[0], rtol=1e-9)
    assert 5 < bonnet < 30


def test_shares_are_about_as_asked() -> None:
    kinds = simulate(400, seed=26, negatives=0.25, coexistence=0.25, points=200).truth["kind"]
    counted = {row["values"]: row["counts"] for row in kinds.value_counts().to_pylist()}
    assert 170 < counted["bragg"] < 230
    assert 70 < counted["coexistence"] < 130


def test_counts_can_be_a_range() -> None:
    counts = simulate(50, seed=27, counts=(100.0, 1e4)).truth.column("counts").to_numpy()
    assert 100.0 < counts.min() < 300.0
    assert 3000.0 < counts.max() < 1e4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"phases": ["Pn3m"]}, "Expected phases out of"),
        ({"phases": []}, "Expected phases out of"),
        ({"negative_kinds": ["sphere"]}, "Expected negative_kinds out of"),
        ({"perturbations": ["tilted"]}, "Expected perturbations out of"),
        ({"perturbations": {"tilted": 0.1}}, "Expected perturbations out of"),
        ({"perturbations": {"offset": 1.1}}, "Expected the shares"),
        ({"negatives": 0.8, "coexistence": 0.5}, "a sum of 1 at most"),
        ({"phases": ["lamellar"], "coexistence": 0.5}, "two phases or more"),
        ({"grid": "logarithmic"}, "Expected grid"),
    ],
)
def test_a_mistaken_argument_is_an_error_that_says_what_was_expected(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(1, seed=0, **arguments)  # type: ignore[arg-type]


def test_written_files_read_back(tmp_path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("gpusaxs.io.nxcansas", exc_type=ModuleNotFoundError)
    h5py = pytest.importorskip("h5py")
    simulation = simulate(6, seed=28, negatives=0.3, points=120)
    path = simulation.write(tmp_path / "new" / "folder")
    found: list[np.ndarray] = []

    def collect(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and name.rsplit("/", 1)[-1] == "I":
            found.append(np.atleast_2d(item[()]))

    with h5py.File(path) as file:
        file.visititems(collect)
    np.testing.assert_allclose(np.vstack(found), simulation.intensity)
    assert pyarrow.parquet.read_table(path.with_name("truth.parquet")).equals(simulation.truth)
    table = pyarrow.csv.read_csv(path.with_name("truth.csv"))
    assert table.column("id").equals(simulation.truth.column("id"))
    assert table.column_names == simulation.truth.column_names


def answers(rows: list[tuple[str, str, str | None, float | None]]) -> pa.Table:
    names = ("id", "verdict", "phase", "lattice")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])


def truths() -> pa.Table:
    names = ("id", "kind", "phase", "lattice", "visible", "also", "second_phase", "second_lattice")
    rows = [
        ("a", "bragg", "Pn-3m", 10.0, 6, "", None, None),
        ("b", "bragg", "Pn-3m", 10.0, 4, "", None, None),
        ("c", "bragg", "Pm-3m", 10.0, 5, "Im-3m", None, None),
        ("d", "bragg", "lamellar", 10.0, 3, "", None, None),
        ("e", "coexistence", "Pn-3m", 10.0, 7, "", "Im-3m", 12.79),
        ("f", "flat", None, None, 0, "", None, None),
        ("g", "two_lines", None, None, 2, "", None, None),
    ]
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])


def test_the_score_counts_what_it_names() -> None:
    result = answers(
        [
            ("a", "identified", "Pn-3m", 10.02),
            ("b", "identified", "Pn-3m", 10.05),
            ("c", "identified", "Im-3m", 14.14),
            ("d", "unindexed", None, None),
            ("e", "identified", "Im-3m", 12.79),
            ("f", "none", None, None),
            ("g", "identified", "hexagonal", 5.0),
        ]
    )
    accuracy = score(result, truths())
    assert (accuracy.main.curves, accuracy.main.right) == (3, 1)
    assert (accuracy.main.lattice_off, accuracy.main.wrong) == (1, 1)
    assert (accuracy.decidable.curves, accuracy.decidable.wrong) == (2, 0)
    assert (accuracy.few_lines.curves, accuracy.few_lines.unindexed) == (1, 1)
    assert (accuracy.coexistence.curves, accuracy.coexistence.right) == (1, 1)
    assert (accuracy.negatives.curves, accuracy.negatives.wrong) == (2, 1)
    assert accuracy.negatives.none == 1
    assert score(result, truths(), lattice_tolerance=0.01).main.right == 2


def test_a_phase_that_is_not_there_is_wrong_beside_one_that_is() -> None:
    def tally(phase: str) -> Tally:
        rows = [(name, "none", None, None) for name in "abcdfg"]
        return score(
            answers([*rows, ("e", "identified", phase, 10.0)]), truths(), by="id"
        ).coexistence

    assert tally("Pn-3m + Im-3m").right == 1
    assert tally("Pn-3m + lamellar").wrong == 1


def test_the_score_reads_as_a_table() -> None:
    result = answers([(name, "ambiguous", None, None) for name in "abcdefg"])
    accuracy = score(result, truths())
    assert len(accuracy.rows()) == 6
    lines = str(accuracy).splitlines()
    assert lines[0].split()[:3] == ["group", "curves", "right"]
    assert lines[1].split()[-7:] == ["0", "0", "0", "3", "0", "0", "0"]
    assert len({len(line) for line in lines}) == 1


def test_the_score_joins_by_id_when_asked() -> None:
    rows = [(name, "none", None, None) for name in "gfedcb"]
    result = answers([*rows, ("a", "identified", "Pn-3m", 10.0), ("z", "none", None, None)])
    assert score(result, truths(), by="id").main.right == 1
    with pytest.raises(ValueError, match="Expected one answer a curve, 7"):
        score(result, truths())
    with pytest.raises(ValueError, match="the first is 'a'"):
        score(answers(rows), truths(), by="id")


def test_perfect_answers_score_perfectly() -> None:
    truth = simulate(60, seed=29, negatives=0.2, coexistence=0.2, hard=True, points=300).truth
    result = answers(
        [
            (row["id"], "identified" if row["phase"] else "none", row["phase"], row["lattice"])
            for row in truth.to_pylist()
        ]
    )
    accuracy = score(result, truth)
    for tally in (accuracy.main, accuracy.few_lines, accuracy.coexistence):
        assert tally.right == tally.curves > 0
    assert accuracy.negatives.none == accuracy.negatives.curves > 0
