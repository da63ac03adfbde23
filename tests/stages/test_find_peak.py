"""The find_peak stage: its requests, what it keeps of a search, and its parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.signal
from gpusaxs.kernels import peak_table as table
from numpy.typing import NDArray
from pydantic import ValidationError

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import MAX_PEAKS, SampleBatch
from gpusaxs.sample import CurveStatus, Origin, Sample
from gpusaxs.stages.find_peak import FindPeak

Q = np.linspace(0.1, 3.0, 300)


def lines(*positions: float) -> NDArray[np.float64]:
    """Gaussian lines on zero; the first is the highest."""
    heights = 100.0 / np.arange(1.0, len(positions) + 1)
    profiles = np.exp(-((Q[:, None] - np.array(positions)) ** 2) / (2 * 0.03**2))
    total: NDArray[np.float64] = (heights * profiles).sum(axis=1)
    return total


def batch_of(*curves: NDArray[np.float64], workers: int = 1) -> SampleBatch:
    ids = [f"curve {i}" for i in range(len(curves))]
    slope = 1e-3 * Q
    intensity = np.stack(curves) + slope
    return SampleBatch.from_arrays(
        ids, Q, intensity, np.ones_like(intensity), NumpyBackend(workers)
    )


def test_curves_with_a_peak_left_ask_for_process_peak() -> None:
    batch = batch_of(lines(1.0), lines(), lines(0.5, 2.0))
    requests = FindPeak().launch(batch, np.arange(3))
    assert list(requests) == ["process_peak"]
    assert requests["process_peak"].tolist() == [0, 2]
    assert batch.n_candidates.tolist() == [1, 0, 2]


def test_the_highest_peak_is_the_current_one() -> None:
    batch = batch_of(lines(2.0, 0.5, 1.2))
    FindPeak().launch(batch, np.arange(1))
    [sample] = batch.to_samples()
    metadata = sample.metadata
    assert metadata is not None
    assert metadata.current_peak == metadata.unprocessed_peaks[0]
    found = [Q[peak.index] for peak in metadata.unprocessed_peaks]
    np.testing.assert_allclose(found, [2.0, 0.5, 1.2], atol=0.01)


def test_only_the_curves_of_the_launch_are_searched() -> None:
    batch = batch_of(lines(1.0), lines(1.0), lines(1.0))
    requests = FindPeak().launch(batch, np.array([2, 1]))
    assert requests["process_peak"].tolist() == [2, 1]
    assert batch.n_candidates.tolist() == [0, 1, 1]


def test_points_that_were_cut_off_are_not_searched_and_indices_count_from_the_measured_start() -> (
    None
):
    batch = batch_of(lines(0.5, 2.0))
    batch.start[:] = 100
    FindPeak().launch(batch, np.arange(1))
    assert batch.n_candidates.tolist() == [1]
    assert Q[int(batch.candidates[0, 0, table.INDEX])] == pytest.approx(2.0, abs=0.01)


def test_without_noise_the_conditions_are_those_of_scipy() -> None:
    rng = np.random.default_rng(2)
    curves = rng.normal(size=(20, 300)).cumsum(axis=1)
    batch = batch_of(*curves)
    conditions: dict[str, Any] = {
        "height": (-20.0, 20.0),
        "threshold": 0.01,
        "distance": 12.0,
        "prominence": (1.0, None),
        "width": (None, 60.0),
        "wlen": 101.0,
    }
    stage = FindPeak(**conditions, height_noise=None, prominence_noise=None, growth=None)
    stage.launch(batch, np.arange(20))
    for row in range(20):
        expected, _ = scipy.signal.find_peaks(batch.search[row], **conditions)
        found = batch.candidates[row, : batch.n_candidates[row], table.INDEX]
        assert sorted(found) == expected.tolist()


def test_a_processed_peak_is_not_found_again() -> None:
    batch = batch_of(lines(0.5, 2.0))
    FindPeak().launch(batch, np.arange(1))
    batch.peaks[0, 0, table.INDEX] = batch.candidates[0, 0, table.INDEX]
    batch.n_peaks[:] = 1
    FindPeak().launch(batch, np.arange(1))
    assert batch.n_candidates.tolist() == [1]
    assert Q[int(batch.candidates[0, 0, table.INDEX])] == pytest.approx(2.0, abs=0.01)


def take_away(batch: SampleBatch, row: int, position: float, height: float, fwhm: float) -> None:
    """Do what a perfect fit of the current peak of a curve does."""
    line = batch.peaks[row, batch.n_peaks[row]]
    line[table.INDEX] = batch.candidates[row, 0, table.INDEX]
    line[[table.Q, table.HEIGHT, table.FWHM]] = position, height, fwhm
    line[table.VALUE] = height
    batch.n_peaks[row] += 1
    batch.search[row] -= height * np.exp2(-((2.0 * (Q - position) / fwhm) ** 2))


def test_peaks_that_wait_are_those_that_a_search_of_the_curve_finds() -> None:
    rng = np.random.default_rng(7)
    waited = 0
    for _ in range(20):
        positions = rng.uniform(0.2, 2.9, 5)
        heights = np.exp(rng.uniform(np.log(8.0), np.log(400.0), 5))
        profiles = np.exp2(-((2.0 * (Q - positions[:, None]) / 0.05) ** 2))
        batch = batch_of(heights @ profiles + rng.normal(0.0, 0.7, Q.size))
        FindPeak().launch(batch, np.arange(1))
        while batch.n_candidates[0]:
            current = Q[int(batch.candidates[0, 0, table.INDEX])]
            nearest = int(np.argmin(abs(positions - current)))
            take_away(batch, 0, positions[nearest], heights[nearest], 0.05)
            before = set(batch.candidates[0, 1 : batch.n_candidates[0], table.INDEX])
            searched = batch_of(np.zeros_like(Q))
            for name in ("search", "noise", "peaks", "n_peaks"):
                getattr(searched, name)[:] = getattr(batch, name)
            FindPeak().launch(searched, np.arange(1))
            FindPeak().launch(batch, np.arange(1))
            found = searched.candidates[0, : searched.n_candidates[0]]
            if not batch.n_candidates[0]:
                assert not found.size
                break
            first = batch.candidates[0, 0]
            waited += first[table.INDEX] in before
            assert first[:2].tolist() in found[:, :2].tolist()
            if first[table.INDEX] == found[0, table.INDEX]:
                np.testing.assert_array_equal(first, found[0])
    assert waited > 30


def test_a_peak_that_waits_does_not_come_where_a_processed_one_explains_it() -> None:
    batch = batch_of(lines(1.0, 1.15, 2.0))
    FindPeak().launch(batch, np.arange(1))
    assert batch.n_candidates.tolist() == [3]
    take_away(batch, 0, 1.0, 100.0, 0.07)
    batch.peaks[0, 0, table.HEIGHT] = 5000.0
    FindPeak().launch(batch, np.arange(1))
    assert Q[int(batch.candidates[0, 0, table.INDEX])] == pytest.approx(2.0, abs=0.01)
    assert batch.n_candidates.tolist() == [1]


def test_what_a_processed_peak_has_hidden_comes_after_those_that_wait() -> None:
    shoulder = 40.0 * np.exp(-((Q - 1.06) ** 2) / (2 * 0.03**2))
    batch = batch_of(lines(1.0, 2.0, 0.4) + shoulder)
    found = []
    FindPeak().launch(batch, np.arange(1))
    for position, height in ((1.0, 100.0), (2.0, 50.0), (0.4, 100.0 / 3.0), (1.06, 40.0)):
        found.append(Q[int(batch.candidates[0, 0, table.INDEX])])
        take_away(batch, 0, position, height, 2.0 * np.sqrt(2.0 * np.log(2.0)) * 0.03)
        FindPeak().launch(batch, np.arange(1))
    np.testing.assert_allclose(found, [1.0, 2.0, 0.4, 1.06], atol=0.02)
    assert batch.n_candidates.tolist() == [0]


@pytest.mark.parametrize("fwhm", [0.4, 0.05], ids=["hump", "line"])
def test_what_the_tails_of_a_hump_have_put_below_zero_is_found(fwhm: float) -> None:
    other = 50.0 * np.exp(-0.5 * ((Q - 2.0) / 0.03) ** 2)
    batch = batch_of(100.0 * np.exp2(-((2.0 * (Q - 1.0) / fwhm) ** 2)) + other)
    stage = FindPeak(height_noise=3.0, prominence_noise=6.5)
    stage.launch(batch, np.arange(1))
    take_away(batch, 0, 1.0, 100.0, fwhm)
    batch.search[0] -= 80.0
    stage.launch(batch, np.arange(1))
    assert batch.n_candidates[0] == (fwhm > 0.1)


def test_a_processed_peak_is_found_again_where_that_is_asked_for() -> None:
    batch = batch_of(lines(0.5, 2.0))
    FindPeak(again=True).launch(batch, np.arange(1))
    first = batch.candidates[0].copy()
    batch.peaks[0, 0, : first.shape[1]] = first[0]
    batch.n_peaks[:] = 1
    FindPeak(again=True).launch(batch, np.arange(1))
    assert batch.n_candidates.tolist() == [2]
    np.testing.assert_array_equal(batch.candidates[0], first)


def test_a_full_table_of_peaks_ends_the_search_and_the_status_says_so() -> None:
    batch = batch_of(lines(0.5), lines())
    batch.peaks[:, :, table.INDEX] = 299.0
    batch.n_peaks[:] = MAX_PEAKS
    assert FindPeak().launch(batch, np.arange(2))["process_peak"].size == 0
    truncated = [bool(CurveStatus(int(s)) & CurveStatus.PEAKS_TRUNCATED) for s in batch.status]
    assert truncated == [True, False]


def test_results_do_not_depend_on_the_batch_the_order_or_the_workers() -> None:
    rng = np.random.default_rng(4)
    curves = rng.normal(size=(200, 300)).cumsum(axis=1)
    whole = batch_of(*curves, workers=2)
    FindPeak().launch(whole, rng.permutation(200))
    for row in range(0, 200, 17):
        alone = batch_of(curves[row])
        FindPeak().launch(alone, np.arange(1))
        np.testing.assert_array_equal(alone.candidates[0], whole.candidates[row])


def test_the_kernels_conditions_are_made_once_a_stage() -> None:
    stage = FindPeak()
    assert stage._conditions is stage._conditions


def test_a_spike_narrower_than_the_resolution_that_a_curve_has_of_its_own_is_no_peak() -> None:
    spike = 200.0 * np.exp(-((Q - 2.0) ** 2) / (2 * 0.01**2))
    said: list[dict[str, float]] = [
        {"resolution": 0.06, "relative_resolution": 0.0},
        {"relative_resolution": 0.03},
        {"resolution": 0.001, "relative_resolution": 0.001},
        {},
    ]
    curve = Sample("line and spike", Q, lines(1.0) + spike + 1e-3 * Q, np.ones_like(Q))
    samples = [replace(curve, origin=Origin(metadata=metadata)) for metadata in said]

    def found(**parameters: Any) -> list[int]:
        batch = SampleBatch.from_samples(samples, NumpyBackend(1))
        FindPeak(**parameters).launch(batch, np.arange(len(said)))
        counts: list[int] = batch.n_candidates.tolist()
        return counts

    assert found(resolution="data") == [1, 1, 2, 2]
    assert found() == [2, 2, 2, 2]
    assert found(resolution="data", relative_resolution=0.03) == [1, 1, 1, 1]
    assert found(resolution=0.06) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"resolution": "file"}, "Input should be 'data'"),
        ({"resolution": float("nan")}, "greater than or equal to 0"),
        ({"distance": 0.5}, "greater than or equal to 1"),
        ({"wlen": 1.0}, "greater than 1"),
        ({"growth": 1.0}, "greater than 1"),
        ({"resolution": -0.1}, "greater than or equal to 0"),
        ({"height_noise": -1.0}, "greater than or equal to 0"),
        ({"height": (3.0, 2.0)}, "the lowest value before the highest; got 3.0 and 2.0"),
        ({"prominence": float("nan")}, "the lowest value before the highest; got nan"),
        ({"hight": 3.0}, "Extra inputs"),
    ],
)
def test_parameters_without_sense_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FindPeak(**parameters)


def test_the_stage_asks_for_process_peak_or_the_one_that_is_named() -> None:
    assert FindPeak().targets == ("process_peak",)
    assert FindPeak().name == "find_peak"
    other = FindPeak(asks_for="classic_peak")
    assert other.targets == ("classic_peak",)
    assert other.launch(batch_of(lines(1.0)), np.arange(1))["classic_peak"].tolist() == [0]
