"""What the runtime costs beside the work: ``python -m benchmarks.runtime [--curves N]``."""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass
from typing import Any

from gpusaxs.kernels.curve_kernel import CurveKernel

import gpusaxs
from benchmarks.curves import Curves, seven_line_curves
from gpusaxs.backends import BLOCK_POINTS, IndexArray
from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.events import EventBus
from gpusaxs.runtime.interceptors import Interceptor, Proceed, StageLaunch
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Origin, Sample
from gpusaxs.stages.base import NO_REQUESTS, Requests, Stage
from gpusaxs.tables import tables_of

EMPTY_STAGES = 7
SMALL_CALLS = 1000


class Empty(Stage):
    """A stage that does nothing."""

    label: str

    @property
    def name(self) -> str:
        """Its label: there are several."""
        return self.label

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Do nothing."""
        return NO_REQUESTS


class Inside(Interceptor):
    """Adds up the processor time of the stages themselves, in the thread that launches them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, launch: StageLaunch, proceed: Proceed) -> Requests:
        """See `Interceptor.around`."""
        began = time.thread_time()
        try:
            return proceed(launch.rows)
        finally:
            self.seconds += time.thread_time() - began


@dataclass(frozen=True)
class Cost:
    """What a part of a run takes.

    Attributes
    ----------
    share
        Of the whole run, stacking and tables included.
    microseconds
        The same for each curve.
    """

    share: float
    microseconds: float


def bookkeeping(curves: Curves, pipeline: Pipeline) -> Cost:
    """Measure what is no stage's work in a run on one core, with events and a sink.

    Processor time of the launching thread and of the one that delivers the events.
    """
    inside = Inside()
    seen: list[object] = []
    per_block = max(1, BLOCK_POINTS // curves.intensity.shape[1])
    run_seconds = 0.0
    delivering = 0.0
    began = time.process_time()
    with EventBus([seen.append]) as bus:
        runtime = Runtime("numpy", 1, pipeline, interceptors=[inside], events=bus)
        with runtime.new_run(samples=len(curves)) as run:
            for first in range(0, len(curves), per_block):
                part = slice(first, first + per_block)
                batch = SampleBatch.from_arrays(
                    [str(number) for number in range(len(curves))[part]],
                    curves.q,
                    curves.intensity[part],
                    curves.sigma[part],
                    runtime.backend,
                )
                thread, process = time.thread_time(), time.process_time()
                runtime.run_on(batch, run)
                spent = time.thread_time() - thread
                run_seconds += spent
                delivering += max(0.0, time.process_time() - process - spent)
                tables_of(batch, [Origin()] * len(batch))
    whole = time.process_time() - began
    assert seen
    extra = run_seconds + delivering - inside.seconds
    return Cost(extra / whole, 1e6 * extra / len(curves))


class KernelSeconds(NumpyBackend):
    """Adds up the processor time of launches, on one core and one after another."""

    blocks_in_flight = 1

    def __init__(self) -> None:
        super().__init__(1)
        self.seconds = 0.0

    def launch(self, kernel: CurveKernel, *arguments: Any) -> None:
        """See `Backend.launch`."""
        began = time.thread_time()
        super().launch(kernel, *arguments)
        self.seconds += time.thread_time() - began


def outside_kernels(curves: Curves) -> Cost:
    """Measure what a run from memory to tables takes beside the launches of its kernels."""
    backend = KernelSeconds()
    began = time.process_time()
    gpusaxs.process(curves.q, curves.intensity, curves.sigma, q_unit="1/nm", backend=backend)
    whole = time.process_time() - began
    extra = whole - backend.seconds
    return Cost(extra / whole, 1e6 * extra / len(curves))


def empty_pipeline() -> Pipeline:
    """Stages that do nothing."""
    return Pipeline.of([Empty(label=f"empty_{number}") for number in range(EMPTY_STAGES)])


def small_calls(curves: Curves) -> tuple[float, float]:
    """Curves a second of one call with all of them, and of a call for each at the same time."""
    samples = [
        Sample(str(i), curves.q, intensity, sigma)
        for i, (intensity, sigma) in enumerate(zip(curves.intensity, curves.sigma, strict=True))
    ]

    async def together() -> float:
        began = time.perf_counter()
        await runtime.run_batch(samples)
        return len(samples) / (time.perf_counter() - began)

    async def apart() -> float:
        began = time.perf_counter()
        await asyncio.gather(*(runtime.run_batch([sample]) for sample in samples))
        return len(samples) / (time.perf_counter() - began)

    with Runtime("numpy") as runtime:
        return asyncio.run(together()), asyncio.run(apart())


@dataclass(frozen=True)
class RuntimeReport:
    """The best of some rounds; rates in curves a second.

    Attributes
    ----------
    standard, empty
        Bookkeeping with the standard pipeline, and with stages that do nothing.
    together, apart
        One call with `SMALL_CALLS` curves, and as many calls with one curve each.
    """

    standard: Cost
    empty: Cost
    together: float
    apart: float

    def lines(self) -> list[str]:
        """Return the numbers as sentences."""
        return [
            f"Scheduling, events and bookkeeping, with a sink, are {100 * self.standard.share:.1f} "
            f"% of a run with the standard pipeline on one core "
            f"({self.standard.microseconds:.1f} us a curve), and "
            f"{self.empty.microseconds:.1f} us a curve with {EMPTY_STAGES} stages that do nothing.",
            f"One call of `run_batch` with {SMALL_CALLS:,} curves: {self.together:,.0f} curves/s; "
            f"{SMALL_CALLS:,} calls with one curve each at the same time: {self.apart:,.0f} "
            f"curves/s.",
        ]


def measure_runtime(curves: Curves, rounds: int) -> RuntimeReport:
    """Measure what the runtime costs."""
    standard, few = Pipeline.load("standard"), curves.first(SMALL_CALLS)
    bookkeeping(few, standard)

    def least(pipeline: Pipeline) -> Cost:
        costs = [bookkeeping(curves, pipeline) for _ in range(rounds)]
        return min(costs, key=lambda cost: cost.microseconds)

    rates = [small_calls(few) for _ in range(rounds)]
    together, apart = (max(each) for each in zip(*rates, strict=True))
    return RuntimeReport(least(standard), least(empty_pipeline()), together, apart)


def main() -> None:
    """Print what the runtime costs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtime", description=__doc__)
    parser.add_argument("--curves", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    report = measure_runtime(seven_line_curves(asked.curves), asked.rounds)
    print("\n".join(report.lines()))


if __name__ == "__main__":
    main()
