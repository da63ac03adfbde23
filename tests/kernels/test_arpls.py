"""arPLS against `pybaselines`."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.arpls import arpls
from hypothesis import given, settings
from hypothesis import strategies as st
from pybaselines.whittaker import arpls as pybaselines_arpls


def background_of(run, intensity, lam=1e5, max_iter=50, tol=1e-3, sigma=None, transform=False):
    """What the kernel subtracts; checks that it does."""
    left = intensity.copy()
    background = np.zeros_like(intensity)
    status = np.zeros(1, np.int64)
    sigma = np.ones_like(intensity) if sigma is None else sigma
    run(arpls, left, sigma, background, status, lam, max_iter, tol, transform)
    np.testing.assert_array_equal(left, intensity - background)
    assert status[0] == 0
    return background


def peaks_on_a_slope(points=300, seed=0):
    rng = np.random.default_rng(seed)
    x = np.arange(points)
    intensity = 200.0 * np.exp(-x / 90.0) + 5.0
    for centre in rng.uniform(0, points, 5):
        intensity += rng.uniform(5.0, 80.0) * np.exp(-(((x - centre) / 4.0) ** 2))
    return intensity + rng.normal(size=points)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(10, 400),
    st.floats(1.0, 8.0),
    st.sampled_from([1e-2, 1e-3, 1e-5]),
    st.integers(0, 30),
    st.integers(0, 2**32 - 1),
)
def test_the_background_is_that_of_pybaselines(run, points, power, tol, max_iter, seed):
    intensity = peaks_on_a_slope(points, seed)
    lam = 10.0**power
    expected, _ = pybaselines_arpls(intensity, lam=lam, max_iter=max_iter, tol=tol)
    found = background_of(run, intensity, lam, max_iter, tol)
    # A stiff solve loses digits, in pybaselines as many as here: both differ so much from one in
    # extended precision.
    accuracy = max(1e-8, 2e-11 * lam)
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=accuracy * intensity.max())


def transformed(values):
    return np.log(np.log(np.sqrt(values + 1.0) + 1.0) + 1.0)


def restored(values):
    return (np.exp(np.exp(values) - 1.0) - 1.0) ** 2 - 1.0


@pytest.mark.parametrize("counts", [1.0, 1e-3, 1e4])
def test_with_the_transform_it_is_that_of_pybaselines_on_the_scale_of_the_counts(run, counts):
    detected = peaks_on_a_slope() - 30.0
    shift = detected.min()
    expected, _ = pybaselines_arpls(transformed(detected - shift), lam=1e4)
    # The variance of counts is their number: sigma alone tells the unit of the intensity.
    sigma = np.full_like(detected, np.sqrt(abs(detected).mean()))
    found = background_of(run, detected / counts, lam=1e4, sigma=sigma / counts, transform=True)
    np.testing.assert_allclose(found * counts, restored(expected) + shift, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**40])
@pytest.mark.parametrize("transform", [True, False])
def test_the_unit_of_the_intensity_changes_nothing(run, scale, transform):
    intensity, sigma = peaks_on_a_slope(), np.full(300, 3.0)
    once = background_of(run, intensity, sigma=sigma, transform=transform)
    scaled = background_of(run, scale * intensity, sigma=scale * sigma, transform=transform)
    np.testing.assert_array_equal(scaled, scale * once)


def test_a_straight_line_is_its_own_background(run):
    straight = np.linspace(3.0, 1.0, 200)
    np.testing.assert_allclose(background_of(run, straight, lam=1e6), straight, atol=1e-9)


def test_peaks_stay_and_the_background_goes_through_the_noise(run):
    rng = np.random.default_rng(5)
    x = np.arange(1000)
    base = 1e4 * np.exp(-x / 200.0) + 200.0
    peaks = sum(2000.0 * np.exp(-(((x - centre) / 6.0) ** 2)) for centre in (300, 500, 540, 800))
    sigma = np.sqrt(base + peaks)
    found = background_of(run, rng.poisson(base + peaks).astype(float), sigma=sigma, transform=True)
    deviation = (found - base) / np.sqrt(base)
    free = peaks < 1e-3
    assert abs(deviation[free].mean()) < 0.3
    assert abs(found - base)[[300, 500, 540, 800]].max() < 0.05 * 2000.0


@pytest.mark.parametrize("points", [1, 2])
def test_a_curve_without_a_second_difference_is_left_whole_and_says_so(run, points):
    intensity = np.array([2.0, 1.0])[:points]
    left, background, status = intensity.copy(), np.zeros(points), np.zeros(1, np.int64)
    run(arpls, left, np.ones(points), background, status, 1e5, 50, 1e-3, False)
    assert status[0] == codes.BACKGROUND_FAILED
    np.testing.assert_array_equal(left, intensity)
    np.testing.assert_array_equal(background, 0.0)


@pytest.mark.parametrize("transform", [True, False])
def test_huge_ranges_neither_overflow_nor_stop_it(run, transform):
    intensity = 1e12 * np.exp(-np.arange(500) / 10.0) + 1e-9
    found = background_of(run, intensity, sigma=np.sqrt(intensity), transform=transform)
    assert np.isfinite(found).all()
