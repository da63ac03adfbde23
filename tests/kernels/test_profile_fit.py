"""The fit of a peak against `scipy.optimize.curve_fit`."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels import profile_fit as fit
from gpusaxs.kernels import status as codes
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import curve_fit

FloatArray = NDArray[np.float64]

LN2 = np.log(2.0)
SHAPES = {"gaussian": fit.GAUSSIAN, "lorentzian": fit.LORENTZIAN, "pseudo_voigt": fit.PSEUDO_VOIGT}
WIDE = np.full(fit.PARAMETERS, np.inf)


def widths(x, centre, fwhm, asymmetry):
    """Width of the half on which a point lies, and its derivative by the asymmetry."""
    below = 2.0 / (1.0 + np.exp(asymmetry))
    above = 2.0 - below
    left = x < centre
    width = fwhm * np.where(left, below, above)
    return width, width * np.where(left, -0.5 * above, 0.5 * below)


def model(x, height, centre, fwhm, eta, level, slope, asymmetry=0.0):
    width, _ = widths(x, centre, fwhm, asymmetry)
    u2 = (2.0 * (x - centre) / width) ** 2
    return height * (eta / (1.0 + u2) + (1.0 - eta) * np.exp(-LN2 * u2)) + level + slope * x


def jacobian(x, height, centre, fwhm, eta, level, slope, asymmetry):
    width, by_asymmetry = widths(x, centre, fwhm, asymmetry)
    u = 2.0 * (x - centre) / width
    lorentzian, gaussian = 1.0 / (1.0 + u**2), np.exp(-LN2 * u**2)
    profile = eta * lorentzian + (1.0 - eta) * gaussian
    fall = 2.0 * height * u * (eta * lorentzian**2 + (1.0 - eta) * LN2 * gaussian)
    return np.stack(
        [
            profile,
            fall * 2.0 / width,
            fall * u / fwhm,
            height * (lorentzian - gaussian),
            np.ones_like(x),
            x,
            fall * u / width * by_asymmetry,
        ],
        axis=-1,
    )


def fitted(x, y, sigma, start, lower=-WIDE, upper=WIDE, demand=np.inf, known=(0.0, 0.0), padding=0):
    """Status, chi-squared, parameters and covariance."""
    n = fit.PARAMETERS
    workspace = np.full(fit.WORKSPACE, np.nan)
    workspace[:n] = start
    workspace[fit.LOWER : fit.LOWER + n] = lower
    workspace[fit.UPPER : fit.UPPER + n] = upper
    weight = np.append(1.0 / sigma, np.zeros(padding))
    x, y = (np.append(values, np.full(padding, values[-1])) for values in (x, y))
    status, chi2 = fit.fit_profile(
        x, y, weight, x.size - padding, demand, *known, np.inf, np.empty_like(x), workspace
    )
    covariance = workspace[fit.COVARIANCE : fit.SHOWN].reshape(n, n).copy()
    return status, chi2, workspace[:n].copy(), covariance


def simulated(seed, shape):
    """A random peak: x, y, sigma, the truth, a start beside it, and bounds."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-2.5, 2.5, int(rng.integers(25, 200)))
    eta = {fit.GAUSSIAN: 0.0, fit.LORENTZIAN: 1.0}.get(shape, rng.uniform(0.2, 0.8))
    truth = np.array(
        [
            10.0 ** rng.uniform(1.0, 3.0),
            rng.uniform(-0.3, 0.3),
            rng.uniform(0.8, 1.3),
            eta,
            rng.uniform(0.0, 50.0),
            rng.uniform(-3.0, 3.0),
        ]
    )
    sigma = truth[fit.HEIGHT] * 10.0 ** rng.uniform(-3.0, -1.3) * rng.uniform(0.7, 1.4, x.size)
    y = rng.normal(model(x, *truth), sigma)
    start = np.array([0.8 * truth[0], 0.0, 1.0, 0.5, y.min(), 0.0])
    lower, upper = -WIDE.copy(), WIDE.copy()
    if shape != fit.PSEUDO_VOIGT:
        start[fit.ETA] = lower[fit.ETA] = upper[fit.ETA] = eta
    return x, y, sigma, np.append(start, 0.0), lower, upper


