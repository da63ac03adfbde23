import hashlib
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

import gpusaxs
from gpusaxs.archive.opened import open_run
from gpusaxs.archive.run import process_archive
from gpusaxs.errors import BackendError, RunDirectoryError
from gpusaxs.tables import PEAKS, PHASE_ROWS, SAMPLES

TABLES = {"samples": SAMPLES, "peaks": PEAKS, "phases": PHASE_ROWS}
IDS = [
    *(f"archive/curves.h5#{frame}" for frame in range(4)),
    "archive/empty.dat",
    "archive/one.dat",
]


def tables_of(result):
    """All rows in words: NaN equals NaN, and no digit is lost."""
    return {name: repr(getattr(result, name).to_pylist()) for name in TABLES}


def test_ids_name_the_file_and_the_frame_in_the_order_of_the_files(run):
    assert open_run(run).samples["id"].to_pylist() == IDS


def test_the_tables_are_parquet_of_the_declared_columns(run):
    for name, schema in TABLES.items():
        assert pq.read_table(run / name).schema.equals(schema)
        assert getattr(open_run(run), name).schema.equals(schema)


def test_the_description_says_what_was_done_with_what(run, archive):
    description = json.loads((run / "run.json").read_text("utf-8"))
    assert description["state"] == "complete"
    assert description["inputs"] == [str(archive)]
    assert description["backend"] == "numpy"
    assert description["versions"]["gpusaxs"] == gpusaxs.__version__
    assert description["pipeline"] == gpusaxs.Pipeline.load("standard").document()
    assert sum(block["curves"] for block in description["blocks"]) == 6


def test_the_inputs_are_listed_with_their_size_time_and_hash(run, archive):
    files = pq.read_table(run / "inputs.parquet").to_pylist()
    names = ["curves.h5", "empty.dat", "one.dat"]
    assert [file["id"] for file in files] == [f"archive/{name}" for name in names]
    for file, name in zip(files, names, strict=True):
        path = archive / name
        assert file["path"] == str(path)
        assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert (file["size"], file["mtime_ns"]) == (path.stat().st_size, path.stat().st_mtime_ns)
        assert not file["changed"]


def test_the_hashes_of_the_parts_are_in_the_description(run):
    [block] = json.loads((run / "run.json").read_text("utf-8"))["blocks"]
    parts = {path.parent.name: path for path in run.glob("*/part-000000.parquet")}
    assert set(parts) == {"samples", "peaks", "phases", "curves"}
    for name, path in parts.items():
        assert block["parts"][name] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_nothing_unfinished_is_left_behind(run):
    names = [path.name for path in run.rglob("*") if path.is_file()]
    assert not [name for name in names if name.startswith(".") or name.endswith(".part")]


def test_q_and_lattice_parameters_are_in_nanometres_whatever_the_file_has(run):
    row = open_run(run).samples.to_pylist()[-1]
    assert row["q_unit"] == "1/angstrom"
    assert row["q_unit_from"] == "metadata"
    assert row["q_max"] == pytest.approx(3.0, rel=0.02)


def test_an_unreadable_file_is_a_failed_row_with_its_reason(run, archive):
    row = open_run(run).samples.to_pylist()[IDS.index("archive/empty.dat")]
    assert row["verdict"] == "failed"
    assert row["status"] == "unreadable"
    assert "empty" in row["reason"]
    assert row["source"] == str(archive / "empty.dat")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("block_size", [1, 2, 1000])
def test_blocks_and_workers_change_nothing(run, archive, tmp_path, workers, block_size):
    process_archive(
        [archive], tmp_path / "run", backend="numpy", workers=workers, block_size=block_size
    )
    assert tables_of(open_run(tmp_path / "run")) == tables_of(open_run(run))


def test_progress_counts_blocks_and_curves_and_says_what_takes_the_time(archive, tmp_path):
    calls = []
    process_archive([archive], tmp_path / "run", block_size=2, progress=calls.append)
    assert [(call.blocks, call.curves) for call in calls] == [(0, 0), (1, 2), (2, 4), (3, 6)]
    shares = [call.share for call in calls]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == pytest.approx(1.0)
    last = calls[-1]
    assert set(last.busy) == {"reading", "computing", "writing", "waiting"}
    assert sum(last.busy.values()) == pytest.approx(1.0)
    assert last.rate == pytest.approx(6 / last.seconds)
    assert last.seconds_left == pytest.approx(0.0, abs=1e-6)


def test_the_summary_counts_verdicts_and_names_unreadable_files(archive, tmp_path):
    summary = process_archive([archive], tmp_path / "run")
    assert summary.curves == 6
    assert summary.failed == 1
    assert [name for name, _ in summary.unreadable] == ["archive/empty.dat"]


@pytest.mark.parametrize("name", ["archive/curves.h5#2", "archive/one.dat"])
def test_a_kept_curve_equals_one_that_is_computed_again(run, archive, tmp_path, name):
    process_archive([archive], tmp_path / "run", backend="numpy", workers=1)
    again = open_run(tmp_path / "run")[name]
    kept = open_run(run)[name]
    assert repr(kept.metadata.processed_peaks) == repr(again.metadata.processed_peaks)
    assert repr(kept.phases) == repr(again.phases)
    assert kept.origin == again.origin
    for field in ("id", "status", "verdict", "margin"):
        assert getattr(kept, field) == getattr(again, field)
    for row in ("q", "intensity", "sigma", "background"):
        np.testing.assert_array_equal(getattr(kept, row), getattr(again, row))


