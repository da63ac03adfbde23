import warnings
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from gpusaxs.errors import ReadError
from gpusaxs.io import read
from gpusaxs.io.nxcansas_writer import StackWriter, write_stack

Q = np.linspace(0.01, 0.3, 20)
FRAMES = np.exp(-np.outer([1.0, 2.0, 3.0], Q))
DATA = Path(__file__).parents[3] / "shared" / "data"


def write_group(path, q=Q, intensity=FRAMES[0], sigma=None, group="entry/data", **attributes):
    """One SASdata; ``q_units`` and ``uncertainties`` are attributes of its datasets."""
    with h5py.File(path, "a") as file:
        entry = file.require_group(group)
        entry.attrs["canSAS_class"] = "SASdata"
        entry["Q"] = q
        entry["I"] = intensity
        if "q_units" in attributes:
            entry["Q"].attrs["units"] = attributes.pop("q_units")
        if sigma is not None:
            name = attributes.pop("sigma_name", "Idev")
            entry[name] = sigma
            entry["I"].attrs["uncertainties"] = name
        entry.attrs.update({"signal": "I", "I_axes": "Q"} | attributes)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "stack.h5"


@pytest.mark.parametrize("q_unit", ["1/nm", "1/angstrom"])
@pytest.mark.parametrize("with_sigma", [True, False])
def test_a_written_stack_comes_back(path, q_unit, with_sigma):
    sigma = 0.1 * FRAMES if with_sigma else None
    write_stack(path, Q, FRAMES, sigma, title="a series", q_unit=q_unit, names=["a", "b", "c"])
    samples = read(path)
    assert [sample.id for sample in samples] == ["stack.h5#0", "stack.h5#1", "stack.h5#2"]
    assert samples[0].origin.q_unit_from == "metadata"
    assert samples[0].origin.q_unit == q_unit
    for sample, intensity in zip(samples, FRAMES, strict=True):
        assert sample.q is samples[0].q
        assert sample.intensity.base is samples[0].intensity.base
        assert np.array_equal(sample.intensity, intensity)
        assert sample.sigma is None or np.array_equal(sample.sigma, 0.1 * intensity)
        assert (sample.sigma is not None) == with_sigma
    assert np.allclose(samples[0].q, Q if q_unit == "1/nm" else 10.0 * Q)


def test_a_written_stack_is_nxcansas(path):
    write_stack(path, Q, FRAMES, FRAMES, title="a series", names=["a", "b", "c"])
    with h5py.File(path) as file:
        entry = file[file.attrs["default"]]
        data = entry[entry.attrs["default"]]
        assert entry.attrs["NX_class"] == "NXentry"
        assert entry.attrs["canSAS_class"] == "SASentry"
        assert entry["definition"].asstr()[()] == "NXcanSAS"
        assert entry["title"].asstr()[()] == "a series"
        assert data.attrs["canSAS_class"] == "SASdata"
        assert data.attrs["NX_class"] == "NXdata"
        assert data.attrs["signal"] == "I"
        assert list(data.attrs["I_axes"]) == ["Frame", "Q"]
        assert data.attrs["Q_indices"] == [1]
        assert data["I"].attrs["uncertainties"] == "Idev"
        assert data["I"].chunks == data["I"].shape
        assert data["Q"].attrs["units"] == "1/nm"
        assert list(data["frame_name"].asstr()) == ["a", "b", "c"]


def test_a_stack_may_be_stored_as_float32(path):
    write_stack(path, Q, FRAMES, None, title="t", dtype=np.float32)
    with h5py.File(path) as file:
        assert file["sasentry/sasdata/I"].dtype == np.float32
        assert file["sasentry/sasdata/Q"].dtype == np.float64
    assert np.array_equal(read(path)[1].intensity, FRAMES[1].astype(np.float32))


def test_a_failed_write_leaves_the_older_file_and_nothing_else(path):
    write_stack(path, Q, FRAMES, None, title="t")
    with pytest.raises(ValueError, match=r"Expected q \(points,\)"):
        write_stack(path, Q[:3], FRAMES, None, title="t")
    with pytest.raises(ValueError, match="Expected 3 names"):
        write_stack(path, Q, FRAMES, None, title="t", names=["a"])
    with pytest.raises(TypeError):
        write_stack(path, Q, FRAMES, None, title="t", names=[1, 2, 3])
    assert [file.name for file in path.parent.iterdir()] == ["stack.h5"]
    assert len(read(path)) == 3


