"""The noise of a curve against simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.noise import noise, noise_level
from hypothesis import given, settings
from hypothesis import strategies as st

from gpusaxs.stages.noise import Noise

LIMITS = tuple(
    getattr(Noise(), name) for name in ("tolerance", "local_excess", "least_ratio", "block")
)
Q = np.linspace(0.1, 3.0, 1024)


def check(run, intensity, sigma, start=0):
    """sigma afterwards, and the status."""
    after = sigma.copy()
    status = np.zeros(1, np.int64)
    run(noise, intensity, after, status, np.array([start]), *LIMITS)
    return after, int(status[0])


def simulated(seed, peaks=True):
    """Intensity and the true sigma of a decaying curve, with a few peaks."""
    rng = np.random.default_rng(seed)
    model = 400.0 * np.exp(-1.2 * Q) + 20.0
    if peaks:
        for centre in (0.9, 1.6, 2.2):
            model += 300.0 * np.exp(-(((Q - centre) / 0.02) ** 2))
    sigma = np.sqrt(model)
    return rng.normal(model, sigma), sigma


@pytest.mark.parametrize("seed", range(5))
def test_a_missing_sigma_is_estimated_within_a_sixth(run, seed):
    intensity, truth = simulated(seed, peaks=False)
    after, status = check(run, intensity, np.full_like(Q, np.nan))
    assert status == codes.SIGMA_ESTIMATED
    ratio = after / truth
    assert 0.85 < np.median(ratio) < 1.15
    assert 0.85 < ratio.mean() < 1.15


@pytest.mark.parametrize("seed", range(5))
def test_a_right_sigma_keeps_every_bit(run, seed):
    intensity, truth = simulated(seed)
    after, status = check(run, intensity, truth)
    assert status == 0
    np.testing.assert_array_equal(after, truth)


@pytest.mark.parametrize("wrong", [0.4, 2.5])
@pytest.mark.parametrize("seed", range(5))
def test_a_wrong_sigma_is_rescaled_to_the_noise(run, seed, wrong):
    intensity, truth = simulated(seed)
    after, status = check(run, intensity, wrong * truth)
    assert status == codes.SIGMA_RESCALED
    np.testing.assert_allclose(np.median(after / truth), 1.0, atol=0.1)


def test_sigma_is_never_scaled_down_by_more_than_the_least_ratio(run):
    intensity, truth = simulated(1)
    after, _ = check(run, intensity, 100.0 * truth)
    np.testing.assert_allclose(after, 20.0 * truth, rtol=1e-12)


def shared_by_neighbours(points, seed=5):
    """Unit noise of which neighbours have half in common."""
    alone = np.random.default_rng(seed).normal(size=points + 1)
    return (alone[1:] + alone[:-1]) / np.sqrt(2.0)


@pytest.mark.parametrize("stated", [0.3, 1.0, np.nan])
def test_noise_that_neighbours_share_is_that_of_their_sums(run, stated):
    smooth = 400.0 * np.exp(-1.2 * Q) + 20.0
    truth = np.sqrt(smooth)
    intensity = smooth + truth * shared_by_neighbours(Q.size)
    after, _ = check(run, intensity, stated * truth)
    # Between the noise of a point and that of a point's share of a long sum.
    assert 0.95 < np.median(after / truth) < np.sqrt(2.0)


@pytest.mark.parametrize("seed", range(3))
def test_counts_too_few_for_medians_do_not_scale_sigma_down(run, seed):
    counts = np.random.default_rng(seed).poisson(0.2, Q.size).astype(float)
    sigma = np.sqrt(np.maximum(counts, 1.0))
    after, status = check(run, counts, sigma)
    assert status == 0
    np.testing.assert_array_equal(after, sigma)


@pytest.mark.parametrize("counts", [0.2, 0.5, 1.0])
def test_a_missing_sigma_of_few_counts_is_their_root_mean_square(run, counts):
    drawn = np.random.default_rng(4).poisson(counts, Q.size).astype(float)
    after, _ = check(run, drawn, np.full_like(Q, np.nan))
    np.testing.assert_allclose(np.median(after), np.sqrt(counts), rtol=0.2)


def test_scatter_in_one_block_is_found_there_alone(run):
    intensity, truth = simulated(1, peaks=False)
    rng = np.random.default_rng(3)
    intensity[256:384] += 5.0 * truth[256:384] * rng.normal(size=128)
    after, status = check(run, intensity, truth)
    assert status == codes.SIGMA_RESCALED
    assert 3.5 < np.median((after / truth)[288:352]) < 7.0
    np.testing.assert_array_equal(after[512:], truth[512:])


@pytest.mark.parametrize("nothing", [0.0, -1.0, np.nan])
def test_points_without_sigma_are_filled_and_the_others_stay(run, nothing):
    intensity, truth = simulated(2, peaks=False)
    given_sigma = truth.copy()
    given_sigma[::10] = nothing
    after, status = check(run, intensity, given_sigma)
    assert status == codes.SIGMA_ESTIMATED
    known = np.arange(Q.size) % 10 != 0
    np.testing.assert_array_equal(after[known], truth[known])
    assert 0.8 < np.median(after[~known] / truth[~known]) < 1.2


@settings(deadline=None, max_examples=100)
@given(st.integers(16, 300), st.data())
def test_constant_stretches_never_give_zero_or_nan(run, points, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    intensity = rng.normal(10.0, 1.0, points)
    first = data.draw(st.integers(0, points - 1))
    last = data.draw(st.integers(first, points))
    intensity[first:last] = 10.0
    after, status = check(run, intensity, np.full(points, np.nan))
    if not status & codes.NO_SIGNAL:
        assert (after > 0.0).all()
        assert np.isfinite(after).all()


@settings(deadline=None, max_examples=100)
@given(st.integers(16, 300), st.integers(0, 2**32 - 1), st.integers(0, 300))
def test_a_known_sigma_of_a_partly_constant_curve_stays_positive(run, points, seed, level):
    rng = np.random.default_rng(seed)
    intensity = rng.normal(10.0, 1.0, points)
    intensity[:level] = 10.0
    after, _ = check(run, intensity, rng.uniform(0.1, 3.0, points))
    assert (after > 0.0).all()
    assert np.isfinite(after).all()


def test_a_curve_without_noise_has_no_signal_to_estimate_it_from(run):
    _, status = check(run, np.full(64, 7.0), np.full(64, np.nan))
    assert status & codes.NO_SIGNAL


def level_of(run, noise_row, start=0):
    row = noise_row.copy()
    run(noise_level, row, np.array([start]), 64)
    return row


def test_the_level_is_the_median_of_a_block_and_ignores_peaks(run):
    row = np.linspace(1.0, 2.0, 640)
    peaked = row.copy()
    peaked[300:310] = 50.0
    np.testing.assert_allclose(level_of(run, peaked), row, rtol=0.06)


@pytest.mark.parametrize("points", [1, 5, 63])
def test_the_level_of_a_short_curve_is_one_number(run, points):
    row = np.random.default_rng(1).uniform(1.0, 9.0, points)
    every_fourth = np.sort(row[::4])
    expected = every_fourth[(every_fourth.size - 1) // 2]
    np.testing.assert_array_equal(level_of(run, row), expected)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 200), st.integers(200, 900))
def test_where_the_curve_is_cut_off_changes_the_noise_near_there_alone(run, skipped, points):
    intensity, truth = simulated(7)
    scatter = truth * np.linspace(1.0, 9.0, Q.size)
    unknown = np.full_like(Q, np.nan)
    end = skipped + points
    for sigma in (unknown, truth):
        whole, _ = check(run, intensity, sigma)
        part, _ = check(run, intensity[skipped:end], sigma[skipped:end], skipped)
        inside = slice(160, points - 160)
        np.testing.assert_allclose(part[inside], whole[skipped:end][inside], rtol=1e-12)
    level = level_of(run, scatter)
    part = level_of(run, scatter[skipped:end], skipped)
    np.testing.assert_allclose(part[160:-160], level[skipped:end][160:-160], rtol=1e-12)