def test_a_curve_whose_file_has_changed_is_not_computed_again(archive, tmp_path):
    copy = tmp_path / "archive"
    shutil.copytree(archive, copy)
    process_archive([copy], tmp_path / "run")
    (copy / "one.dat").write_text((copy / "one.dat").read_text("utf-8") + "\n", "utf-8")
    with pytest.raises(RunDirectoryError, match="gone or has changed"):
        open_run(tmp_path / "run")["archive/one.dat"]
    (copy / "one.dat").unlink()
    with pytest.raises(RunDirectoryError, match="gone or has changed"):
        open_run(tmp_path / "run")["archive/one.dat"]
    assert open_run(tmp_path / "run")["archive/curves.h5#0"].verdict is not None


def test_a_failed_curve_cannot_be_seen_again(run):
    with pytest.raises(RunDirectoryError, match="is empty"):
        open_run(run)["archive/empty.dat"]


def interrupt(progress):
    if progress.curves == 2:
        raise KeyboardInterrupt


def test_a_run_that_was_interrupted_can_be_opened_as_far_as_it_came(run, archive, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        process_archive(
            [archive], tmp_path / "run", executor="serial", block_size=1, progress=interrupt
        )
    description = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert description["state"] == "stopped"
    assert description["reason"] == "interrupted"
    result = open_run(tmp_path / "run")
    assert result.samples.to_pylist() == open_run(run).samples.to_pylist()[:2]
    with pytest.raises(RunDirectoryError, match="did not come to its end"):
        result[0]


def test_a_run_without_any_part_is_an_empty_result(archive, tmp_path):
    def at_once(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process_archive([archive], tmp_path / "run", executor="serial", progress=at_once)
    result = open_run(tmp_path / "run")
    assert len(result) == 0
    assert list(result) == []


def test_a_damaged_part_is_an_error_that_names_the_table(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    [part] = (tmp_path / "run" / "peaks").iterdir()
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(RunDirectoryError, match="peaks"):
        open_run(tmp_path / "run")


def test_a_run_is_in_the_way_without_overwrite(archive, tmp_path):
    process_archive([archive / "one.dat"], tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="--overwrite"):
        process_archive([archive], tmp_path / "run")
    assert len(open_run(tmp_path / "run")) == 1
    process_archive([archive], tmp_path / "run", overwrite=True)
    assert len(open_run(tmp_path / "run")) == 6


def test_an_empty_folder_is_taken_and_any_other_is_not(archive, tmp_path):
    (tmp_path / "empty").mkdir()
    process_archive([archive / "one.dat"], tmp_path / "empty")
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("dear", "utf-8")
    (tmp_path / "file").write_text("dear", "utf-8")
    for name in ("letters", "file"):
        with pytest.raises(RunDirectoryError, match="no run directory"):
            process_archive([archive], tmp_path / name, overwrite=True)
    assert (tmp_path / "letters" / "mine.txt").exists()
    assert (tmp_path / "file").is_file()


def test_an_earlier_run_among_the_inputs_is_left_out(archive, tmp_path):
    copy = tmp_path / "archive"
    shutil.copytree(archive, copy)
    process_archive([copy], copy / "run")
    process_archive([copy], copy / "run", overwrite=True)
    assert open_run(copy / "run").samples["id"].to_pylist() == IDS
    with pytest.raises(RunDirectoryError, match="All inputs lie"):
        process_archive([copy / "run"], copy / "run", overwrite=True)
    assert len(open_run(copy / "run")) == 6


def test_a_wrong_argument_is_refused_before_anything_is_written(archive, tmp_path):
    for options, error in (
        ({"q_unit": "1/parsec"}, ValueError),
        ({"backend": "abacus"}, BackendError),
        ({"workers": 0}, ValueError),
    ):
        with pytest.raises(error):
            process_archive([archive], tmp_path / "run", **options)
    with pytest.raises(FileNotFoundError):
        process_archive([archive / "nothing"], tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_unit_that_was_given_is_used_when_a_curve_is_read_again(archive, tmp_path):
    process_archive([archive / "one.dat"], tmp_path / "run", q_unit="1/nm")
    result = open_run(tmp_path / "run")
    assert result.samples["q_unit_from"].to_pylist() == ["argument"]
    assert result[0].q[-1] == pytest.approx(0.3, rel=0.02)


def test_csv_holds_every_row_and_lists_as_words(run, tmp_path):
    import csv

    open_run(run).write_csv(tmp_path / "csv")
    for name in TABLES:
        with open(tmp_path / "csv" / f"{name}.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        known = getattr(open_run(run), name).to_pylist()
        assert [row["id"] for row in rows] == [row["id"] for row in known]
        if name == "phases":
            assert rows[0]["matched"] == " ".join(map(str, known[0]["matched"]))


def test_there_is_no_run_in_an_empty_folder(tmp_path):
    with pytest.raises(RunDirectoryError, match="Expected a run directory"):
        open_run(tmp_path)
