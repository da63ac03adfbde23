"""The moving average against NumPy."""

from __future__ import annotations

import numpy as np
from gpusaxs.kernels.moving_average import moving_average
from hypothesis import given, settings
from hypothesis import strategies as st


def smooth(run, intensity, sigma, window):
    smoothed = np.full_like(intensity, np.nan)
    noise = np.full_like(intensity, np.nan)
    run(moving_average, intensity, sigma, window, smoothed, noise)
    return smoothed, noise


def windows(values, window):
    """The points around each point: `window` of them, fewer but symmetric at the ends."""
    last = len(values) - 1
    for i in range(len(values)):
        reach = min(window // 2, i, last - i)
        yield values[i - reach : i + reach + 1]


@settings(deadline=None)
@given(st.integers(0, 90), st.integers(0, 30), st.integers(0, 2**32 - 1))
def test_each_point_is_the_mean_of_its_window(run, points, half, seed):
    rng = np.random.default_rng(seed)
    intensity = rng.normal(5.0, 1.0, points)
    sigma = rng.uniform(0.1, 2.0, points)
    window = 2 * half + 1
    smoothed, noise = smooth(run, intensity, sigma, window)
    means = [part.mean() for part in windows(intensity, window)]
    noises = [np.sqrt((part**2).sum()) / part.size for part in windows(sigma, window)]
    np.testing.assert_allclose(smoothed, means, rtol=1e-12)
    np.testing.assert_allclose(noise, noises, rtol=1e-12)


def test_inside_it_is_a_convolution(run):
    intensity = np.random.default_rng(1).normal(size=200)
    smoothed, _ = smooth(run, intensity, np.ones(200), 9)
    expected = np.convolve(intensity, np.ones(9) / 9, mode="valid")
    np.testing.assert_allclose(smoothed[4:-4], expected, atol=1e-14)


def test_a_window_of_one_point_changes_no_bit(run):
    intensity = np.random.default_rng(2).normal(size=20)
    smoothed, noise = smooth(run, intensity, np.full(20, 0.3), 1)
    np.testing.assert_array_equal(smoothed, intensity)
    np.testing.assert_allclose(noise, 0.3, rtol=1e-15)
