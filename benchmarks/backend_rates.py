"""What a backend does with arrays that are in its memory already: kernels only."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from gpusaxs.kernels import find_peaks as kernel
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.savgol import savgol

from benchmarks.curves import Curves, FloatArray
from gpusaxs.backends import Backend
from gpusaxs.backends.supervision import observed_by
from gpusaxs.batch import SampleBatch
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.interceptors import Interceptor, Proceed, StageLaunch
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.stages.base import Requests
from gpusaxs.stages.filter import savgol_tables
from gpusaxs.stages.process_peak import ProcessPeak

# What the searches that are compared accept, in units of the noise, and the smoothing.
HEIGHT, PROMINENCE = 3.0, 6.0
WINDOW, ORDER = 5, 2
FIT_POINTS = 25
LAUNCHES = 200
_FIRST, _STEP = 1.0, 0.01


class Stopwatch(Interceptor):
    """Notes when the kernels of each stage run. The backend waits for each, so its time is its own.

    Attributes
    ----------
    spans
        By stage, when its kernels began and ended on each worker.
    """

    def __init__(self) -> None:
        self.spans: dict[str, list[tuple[float, float]]] = {}
        self._stage = ""

    def around(self, launch: StageLaunch, proceed: Proceed) -> Requests:
        """See `Interceptor.around`."""
        self._stage = launch.stage.name
        self.spans.setdefault(self._stage, [])
        with observed_by(self):
            return proceed(launch.rows)

    def kernel_ran(self, kernel: str, rows: int, began: float, worker: str) -> None:
        """See `Observer.kernel_ran`."""
        self.spans[self._stage].append((began, time.perf_counter()))

    def copied(self, direction: str, nbytes: int, began: float, worker: str) -> None:
        """See `Observer.copied`: a copy is no kernel."""

    def seconds(self) -> dict[str, float]:
        """Time in which at least one worker ran a kernel of a stage."""
        return {stage: covered(spans) for stage, spans in self.spans.items()}


def covered(spans: list[tuple[float, float]]) -> float:
    """Length of what intervals cover together."""
    length, reached = 0.0, -np.inf
    for began, ended in sorted(spans):
        length += max(0.0, ended - max(began, reached))
        reached = max(reached, ended)
    return length


def timed(backend: Backend, work: Callable[[], Any]) -> float:
    """Duration of some launches, in seconds, up to their end."""
    backend.synchronize()
    began = time.perf_counter()
    work()
    backend.synchronize()
    return time.perf_counter() - began


def batch_of(curves: Curves, backend: Backend) -> SampleBatch:
    """Return curves as a batch in the memory of a backend."""
    names = [str(number) for number in range(len(curves))]
    return SampleBatch.from_arrays(names, curves.q, curves.intensity, curves.sigma, backend)


def stage_seconds(
    curves: Curves, backend: Backend, block: int, pipeline: str | Pipeline = "standard"
) -> dict[str, float]:
    """Time of each stage's kernels over all curves, blocks of them one after another."""
    watch = Stopwatch()
    runtime = Runtime(backend, pipeline=pipeline, interceptors=[watch])
    for first in range(0, len(curves), block):
        part = slice(first, first + block)
        runtime.run_on(
            batch_of(Curves(curves.q, curves.intensity[part], curves.sigma[part]), backend)
        )
    return watch.seconds()


@dataclass(frozen=True)
class Fits:
    """Gaussians on straight lines with the noise of counts: five parameters, 25 points.

    Attributes
    ----------
    curves
        Of counts, with their sigma.
    centres, fwhms : (curves,) float64
        What is true of them, in 1/nm.
    """

    curves: Curves
    centres: FloatArray
    fwhms: FloatArray


