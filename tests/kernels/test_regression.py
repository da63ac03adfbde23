"""Least squares from running sums, and of exponentials, against NumPy and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels.regression import (
    between,
    decay_fit,
    last_below,
    line,
    log_space,
    parabola_top,
    sum_up,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

POINTS = 60


def running_sums(x, y, w):
    """n, x, x2, x3, x4, y, xy, x2y and y2 as `sum_up` writes them."""
    sums = [np.empty(x.size) for _ in range(9)]
    sum_up(x, y, w, *sums)
    return sums


def drawn(seed):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0.01, 5.0, POINTS))
    return x, rng.normal(0.0, 2.0, POINTS) - x, rng.uniform(0.1, 10.0, POINTS)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 50), st.integers(6, 60))
def test_an_interval_has_the_line_and_the_parabola_of_numpy(seed, first, length):
    x, y, w = drawn(seed)
    last = min(first + length, POINTS) - 1
    n, x1, x2, x3, x4, y1, xy, x2y, _ = (between(s, first, last) for s in running_sums(x, y, w))
    span = slice(first, last + 1)
    intercept, slope, v0, v1, v01 = line(n, x1, x2, y1, xy)
    expected, covariance = np.polyfit(x[span], y[span], 1, w=np.sqrt(w[span]), cov="unscaled")
    np.testing.assert_allclose((slope, intercept), expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose([[v1, v01], [v01, v0]], covariance, rtol=1e-6)
    top, variance = parabola_top(n, x1, x2, x3, x4, y1, xy, x2y)
    expected, covariance = np.polyfit(x[span], y[span], 2, w=np.sqrt(w[span]), cov="unscaled")
    np.testing.assert_allclose(top, expected[0], rtol=1e-5, atol=1e-5 * np.sqrt(covariance[0, 0]))
    np.testing.assert_allclose(variance, covariance[0, 0], rtol=1e-5)


def test_points_at_one_place_have_neither_line_nor_parabola():
    assert np.isnan(line(3.0, 6.0, 12.0, 1.0, 2.0)).all()
    assert np.isnan(parabola_top(3.0, 6.0, 12.0, 24.0, 48.0, 1.0, 2.0, 4.0)).all()
    assert np.isnan(parabola_top(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)).all()


def test_a_decay_is_that_of_scipy():
    rng = np.random.default_rng(2)
    x = np.linspace(0.1, 2.0, POINTS)
    sigma = np.full(POINTS, 0.02)
    values = 3.0 * np.exp(-1.5 * x) + sigma * rng.standard_normal(POINTS)
    a, b, va, vb, vab, chi2 = decay_fit(x, values, sigma, 5, 50, 0.0, 1.0)
    span = slice(5, 51)
    expected, covariance = curve_fit(
        lambda x, a, b: np.exp(a - b * x), x[span], values[span], (0.0, 1.0), sigma[span],
        absolute_sigma=True, ftol=1e-14, xtol=1e-14,
    )  # fmt: skip
    np.testing.assert_allclose((a, b), expected, rtol=1e-7)
    np.testing.assert_allclose([[va, vab], [vab, vb]], covariance, rtol=1e-5)
    assert chi2 == pytest.approx(
        np.sum(((values - np.exp(a - b * x)) / sigma)[span] ** 2), rel=1e-12
    )


def test_points_without_sigma_take_no_part_in_a_decay():
    x = np.linspace(0.1, 2.0, POINTS)
    values = 3.0 * np.exp(-1.5 * x)
    sigma = np.full(POINTS, 0.02)
    values[20] = 99.0
    sigma[20] = np.nan
    a, b, *_ = decay_fit(x, values, sigma, 0, POINTS - 1, 1.0, 1.0)
    assert (a, b) == (pytest.approx(np.log(3.0)), pytest.approx(1.5))


def test_what_has_no_minimum_has_no_decay():
    x = np.full(POINTS, 1.0)
    assert np.isnan(decay_fit(x, x, x, 0, POINTS - 1, 0.0, 1.0)).all()


@pytest.mark.parametrize("limit", [-1.0, 0.0, 0.5, 1.0, 2.5, 9.0])
def test_the_last_point_below_a_limit_is_that_of_searchsorted(limit):
    q = np.array([0.0, 0.5, 1.0, 2.0, 3.0])
    assert last_below(q, limit) == np.searchsorted(q, limit, side="right") - 1


def test_logarithms_of_noisy_points_are_right_on_average():
    rng = np.random.default_rng(3)
    truth = np.full(20000, 5.0)
    for sigma in (0.05, 2.5):
        values = truth + sigma * rng.standard_normal(truth.size)
        y, w = np.empty(truth.size), np.empty(truth.size)
        assert log_space(values, np.full(truth.size, sigma), y, w) == truth.size
        # ln I itself lies (sigma / I)^2 / 2 too low.
        assert abs(y.mean() - np.log(5.0)) < max(0.05 * (sigma / 5.0) ** 2, 1e-3) + 0.004
        assert w.mean() == pytest.approx((5.0 / sigma) ** 2, rel=0.05)


def test_points_without_sigma_or_level_have_no_weight():
    values = np.array([1.0] * 20 + [-1.0] * 20)
    sigma = np.full(40, 0.1)
    sigma[3] = np.nan
    y, w = np.empty(40), np.empty(40)
    usable = log_space(values, sigma, y, w)
    assert usable == np.count_nonzero(w)
    assert w[3] == 0.0
    assert (w[30:] == 0.0).all()
    assert (w[5:14] > 0.0).all()
