"""Numbers that stages leave, in run directories: written, opened, verified, computed again."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

import gpusaxs
from gpusaxs.archive.directory import read_table
from gpusaxs.archive.from_run import reprocess_run
from gpusaxs.archive.run import process_archive
from gpusaxs.archive.verify import verify_run
from gpusaxs.cli.main import app
from gpusaxs.errors import RunDirectoryError
from gpusaxs.pipeline import Pipeline

SOLUTION = Pipeline.load("solution")
WIDER = SOLUTION.with_settings(["porod.max_q_rg=9.0"])
STANDARD = Pipeline.load("standard")
BOTH = Pipeline.of([*SOLUTION.stages[:3], *STANDARD.stages[2:]], name="both")
RG = (1.5, 2.0, 3.0, 4.0, 5.0)
OPTIONS = {"backend": "numpy", "workers": 1}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Globules, a power law, a curve that is flat and fails, and a file that holds none."""
    folder = tmp_path_factory.mktemp("files") / "files"
    folder.mkdir()
    rng = np.random.default_rng(1)
    q = np.linspace(0.05, 4.0, 300)
    for number, rg in enumerate(RG):
        intensity = 100.0 * np.exp(-((q * rg) ** 2) / 3.0) + 1.0 / (1.0 + (q * rg) ** 4)
        sigma = 0.05 * np.sqrt(intensity)
        noisy = intensity + sigma * rng.standard_normal(q.size)
        np.savetxt(folder / f"globule{number}.dat", np.column_stack([q, noisy, sigma]))
    law = q**-3.0 * (1.0 + 0.01 * rng.standard_normal(q.size))
    np.savetxt(folder / "law.dat", np.column_stack([q, law, 0.01 * q**-3.0]))
    np.savetxt(folder / "zero.dat", np.column_stack([q, 0.0 * q, 0.01 + 0.0 * q]))
    (folder / "empty.dat").touch()
    return folder


def process(folder, run, pipeline=SOLUTION, **options):
    settings = {**OPTIONS, "block_size": 3, "q_unit": "1/nm"} | options
    return process_archive([folder], run, pipeline=pipeline, **settings)


@pytest.fixture(scope="module")
def runs(files, tmp_path_factory):
    """Runs of the preset `solution` with the reduced curves and without."""
    place = tmp_path_factory.mktemp("runs")
    for name in ("plain", "curves"):
        process(files, place / name, save_curves=name == "curves")
    return place


def rows(run):
    return [repr(row) for row in read_table(run, "samples").to_pylist()]


def test_a_run_has_a_column_for_each_number_and_says_what_it_is(runs):
    samples = read_table(runs / "plain", "samples")
    described = json.loads((runs / "plain" / "run.json").read_text("utf-8"))["numbers"]
    assert list(described) == [name for name in samples.column_names if name in described]
    assert described["guinier.rg"] == {
        "unit": "nm", "meaning": "radius of gyration", "is_text": False,
    }  # fmt: skip
    by_id = {row["id"].rpartition("/")[2]: row for row in samples.to_pylist()}
    for number, rg in enumerate(RG):
        row = by_id[f"globule{number}.dat"]
        assert abs(row["guinier.rg"] - rg) < 5.0 * row["guinier.rg_sigma"] + 0.02 * rg
    assert by_id["law.dat"]["guinier.range"] == "beyond_lowest_q"
    assert by_id["law.dat"]["guinier.rg"] is None
    assert by_id["law.dat"]["porod.exponent"] == pytest.approx(3.0, abs=0.01)
    for name in ("zero.dat", "empty.dat"):
        assert all(by_id[name][column] is None for column in described)


@pytest.mark.parametrize("kind", ["plain", "curves"])
def test_a_curve_of_a_run_has_its_numbers(runs, kind):
    result = gpusaxs.open_run(runs / kind)
    row = result.samples.to_pylist()[1]
    numbers = result[row["id"]].numbers
    assert numbers["guinier.rg"] == row["guinier.rg"]
    assert numbers["guinier.range"] == row["guinier.range"]
    law = result["files/law.dat"].numbers
    assert np.isnan(law["guinier.rg"])
    assert law["kratky.maximum"] == "no_rg"