def of_scipy(x, y, sigma, start, free):
    """Parameters and covariance of `curve_fit`, over the free parameters."""

    def embedded(values):
        everything = start.copy()
        everything[free] = values
        return everything

    return curve_fit(
        lambda x, *values: model(x, *embedded(values)),
        x,
        y,
        start[free],
        sigma,
        absolute_sigma=True,
        jac=lambda x, *values: jacobian(x, *embedded(values))[:, free],
        method="lm",
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
        maxfev=5000,
    )


@pytest.mark.filterwarnings("ignore::scipy.optimize.OptimizeWarning")
@pytest.mark.parametrize("name", SHAPES)
def test_parameters_and_covariance_are_those_of_curve_fit(name):
    shape = SHAPES[name]
    free = np.array([i for i in range(6) if i != fit.ETA or shape == fit.PSEUDO_VOIGT])
    compared = 0
    strict = 0
    for seed in range(250):
        x, y, sigma, start, lower, upper = simulated(seed, shape)
        status, chi2, found, covariance = fitted(x, y, sigma, start, lower, upper)
        best, expected = of_scipy(x, y, sigma, start, free)
        if status != codes.FIT_CONVERGED:
            continue
        compared += 1
        errors = np.sqrt(np.diag(expected))
        off = abs(found[free] - best)
        # A parameter near zero is as near as its uncertainty says.
        assert (off <= np.maximum(1e-6 * abs(best), 1e-5 * errors)).all(), seed
        strict += (off <= 1e-6 * np.maximum(abs(best), errors)).all()
        scale = np.outer(errors, errors)
        inner = covariance[np.ix_(free, free)]
        assert (abs(inner - expected) <= 1e-5 * scale).all(), seed
        residual = (y - model(x, *found)) / sigma
        np.testing.assert_allclose(chi2, (residual**2).sum(), rtol=1e-10)
    assert compared > 245
    assert strict > 0.98 * compared


