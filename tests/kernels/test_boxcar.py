"""The boxcar against `numpy.convolve`."""

from __future__ import annotations

import numpy as np
from gpusaxs.kernels.boxcar import boxcar
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 80), st.integers(0, 2**32 - 1))
def test_it_is_the_convolution_with_zeros_beyond_the_ends(run, points, window, seed):
    rng = np.random.default_rng(seed)
    intensity = rng.normal(5.0, 1.0, points)
    sigma = rng.uniform(0.1, 2.0, points)
    smoothed = np.full(points, np.nan)
    noise = np.full(points, np.nan)
    run(boxcar, intensity, sigma, window, smoothed, noise)
    weights = np.ones(window) / window
    first = (window - 1) // 2
    full = np.convolve(intensity, weights, "full")
    np.testing.assert_allclose(smoothed, full[first : first + points], rtol=1e-12)
    if window <= points:
        np.testing.assert_allclose(smoothed, np.convolve(intensity, weights, "same"), rtol=1e-12)
    np.testing.assert_array_equal(noise, sigma)
