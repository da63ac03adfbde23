import re
from pathlib import Path

import numpy as np
import pytest

import gpusaxs
from gpusaxs.archive.opened import open_run
from gpusaxs.archive.run import process_archive
from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.errors import BackendError, PipelineError
from gpusaxs.io.nxcansas_writer import write_stack
from gpusaxs.simulate import simulate

TABLES = ("samples", "peaks", "phases")


@pytest.fixture(scope="module")
def curves():
    return simulate(6, seed=11, phases=["hexagonal", "Ia-3d"], counts=20000.0)


@pytest.fixture(scope="module")
def result(curves):
    return gpusaxs.process(curves.q, curves.intensity, curves.sigma, q_unit="1/nm")


def rows_of(result, table, curve_id=None):
    rows = getattr(result, table).to_pylist()
    return [row for row in rows if curve_id in (None, row["id"])]


def test_each_curve_has_one_row_and_its_number_as_id(result):
    assert len(result) == 6
    assert result.samples["id"].to_pylist() == list("012345")
    assert set(result.peaks["id"].to_pylist()) <= set("012345")


def test_clear_curves_are_identified_with_their_lattice_parameter(curves, result):
    clear = [row for row in range(6) if curves.truth["visible"][row].as_py() >= 5]
    assert clear
    for row in clear:
        found = result.samples.slice(row, 1).to_pylist()[0]
        truth = curves.truth.slice(row, 1).to_pylist()[0]
        assert (found["verdict"], found["phase"]) == ("identified", truth["phase"])
        assert found["lattice"] == pytest.approx(truth["lattice"], rel=3e-3)


def test_one_curve_gives_exactly_what_the_archive_gives_for_it(curves, tmp_path):
    path = tmp_path / "curves.h5"
    write_stack(path, curves.q, curves.intensity, curves.sigma, title="curves")
    process_archive([path], tmp_path / "run")
    archived = open_run(tmp_path / "run")
    for number in range(6):
        curve_id = f"curves.h5#{number}"
        alone = gpusaxs.process(
            curves.q,
            curves.intensity[number],
            curves.sigma[number],
            q_unit="1/nm",
            ids=[curve_id],
        )
        for table in TABLES:
            mine, theirs = rows_of(alone, table), rows_of(archived, table, curve_id)
            for row in (*mine, *theirs):
                for column in ("source", "frame", "format", "q_unit_from", "meta.title"):
                    row.pop(column, None)
            assert repr(mine) == repr(theirs)  # NaN equals NaN, and no digit is lost


def test_order_blocks_workers_and_shared_q_change_nothing(curves, result, monkeypatch):
    monkeypatch.setattr(NumpyBackend, "block_points", 2500)
    turned = gpusaxs.process(
        np.tile(curves.q, (6, 1)),
        curves.intensity[::-1],
        curves.sigma[::-1],
        q_unit="1/nm",
        ids=list("543210"),
        workers=2,
    )
    for table in TABLES:
        for curve_id in "012345":
            mine, theirs = rows_of(turned, table, curve_id), rows_of(result, table, curve_id)
            assert repr(mine) == repr(theirs)


def test_the_given_arrays_are_not_changed(curves):
    q, intensity, sigma = curves.q.copy(), curves.intensity.copy(), curves.sigma.copy()
    gpusaxs.process(q, intensity, sigma, q_unit="1/nm")
    np.testing.assert_array_equal(q, curves.q)
    np.testing.assert_array_equal(intensity, curves.intensity)
    np.testing.assert_array_equal(sigma, curves.sigma)


def test_q_in_inverse_angstrom_gives_the_same_in_nanometres(curves, result):
    given = gpusaxs.process(curves.q / 10.0, curves.intensity, curves.sigma, q_unit="1/angstrom")
    assert given.samples["q_unit"].to_pylist() == ["1/angstrom"] * 6
    assert given.samples["phase"].to_pylist() == result.samples["phase"].to_pylist()
    # Where a fit that has hit a bound ends hangs on the last bits.
    free = np.array(result.peaks["status"].to_pylist()) != "bound_hit"
    assert free.sum() > 40
    mine, theirs = (peaks["q"].to_numpy()[free] for peaks in (given.peaks, result.peaks))
    np.testing.assert_allclose(mine, theirs, rtol=1e-9)


def test_a_guessed_unit_is_remarked(curves):
    guessed = gpusaxs.process(curves.q, curves.intensity[0], curves.sigma[0])
    assert "q_unit_guessed" in guessed.samples["status"][0].as_py()
    assert guessed.samples["q_unit_from"].to_pylist() == ["guess"]
    assert (
        "q_unit_guessed"
        not in gpusaxs.process(curves.q, curves.intensity[0], curves.sigma[0], q_unit="1/nm")
        .samples["status"][0]
        .as_py()
    )


