"""The power-law background against `scipy.optimize.curve_fit`."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.power_law import power_law
from scipy.optimize import curve_fit

Q = np.linspace(0.1, 4.0, 500)


def subtract(run, intensity, sigma, with_constant=True, robust=False, share=1.0):
    """The curve left, the background and the status."""
    left = intensity.copy()
    background = np.zeros_like(intensity)
    status = np.zeros(1, np.int64)
    run(power_law, Q, left, sigma, background, status, with_constant, robust, share)
    return left, background, int(status[0])


def measured(model, seed):
    rng = np.random.default_rng(seed)
    sigma = 0.02 * model + 0.01
    return rng.normal(model, sigma), sigma


def with_constant(q, a, b, c):
    return b * q**-a + c


def without_constant(q, a, b):
    return b * q**-a


@pytest.mark.parametrize("seed", range(8))
def test_parameters_are_those_of_curve_fit(run, seed):
    rng = np.random.default_rng(100 + seed)
    a, b, c = rng.uniform(1.0, 4.0), rng.uniform(0.5, 20.0), rng.uniform(0.1, 3.0)
    for function, start, truth in (
        (with_constant, (3.0, 2.0, 0.0), (a, b, c)),
        (without_constant, (3.0, 2.0), (a, b)),
    ):
        intensity, sigma = measured(function(Q, *truth), seed)
        best, _ = curve_fit(
            function, Q, intensity, start, sigma, absolute_sigma=True, xtol=1e-14, ftol=1e-14
        )
        _, background, status = subtract(run, intensity, sigma, len(start) == 3)
        assert status == 0
        # The background as a whole says as much as its parameters.
        np.testing.assert_allclose(background, function(Q, *best), rtol=1e-6)
        found, _ = curve_fit(function, Q, background, best)
        np.testing.assert_allclose(found, best, rtol=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "centre", "low"),
    [(8.4, 1.8, 4.0, 0.011), (37.0, 1.8, 4.7, 0.077), (26.0, 1.95, 2.9, 0.085), (5.0, 1.0, 0.1, 1)],
)
def test_the_fit_is_the_best_one_whether_the_curve_falls_or_rises(run, height, width, centre, low):
    intensity = 5.0 + low * Q**-3 + height * np.exp(-(((Q - centre) / width) ** 2))
    sigma = 0.02 * intensity

    def chi2(background):
        return (((intensity - background) / sigma) ** 2).sum()

    _, background, status = subtract(run, intensity, sigma)
    assert status == 0
    for start in (-4.0, -2.0, -0.5, 0.5, 2.0, 4.0):
        best, _ = curve_fit(with_constant, Q, intensity, (start, 2.0, 5.0), sigma, maxfev=9000)
        assert chi2(background) <= chi2(with_constant(Q, *best)) * (1.0 + 1e-9)


def test_what_is_subtracted_and_what_is_left_add_up_to_the_curve(run):
    intensity, sigma = measured(with_constant(Q, 2.5, 3.0, 1.0), 1)
    left, background, _ = subtract(run, intensity, sigma, share=0.7)
    _, whole, _ = subtract(run, intensity, sigma)
    np.testing.assert_allclose(background, 0.7 * whole, rtol=1e-12)
    np.testing.assert_allclose(left + background, intensity, rtol=1e-12)


def test_peaks_on_top_do_not_lift_the_robust_fit(run):
    truth = (2.5, 3.0, 1.0)
    model = with_constant(Q, *truth)
    intensity, sigma = measured(model, 1)
    for centre in (0.8, 1.4, 1.6, 2.1):
        intensity += 8.0 * np.exp(-(((Q - centre) / 0.03) ** 2))
    _, lifted, _ = subtract(run, intensity, sigma)
    _, background, status = subtract(run, intensity, sigma, robust=True)
    assert status == 0
    fitted, _ = curve_fit(with_constant, Q, background, truth)
    _, covariance = curve_fit(with_constant, Q, model, truth, sigma, absolute_sigma=True)
    assert (abs(fitted - truth) < 4.0 * np.sqrt(np.diag(covariance))).all()
    assert abs(lifted - model).max() > 3.0 * abs(background - model).max()


def test_a_hopeless_curve_is_left_untouched_and_says_so(run):
    intensity = np.exp(3.0 * Q) * np.cos(20.0 * Q) - 1e5 * Q**9
    left, background, status = subtract(run, intensity, np.ones_like(Q))
    assert status == codes.BACKGROUND_FAILED
    np.testing.assert_array_equal(left, intensity)
    np.testing.assert_array_equal(background, 0.0)
