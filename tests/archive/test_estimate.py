import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpusaxs.archive import estimate as module
from gpusaxs.archive import survey, trial
from gpusaxs.archive.estimate import estimate
from gpusaxs.archive.run import process_archive
from gpusaxs.archive.survey import shares_of, slices_of
from gpusaxs.errors import RunDirectoryError
from gpusaxs.io import Extent
from gpusaxs.simulate import simulate

DATA = Path(__file__).parents[3] / "shared" / "data"
SMALL_FILES = 2000


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A stack, text with q in 1/angstrom and in no unit, an empty and a damaged file."""
    folder = tmp_path_factory.mktemp("files") / "mixed"
    found = simulate(120, seed=3, points=300)
    stack = found.write(folder)
    (folder / "damaged.h5").write_bytes(stack.read_bytes()[:3000])
    (folder / "empty.dat").touch()
    for table in ("truth.csv", "truth.parquet"):
        (folder / table).unlink()
    for row in range(20):
        columns = np.column_stack([found.q / 10.0, found.intensity[row], found.sigma[row]])
        np.savetxt(folder / f"text_{row:02d}.dat", columns, header="q(1/A) I sigma")
    np.savetxt(folder / "no_unit.txt", np.column_stack([found.q, found.intensity[0]]))
    return folder


@pytest.fixture(scope="module")
def small_files(tmp_path_factory):
    """Many small text files."""
    folder = tmp_path_factory.mktemp("files") / "small"
    folder.mkdir()
    found = simulate(SMALL_FILES, seed=4, points=100)
    # Each another: copies would compress as no archive does.
    for number, rows in enumerate(zip(found.intensity, found.sigma, strict=True)):
        lines = [f"{q:.4f} {i:.5e} {s:.5e}" for q, i, s in zip(found.q, *rows, strict=True)]
        text = "\n".join(["# q (1/nm), intensity, sigma", *lines, ""])
        (folder / f"curve_{number:05d}.dat").write_text(text, "utf-8")
    return folder


def size_on_disk(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_mixed_folder_is_counted_and_each_kind_of_curve_is_named(mixed):
    found = estimate([mixed], backend="numpy", workers=1)
    assert found.files == 24
    assert found.curves == 120 + 20 + 1 + 1 + 1
    assert found.size == size_on_disk(mixed)
    kinds = {(k.format, k.q_unit, k.q_unit_from, k.has_sigma): k for k in found.kinds}
    assert {key: kind.curves for key, kind in kinds.items()} == {
        ("nxcansas", "1/nm", "metadata", True): 120,
        ("text", "1/angstrom", "metadata", True): 20,
        ("text", "1/nm", "guess", False): 1,
    }
    for kind in found.kinds:
        assert kind.points == (300, 300)
        assert kind.q_range == pytest.approx((0.1, 3.0))


def test_what_cannot_be_read_is_named_with_its_reason_and_is_a_problem(mixed):
    found = estimate([mixed], backend="numpy", workers=1)
    reasons = dict(found.unreadable)
    assert reasons.keys() == {"mixed/damaged.h5", "mixed/empty.dat"}
    assert "damaged HDF5" in reasons["mixed/damaged.h5"]
    assert reasons["mixed/empty.dat"] == "is empty"
    assert not found.all_well
    assert "1 of 24 files hold nothing that can be read." in found.problems
    assert "1 of the 142 curves read cannot be read." in found.problems


def test_guessed_units_are_remarked_and_a_given_unit_takes_their_place(mixed):
    found = estimate([mixed], backend="numpy", workers=1)
    assert any("1 of the 142 curves read is a guess" in remark for remark in found.remarks)
    given = estimate([mixed / "no_unit.txt"], q_unit="1/angstrom", backend="numpy", workers=1)
    [kind] = given.kinds
    assert (kind.q_unit, kind.q_unit_from) == ("1/angstrom", "argument")
    assert kind.q_range == pytest.approx((1.0, 30.0))
    assert not given.remarks


def test_curves_that_can_be_read_but_not_processed_are_a_problem(mixed, tmp_path):
    np.savetxt(tmp_path / "two_points.dat", [[0.1, 5.0, 1.0], [0.2, 4.0, 1.0]])
    shutil.copy(mixed / "text_00.dat", tmp_path)
    found = estimate([tmp_path], backend="numpy", workers=1)
    [(name, reason)] = found.failed
    assert name.endswith("two_points.dat")
    assert "too few usable points" in reason
    assert "1 of the 2 curves read cannot be processed." in found.problems


def test_the_numbers_are_those_of_a_real_run(mixed, tmp_path):
    for save_curves in (False, True):
        place = tmp_path / f"run_{save_curves}"
        done = process_archive([mixed], place, backend="numpy", workers=1, save_curves=save_curves)
        found = estimate(
            [mixed], backend="numpy", workers=1, save_curves=save_curves, output=tmp_path, sample=80
        )
        assert found.sample <= 80
        assert found.curves == done.curves
        assert found.disk == pytest.approx(size_on_disk(place), rel=0.3)
        assert (found.curves_disk > 0) == save_curves
        if save_curves:
            assert found.curves_disk == pytest.approx(size_on_disk(place / "curves"), rel=0.3)


def test_many_small_files_are_counted_quickly_and_their_run_is_as_estimated(small_files, tmp_path):
    found = estimate([small_files], backend="numpy", workers=1)
    assert found.files == found.curves == SMALL_FILES
    assert 400 <= found.sample <= 500
    [kind] = found.kinds
    assert kind.curves == found.sample
    assert found.all_well
    done = process_archive([small_files], tmp_path / "run", backend="numpy", workers=1)
    assert found.disk == pytest.approx(size_on_disk(tmp_path / "run"), rel=0.3)
    # The machine may do other work during one of the two.
    assert done.seconds / 8.0 < found.seconds < done.seconds * 8.0


def test_of_many_small_files_only_the_sample_is_read(small_files, monkeypatch):
    read = []
    original = survey.read_frames
    monkeypatch.setattr(
        survey, "read_frames", lambda file, *rest: read.append(file.id) or original(file, *rest)
    )
    found = estimate([small_files], backend="numpy", workers=1, sample=40)
    assert found.curves == SMALL_FILES
    # One is read twice, so that nothing is compiled while time is taken.
    assert len(read) == found.sample + 1 <= 41
    assert read[0].endswith("curve_00000.dat")
    assert read[-1].endswith(f"curve_{SMALL_FILES - 1:05d}.dat")


def test_time_is_scaled_up_by_curves_and_points(small_files):
    ticks = itertools.count()

    def reading(**options):
        # Each look at the clock is a second later, so each curve of the sample takes as long.
        found = estimate([small_files], workers=1, clock=lambda: float(next(ticks)), **options)
        return found.seconds_by_step["reading"] / found.curves

    few = reading(backend="numpy", sample=20)
    many = reading(backend="numpy", sample=200)
    assert few == pytest.approx(2.0, rel=0.05)
    assert many == pytest.approx(2.0, rel=0.05)


def test_a_single_file_is_an_archive_as_well(mixed, tmp_path):
    found = estimate([mixed / "text_00.dat"], backend="numpy", workers=1, output=tmp_path / "run")
    assert (found.files, found.curves, found.sample) == (1, 1, 1)
    assert found.all_well
    assert found.place == tmp_path
    assert found.seconds > 0.0
    assert found.memory < found.memory_free
    assert found.disk < found.disk_free
    assert not list(tmp_path.iterdir())


def test_an_archive_of_unreadable_files_is_still_estimated(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.dat").touch()
    found = estimate([tmp_path], backend="numpy", workers=1)
    assert (found.files, found.curves, len(found.unreadable)) == (3, 3, 3)
    assert found.kinds == ()
    assert not found.all_well
    (tmp_path / "cut_off.npy").write_bytes(b"\x93NUMPY")
    alone = estimate([tmp_path / "cut_off.npy"], backend="numpy", workers=1)
    assert (alone.curves, alone.sample) == (1, 0)
    assert not alone.all_well


def test_frames_are_read_from_the_beginning_the_middle_and_the_end_of_a_stack(mixed):
    assert slices_of(Extent(1000, 10), 7) == [range(3), range(499, 501), range(998, 1000)]
    assert slices_of(Extent(1000, 10), 1000) == [range(1000)]
    assert slices_of(Extent(1000, 10, together=1000), 7) == [range(7)]
    assert slices_of(Extent(1, 10), 1) == [None]
    found = estimate([mixed / "curves.h5"], backend="numpy", workers=1, sample=30)
    assert (found.curves, found.sample) == (120, 30)


@pytest.mark.parametrize("most", [1, 2, 5, 50, 500])
@pytest.mark.parametrize(
    "curves", [[1], [1] * 3000, [100_000], [100_000, *[1] * 400], [1, 7, 3, 10_000] * 60]
)
def test_a_sample_is_spread_over_files_and_curves_and_never_too_large(curves, most):
    shares = shares_of([Extent(count, 100) for count in curves], most)
    assert len(shares) == len(curves)
    assert min(most, sum(curves)) / 2 <= sum(shares) <= most
    assert all(0 <= share <= count for share, count in zip(shares, curves, strict=True))
    assert shares[0] > 0
    if most > 1:
        assert shares[-1] > 0
    wanted = min(len(curves), most // 2)
    assert sum(share > 0 for share in shares) >= wanted


def test_of_very_long_curves_fewer_are_read():
    assert sum(shares_of([Extent(1000, 1_000_000)], 500)) == 8


def test_a_long_curve_does_not_pad_all_others_of_the_sample_to_its_length(tmp_path):
    short = simulate(20, seed=1, points=100)
    np.savez(tmp_path / "short.npz", q=short.q, intensity=short.intensity, sigma=short.sigma)
    q = np.linspace(0.1, 3.0, 400_000)
    intensity = np.interp(q, short.q, short.expected[0])
    noise = np.random.default_rng(0).standard_normal(q.size)
    np.save(tmp_path / "long.npy", np.column_stack([q, intensity + 0.1 * noise]))
    found = estimate([tmp_path], backend="numpy", workers=1)
    assert found.curves == found.sample == 21
    assert found.all_well


def test_too_small_a_disk_and_too_little_memory_are_problems(mixed, monkeypatch, tmp_path):
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda place: usage(10**9, 10**9, 1000))
    monkeypatch.setattr(module, "_free_memory", lambda: 1e6)
    found = estimate([mixed / "text_00.dat"], backend="numpy", workers=1, save_curves=True)
    memory, disk = found.problems
    assert "of memory" in memory
    assert "--block-size" in memory
    assert "1 kB free" in disk
    assert "leave --save-curves out" in disk


def test_memory_grows_with_the_blocks_in_flight_and_their_size(mixed, monkeypatch):
    monkeypatch.setattr(trial, "resident_bytes", lambda: 0)

    def memory(**options):
        return estimate([mixed / "curves.h5"], backend="numpy", workers=2, **options).memory

    one = memory(block_size=10, blocks_in_flight=1)
    assert 10 * 300 * 80 < one < 10 * 300 * 300
    assert memory(block_size=10, blocks_in_flight=2) > 1.8 * one
    assert memory(block_size=60, blocks_in_flight=1) > 5 * one


def test_a_place_where_nothing_can_be_written_is_a_problem(mixed, monkeypatch, tmp_path):
    monkeypatch.setattr(module.os, "access", lambda *where: False)
    found = estimate([mixed / "text_00.dat"], backend="numpy", workers=1, output=tmp_path / "run")
    assert found.problems == (
        f"Nothing can be written to {tmp_path}: give --output another place.",
    )


def test_a_run_that_is_there_is_remarked_and_its_files_are_no_inputs(mixed, tmp_path):
    shutil.copy(mixed / "text_00.dat", tmp_path)
    process_archive([tmp_path], tmp_path / "run", backend="numpy", workers=1)
    found = estimate([tmp_path], backend="numpy", workers=1, output=tmp_path / "run")
    assert found.files == 1
    assert any("holds a run already" in remark for remark in found.remarks)
    with pytest.raises(RunDirectoryError, match="All inputs lie"):
        estimate([tmp_path / "run"], backend="numpy", output=tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 0}, "sample of at least 1"),
        ({"block_size": 0}, "block size of at least 1"),
        ({"blocks_in_flight": 0}, "blocks of at least 1"),
        ({"q_unit": "1/parsec"}, "unit of q"),
    ],
)
def test_impossible_numbers_are_refused(mixed, options, message):
    with pytest.raises(ValueError, match=message):
        estimate([mixed], backend="numpy", **options)


def test_a_missing_input_is_refused():
    with pytest.raises(FileNotFoundError, match="nothing_here"):
        estimate(["nothing_here"], backend="numpy")


MEMORY = """
import sys
from gpusaxs.archive.{module} import {name}
found = {name}([sys.argv[1]], {output} backend="numpy", workers=2, save_curves=True)
print({result})
"""


@pytest.mark.slow
def test_the_memory_is_that_of_a_real_run(tmp_path):
    stack = simulate(4000, seed=1, points=800).write(tmp_path / "stack")

    def measured(**words):
        code = MEMORY.format(**words)
        command = [sys.executable, "-c", code, str(stack)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        return int(done.stdout)

    expected = measured(module="estimate", name="estimate", output="", result="found.memory")
    peak = measured(
        module="run",
        name="process_archive",
        output=f"{str(tmp_path / 'run')!r},",
        # Not getrusage: to a process that pytest starts, it says how large pytest is.
        result="1024 * int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])",
    )
    assert peak / 1.5 < expected < peak * 1.5


@pytest.mark.skipif(not DATA.is_dir(), reason="the measured data are not there: ../shared/data")
def test_the_measured_curves_are_counted_as_a_run_counts_them(tmp_path):
    inputs = [DATA / folder for folder in ("bragg", "plain")]
    found = estimate(inputs, backend="numpy", workers=1)
    done = process_archive(inputs, tmp_path / "run", backend="numpy", workers=1)
    assert found.curves == done.curves
    assert found.all_well == done.all_well
    assert found.disk == pytest.approx(size_on_disk(tmp_path / "run"), rel=0.3)
    for kind in found.kinds:
        assert kind.points[0] >= 16
        assert 0.0 < kind.q_range[1] < 20.0
