from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

import gpusaxs
from gpusaxs.errors import GpusaxsError
from gpusaxs.phases import PHASE_BY_NAME
from gpusaxs.series import SCHEMAS
from gpusaxs.tables import Tables
from gpusaxs.tracking import track


def identified(temperature, *phases, **more):
    """A curve with the lines of its phases, each given by its name and lattice parameter."""
    lines = [float(q) for name, lattice in phases for q in PHASE_BY_NAME[name].q(lattice)[:4]]
    return {
        "id": f"T{temperature}",
        "meta.temperature": float(temperature),
        "verdict": "identified",
        "phases": phases,
        "lines": lines,
    } | more


def other(temperature, verdict, **more):
    name = f"T{temperature}"
    return {"id": name, "meta.temperature": float(temperature), "verdict": verdict} | more


@pytest.fixture
def transitions(tables_of_curves):
    """What happens between which temperatures in some curves."""

    def found(*curves):
        rows = track(tables_of_curves(curves), "temperature").transitions.to_pylist()
        return [
            ("+".join(r["phases_lower"]), "+".join(r["phases_upper"]), r["lower"], r["upper"])
            for r in rows
        ]

    return found


def test_a_lattice_that_shrinks_is_one_branch_and_so_is_each_line(tables_of_curves):
    curves = [identified(t, ("hexagonal", 7.0 - 0.01 * t)) for t in range(0, 50, 5)]
    series = gpusaxs.track(tables_of_curves(curves), "temperature")
    branches = series.branches.to_pylist()
    assert Counter(branch["kind"] for branch in branches) == {"phase": 1, "peak": 4}
    [phase] = [branch for branch in branches if branch["kind"] == "phase"]
    assert phase["phase"] == "hexagonal"
    assert (phase["begin"], phase["end"], phase["curves"], phase["missed"]) == (0.0, 45.0, 10, 0)
    assert (phase["first"], phase["last"]) == pytest.approx((7.0, 6.55))
    assert all(branch["curves"] == 10 for branch in branches)
    assert series.transitions.num_rows == 0


def test_nothing_is_smoothed(tables_of_curves):
    rng = np.random.default_rng(1)
    curves = [
        identified(t, ("lamellar", 5.0 + float(rng.normal(0.0, 0.01)))) for t in range(20, 30)
    ]
    tables = tables_of_curves(curves)
    series = track(tables, "temperature")
    assert series.phases.select(["id", "lattice", "lattice_sigma"]) == tables.phases.select(
        ["id", "lattice", "lattice_sigma"]
    )
    names = ["id", "q", "q_sigma", "fwhm", "height", "area"]
    kept = series.peaks.select(names).sort_by([("id", "ascending"), ("q", "ascending")])
    assert kept == tables.peaks.select(names).sort_by([("id", "ascending"), ("q", "ascending")])


def test_phases_that_coexist_are_a_set_of_their_own(transitions, tables_of_curves):
    curves = [
        *(identified(t, ("hexagonal", 7.0 - 0.01 * t)) for t in (20, 24)),
        *(identified(t, ("hexagonal", 7.0 - 0.01 * t), ("lamellar", 5.0)) for t in (28, 32)),
        *(identified(t, ("lamellar", 5.0)) for t in (36, 40)),
        *(identified(t, ("Pn-3m", 9.0)) for t in (44, 48)),
    ]
    assert transitions(*curves) == [
        ("hexagonal", "hexagonal+lamellar", 24.0, 28.0),
        ("hexagonal+lamellar", "lamellar", 32.0, 36.0),
        ("lamellar", "Pn-3m", 40.0, 44.0),
    ]
    branches = track(tables_of_curves(curves), "temperature").branches.to_pylist()
    assert {(b["phase"], b["begin"], b["end"]) for b in branches if b["kind"] == "phase"} == {
        ("hexagonal", 20.0, 32.0),
        ("lamellar", 28.0, 40.0),
        ("Pn-3m", 44.0, 48.0),
    }


@pytest.mark.parametrize("verdict", ["unindexed", "ambiguous", "failed"])
def test_curves_that_decide_nothing_widen_the_interval(transitions, tables_of_curves, verdict):
    candidates = {"phases": [("square", 5.0), ("lamellar", 5.0)]} if verdict == "ambiguous" else {}
    curves = [
        identified(10, ("hexagonal", 7.0)),
        other(20, verdict, **candidates),
        other(30, verdict, **candidates),
        other(40, "none"),
        other(50, verdict, **candidates),
        other(60, "none"),
    ]
    assert transitions(*curves) == [("hexagonal", "", 10.0, 40.0)]
    [row] = track(tables_of_curves(curves), "temperature").transitions.to_pylist()
    assert (row["undecided"], row["curves_lower"], row["curves_upper"]) == (2, 1, 2)
    assert (row["id_lower"], row["id_upper"]) == ("T10", "T40")


