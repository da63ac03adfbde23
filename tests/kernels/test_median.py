"""The moving median against NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels.median import moving_median
from gpusaxs.kernels.moving_average import moving_average
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import medfilt


def smooth(run, intensity, sigma, window, kernel=moving_median):
    smoothed = np.full_like(intensity, np.nan)
    noise = np.full_like(intensity, np.nan)
    run(kernel, intensity, sigma, window, smoothed, noise)
    return smoothed, noise


# Few levels: equal values all over.
curves = st.lists(st.integers(-3, 3) | st.floats(-9.0, 9.0), max_size=70).map(
    lambda values: np.array(values, np.float64)
)


@settings(deadline=None, max_examples=200)
@given(curves, st.integers(0, 20))
def test_each_point_is_the_median_of_its_window(run, intensity, half):
    smoothed, _ = smooth(run, intensity, np.ones_like(intensity), 2 * half + 1)
    last = intensity.size - 1
    reaches = [min(half, i, last - i) for i in range(intensity.size)]
    expected = [np.median(intensity[i - r : i + r + 1]) for i, r in enumerate(reaches)]
    np.testing.assert_array_equal(smoothed, expected)


def test_inside_it_is_scipys_filter(run):
    intensity = np.random.default_rng(1).normal(size=300)
    smoothed, _ = smooth(run, intensity, np.ones(300), 11)
    np.testing.assert_array_equal(smoothed[5:-5], medfilt(intensity, 11)[5:-5])


def test_a_single_outlier_disappears(run):
    intensity = np.ones(30)
    intensity[12] = 1e6
    np.testing.assert_array_equal(smooth(run, intensity, np.ones(30), 3)[0], np.ones(30))


def test_noise_is_that_of_the_mean_times_root_half_pi_but_for_the_single_points_at_the_ends(run):
    sigma = np.random.default_rng(1).uniform(0.1, 2.0, 40)
    _, noise = smooth(run, np.zeros(40), sigma, 7)
    _, of_mean = smooth(run, np.zeros(40), sigma, 7, moving_average)
    np.testing.assert_allclose(noise[1:-1], np.sqrt(np.pi / 2) * of_mean[1:-1], rtol=1e-14)
    np.testing.assert_allclose(noise[[0, -1]], sigma[[0, -1]], rtol=1e-15)


@pytest.mark.parametrize("window", [3, 5, 15])
def test_noise_is_the_spread_of_many_medians(run, window):
    intensity = np.random.default_rng(window).normal(size=60_000)
    smoothed, noise = smooth(run, intensity, np.ones(60_000), window)
    assert 0.98 < noise[100] / smoothed.std() < 1.10
