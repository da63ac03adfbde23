"""Whatever a file holds, it ends in curves or in a ReadError: without a warning, and in little.

More cases of every reader, and those that could crash HDF5's library: ``tests/io/fuzzing.py``.
"""

import importlib
import io
import lzma
import pkgutil
import struct
import tracemalloc
import zipfile

import fuzzing
import fuzzing_seeds
import h5py
import numpy as np
import pytest

import gpusaxs.io
from gpusaxs.errors import LONGEST_REASON, ReadError
from gpusaxs.io import extent, read
from gpusaxs.io.recognise import readers

CASES = 1000
MEASURED_BYTES = 4000
MOST_BYTES = 2**28
NAMES = [reader.NAME for reader in readers()]


reader_named = fuzzing.reader_named


@pytest.mark.parametrize("name", NAMES)
def test_every_reader_has_a_seed(name):
    assert fuzzing_seeds.seeds(reader_named(name))


def test_every_format_is_that_of_some_seed(tmp_path):
    modules = [
        importlib.import_module(f"gpusaxs.io.{module.name}")
        for module in pkgutil.iter_modules(gpusaxs.io.__path__)
    ]
    formats = {module.FORMAT for module in modules if hasattr(module, "FORMAT")}
    # What is in an archive, or in HDF5, has the format of its own.
    formats |= {name for name in NAMES if name not in ("packed", "hdf5")}
    met = set()
    for number, seed in enumerate(fuzzing_seeds.made()):
        path = tmp_path / f"seed{number}"
        path.write_bytes(seed.content)
        try:
            met |= {sample.origin.format for sample in read(path)}
        except ReadError:
            assert seed.name in REFUSED
    assert formats <= met


REFUSED = ("angle", "image", "whole numbers", "zip, stored", "tar of several formats")


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_end_in_curves_or_in_a_reason(name, tmp_path):
    # To open a file three times takes long in HDF5.
    every = 4 if name == "hdf5" else 1
    numbers = range(CASES)
    tally = fuzzing.run_cases(
        reader_named(name), tmp_path, numbers, largest=MEASURED_BYTES, parts_of_every=every
    )
    assert tally.cases == CASES
    assert not tally.findings, "\n".join(tally.findings.values())
    # The damages are not so hard that all files are refused, nor so slight that none is.
    assert 0.02 * CASES < tally.outcomes["curves"] < 0.95 * CASES


@pytest.mark.parametrize("name", NAMES)
def test_small_damaged_files_take_little_memory(name, tmp_path):
    reader = reader_named(name)
    files = fuzzing_seeds.seeds(reader)
    tracemalloc.start()
    try:
        for number in range(40):
            case, content = fuzzing.damaged_file(reader, files, 2, number, False)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            fuzzing.run_case(tmp_path, number, case, content, fuzzing.Tally())
            assert tracemalloc.get_traced_memory()[1] - before < MOST_BYTES, case
    finally:
        tracemalloc.stop()


def header(shape, descr="<f8"):
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def declared(number):
    """HDF5 file of one curve whose datasets declare a number of points and store none."""
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        data = file.create_group("entry/data")
        data.attrs.update({"canSAS_class": "SASdata", "signal": "I", "I_axes": "Q"})
        data.create_dataset("Q", (number,), "f8", chunks=(1000,))
        data.create_dataset("I", (number,), "i1", chunks=(1000,))
    return image.getvalue()


def many_curves(number):
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        data = file.create_group("entry/data")
        data.attrs.update({"canSAS_class": "SASdata", "signal": "I", "I_axes": "frame,Q"})
        data["Q"] = [0.1]
        data.create_dataset("I", (number, 1), "i1", chunks=(1000, 1))
    return image.getvalue()


def series(number, *, own_q):
    image = io.BytesIO()
    with h5py.File(image, "w") as file:
        file.attrs["file_type"] = "RAW_Series"
        profiles = file.create_group("profiles")
        profiles.create_dataset("000000", (number, 3 if own_q else 2), "f8", chunks=(1000, 1))
        for frame in range(1, 9):
            profiles[f"{frame:06d}"] = profiles["000000"]
        if not own_q:
            profiles.create_dataset("q", (number,), "f8", chunks=(1000,))
    return image.getvalue()


GREEDY = {
    "npy": header((3, 2**40)),
    "npy of two large axes": header((2**32, 2**32)),
    "npy of long texts": header((1,), "<U99999999"),
    "npy with a long header": b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b" " * 200,
    "npz": fuzzing_seeds.zipped({"q.npy": header((2**28,)), "intensity.npy": header((2**28,))}),
    "HDF5 of 2^27 points": declared(2**27),
    "HDF5 of 2^40 points": declared(2**40),
    "HDF5 of 2^24 curves": many_curves(2**24),
    "RAW series with a q for all": series(2**26, own_q=False),
    "RAW series with a q each": series(2**26, own_q=True),
}


