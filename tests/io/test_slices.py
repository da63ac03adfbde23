"""A slice of a file holds the very curves that the whole file gives in its place.

Compared are ids, origins, units, status and the bits of q, intensity and sigma; not compared is
which curves share an array in memory.
"""

import math
import subprocess
import sys
import zipfile

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpusaxs.errors import ReadError
from gpusaxs.io import Extent, Source, extent, read
from gpusaxs.io.nxcansas_writer import write_stack

PLUGINS = {
    None: {},
    "gzip": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "bitshuffle": dict(hdf5plugin.Bitshuffle()),
    "blosc": dict(hdf5plugin.Blosc()),
}
POINTS = 6
CURVE = "0.1 5.0\n0.2 4.0\n0.3 3.0\n"


def bits(values):
    return None if values is None else values.tobytes()


def described(samples):
    """All that a slice has to share with the whole file."""
    return [
        (s.id, s.origin, s.status, bits(s.q), bits(s.intensity), bits(s.sigma)) for s in samples
    ]


def numbers(rng, shape, dtype):
    """Numbers with zeros of both signs, NaN and infinities where the type has them."""
    if np.dtype(dtype).kind == "i":
        return rng.integers(-9, 9, shape).astype(dtype)
    values = rng.normal(1.0, 1.0, shape)
    strange = rng.choice([np.nan, np.inf, -0.0, 0.0], shape)
    return np.where(rng.random(shape) < 0.1, strange, values).astype(dtype)


@st.composite
def groups(draw):
    """One SASdata: its arrays, where the axis of q stands, and how they are stored."""
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    lengths = draw(st.lists(st.integers(1, 5), max_size=3))
    q_axis = draw(st.integers(0, len(lengths)))
    shape = (*lengths[:q_axis], POINTS, *lengths[q_axis:])
    dtype = draw(st.sampled_from([np.float64, np.float32, ">f4", np.int32]))
    q = np.linspace(0.1, draw(st.sampled_from([0.5, 5.0])), POINTS)
    q_kind = draw(st.sampled_from(["shared", "own", "own and all the same"]))
    if q_kind != "shared":
        q = np.broadcast_to(q.reshape(-1, *[1] * (len(shape) - q_axis - 1)), shape)
    if q_kind == "own":
        q = q * rng.choice([0.0, -0.0, 0.5, 1.0, 10.0], shape)
    storage = {}
    if draw(st.booleans()):
        storage = {"chunks": tuple(draw(st.integers(1, length)) for length in shape)}
        storage |= PLUGINS[draw(st.sampled_from(sorted(PLUGINS, key=str)))]
    axes = [f"Axis{k}" for k in range(len(lengths))]
    return {
        "q": q,
        "intensity": numbers(rng, shape, dtype),
        "sigma": numbers(rng, shape, dtype) if draw(st.booleans()) else None,
        "axes": [*axes[:q_axis], "Q", *axes[q_axis:]],
        "unit": draw(st.sampled_from([None, "1/nm", "1/A"])),
        "storage": storage,
    }


def write_groups(path, stacks):
    with h5py.File(path, "w") as file:
        for k, stack in enumerate(stacks):
            group = file.create_group(f"entry{k}/sasdata")
            group.attrs.update({"canSAS_class": "SASdata", "signal": "I", "I_axes": stack["axes"]})
            group.create_dataset("Q", data=stack["q"])
            group.create_dataset("I", data=stack["intensity"], **stack["storage"])
            if stack["sigma"] is not None:
                group.create_dataset("Idev", data=stack["sigma"], **stack["storage"])
            if stack["unit"] is not None:
                group["Q"].attrs["units"] = stack["unit"]
    return path


def check_slices(path, data, q_unit=None):
    """Any slice of a file is that part of the whole."""
    whole = described(read(path, q_unit))
    assert extent(Source(path, "any")).curves == len(whole)
    for _ in range(3):
        start = data.draw(st.integers(0, len(whole)))
        stop = data.draw(st.integers(start, len(whole)))
        assert described(read(path, q_unit, range(start, stop))) == whole[start:stop]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("slices")


