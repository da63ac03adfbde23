"""Elementary functions against those of the C library."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gpusaxs.kernels.elementary import exp_minus, exp_poly, exp_row, log_poly, log_row
from hypothesis import example, given, settings
from hypothesis import strategies as st

SMALLEST_NORMAL = np.finfo(np.float64).smallest_normal
ULP = np.finfo(np.float64).eps


@settings(deadline=None, max_examples=500)
@given(st.floats(-745.2, 709.79, allow_nan=False))
@example(0.0)
@example(5e-324)
@example(709.782712893384)
@example(-745.1332191019411)
def test_exp_is_within_one_unit_in_the_last_place(x):
    with np.errstate(over="ignore", under="ignore"):
        expected = float(np.exp(x))
    assert abs(exp_poly(x) - expected) <= np.spacing(expected) or exp_poly(x) == expected


@settings(deadline=None, max_examples=500)
@given(st.floats(min_value=0.0, exclude_min=True, allow_infinity=False))
@example(5e-324)
@example(SMALLEST_NORMAL)
@example(1.0)
@example(1.0 - ULP)
@example(1.0 + ULP)
@example(math.sqrt(0.5))
@example(math.sqrt(2.0))
def test_log_is_within_one_unit_in_the_last_place(x):
    expected = math.log(x)
    assert abs(log_poly(x) - expected) <= np.spacing(abs(expected))


@settings(deadline=None, max_examples=200)
@given(st.floats(allow_nan=True, allow_infinity=True))
def test_no_number_whatever_gives_another_kind_of_answer_than_numpy(x):
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(exp_poly(x), np.exp(x), rtol=2 * ULP, atol=5e-324)
        np.testing.assert_allclose(log_poly(x), np.log(x), rtol=2 * ULP)


@pytest.mark.parametrize(
    ("x", "expected"),
    [(math.inf, math.inf), (-math.inf, 0.0), (710.0, math.inf), (-746.0, 0.0), (1e300, math.inf)],
)
def test_exp_beyond_the_range_is_infinite_or_zero(x, expected):
    assert exp_poly(x) == expected


@pytest.mark.parametrize("x", [-1.0, -5e-324, -math.inf, math.nan])
def test_log_of_a_negative_number_is_nan(x):
    assert math.isnan(log_poly(x))


def test_log_of_zero_is_minus_infinity():
    assert log_poly(0.0) == -math.inf
    assert log_poly(-0.0) == -math.inf


@settings(deadline=None, max_examples=200)
@given(st.floats(0.0, 40.9))
def test_exp_minus_is_within_its_stated_errors(x):
    np.testing.assert_allclose(exp_minus(x), math.exp(-x), rtol=1e-10)
    np.testing.assert_allclose(exp_minus(x), math.exp(-x), rtol=0.0, atol=3e-14)


@pytest.mark.parametrize(("row", "scalar"), [(exp_row, exp_poly), (log_row, log_poly)])
def test_a_row_has_the_bits_of_its_points_also_in_place(row, scalar):
    x = np.random.default_rng(1).uniform(0.01, 50.0, 257)
    out = np.empty_like(x)
    row(x, out)
    np.testing.assert_array_equal(out, [scalar(value) for value in x])
    row(x, x)
    np.testing.assert_array_equal(out, x)
