"""The comparison of backgrounds at small sizes, and what the default rests on."""

from pathlib import Path

import pytest

from benchmarks.backgrounds import METHODS, markdown, microseconds, on_measured, on_simulated
from gpusaxs.pipeline import Pipeline
from gpusaxs.simulate import simulate
from gpusaxs.stages.background import Background

STANDARD = METHODS["snip, 40 points (standard)"]
SEED = 41100
MEASURED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="module")
def drawn():
    bragg = simulate(100, seed=SEED, counts=2000.0)
    return bragg, simulate(40, seed=SEED + 1, counts=2000.0, negatives=1.0, hard=True)


def test_the_table_calls_standard_what_standard_does():
    [stage] = [stage for stage in Pipeline.load("standard").stages if stage.name == "background"]
    assert stage == Background(**STANDARD)
    assert Background(mode="arpls") == Background(**METHODS["arpls, lam 1e5 (its default)"])


@pytest.mark.parametrize("name", ["snip, 40 points (standard)", "arpls, lam 1e5 (its default)"])
def test_curves_are_named_rightly_and_heights_are_true_with_it(name, drawn):
    found = on_simulated(METHODS[name], *drawn)
    assert found.curves == 100
    assert found.right >= 0.9 * found.decidable > 40
    assert found.wrong <= 10
    assert found.named <= 2
    assert found.lattice_error < 1e-3
    assert abs(found.height) < 0.08
    assert abs(found.width) < 0.1


def test_a_power_law_finds_no_more_than_the_standard_background(drawn):
    ours, theirs = (on_simulated(METHODS[name], *drawn) for name in (list(METHODS)[2], "power_law"))
    assert ours.right >= theirs.right


def test_the_standard_background_is_many_times_faster_than_arpls():
    curves = simulate(100, seed=SEED, counts=20000.0)
    fast, slow = (
        microseconds(METHODS[name], curves) for name in (list(METHODS)[2], "arpls, lam 1e4")
    )
    assert 3.0 * fast < slow


def test_measured_curves_are_counted_by_what_is_known_of_them():
    if not MEASURED.is_dir():
        pytest.skip("the measured curves (../shared/data) are not here")
    found = on_measured(STANDARD, MEASURED)
    assert found.hexagonal.endswith("of 45")
    assert found.wrong == 0


def test_the_tables_have_a_row_for_each_background():
    methods = {name: METHODS[name] for name in ("none", "power_law")}
    parts = list(markdown(8, 4, None, methods, [2000.0]))
    assert len(parts) == 2
    for part in parts:
        assert [line.split("|")[1].strip() for line in part.splitlines()[-2:]] == list(methods)
