"""The fit of several peaks against `scipy.optimize`."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels import joint_fit as fit
from gpusaxs.kernels import status as codes
from numpy.typing import NDArray
from scipy.optimize import curve_fit, minimize

FloatArray = NDArray[np.float64]

LN2 = np.log(2.0)


def profile(x, height, centre, fwhm, eta, asymmetry=0.0):
    below = 2.0 / (1.0 + np.exp(asymmetry))
    widths = np.where(x < centre, below, 2.0 - below) * fwhm
    u2 = (2.0 * (x - centre) / widths) ** 2
    return height * (eta / (1.0 + u2) + (1.0 - eta) * np.exp(-LN2 * u2))


def model(x, parameters, asymmetric=False):
    level, slope, eta, *rest = parameters
    asymmetry = rest.pop() if asymmetric else 0.0
    lines = np.reshape(rest, (-1, 3))
    peaks = [profile(x, *line, eta, asymmetry) for line in lines]
    return level + slope * x + np.sum(peaks, axis=0)


def fitted(
    x, y, second, start, asymmetric=False, counting=0.0, prior=(0.0, 0.0), lower=None, upper=None
):
    """Status, objective, chi-squared, parameters and covariance."""
    n = start.size
    workspace = np.full(fit.WORKSPACE, np.nan)
    workspace[:n] = start
    workspace[fit.LOWER : fit.LOWER + n] = -np.inf if lower is None else lower
    workspace[fit.UPPER : fit.UPPER + n] = np.inf if upper is None else upper
    rows = np.full(fit.DERIVATIVES, np.nan)
    peaks = (n - fit.FIRST) // fit.A_PEAK
    status, objective, chi2 = fit.fit_joint(
        x, y, second, counting, peaks, asymmetric, *prior, rows, workspace
    )
    side = fit.side_of(n)
    covariance = workspace[fit.COVARIANCE : fit.COVARIANCE + side * side].reshape(side, side)
    return status, objective, chi2, workspace[:n].copy(), covariance[:n, :n].copy()


def simulated(seed, peaks, asymmetric):
    """A random group: x, y, sigma, and a start beside the truth."""
    rng = np.random.default_rng(seed)
    gaps = rng.uniform(0.8, 3.0, peaks - 1)
    centres = np.concatenate([[0.0], np.cumsum(gaps)])
    x = np.linspace(-2.5, centres[-1] + 2.5, int(rng.integers(30, 60)) * (peaks + 1))
    lines = np.column_stack(
        [10.0 ** rng.uniform(2.0, 3.0, peaks), centres, rng.uniform(0.8, 1.2, peaks)]
    )
    truth = np.concatenate([[rng.uniform(0.0, 50.0), 2.0, rng.uniform(0.3, 0.7)], lines.ravel()])
    if asymmetric:
        truth = np.append(truth, rng.uniform(-0.5, 0.5))
    sigma = 100.0 * 10.0 ** rng.uniform(-2.5, -1.5) * rng.uniform(0.7, 1.4, x.size)
    y = rng.normal(model(x, truth, asymmetric), sigma)
    start = truth * rng.uniform(0.95, 1.05, truth.size) + rng.normal(0.0, 0.02, truth.size)
    return x, y, sigma, start


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("peaks", [1, 2, 3, 5])
def test_parameters_and_covariance_are_those_of_curve_fit(peaks, asymmetric):
    compared = 0
    for seed in range(12):
        x, y, sigma, start = simulated(seed, peaks, asymmetric)
        status, objective, chi2, found, covariance = fitted(x, y, 1.0 / sigma, start, asymmetric)
        if status != codes.FIT_CONVERGED:
            continue
        best, expected = curve_fit(
            lambda x, *values: model(x, values, asymmetric),
            x,
            y,
            found,
            sigma,
            absolute_sigma=True,
            method="lm",
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
            epsfcn=1e-13,
            maxfev=20000,
        )
        compared += 1
        errors = np.sqrt(np.diag(expected))
        assert (abs(found - best) <= np.maximum(1e-6 * abs(best), 1e-4 * errors)).all(), seed
        # SciPy's derivatives are differences; the asymmetric model has a kink in its own.
        off = abs(covariance - expected) / np.outer(errors, errors)
        assert off.max() < 1e-4, seed
        residual = (y - model(x, found, asymmetric)) / sigma
        np.testing.assert_allclose([objective, chi2], (residual**2).sum(), rtol=1e-9)
    assert compared >= 11


@pytest.mark.parametrize("asymmetric", [False, True])
def test_the_covariance_is_the_inverse_of_the_normal_matrix(asymmetric):
    x, y, sigma, start = simulated(5, 3, asymmetric)
    *_, found, covariance = fitted(x, y, 1.0 / sigma, start, asymmetric)
    steps = 1e-6 * np.sqrt(np.diag(covariance))
    slopes = np.stack(
        [
            (model(x, found + step, asymmetric) - model(x, found - step, asymmetric))
            / (2.0 * step.sum() * sigma)
            for step in np.diag(1e3 * steps)
        ]
    )
    expected = np.linalg.inv(slopes @ slopes.T)
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert (abs(covariance - expected) <= 1e-5 * scale).all()


def test_what_is_known_of_the_asymmetry_counts_as_one_more_measurement():
    x, y, sigma, start = simulated(3, 2, asymmetric=True)
    _, objective, chi2, found, covariance = fitted(
        x, y, 1.0 / sigma, start, asymmetric=True, prior=(0.4, 2500.0)
    )

    def with_one_more(x, *values):
        return np.append(model(x, values, asymmetric=True), values[-1])

    best, expected = curve_fit(
        with_one_more,
        x,
        np.append(y, 0.4),
        found,
        np.append(sigma, 0.02),
        absolute_sigma=True,
        method="lm",
        xtol=1e-15,
        ftol=1e-15,
        epsfcn=1e-13,
    )
    errors = np.sqrt(np.diag(expected))
    assert (abs(found - best) <= 1e-4 * errors).all()
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), errors, rtol=1e-4)
    np.testing.assert_allclose(objective - chi2, 2500.0 * (0.4 - found[-1]) ** 2, rtol=1e-6)


TRUTH = np.array([2.0, 0.0, 0.5, 8.0, 0.0, 1.0])
X = np.linspace(-2.5, 2.5, 100)


def likelihood_of(parameters, counts, beside, scale):
    expected = scale * (model(X, parameters) + beside)
    if (expected <= 0.0).any():
        return np.inf
    return float((expected - counts * np.log(expected)).sum())


def test_counts_are_fitted_by_their_likelihood():
    scale, beside = 3.0, 1.0 + 0.1 * X
    for seed in range(5):
        rng = np.random.default_rng(seed)
        counts = rng.poisson(scale * (model(X, TRUTH) + beside))
        y = counts / scale - beside
        status, deviance, _, found, covariance = fitted(X, y, beside, TRUTH, counting=scale)
        assert status == codes.FIT_CONVERGED
        best = minimize(
            likelihood_of,
            found,
            (counts, beside, scale),
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 20000, "maxfev": 20000},
        )
        assert (abs(found - best.x) <= 2e-3 * np.sqrt(np.diag(covariance))).all()
        full = np.where(counts > 0, counts, 1.0)
        expected = scale * (model(X, found) + beside)
        np.testing.assert_allclose(
            deviance, 2.0 * (expected - counts + counts * np.log(full / expected)).sum(), rtol=1e-9
        )


def test_the_likelihood_takes_away_the_bias_of_few_counts():
    start = TRUTH.copy()
    truth = start[fit.FIRST + fit.HEIGHT]
    off: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(400):
        rng = np.random.default_rng(seed)
        counts = rng.poisson(model(X, TRUTH)).astype(float)
        lower = np.array([-np.inf, -np.inf, 0.5, 0.0, -1.0, 0.3])
        upper = np.array([np.inf, np.inf, 0.5, np.inf, 1.0, 3.0])
        for by_counts, areas in off.items():
            second = np.zeros_like(X) if by_counts else 1.0 / np.sqrt(np.maximum(counts, 1.0))
            status, *_, found, _ = fitted(
                X, counts, second, start, counting=float(by_counts), lower=lower, upper=upper
            )
            if status == codes.FIT_CONVERGED:
                area = found[fit.FIRST + fit.HEIGHT] * found[fit.FIRST + fit.FWHM]
                areas.append(area / truth - 1.0)
    level = abs(np.mean(off[True]))
    assert level < 3.0 * np.std(off[True]) / np.sqrt(len(off[True]))
    assert np.mean(off[False]) < -2.0 * level


@pytest.mark.parametrize(
    ("place", "limits"),
    [
        (fit.FIRST + fit.CENTRE, (-1.0, -0.1)),
        (fit.FIRST + fit.FWHM, (0.2, 0.8)),
        (fit.ETA, (0, 0.2)),
    ],
)
def test_a_parameter_pressed_against_its_bound_stays_there(place, limits):
    truth = np.array([5.0, 0.0, 0.5, 100.0, 0.0, 1.0, 60.0, 1.5, 1.0])
    x = np.linspace(-2.5, 4.0, 140)
    y = np.random.default_rng(1).normal(model(x, truth), 1.0)
    lower, upper = np.full(9, -np.inf), np.full(9, np.inf)
    lower[place], upper[place] = limits
    start = np.clip(truth, lower, upper)
    status, *_, found, covariance = fitted(x, y, np.ones(140), start, lower=lower, upper=upper)
    assert status == codes.FIT_CONVERGED
    assert found[place] in limits
    assert not covariance[place].any()
    assert (np.diag(covariance)[np.arange(9) != place] > 0.0).all()


@pytest.mark.parametrize("x", [np.zeros(20), np.repeat([0.0, 1.0], 10)], ids=["one", "two"])
def test_points_that_cannot_tell_the_parameters_apart_are_a_singular_fit(x):
    assert fitted(x, np.ones_like(x), np.ones_like(x), TRUTH)[0] == codes.FIT_SINGULAR


def test_a_start_without_chi_squared_is_a_singular_fit():
    start = TRUTH.copy()
    start[fit.FIRST + fit.HEIGHT] = np.nan
    assert fitted(X, np.ones_like(X), np.ones_like(X), start)[0] == codes.FIT_SINGULAR
