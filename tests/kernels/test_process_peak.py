"""Fitting a peak of a curve and taking it away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import profile_fit as fit
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.process_peak import process_peak

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.sample import Peak

Q = np.linspace(0.2, 2.2, 800)


def profile(centre, fwhm, height, eta=0.5):
    return Peak(0, 0.0, 0.0, q=centre, fwhm=fwhm, height=height, eta=eta).profile(Q)


def process(
    intensity: Any,
    sigma: Any,
    index: int,
    prominence: float,
    shape: int = fit.PSEUDO_VOIGT,
    window: float = 2.5,
    scaled: bool = False,
    demand: float = np.inf,
    start: int = 0,
    search: Any = None,
) -> tuple[Any, Any, Any]:
    """The peaks' rows, the residuals and the searched curves; (curves, points) in."""
    curves, points = intensity.shape
    residual = intensity.copy()
    searched = intensity.copy() if search is None else search.copy()
    candidates = np.zeros((curves, 4, table.CANDIDATE_COLUMNS))
    candidates[:, 0, table.INDEX] = index
    candidates[:, 0, table.VALUE] = searched[:, index]
    candidates[:, 0, table.PROMINENCE] = prominence
    peaks = np.full((curves, 3, table.PEAK_COLUMNS), -7.0)
    n_peaks = np.ones(curves, np.int64)
    starts = np.full(curves, start)
    NumpyBackend(2).launch(
        process_peak,
        np.arange(curves),
        (starts, np.full(curves, points)),
        Q[np.newaxis, :points],
        residual,
        sigma,
        searched,
        sigma,
        candidates,
        peaks,
        n_peaks,
        starts,
        shape,
        window,
        scaled,
        demand,
    )
    assert (n_peaks == 2).all()
    assert (peaks[:, [0, 2]] == -7.0).all()
    return peaks[:, 1], residual, searched


def process_one(intensity, sigma=None, index=None, prominence=None, **options):
    at = int(np.argmax(intensity)) if index is None else index
    much = np.ptp(intensity) if prominence is None else prominence
    noise = np.ones_like(intensity) if sigma is None else sigma
    line, residual, searched = process(
        intensity[np.newaxis], noise[np.newaxis], at, much, **options
    )
    return line[0], residual[0], searched[0]


def test_a_peak_on_a_line_is_found_as_it_is():
    intensity = profile(1.2, 0.05, 300.0, 0.3) + 20.0 - 4.0 * Q
    line, _, _ = process_one(intensity)
    assert line[table.STATUS] == codes.FIT_CONVERGED
    np.testing.assert_allclose(line[table.Q], 1.2, rtol=1e-6)
    np.testing.assert_allclose(line[table.FWHM], 0.05, rtol=1e-5)
    np.testing.assert_allclose(line[table.HEIGHT], 300.0, rtol=1e-5)
    np.testing.assert_allclose(line[table.ETA], 0.3, atol=1e-4)
    np.testing.assert_allclose(line[table.LEVEL], 20.0 - 4.0 * 1.2, atol=1e-2)
    np.testing.assert_allclose(line[table.SLOPE], -4.0, atol=1e-2)
    area = fit.profile_area(300.0, 0.05, 0.3)
    np.testing.assert_allclose(line[table.AREA], area, rtol=1e-4)


def test_the_fitted_peak_is_taken_away_from_both_curves_and_the_line_under_it_is_not():
    base = 20.0 - 4.0 * Q
    line, residual, searched = process_one(profile(1.2, 0.05, 300.0) + base)
    near = abs(Q - 1.2) < 12.0 * line[table.FWHM]
    np.testing.assert_allclose(residual[near], base[near], atol=1e-2)
    np.testing.assert_array_equal(residual, searched)


def test_the_fit_sees_the_measured_points_and_not_the_searched_ones():
    intensity = profile(1.2, 0.05, 300.0) + 20.0
    smeared = np.convolve(intensity, np.ones(15) / 15, mode="same")
    line, _, searched = process_one(intensity, index=int(smeared.argmax()), search=smeared[None])
    np.testing.assert_allclose(line[table.FWHM], 0.05, rtol=1e-4)
    fitted_profile = smeared - searched
    np.testing.assert_allclose(fitted_profile.max(), 300.0, rtol=1e-2)


@pytest.mark.parametrize(("shape", "eta"), [(fit.GAUSSIAN, 0.0), (fit.LORENTZIAN, 1.0)])
def test_a_shape_that_is_asked_for_is_fixed_and_has_no_uncertainty(shape, eta):
    line, _, _ = process_one(profile(1.2, 0.05, 300.0, eta) + 20.0, shape=shape)
    assert line[table.STATUS] == codes.FIT_CONVERGED
    assert line[table.ETA] == eta
    assert np.isnan(line[table.ETA_SIGMA])
    np.testing.assert_allclose(line[table.FWHM], 0.05, rtol=1e-4)


