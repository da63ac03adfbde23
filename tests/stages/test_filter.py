"""The filter stage: what it reads, what it writes, and which parameters it accepts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.signal import savgol_filter

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.stages.filter import Filter, savgol_tables

POINTS = 60
METHODS = ["savgol", "moving_average", "median", "none"]


def noisy_batch(curves: int = 3) -> SampleBatch:
    rng = np.random.default_rng(5)
    q = np.linspace(0.1, 3.0, POINTS)
    intensity = rng.normal(100.0, 5.0, (curves, POINTS))
    sigma = rng.uniform(4.0, 6.0, (curves, POINTS))
    ids = [f"curve {i}" for i in range(curves)]
    return SampleBatch.from_arrays(ids, q, intensity, sigma, NumpyBackend(1))


@pytest.mark.parametrize("method", METHODS)
def test_the_measured_curve_is_kept_for_the_fits(method: Any) -> None:
    batch = noisy_batch()
    before = batch.intensity.copy(), batch.sigma.copy()
    assert Filter(method=method, window=7).launch(batch, np.arange(3)) == {}
    np.testing.assert_array_equal(batch.intensity, before[0])
    np.testing.assert_array_equal(batch.residual, before[0])
    np.testing.assert_array_equal(batch.sigma, before[1])


@pytest.mark.parametrize("method", METHODS)
def test_with_replace_the_fits_see_what_the_search_sees(method: Any) -> None:
    batch = noisy_batch()
    Filter(method=method, window=7, replace=True, noise_block=0).launch(batch, np.arange(3))
    np.testing.assert_array_equal(batch.intensity, batch.search)
    np.testing.assert_array_equal(batch.residual, batch.search)
    np.testing.assert_array_equal(batch.sigma, batch.noise)


def test_savgol_is_that_of_scipy() -> None:
    batch = noisy_batch()
    Filter(method="savgol", window=9, order=3).launch(batch, np.arange(3))
    np.testing.assert_allclose(batch.search, savgol_filter(batch.intensity, 9, 3), rtol=1e-12)


@pytest.mark.parametrize("method", ["savgol", "moving_average", "median"])
def test_smoothing_lowers_the_noise_and_the_scatter_alike(method: Any) -> None:
    batch = noisy_batch(200)
    Filter(method=method, window=7, order=2, noise_block=0).launch(batch, np.arange(200))
    inside = slice(5, -5)
    scatter = batch.search[:, inside].std() / batch.intensity[:, inside].std()
    noise = batch.noise[:, inside].mean() / batch.sigma[:, inside].mean()
    assert scatter < 0.7
    assert noise == pytest.approx(scatter, rel=0.05)


def test_a_levelled_noise_varies_less_than_that_of_the_points() -> None:
    plain, levelled = noisy_batch(), noisy_batch()
    Filter(noise_block=0).launch(plain, np.arange(3))
    Filter(noise_block=16).launch(levelled, np.arange(3))
    np.testing.assert_array_equal(plain.search, levelled.search)
    assert (levelled.noise.std(axis=1) < plain.noise.std(axis=1)).all()


def test_curves_that_take_no_part_are_left_alone() -> None:
    batch = noisy_batch()
    search = batch.search.copy()
    Filter().launch(batch, np.array([1]))
    np.testing.assert_array_equal(batch.search[[0, 2]], search[[0, 2]])
    assert (batch.search[1] != search[1]).any()


def test_a_curve_shorter_than_the_window_is_searched_as_it_is() -> None:
    batch = noisy_batch()
    Filter(window=POINTS + 1, noise_block=0).launch(batch, np.arange(3))
    np.testing.assert_array_equal(batch.search, batch.intensity)
    np.testing.assert_array_equal(batch.noise, batch.sigma)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"window": 6}, "expected an odd window, which has a middle; got 6; use 7"),
        ({"window": 5, "order": 5}, "expected an order below the window of 5 points; got 5"),
        ({"window": -1}, "greater than or equal to 1"),
        ({"method": "fourier"}, "'savgol', 'moving_average', 'median', 'boxcar' or 'none'"),
        ({"windows": 7}, "Extra inputs"),
    ],
)
def test_parameters_without_sense_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Filter(**parameters)


def test_the_order_matters_to_savgol_alone() -> None:
    assert Filter(method="median", window=3, order=5).window == 3


def test_tables_are_made_once() -> None:
    assert savgol_tables(7, 2) is savgol_tables(7, 2)
