"""Savitzky-Golay smoothing against `scipy.signal.savgol_filter`."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels.savgol import savgol
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import savgol_filter

from gpusaxs.stages.filter import savgol_tables

FloatArray = NDArray[np.float64]


def smooth(run, intensity: FloatArray, sigma: FloatArray, window: int, order: int):
    smoothed = np.full_like(intensity, np.nan)
    noise = np.full_like(intensity, np.nan)
    run(savgol, intensity, sigma, *savgol_tables(window, order), smoothed, noise)
    return smoothed, noise


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 12), st.integers(0, 5), st.integers(0, 150), st.integers(0, 2**32 - 1))
def test_inside_and_at_the_ends_it_is_scipys_filter(run, half, order, more, seed):
    window = 2 * half + 1
    order = min(order, window - 1)
    intensity = np.random.default_rng(seed).normal(10.0, 3.0, window + more)
    smoothed, _ = smooth(run, intensity, np.ones_like(intensity), window, order)
    expected = savgol_filter(intensity, window, order, mode="interp")
    np.testing.assert_allclose(smoothed, expected, rtol=1e-12, atol=1e-12 * abs(intensity).max())


@pytest.mark.parametrize(("window", "order"), [(1, 0), (5, 2), (11, 3), (21, 4)])
def test_noise_is_the_root_of_the_sum_of_squared_weights_and_sigmas(run, window, order):
    points = 50
    sigma = np.random.default_rng(1).uniform(0.1, 4.0, points)
    _, noise = smooth(run, np.zeros(points), sigma, window, order)
    weights = savgol_filter(np.eye(points), window, order, mode="interp", axis=0)
    np.testing.assert_allclose(noise, np.sqrt(weights**2 @ sigma**2), rtol=1e-12)


def test_a_polynomial_of_its_order_stays_as_it_is(run):
    x = np.linspace(-1.0, 1.0, 40)
    cubic = 1.0 + x - 3.0 * x**2 + 2.0 * x**3
    smoothed, _ = smooth(run, cubic, np.ones(40), 9, 3)
    np.testing.assert_allclose(smoothed, cubic, atol=1e-13)


@pytest.mark.parametrize("points", [0, 1, 2, 6])
def test_a_curve_shorter_than_the_window_is_copied(run, points):
    intensity = np.arange(float(points))
    sigma = intensity + 1.0
    smoothed, noise = smooth(run, intensity, sigma, 7, 2)
    np.testing.assert_array_equal(smoothed, intensity)
    np.testing.assert_array_equal(noise, sigma)


def test_a_curve_as_long_as_the_window_is_one_polynomial(run):
    intensity = np.random.default_rng(2).normal(size=7)
    smoothed, _ = smooth(run, intensity, np.ones(7), 7, 2)
    x = np.arange(7.0)
    np.testing.assert_allclose(smoothed, np.polyval(np.polyfit(x, intensity, 2), x), rtol=1e-12)