def test_candidates_of_a_curve_that_is_not_identified_are_no_phases(tables_of_curves):
    candidates = [("square", 5.0), ("lamellar", 5.0)]
    curves = [other(t, "ambiguous", phases=candidates, lines=[1.0]) for t in (10, 20)]
    series = track(tables_of_curves(curves), "temperature")
    assert series.phases.num_rows == 0
    assert series.branches["kind"].to_pylist() == ["peak"]
    assert series.curves["phases"].to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("verdicts", "branches"),
    [(["none"] * 2, 1), (["unindexed"] * 3, 2), (["failed"] * 5, 1)],
    ids=["two gaps", "three gaps", "failures"],
)
def test_a_line_is_followed_over_two_curves_without_it(tables_of_curves, verdicts, branches):
    line = {"verdict": "unindexed", "lines": [1.0]}
    curves = [line, line, *({"verdict": verdict} for verdict in verdicts), line]
    series = track(tables_of_curves(curves), "order")
    assert series.branches.num_rows == branches
    assert series.branches["missed"].to_pylist() == ([len(verdicts)] if branches == 1 else [0, 0])


def test_a_phase_ends_where_a_curve_is_known_not_to_have_it(tables_of_curves):
    hexagonal = ("hexagonal", 7.0)
    curves = [
        identified(10, hexagonal),
        other(20, "unindexed"),
        identified(30, hexagonal),
        other(40, "none"),
        identified(50, hexagonal),
    ]
    branches = track(tables_of_curves(curves), "temperature").branches.to_pylist()
    phases = [branch for branch in branches if branch["kind"] == "phase"]
    assert [(b["begin"], b["end"], b["missed"]) for b in phases] == [(10, 30, 1), (50, 50, 0)]


def test_a_lattice_that_jumps_is_another_branch_and_no_transition(tables_of_curves):
    curves = [identified(t, ("Im-3m", 12.0 if t < 30 else 14.0)) for t in range(10, 60, 10)]
    series = track(tables_of_curves(curves), "temperature")
    phases = series.branches.filter(pa.compute.field("kind") == "phase").to_pylist()
    assert [(branch["first"], branch["curves"]) for branch in phases] == [(12.0, 2), (14.0, 3)]
    assert series.transitions.num_rows == 0


def test_one_phase_with_two_lattices_is_two_branches(tables_of_curves):
    curves = [
        identified(t, ("lamellar", 5.0 - 0.002 * t), ("lamellar", 6.0 + 0.002 * t))
        for t in range(10, 60, 10)
    ]
    series = track(tables_of_curves(curves), "temperature")
    assert series.branches["kind"].to_pylist().count("phase") == 2
    assert series.transitions.num_rows == 0


def test_curves_of_one_coordinate_that_disagree_decide_nothing(transitions):
    curves = [
        identified(10, ("hexagonal", 7.0)),
        identified(20, ("hexagonal", 7.0)),
        other(20, "none", id="T20 again"),
        other(30, "none"),
    ]
    assert transitions(*curves) == [("hexagonal", "", 10.0, 30.0)]


def test_only_the_first_candidate_of_an_identified_curve_counts(tables_of_curves):
    named = [
        {"phase": "Pn-3m", "lattice": 9.0, "candidate": 0},
        {"phase": "Im-3m", "lattice": 12.0, "candidate": 0},
        {"phase": "square", "lattice": 6.0, "candidate": 1},
    ]
    curves = [identified(t, phases=named, lines=[0.9, 1.1]) for t in (10, 20)]
    series = track(tables_of_curves(curves), "temperature")
    assert series.curves["phases"].to_pylist() == [["Im-3m", "Pn-3m"]] * 2
    assert series.branches["kind"].to_pylist().count("phase") == 2


def test_phases_of_runs_without_numbers_of_candidates_count(tables_of_curves):
    named = [{"phase": "hexagonal", "lattice": 7.0, "candidate": None}]
    curves = [identified(t, phases=named, lines=[1.0]) for t in (10, 20)]
    series = track(tables_of_curves(curves), "temperature")
    assert series.curves["phases"].to_pylist() == [["hexagonal"]] * 2


def test_the_order_of_the_rows_does_not_matter(tables_of_curves):
    curves = [identified(t, ("hexagonal", 7.0 - 0.02 * t)) for t in range(0, 40, 5)]
    curves[4] = other(20, "none")
    once = tables_of_curves(curves)
    rng = np.random.default_rng(0)
    again = Tables(
        *(
            table.take(rng.permutation(table.num_rows))
            for table in (once.samples, once.peaks, once.phases)
        )
    )
    first, second = track(once, "temperature"), track(again, "temperature")
    assert first.curves == second.curves
    assert first.transitions == second.transitions
    assert first.phases == second.phases

    def as_sets(series):
        found = {}
        for row in series.peaks.to_pylist():
            found.setdefault(row["branch"], set()).add((row["id"], row["q"]))
        return set(map(frozenset, found.values()))

    assert as_sets(first) == as_sets(second)


