"""The older program's fit of a peak against the same written with `curve_fit`."""

from __future__ import annotations

from typing import NamedTuple

import classic_recipe
import numpy as np
import pytest
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.classic_peak import classic_peak

from gpusaxs.backends.numpy import NumpyBackend

CASES = 250
# The searches of SciPy and of the kernel end within this of each other, where a window has more
# points than parameters.
CLOSE = 1e-4
FWHM = 2.0 * np.sqrt(np.log(2.0))


class Fitted(NamedTuple):
    """What the kernel makes of a peak; s in 1/angstrom."""

    s: float
    height: float
    line: np.ndarray
    search: np.ndarray
    residual: np.ndarray


def fit(q, curve, sigma, k, max_width=0.5, start=0):
    """Fit about point `k`; q in 1/angstrom."""
    search, residual = curve.copy(), np.full_like(curve, -7.0)
    candidates = np.zeros((1, 2, table.CANDIDATE_COLUMNS))
    candidates[0, 0, : table.FOUND_AS] = k + start, curve[k], 0.3
    peaks = np.full((1, 3, table.PEAK_COLUMNS), -7.0)
    n_peaks = np.ones(1, np.int64)
    NumpyBackend(1).launch(
        classic_peak,
        np.array([0]),
        (np.array([0]), np.array([q.size])),
        10.0 * q[np.newaxis],
        sigma[np.newaxis],
        search[np.newaxis],
        residual[np.newaxis],
        candidates,
        peaks,
        n_peaks,
        np.array([start]),
        max_width,
        1.0,
        4.0,
    )
    assert n_peaks[0] == 2
    assert (peaks[0, [0, 2]] == -7.0).all()
    line = peaks[0, 1]
    return Fitted(line[table.FWHM] / (10.0 * FWHM), line[table.HEIGHT], line, search, residual)


def drawn(rng):
    """A curve with a few peaks, on an even or a logarithmic grid, and the highest of them."""
    points = int(rng.integers(40, 500))
    low, high = rng.uniform(0.005, 0.02), rng.uniform(0.1, 0.4)
    even = rng.random() < 0.5
    q = np.linspace(low, high, points) if even else np.geomspace(low, high, points)
    curve = rng.uniform(0.0, 2.0) * (q / q[0]) ** -rng.uniform(0.0, 3.0)
    for _ in range(rng.integers(1, 5)):
        centre = rng.uniform(q[3], q[-4])
        width = rng.uniform(0.5, 30.0) * np.diff(q)[points // 2]
        height = 10.0 ** rng.uniform(0.0, 3.0)
        curve = curve + height * np.exp(-(((q - centre) / width) ** 2))
    sigma = 10.0 ** rng.uniform(-3.0, -0.5) * np.sqrt(curve + 0.1)
    curve = np.maximum(rng.normal(curve, sigma), 0.0)
    peaks = classic_recipe.found(curve)
    return q, curve, sigma, peaks


def test_the_fit_is_that_of_scipy():
    rng = np.random.default_rng(51010)
    compared = bound = 0
    for _ in range(CASES):
        q, curve, sigma, peaks = drawn(rng)
        if not peaks.size:
            continue
        k = int(rng.choice(peaks))
        mine = fit(q, curve, sigma, k)
        try:
            parabola_s, s, height = classic_recipe.fit_about(k, q, curve, sigma)
        except (ValueError, RuntimeError):
            assert mine.line[table.STATUS] in (codes.FIT_TOO_FEW_POINTS, codes.FIT_NOT_CONVERGED)
            continue
        # Two points or three are met exactly, by a search that sees nothing of the last digits.
        close = CLOSE if parabola_s > 3.0 * np.diff(q).min() else 10.0 * CLOSE
        assert mine.s == pytest.approx(s, rel=close)
        assert mine.height == pytest.approx(height, rel=close)
        compared += 1
        bound += mine.line[table.STATUS] == codes.FIT_BOUND_HIT
    assert compared > 0.8 * CASES
    assert bound > 5


def test_what_is_taken_away_leaves_nothing_below_zero():
    q, curve, sigma, peaks = drawn(np.random.default_rng(1))
    curve[3] = -0.2
    k = int(peaks[0])
    mine = fit(q, curve, sigma, k)
    gaussian = mine.height * np.exp(-(((q - q[k]) / mine.s) ** 2))
    np.testing.assert_allclose(mine.search, np.maximum(curve - gaussian, 0.0), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(mine.residual, mine.search)
    assert mine.search[3] == 0.0
    assert mine.line[table.AREA] == pytest.approx(10.0 * np.sqrt(np.pi) * mine.height * mine.s)


def test_what_the_recipe_does_not_know_is_nan():
    q, curve, sigma, peaks = drawn(np.random.default_rng(1))
    line = fit(q, curve, sigma, int(peaks[0])).line
    unknown = {column for column in range(table.PEAK_COLUMNS) if np.isnan(line[column])}
    assert unknown == {
        table.Q_SIGMA, table.FWHM_SIGMA, table.HEIGHT_SIGMA, table.AREA_SIGMA, table.ETA_SIGMA,
        table.LEVEL, table.SLOPE, table.REDUCED_CHI2, table.ASYMMETRY_SIGMA, table.SHOWN,
        table.SHOWN_PRECISION,
    }  # fmt: skip
    assert line[table.Q] == 10.0 * q[peaks[0]]


def test_an_index_counts_from_the_start_of_the_curve_as_it_was_given():
    q, curve, sigma, peaks = drawn(np.random.default_rng(1))
    k = int(peaks[0])
    moved = fit(q, curve, sigma, k, start=70)
    assert moved.line[table.INDEX] == k + 70
    assert (moved.s, moved.height) == fit(q, curve, sigma, k)[:2]


SPIKE = np.where(np.arange(60) == 30, 50.0, 0.1)
NARROW = 50.0 * np.maximum(1.0 - (np.arange(60) - 30.0) ** 2 / 0.6**2, -12.0)


@pytest.mark.parametrize(
    ("curve", "max_width", "status"),
    [
        (NARROW, 0.5, codes.FIT_TOO_FEW_POINTS),  # a parabola narrower than the grid
        (SPIKE / 250.0, 0.5, codes.FIT_SINGULAR),  # 4 max I below the least height
        (SPIKE, 1e-7, codes.FIT_SINGULAR),  # the largest width below the least
    ],
)
def test_a_fit_that_cannot_be_changes_nothing_and_says_why(curve, max_width, status):
    q = np.linspace(0.01, 0.2, 60)
    mine = fit(q, curve, np.ones(60), 30, max_width)
    assert mine.line[table.STATUS] == status
    assert np.isnan(mine.line[table.HEIGHT])
    np.testing.assert_array_equal(mine.search, curve)
