"""`gpusaxs.archive.convert`: every curve of files is in the one file, with every bit."""

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpusaxs.archive import convert as module
from gpusaxs.archive.convert import OutputInTheWayError, convert
from gpusaxs.errors import GpusaxsError, ReadError
from gpusaxs.io import discover, extent, read
from gpusaxs.io.nxcansas_writer import write_stack

Q = np.linspace(0.1, 5.0, 30)


def bits(array):
    return None if array is None else array.tobytes()


def curves_of(inputs, q_unit=None):
    """Curves that can be read, by their ids."""
    found = {}
    for source in discover(inputs):
        try:
            samples = read(source, q_unit)
        except ReadError:
            samples = readable_frames(source, q_unit)
        found |= {sample.id: sample for sample in samples}
    return found


def readable_frames(source, q_unit):
    """Curves of a damaged file that can be read."""
    samples = []
    with suppress(ReadError):
        for frame in range(extent(source).curves):
            with suppress(ReadError):
                samples += read(source, q_unit, range(frame, frame + 1))
    return samples


def written(path):
    """Curves of a converted file by their ids, and the ids in the order of the inputs."""
    names, numbers = [], []
    with h5py.File(path) as file:
        for entry in file.values():
            names += list(entry["sasdata/frame_name"].asstr())
            numbers += entry["sasdata/input_number"][()].tolist()
    order = [names[place] for place in np.argsort(numbers)]
    return dict(zip(names, read(path), strict=True)), order


def check_same(path, given):
    found, order = written(path)
    assert order == list(given)
    for name, sample in given.items():
        for part in ("q", "intensity", "sigma"):
            assert bits(getattr(found[name], part)) == bits(getattr(sample, part)), (name, part)
        assert found[name].origin.q_unit == "1/nm"
        assert found[name].origin.q_unit_from == "metadata"


def write_text(path, *columns, header=""):
    np.savetxt(path, np.column_stack(columns), header=header or "q(1/nm) I sigma")
    return path


