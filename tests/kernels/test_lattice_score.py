"""Looks at places where a reflection is expected, against NumPy's least squares."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels import lattice_score as explain

Q = np.linspace(0.5, 1.5, 400)
NOISE = np.full(Q.size, 0.7)


def curve_of(residual):
    return explain.Curve(Q, residual, NOISE, NOISE)


def by_numpy(residual, centre, fwhm):
    """Height of a Gaussian on a straight line, and its uncertainty, by weighted least squares."""
    near = (centre - 2.0 * fwhm <= Q) & (centre + 2.0 * fwhm > Q)
    u = 2.0 * (Q[near] - centre) / fwhm
    columns = np.stack([np.exp2(-(u**2)), np.ones_like(u), u], axis=1) / NOISE[near, None]
    values, [chi2], _, _ = np.linalg.lstsq(columns, residual[near] / NOISE[near])
    variance = np.linalg.inv(columns.T @ columns)[0, 0]
    return values[0], np.sqrt(variance * max(1.0, chi2 / (u.size - 3)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [0.7, 3.0], ids=["as sigma says", "beyond sigma"])
def test_a_look_is_a_least_squares_fit_of_height_level_and_slope(seed, spread):
    rng = np.random.default_rng(seed)
    centre, fwhm = rng.uniform(0.7, 1.3), rng.uniform(0.02, 0.06)
    residual = rng.normal(0.0, spread, Q.size) + 3.0 - 2.0 * Q
    residual += 8.0 * np.exp2(-((2.0 * (Q - centre) / fwhm) ** 2))
    found = explain.look(curve_of(residual), centre, fwhm)
    np.testing.assert_allclose(found, by_numpy(residual, centre, fwhm), rtol=1e-8)


def test_a_look_at_too_few_points_cannot_tell():
    assert explain.look(curve_of(np.zeros(Q.size)), 1.0, 0.002) == (0.0, np.inf)


def test_what_is_seen_speaks_for_a_phase_and_what_is_absent_against_it():
    expected = np.log(10.0)
    assert explain.absence(0, expected, 10.0, 1.0) > 1.0
    assert explain.absence(0, expected, 0.0, 1.0) < -2.0
    # Where a reflection would drown in the noise, its absence says nothing.
    assert abs(explain.absence(0, expected, 0.0, 100.0)) < 0.05


def test_noise_at_a_place_neither_speaks_for_a_phase_nor_against_it_on_average():
    rng = np.random.default_rng(1)
    odds = [np.exp(explain.absence(5, np.log(0.3), z, 1.0)) for z in rng.normal(0.0, 1.0, 20000)]
    assert np.mean(odds) == pytest.approx(1.0, abs=0.03)


def test_a_line_hides_a_lower_reflection_and_not_one_that_should_be_far_higher():
    assert abs(explain.hidden_score(0, np.log(1.0), np.log(10.0))) < 0.05
    assert explain.hidden_score(0, np.log(100.0), np.log(1.0)) < -3.0
    falling = [explain.hidden_score(0, expected, 0.0) for expected in (-2.0, 0.0, 2.0, 4.0)]
    assert falling == sorted(falling, reverse=True)
