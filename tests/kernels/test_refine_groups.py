"""Fitting the peaks of a curve again, together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gpusaxs.kernels import joint_fit as fit
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import profile_fit
from gpusaxs.kernels import refine as kernel
from gpusaxs.kernels import status as codes

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.sample import Peak

Q = np.linspace(0.2, 2.2, 800)


def drawn(
    centre: float, fwhm: float, height: float, eta: float = 0.5, asymmetry: float = 0.0
) -> Any:
    peak = Peak(0, 0.0, 0.0, q=centre, fwhm=fwhm, height=height, eta=eta, asymmetry=asymmetry)
    return peak.profile(Q)


def row_of(centre: float, fwhm: float, height: float, eta: float = 0.5) -> Any:
    """A row of the table of peaks, as the fit of one peak after another leaves it."""
    line = np.full(table.PEAK_COLUMNS, np.nan)
    line[[table.Q, table.FWHM, table.HEIGHT, table.ETA]] = centre, fwhm, height, eta
    line[[table.VALUE, table.PROMINENCE]] = height
    line[[table.LEVEL, table.SLOPE, table.ASYMMETRY, table.REMARKS]] = 0.0
    line[table.STATUS] = codes.FIT_CONVERGED
    line[table.INDEX] = np.argmin(abs(Q - centre))
    return line


def refined(
    intensity: Any,
    rows: list[Any],
    sigma: Any = None,
    shape: int = profile_fit.PSEUDO_VOIGT,
    window: float = 2.5,
    poisson: bool = False,
    scaled: bool = False,
    background: Any = None,
) -> tuple[Any, Any]:
    """The rows of the peaks that are left, and the residual."""
    peaks = np.full((1, 12, table.PEAK_COLUMNS), np.nan)
    peaks[0, : len(rows)] = rows
    n_peaks = np.array([len(rows)])
    residual = np.full((1, Q.size), np.nan)
    NumpyBackend(1).launch(
        kernel.refine,
        np.arange(1),
        (np.zeros(1, np.int64), np.full(1, Q.size)),
        Q[np.newaxis],
        intensity[np.newaxis],
        np.ones((1, Q.size)) if sigma is None else sigma[np.newaxis],
        np.zeros((1, Q.size)) if background is None else background[np.newaxis],
        residual,
        peaks,
        n_peaks,
        shape,
        window,
        poisson,
        scaled,
    )
    assert np.isnan(peaks[0, n_peaks[0] :]).all()
    return peaks[0, : n_peaks[0]], residual[0]


def groups_of(rows: list[Any], window: float = 2.5) -> list[list[int]]:
    """Numbers of the rows that are fitted together."""
    order = np.zeros((6, kernel.MOST_PEAKS), np.int64)
    peaks = np.array(rows)
    number, narrow = kernel.sort_peaks(peaks, len(rows), order, np.empty(kernel.MOST_PEAKS))
    kernel.form_groups(peaks, number, narrow, window, order)
    groups: list[list[int]] = []
    for row, begins in zip(order[0, :number], order[1, :number], strict=True):
        groups += [[]] if begins else []
        groups[-1].append(int(row))
    return groups


def test_peaks_whose_windows_touch_are_fitted_together():
    rows = [row_of(centre, 0.02, 100.0) for centre in (1.0, 0.5, 1.09, 1.3)]
    assert groups_of(rows) == [[1], [0, 2], [3]]
    assert groups_of(rows, window=1.5) == [[1], [0], [2], [3]]


def test_a_group_of_more_than_five_is_cut_where_neighbours_are_farthest_apart():
    centres = [0.5, 0.55, 0.6, 0.69, 0.74, 0.79, 0.84]
    assert groups_of([row_of(c, 0.02, 100.0) for c in centres]) == [[0, 1, 2], [3, 4, 5, 6]]


def test_a_broad_hump_does_not_bind_the_lines_on_it():
    rows = [row_of(0.6, 0.02, 9.0), row_of(0.8, 0.4, 50.0), row_of(0.9, 0.02, 9.0)]
    assert groups_of(rows) == [[0], [2], [1]]


def test_a_peak_without_a_fit_is_left_as_it_is():
    failed = row_of(1.5, 0.02, np.nan)
    failed[table.STATUS] = codes.FIT_SINGULAR
    rows, _ = refined(drawn(1.0, 0.05, 300.0) + 20.0, [failed, row_of(1.0, 0.05, 290.0)])
    np.testing.assert_array_equal(rows[0], failed)
    assert int(rows[1, table.REMARKS]) & codes.PEAK_REFINED


PAIR = [(1.0, 0.05, 300.0), (1.06, 0.05, 150.0)]


def test_an_overlapping_pair_on_a_line_is_found_as_it_is():
    base = 20.0 - 4.0 * Q
    intensity = base + sum(drawn(*peak, 0.3) for peak in PAIR)
    start = [row_of(1.003, 0.06, 330.0), row_of(1.065, 0.04, 110.0)]
    rows, residual = refined(intensity, start)
    for row, (centre, fwhm, height) in zip(rows, PAIR, strict=True):
        assert row[table.STATUS] == codes.FIT_CONVERGED
        assert int(row[table.REMARKS]) == codes.PEAK_REFINED
        np.testing.assert_allclose(row[table.Q], centre, rtol=1e-6)
        np.testing.assert_allclose(row[table.FWHM], fwhm, rtol=1e-5)
        np.testing.assert_allclose(row[table.HEIGHT], height, rtol=1e-5)
        np.testing.assert_allclose(row[table.ETA], 0.3, atol=1e-5)
        np.testing.assert_allclose(row[table.SLOPE], -4.0, atol=1e-3)
        np.testing.assert_allclose(row[table.LEVEL], 20.0 - 4.0 * centre, atol=1e-3)
        area = profile_fit.profile_area(height, fwhm, 0.3)
        np.testing.assert_allclose(row[table.AREA], area, rtol=1e-5)
    near = abs(Q - 1.03) < 0.5
    np.testing.assert_allclose(residual[near], base[near], atol=1e-3)


def test_a_peak_is_fitted_on_the_curve_less_the_tails_of_the_others():
    strong, faint = drawn(1.0, 0.05, 300.0, 1.0), drawn(1.35, 0.05, 10.0, 1.0)
    start = [row_of(1.0, 0.05, 300.0, 1.0), row_of(1.35, 0.05, 12.0, 0.9)]
    rows, _ = refined(strong + faint + 5.0, start, shape=profile_fit.LORENTZIAN)
    np.testing.assert_allclose(rows[1, table.Q], 1.35, rtol=1e-6)
    np.testing.assert_allclose(rows[1, table.HEIGHT], 10.0, rtol=1e-3)
    assert rows[1, table.ETA] == 1.0
    assert np.isnan(rows[1, table.ETA_SIGMA])


def test_no_peak_is_there_twice():
    intensity = drawn(1.0, 0.05, 300.0) + 20.0
    twice = [row_of(1.0, 0.05, 290.0), row_of(1.01, 0.05, 40.0), row_of(1.5, 0.04, 30.0)]
    rows, residual = refined(intensity + drawn(1.5, 0.04, 30.0), twice)
    np.testing.assert_allclose(rows[:, table.Q], [1.0, 1.5], rtol=1e-5)
    np.testing.assert_allclose(residual, 20.0, atol=0.6)


def noisy(*peaks: Any, sigma: float = 1.0, seed: int = 1, asymmetry: float = 0.0) -> Any:
    expected = 20.0 + sum(drawn(*peak, 0.4, asymmetry) for peak in peaks)
    return np.random.default_rng(seed).normal(expected, sigma)


LINES = [(0.6, 0.04, 300.0), (1.04, 0.045, 200.0), (1.2, 0.05, 150.0)]
STARTS = [row_of(*line) for line in LINES]


@pytest.mark.parametrize("asymmetry", [-0.6, -0.3, 0.4])
def test_asymmetric_lines_are_fitted_with_one_asymmetry(asymmetry):
    intensity = noisy(*LINES, asymmetry=asymmetry)
    rows, _ = refined(intensity, STARTS, shape=profile_fit.ASYMMETRIC)
    straight, _ = refined(intensity, STARTS)
    for row, other, (centre, fwhm, height) in zip(rows, straight, LINES, strict=True):
        assert abs(row[table.ASYMMETRY] - asymmetry) < 4.0 * row[table.ASYMMETRY_SIGMA]
        assert abs(row[table.Q] - centre) < 4.0 * row[table.Q_SIGMA]
        assert abs(row[table.FWHM] - fwhm) < 4.0 * row[table.FWHM_SIGMA]
        assert abs(row[table.HEIGHT] - height) < 4.0 * row[table.HEIGHT_SIGMA]
        # Of a symmetric profile the centre is off.
        assert abs(other[table.Q] - centre) > 4.0 * row[table.Q_SIGMA]
    assert np.ptp(rows[:, table.ASYMMETRY]) < 0.5 * rows[:, table.ASYMMETRY_SIGMA].min()


def test_what_an_asymmetric_line_leaves_over_is_no_peak():
    intensity = noisy(*LINES, sigma=0.5, asymmetry=0.6)
    left_over = row_of(0.645, 0.02, 12.0)
    rows, _ = refined(intensity, [*STARTS, left_over], shape=profile_fit.ASYMMETRIC)
    np.testing.assert_allclose(rows[:, table.Q], [line[0] for line in LINES], atol=1e-3)
    np.testing.assert_allclose(rows[:, table.ASYMMETRY], 0.6, atol=0.1)


def test_a_faint_neighbour_of_an_asymmetric_line_stays_a_peak():
    neighbour = (0.677, 0.04, 40.0)
    intensity = noisy(*LINES, neighbour, sigma=0.5, asymmetry=0.4)
    rows, _ = refined(intensity, [*STARTS, row_of(*neighbour)], shape=profile_fit.ASYMMETRIC)
    assert len(rows) == 4
    errors = rows[:, [table.Q_SIGMA, table.FWHM_SIGMA, table.HEIGHT_SIGMA]]
    truth = np.array([*LINES, neighbour])
    assert (abs(rows[:, [table.Q, table.FWHM, table.HEIGHT]] - truth) < 4.0 * errors).all()
    np.testing.assert_allclose(rows[:, table.ASYMMETRY], 0.4, atol=0.05)


def test_symmetric_lines_stay_symmetric_and_a_faint_neighbour_stays_a_peak():
    neighbour = (0.68, 0.04, 30.0)
    intensity = noisy(*LINES, neighbour, sigma=0.5)
    starts = [*STARTS, row_of(*neighbour)]
    rows, residual = refined(intensity, starts, shape=profile_fit.ASYMMETRIC)
    plain, expected = refined(intensity, starts)
    assert (rows[:, table.ASYMMETRY] == 0.0).all()
    assert np.isnan(rows[:, table.ASYMMETRY_SIGMA]).all()
    columns = [table.Q, table.FWHM, table.HEIGHT]
    errors = plain[:, [table.Q_SIGMA, table.FWHM_SIGMA, table.HEIGHT_SIGMA]]
    assert (abs(rows - plain)[:, columns] < 0.01 * errors).all()
    np.testing.assert_allclose(residual, expected, atol=0.05)


@pytest.mark.parametrize(("eta", "shape"), [(0.0, "gaussian"), (1.0, "lorentzian"), (0.5, "both")])
def test_the_best_shape_has_the_lowest_criterion(eta, shape):
    peak = drawn(1.0, 0.05, 300.0, eta)
    intensity = np.random.default_rng(2).normal(peak + 20.0, 1.0)
    rows, _ = refined(intensity, [row_of(1.0, 0.05, 290.0)], shape=kernel.BEST)
    fixed = np.isnan(rows[0, table.ETA_SIGMA])
    assert fixed == (shape != "both")
    np.testing.assert_allclose(rows[0, table.ETA], eta, atol=0.0 if fixed else 0.05)


def test_uncertainties_are_scaled_only_if_asked_for():
    intensity = noisy(*LINES, sigma=3.0)
    plain, _ = refined(intensity, STARTS)
    grown, _ = refined(intensity, STARTS, scaled=True)
    factor = np.sqrt(plain[:, table.REDUCED_CHI2, np.newaxis])
    assert ((factor > 2.3) & (factor < 3.7)).all()
    sigmas = [table.Q_SIGMA, table.FWHM_SIGMA, table.HEIGHT_SIGMA, table.AREA_SIGMA]
    np.testing.assert_allclose(grown[:, sigmas], factor * plain[:, sigmas], rtol=1e-9)
    others = np.setdiff1d(np.arange(table.PEAK_COLUMNS), [*sigmas, table.ETA_SIGMA])
    np.testing.assert_array_equal(grown[:, others], plain[:, others])


def test_the_joint_fit_of_a_pair_has_the_covariance_of_both():
    rng = np.random.default_rng(3)
    expected = 20.0 + sum(drawn(*peak, 0.3) for peak in PAIR)
    starts = [row_of(*peak) for peak in PAIR]
    pulls = []
    for _ in range(300):
        rows, _ = refined(rng.normal(expected, 3.0), starts, np.full(Q.size, 3.0))
        if len(rows) == 2:
            off = rows[:, [table.Q, table.FWHM, table.HEIGHT]] - PAIR
            pulls.append(off / rows[:, [table.Q_SIGMA, table.FWHM_SIGMA, table.HEIGHT_SIGMA]])
    assert len(pulls) > 295
    spread = np.std(pulls, axis=0)
    np.testing.assert_allclose(spread, 1.0, atol=0.13)


def test_few_counts_are_fitted_by_their_likelihood_in_whatever_unit_they_are():
    rng = np.random.default_rng(4)
    base = 3.0 + 0.0 * Q
    expected = base + drawn(1.0, 0.05, 15.0) + drawn(1.09, 0.05, 10.0)
    starts = [row_of(1.0, 0.05, 15.0), row_of(1.09, 0.05, 10.0)]
    per_unit = 40.0
    areas = []
    for _ in range(200):
        counts = rng.poisson(expected).astype(float)
        sigma = np.sqrt(np.maximum(counts, 1.0)) / per_unit
        intensity = (counts - 0.9 * base) / per_unit
        scaled = [row.copy() for row in starts]
        for row in scaled:
            row[[table.HEIGHT, table.VALUE, table.PROMINENCE]] /= per_unit
        both = [
            refined(intensity, scaled, sigma, poisson=by, background=0.9 * base / per_unit)[0]
            for by in (True, False)
        ]
        areas.append([rows[:, table.AREA].sum() * per_unit for rows in both])
    true = sum(profile_fit.profile_area(h, 0.05, 0.5) for h in (15.0, 10.0))
    by_counts, by_squares = np.transpose(areas) / true - 1.0
    assert abs(by_counts.mean()) < 4.0 * by_counts.std() / np.sqrt(200)
    assert by_squares.mean() < -4.0 * by_squares.std() / np.sqrt(200)


def test_a_curve_without_counts_keeps_its_fits():
    rows, _ = refined(drawn(1.0, 0.05, 30.0) - 200.0, [row_of(1.0, 0.05, 29.0)], poisson=True)
    np.testing.assert_array_equal(rows, [row_of(1.0, 0.05, 29.0)])


def test_as_many_peaks_as_a_table_holds_have_room():
    assert kernel.MOST_PEAKS >= 32
    assert fit.MAX_GROUP == 5
