"""What the runtime costs beside the work: ``python -m benchmarks.runtime [--curves N]``."""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass

import numpy as np

from benchmarks.curves import Curves, seven_line_curves
from gpusaxs.backends import IndexArray
from gpusaxs.batch import BLOCK_POINTS, SampleBatch
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.events import EventBus
from gpusaxs.runtime.interceptors import Interceptor, Proceed, StageLaunch
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Origin, Sample
from gpusaxs.stages.base import NO_REQUESTS, Requests, Stage
from gpusaxs.tables import tables_of

EMPTY_STAGES = 7


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
    """What a run takes.

    Attributes
    ----------
    share
        Scheduling, events and bookkeeping over the whole run, stacking and tables included.
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


def main() -> None:
    """Print the three costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    curves = seven_line_curves(arguments.curves)
    few = curves.first(1000)
    standard = Pipeline.load("standard")
    bookkeeping(few, standard)
    cost = min((bookkeeping(curves, standard) for _ in range(arguments.rounds)), key=_share)
    print(
        f"standard pipeline: {100 * cost.share:.2f} % of the run, "
        f"{cost.microseconds:.1f} us a curve"
    )
    cost = min((bookkeeping(curves, empty_pipeline()) for _ in range(arguments.rounds)), key=_share)
    print(f"{EMPTY_STAGES} empty stages: {cost.microseconds:.2f} us a curve")
    rates = np.array([small_calls(few) for _ in range(arguments.rounds)])
    together, apart = rates.max(axis=0)
    print(f"one call with 1,000 curves: {together:,.0f} curves/s")
    print(f"1,000 calls with one each: {apart:,.0f} curves/s, {apart / together:.2f} of that")


def _share(cost: Cost) -> float:
    return cost.share


if __name__ == "__main__":
    main()