def test_series_are_told_apart_by_a_column(tables_of_curves):
    curves = [
        identified(t, ("hexagonal", 7.0), id=f"w{w}_T{t}") | {"meta.concentration": float(w)}
        for w in (80, 70)
        for t in (10, 20)
    ]
    curves[3] = other(20, "none", id="w70_T20") | {"meta.concentration": 70.0}
    series = track(tables_of_curves(curves), "temperature", "concentration")
    assert series.names == [70.0, 80.0]
    assert series.by.label == "concentration (mg/ml)"
    [row] = series.transitions.to_pylist()
    assert (row["series"], row["lower"], row["upper"]) == (70.0, 10.0, 20.0)
    phases = series.branches.filter(pa.compute.field("kind") == "phase")
    assert phases["series"].to_pylist() == [70.0, 80.0]
    numbers = series.branches["branch"].to_pylist()
    assert len(set(numbers)) == len(numbers)
    alone = series.only("80.0")
    assert alone.names == [80.0]
    assert alone.curves["id"].to_pylist() == ["w80_T10", "w80_T20"]
    assert alone.transitions.num_rows == 0
    with pytest.raises(GpusaxsError, match="70, 80"):
        series.only(75)


def test_names_tell_series_apart(tables_of_curves):
    curves = [
        {"id": name} for name in ("a_T30.dat", "b_T10.dat", "a_T20.dat", "notes.dat", "b_T5.dat")
    ]
    pattern = r"(?P<who>\w)_T(?P<warm>\d+)"
    series = track(tables_of_curves(curves), "warm (°C)", "who", from_name=pattern)
    assert series.names == ["a", "b"]
    assert series.along.label == "warm (°C)"
    assert series.curves["coordinate"].to_pylist() == [20.0, 30.0, 5.0, 10.0]
    assert series.left_out == 1


def test_the_order_of_the_curves_is_counted_in_each_series(tables_of_curves):
    curves = [{"id": name} for name in ("a1", "b1", "a2", "a3", "b2")]
    series = track(tables_of_curves(curves), "order", "who", from_name="(?P<who>[ab])")
    assert series.curves["coordinate"].to_pylist() == [0.0, 1.0, 2.0, 0.0, 1.0]
    assert series.curves["id"].to_pylist() == ["a1", "a2", "a3", "b1", "b2"]


def test_a_series_without_lines_is_empty_and_valid(tables_of_curves):
    series = track(tables_of_curves([{"verdict": "none"}] * 5), "order")
    assert series.curves.num_rows == 5
    for name, schema in SCHEMAS.items():
        table = getattr(series, name)
        assert table.schema.names == ["series", *schema.names]
        assert table.num_rows == (5 if name == "curves" else 0)


def test_without_any_value_the_column_is_named(tables_of_curves):
    with pytest.raises(GpusaxsError, match="'temperature'"):
        track(tables_of_curves([{"verdict": "none"}]), "temperature")


def test_peaks_that_are_no_bragg_lines_are_not_tracked(tables_of_curves):
    lines = [1.0, {"q": 2.0, "bragg": False}, {"q": 3.0, "fwhm": float("nan")}, {"q": float("nan")}]
    curves = [{"verdict": "unindexed", "lines": lines} for _ in range(3)]
    assert track(tables_of_curves(curves), "order").peaks["q"].to_pylist() == [1.0] * 3


def test_csv_has_phases_as_words(tables_of_curves, tmp_path):
    curves = [
        identified(10, ("hexagonal", 7.0), ("lamellar", 5.0)),
        other(20, "none"),
        other(30, "failed"),
    ]
    track(tables_of_curves(curves), "temperature").write_csv(tmp_path)
    assert (tmp_path / "curves.csv").read_text().splitlines()[1:] == [
        ',10,"T10","identified","hexagonal + lamellar"',
        ',20,"T20","none","none"',
        ',30,"T30","failed",',
    ]
    assert {path.stem for path in tmp_path.iterdir()} == set(SCHEMAS)


def test_the_first_line_of_measured_curves_is_one_branch_to_where_it_melts(measured, tmp_path):
    """OTAB at 78 wt%: hexagonal from 25 to 50 °C, without Bragg lines from 70 °C on."""
    inputs = [measured / kind / "otab/OTAB_078wtp_*.pdh" for kind in ("bragg", "plain")]
    gpusaxs.process_archive(inputs, tmp_path / "run", workers=1)
    series = gpusaxs.track(gpusaxs.open_run(tmp_path / "run"), "temperature")
    assert series.curves["coordinate"].to_pylist() == [24.9, 30.2, 40.9, 51.6, 72.9, 104.9]
    [first] = [
        branch
        for branch in series.branches.to_pylist()
        if branch["kind"] == "peak" and 2.4 < branch["first"] < 2.7
    ]
    assert (first["begin"], first["end"], first["curves"]) == (24.9, 51.6, 4)
    assert first["first"] == pytest.approx(2.528, rel=0.005)
    assert first["last"] == pytest.approx(2.5545, rel=0.005)
    between = [(row["lower"], row["upper"]) for row in series.transitions.to_pylist()]
    # A curve that does not decide makes the interval wider.
    assert between in ([], [(51.6, 72.9)], [(51.6, 104.9)])