def test_uncertainties_are_scaled_only_if_asked_for():
    rng = np.random.default_rng(1)
    intensity = rng.normal(profile(1.2, 0.05, 300.0) + 20.0, 3.0)
    at = int(np.argmin(abs(Q - 1.2)))
    plain, _, _ = process_one(intensity, index=at)
    grown, _, _ = process_one(intensity, index=at, scaled=True)
    factor = np.sqrt(plain[table.REDUCED_CHI2])
    assert 2.5 < factor < 3.5
    sigmas = [table.Q_SIGMA, table.FWHM_SIGMA, table.HEIGHT_SIGMA, table.AREA_SIGMA,
              table.ETA_SIGMA]  # fmt: skip
    np.testing.assert_allclose(grown[sigmas], factor * plain[sigmas], rtol=1e-12)
    others = np.setdiff1d(np.arange(table.PEAK_COLUMNS), sigmas)
    np.testing.assert_array_equal(grown[others], plain[others])


def test_the_window_ends_in_the_valley_before_a_neighbour():
    own = profile(1.2, 0.05, 300.0, 0.0) + 20.0
    crowded = own + profile(1.32, 0.05, 250.0, 0.0)
    line, residual, _ = process_one(crowded, index=int(np.argmin(abs(Q - 1.2))), prominence=290.0)
    np.testing.assert_allclose(line[table.Q], 1.2, atol=1e-3)
    np.testing.assert_allclose(line[table.HEIGHT], 300.0, rtol=0.02)
    # The neighbour is still there to be found.
    np.testing.assert_allclose(residual[abs(Q - 1.32) < 0.02].max(), 270.0, rtol=0.02)


@pytest.mark.parametrize("seen", [0.05, 0.1, 0.4])
def test_an_estimate_of_the_width_that_is_far_off_calls_for_another_window(seen):
    intensity = profile(1.2, 0.2, 300.0, 0.0) + 20.0
    search = profile(1.2, seen, 300.0, 0.0) + 20.0
    at = int(search.argmax())
    line, _, _ = process_one(intensity, index=at, prominence=300.0, search=search[np.newaxis])
    np.testing.assert_allclose(line[table.FWHM], 0.2, rtol=1e-4)


def test_a_fit_whose_width_keeps_growing_is_written_in_the_unit_in_which_it_was_made():
    intensity = profile(1.2, 0.2, 300.0, 0.0) + 20.0
    search = intensity.copy()
    at = int(intensity.argmax())
    search[at] += 400.0
    line, _, _ = process_one(intensity, index=at, prominence=400.0, search=search[np.newaxis])
    # Four points, a window four times as wide, and another one: it is not wide enough yet.
    assert line[table.STATUS] == codes.FIT_BOUND_HIT
    assert line[table.FWHM] < 0.2
    np.testing.assert_allclose(line[table.Q], 1.2, atol=0.01)


def test_the_index_counts_the_points_before_a_cut():
    intensity = profile(1.2, 0.05, 300.0) + 20.0
    at = int(intensity.argmax())
    line, residual, _ = process_one(intensity, index=at, start=100)
    assert line[table.INDEX] == at
    np.testing.assert_allclose(line[table.Q], 1.2, rtol=1e-6)
    np.testing.assert_array_equal(residual[:100], intensity[:100])


def test_too_few_points_leave_the_curve_untouched():
    intensity = np.full(6, 1.0)
    intensity[3] = 9.0
    line, residual, searched = process_one(intensity)
    assert line[table.STATUS] == codes.FIT_TOO_FEW_POINTS
    assert np.isnan(line[table.Q])
    np.testing.assert_array_equal(residual, intensity)
    np.testing.assert_array_equal(searched, intensity)


def test_a_maximum_that_falls_on_neither_side_leaves_the_curve_untouched():
    intensity = np.full(60, 10.0)
    intensity[30] = 10.5
    line, residual, _ = process_one(intensity, prominence=9.0)
    assert line[table.STATUS] == codes.FIT_TOO_FEW_POINTS
    np.testing.assert_array_equal(residual, intensity)


def test_a_slope_without_a_peak_is_no_converged_fit_and_leaves_the_curve_untouched():
    intensity = 100.0 * (Q / Q[-1]) ** 0.5
    at = 400
    line, residual, searched = process_one(intensity, index=at, prominence=60.0)
    assert line[table.STATUS] == codes.FIT_BOUND_HIT
    assert np.isnan(line[table.Q])
    # The search keeps away from here by a width all the same.
    assert 0.0 < line[table.FWHM] <= 0.5 * Q[at]
    np.testing.assert_array_equal(residual, intensity)
    np.testing.assert_array_equal(searched, intensity)