def draw_fits(number: int, seed: int = 1) -> Fits:
    """Draw peaks that are in the middle of their curves, within a step of q."""
    rng = np.random.default_rng(seed)
    q = _FIRST + _STEP * np.arange(FIT_POINTS)
    centre, fwhm, height, level, slope = (
        rng.uniform(low, high, number)[:, np.newaxis]
        for low, high in (
            (q[FIT_POINTS // 2] - _STEP, q[FIT_POINTS // 2] + _STEP),
            (6.0 * _STEP, 10.0 * _STEP),
            (500.0, 2000.0),
            (50.0, 200.0),
            (-100.0, 100.0),
        )
    )
    u = 2.0 * (q - centre) / fwhm
    expected = height * np.exp2(-u * u) + level + slope * (q - q[FIT_POINTS // 2])
    counts = rng.poisson(expected).astype(np.float64)
    return Fits(Curves(q, counts, np.sqrt(np.maximum(counts, 1.0))), centre[:, 0], fwhm[:, 0])


def fit_batch(fits: Fits, backend: Backend) -> SampleBatch:
    """Return the curves with their highest point as the candidate to be fitted."""
    batch = batch_of(fits.curves, backend)
    counts = fits.curves.intensity
    candidates = np.full((len(counts), *batch.candidates.shape[1:]), np.nan)
    highest = counts.argmax(axis=1)
    top = counts[np.arange(len(counts)), highest]
    candidates[:, 0, table.INDEX] = highest
    candidates[:, 0, table.VALUE] = top
    candidates[:, 0, table.PROMINENCE] = top - counts.min(axis=1)
    candidates[:, 0, table.FOUND_AS] = 0.0
    batch.candidates = backend.to_device(candidates)
    return batch


def fit_seconds(batch: SampleBatch) -> float:
    """Time of one fit of each curve: of five parameters, weighted, with its covariance.

    All that the stage does to a peak is in it: starting values from the curve, a row of the table
    of peaks with all uncertainties, and the peak taken away.
    """
    rows = np.arange(len(batch))
    stage = ProcessPeak(shape="gaussian", window=20.0)
    batch.n_peaks[...] = 0
    batch.restart_search(rows)
    _ = batch.search  # copied now, not in the time of the fit
    return timed(batch.backend, lambda: stage.launch(batch, rows))


def share_converged(batch: SampleBatch) -> float:
    """Share of the fits that have converged."""
    status = batch.backend.to_host(batch.peaks[:, 0, table.STATUS])
    return float(np.mean(status == codes.FIT_CONVERGED))


def over_noise(curves: Curves) -> FloatArray:
    """Return what is searched for peaks, over its noise; (curves, points) float64.

    Points that were cut off are zero.
    """
    from gpusaxs.backends.numpy import NumpyBackend  # noqa: PLC0415

    standard = Pipeline.load("standard")
    before = Pipeline.of(standard.stages[: standard.numbers["find_peak"]])
    batch = batch_of(curves, NumpyBackend())
    Runtime(batch.backend, pipeline=before).run_on(batch)
    return np.nan_to_num(batch.search / batch.noise)


def search_seconds(values: FloatArray, backend: Backend, block: int) -> float:
    """Time of `find_peaks` over curves, blocks of them one after another."""
    limits = np.tile([-np.inf, np.inf], (kernel.CONDITIONS, 1))
    limits[kernel.HEIGHT, 0], limits[kernel.PROMINENCE, 0] = HEIGHT, PROMINENCE
    block = min(block, len(values))
    room = values.shape[1] // 2
    found = backend.empty((block, room, kernel.FOUND_COLUMNS))
    number = backend.empty((block,), np.int64)
    spent = 0.0
    for first in range(0, len(values), block):
        part = backend.to_device(values[first : first + block])
        rows = np.arange(part.shape[0])
        span = (
            backend.to_device(np.zeros_like(rows)),
            backend.to_device(np.full_like(rows, part.shape[1])),
        )
        spent += timed(
            backend,
            lambda part=part, rows=rows, span=span: backend.launch(
                kernel.find_peaks, rows, span, part, limits, -1, 0.5, found, number
            ),
        )
    return spent


def smooth_seconds(batch: SampleBatch) -> float:
    """Time of Savitzky-Golay smoothing over curves, the propagation of sigma included."""
    rows = np.arange(len(batch))
    into = (batch.search, batch.noise)
    tables = savgol_tables(WINDOW, ORDER)
    return timed(
        batch.backend,
        lambda: batch.launch(savgol, rows, batch.intensity, batch.sigma, *tables, *into),
    )


def launch_seconds(batch: SampleBatch, launches: int = LAUNCHES) -> float:
    """Time that a launch takes on the host, over one curve: the median of many."""
    rows = np.arange(1)
    spent = []
    for _ in range(launches):
        began = time.perf_counter()
        batch.replace_by_search(rows)
        spent.append(time.perf_counter() - began)
    batch.backend.synchronize()
    return median(spent)
