"""The refine stage: a curve's peaks after the search, fitted again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gpusaxs.kernels import peak_table as table
from numpy.typing import NDArray
from pydantic import ValidationError

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Peak, PeakRemarks
from gpusaxs.stages.find_peak import FindPeak
from gpusaxs.stages.process_peak import ProcessPeak
from gpusaxs.stages.refine import Refine

Q = np.linspace(0.2, 2.2, 900)
LINES = [(0.6, 0.04, 400.0), (1.0, 0.05, 3000.0), (1.075, 0.05, 1200.0), (1.5, 0.05, 600.0)]
TRUTH = np.array(LINES)
N = 250


def expected() -> NDArray[np.float64]:
    profiles = [
        Peak(0, 0.0, 0.0, q=q, fwhm=fwhm, height=height, eta=0.4).profile(Q)
        for q, fwhm, height in LINES
    ]
    total: NDArray[np.float64] = 200.0 + np.sum(profiles, axis=0)
    return total


def processed(intensity: Any, sigma: Any, *stages: Refine) -> SampleBatch:
    ids = [str(i) for i in range(len(intensity))]
    batch = SampleBatch.from_arrays(ids, Q, intensity, sigma, NumpyBackend(2))
    search = FindPeak(prominence_noise=8.0)
    pipeline = Pipeline(stages=(search, ProcessPeak(), *stages))
    Runtime(batch.backend, pipeline=pipeline).run_on(batch)
    return batch


def pulls(batch: SampleBatch) -> NDArray[np.float64]:
    """Errors over sigma of centre, FWHM and height, (curves, lines, 3); NaN where not found."""
    found = np.full((len(batch), len(LINES), 3), np.nan)
    for curve in range(len(batch)):
        rows = batch.peaks[curve, : batch.n_peaks[curve]]
        for line, truth in enumerate(TRUTH):
            row = rows[np.argmin(abs(rows[:, table.Q] - truth[0]))]
            if abs(row[table.Q] - truth[0]) < 0.5 * truth[1]:
                errors = row[[table.Q_SIGMA, table.FWHM_SIGMA, table.HEIGHT_SIGMA]]
                found[curve, line] = (row[[table.Q, table.FWHM, table.HEIGHT]] - truth) / errors
    return found


@pytest.fixture(scope="module")
def drawn() -> tuple[Any, Any]:
    """Curves with noise, and their sigma; (curves, points)."""
    sigma = np.tile(np.sqrt(expected()), (N, 1))
    return np.random.default_rng(11).normal(expected(), sigma), sigma


def test_uncertainties_of_overlapping_lines_cover_the_truth(drawn: tuple[Any, Any]) -> None:
    found = pulls(processed(*drawn, Refine()))
    complete = np.isfinite(found).all(axis=(1, 2))
    assert complete.sum() > 0.98 * N
    # Two standard errors of a standard deviation of that many are 0.09.
    np.testing.assert_allclose(found[complete].std(axis=0), 1.0, atol=0.12)
    assert (abs(found[complete].mean(axis=0)) < 0.3).all()
    assert 0.95 < found[complete][..., 0].std() < 1.05


def test_one_fit_after_another_is_off_where_lines_overlap(drawn: tuple[Any, Any]) -> None:
    found = pulls(processed(*drawn))
    complete = np.isfinite(found).all(axis=(1, 2))
    pair = found[complete][:, 1:3, 0]
    assert (abs(pair.mean(axis=0)) > 1.0).any()


def test_likelihood_and_least_squares_agree_where_there_are_many_counts() -> None:
    counts = np.random.default_rng(12).poisson(100.0 * expected(), (20, Q.size)).astype(float)
    both = [
        processed(counts, np.sqrt(counts), Refine(likelihood=likelihood))
        for likelihood in ("normal", "poisson")
    ]
    squares, likelihood = (batch.peaks[:, :4] for batch in both)
    off = abs(squares - likelihood)[..., table.Q] / squares[..., table.Q_SIGMA]
    assert np.median(off) < 0.1


def test_refined_peaks_say_so_and_the_residual_is_the_curve_less_them(
    drawn: tuple[Any, Any],
) -> None:
    batch = processed(drawn[0][:5], drawn[1][:5], Refine())
    for curve, sample in enumerate(batch.to_samples()):
        assert sample.metadata is not None
        peaks = sample.metadata.processed_peaks
        assert all(PeakRemarks.REFINED in peak.remarks for peak in peaks)
        near = [abs(Q - peak.q) < 11.8 * peak.fwhm for peak in peaks]
        everywhere = np.all(near, axis=0)
        left = sample.intensity - np.sum([peak.profile(Q) for peak in peaks], axis=0)
        assert everywhere.sum() > 30
        np.testing.assert_allclose(batch.residual[curve][everywhere], left[everywhere], rtol=1e-9)


def test_curves_without_peaks_pass() -> None:
    flat = np.random.default_rng(1).normal(100.0, 1.0, (2, Q.size))
    batch = processed(flat, np.ones_like(flat), Refine(shape="best"))
    assert (batch.n_peaks == 0).all()
    np.testing.assert_array_equal(batch.residual, batch.intensity)


@pytest.mark.parametrize(
    "wrong", [{"shape": "voigt"}, {"window": 0.1}, {"likelihood": "gamma"}, {"windows": 2.0}]
)
def test_unknown_parameters_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Refine(**wrong)