def slanted(centre, fwhm, height, asymmetry, eta=0.3):
    return Peak(
        0, 0.0, 0.0, q=centre, fwhm=fwhm, height=height, eta=eta, asymmetry=asymmetry
    ).profile(Q)


@pytest.mark.parametrize("asymmetry", [-0.6, 0.4])
def test_an_asymmetric_line_is_found_at_its_top_and_taken_away_as_it_was_fitted(asymmetry):
    base = 20.0 - 4.0 * Q
    intensity = slanted(1.2, 0.05, 300.0, asymmetry) + base
    line, residual, searched = process_one(intensity, demand=3.0)
    assert line[table.STATUS] == codes.FIT_CONVERGED
    np.testing.assert_allclose(line[table.Q], 1.2, rtol=1e-6)
    np.testing.assert_allclose(line[table.FWHM], 0.05, rtol=1e-5)
    np.testing.assert_allclose(line[table.ASYMMETRY], asymmetry, atol=1e-4)
    assert 0.0 < line[table.ASYMMETRY_SIGMA] < 0.1
    near = abs(Q - 1.2) < 11.0 * line[table.FWHM]
    np.testing.assert_allclose(residual[near], base[near], atol=1e-2)
    np.testing.assert_array_equal(residual, searched)
    # The area is that of the symmetric profile.
    np.testing.assert_allclose(line[table.AREA], fit.profile_area(300.0, 0.05, 0.3), rtol=1e-4)
    symmetric, _, _ = process_one(intensity)
    assert abs(symmetric[table.Q] - 1.2) > 0.001
    assert np.isnan(symmetric[table.ASYMMETRY_SIGMA])


def many(model, demand, curves=2000, **options):
    """Rows of a peak near 1.2 with noise of the square root of the model, drawn many times."""
    rng = np.random.default_rng(1)
    sigma = np.sqrt(model)
    at = int(np.argmin(abs(Q - 1.2)))
    lines, _, _ = process(
        rng.normal(model, sigma, (curves, Q.size)),
        np.tile(sigma, (curves, 1)),
        at,
        0.97 * np.ptp(model),
        search=np.tile(model, (curves, 1)),
        demand=demand,
        **options,
    )
    return lines


def test_symmetric_lines_are_given_an_asymmetry_as_rarely_as_the_demand_says():
    lines = many(slanted(1.2, 0.06, 1000.0, 0.0) + 200.0, demand=3.0)
    assert (lines[:, table.ASYMMETRY] != 0.0).mean() < 0.004
    lines = many(slanted(1.2, 0.06, 100.0, 0.0) + 20.0, demand=1.0)
    assert 0.08 < (lines[:, table.ASYMMETRY] != 0.0).mean() < 0.3


def test_two_thirds_of_the_one_sigma_intervals_of_asymmetric_lines_hold_the_truth():
    lines = many(slanted(1.2, 0.06, 3000.0, 0.5) + 600.0, demand=3.0, curves=5000)
    good = lines[lines[:, table.STATUS] == codes.FIT_CONVERGED]
    assert len(good) > 4950
    assert (good[:, table.ASYMMETRY] != 0.0).all()
    for column, truth in (
        (table.Q, 1.2), (table.FWHM, 0.06), (table.HEIGHT, 3000.0), (table.ASYMMETRY, 0.5),
    ):  # fmt: skip
        pulls = (good[:, column] - truth) / good[:, column + 1]
        assert 0.95 < pulls.std() < 1.05
        assert abs(pulls.mean()) < 0.15


def one_after_another(intensity, sigma, places, demand, shape=fit.PSEUDO_VOIGT):
    """Rows of the peaks at these places, in this order, and what is left of the curve."""
    candidates = np.zeros((1, 4, table.CANDIDATE_COLUMNS))
    peaks = np.full((1, len(places), table.PEAK_COLUMNS), np.nan)
    n_peaks, starts = np.zeros(1, np.int64), np.zeros(1, np.int64)
    residual, search = intensity[np.newaxis].copy(), intensity[np.newaxis].copy()
    noise = sigma[np.newaxis]
    backend = NumpyBackend(1)
    for place in places:
        at = int(np.argmin(abs(Q - place)))
        candidates[0, 0, table.INDEX] = at
        candidates[0, 0, table.VALUE] = search[0, at]
        candidates[0, 0, table.PROMINENCE] = search[0, at] - np.median(intensity)
        backend.launch(
            process_peak, np.arange(1), (starts, np.full(1, Q.size)), Q[np.newaxis], residual,
            noise, search, noise, candidates, peaks, n_peaks, starts, shape, 2.5, False, demand,
        )  # fmt: skip
    return peaks[0], residual[0]


