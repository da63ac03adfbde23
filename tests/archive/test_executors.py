"""However a run is executed, it writes the same."""

import json
import random
import shutil
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pyarrow.dataset as ds
import pytest

from gpusaxs.archive import fingerprints, plan, reading
from gpusaxs.archive.directory import read_records
from gpusaxs.archive.run import process_archive
from gpusaxs.simulate import simulate

UNREADABLE = ("d_empty.dat", "e_damaged.h5")
CURVES = 40
"""Those of all files, with a row for each unreadable one."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Stacks of two formats and lengths, text in two units, and two files that say nothing."""
    folder = tmp_path_factory.mktemp("files") / "files"
    folder.mkdir()
    for name, curves, seed in (("a.h5", 11, 1), ("c.h5", 9, 2)):
        simulate(curves, seed=seed, counts=20000.0).write(folder / "one")
        (folder / "one" / "curves.h5").rename(folder / name)
        shutil.rmtree(folder / "one")
    shorten(folder / "c.h5")
    found = simulate(18, seed=3, phases=["lamellar", "Im-3m"], counts=20000.0)
    np.savez(
        folder / "b.npz",
        q=found.q[::2],
        intensity=found.intensity[:10, ::2],
        sigma=found.sigma[:10, ::2],
        q_unit="1/nm",
    )
    (folder / UNREADABLE[0]).touch()
    (folder / UNREADABLE[1]).write_bytes((folder / "a.h5").read_bytes()[:3000])
    for row in range(10, 18):
        in_angstrom = row % 2 == 0
        q = found.q / 10.0 if in_angstrom else found.q
        header = f"q({'1/A' if in_angstrom else '1/nm'}) I sigma"
        columns = np.column_stack([q, found.intensity[row], found.sigma[row]])
        # Lengths differ too, so blocks are padded differently.
        np.savetxt(folder / f"t{row}.dat", columns[: 1000 - 20 * row], header=header)
    return folder


def shorten(path):
    """Cut the curves of a stack to 600 points, in chunks of four frames."""
    with h5py.File(path, "r+") as file:
        found = []
        file.visititems(lambda _, item: found.append(item) if hasattr(item, "shape") else None)
        for item in found:
            if item.ndim and item.shape[-1] == 1000:
                name, parent, attributes = item.name, item.parent, dict(item.attrs)
                values = item[..., :600]
                del file[name]
                chunks = (4, 600) if values.ndim == 2 else None
                made = parent.create_dataset(Path(name).name, data=values, chunks=chunks)
                made.attrs.update(attributes)


def process(files, run, **options):
    inputs = files if isinstance(files, list) else [files]
    return process_archive(inputs, run, **{"backend": "numpy"} | options)


def contents(run):
    """All files of a run but for what tells of time."""
    found = {str(path.relative_to(run)): path for path in run.rglob("*") if path.is_file()}
    kept = {name: path.read_bytes() for name, path in found.items() if name != "run.json"}
    description = json.loads(found["run.json"].read_text("utf-8"))
    del description["started"], description["seconds"]
    return kept | {"run.json": description}


def rows(run, *tables):
    """All rows of some tables in words: NaN equals NaN, and no digit is lost.

    They are read as others would read them, without gpusaxs.
    """
    tables = tables or ("samples", "peaks", "phases", "curves")
    return {
        name: [repr(row) for row in ds.dataset(run / name).to_table().to_pylist()]
        for name in tables
    }


@pytest.fixture(scope="module")
def serial(files, tmp_path_factory):
    """A run of seven curves a block, one block after another in one thread."""
    run = tmp_path_factory.mktemp("runs") / "run"
    summary = process(files, run, executor="serial", workers=1, block_size=7, save_curves=True)
    assert summary.stopped == ""
    assert (summary.curves, len(summary.unreadable)) == (CURVES, len(UNREADABLE))
    return run


def test_the_archive_is_a_mixed_one(serial):
    samples = ds.dataset(serial / "samples").to_table().to_pylist()
    assert {row["format"] for row in samples} >= {"nxcansas", "numpy", None}
    assert {row["q_unit"] for row in samples} == {"1/nm", "1/angstrom", None}
    assert {row["points"] for row in samples if row["points"]} >= {1000, 600, 500, 780}
    assert {row["verdict"] for row in samples} > {"failed", "identified"}


@pytest.mark.parametrize("blocks_in_flight", [1, 2, 8])
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_both_executors_write_the_same_bytes(files, serial, tmp_path, workers, blocks_in_flight):
    process(
        files,
        tmp_path / "run",
        workers=workers,
        blocks_in_flight=blocks_in_flight,
        block_size=7,
        save_curves=True,
    )
    assert contents(tmp_path / "run") == contents(serial)


@pytest.mark.parametrize("points", [None, 3_000])
def test_both_executors_write_the_same_bytes_where_blocks_are_counted_in_points(
    files, tmp_path, monkeypatch, points
):
    if points is not None:
        limits = plan.BlockLimits
        monkeypatch.setattr(
            "gpusaxs.archive.run.BlockLimits", lambda curves, *_: limits(curves, points)
        )
    for executor in ("serial", "workpool"):
        process(files, tmp_path / executor, executor=executor)
    assert contents(tmp_path / "workpool") == contents(tmp_path / "serial")
    blocks = json.loads((tmp_path / "serial" / "run.json").read_text("utf-8"))["blocks"]
    assert len(blocks) == 1 if points is None else len(blocks) > 10


