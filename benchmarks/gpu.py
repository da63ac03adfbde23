"""A GPU beside the CPU, SciPy and cupyx: ``python -m benchmarks.gpu [--json FILE]``.

Runs on any machine; without a GPU the rows of the GPU say why they are not there. Times of kernels
alone, from arrays of the host, and from a file stand in tables of their own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

import gpusaxs
from benchmarks import peer_rates, peers
from benchmarks.archive import make_stack
from benchmarks.backend_rates import (
    FIT_POINTS,
    batch_of,
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
from benchmarks.curves import Curves, curves_with_peaks
from benchmarks.hardware import describe_gpu, measure_card
from benchmarks.least_cost import H200, PEAKS, SOME, Card, Costs, least_costs, page
from benchmarks.markdown import table
from benchmarks.measure import Machine, machine, seconds
from gpusaxs.archive.run import process_archive
from gpusaxs.backends import BLOCK_POINTS, Backend, cuda_problem, get_backend
from gpusaxs.backends.numpy import available_cores

Scope = Literal["kernels only", "from host arrays", "from file"]
PIPELINE = "standard pipeline"
FITS = f"fits of 5 parameters to {FIT_POINTS} points"
SEARCHES = "find_peaks"
SMOOTHING = "Savitzky-Golay"
# What the GPU is to reach at least, on an H200-class card, and more than that.
WANTED = {
    ("kernels only", PIPELINE): "1,000,000, aim 5,000,000",
    ("from host arrays", PIPELINE): "500,000, aim 2,000,000",
    ("kernels only", FITS): "20,000,000",
}
# The CPU fits so many times fewer peaks.
_FEWER_FITS = 10


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes
    ----------
    curves, points, fits
        For gpusaxs.
    peers
        Curves, or fits, for those that work on one at a time.
    rounds
        How often each is measured; the best counts.
    block
        Curves that are on the GPU at once where kernels alone are measured.
    counted
        Curves whose least cost is counted.
    """

    curves: int = 100_000
    points: int = 1000
    fits: int = 200_000
    peers: int = 400
    rounds: int = 3
    block: int = 100_000
    counted: int = SOME


@dataclass(frozen=True)
class Row:
    """A rate: who does how much of what in a second.

    Attributes
    ----------
    rate
        Curves or fits a second; None where it was not measured.
    remark
        Why it was not measured, or what is different.
    """

    scope: Scope
    task: str
    by: str
    rate: float | None
    remark: str = ""


@dataclass(frozen=True)
class Measured:
    """What was measured of one backend; times in seconds.

    Attributes
    ----------
    stages
        A curve's time in the kernels of each stage.
    launch
        A launch's time on the host.
    """

    rows: list[Row]
    stages: dict[str, float]
    launch: float


@dataclass(frozen=True)
class GpuReport:
    """All numbers.

    Attributes
    ----------
    gpu
        Its name, or why there is none.
    cuda, numpy
        What the backends do; no cuda without a GPU.
    peers
        What SciPy and cupyx do.
    costs, card
        What the stages cost at least, and the card for which least times are given.
    """

    machine: Machine
    gpu: str
    sizes: Sizes
    cuda: Measured | None
    numpy: Measured
    peers: list[Row]
    costs: Costs
    card: Card
    workers: int = field(default_factory=available_cores)

    @property
    def rows(self) -> list[Row]:
        """Every rate; those of the GPU say why they are missing, where they are."""
        absent = [
            replace(row, by="gpusaxs, cuda", rate=None, remark=self.gpu) for row in self.numpy.rows
        ]
        return [*(self.cuda.rows if self.cuda else absent), *self.numpy.rows, *self.peers]

    def document(self) -> dict[str, Any]:
        """Return the report as plain numbers and words."""
        return asdict(self) | {"rows": [asdict(row) for row in self.rows]}


def best(rounds: int, work: Callable[[], float]) -> float:
    """Least of the times of some rounds; the first, in which kernels compile, is one more."""
    work()
    return min(work() for _ in range(rounds))


