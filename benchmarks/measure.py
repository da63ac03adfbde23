"""What is measured: curves a second, where the time goes, kernels beside SciPy, and memory."""

from __future__ import annotations

import datetime
import platform
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from gpusaxs.kernels.curve_kernel import CurveKernel
from scipy.signal import find_peaks, savgol_coeffs, savgol_filter

import gpusaxs
from benchmarks import peers
from benchmarks.archive import ArchiveReport
from benchmarks.curves import Curves
from benchmarks.formats import FormatsReport
from benchmarks.runtime import RuntimeReport, measure_runtime
from gpusaxs.backends.numpy import NumpyBackend, available_cores
from gpusaxs.batch import SampleBatch
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime


class TimingBackend(NumpyBackend):
    """Notes how long the launches of each kernel take, on one core and one after another."""

    blocks_in_flight = 1

    def __init__(self) -> None:
        super().__init__(1)
        self.seconds: Counter[str] = Counter()

    def launch(self, kernel: CurveKernel, *arguments: Any) -> None:
        """See `Backend.launch`."""
        started = time.perf_counter()
        super().launch(kernel, *arguments)
        self.seconds[kernel.name] += time.perf_counter() - started


@dataclass(frozen=True)
class Machine:
    """What the numbers were measured on."""

    processor: str
    cores: int
    python: str
    versions: dict[str, str]
    date: str


@dataclass(frozen=True)
class Report:
    """All numbers; rates in curves a second, the best of the rounds.

    Attributes
    ----------
    phase_rate, rate, peers_rate
        gpusaxs with the phase, gpusaxs without it, and the SciPy peers, which have none.
    ratio
        `phase_rate` over `peers_rate`: gpusaxs does more.
    shares
        Share of the time of each kernel's launches, and of all else, on one core.
    kernels
        Microseconds a curve of a kernel on one core, and of SciPy's function.
    """

    machine: Machine
    curves: int
    peers_curves: int
    points: int
    workers: int
    rounds: int
    peaks: float
    peers_peaks: float
    phase_rate: float
    rate: float
    peers_rate: float
    ratio: float
    shares: dict[str, float]
    kernels: dict[str, tuple[float, float]]
    memory: float
    runtime: RuntimeReport
    archives: ArchiveReport
    formats: FormatsReport

    def document(self) -> dict[str, Any]:
        """Return the report as plain numbers and words."""
        return asdict(self)


def machine() -> Machine:
    """Name the hardware and the libraries."""
    return Machine(
        _processor(),
        available_cores(),
        platform.python_version(),
        {name: version(name) for name in ("gpusaxs", "numpy", "scipy", "numba", "pybaselines")},
        datetime.date.today().isoformat(),
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def seconds(work: Callable[[], Any]) -> float:
    """Duration of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def without_phase() -> Pipeline:
    """Return the standard pipeline up to the last peak."""
    standard = Pipeline.load("standard")
    stages = [stage for stage in standard.stages if stage.name != "phase"]
    return Pipeline.of(stages, insertion=standard.insertion)


def run_gpusaxs(curves: Curves, pipeline: str | Pipeline = "standard") -> gpusaxs.Result:
    """Process curves from memory on all cores."""
    return gpusaxs.process(
        curves.q, curves.intensity, curves.sigma, q_unit="1/nm", pipeline=pipeline, backend="numpy"
    )


def shares_of_time(curves: Curves) -> dict[str, float]:
    """Share of the time of each kernel in one run on one core, the largest first."""
    backend = TimingBackend()
    total = seconds(
        lambda: gpusaxs.process(
            curves.q, curves.intensity, curves.sigma, q_unit="1/nm", backend=backend
        )
    )
    shares = {name: spent / total for name, spent in backend.seconds.most_common()}
    return shares | {"all else": 1.0 - sum(shares.values())}


def kernels_beside_scipy(curves: Curves, rounds: int) -> dict[str, tuple[float, float]]:
    """Microseconds a curve of kernels and of the SciPy functions that do the same."""
    backend = TimingBackend()
    batch = SampleBatch.from_arrays(
        [str(i) for i in range(len(curves))], curves.q, curves.intensity, curves.sigma, backend
    )
    pipeline = Pipeline.load("standard")
    stages = {stage.name: stage for stage in pipeline.stages}
    before = Pipeline.of(pipeline.stages[: pipeline.numbers["find_peak"]])
    Runtime(backend, pipeline=before).run_on(batch)
    rows = np.arange(len(curves))
    weights = savgol_coeffs(peers.WINDOW, peers.ORDER) ** 2

    def kernel(name: str, stage: str) -> float:
        """Time of one kernel in one launch of a stage."""
        backend.seconds.clear()
        stages[stage].launch(batch, rows)
        return backend.seconds[name]

    def scipy_savgol() -> None:
        for intensity, sigma in zip(batch.intensity, batch.sigma, strict=True):
            savgol_filter(intensity, peers.WINDOW, peers.ORDER)
            np.sqrt(np.convolve(sigma**2, weights, mode="same"))

    def scipy_search() -> None:
        for search, level in zip(batch.search, batch.noise, strict=True):
            find_peaks(
                search,
                height=peers.HEIGHT_NOISE * level,
                prominence=peers.PROMINENCE_NOISE * level,
            )

    def best(work: Callable[[], float]) -> float:
        return 1e6 * min(work() for _ in range(rounds)) / len(curves)

    return {
        "savgol": (best(lambda: kernel("savgol", "filter")), best(lambda: seconds(scipy_savgol))),
        "find_peak": (
            best(lambda: kernel("find_peak", "find_peak")),
            best(lambda: seconds(scipy_search)),
        ),
    }


def measure(
    curves: Curves,
    peers_curves: int,
    rounds: int,
    memory: Callable[[], float],
    archives: Callable[[], ArchiveReport],
    formats: Callable[[], FormatsReport],
) -> Report:
    """Measure everything; gpusaxs and its peers take turns, so that both see the same machine."""
    few = curves.first(peers_curves)
    bare = without_phase()
    result = run_gpusaxs(curves)
    run_gpusaxs(few, bare)
    with_phase, no_phase, by_peers = [], [], []
    with peers.pool(few) as executor:
        found = peers.process(executor, few)
        for _ in range(rounds):
            with_phase.append(len(curves) / seconds(lambda: run_gpusaxs(curves)))
            no_phase.append(len(curves) / seconds(lambda: run_gpusaxs(curves, bare)))
            by_peers.append(len(few) / seconds(lambda: peers.process(executor, few)))
    return Report(
        machine=machine(),
        curves=len(curves),
        peers_curves=len(few),
        points=curves.q.size,
        workers=available_cores(),
        rounds=rounds,
        peaks=float(result.samples["n_peaks"].to_numpy().mean()),
        peers_peaks=float(np.mean([len(peaks) for peaks in found])),
        phase_rate=max(with_phase),
        rate=max(no_phase),
        peers_rate=max(by_peers),
        ratio=max(with_phase) / max(by_peers),
        shares=shares_of_time(curves),
        kernels=kernels_beside_scipy(curves.first(2000), rounds),
        memory=memory(),
        runtime=measure_runtime(curves, rounds),
        archives=archives(),
        formats=formats(),
    )