@pytest.mark.parametrize("compression", [None, "gzip", "bitshuffle", "blosc"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_stack_may_be_written_block_by_block(path, compression, dtype):
    frames = np.exp(-np.outer(np.arange(1.0, 1001.0), Q)).astype(dtype)
    with StackWriter(
        path, Q, title="t", q_unit="1/angstrom", dtype=dtype, compression=compression
    ) as stack:
        for start, stop in ((0, 1), (1, 700), (700, 1000)):
            names = [f"frame {k}" for k in range(start, stop)]
            stack.append(frames[start:stop], 0.1 * frames[start:stop], names)
            assert not path.exists()
        assert stack.frames == 1000
    samples = read(path)
    assert samples[0].origin.q_unit == "1/angstrom"
    assert np.array_equal([sample.intensity for sample in samples], frames)
    assert np.array_equal([sample.sigma for sample in samples], (0.1 * frames).astype(dtype))
    with h5py.File(path) as file:
        data = file["sasentry/sasdata"]
        assert len(data["Frame"]) == 1000
        assert data["frame_name"].asstr()[999] == "frame 999"
        assert (data["I"].id.get_create_plist().get_nfilters() > 0) == (compression is not None)


def test_blocks_give_the_same_numbers_as_a_stack_written_at_once(path, tmp_path):
    write_stack(path, Q, FRAMES, FRAMES, title="t", names=["a", "b", "c"])
    with StackWriter(tmp_path / "blocks.h5", Q, title="t", frames=3) as stack:
        for k, name in enumerate("abc"):
            stack.append(FRAMES[k : k + 1], FRAMES[k : k + 1], [name])
    with h5py.File(path) as at_once, h5py.File(tmp_path / "blocks.h5") as in_blocks:
        names: list[str] = []
        at_once.visit(names.append)
        for name in names:
            assert dict(at_once[name].attrs).keys() == dict(in_blocks[name].attrs).keys()
            if isinstance(at_once[name], h5py.Dataset):
                assert np.array_equal(at_once[name][()], in_blocks[name][()])
                assert at_once[name].chunks == in_blocks[name].chunks


def test_an_error_between_blocks_leaves_no_file(path):
    def write_and_fail():
        with StackWriter(path, Q, title="t") as stack:
            stack.append(FRAMES)
            raise KeyError("the source of blocks failed")

    with pytest.raises(KeyError):
        write_and_fail()
    with (
        pytest.raises(ValueError, match="Expected at least one frame"),
        StackWriter(path, Q, title="t"),
    ):
        pass
    assert list(path.parent.iterdir()) == []


def test_blocks_that_do_not_fit_each_other_are_refused(path):
    def write(*blocks):
        with StackWriter(path, Q, title="t") as stack:
            for block in blocks:
                stack.append(*block)

    for blocks in ([(FRAMES,), (FRAMES, FRAMES)], [(FRAMES, FRAMES), (FRAMES,)]):
        with pytest.raises(ValueError, match="Expected Idev in all blocks or in none"):
            write(*blocks)
    with pytest.raises(ValueError, match="Expected frame_name in all blocks or in none"):
        write((FRAMES, None, ["a", "b", "c"]), (FRAMES,))
    with pytest.raises(ValueError, match=r"Expected q \(points,\) with intensity"):
        write((FRAMES,), (FRAMES[:, :5],))
    assert not path.exists()


def test_a_writer_refuses_what_is_no_q_and_no_compression(path):
    with pytest.raises(ValueError, match=r"Expected q \(points,\). Got the shape \(3, 20\)"):
        StackWriter(path, FRAMES, title="t")
    with pytest.raises(ValueError, match="Expected the compression 'gzip'"):
        StackWriter(path, Q, title="t", compression="lzma")
    with pytest.raises(ValueError, match="in a with statement"):
        StackWriter(path, Q, title="t").append(FRAMES)


def test_every_frame_may_have_q_of_its_own(path):
    q = np.outer([1.0, 2.0, 3.0], Q)
    write_group(path, q, FRAMES, q_units="1/nm", I_axes=["Time", "Q"], Q_indices=[0, 1])
    assert np.array_equal(read(path)[2].q, q[2])


def test_the_axis_of_q_may_be_the_first_one(path):
    write_group(path, Q, FRAMES.T, FRAMES.T, q_units="1/nm", I_axes="Q,Time", Q_indices=[0])
    samples = read(path)
    assert len(samples) == 3
    assert np.array_equal(samples[1].intensity, FRAMES[1])
    assert np.array_equal(samples[1].sigma, FRAMES[1])


def test_further_axes_are_counted_through(path):
    write_group(path, Q, np.ones((2, 4, 20)), q_units="1/nm", I_axes=["Time", "Position", "Q"])
    assert len(read(path)) == 8


def test_entries_and_subentries_are_all_read_in_the_order_of_their_paths(path):
    for k, group in enumerate(["entry/sub1/sasdata", "entry/sub2/sasdata", "other/sasdata"]):
        write_group(path, intensity=FRAMES[k], group=group, q_units="1/A")
    samples = read(path)
    assert [sample.id for sample in samples] == ["stack.h5#0", "stack.h5#1", "stack.h5#2"]
    assert all(np.array_equal(s.intensity, FRAMES[k]) for k, s in enumerate(samples))


def test_uncertainties_are_those_that_the_intensity_names(path):
    write_group(path, sigma=FRAMES[2], sigma_name="errors", q_units="1/nm")
    with h5py.File(path, "a") as file:
        file["entry/data/Idev"] = FRAMES[1]
    assert np.array_equal(read(path)[0].sigma, FRAMES[2])


@pytest.mark.parametrize(
    ("holder", "key"),
    [
        ("I", "uncertainties"),
        ("I", "uncertainty"),
        (".", "I_uncertainties"),
        (".", "I_uncertainty"),
    ],
)
def test_uncertainties_may_be_named_in_several_ways(path, holder, key):
    write_group(path, q_units="1/nm")
    with h5py.File(path, "a") as file:
        file["entry/data/other"] = FRAMES[2]
        file["entry/data"][holder].attrs[key] = "other"
        file["entry/data/Idev"] = FRAMES[1]
    assert np.array_equal(read(path)[0].sigma, FRAMES[2])


@pytest.mark.parametrize("name", ["Idev", "I_errors", "errors", "I_uncertainties"])
def test_uncertainties_of_a_usual_name_need_not_be_named(path, name):
    write_group(path, q_units="1/nm")
    with h5py.File(path, "a") as file:
        file["entry/data"][name] = FRAMES[1]
    assert np.array_equal(read(path)[0].sigma, FRAMES[1])


@pytest.mark.parametrize("key", ["units", "unit"])
@pytest.mark.parametrize("spelled", ["1/A", "A^-1", "1/angstrom", "Å⁻¹", b"1/A"])
def test_the_unit_of_q_may_be_spelled_in_several_ways(path, key, spelled):
    write_group(path)
    with h5py.File(path, "a") as file:
        file["entry/data/Q"].attrs[key] = spelled
    assert read(path)[0].origin.q_unit == "1/angstrom"
    assert read(path)[0].origin.q_unit_from == "metadata"


@pytest.mark.parametrize(
    "attributes",
    [{"I_axes": "q"}, {"I_axes": ["q"]}, {"I_axes": "", "axes": ["q"]}, {"I_axes": ""}],
)
def test_q_may_be_named_in_lower_case_with_any_list_of_axes(path, attributes):
    write_group(path, q_units="1/nm", **attributes)
    with h5py.File(path, "a") as file:
        file.move("entry/data/Q", "entry/data/q")
    assert np.array_equal(read(path)[0].q, Q)


@pytest.mark.parametrize("attributes", [{"NX_class": "SASdata"}, {"canSAS_class": b"SASdata"}])
def test_a_sasdata_may_be_marked_in_several_ways(path, attributes):
    write_group(path, q_units="1/nm")
    with h5py.File(path, "a") as file:
        del file["entry/data"].attrs["canSAS_class"]
        file["entry/data"].attrs.update(attributes)
    assert len(read(path)) == 1


@pytest.mark.parametrize("axes", ["Q", ""])
@pytest.mark.parametrize("frames_first", [True, False])
def test_where_axes_are_not_all_listed_q_goes_where_its_length_fits(path, axes, frames_first):
    intensity = FRAMES if frames_first else FRAMES.T
    write_group(path, Q, intensity, intensity, q_units="1/nm", I_axes=axes)
    samples = read(path)
    assert len(samples) == 3
    assert np.array_equal(samples[1].intensity, FRAMES[1])
    assert np.array_equal(samples[1].sigma, FRAMES[1])


def test_where_two_axes_have_the_length_of_q_its_indices_decide_or_it_is_the_last(path):
    square = np.arange(400.0).reshape(20, 20)
    write_group(path, Q, square, q_units="1/nm", I_axes="Q")
    assert np.array_equal(read(path)[3].intensity, square[3])
    for indices in (0, [0], "0", np.array([0])):
        with h5py.File(path, "a") as file:
            file["entry/data"].attrs["Q_indices"] = indices
        assert np.array_equal(read(path)[3].intensity, square[:, 3])
    with h5py.File(path, "a") as file:
        file["entry/data"].attrs["I_axes"] = ["Time", "Q"]
    with pytest.raises(ReadError, match="q is axis 0 and that it is axis 1"):
        read(path)


@pytest.mark.parametrize("q_unit", [None, "1/nm"])
def test_a_q_in_degrees_is_refused_whatever_the_caller_says(path, q_unit):
    write_group(path, q_units="deg")
    with pytest.raises(ReadError, match="that is an angle; convert it to q first"):
        read(path, q_unit=q_unit)


def test_resolutions_that_are_zero_say_nothing_and_do_no_harm(path):
    write_group(path, q_units="1/nm")
    with h5py.File(path, "a") as file:
        file["entry/data/Q"].attrs["resolutions"] = "Qdev"
        file["entry/data/Qdev"] = np.zeros(5)
    assert read(path)[0].origin.metadata == {}


def test_a_curve_that_two_groups_share_is_read_once(path):
    write_group(path, q_units="1/nm")
    with h5py.File(path, "a") as file:
        copy = file.create_group("entry/again")
        copy.attrs.update({"canSAS_class": "SASdata", "I_axes": "Q"})
        copy["Q"], copy["I"] = h5py.SoftLink("/entry/data/Q"), file["entry/data/I"]
    assert len(read(path)) == 1


def test_without_a_unit_it_is_guessed(path):
    write_group(path)
    assert read(path)[0].origin.q_unit_from == "guess"


def test_an_unknown_stated_unit_is_refused_unless_the_caller_names_one(path):
    write_group(path, q_units="1/cm")
    with pytest.raises(ReadError, match="gives q in '1/cm'"):
        read(path)
    assert read(path, q_unit="1/nm")[0].origin.q_unit_from == "argument"


def test_compression_by_a_plugin_is_read(path):
    with h5py.File(path, "w") as file:
        entry = file.create_group("entry")
        entry.attrs["canSAS_class"] = "SASdata"
        entry.create_dataset("Q", data=Q)
        entry.create_dataset("I", data=FRAMES, **hdf5plugin.Bitshuffle())
    assert np.array_equal(read(path)[1].intensity, FRAMES[1])


def test_a_soft_link_within_the_file_is_followed(path):
    write_group(path, q_units="1/nm")
    with h5py.File(path, "a") as file:
        del file["entry/data/Q"]
        file["axis"] = Q
        file["way"] = h5py.SoftLink("/axis")
        file["entry/data/Q"] = h5py.SoftLink("/way")
    assert np.array_equal(read(path, q_unit="1/nm")[0].q, Q)


def test_nothing_outside_the_file_is_read(path, tmp_path):
    other = write_group(tmp_path / "other.h5", q_units="1/nm")
    virtual = h5py.VirtualLayout(shape=(20,), dtype=float)
    virtual[:] = h5py.VirtualSource(str(other), "entry/data/Q", shape=(20,))
    external_storage = [(str(tmp_path / "raw.bin"), 0, 160)]
    (tmp_path / "raw.bin").write_bytes(Q.tobytes())
    for kind in ("external link", "soft link outside", "loop", "virtual", "storage", "dangling"):
        path.unlink(missing_ok=True)
        write_group(path, q_units="1/nm")
        with h5py.File(path, "a") as file:
            group = file["entry/data"]
            del group["Q"]
            file["outside"] = h5py.ExternalLink(str(other), "/entry/data")
            if kind == "external link":
                group["Q"] = h5py.ExternalLink(str(other), "/entry/data/Q")
            elif kind == "virtual":
                group.create_virtual_dataset("Q", virtual)
            elif kind == "storage":
                group.create_dataset("Q", (20,), float, external=external_storage)
            else:
                targets = {"soft link outside": "/outside/Q", "loop": "/entry/data/Q"}
                group["Q"] = h5py.SoftLink(targets.get(kind, "/nowhere"))
        with pytest.raises(ReadError, match="refers in /entry/data/Q to another file"):
            read(path)


def test_an_image_is_left_out_and_refused_where_it_is_all_there_is(path):
    image = {"q": np.ones((20, 20)), "intensity": np.ones((20, 20)), "I_axes": ["Q", "Q"]}
    write_group(path, group="entry/image", **image)
    with pytest.raises(ReadError, match="two-dimensional image"):
        read(path)
    write_group(path, q_units="1/nm")
    assert len(read(path)) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"q": Q[:5]}, r"q of shape \(5,\) for intensities of shape \(20,\)"),
        ({"sigma": Q[:5]}, "but uncertainties of"),
        ({"intensity": np.array([b"a"] * 20)}, "expected real numbers"),
        ({"intensity": 5.0}, "single number"),
        ({"q": np.empty(0), "intensity": np.empty(0)}, "holds no points"),
        ({"signal": "J"}, "has no dataset 'J'"),
    ],
)
def test_data_that_are_no_curve_are_refused_with_their_reason(path, content, reason):
    with pytest.raises(ReadError, match=reason):
        read(write_group(path, **content))