@given(st.data())
def test_any_slice_of_an_hdf5_file_is_that_part_of_the_whole(folder, data):
    path = write_groups(folder / "any.h5", data.draw(st.lists(groups(), min_size=1, max_size=3)))
    check_slices(path, data, data.draw(st.sampled_from([None, "1/nm"])))


@given(st.data())
def test_no_chunk_is_read_twice_by_slices_that_begin_at_multiples_of_together(folder, data):
    stack = data.draw(groups())
    path = write_groups(folder / "chunks.h5", [stack])
    held = extent(Source(path, "any"))
    if "chunks" not in stack["storage"]:
        assert held.together == 1
        return
    q_axis = stack["axes"].index("Q")
    shape, sides = list(stack["intensity"].shape), list(stack["storage"]["chunks"])
    del shape[q_axis], sides[q_axis]
    chunks = [
        tuple(place // side for place, side in zip(places, sides, strict=True))
        for places in np.ndindex(*shape)
    ]
    for cut in range(0, held.curves, held.together):
        assert not set(chunks[:cut]) & set(chunks[cut:])


@given(st.data())
def test_any_slice_of_an_npy_file_is_that_part_of_the_whole(folder, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    shape = (data.draw(st.integers(1, 6)), data.draw(st.integers(2, 3)), 5)
    dtype = data.draw(st.sampled_from([np.float64, np.float32, ">f8", np.int16]))
    stack = numbers(rng, shape, dtype)
    if data.draw(st.booleans()):
        stack[:, 0] = stack[0, 0]
    path = folder / "any.npy"
    np.save(path, np.asarray(stack, order=data.draw(st.sampled_from("CF"))))
    check_slices(path, data)


@given(st.data())
def test_any_slice_of_an_npz_file_is_that_part_of_the_whole(folder, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    shape = data.draw(st.sampled_from([(5,), (1, 5), (4, 5)]))
    dtype = data.draw(st.sampled_from([np.float64, np.float32]))
    order = data.draw(st.sampled_from("CF"))
    q_shape = data.draw(st.sampled_from([(5,), (1, 5), shape]))
    arrays = {"q": numbers(rng, q_shape, dtype), "intensity": numbers(rng, shape, dtype)}
    if data.draw(st.booleans()):
        arrays["sigma"] = numbers(rng, shape, dtype)
    arrays = {name: np.asarray(values, order=order) for name, values in arrays.items()}
    if data.draw(st.booleans()):
        arrays["q_unit"] = np.array("1/nm")
    save = data.draw(st.sampled_from([np.savez, np.savez_compressed]))
    save(folder / "any.npz", **arrays)
    check_slices(folder / "any.npz", data)


def test_the_one_curve_of_a_text_may_be_asked_for_by_its_number(tmp_path):
    path = tmp_path / "curve.dat"
    path.write_text(CURVE, encoding="utf-8")
    assert described(read(path, frames=range(1))) == described(read(path))
    assert read(path, frames=range(1, 1)) == []
    with pytest.raises(ReadError, match="holds 1 curves, expected frames 0 to 1"):
        read(path, frames=range(2))


@pytest.mark.parametrize("name", ["stack.h5", "stack.npy", "stack.npz"])
def test_frames_that_a_file_does_not_hold_are_refused(tmp_path, name):
    path = tmp_path / name
    q, frames = np.linspace(0.1, 5.0, 8), np.ones((4, 8))
    if name == "stack.h5":
        write_stack(path, q, frames, None, title="t")
    elif name == "stack.npy":
        np.save(path, np.stack([np.tile(q, (4, 1)), frames], axis=1))
    else:
        np.savez(path, q=q, intensity=frames)
    message = "holds 4 curves, expected frames 2 to 4: the file has changed"
    with pytest.raises(ReadError, match=message):
        read(path, frames=range(2, 5))
    for frames in (range(0, 4, 2), range(-1, 2), range(3, 1)):
        with pytest.raises(ValueError, match="Expected frames that follow each other"):
            read(path, frames=frames)


def test_the_unit_is_guessed_from_the_first_curve_of_a_group_whatever_the_slice(tmp_path):
    q = np.outer([0.2, 5.0, 7.0], np.linspace(0.1, 1.0, 8))
    stack = np.stack([q, np.ones((3, 8))], axis=1)
    np.save(tmp_path / "stack.npy", stack)
    np.savez(tmp_path / "stack.npz", q=q, intensity=stack[:, 1])
    group = {"q": q, "intensity": stack[:, 1], "sigma": None, "unit": None, "storage": {}}
    write_groups(tmp_path / "stack.h5", [group | {"axes": ["Frame", "Q"]}])
    for name in ("stack.npy", "stack.npz", "stack.h5"):
        for part in (None, range(1, 3)):
            samples = read(tmp_path / name, frames=part)
            assert {sample.origin.q_unit for sample in samples} == {"1/angstrom"}


def test_float32_numbers_keep_their_values(tmp_path):
    path, rng = tmp_path / "stack.h5", np.random.default_rng(1)
    frames = rng.normal(size=(5, 8)).astype(np.float32)
    write_stack(path, np.linspace(0.1, 5.0, 8), frames, frames, title="t", dtype=np.float32)
    for sample, row in zip(read(path, frames=range(2, 5)), frames[2:], strict=True):
        assert np.array_equal(sample.intensity, row.astype(np.float64))
        assert np.array_equal(sample.sigma, row.astype(np.float64))


def test_a_changed_file_is_looked_through_again(tmp_path):
    path, q = tmp_path / "stack.h5", np.linspace(0.1, 5.0, 8)
    write_stack(path, q, np.ones((4, 8)), None, title="t")
    assert extent(Source(path, "any")) == Extent(4, 8, together=4)
    write_stack(path, q, np.ones((3, 8)), None, title="t")
    assert extent(Source(path, "any")) == Extent(3, 8, together=3)
    with pytest.raises(ReadError, match="holds 3 curves"):
        read(path, frames=range(3, 4))


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_the_extent_of_numpy_files_is_known_from_their_headers(tmp_path, suffix):
    path, q, frames = tmp_path / f"stack.{suffix}", np.linspace(0.1, 5.0, 8), np.ones((4, 8))
    if suffix == "npy":
        np.save(path, np.stack([np.tile(q, (4, 1)), frames], axis=1))
        assert extent(Source(path, "any")) == Extent(4, 8)
        np.save(path, np.stack([q, q], axis=1))
        assert extent(Source(path, "any")) == Extent(1, 8)
    else:
        np.savez(path, q=q, intensity=frames)
        assert extent(Source(path, "any")) == Extent(4, 8)
        np.savez_compressed(path, q=q, intensity=frames)
        assert extent(Source(path, "any")) == Extent(4, 8, together=4)


def test_the_extent_of_a_text_is_estimated_from_its_size(tmp_path):
    path = tmp_path / "curve.dat"
    path.write_text(CURVE, encoding="utf-8")
    assert extent(Source(path, "any")) == Extent(1, len(CURVE) // 24)
    assert extent(Source(path, "any"), size=2400) == Extent(1, 100)
    path.write_text("", encoding="utf-8")
    assert extent(Source(path, "any")) == Extent(1, 1)


def test_the_extent_of_what_cannot_be_opened_or_is_damaged_is_refused(tmp_path):
    with pytest.raises(ReadError, match="cannot be opened: no such file or directory"):
        extent(Source(tmp_path / "none.dat", "any"))
    with pytest.raises(ReadError, match="cannot be opened: is a directory"):
        extent(Source(tmp_path, "any"))
    write_stack(tmp_path / "a.h5", np.ones(5), np.ones((2, 5)), None, title="t")
    np.save(tmp_path / "a.npy", np.ones((3, 8)))
    for name, reason in (("a.h5", "damaged HDF5 file, or cut off"), ("a.npy", "it is cut off")):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[:-10])
        with pytest.raises(ReadError, match=reason):
            extent(Source(tmp_path / name, "any"))


@pytest.mark.parametrize("compression", ["gzip", "bitshuffle", "blosc"])
def test_a_damaged_chunk_spoils_the_slices_that_touch_it_alone(tmp_path, compression):
    path, rng = tmp_path / "stack.h5", np.random.default_rng(1)
    frames = rng.normal(size=(9, 500))
    with h5py.File(path, "w") as file:
        group = file.create_group("entry")
        group.attrs.update({"canSAS_class": "SASdata", "I_axes": ["Frame", "Q"]})
        group["Q"] = np.linspace(0.1, 5.0, 500)
        storage = PLUGINS[compression] | {"fletcher32": True}
        group.create_dataset("I", data=frames, chunks=(3, 500), **storage)
    whole = described(read(path))
    with h5py.File(path, "r") as file:
        middle = file["entry/I"].id.get_chunk_info(1)
    content = bytearray(path.read_bytes())
    for place in range(middle.byte_offset, middle.byte_offset + middle.size, 7):
        content[place] ^= 0xFF
    path.write_bytes(content)
    assert extent(Source(path, "any")).curves == 9
    assert described(read(path, frames=range(0, 3))) == whole[:3]
    assert described(read(path, frames=range(6, 9))) == whole[6:]
    for touching in (None, range(2, 4), range(5, 9)):
        with pytest.raises(ReadError, match="damaged HDF5 file"):
            read(path, frames=touching)


def test_an_unknown_filter_is_refused_with_its_number(tmp_path):
    path = tmp_path / "stack.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("entry")
        group.attrs.update({"canSAS_class": "SASdata"})
        group["Q"] = np.linspace(0.1, 5.0, 8)
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((8,))
        plan.set_filter(444, h5py.h5z.FLAG_OPTIONAL, ())
        h5py.h5d.create(
            group.id, b"I", h5py.h5t.IEEE_F64LE, h5py.h5s.create_simple((8,)), dcpl=plan
        )
        group["I"][...] = 1.0
    for asked in (read, lambda path: extent(Source(path, "any"))):
        with pytest.raises(ReadError, match="compressed with the HDF5 filter 444"):
            asked(path)


WRITER = """
import sys, h5py, numpy
with h5py.File(sys.argv[1], "a", libver=sys.argv[2]) as file:
    file["more"] = numpy.ones(8)
    file.flush()
    print("open", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_a_file_that_another_program_writes_is_refused_until_it_is_complete(tmp_path, version):
    path = tmp_path / "stack.h5"
    write_stack(path, np.linspace(0.1, 5.0, 8), np.ones((4, 8)), None, title="t")
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), version],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        try:
            assert writer.stdout.readline() == "open\n"
            for asked in (read, lambda path: extent(Source(path, "any"))):
                with pytest.raises(ReadError, match="open for writing elsewhere: try again"):
                    asked(path)
        finally:
            writer.communicate("end\n", timeout=30)
    assert len(read(path)) == 4


def test_a_file_whose_writer_was_stopped_is_refused_with_its_remedy(tmp_path):
    path = tmp_path / "stack.h5"
    with h5py.File(path, "w", libver="latest"):
        pass
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), "latest"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as writer:
        writer.stdout.readline()
        writer.kill()
    with pytest.raises(ReadError, match=r"or its writer was stopped: .* repair it with h5clear"):
        read(path)


def test_slices_of_a_plain_npz_seek_and_those_of_a_compressed_one_hold_little(
    tmp_path, monkeypatch
):
    path, stack = tmp_path / "stack.npz", np.arange(64.0 * 1000).reshape(64, 1000)
    np.savez(path, q=np.arange(1000.0), intensity=stack)
    held = []
    whole_read = zipfile.ZipExtFile.read
    monkeypatch.setattr(
        zipfile.ZipExtFile,
        "read",
        lambda self, n=-1: held.append(n) or whole_read(self, n),
    )
    assert np.array_equal(read(path, frames=range(60, 61))[0].intensity, stack[60])
    assert held == []
    monkeypatch.setattr(zipfile.ZipExtFile, "MAX_SEEK_READ", 2**14)
    np.savez_compressed(path, q=np.arange(1000.0), intensity=stack)
    assert np.array_equal(read(path, frames=range(60, 61))[0].intensity, stack[60])
    assert 0 < max(held) <= 2**14
    assert math.prod(stack.shape) * 8 > 2**18
