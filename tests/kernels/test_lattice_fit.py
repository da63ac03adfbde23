"""Lattice parameters against NumPy's least squares, and what makes an offset of q."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels import bragg_lines as bragg
from gpusaxs.kernels.lattice_fit import fit_lattice
from scipy.stats import norm

S = np.sqrt([2.0, 3.0, 4.0, 6.0, 8.0, 9.0])
BETA = 0.5


def table_of(centres, sigma, fwhm=0.02):
    """Lines that one phase matches in order."""
    lines = np.zeros((bragg.LINE_ROWS, bragg.MAX_LINES))
    count = len(centres)
    lines[bragg.CENTRE, :count] = centres
    lines[bragg.FIT_SIGMA, :count] = sigma
    lines[bragg.FWHM, :count] = fwhm
    lines[bragg.ASSIGNED :, :] = -1.0
    lines[bragg.ASSIGNED, :count] = np.arange(count)
    return lines, count


def fitted(centres, sigma, positions=S):
    lines, count = table_of(centres, sigma)
    return fit_lattice(lines, count, 0, 1, positions, 0.0)


def test_two_lines_that_agree_give_the_weighted_least_squares_of_their_uncertainties():
    sigma = np.array([2e-4, 5e-4])
    centres = BETA * S[:2] + 0.5 * sigma * [1.0, -1.0]
    beta, beta_sigma, offset, _, chi2 = fitted(centres, sigma)
    weight = sigma**-2
    expected = (weight * S[:2] * centres).sum() / (weight * S[:2] ** 2).sum()
    np.testing.assert_allclose(beta, expected, rtol=1e-12)
    np.testing.assert_allclose(beta_sigma, (weight * S[:2] ** 2).sum() ** -0.5, rtol=1e-12)
    np.testing.assert_allclose(chi2, (weight * (centres - expected * S[:2]) ** 2).sum())
    assert np.isnan(offset)


@pytest.mark.parametrize("number", [3, 6])
def test_a_faint_offset_moves_the_lattice_by_its_posterior_mean(number):
    s, rng = S[:number], np.random.default_rng(2)
    sigma = rng.uniform(1e-4, 1e-3, number)
    centres = BETA * s + 5e-4 + 0.3 * rng.normal(0.0, sigma)
    beta, beta_sigma, offset, _, _ = fitted(centres, sigma)
    # On a grid: the likelihood of every offset at its own best lattice.
    weight = sigma**-2
    origin = (weight * s * centres).sum() / (weight * s * s).sum()
    spread = 0.0015 * origin * S[0]
    offsets = np.linspace(-10.0, 10.0, 20001) * spread
    slopes = ((weight * s) @ (centres[:, None] - offsets)) / (weight * s * s).sum()
    away = centres[:, None] - offsets - slopes * s[:, None]
    likelihood = np.exp(-0.5 * weight @ away**2)
    there = 0.2 * likelihood * norm.pdf(offsets, scale=spread) * (offsets[1] - offsets[0])
    mean = (there * offsets).sum() / (there.sum() + 0.8 * likelihood[10000])
    expected = np.interp(mean, offsets, slopes)
    assert abs(beta - origin) > 1e-5
    np.testing.assert_allclose(beta, expected, rtol=1e-8)
    unshifted = (weight * s * s).sum() ** -0.5
    np.testing.assert_allclose(beta_sigma, np.hypot(unshifted, beta - origin), rtol=1e-12)
    assert np.isnan(offset)


def test_an_offset_that_the_lines_show_is_fitted_and_freed_from_the_lattice():
    sigma = np.full(S.size, 2e-4)
    noise = np.random.default_rng(3).normal(0.0, sigma)
    beta, beta_sigma, offset, offset_sigma, chi2 = fitted(BETA * S + 0.004 + noise, sigma)
    slope, level = np.polyfit(S, BETA * S + 0.004 + noise, 1)
    np.testing.assert_allclose([beta, offset], [slope, level], rtol=1e-9)
    assert abs(offset - 0.004) < 3.0 * offset_sigma
    assert abs(beta - BETA) < 3.0 * beta_sigma
    assert chi2 > 5.0


def test_three_lines_and_large_offsets_show_none():
    sigma = np.full(S.size, 2e-4)
    assert np.isnan(fitted(BETA * S[:3] + 0.004, sigma[:3])[2])
    assert np.isnan(fitted(BETA * S + 0.05, sigma)[2])


def test_lines_that_scatter_beyond_their_uncertainties_make_the_lattice_less_sure():
    rng = np.random.default_rng(4)
    sigma = np.full(S.size, 1e-5)
    errors = []
    for _ in range(200):
        beta, beta_sigma, offset, _, _ = fitted(BETA * S + rng.normal(0.0, 1e-3, S.size), sigma)
        if np.isnan(offset):
            errors.append((beta - BETA) / beta_sigma)
    assert len(errors) > 150
    assert 0.5 < np.std(errors) < 1.5


def test_the_pulls_of_lattice_parameters_have_unit_spread():
    rng = np.random.default_rng(5)
    sigma = np.full(S.size, 3e-4)
    fits = [fitted(BETA * S + rng.normal(0.0, sigma), sigma) for _ in range(2000)]
    pulls = np.array([(fit[0] - BETA) / fit[1] for fit in fits])
    assert np.std(pulls) == pytest.approx(1.0, abs=0.05)


def test_lines_of_a_known_offset_are_shifted_by_it_and_give_both():
    sigma = np.full(S.size, 2e-4)
    noise = np.random.default_rng(4).normal(0.0, sigma)
    lines, count = table_of(BETA * S + noise, sigma)
    beta, beta_sigma, offset, offset_sigma, _ = fit_lattice(lines, count, 0, 1, S, 0.03)
    slope, level = np.polyfit(S, BETA * S + noise, 1)
    np.testing.assert_allclose([beta, offset], [slope, 0.03 + level], rtol=1e-9)
    assert abs(offset - 0.03) < 3.0 * offset_sigma
    assert abs(beta - BETA) < 3.0 * beta_sigma