@pytest.mark.parametrize("name", GREEDY)
def test_a_small_file_that_declares_much_is_refused_before_memory_is_taken(name, tmp_path):
    path = tmp_path / "greedy"
    path.write_bytes(GREEDY[name])
    tracemalloc.start()
    try:
        for asked in (read, extent):
            with pytest.raises(ReadError):
                asked(path)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def test_the_same_numbers_give_the_same_damaged_file():
    for reader in readers():
        files = fuzzing_seeds.seeds(reader)
        first, again = (fuzzing.damaged_file(reader, files, 1, 5, False) for _ in range(2))
        assert first == again


# What was found so


def test_a_long_row_of_digits_in_the_header_of_a_pdh_is_no_riddle(tmp_path):
    [seed] = [seed for seed in fuzzing_seeds.made() if seed.name == "pdh"]
    path = tmp_path / "digits.pdh"
    path.write_bytes(seed.content.replace(b"3.068000E+02", b"9" * 400))
    assert fuzzing.check_case(path) == "curves"
    path.write_bytes(seed.content.replace(b"1.542000E-01", b"9" * 400 + b"x"))
    fuzzing.check_case(path)


@pytest.mark.parametrize("blank", [" ", "\t", "\n"])
def test_many_blanks_behind_a_unit_in_a_header_are_no_riddle(blank, tmp_path):
    path = tmp_path / "blanks.dat"
    path.write_text(f"# q nm{blank * 20_000}\n0.1 3\n0.2 2\n0.3 1\n", encoding="utf-8")
    assert fuzzing.check_case(path) == "curves"


def test_a_q_too_large_for_its_unit_is_infinite_without_a_warning(tmp_path):
    path = tmp_path / "large.dat"
    path.write_text("# q(1/A) I\n0.1 3\n0.2 2\n1e308 1\n", encoding="utf-8")
    [sample] = read(path)
    assert np.isinf(sample.q[2])


def test_a_npy_header_of_python_2_is_read_without_a_warning(tmp_path):
    numbers = np.arange(12.0).reshape(2, 6)
    path = tmp_path / "old.npy"
    path.write_bytes(header("(2L, 6L)") + numbers.tobytes())
    [sample] = read(path)
    assert np.array_equal(sample.intensity, numbers[1])


@pytest.mark.parametrize("shape", [r"(2, '\d')", "(2, 6if 1 else 2)"])
def test_a_npy_header_at_which_python_would_warn_is_refused(shape, tmp_path):
    path = tmp_path / "strange.npy"
    path.write_bytes(header(shape) + bytes(96))
    with pytest.raises(ReadError, match="its header is"):
        read(path)


def test_signalling_nans_and_numbers_beyond_float64_are_read_without_a_warning(tmp_path):
    table = np.array([[0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4]], np.float32)
    bits = table.view(np.uint32)
    bits[1, 2] = 0x7F800001
    np.save(tmp_path / "nan.npy", table)
    assert np.isnan(read(tmp_path / "nan.npy")[0].intensity[2])
    long = np.array([[0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4]], np.longdouble)
    long[1, 2] = np.longdouble("1e4000") if np.finfo(np.longdouble).max > 1e308 else np.inf
    np.save(tmp_path / "long.npy", long)
    assert np.isinf(read(tmp_path / "long.npy")[0].intensity[2])


def test_a_unit_that_is_no_text_in_an_npz_leaves_the_unit_open(tmp_path):
    path = tmp_path / "unit.npz"
    unit = fuzzing_seeds.saved(np.array("1/A"))[:-12] + b"\xff" * 12
    q, intensity = np.linspace(0.1, 0.4, 5), np.arange(5.0)
    members = {"q.npy": q, "i.npy": intensity}
    content = {name: fuzzing_seeds.saved(array) for name, array in members.items()}
    path.write_bytes(fuzzing_seeds.zipped({**content, "unit.npy": unit}))
    assert read(path)[0].origin.q_unit_from == "guess"