def test_without_sigma_it_is_estimated_and_remarked(curves):
    found = gpusaxs.process(curves.q, curves.intensity, q_unit="1/nm")
    assert all("sigma_estimated" in status for status in found.samples["status"].to_pylist())
    assert "failed" not in found.samples["verdict"].to_pylist()


def test_points_that_were_not_measured_are_left_out(curves):
    intensity = curves.intensity[:2].copy()
    intensity[0, 100:103] = np.nan
    intensity[1] = np.nan
    found = gpusaxs.process(curves.q, intensity, curves.sigma[:2], q_unit="1/nm")
    assert "points_dropped" in found.samples["status"][0].as_py()
    assert found.samples["verdict"].to_pylist()[1] == "failed"
    assert found.samples["reason"][1].as_py()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"intensity": np.ones((2, 3, 4))}, ValueError, "dimensions"),
        ({"q": np.ones(7)}, ValueError, "Expected q as"),
        ({"sigma": np.ones(7)}, ValueError, "Expected sigma as"),
        ({"ids": ["a", "a", "b", "c", "d", "e"]}, ValueError, "different ids"),
        ({"ids": ["a"]}, ValueError, "different ids"),
        ({"q_unit": "1/parsec"}, ValueError, "Expected a unit of q"),
        ({"pipeline": "nothing"}, PipelineError, "Expected a preset"),
        ({"settings": ["find_peak.nothing=1"]}, PipelineError, "nothing"),
        ({"settings": ["nothing.window=1"]}, PipelineError, "nothing"),
        ({"backend": "abacus"}, BackendError, "abacus"),
        ({"workers": 0}, ValueError, "at least 1 worker"),
    ],
)
def test_a_wrong_argument_is_an_error_that_says_so(curves, change, error, message):
    arguments = {"q": curves.q, "intensity": curves.intensity, "sigma": curves.sigma} | change
    with pytest.raises(error, match=message):
        gpusaxs.process(**arguments)


def test_no_curve_at_all_is_an_empty_result(curves):
    empty = gpusaxs.process(curves.q, np.empty((0, curves.q.size)), q_unit="1/nm")
    assert len(empty) == 0
    assert list(empty) == []


def test_a_curve_is_found_by_its_place_and_by_its_id(curves):
    found = gpusaxs.process(
        curves.q, curves.intensity, curves.sigma, q_unit="1/nm", ids=list("abcdef")
    )
    assert found[1].id == found["b"].id == found[-5].id == "b"
    assert [sample.id for sample in found] == list("abcdef")
    for key, error in ((6, IndexError), (-7, IndexError), ("z", KeyError)):
        with pytest.raises(error):
            found[key]


def test_a_sample_of_a_result_holds_what_the_tables_hold(curves, result):
    sample = result[2]
    row = rows_of(result, "samples")[2]
    assert str(sample.verdict) == row["verdict"]
    assert sample.margin == row["margin"]
    assert sample.q.size == row["points"]
    peaks = rows_of(result, "peaks", "2")
    centres = [peak.q for peak in sample.metadata.processed_peaks]
    np.testing.assert_array_equal(centres, [peak["q"] for peak in peaks])
    phases = rows_of(result, "phases", "2")
    assert [match.lattice for match in sample.phases] == [line["lattice"] for line in phases]
    np.testing.assert_array_equal(sample.measured_intensity, curves.intensity[2])


def test_settings_change_parameters(curves):
    strict = gpusaxs.process(
        curves.q,
        curves.intensity,
        curves.sigma,
        q_unit="1/nm",
        settings=["find_peak.prominence_noise=1e9"],
    )
    assert strict.peaks.num_rows == 0
    assert set(strict.samples["verdict"].to_pylist()) == {"none"}


README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_python_examples_of_the_readme_run(number, tmp_path, monkeypatch, capsys):
    import matplotlib

    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert len(examples) == 3
    names: dict[str, object] = {}
    exec(examples[number], names)
    matplotlib.pyplot.close("all")
    if number == 0:
        assert (tmp_path / "curve.png").stat().st_size > 10_000
    elif number == 1:
        shown = capsys.readouterr().out.splitlines()
        assert sorted(int(line.split()[0]) for line in shown) == list(range(200))
    else:
        curves = simulate(1, seed=1, phases=["hexagonal"], counts=20000.0)
        found = gpusaxs.process(
            curves.q, curves.intensity, curves.sigma, q_unit="1/nm", pipeline=names["mine"]
        )
        assert found.samples["verdict"].to_pylist() == ["identified"]