@pytest.mark.parametrize("executor", ["serial", "workpool"])
@pytest.mark.parametrize("block_size", [1, 7, 5_000])
def test_blocks_of_any_size_have_the_same_rows_in_the_order_of_the_files(
    files, serial, tmp_path, block_size, executor
):
    run = tmp_path / "run"
    process(files, run, executor=executor, block_size=block_size, save_curves=True)
    assert rows(run) == rows(serial)
    blocks = json.loads((run / "run.json").read_text("utf-8"))["blocks"]
    assert len(blocks) == -(-CURVES // block_size)
    ids = ds.dataset(run / "samples").to_table()["id"].to_pylist()
    expected = [
        *(f"files/a.h5#{frame}" for frame in range(11)),
        *(f"files/b.npz#{frame}" for frame in range(10)),
        *(f"files/c.h5#{frame}" for frame in range(9)),
        *(f"files/{name}" for name in UNREADABLE),
        *(f"files/t{row}.dat" for row in range(10, 18)),
    ]
    assert ids == expected


def first_rows(run, ids):
    """Rows of those curves, in words."""
    found = {}
    for name in ("samples", "peaks", "phases"):
        table = ds.dataset(run / name).to_table().to_pylist()
        found[name] = [repr(row) for row in table if row["id"] in ids]
    return found


@pytest.mark.parametrize("executor", ["serial", "workpool"])
@pytest.mark.parametrize("block_size", [None, 1, 4])
@pytest.mark.parametrize("limit", [1, 13, 21, 30])
def test_a_limit_gives_the_first_rows_and_opens_nothing_behind_them(
    files, serial, tmp_path, monkeypatch, limit, block_size, executor
):
    opened = []
    for module, name in ((plan, "extent"), (reading, "read")):
        calls = getattr(module, name)

        def noted(source, *arguments, calls=calls):
            opened.append(Path(getattr(source, "path", source)).name)
            return calls(source, *arguments)

        monkeypatch.setattr(module, name, noted)
    read_small = fingerprints.Fingerprints.read_small

    def noted_small(self, file):
        opened.append(Path(self._files[file].path).name)
        return read_small(self, file)

    monkeypatch.setattr(fingerprints.Fingerprints, "read_small", noted_small)
    run = tmp_path / "run"
    summary = process(files, run, limit=limit, block_size=block_size, executor=executor)
    assert (summary.curves, summary.all_well) == (limit, True)
    ids = ds.dataset(serial / "samples").to_table()["id"].to_pylist()[:limit]
    assert rows(run, "samples", "peaks", "phases") == first_rows(serial, set(ids))
    wanted = {name.removeprefix("files/").split("#")[0] for name in ids}
    assert set(opened) == wanted
    state = json.loads((run / "run.json").read_text("utf-8"))
    assert state["state"] == "complete"
    assert sum(record.curves for record in read_records(run, state)) == limit


def test_the_command_with_a_limit_does_not_see_what_is_damaged_behind_it(files, tmp_path):
    from typer.testing import CliRunner

    from gpusaxs.cli.main import app

    options = ["--output", str(tmp_path / "run"), "--limit"]
    told = CliRunner().invoke(app, ["process", str(files), *options, "30"])
    assert told.exit_code == 0, told.output
    options[1] = str(tmp_path / "further")
    told = CliRunner().invoke(app, ["process", str(files), *options, "31"])
    assert told.exit_code == 1, told.output


@pytest.mark.parametrize("executor", ["serial", "workpool"])
def test_large_files_that_are_hashed_beside_the_reading_have_the_same_hashes(
    files, serial, tmp_path, monkeypatch, executor
):
    hashed, sha256 = {}, fingerprints.sha256

    def noted(path, *arguments):
        hashed[path] = threading.current_thread().name
        return sha256(path, *arguments)

    monkeypatch.setattr(fingerprints, "sha256", noted)
    monkeypatch.setattr(fingerprints, "SMALL", 10_000)
    process(files, tmp_path / "run", executor=executor, block_size=7, save_curves=True)
    assert contents(tmp_path / "run") == contents(serial)
    beside = {path for path, thread in hashed.items() if thread.startswith("gpusaxs-hash")}
    assert beside == {str(path) for path in files.iterdir() if path.stat().st_size > 10_000}


def test_a_run_that_is_interrupted_does_not_wait_for_the_hash_of_a_large_file(
    files, tmp_path, monkeypatch
):
    sha256, told = fingerprints.sha256, []

    def slowly(path, ended):
        told.append(ended.wait(10.0))
        return sha256(path, ended)

    def stop(progress):
        if progress.blocks == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(fingerprints, "sha256", slowly)
    monkeypatch.setattr(fingerprints, "SMALL", 10_000)
    with pytest.raises(KeyboardInterrupt):
        process(files, tmp_path / "run", executor="serial", block_size=1, progress=stop)
    assert told == [True]
    assert not [thread for thread in threading.enumerate() if "hash" in thread.name]


def test_a_hash_that_nobody_waits_for_is_not_computed_to_its_end(files):
    ended = threading.Event()
    path = str(files / "a.h5")
    assert fingerprints.sha256(path, ended) == fingerprints.sha256(path) != ""
    ended.set()
    assert fingerprints.sha256(path, ended) == ""


@pytest.mark.parametrize("seed", range(3))
def test_how_long_each_block_takes_does_not_matter(files, serial, tmp_path, monkeypatch, seed):
    chance, reads = random.Random(seed), reading.read

    def slowly(*arguments):
        time.sleep(chance.random() * 0.03)
        return reads(*arguments)

    monkeypatch.setattr(reading, "read", slowly)
    process(files, tmp_path / "run", workers=2, block_size=7, save_curves=True)
    assert contents(tmp_path / "run") == contents(serial)