@pytest.mark.parametrize("shape", [(2**40,), (2**70,), (0,), (2, 2)])
def test_a_unit_of_any_shape_in_an_npz_is_read_without_memory_for_it(shape, tmp_path):
    path = tmp_path / "unit.npz"
    members = {"q.npy": np.linspace(0.1, 0.4, 5), "i.npy": np.arange(5.0)}
    content = {name: fuzzing_seeds.saved(array) for name, array in members.items()}
    path.write_bytes(fuzzing_seeds.zipped({**content, "unit.npy": header(shape, "<U3")}))
    assert fuzzing.check_case(path) == "curves"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_npz_packed_in_ways_that_numpy_has_not_is_refused(method, tmp_path):
    path = tmp_path / "other.npz"
    arrays = {"q.npy": np.linspace(0.1, 0.4, 5), "intensity.npy": np.arange(5.0)}
    members = {name: fuzzing_seeds.saved(array) for name, array in arrays.items()}
    path.write_bytes(fuzzing_seeds.zipped(members, method))
    with pytest.raises(ReadError, match=f"packed by the method {method} of zip"):
        read(path)


@pytest.mark.parametrize("kind", ["NumPy file", "zip archive"])
def test_a_zip_whose_places_are_damaged_is_called_damaged_and_not_unopenable(kind, tmp_path):
    path = tmp_path / "place.zip"
    names = ("q.npy", "intensity.npy") if kind == "NumPy file" else ("a.txt", "b.txt")
    intact = fuzzing_seeds.zipped({name: fuzzing_seeds.saved(np.arange(5.0)) for name in names})
    damaged = bytearray(intact)
    size_of_the_directory = intact.index(b"PK\x05\x06") + 12
    struct.pack_into("<I", damaged, size_of_the_directory, 2**31)
    path.write_bytes(bytes(damaged))
    with pytest.raises(ReadError, match=f"is a damaged {kind}"):
        read(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_encoding_of_xml_at_which_python_would_warn_is_refused(encoding, tmp_path):
    path = tmp_path / "escaped.xml"
    text = "<?xml version='1.0' encoding='unicode_escape'?><SASroot>\\]</SASroot>"
    path.write_text(text, encoding=encoding)
    with pytest.raises(ReadError, match="is damaged XML"):
        read(path)


@pytest.mark.parametrize("layout", ["NXcanSAS", "NXdata", "RAW series", "RAW series with a q each"])
def test_numbers_of_hdf5_beyond_float64_are_read_without_a_warning(layout, tmp_path):
    [seed] = [seed for seed in fuzzing_seeds.made() if seed.name == layout]
    path = tmp_path / "long.h5"
    path.write_bytes(seed.content)
    with h5py.File(path, "r+") as file:
        datasets = []
        file.visititems(lambda _, found: datasets.append(found))
        for found in datasets:
            if isinstance(found, h5py.Dataset) and found.dtype == "f8":
                name, attributes = found.name, dict(found.attrs)
                del file[name]
                file[name] = np.full(found.shape, np.longdouble("1e4000"))
                file[name].attrs.update(attributes)
    assert fuzzing.check_case(path) == "curves"


def test_soft_links_that_lead_through_each_other_again_and_again_come_to_an_end(tmp_path):
    path = tmp_path / "links.h5"
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs.update({"canSAS_class": "SASdata", "signal": "I", "I_axes": "Q"})
        data["I"] = data["numbers"] = np.arange(1.0, 6.0)
        data["link0"] = h5py.SoftLink("/data")
        for k in range(1, 15):
            data[f"link{k}"] = h5py.SoftLink("/data/" + "/".join([f"link{k - 1}"] * 9))
        data["Q"] = h5py.SoftLink("link14/numbers")
    with pytest.raises(ReadError, match="refers in /data/Q to"):
        read(path)


def test_a_name_in_hdf5_that_is_no_text_is_no_frame_of_a_series(tmp_path):
    path = tmp_path / "name.h5"
    with h5py.File(path, "w") as file:
        file.attrs["file_type"] = "RAW_Series"
        profiles = file.create_group("profiles")
        profiles["q"], profiles["000000"] = np.arange(1.0, 6.0), np.ones((5, 2))
        profiles[b"\xff\xfe"] = np.ones((5, 2))
    assert fuzzing.check_case(path) == "curves"


def test_a_small_compressed_file_that_becomes_a_large_table_is_refused(tmp_path):
    path = tmp_path / "large.xz"
    path.write_bytes(lzma.compress(b"0.5 2\n" * (2**26 // 6 + 1000), preset=0))
    with pytest.raises(ReadError, match="unpacks to more than 1,000 times its size"):
        read(path)


def test_a_reason_keeps_its_ends_and_not_all_that_it_quotes():
    reason = str(ReadError(f"gives q in {'9' * 5000}: say which one it is"))
    assert len(reason) == LONGEST_REASON
    assert reason.startswith("gives q in 9")
    assert reason.endswith("9: say which one it is")
