"""Metadata in a table beside the files: read, joined by name, kept with the run."""

from pathlib import Path

import numpy as np
import pytest

import gpusaxs
from gpusaxs import ReadError, RunDirectoryError
from gpusaxs.archive.companion import Companion
from gpusaxs.archive.directory import METADATA, read_table
from gpusaxs.archive.run import process_archive
from gpusaxs.io.nxcansas_writer import write_stack
from gpusaxs.pipeline import Pipeline


def table(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with three curves of which one has a namesake, and a stack of two."""
    curves = gpusaxs.simulate(5, seed=3)
    q = curves.q
    for name, intensity in zip(("a/x.dat", "a/y.dat", "b/x.dat"), curves.intensity, strict=False):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(path, np.column_stack([q, intensity]), header="# Temperature 99\nq(1/nm) I")
    write_stack(tmp_path / "data" / "stack.h5", q, curves.intensity[3:], None, title="stack")
    return tmp_path / "data"


def column(run: Path, name: str) -> dict[str, object]:
    rows = read_table(run, "samples", columns=["id", name]).to_pylist()
    return {row["id"]: row[name] for row in rows}


def test_its_columns_become_columns_of_the_samples(files, tmp_path):
    given = table(
        tmp_path, "file,composition,batch\na/x.dat,0.1,007\ny,0.2,\nb/x,,008\nstack,0.4,009\n"
    )
    process_archive([files], tmp_path / "run", metadata=given)
    ids = ["data/a/x.dat", "data/a/y.dat", "data/b/x.dat", "data/stack.h5#0", "data/stack.h5#1"]
    assert column(tmp_path / "run", "meta.composition") == dict(
        zip(ids, [0.1, 0.2, None, 0.4, 0.4], strict=True)
    )
    assert column(tmp_path / "run", "meta.batch") == dict(
        zip(ids, ["007", None, "008", "009", "009"], strict=True)
    )


def test_a_row_may_be_about_one_frame_of_a_file(files, tmp_path):
    given = table(tmp_path, "file\tframe\tpressure\nstack.h5\t1\t2.5\nstack.h5\t\t1\n")
    process_archive([files], tmp_path / "run", metadata=given)
    found = column(tmp_path / "run", "meta.pressure")
    assert (found["data/stack.h5#0"], found["data/stack.h5#1"]) == (1.0, 2.5)
    assert found["data/a/y.dat"] is None


def test_what_files_say_themselves_is_in_its_unit_and_stands_behind_the_table(tmp_path):
    q = np.linspace(0.1, 3.0, 100)
    for name in ("hot", "cold"):
        np.savez(tmp_path / f"{name}.npz", q=q, intensity=np.sin(q) + 2, q_unit="1/nm")
    given = table(tmp_path, "File;Temperature (K);sample\nhot;373.15;a\ncold;;b\n")
    process_archive([tmp_path / "hot.npz", tmp_path / "cold.npz"], tmp_path / "run", metadata=given)
    assert column(tmp_path / "run", "meta.temperature") == {"hot.npz": 100.0, "cold.npz": None}
    assert column(tmp_path / "run", "meta.sample") == {"hot.npz": "a", "cold.npz": "b"}


def test_a_run_keeps_the_table_so_that_it_can_be_verified_and_processed_again(files, tmp_path):
    given = table(tmp_path, "file,composition,sample\na/x.dat,0.1,one\n")
    run = tmp_path / "run"
    process_archive([files], run, metadata=given, save_curves=True)
    given.unlink()
    assert gpusaxs.verify_run(run).all_well
    pipeline = Pipeline.load("standard").with_settings(["phase.tolerance=0.004"])
    gpusaxs.reprocess_run(run, tmp_path / "again", pipeline)
    for name in ("meta.composition", "meta.sample"):
        assert column(tmp_path / "again", name) == column(run, name)
    assert column(run, "meta.sample")["data/a/x.dat"] == "one"
    assert gpusaxs.open_run(run)["data/a/x.dat"].origin.metadata["sample"] == "one"


def test_a_run_whose_table_is_damaged_says_so(files, tmp_path):
    process_archive(
        [files], tmp_path / "run", metadata=table(tmp_path, "file,composition\na/x.dat,0.1\n")
    )
    kept = tmp_path / "run" / METADATA
    kept.write_bytes(kept.read_bytes()[:-20])
    found = gpusaxs.verify_run(tmp_path / "run")
    assert not found.all_well
    assert METADATA in found.damaged[0]


def test_a_resume_with_another_table_is_refused(files, tmp_path):
    run = tmp_path / "run"
    first = table(tmp_path, "file,composition\na/x.dat,0.1\n")
    process_archive([files], run, metadata=first, limit=2)
    other = table(tmp_path, "file,composition\na/x.dat,0.2\n")
    with pytest.raises(RunDirectoryError, match="metadata"):
        process_archive([files], run, metadata=other, limit=2, resume=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected one with the names of files"),
        ("file,a,a\nx,1,2\n", "expected names that differ"),
        ("curve,a\nx,1\n", "expected one with the names of files"),
        ("file\nx\n", "no column beside"),
        ("file,a\n", "no row below"),
        ("file,a\nx.dat,1\nx.dat,2\n", "in two rows"),
        ("file,a\nx.dat,1,3\n", "has 3 cells"),
        ("file,a\n,1\n", "names no file in row 1"),
        ("file,frame,a\nx,one,1\n", "whole numbers from 0 on"),
        ("file,temperature\nx,warm\n", "has 'warm' as temperature in row 1: expected a number"),
        ("file,thickness (feet)\nx,1\n", "in 'feet'"),
        ("file,time\nx,12.5\n", "expected a date and time"),
        ("file,temperature,Temperature (K)\nx,1,2\n", "two columns for meta.temperature"),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused_with_the_reason(tmp_path, text, message):
    with pytest.raises(ReadError, match=r"table\.csv") as caught:
        Companion.read(table(tmp_path, text))
    assert message in str(caught.value)


def test_a_name_that_two_files_have_is_refused_without_its_folder(files, tmp_path):
    given = table(tmp_path, "file,a\nx.dat,1\n")
    with pytest.raises(ReadError, match=r"(?s)'x\.dat'.*a/x\.dat.*b/x\.dat.*folder"):
        process_archive([files], tmp_path / "run", metadata=given)
    assert not (tmp_path / "run").exists()


def test_a_table_about_other_files_is_refused(files, tmp_path):
    given = table(tmp_path, "file,a\nz.dat,1\n")
    with pytest.raises(ReadError, match=r"'z\.dat'.*first file"):
        process_archive([files], tmp_path / "run", metadata=given)


def test_a_missing_table_is_refused(tmp_path):
    with pytest.raises(ReadError, match="cannot be opened: no such file"):
        Companion.read(tmp_path / "none.csv")