def slanted(seed, asymmetry):
    """A random asymmetric peak: x, y, sigma, the truth, and a symmetric start beside it."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-2.5, 2.5, int(rng.integers(40, 200)))
    truth = np.array([100.0, 0.1, 1.0, rng.uniform(0.2, 0.8), 10.0, 1.0, asymmetry])
    sigma = 10.0 ** rng.uniform(-0.5, 0.7) * rng.uniform(0.7, 1.4, x.size)
    return x, rng.normal(model(x, *truth), sigma), sigma, truth, START


@pytest.mark.parametrize("asymmetry", [-0.8, 0.3, 1.1])
@pytest.mark.parametrize("known", [(0.0, 0.0), (60.0, 24.0)], ids=["alone", "with others"])
def test_a_free_asymmetry_and_its_covariance_are_those_of_curve_fit(asymmetry, known):
    precision = fit.weight_of(known[0])
    expected_value = known[1] / max(known[0], 1.0)
    for seed in range(30):
        x, y, sigma, _, start = slanted(seed, asymmetry)
        status, _, found, covariance = fitted(x, y, sigma, start, demand=0.0, known=known)
        assert status == codes.FIT_CONVERGED

        # What others say is one more point, at which the model is the asymmetry.
        def with_others(x, *p):
            return np.append(model(x, *p), p[fit.ASYMMETRY])[: x.size + (precision > 0.0)]

        def jacobian_with_others(x, *p):
            rows = np.vstack([jacobian(x, *p), np.eye(1, 7, fit.ASYMMETRY)])
            return rows[: x.size + (precision > 0.0)]

        extra = [expected_value] if precision else []
        wide = [precision**-0.5] if precision else []
        best, expected = curve_fit(
            with_others,
            x,
            np.append(y, extra),
            found,
            np.append(sigma, wide),
            absolute_sigma=True,
            jac=jacobian_with_others,
            method="lm",
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
        )
        errors = np.sqrt(np.diag(expected))
        assert (abs(found - best) <= 2e-5 * errors).all()
        assert (abs(covariance - expected) <= 2e-5 * np.outer(errors, errors)).all()


def test_an_asymmetry_is_free_only_where_the_points_show_as_much_of_it_as_is_demanded():
    for seed in range(40):
        x, y, sigma, _, start = slanted(seed, 0.15)
        _, straight, symmetric, _ = fitted(x, y, sigma, start)
        assert symmetric[fit.ASYMMETRY] == 0.0
        _, least, _, covariance = fitted(x, y, sigma, start, demand=0.0)
        # A line's own asymmetry counts with the spread that there is from line to line.
        error = np.sqrt(covariance[fit.ASYMMETRY, fit.ASYMMETRY])
        unit = max(1.0, least / x.size)
        shown = np.sqrt((straight - least) / unit) * error * np.sqrt(unit)
        significance = shown / np.hypot(error * np.sqrt(unit), 0.1)
        _, _, below, _ = fitted(x, y, sigma, start, demand=0.8 * significance)
        _, _, above, _ = fitted(x, y, sigma, start, demand=1.25 * significance)
        assert below[fit.ASYMMETRY] != 0.0
        np.testing.assert_allclose(above, symmetric, rtol=1e-5, atol=1e-5)


def test_other_lines_that_show_an_asymmetry_make_a_faint_one_have_it():
    x, y, sigma, _, start = slanted(3, 0.4)
    sigma, y = 10.0 * sigma, model(x, *slanted(3, 0.4)[3])
    _, _, alone, _ = fitted(x, y, sigma, start, demand=3.0)
    _, _, together, _ = fitted(x, y, sigma, start, demand=3.0, known=(90.0, 36.0))
    assert alone[fit.ASYMMETRY] == 0.0
    np.testing.assert_allclose(together[fit.ASYMMETRY], 0.4, atol=0.01)
    np.testing.assert_allclose(together[fit.CENTRE], 0.1, atol=1e-3)


def test_points_without_weight_behind_the_last_change_nothing():
    x, y, sigma, _, start = slanted(1, 0.5)
    for demand in (np.inf, 0.0):
        bare = fitted(x, y, sigma, start, demand=demand)
        padded = fitted(x, y, sigma, start, demand=demand, padding=5)
        for one, other in zip(bare, padded, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_a_width_that_runs_away_ends_the_fit_where_that_is_asked_for():
    truth = TRUTH.copy()
    truth[fit.FWHM] = 2.4
    workspace = np.full(fit.WORKSPACE, np.nan)
    workspace[:7] = START
    workspace[fit.LOWER : fit.LOWER + 7], workspace[fit.UPPER : fit.UPPER + 7] = -WIDE, WIDE
    y, weight, gaussians = model(X, *truth), np.ones(80), np.empty(80)
    status, _ = fit.fit_profile(X, y, weight, 80, np.inf, 0.0, 0.0, 1.7, gaussians, workspace)
    assert status == codes.FIT_NOT_CONVERGED
    assert workspace[fit.FWHM] > 1.7


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_steps_that_a_bound_cuts_short_do_not_hold_the_fit_up(shape):
    # Flatter than a Gaussian, more in its tails than a Lorentzian, faint: eta ends at a limit.
    ended = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        truth = TRUTH.copy()
        truth[fit.ETA] = rng.choice([-0.3, 1.3])
        y = rng.normal(model(X, *truth), 12.0)
        start = START.copy()
        limits = bounded(eta=(0.0, 1.0), fwhm=(0.15, 4.0), height=(0.0, np.inf))
        if shape != fit.PSEUDO_VOIGT:
            limits = bounded(eta=(shape, shape), fwhm=(0.15, 4.0))
            start[fit.ETA] = shape
        status, *_ = fitted(X, y, np.full(80, 12.0), start, *limits)
        ended.append(status in (codes.FIT_CONVERGED, codes.FIT_SHAPE_AT_LIMIT))
    assert np.mean(ended) > 0.95


def test_a_curve_without_noise_gives_the_truth():
    truth = np.array([50.0, 0.1, 1.1, 0.4, 3.0, -0.5, 0.0])
    x = np.linspace(-2.5, 2.5, 60)
    start = np.array([40.0, 0.0, 1.0, 0.5, 2.0, 0.0, 0.0])
    status, chi2, found, _ = fitted(x, model(x, *truth), np.ones(60), start)
    assert status == codes.FIT_CONVERGED
    assert chi2 < 1e-8
    np.testing.assert_allclose(found, truth, rtol=1e-5)


def bounded(**limits):
    """Lower and upper bounds, from a pair for each parameter named."""
    lower, upper = -WIDE.copy(), WIDE.copy()
    for name, (low, high) in limits.items():
        place = getattr(fit, name.upper())
        lower[place], upper[place] = low, high
    return lower, upper


X = np.linspace(-2.5, 2.5, 80)
TRUTH = np.array([100.0, 0.1, 1.0, 0.5, 5.0, 1.0, 0.0])
START = np.array([90.0, 0.0, 0.9, 0.5, 4.0, 0.0, 0.0])


def noisy(truth=TRUTH):
    return np.random.default_rng(1).normal(model(X, *truth), 1.0)


@pytest.mark.parametrize(
    ("parameter", "limits", "at"),
    [
        ("centre", (-1.0, 0.05), 0.05),
        ("fwhm", (0.2, 0.8), 0.8),
        ("fwhm", (1.2, 4.0), 1.2),
        ("height", (0.0, 80.0), 80.0),
    ],
)
def test_a_parameter_pressed_against_its_bound_stays_there_and_the_fit_says_so(
    parameter, limits, at
):
    start = np.clip(START, *bounded(**{parameter: limits}))
    status, _, found, covariance = fitted(
        X, noisy(), np.ones(80), start, *bounded(**{parameter: limits})
    )
    place = getattr(fit, parameter.upper())
    assert status == codes.FIT_BOUND_HIT
    assert found[place] == at
    assert not covariance[place].any()
    assert not covariance[:, place].any()


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_shape_at_its_limit_is_no_failure(eta):
    # Beyond the limit: flatter than a Gaussian, or with more in its tails than a Lorentzian.
    truth = TRUTH.copy()
    truth[fit.ETA] = eta + 0.2 * (2.0 * eta - 1.0)
    status, _, found, _ = fitted(X, noisy(truth), np.ones(80), START, *bounded(eta=(0.0, 1.0)))
    assert status == codes.FIT_SHAPE_AT_LIMIT
    assert found[fit.ETA] == eta


def test_the_others_at_a_bound_are_those_of_a_fit_with_that_one_fixed():
    y = noisy()
    limits = bounded(fwhm=(0.2, 0.8))
    *_, found, covariance = fitted(X, y, np.ones(80), np.clip(START, *limits), *limits)
    fixed = START.copy()
    fixed[fit.FWHM] = 0.8
    free = np.array([0, 1, 3, 4, 5])
    best, expected = of_scipy(X, y, np.ones(80), fixed, free)
    errors = np.sqrt(np.diag(expected))
    assert (abs(found[free] - best) <= 1e-6 * np.maximum(abs(best), errors)).all()
    np.testing.assert_allclose(
        covariance[np.ix_(free, free)], expected, atol=1e-5 * np.outer(errors, errors).max()
    )


@pytest.mark.parametrize(
    "x", [np.zeros(10), np.repeat([0.0, 1.0], 10), np.linspace(0.0, 1.0, 4)], ids=len
)
def test_points_that_cannot_tell_the_parameters_apart_are_a_singular_fit(x):
    status, *_ = fitted(x, np.ones_like(x), np.ones_like(x), START)
    assert status == codes.FIT_SINGULAR


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_the_area_is_that_of_the_profile(eta):
    area, _ = quad(lambda x: model(x, 3.0, 0.0, 0.7, eta, 0.0, 0.0), -np.inf, np.inf)
    np.testing.assert_allclose(fit.profile_area(3.0, 0.7, eta), area, rtol=1e-7)


def test_the_areas_variance_is_that_of_many_draws():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(6, 6)) * 0.01
    covariance = root @ root.T
    draws = rng.multivariate_normal([3.0, 0.0, 0.7, 0.4, 0.0, 0.0], covariance, 200_000)
    areas = np.array([fit.profile_area(h, w, e) for h, _, w, e, _, _ in draws])
    found = fit.area_variance(3.0, 0.7, 0.4, covariance.ravel(), 6, (fit.HEIGHT, fit.FWHM, fit.ETA))
    np.testing.assert_allclose(found, areas.var(), rtol=0.02)