def measure_backend(
    backend: Backend, name: str, sizes: Sizes, curves: Curves, block: int, stack: Path
) -> Measured:
    """Measure a backend.

    Parameters
    ----------
    name
        By which the backend is asked for.
    block
        Curves in its memory at once where kernels alone are measured.
    stack
        The file with the same curves.
    """
    whole = [stage_seconds(curves, backend, block) for _ in range(sizes.rounds + 1)]
    stages = min(whole[1:], key=lambda each: sum(each.values()))
    number = sizes.fits if backend.name == "cuda" else max(1, sizes.fits // _FEWER_FITS)
    fitted = fit_batch(draw_fits(number), backend)
    fits = number / best(sizes.rounds, lambda: fit_seconds(fitted))
    converged = f"{100.0 * share_converged(fitted):.1f} % converged"
    few = curves.first(block)
    values = over_noise(curves.first(min(len(curves), 200)))
    values = values[np.arange(len(curves)) % len(values)]
    smoothed = batch_of(few, backend)
    searches = len(values) / best(sizes.rounds, lambda: search_seconds(values, backend, block))
    smoothing = len(few) / best(sizes.rounds, lambda: smooth_seconds(smoothed))

    def from_arrays() -> float:
        return seconds(
            lambda: gpusaxs.process(
                curves.q, curves.intensity, curves.sigma, q_unit="1/nm", backend=name
            )
        )

    def from_file() -> float:
        with tempfile.TemporaryDirectory(dir=stack.parent) as folder:
            summary = process_archive([stack], Path(folder) / "run", backend=name)
        assert summary.all_well, summary
        return summary.seconds

    by = f"gpusaxs, {backend.name}"
    rows = [
        Row("kernels only", PIPELINE, by, len(curves) / sum(stages.values())),
        Row("kernels only", FITS, by, fits, f"float64, weighted, covariance; {converged}"),
        Row("kernels only", SEARCHES, by, searches, "all properties"),
        Row("kernels only", SMOOTHING, by, smoothing, "sigma propagated"),
        Row("from host arrays", PIPELINE, by, len(curves) / best(sizes.rounds, from_arrays)),
        Row(
            "from file", PIPELINE, by, len(curves) / best(sizes.rounds, from_file), "HDF5, float32"
        ),
    ]
    return Measured(
        rows,
        {stage: spent / len(curves) for stage, spent in stages.items()},
        launch_seconds(smoothed),
    )


def measure_peers(sizes: Sizes, curves: Curves, cuda: str | None) -> list[Row]:
    """Measure SciPy in as many processes as there are cores, and cupyx where there is a GPU.

    Parameters
    ----------
    cuda
        Why there is no GPU, or None.
    """
    processes = available_cores()
    few = curves.first(sizes.peers)
    values = over_noise(few)
    by = f"SciPy in {processes} processes"
    with peers.pool(few, processes) as executor:
        pipeline = len(few) / best(
            sizes.rounds, lambda: seconds(lambda: peers.process(executor, few))
        )
        fits = peer_rates.fits_of_scipy(executor, processes, draw_fits(sizes.peers))
        searches = peer_rates.rate(executor, processes, peer_rates.seconds_of_searches, values)
        smoothing = peer_rates.rate(
            executor, processes, peer_rates.seconds_of_smoothing, few.intensity
        )
    rows = [
        Row("from host arrays", PIPELINE, by, pipeline, "without the phase"),
        Row("kernels only", FITS, by, fits, "curve_fit"),
        Row("kernels only", SEARCHES, by, searches, "in a loop"),
        Row("kernels only", SMOOTHING, by, smoothing, "stacked; without sigma"),
    ]
    on_gpu = (
        (SEARCHES, lambda: peer_rates.searches_of_cupyx(values), "in a loop"),
        (
            SMOOTHING,
            lambda: peer_rates.smoothing_of_cupyx(curves.first(sizes.block).intensity),
            "stacked; without sigma",
        ),
    )
    for task, measured, remark in on_gpu:
        rows.append(
            Row("kernels only", task, "cupyx", None, cuda)
            if cuda
            else Row("kernels only", task, "cupyx", measured(), remark)
        )
    return rows


def measure(sizes: Sizes, name: str = "cuda") -> GpuReport:
    """Measure everything.

    Parameters
    ----------
    name
        The backend of the GPU.
    """
    curves = curves_with_peaks(PEAKS, sizes.curves, points=sizes.points)
    problem = cuda_problem()
    with tempfile.TemporaryDirectory() as folder:
        stack = Path(folder) / "stack.h5"
        make_stack(stack, curves.first(200), len(curves))
        on_cpu = measure_backend(
            get_backend("numpy"), "numpy", sizes, curves, BLOCK_POINTS // sizes.points, stack
        )
        on_gpu = None
        if problem is None:
            on_gpu = measure_backend(get_backend(name), name, sizes, curves, sizes.block, stack)
    return GpuReport(
        machine=machine(),
        gpu=problem or describe_gpu(),
        sizes=sizes,
        cuda=on_gpu,
        numpy=on_cpu,
        peers=measure_peers(sizes, curves, problem),
        costs=least_costs(curves.first(sizes.counted)),
        card=H200 if problem else measure_card(),
    )


def rates(report: GpuReport, scope: Scope) -> str:
    """Return the rates of one scope as a table, tasks together."""
    order = (PIPELINE, FITS, SEARCHES, SMOOTHING)
    some = sorted(
        (row for row in report.rows if row.scope == scope), key=lambda row: order.index(row.task)
    )
    return table(
        ("task", "a second", "wanted of an H200", "by", "remark"),
        [
            (
                row.task,
                "not measured" if row.rate is None else f"{row.rate:,.0f}",
                WANTED.get((scope, row.task), "") if row.by == "gpusaxs, cuda" else "",
                row.by,
                row.remark,
            )
            for row in some
        ],
    )


def stages(report: GpuReport) -> str:
    """Return the least time of each stage beside the measured ones, as a table."""

    def line(stage: str, least: float, cuda: float | None, numpy: float) -> tuple[str, ...]:
        return (
            stage,
            f"{1e9 * least:.1f}",
            "not measured" if cuda is None else f"{1e9 * cuda:.1f}",
            "" if cuda is None else f"{100.0 * least / cuda:.0f} %",
            f"{1e6 * numpy:.1f}",
        )

    def measured(of: Mapping[str, float] | None, stage: str) -> float | None:
        return None if of is None else of[stage]

    on_gpu = report.cuda and report.cuda.stages
    least = {stage: cost.seconds(report.card) for stage, cost in report.costs.items()}
    lines = [
        line(stage, least[stage], measured(on_gpu, stage), report.numpy.stages[stage])
        for stage in report.costs
    ]
    everything = line(
        "all",
        sum(least.values()),
        None if on_gpu is None else sum(on_gpu.values()),
        sum(report.numpy.stages.values()),
    )
    return table(
        ("kernels of a stage", "least ns", "cuda ns", "least / cuda", "numpy us"),
        [*lines, everything],
    )


def launches(report: GpuReport) -> str:
    """Return what a launch takes on the host, as a sentence."""
    numpy = f"numpy {1e6 * report.numpy.launch:.0f} us"
    cuda = f"cuda {1e6 * report.cuda.launch:.0f} us" if report.cuda else "cuda not measured"
    return f"A launch over one curve takes on the host: {cuda} (wanted: below 30), {numpy}."


def section(report: GpuReport) -> str:
    """Return all numbers as a section of a page."""
    sizes = report.sizes
    title = "## GPU" if report.cuda else "## GPU: never measured"
    state = (
        f"On {report.gpu}."
        if report.cuda
        else f"There was no GPU ({report.gpu}): kernels are compiled for sm_80, sm_90 and sm_100, "
        "assembled, and run in Numba's simulator, and that is all. What is missing here is "
        "measured by `python -m benchmarks.gpu` on a machine with one."
    )
    return f"""{title}

{state} The host has {report.workers} cores of an {report.machine.processor}. \
{sizes.curves:,} curves of {sizes.points:,} points with {PEAKS} peaks; the best of {sizes.rounds} \
rounds (`python -m benchmarks.gpu`).

Kernels only, everything in the backend's memory before and after:

{rates(report, "kernels only")}

Gpufit's authors report 4.0 million fits/s of five parameters to 25 points, without weights.

From arrays in the host's memory to tables:

{rates(report, "from host arrays")}

From a file to a run directory:

{rates(report, "from file")}

### Stage by stage

{page(report.costs, report.card, sizes.points)}
{stages(report)}

Times are for one curve; numpy on all cores.

{launches(report)}
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    usual = Sizes()
    parser.add_argument("--curves", type=int, default=usual.curves)
    parser.add_argument("--points", type=int, default=usual.points, help="of a curve")
    parser.add_argument("--fits", type=int, default=usual.fits)
    parser.add_argument("--peers", type=int, default=usual.peers, help="curves and fits for SciPy")
    parser.add_argument("--rounds", type=int, default=usual.rounds, help="how often each")
    parser.add_argument(
        "--block", type=int, default=usual.block, help="curves on the GPU at once, kernels only"
    )
    parser.add_argument(
        "--counted", type=int, default=usual.counted, help="curves whose least cost is counted"
    )
    parser.add_argument("--backend", default="cuda", help="of the GPU, such as cuda:1")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    asked = vars(parser.parse_args())
    path, name = asked.pop("json"), asked.pop("backend")
    warnings.simplefilter("ignore")
    report = measure(Sizes(**asked), name)
    print(section(report), end="")
    if path:
        path.write_text(json.dumps(report.document(), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