def test_an_absurd_declared_size_is_refused_before_memory_is_taken(path):
    write_group(path)
    with h5py.File(path, "a") as file:
        del file["entry/data/I"]
        file["entry/data"].create_dataset("I", (10**9, 20), float, chunks=(1000, 20))
    with pytest.raises(ReadError, match="declares"):
        read(path)


def test_hdf5_without_cansas_data_is_refused(path):
    with h5py.File(path, "w") as file:
        file["numbers"] = Q
    with pytest.raises(ReadError, match="HDF5 file without canSAS data"):
        read(path)


@pytest.mark.parametrize("kept", [10, 100, 1000, -1000, -100])
def test_a_truncated_file_is_refused(path, kept):
    write_stack(path, Q, FRAMES, FRAMES, title="t")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ReadError, match="damaged HDF5 file, or cut off"):
        read(path)


MEASURED = [
    "nxcansas/bad1.h5",
    "nxcansas/sample1.h5",
    "sasdata/33837rear_1D_1.75_16.5_NXcanSAS.h5",
    "sasdata/33837rear_1D_1.75_16.5_NXcanSAS_v3.h5",
    "sasdata/Lew_Sa3_DSM_QinA.h5",
    "sasdata/simpleexamplefile.h5",
]


@pytest.mark.skipif(not DATA.is_dir(), reason="the measured data are not there: ../shared/data")
@pytest.mark.parametrize("name", MEASURED)
def test_files_of_other_writers_have_the_numbers_that_sasdata_reads(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loader = pytest.importorskip("sasdata.dataloader.loader", reason="it is not installed")
        # It reads one curve of each file, sorts it by q, and rounds as it converts units.
        (expected,) = loader.Loader().load(str(DATA / "formats" / name))
    sample = read(DATA / "formats" / name)[0]
    order = np.argsort(sample.q, kind="stable")
    assert sample.q[order] == pytest.approx(10.0 * expected.x, rel=1e-14)
    assert sample.intensity[order] == pytest.approx(expected.y, rel=1e-14)
    assert (sample.sigma is None) == (expected.dy is None)
    assert sample.sigma is None or sample.sigma[order] == pytest.approx(expected.dy, rel=1e-14)


@pytest.mark.skipif(not DATA.is_dir(), reason="the measured data are not there: ../shared/data")
@pytest.mark.parametrize("name", MEASURED)
def test_files_of_other_writers_have_the_numbers_that_stand_in_them(name):
    found = []
    with h5py.File(DATA / "formats" / name) as file:
        file.visititems(
            lambda _, member: found.append(member) if "I_axes" in member.attrs else None
        )
        samples = read(DATA / "formats" / name)
        assert len(samples) == len(found)
        for sample, group in zip(samples, found, strict=True):
            assert np.array_equal(sample.q, group["Q"][...] * 10.0)
            assert np.array_equal(sample.intensity, group["I"][...])
            assert (sample.sigma is None) == ("Idev" not in group)
            assert sample.sigma is None or np.array_equal(sample.sigma, group["Idev"][...])


@pytest.mark.skipif(not DATA.is_dir(), reason="the measured data are not there: ../shared/data")
@pytest.mark.parametrize(
    ("name", "curves", "points", "last_q"),
    [
        ("nxcansas/bad1.h5", 1, 514, 3.0),
        ("nxcansas/sample1.h5", 2, 523, 3.0),
        ("sasdata/33837rear_1D_1.75_16.5_NXcanSAS.h5", 1, 66, 6.189),
        ("sasdata/33837rear_1D_1.75_16.5_NXcanSAS_v3.h5", 1, 66, 6.189),
        ("sasdata/Lew_Sa3_DSM_QinA.h5", 1, 490, 16.36),
        ("sasdata/simpleexamplefile.h5", 1, 100, 0.04695),
    ],
)
def test_files_of_other_writers_are_read(name, curves, points, last_q):
    samples = read(DATA / "formats" / name)
    assert len(samples) == curves
    assert len(samples[0].q) == points
    assert samples[0].q[-1] == pytest.approx(last_q, rel=1e-3)
    assert samples[0].origin.q_unit == "1/angstrom"
    assert samples[0].origin.q_unit_from == "metadata"
