import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from gpusaxs.errors import ReadError
from gpusaxs.io import Extent, Source, extent, read
from gpusaxs.sample import CurveStatus

DATA = Path(__file__).parents[3] / "shared" / "data" / "formats" / "raw"
Q = np.linspace(0.01, 0.3, 20)
FRAMES = np.exp(-np.outer([1.0, 2.0, 3.0], Q))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "series.hdf5"


def write_series(path, q=Q, profiles=None, parameters=None):
    """A series as RAW writes it, with a group of what was before and an empty buffer."""
    if profiles is None:
        profiles = [np.column_stack([row, 0.1 * row]) for row in FRAMES]
    with h5py.File(path, "w") as file:
        file.attrs["file_type"] = "RAW_Series"
        group = file.create_group("profiles")
        if q is not None:
            group["q"] = q
        for number, profile in enumerate(profiles):
            group[f"{number:06d}"] = profile
            if parameters is not None:
                group[f"{number:06d}"].attrs["parameters"] = parameters
        group["average_buffer_profile"] = np.empty(0)
        group["raw/000000"] = np.zeros((30, 2))
        file["subtracted_profiles/000000"] = np.zeros((20, 2))
    return path


def test_the_profiles_of_a_series_are_its_frames(path):
    samples = read(write_series(path))
    assert [sample.id for sample in samples] == [f"series.hdf5#{k}" for k in range(3)]
    for sample, row in zip(samples, FRAMES, strict=True):
        assert np.array_equal(sample.q, 10.0 * Q)
        assert np.array_equal(sample.intensity, row)
        assert np.array_equal(sample.sigma, 0.1 * row)
        assert sample.origin.format == "raw_series"
    assert extent(Source(path, "any")) == Extent(3, 20)


def test_the_unit_is_not_stored_and_therefore_guessed(path):
    (sample, *_) = read(write_series(path))
    assert sample.origin.q_unit_from == "guess"
    assert sample.status == CurveStatus.Q_UNIT_GUESSED
    assert read(path, q_unit="1/nm")[0].status == CurveStatus.OK


@pytest.mark.parametrize("with_dq", [False, True])
def test_frames_may_have_q_of_their_own(path, with_dq):
    profiles = []
    for k, row in enumerate(FRAMES):
        columns = [Q, row, 0.1 * row] + [0.01 * Q] * with_dq
        profiles.append(np.column_stack(columns)[: 20 - k])
    samples = read(write_series(path, None, profiles))
    assert [len(sample.q) for sample in samples] == [20, 19, 18]
    assert np.array_equal(samples[2].intensity, FRAMES[2][:18])
    assert np.array_equal(samples[2].sigma, 0.1 * FRAMES[2][:18])


def test_a_second_column_of_q_is_its_resolution(path):
    samples = read(write_series(path, np.column_stack([Q, 0.01 * Q])))
    assert np.array_equal(samples[1].q, 10.0 * Q)


@pytest.mark.parametrize("q", [Q, None])
def test_a_slice_is_that_part_of_the_whole(path, q):
    profiles = None
    if q is None:
        profiles = [np.column_stack([Q, row, row]) for row in FRAMES]
    whole = read(write_series(path, q, profiles))
    for start in range(4):
        for stop in range(start, 4):
            part = read(path, frames=range(start, stop))
            assert [sample.id for sample in part] == [s.id for s in whole[start:stop]]
            assert all(
                np.array_equal(a.intensity, b.intensity) and a.origin == b.origin
                for a, b in zip(part, whole[start:stop], strict=True)
            )


def test_frames_are_in_the_order_of_their_numbers(path):
    write_series(path)
    with h5py.File(path, "a") as file:
        for number in ("999999", "1000000"):
            file[f"profiles/{number}"] = np.full((20, 2), float(number))
    assert [sample.intensity[0] for sample in read(path)[3:]] == [999999.0, 1000000.0]


def test_the_parameters_of_a_profile_become_metadata(path):
    parameters = {
        "filename": "A_001.tiff",
        "counters": {"date": "Sat Nov 14 15:03:25 2015"},
        "imageHeader": {"Exposure_time": "500.0 ms"},
    }
    write_series(path, parameters=json.dumps(parameters))
    expected = {"title": "A_001", "time": "2015-11-14T15:03:25", "exposure": 0.5}
    assert read(path)[1].origin.metadata == expected
    write_series(path, parameters='{"imageHeader": {"Exposure time/frame (s)": "2"}}')
    assert read(path)[1].origin.metadata == {"exposure": 2.0}


@pytest.mark.parametrize(
    "parameters", ["", "{", "[1]", '{"counters": 5, "filename": 7}', '{"a":' * 10**5, '"\\ud800"']
)
def test_parameters_that_say_nothing_do_no_harm(path, parameters):
    samples = read(write_series(path, parameters=parameters[:60000]))
    assert samples[0].origin.metadata == {}


def test_a_name_that_is_no_text_is_marked(path):
    write_series(path, parameters=r'{"filename": "a\ud800.tiff"}')
    read(path)[0].origin.metadata["title"].encode("utf-8")


@pytest.mark.parametrize(
    ("q", "profiles", "reason"),
    [
        (Q, [], "a RAW series without profiles"),
        (Q, [np.ones((19, 2))], r"a profile of shape \(19, 2\)"),
        (Q, [np.ones((20, 3))], r"a profile of shape \(20, 3\)"),
        (None, [np.ones((20, 2))], "expected the columns q, intensity and uncertainty"),
        (np.ones((2, 2, 2)), [np.ones((20, 2))], "expected one q a point"),
    ],
)
def test_what_is_no_series_is_refused_with_its_reason(path, q, profiles, reason):
    with pytest.raises(ReadError, match=reason):
        read(write_series(path, q, profiles))


@pytest.mark.skipif(not DATA.is_dir(), reason="the measured data are not there: ../shared/data")
def test_a_series_of_raw_holds_the_profiles_scaled_and_cut_as_they_are_shown():
    path = DATA / "series_with_sasbdb_keywords.hdf5"
    samples = read(path)
    assert len(samples) == 10
    with h5py.File(path) as file:
        profiles = file["profiles"]
        for k, sample in enumerate(samples):
            frame = profiles[f"{k:06d}"]
            first, last = frame.attrs["selected_qrange"]
            before = profiles[f"raw/{k:06d}"][first:last]
            scale, offset = frame.attrs["scale_factor"], frame.attrs["offset_value"]
            q = profiles["raw/q"][first:last] * frame.attrs["q_scale_factor"]
            assert np.array_equal(sample.q, 10.0 * q)
            assert np.array_equal(sample.intensity, before[:, 0] * scale + offset)
            assert np.array_equal(sample.sigma, before[:, 1] * scale)
    assert samples[0].origin.metadata["exposure"] == 1.0
    assert samples[3].origin.metadata["title"] == "GI2_A9_19_001_0003"


@pytest.mark.skipif(not DATA.is_dir(), reason="the measured data are not there: ../shared/data")
def test_a_series_has_the_numbers_of_the_text_files_that_raw_wrote_of_it():
    text = DATA.parents[1] / "series" / "gi" / "GI2_A9_19_001_0000.dat"
    (frame,) = read(text)
    of_series = read(DATA / "series_with_sasbdb_keywords.hdf5")[0]
    assert of_series.intensity == pytest.approx(frame.intensity, rel=1e-6)
