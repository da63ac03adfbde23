"""SNIP against `pybaselines` and a plain NumPy version."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels.snip import snip
from hypothesis import given, settings
from hypothesis import strategies as st
from pybaselines.smooth import snip as pybaselines_snip

UNKNOWN = np.nan
EVERY = 10_000


def background_of(
    run, intensity, half, decreasing=True, smooth=0, transform=False, sigma=UNKNOWN, thin=EVERY
):
    """What the kernel subtracts; checks that it does."""
    left = intensity.copy()
    sigma = np.broadcast_to(sigma, intensity.shape).copy()
    background = np.zeros_like(intensity)
    run(snip, left, sigma, background, half, decreasing, thin, smooth, transform)
    np.testing.assert_array_equal(left, intensity - background)
    return background


def peaks_on_a_slope(points=300, seed=0):
    rng = np.random.default_rng(seed)
    x = np.arange(points)
    intensity = 200.0 * np.exp(-x / 90.0) + 5.0
    for centre in rng.uniform(0, points, 5):
        intensity += rng.uniform(5.0, 80.0) * np.exp(-(((x - centre) / 4.0) ** 2))
    return intensity + rng.normal(size=points)


def transformed(values):
    return np.log(np.log(np.sqrt(values + 1.0) + 1.0) + 1.0)


def restored(values):
    return (np.exp(np.exp(values) - 1.0) - 1.0) ** 2 - 1.0


def plain_snip(values, half, decreasing, thin=EVERY):
    values = values.copy()
    widest = min(half, (values.size - 1) // 2)
    kept = [p for p in range(1, widest + 1) if p <= thin or (widest - p) % 2 == 0]
    for reach in reversed(kept) if decreasing else kept:
        mean = 0.5 * (values[: -2 * reach] + values[2 * reach :])
        values[reach:-reach] = np.minimum(values[reach:-reach], mean)
    return values


@pytest.mark.parametrize("decreasing", [True, False])
@pytest.mark.parametrize("half", [1, 7, 40])
def test_clipping_is_that_of_pybaselines(run, half, decreasing):
    intensity = peaks_on_a_slope()
    expected, _ = pybaselines_snip(
        intensity, half, decreasing=decreasing, pad_kwargs={"mode": "edge"}
    )
    # pybaselines clips a padded curve: the kernel gets the same one.
    padded = np.pad(intensity, half, mode="edge")
    found = background_of(run, padded, half, decreasing)[half:-half]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 120),
    st.integers(1, 50),
    st.booleans(),
    st.booleans(),
    st.integers(1, 50),
    st.integers(0, 2**32 - 1),
)
def test_any_curve_is_clipped_as_by_plain_numpy(
    run, points, half, decreasing, transform, thin, seed
):
    intensity = np.random.default_rng(seed).uniform(0.0, 1e4, points)
    if transform:
        expected = restored(plain_snip(transformed(intensity), half, decreasing, thin))
    else:
        expected = plain_snip(intensity, half, decreasing, thin)
    found = background_of(run, intensity, half, decreasing, transform=transform, thin=thin)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * intensity.max())


@pytest.mark.parametrize("smooth", [1, 3])
def test_the_mean_before_clipping_is_taken_over_neighbours(run, smooth):
    intensity = peaks_on_a_slope()
    mean = np.convolve(intensity, np.ones(2 * smooth + 1) / (2 * smooth + 1), mode="same")
    for i in range(smooth):
        mean[i] = intensity[: 2 * i + 1].mean()
        mean[-1 - i] = intensity[intensity.size - 2 * i - 1 :].mean()
    found = background_of(run, intensity, 20, smooth=smooth)
    np.testing.assert_allclose(found, plain_snip(mean, 20, True), rtol=1e-12)


def test_negative_intensities_are_shifted_for_the_transform(run):
    intensity = peaks_on_a_slope() - 30.0
    shift = intensity.min()
    expected = restored(plain_snip(transformed(intensity - shift), 20, True)) + shift
    found = background_of(run, intensity, 20, transform=True)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("transform", [True, False])
def test_the_background_is_nowhere_above_the_curve(run, transform):
    intensity = peaks_on_a_slope()
    background = background_of(run, intensity, 40, transform=transform)
    assert (background <= intensity * (1.0 + 1e-12)).all()


def test_backgrounds_add_up(run):
    intensity = peaks_on_a_slope()
    background = np.full_like(intensity, 5.0)
    run(snip, intensity.copy(), np.ones_like(intensity), background, 10, True, EVERY, 0, False)
    np.testing.assert_array_equal(background, 5.0 + background_of(run, intensity, 10))


@pytest.mark.parametrize("counts", [1e-6, 1.0, 1e6])
def test_the_transform_is_taken_of_the_counts_that_sigma_tells(run, counts):
    detected = peaks_on_a_slope() + 10.0
    sigma = np.full_like(detected, np.sqrt(abs(detected).mean()))
    expected = restored(plain_snip(transformed(detected), 20, True))
    found = background_of(run, detected / counts, 20, transform=True, sigma=sigma / counts)
    np.testing.assert_allclose(found * counts, expected, rtol=1e-9)
