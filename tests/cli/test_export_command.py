"""`gpusaxs export`: reduced curves of a run, for other programs."""

import csv
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpusaxs
from gpusaxs.archive.export import SafeNames, export_run
from gpusaxs.archive.opened import open_run
from gpusaxs.io import read
from gpusaxs.units import find_q_unit


def bits(array):
    return array.tobytes()


@pytest.fixture(scope="module")
def known(run):
    return open_run(run)


@pytest.fixture(scope="module")
def kept(archive, command, tmp_path_factory):
    """A run that keeps its curves; one of them cannot be read."""
    folder = tmp_path_factory.mktemp("kept")
    shutil.copytree(archive, folder / "archive")
    (folder / "archive" / "notes.md").write_text("nothing")
    done = command(
        *("process", folder / "archive", "-o", folder / "run"),
        *("--q-unit", "1/nm", "--workers", 1, "--save-curves"),
    )
    assert done.exit_code == 1
    return folder / "run"


def test_nxcansas_is_a_file_a_curve(command, run, known, tmp_path):
    done = command("export", run, "--output", tmp_path / "curves")
    assert done.exit_code == 0
    assert "curves: 7 reduced curves in 7 files" in done.stdout
    assert len(list((tmp_path / "curves").iterdir())) == 7
    [sample] = read(tmp_path / "curves" / "archive_lamellar_0.h5")
    expected = known["archive/lamellar_0.dat"]
    assert bits(sample.q) == bits(expected.q)
    assert bits(sample.intensity) == bits(expected.intensity)
    assert bits(sample.sigma) == bits(expected.sigma)


def test_one_nxcansas_file_has_an_entry_a_curve(command, run, known, tmp_path):
    done = command("export", run, "-o", tmp_path / "all.h5")
    assert "7 reduced curves in 1 file" in done.stdout
    for sample, expected in zip(read(tmp_path / "all.h5"), known, strict=True):
        assert bits(sample.q) == bits(expected.q)
        assert bits(sample.intensity) == bits(expected.intensity)
        assert bits(sample.sigma) == bits(expected.sigma)
    with h5py.File(tmp_path / "all.h5") as file:
        titles = [entry["title"].asstr()[()] for entry in file.values()]
        assert titles == known.samples["id"].to_pylist()
        assert file.attrs["default"] == "sasentry000001"


def test_an_entry_says_how_the_curve_was_made_and_what_was_found(run, known, tmp_path):
    export_run(run, tmp_path / "all.h5", "nxcansas")
    rows = known.samples.to_pylist()
    number = next(k for k, row in enumerate(rows) if row["verdict"] == "identified")
    row, sample = rows[number], known[number]
    with h5py.File(tmp_path / "all.h5") as file:
        entry = file[f"sasentry{number + 1:06d}"]
        background = entry["sasdata/background"][()]
        assert bits(background) == bits(sample.background)
        assert np.allclose(
            entry["sasdata/I"][()] + background, sample.measured_intensity, rtol=1e-12
        )
        process = entry["sasprocess"]
        assert process["name"].asstr()[()] == "gpusaxs"
        assert process["version"].asstr()[()] == gpusaxs.__version__
        pipeline = json.loads(process["pipeline/data"].asstr()[()])
        assert pipeline["name"] == "standard"
        answer = entry["answer"]
        assert answer["phase"].asstr()[()] == row["phase"]
        assert answer["lattice"][()] == row["lattice"]
        assert answer["lattice"].attrs["units"] == "nm"
        assert entry["peaks/q"][()].tolist() == [peak.q for peak in sample.metadata.processed_peaks]
        assert list(entry["phases/phase"].asstr()) == [match.phase for match in sample.phases]
        found = [int(n) for n in entry["phases/matched"].asstr()[0].split()]
        assert found == list(sample.phases[0].matched)


def test_ascii_has_three_columns_and_states_its_unit(command, run, known, tmp_path):
    done = command("export", run, "--format", "ascii", "-o", tmp_path / "curves")
    assert done.exit_code == 0
    for expected in known:
        path = tmp_path / "curves" / f"{expected.id.replace('/', '_')}"
        lines = path.read_text().splitlines()
        header = [line for line in lines if line.startswith("#")]
        assert header == lines[: len(header)]
        assert header[0] == f"# curve: {expected.id}"
        assert any("measured intensity minus background" in line for line in header)
        assert f"# verdict: {expected.verdict}" in header
        assert find_q_unit("\n".join(header)) == "1/angstrom"
        numbers = np.array([line.split() for line in lines[len(header) :]], dtype=float)
        assert numbers.shape == (expected.q.size, 3)
        [sample] = read(path)
        assert (sample.origin.q_unit, sample.origin.q_unit_from) == ("1/angstrom", "metadata")
        assert bits(sample.intensity) == bits(expected.intensity)
        assert bits(sample.sigma) == bits(expected.sigma)
        assert np.allclose(sample.q, expected.q, rtol=1e-15, atol=0.0)


@pytest.mark.parametrize("unit", ["1/nm", "1/angstrom", "1/m"])
@pytest.mark.parametrize("form", ["ascii", "nxcansas"])
def test_q_is_written_in_the_unit_that_is_asked_for(run, known, tmp_path, form, unit):
    export_run(run, tmp_path / "curves", form, q_unit=unit)
    for path in (tmp_path / "curves").iterdir():
        [sample] = read(path)
        assert sample.origin.q_unit == unit
        expected = known[f"archive/{path.stem.removeprefix('archive_')}.dat"]
        assert np.allclose(sample.q, expected.q, rtol=1e-15, atol=0.0)
        if unit == "1/nm":
            assert bits(sample.q) == bits(expected.q)


