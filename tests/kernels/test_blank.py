"""Subtraction of a measured blank against `numpy.interp`."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.blank import blank
from hypothesis import given, settings
from hypothesis import strategies as st

Q = np.linspace(0.3, 2.0, 80)


@pytest.fixture
def a_blank():
    """q, intensity and sigma of a blank on a q grid of its own."""
    rng = np.random.default_rng(1)
    q = np.sort(np.concatenate([[0.1, 2.5], rng.uniform(0.1, 2.5, 60)]))
    return q, 3.0 / q + rng.normal(size=62), rng.uniform(0.1, 0.3, 62)


def subtract(run, intensity, sigma, of, factor=None, window=(0.0, np.inf), q=Q):
    left, after = intensity.copy(), sigma.copy()
    background = np.zeros_like(intensity)
    status = np.zeros(1, np.int64)
    by_window = factor is None
    factors = np.array([np.nan if by_window else factor])
    run(blank, q, left, after, background, status, *of, factors, by_window, *window)
    return left, after, background, int(status[0])


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 40), st.floats(0.1, 3.0), st.integers(0, 2**32 - 1))
def test_the_blank_is_interpolated_as_by_numpy(run, points, factor, seed):
    rng = np.random.default_rng(seed)
    inner = rng.uniform(0.3, 2.0, points)
    q = np.unique(np.concatenate([[0.3, 2.0], inner]))
    values = rng.normal(size=q.size)
    intensity = rng.normal(10.0, 1.0, Q.size)
    left, _, background, status = subtract(
        run, intensity, np.ones_like(Q), (q, values, np.zeros_like(q)), factor
    )
    assert status == 0
    expected = factor * np.interp(Q, q, values)
    np.testing.assert_allclose(background, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(left, intensity - background)


def test_the_blanks_sigma_is_propagated(run, a_blank):
    q, _, its = a_blank
    sigma = np.random.default_rng(2).uniform(0.5, 1.0, Q.size)
    _, after, _, _ = subtract(run, np.ones_like(Q), sigma, a_blank, 0.8)
    weights = 0.8 * np.array([np.interp(Q, q, unit) for unit in np.eye(q.size)]).T
    np.testing.assert_allclose(after, np.sqrt(sigma**2 + weights**2 @ its**2), rtol=1e-12)


def test_without_a_factor_the_ratio_of_the_sums_over_the_window_is_taken(run, a_blank):
    q, values, _ = a_blank
    intensity = np.random.default_rng(3).normal(20.0, 1.0, Q.size)
    _, _, background, status = subtract(run, intensity, np.ones_like(Q), a_blank, window=(1.0, 1.7))
    base = np.interp(Q, q, values)
    inside = (Q >= 1.0) & (Q <= 1.7)
    assert status == 0
    np.testing.assert_allclose(
        background, base * intensity[inside].sum() / base[inside].sum(), rtol=1e-12
    )


def test_a_curve_less_itself_is_zero(run):
    values = 3.0 / Q
    itself = (Q, values, np.full_like(Q, 0.1))
    left, after, _, _ = subtract(run, values, np.full_like(Q, 0.1), itself, 1.0)
    np.testing.assert_allclose(left, 0.0, atol=1e-12)
    np.testing.assert_allclose(after, np.sqrt(2.0) * 0.1, rtol=1e-12)


@pytest.mark.parametrize("q", [Q - 0.25, Q + 0.6], ids=["starts before it", "ends after it"])
def test_a_curve_that_reaches_beyond_the_blank_fails_and_is_left_untouched(run, a_blank, q):
    intensity = np.ones_like(Q)
    left, after, background, status = subtract(run, intensity, np.ones_like(Q), a_blank, 1.0, q=q)
    assert status == codes.BLANK_MISMATCH
    np.testing.assert_array_equal(left, 1.0)
    np.testing.assert_array_equal(after, 1.0)
    np.testing.assert_array_equal(background, 0.0)


@pytest.mark.parametrize("window", [(5.0, 6.0), (1.2, 1.1)])
def test_a_window_without_points_fails(run, a_blank, window):
    *_, status = subtract(run, np.ones_like(Q), np.ones_like(Q), a_blank, window=window)
    assert status == codes.BLANK_UNSCALED


@pytest.mark.parametrize("factor", [np.nan, 0.0, -1.0, np.inf])
def test_a_factor_that_is_no_positive_number_fails_and_leaves_the_curve_untouched(
    run, a_blank, factor
):
    left, after, background, status = subtract(
        run, np.ones_like(Q), np.ones_like(Q), a_blank, factor
    )
    assert status == codes.BLANK_UNSCALED
    np.testing.assert_array_equal(left, 1.0)
    np.testing.assert_array_equal(after, 1.0)
    np.testing.assert_array_equal(background, 0.0)