def test_verify_compares_numbers(runs, files, tmp_path):
    assert verify_run(runs / "curves", workers=1).all_well
    other = tmp_path / "other"
    process(files, other, WIDER)
    description = json.loads((other / "run.json").read_text("utf-8"))
    description["pipeline"]["porod"]["max_q_rg"] = 8.0
    (other / "run.json").write_text(json.dumps(description), "utf-8")
    found = verify_run(other, workers=1)
    assert ("samples", "porod.volume") in found.comparison.columns
    assert ("samples", "guinier.rg") not in found.comparison.columns


@pytest.mark.parametrize("kind", ["plain", "curves"])
@pytest.mark.parametrize("pipeline", [WIDER, STANDARD, BOTH], ids=["wider", "standard", "both"])
def test_a_run_that_is_processed_again_is_that_of_the_whole_pipeline(
    runs, files, tmp_path, kind, pipeline
):
    process(files, tmp_path / "whole", pipeline)
    reprocess_run(runs / kind, tmp_path / "again", pipeline, **OPTIONS)
    assert rows(tmp_path / "again") == rows(tmp_path / "whole")


def test_a_run_without_numbers_is_processed_again_with_them(runs, files, tmp_path):
    process(files, tmp_path / "standard", STANDARD, save_curves=True)
    reprocess_run(tmp_path / "standard", tmp_path / "again", BOTH, **OPTIONS)
    process(files, tmp_path / "whole", BOTH)
    assert rows(tmp_path / "again") == rows(tmp_path / "whole")


def test_a_run_goes_on_with_the_columns_it_began_with(runs, files, tmp_path):
    place = tmp_path / "run"
    process(files, place, limit=3)
    with pytest.raises(RunDirectoryError):
        process(files, place, WIDER, limit=3, resume=True)
    whole = tmp_path / "whole"
    process(files, whole)
    assert rows(whole)[:3] == rows(place)


def test_show_and_stages_tell_the_numbers(runs):
    shown = CliRunner().invoke(app, ["show", str(runs / "plain"), "globule2"])
    assert shown.exit_code == 0
    lines = [line.split() for line in shown.stdout.splitlines()]
    [rg] = [line for line in lines if line[:1] == ["guinier.rg"]]
    assert rg[1].startswith("3.0")
    assert rg[1].endswith(")")
    assert rg[2:] == ["nm", "radius", "of", "gyration"]
    assert ["guinier.range", "found"] in [line[:2] for line in lines]
    assert not [line for line in lines if line[:1] == ["guinier.rg_sigma"]]
    told = CliRunner().invoke(app, ["stages", "guinier"])
    assert "radius of gyration" in told.stdout
    assert "beyond_lowest_q" in told.stdout


def test_process_and_show_count_what_was_found(runs, files, tmp_path):
    asked = ["process", str(files), "-o", str(tmp_path / "run"), "--pipeline", "solution"]
    for told in (asked, ["show", str(runs / "plain")]):
        lines = [line.split() for line in CliRunner().invoke(app, told).stdout.splitlines()]
        assert ["guinier.range", "found", "5"] in lines
        assert ["kratky.maximum", "no_rg", "1"] in lines


@pytest.mark.parametrize("view", ["curve", "guinier", "kratky"])
def test_plot_draws_views_of_a_solution(runs, tmp_path, view):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = tmp_path / "curve.png"
    asked = ["plot", str(runs / "curves"), "globule3", "-o", str(path), "--view", view]
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_plot_says_why_a_curve_has_no_guinier_plot(runs, tmp_path):
    asked = [
        "plot",
        str(runs / "curves"),
        "law",
        "-o",
        str(tmp_path / "a.png"),
        "--view",
        "guinier",
    ]
    told = CliRunner().invoke(app, asked)
    assert told.exit_code == 2
    assert "beyond_lowest_q" in told.stderr


def test_exported_entries_hold_numbers_with_their_units(runs, tmp_path):
    out = tmp_path / "reduced.h5"
    gpusaxs.export_run(runs / "curves", out, "nxcansas")
    samples = {row["id"]: row for row in read_table(runs / "curves", "samples").to_pylist()}
    with h5py.File(out) as file:
        entries = {entry["title"].asstr()[()]: entry for entry in file.values()}
        globule, law = (entries[f"files/{name}.dat"]["numbers"] for name in ("globule0", "law"))
        assert globule["guinier.rg"][()] == samples["files/globule0.dat"]["guinier.rg"]
        assert globule["guinier.rg"].attrs["units"] == "nm"
        assert law["guinier.range"].asstr()[()] == "beyond_lowest_q"
        assert "guinier.rg" not in law