PLACES = (0.6, 0.9, 1.2, 1.5, 1.8)


def lines_of_a_curve(asymmetry, seed=2, height=900.0):
    model = 200.0 + sum(slanted(place, 0.06, height, asymmetry) for place in PLACES)
    sigma = np.sqrt(model)
    return np.random.default_rng(seed).normal(model, sigma), sigma


def test_with_the_line_that_makes_the_asymmetry_sure_those_before_it_are_fitted_again():
    changed = 0
    for seed in range(12):
        intensity, sigma = lines_of_a_curve(0.3, seed)
        first, _ = one_after_another(intensity, sigma, PLACES[:1], demand=3.0)
        rows, residual = one_after_another(intensity, sigma, PLACES, demand=3.0)
        symmetric, _ = one_after_another(intensity, sigma, PLACES, demand=np.inf)
        assert (rows[:, table.ASYMMETRY] != 0.0).all()
        changed += first[0, table.ASYMMETRY] == 0.0
        off = abs(rows[:, table.Q] - PLACES)
        assert off.mean() < 0.6 * abs(symmetric[:, table.Q] - PLACES).mean()
        pulls = (rows[:, table.Q] - PLACES) / rows[:, table.Q_SIGMA]
        assert abs(pulls).max() < 4.0
        # No line was put back by another share than it had been taken away by.
        assert abs((rows[:, table.HEIGHT] - 900.0) / rows[:, table.HEIGHT_SIGMA]).max() < 4.0
        # What is left is the background.
        assert abs((residual - 200.0) / sigma).max() < 6.0
    assert changed > 2


def test_lines_of_a_curve_agree_on_an_asymmetry_and_each_may_have_its_own_if_asked_for():
    intensity, sigma = lines_of_a_curve(0.5, height=250.0)
    shared, _ = one_after_another(intensity, sigma, PLACES, demand=3.0)
    own, _ = one_after_another(intensity, sigma, PLACES, demand=0.0, shape=fit.ASYMMETRIC)
    assert (own[:, table.ASYMMETRY] != 0.0).all()
    assert np.ptp(shared[:, table.ASYMMETRY]) < 0.8 * np.ptp(own[:, table.ASYMMETRY])
    assert (shared[1:, table.ASYMMETRY_SIGMA] < own[1:, table.ASYMMETRY_SIGMA]).all()


def test_a_shoulder_on_one_line_does_not_slant_a_curve_of_symmetric_lines():
    intensity, sigma = lines_of_a_curve(0.0)
    crowded = intensity + slanted(1.8 + 0.05, 0.06, 150.0, 0.0)
    rows, _ = one_after_another(crowded, sigma, PLACES, demand=3.0)
    assert (rows[:, table.ASYMMETRY] == 0.0).all()


def test_a_hump_has_no_say_in_the_asymmetry_of_a_curve():
    model = slanted(1.2, 0.4, 3000.0, 0.7) + 200.0
    intensity = np.random.default_rng(1).normal(model + slanted(1.9, 0.04, 900.0, 0.0), 8.0)
    rows, _ = one_after_another(intensity, np.full(Q.size, 8.0), (1.2, 1.9), demand=3.0)
    assert rows[0, table.FWHM] > 0.14 * rows[0, table.Q]
    assert rows[1, table.ASYMMETRY] == 0.0


def test_two_thirds_of_the_one_sigma_intervals_hold_the_truth():
    rng = np.random.default_rng(1)
    curves = 10_000
    points = 160
    centre = 0.4
    model = (profile(centre, 0.06, 100.0, 0.4) + 20.0 - 5.0 * Q)[:points]
    sigma = 0.15 * np.sqrt(model)
    intensity = rng.normal(model, sigma, (curves, points))
    at = int(np.argmin(abs(Q - centre)))
    noise = np.tile(sigma, (curves, 1))
    # The search sees the model: where a window ends must not depend on the noise.
    search = np.tile(model, (curves, 1))
    lines, _, _ = process(intensity, noise, at, 98.0, search=search)
    converged = lines[:, table.STATUS] == codes.FIT_CONVERGED
    assert converged.mean() > 0.99
    good = lines[converged]
    for column, truth in ((table.Q, centre), (table.FWHM, 0.06), (table.HEIGHT, 100.0)):
        inside = abs(good[:, column] - truth) <= good[:, column + 1]
        assert 0.66 < inside.mean() < 0.70
    np.testing.assert_allclose(good[:, table.REDUCED_CHI2].mean(), 1.0, atol=0.01)
