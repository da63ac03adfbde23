"""The command for GPUs runs without one, and its measurements of the GPU in the simulator."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
from gpusaxs.kernels import peak_table as table

from benchmarks.backend_rates import (
    HEIGHT,
    PROMINENCE,
    batch_of,
    covered,
    draw_fits,
    fit_batch,
    fit_seconds,
    launch_seconds,
    over_noise,
    search_seconds,
    share_converged,
    smooth_seconds,
    stage_seconds,
)
from benchmarks.curves import curves_with_peaks
from benchmarks.gpu import (
    FITS,
    PIPELINE,
    SEARCHES,
    SMOOTHING,
    Measured,
    Row,
    Sizes,
    measure,
    section,
)
from benchmarks.peer_rates import seconds_of_fits
from gpusaxs.backends import cuda_problem, get_backend
from gpusaxs.backends.numpy import NumpyBackend

STAGES = {"cut", "noise", "background", "filter", "find_peak", "process_peak", "phase"}


@pytest.fixture(scope="module")
def backend():
    return NumpyBackend(1)


@pytest.fixture(scope="module")
def curves():
    return curves_with_peaks(6, 20, 4, 400)


@pytest.fixture(scope="module")
def report():
    return measure(Sizes(60, points=300, fits=1000, peers=2, rounds=1, block=25, counted=3))


def rate_of(report, scope, task, by):
    [row] = [r for r in report.rows if (r.scope, r.task) == (scope, task) and r.by.startswith(by)]
    return row


def test_the_curves_have_as_many_peaks_as_they_are_said_to(backend, curves):
    assert curves.intensity.shape == (20, 400)
    np.testing.assert_array_equal(curves.intensity[:4], curves.intensity[16:])
    seconds = stage_seconds(curves, backend, 8)
    assert set(seconds) == STAGES
    assert min(seconds.values()) > 0.0


def test_what_several_workers_do_at_the_same_time_counts_once():
    assert covered([(5.0, 6.0), (0.0, 2.0), (1.0, 3.0), (1.5, 1.6)]) == 4.0
    assert covered([]) == 0.0


def test_the_fits_that_are_timed_find_what_is_true_within_their_uncertainties(backend):
    fits = draw_fits(2000)
    batch = fit_batch(fits, backend)
    for _ in range(2):  # what one round leaves behind does not change the next
        assert fit_seconds(batch) > 0.0
        peaks = batch.peaks[:, 0]
        assert share_converged(batch) > 0.99
        assert np.isnan(batch.peaks[:, 1:]).all()
        for value, sigma, truth in (
            (table.Q, table.Q_SIGMA, fits.centres),
            (table.FWHM, table.FWHM_SIGMA, fits.fwhms),
        ):
            pull = (peaks[:, value] - truth) / peaks[:, sigma]
            assert 0.9 < 1.4826 * np.median(np.abs(pull)) < 1.1
    assert (peaks[:, table.ETA] == 0.0).all()


def test_scipy_fits_the_same_curves(backend):
    fits = draw_fits(5).curves
    assert seconds_of_fits(fits.intensity, fits.sigma) > 0.0


def test_the_searches_that_are_timed_find_what_scipy_finds(backend, curves, monkeypatch):
    values = over_noise(curves.first(7))
    seen = []
    launch = backend.launch

    def noting(*arguments):
        launch(*arguments)
        seen.extend(arguments[-1][: len(arguments[1])])

    monkeypatch.setattr(backend, "launch", noting)
    assert search_seconds(values, backend, 3) > 0.0
    expected = [
        scipy.signal.find_peaks(curve, height=HEIGHT, prominence=PROMINENCE)[0].size
        for curve in values
    ]
    assert seen == expected
    assert min(expected) > 0


def test_every_rate_of_the_cpu_is_measured(report):
    for row in report.rows:
        if row.by.startswith(("gpusaxs, numpy", "SciPy")):
            assert row.rate > 0.0, row
    for task in (PIPELINE, FITS, SEARCHES, SMOOTHING):
        assert rate_of(report, "kernels only", task, "gpusaxs, numpy")
    assert set(report.numpy.stages) == set(report.costs) == STAGES


@pytest.mark.skipif(cuda_problem() is None, reason="there is a GPU here")
def test_without_a_gpu_each_of_its_rows_says_why_it_was_not_measured(report):
    absent = [row for row in report.rows if row.by in ("gpusaxs, cuda", "cupyx")]
    assert len(absent) == 8
    for row in absent:
        assert row.rate is None
        assert row.remark == cuda_problem()
    text = section(report)
    assert "## GPU: never measured" in text
    for scope in ("Kernels only", "From arrays in the host's memory", "From a file"):
        assert scope in text
    assert text.count("not measured") == 8 + len(STAGES) + 1 + 1
    assert json.loads(json.dumps(report.document()))["rows"][0]["rate"] is None


def test_with_a_gpu_its_stages_stand_beside_their_least_times(report):
    least = {stage: cost.seconds(report.card) for stage, cost in report.costs.items()}
    row = Row("kernels only", PIPELINE, "gpusaxs, cuda", 1e6)
    twice = Measured([row], {stage: 2.0 * spent for stage, spent in least.items()}, 25e-6)
    text = section(replace(report, gpu="a card", cuda=twice, peers=[]))
    assert "not measured" not in text
    assert "| standard pipeline " in text
    assert "1,000,000, aim 5,000,000" in text
    assert text.count(" 50 % ") == len(STAGES) + 1
    assert "cuda 25 us" in text


def test_what_is_measured_on_a_gpu_runs_in_the_simulator():
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed (pip install '.[test]')")
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.test_gpu"],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"},
        check=True,
        timeout=300,
    )


def run_in_the_simulator():
    backend = get_backend("cuda")
    drawn = draw_fits(3)
    fits = fit_batch(drawn, backend)
    assert fit_seconds(fits) > 0.0
    assert share_converged(fits) == 1.0
    values = np.tile(np.sin(np.arange(40.0)) * 10.0, (3, 1))
    assert search_seconds(values, backend, 2) > 0.0
    batch = batch_of(drawn.curves, backend)
    assert smooth_seconds(batch) > 0.0
    assert launch_seconds(batch, 2) > 0.0
    assert set(stage_seconds(drawn.curves, backend, 2)) >= {"cut", "noise", "find_peak", "phase"}


if __name__ == "__main__":
    run_in_the_simulator()