@pytest.fixture
def mixed(tmp_path):
    """Two grids, one of them with and without sigma, a stack, and a file without a curve."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        intensity = rng.normal(100.0, 10.0, Q.size)
        write_text(folder / f"a{number}.dat", Q, intensity, 0.1 * intensity)
        write_text(folder / f"b{number}.dat", Q / 10, intensity, header="q(1/A) I")
        write_text(folder / f"c{number}.dat", 2.0 * Q[:20], intensity[:20], intensity[:20])
    (folder / "notes.md").write_text("no numbers here")
    write_stack(folder / "stack.h5", Q, rng.normal(size=(50, Q.size)), None, title="series")
    return folder


@pytest.fixture
def output(tmp_path):
    return tmp_path / "all.h5"


def test_a_mixed_folder_comes_back_bit_for_bit(mixed, output):
    found = convert([mixed], output)
    given = curves_of([mixed])
    assert (found.curves, found.files, len(found.unread)) == (62, 14, 1)
    assert found.unread[0].id == "mixed/notes.md"
    with h5py.File(output) as file:
        assert len(file) == found.stacks
    _, order = written(output)
    assert sorted(order) == sorted(given)
    check_same(output, {name: given[name] for name in order})
    assert order == list(given)


def test_the_measured_curves_come_back_bit_for_bit(measured, output):
    found = convert([measured], output, compression="bitshuffle")
    given = curves_of([measured])
    assert found.curves == len(given)
    check_same(output, given)


@pytest.mark.parametrize("held", [0, 3000, 20_000, 10**6])
@pytest.mark.parametrize("stacks", [0, 2, 1000])
def test_however_little_is_held_no_curve_is_lost(mixed, output, monkeypatch, held, stacks):
    monkeypatch.setattr(module, "_MOST_HELD", held)
    monkeypatch.setattr(module, "MOST_STACKS", stacks)
    monkeypatch.setattr(module, "_BLOCK_POINTS", 1000)
    convert([mixed], output, compression=None)
    check_same(output, curves_of([mixed]))


@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kinds=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 3), st.booleans()), min_size=1),
    held=st.sampled_from([0, 2000, 5000, 10**6]),
    single=st.sampled_from([0, 2, 100]),
)
def test_curves_of_any_grids_in_any_order_come_back(tmp_path, kinds, held, single):
    folder = tmp_path / "drawn"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for number, (grid, points, with_sigma) in enumerate(kinds):
        q = (1.0 + 0.1 * grid) * np.arange(1.0, points + 4.0)
        given = q[np.newaxis] * (number + 1.0) / 3.0
        sigma = given / 7.0 if with_sigma else None
        write_stack(folder / f"{number:03d}.h5", q, given, sigma, title="t")
    output = tmp_path / "all.h5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_HELD", held)
        patch.setattr(module, "MOST_SINGLE", single)
        convert([folder], output, compression=None, overwrite=True)
    check_same(output, curves_of([folder]))


def test_curves_with_a_q_each_share_a_stack(tmp_path, output):
    q = Q + np.arange(300)[:, np.newaxis] / 1000
    write_own_q(tmp_path / "own.h5", q, np.sqrt(q))
    found = convert([tmp_path / "own.h5"], output)
    assert found.stacks == 1
    check_same(output, curves_of([tmp_path / "own.h5"]))
    with h5py.File(output) as file:
        data = file["sasentry1/sasdata"]
        assert data["Q"].shape == data["I"].shape == (300, 30)
        assert data.attrs["Q_indices"].tolist() == [0, 1]


def write_own_q(path, q, intensity):
    with h5py.File(path, "w") as file:
        data = file.create_group("entry/data")
        data.attrs.update({"canSAS_class": "SASdata", "signal": "I", "I_axes": ["Frame", "Q"]})
        data["Q"], data["I"] = q, intensity
        data["Q"].attrs["units"] = "1/nm"


def test_few_curves_with_a_q_each_have_a_stack_each(tmp_path, output):
    for number in range(5):
        write_text(tmp_path / f"{number}.dat", Q + 0.01 * number, Q, Q)
    assert convert([tmp_path / "*.dat"], output).stacks == 5
    check_same(output, curves_of([tmp_path / "*.dat"]))


def test_curves_that_differ_in_the_last_bit_of_q_have_two_stacks(tmp_path, output):
    other = Q.copy()
    other[3] = np.nextafter(other[3], 1.0)
    for name, q in (("a", Q), ("b", other), ("c", Q)):
        write_stack(tmp_path / f"{name}.h5", q, [Q], None, title="t")
    assert convert([tmp_path / "?.h5"], output).stacks == 2
    check_same(output, curves_of([tmp_path / "?.h5"]))


def test_where_a_curve_comes_from_is_kept(mixed, output):
    convert([mixed], output)
    with h5py.File(output) as file:
        stacks = [entry["sasdata"] for entry in file.values()]
        by_first = {data["frame_name"].asstr()[0]: data for data in stacks}
        texts, stack = by_first["mixed/b0.dat"], by_first["mixed/stack.h5#0"]
        # One value where it is the same for all frames.
        assert texts["source_q_unit"].asstr()[()] == "1/angstrom"
        assert texts["source_q_unit_from"].asstr()[()] == "metadata"
        assert texts["source_format"].asstr()[()] == "text"
        assert list(texts["source"].asstr()) == [str(mixed / f"b{k}.dat") for k in range(4)]
        assert texts["source_frame"][()] == 0
        assert stack["source"].asstr()[()] == str(mixed / "stack.h5")
        assert stack["source_frame"][()].tolist() == list(range(50))


def test_what_files_say_of_their_curves_comes_back(tmp_path, output):
    said = [
        {
            "title": "a series",
            "time": f"2024-10-11T17:54:5{number}",
            "sample": "lysozyme",
            "transmission": 0.5,
            "thickness": 1.5,
            "temperature": 25.3 + number,
            "concentration": 5.0,
            "exposure": 0.1,
        }
        for number in range(3)
    ]
    said.append({"temperature": 4.0})
    for number, metadata in enumerate(said):
        path = tmp_path / f"{number}.h5"
        write_stack(path, Q, [Q], None, title="", metadata=[metadata])
    given = [read(tmp_path / f"{number}.h5")[0].origin.metadata for number in range(4)]
    assert [dict(metadata) for metadata in given] == said
    convert([tmp_path / "?.h5"], output)
    assert [dict(sample.origin.metadata) for sample in read(output)] == said


def test_the_same_stack_converted_again_is_the_same(mixed, output, tmp_path):
    convert([mixed], output)
    convert([output], tmp_path / "again.h5")
    first, second = read(output), read(tmp_path / "again.h5")
    for one, other in zip(first, second, strict=True):
        assert bits(one.q) == bits(other.q)
        assert bits(one.intensity) == bits(other.intensity)
        assert bits(one.sigma) == bits(other.sigma)


def test_float32_rounds_intensities_and_keeps_q(mixed, output):
    convert([mixed], output, dtype="float32")
    found, _ = written(output)
    for name, sample in curves_of([mixed]).items():
        assert bits(found[name].q) == bits(sample.q)
        assert np.array_equal(found[name].intensity, sample.intensity.astype(np.float32))


def test_a_unit_that_is_given_holds_for_all_files(mixed, output):
    convert([mixed / "a0.dat"], output, q_unit="1/angstrom")
    [sample] = read(output)
    assert np.array_equal(sample.q, 10.0 * curves_of([mixed / "a0.dat"])["a0.dat"].q)


def test_an_error_in_the_middle_leaves_the_older_file_alone(mixed, output, monkeypatch):
    calls = []

    def fail(*_):
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return frames(*_)

    frames = module.read_unit
    monkeypatch.setattr(module, "read_unit", fail)
    output.write_bytes(b"older")
    with pytest.raises(KeyboardInterrupt):
        convert([mixed], output, overwrite=True)
    assert output.read_bytes() == b"older"
    assert sorted(entry.name for entry in output.parent.iterdir()) == ["all.h5", "mixed"]


def test_what_is_in_the_way_is_not_replaced_unless_asked(mixed, output):
    output.write_bytes(b"older")
    with pytest.raises(OutputInTheWayError, match="exists already"):
        convert([mixed], output)
    assert output.read_bytes() == b"older"
    assert convert([mixed], output, overwrite=True).curves == 62
    with pytest.raises(OutputInTheWayError, match="exists already"):
        convert([mixed], mixed, overwrite=True)


def test_the_output_is_not_among_the_inputs(mixed):
    target = mixed / "all.h5"
    assert convert([mixed], target).curves == 62
    assert convert([mixed], target, overwrite=True).curves == 62
    with pytest.raises(GpusaxsError, match="is the output"):
        convert([target], target, overwrite=True)
    assert len(read(target)) == 62


def test_without_any_curve_no_file_is_written(tmp_path, output):
    (tmp_path / "notes.md").write_text("no numbers here")
    found = convert([tmp_path / "notes.md"], output)
    assert (found.curves, found.stacks, len(found.unread)) == (0, 0, 1)
    assert os.listdir(tmp_path) == ["notes.md"]


def test_ten_times_the_curves_take_no_more_memory(tmp_path):
    code = """
        import sys
        from gpusaxs.archive.convert import convert

        convert([sys.argv[1]], sys.argv[2], compression="blosc")
        [peak] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
        print(int(peak.split()[1]) // 1024)
    """
    used = []
    for curves in (5_000, 50_000):
        source = tmp_path / f"{curves}.h5"
        q = np.linspace(0.1, 5.0, 500)
        frames = np.broadcast_to(np.sqrt(q), (curves, 500))
        write_stack(source, q, frames, frames, title="t", compression="blosc")
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), source, tmp_path / "out.h5"],
            capture_output=True,
            text=True,
            check=True,
        )
        (tmp_path / "out.h5").unlink()
        used.append(int(done.stdout))
    # The larger one holds 400 MB; threads of a busy machine have more or less in flight.
    assert used[1] < used[0] + 80, used


def test_a_killed_process_leaves_no_file_in_the_place(mixed, output):
    code = """
        import os, signal, sys
        from gpusaxs.archive.convert import convert

        convert(
            [sys.argv[1]],
            sys.argv[2],
            progress=lambda share, curves: os.kill(os.getpid(), signal.SIGKILL),
        )
    """
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), mixed, output], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert not output.exists()
    assert convert([mixed], output).curves == 62
    check_same(output, curves_of([mixed]))
