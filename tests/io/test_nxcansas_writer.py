"""What the writer of stacks puts in a file comes back; nothing is left where it fails."""

import errno
import os
import subprocess
import sys
import textwrap

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from gpusaxs.errors import GpusaxsError
from gpusaxs.io import read
from gpusaxs.io.nxcansas_entry import METADATA_PLACES, as_stored
from gpusaxs.io.nxcansas_writer import StackWriter, write_stack
from gpusaxs.metadata import FIELDS

Q = np.linspace(0.1, 5.0, 20)
FRAMES = np.exp(-np.outer([1.0, 2.0, 3.0], Q))
WARM = {"temperature": 25.0, "exposure": 0.5, "sample": "lysozyme", "title": "a series"}


def bits(array):
    return None if array is None else array.tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "stack.h5"


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    frames=array_shapes(min_dims=2, max_dims=2, max_side=7).flatmap(
        lambda shape: arrays(np.float64, shape)
    ),
    with_sigma=st.booleans(),
    compression=st.sampled_from([None, "gzip", "bitshuffle", "blosc"]),
    text=st.text(),
)
def test_all_bits_of_a_stack_come_back(path, frames, with_sigma, compression, text):
    q = np.linspace(0.1, 5.0, frames.shape[1])
    names = [f"{text} {number}" for number in range(len(frames))]
    sigma = -frames if with_sigma else None
    write_stack(path, q, frames, sigma, title=text, names=names, compression=compression)
    samples = read(path)
    assert len(samples) == len(frames)
    for sample, row in zip(samples, frames, strict=True):
        assert bits(sample.q) == bits(q)
        assert bits(sample.intensity) == bits(row)
        assert bits(sample.sigma) == (bits(-row) if with_sigma else None)
    with h5py.File(path) as file:
        found = list(file["sasentry/sasdata/frame_name"].asstr())
    assert found == [as_stored(name) for name in names]


def test_a_curve_of_a_million_points_comes_back(path):
    q = np.linspace(0.1, 5.0, 1_000_000)
    write_stack(path, q, [np.sin(q)], [np.cos(q)], title="long", compression="blosc")
    [sample] = read(path)
    assert bits(sample.intensity) == bits(np.sin(q))
    assert bits(sample.sigma) == bits(np.cos(q))


def test_every_field_of_metadata_has_a_place():
    assert METADATA_PLACES.keys() == FIELDS.keys()


def test_what_is_said_of_all_frames_alike_is_written_once(path):
    write_stack(path, Q, FRAMES, None, title="t", metadata=[WARM] * 3)
    with h5py.File(path) as file:
        entry = file["sasentry"]
        assert entry["title"].asstr()[()] == "a series"
        assert entry["sassample"].attrs["canSAS_class"] == "SASsample"
        assert entry["sassample/name"].asstr()[()] == "lysozyme"
        assert entry["sassample/temperature"][()] == 25.0
        assert entry["sassample/temperature"].attrs["units"] == "C"
        assert entry["sassample/count_time"].attrs["units"] == "s"
        assert set(entry["sassample"]) == {"name", "temperature", "count_time"}
        assert "start_time" not in entry


def test_what_differs_among_frames_is_written_for_each(path):
    said = [WARM, WARM, {"temperature": 30.0, "time": "2024-10-11T17:54:52", "thickness": 1.5}]
    with StackWriter(path, Q, title="t", frames=3) as stack:
        stack.append(FRAMES[:1], metadata=said[:1])
        stack.append(FRAMES[1:], metadata=said[1:])
    with h5py.File(path) as file:
        entry = file["sasentry"]
        sample = entry["sassample"]
        assert sample["temperature"][()].tolist() == [25.0, 25.0, 30.0]
        assert sample["temperature"].attrs["units"] == "C"
        assert list(sample["name"].asstr()) == ["lysozyme", "lysozyme", ""]
        np.testing.assert_array_equal(sample["thickness"], [np.nan, np.nan, 1.5])
        assert sample["thickness"].attrs["units"] == "mm"
        assert list(entry["title"].asstr()) == ["a series", "a series", ""]
        assert list(entry["start_time"].asstr()) == ["", "", "2024-10-11T17:54:52"]


def test_blocks_without_metadata_have_none(path):
    with StackWriter(path, Q, title="t") as stack:
        stack.append(FRAMES)
        stack.append(FRAMES, metadata=[{"transmission": 0.5}] * 3)
        stack.append(FRAMES)
    with h5py.File(path) as file:
        found = file["sasentry/sassample/transmission"][()]
        np.testing.assert_array_equal(found, [*[np.nan] * 3, *[0.5] * 3, *[np.nan] * 3])
        assert file["sasentry/title"].asstr()[()] == "t"


def test_metadata_of_another_number_of_frames_are_refused(path):
    with pytest.raises(ValueError, match="Expected 3 entries of metadata"):
        write_stack(path, Q, FRAMES, None, title="t", metadata=[WARM] * 2)
    assert not path.exists()


def test_text_that_hdf5_cannot_hold_is_spelled_out(path):
    names = ["nul\0", "no text \udcff", "日本"]
    write_stack(path, Q, FRAMES, None, title="t", names=names)
    with h5py.File(path) as file:
        found = list(file["sasentry/sasdata/frame_name"].asstr())
    assert found == ["nul\\x00", "no text \\udcff", "日本"]


def test_numbers_beyond_float32_are_refused_and_infinite_ones_kept(path):
    with pytest.raises(GpusaxsError, match="float32 can hold"):
        write_stack(path, Q, 1e300 * FRAMES, None, title="t", dtype=np.float32)
    assert not path.exists()
    write_stack(path, Q, np.inf * FRAMES, None, title="t", dtype=np.float32)
    assert np.isinf(read(path)[0].intensity).all()


def test_a_full_disk_is_one_error_and_leaves_nothing(tmp_path):
    code = """
        import resource, signal, sys
        import numpy as np
        from gpusaxs.io.nxcansas_writer import StackWriter

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
        try:
            with StackWriter(sys.argv[1], np.arange(1.0, 101.0), title="t") as stack:
                for _ in range(10):
                    stack.append(np.ones((100, 100)), names=["a"] * 100)
        except OSError as error:
            print(error.errno)
    """
    path = tmp_path / "stack.h5"
    for room in (0, 100, 5_000, 100_000, 500_000):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), path, str(room)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{errno.EFBIG}\n", "")
        assert os.listdir(tmp_path) == []
