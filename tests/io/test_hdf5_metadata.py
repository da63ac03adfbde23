"""What HDF5 files say of their curves beside the numbers."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from gpusaxs.io import read

DATA = Path(__file__).parents[3] / "shared" / "data" / "formats"
Q = np.linspace(0.01, 0.3, 8)
FRAMES = np.exp(-np.outer([1.0, 2.0, 3.0], Q))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "said.h5"


def write_file(path, frames=FRAMES, said=None, classes=None):
    """One NXdata in an entry; ``said`` are datasets by their path, with their units."""
    with h5py.File(path, "w") as file:
        data = file.create_group("entry/data")
        file["entry"].attrs["NX_class"] = "NXentry"
        axes = [*["."] * (frames.ndim - 1), "q"]
        data.attrs.update({"NX_class": "NXdata", "signal": "I", "axes": axes})
        data["q"], data["I"] = Q, frames
        data["q"].attrs["units"] = "1/nm"
        for place, (value, unit) in (said or {}).items():
            file[f"entry/{place}"] = value
            if unit:
                file[f"entry/{place}"].attrs["units"] = unit
        for place, name in ({"sample": "NXsample"} | (classes or {})).items():
            file.require_group(f"entry/{place}").attrs["NX_class"] = name
    return path


def metadata(path, **options):
    return [dict(sample.origin.metadata) for sample in read(path, **options)]


def test_an_entry_its_sample_and_its_detector_say_it_for_all_frames(path):
    said = {
        "title": ("a title", ""),
        "start_time": ("2024-10-11T17:54:52", ""),
        "sample/name": (np.array([b"a sample"]), ""),
        "sample/thickness": (0.1, "cm"),
        "sample/transmission": ([0.5], ""),
        "sample/temperature": (293.15, "K"),
        "sample/concentration": (5.0, "g/l"),
        "instrument/detector/count_time": (500, "ms"),
    }
    classes = {"instrument": "NXinstrument", "instrument/detector": "NXdetector"}
    assert metadata(write_file(path, said=said, classes=classes)) == 3 * [
        {
            "title": "a title",
            "time": "2024-10-11T17:54:52",
            "sample": "a sample",
            "thickness": 1.0,
            "transmission": 0.5,
            "temperature": 20.0,
            "concentration": 5.0,
            "exposure": 0.5,
        }
    ]


def test_an_array_with_a_value_for_every_frame_is_told_apart(path):
    said = {
        "sample/name": (["a", "", "c"], ""),
        "sample/temperature": ([20.0, np.nan, 22.0], "C"),
        "sample/transmission": (np.ones(7), ""),
        "title": ("a title", ""),
    }
    expected = [
        {"title": "a title", "sample": "a", "temperature": 20.0},
        {"title": "a title"},
        {"title": "a title", "sample": "c", "temperature": 22.0},
    ]
    assert metadata(write_file(path, said=said)) == expected
    for start in range(4):
        for stop in range(start, 4):
            assert metadata(path, frames=range(start, stop)) == expected[start:stop]


def test_an_array_over_the_axes_of_a_scan_is_counted_like_the_frames(path):
    grid = np.arange(6.0).reshape(2, 3)
    frames = np.ones((2, 3, 8))
    write_file(path, frames, {"sample/temperature": (grid, "C")})
    assert [said["temperature"] for said in metadata(path)] == list(range(6))
    assert metadata(path, frames=range(2, 5)) == [{"temperature": k} for k in (2.0, 3.0, 4.0)]


def test_names_of_frames_stand_for_samples_where_no_sample_has_a_name(path):
    names = {"data/frame_name": (["a", "b", "c"], "")}
    assert metadata(write_file(path, said=names)) == [{"sample": name} for name in "abc"]
    write_file(path, said=names | {"sample/name": ("s", "")})
    assert metadata(path) == 3 * [{"sample": "s"}]


def test_many_names_are_those_of_their_frames(path):
    count = 5000
    names = [f"frame {k}" for k in range(count)]
    write_file(path, np.ones((count, 8)), {"data/sample_name": (names, "")})
    assert [said["sample"] for said in metadata(path)] == names
    assert metadata(path, frames=range(4095, 4098)) == [
        {"sample": f"frame {k}"} for k in range(4095, 4098)
    ]


def test_of_several_samples_none_is_taken(path):
    said = {"sample/name": ("a", ""), "other/name": ("b", "")}
    assert metadata(write_file(path, said=said, classes={"other": "NXsample"})) == 3 * [{}]


def test_what_stands_near_goes_before_what_stands_far(path):
    said = {
        "title": ("far", ""),
        "sample/name": ("far", ""),
        "sample/temperature": (20.0, "C"),
        "sub/title": ("near", ""),
        "sub/sample/name": ("near", ""),
    }
    classes = {"sub": "NXsubentry", "sub/sample": "NXsample"}
    write_file(path, said=said, classes=classes)
    with h5py.File(path, "a") as file:
        file.move("entry/data", "entry/sub/data")
    assert metadata(path) == 3 * [{"title": "near", "sample": "near", "temperature": 20.0}]


def test_the_time_at_which_pyfai_ran_is_no_time_of_measurement(path):
    said = {"start_time": ("2024-10-11T17:54:52", ""), "program_name": ("pyFAI", "")}
    assert metadata(write_file(path, said=said)) == 3 * [{}]


@pytest.mark.parametrize(
    ("place", "value", "unit"),
    [
        ("title", 5.0, ""),
        ("title", np.arange(1024, dtype=np.uint8), ""),
        ("sample/temperature", 20.0, ""),
        ("sample/temperature", 20.0 + 1j, "C"),
        ("sample/temperature", np.inf, "C"),
        ("sample/thickness", np.ones((3, 3)), "mm"),
        ("sample/name", h5py.Empty("S10"), ""),
        ("title", np.array(b"x" * 70000), ""),
        ("title/inner", 5.0, ""),
    ],
)
def test_what_says_nothing_or_too_much_is_left_out(path, place, value, unit):
    assert metadata(write_file(path, said={place: (value, unit)})) == 3 * [{}]


def test_what_lies_outside_the_file_is_left_out(path):
    write_file(path)
    with h5py.File(path, "a") as file:
        file["entry/title"] = h5py.ExternalLink("other.h5", "/title")
        file["entry/start_time"] = h5py.SoftLink("/nowhere")
    assert metadata(path) == 3 * [{}]


@pytest.mark.skipif(not DATA.is_dir(), reason="the measured data are not there: ../shared/data")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "nxcansas/sample1.h5",
            {"title": "ac", "sample": "ac", "thickness": 1.68, "temperature": 20.0}
            | {
                "resolution": pytest.approx(5.74e-5, rel=1e-2),
                "relative_resolution": pytest.approx(0.0660, rel=1e-2),
            },
        ),
        (
            "nxcansas/bad1.h5",
            {"title": "5050_0003"}
            | {
                "resolution": pytest.approx(6.02e-5, rel=1e-2),
                "relative_resolution": pytest.approx(0.0657, rel=1e-2),
            },
        ),
        ("sasdata/33837rear_1D_1.75_16.5_NXcanSAS_v3.h5", {"title": "MH4_5deg_16T_SLOW"}),
    ],
)
def test_files_of_other_writers_say_it_too(name, expected):
    assert metadata(DATA / name)[0] == expected