def test_csv_has_the_tables_and_the_points(command, run, known, tmp_path):
    done = command("export", run, "--format", "csv", "-o", tmp_path / "tables")
    assert done.exit_code == 0
    names = sorted(path.name for path in (tmp_path / "tables").iterdir())
    assert names == ["curves.csv", "peaks.csv", "phases.csv", "samples.csv"]
    with open(tmp_path / "tables" / "curves.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    place = 0
    for expected in known:
        mine = rows[place : place + expected.q.size]
        place += expected.q.size
        assert {row["id"] for row in mine} == {expected.id}
        assert [float(row["q"]) for row in mine] == expected.q.tolist()
        assert [float(row["intensity"]) for row in mine] == expected.intensity.tolist()
        assert [float(row["sigma"]) for row in mine] == expected.sigma.tolist()
        assert [float(row["background"]) for row in mine] == expected.background.tolist()
    assert place == len(rows)


def test_curves_that_the_run_keeps_are_the_ones_that_are_computed_again(run, kept, tmp_path):
    export_run(run, tmp_path / "again", "ascii")
    found = export_run(kept, tmp_path / "kept", "ascii")
    assert (found.curves, found.left_out, found.files) == (7, 1, 7)
    for path in (tmp_path / "again").iterdir():
        assert path.read_bytes() == (tmp_path / "kept" / path.name).read_bytes()


def test_curves_that_have_failed_are_counted(command, kept, tmp_path):
    done = command("export", kept, "--format", "ascii", "-o", tmp_path / "curves")
    assert done.exit_code == 0
    assert "Left out, because they have failed: 1" in done.stderr


def test_inputs_that_have_changed_are_told_and_nothing_is_written(command, archive, tmp_path):
    shutil.copytree(archive, tmp_path / "archive")
    command("process", tmp_path / "archive", "-o", tmp_path / "run", "--q-unit", "1/nm")
    (tmp_path / "archive" / "plain.dat").unlink()
    for target in ("curves", "all.h5"):
        done = command("export", tmp_path / "run", "-o", tmp_path / target)
        assert done.exit_code == 2
        assert "plain.dat" in done.stderr
        assert "--save-curves" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "run"]


def test_what_is_in_the_way_is_not_replaced_unless_asked(command, kept, tmp_path):
    folder, file = tmp_path / "curves", tmp_path / "all.h5"
    folder.mkdir()
    assert command("export", kept, "--format", "ascii", "-o", folder).exit_code == 0
    (folder / "archive_plain.dat").write_text("older")
    (folder / "notes").write_text("mine")
    file.write_text("older")
    for target in (folder, file):
        done = command("export", kept, "-o", target)
        assert done.exit_code == 2
        assert "--overwrite" in done.stderr
    assert file.read_text() == "older"
    done = command("export", kept, "--format", "ascii", "-o", folder, "--overwrite")
    assert done.exit_code == 0
    assert (folder / "archive_plain.dat").read_text().startswith("# curve: archive/plain.dat")
    assert (folder / "notes").read_text() == "mine"
    assert command("export", kept, "-o", file, "--overwrite").exit_code == 0
    assert command("export", kept, "--format", "csv", "-o", file, "--overwrite").exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.h5", "curves"]


def test_an_error_in_the_middle_leaves_nothing(kept, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    for target, form in (("a", "ascii"), ("b", "csv"), ("c", "nxcansas"), ("d.h5", "nxcansas")):
        with pytest.raises(KeyboardInterrupt):
            export_run(kept, tmp_path / target, form, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_wrong_options_are_refused(command, kept, tmp_path):
    for options in (
        ["--q-unit", "furlong"],
        ["--format", "pdf"],
        ["--format", "csv", "--q-unit", "1/angstrom"],
    ):
        assert command("export", kept, "-o", tmp_path / "out", *options).exit_code == 2
    assert command("export", tmp_path, "-o", tmp_path / "out").exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_unit_in_the_name_of_a_curve_does_not_confuse(command, archive, tmp_path):
    folder = tmp_path / "in q 1_nm, q (1 per nm)"
    folder.mkdir()
    shutil.copy(archive / "plain.dat", folder / "q(nm^-1) q[1 per nm].dat")
    command("process", folder, "-o", tmp_path / "run", "--q-unit", "1/nm")
    command("export", tmp_path / "run", "--format", "ascii", "-o", tmp_path / "curves")
    [path] = (tmp_path / "curves").iterdir()
    assert read(path)[0].origin.q_unit == "1/angstrom"


def test_names_of_files_are_those_of_the_curves():
    name = SafeNames(".dat")
    assert name("archive/a.dat") == "archive_a.dat"
    assert name("archive/a.pdh") == "archive_a_2.dat"
    assert name("Archive/A.dat") == "Archive_A_3.dat"
    assert name("stack.h5#17") == "stack_17.dat"
    assert name("sample_0.5") == "sample_0.5.dat"
    assert name("../../etc/passwd") == "_.._etc_passwd.dat"
    assert name("..") == "curve.dat"
    assert name("con") == "_con.dat"
    assert name("héxagonal 1") == "héxagonal 1.dat"


@given(st.lists(st.text(), unique=True))
def test_names_of_files_are_different_and_stay_in_the_folder(ids):
    name = SafeNames(".dat")
    found = [name(curve_id) for curve_id in ids]
    assert len({entry.casefold() for entry in found}) == len(ids)
    for entry in found:
        assert Path(entry).name == entry
        assert not entry.startswith(".")
        assert len(entry.encode()) < 200
        assert "\0" not in entry
