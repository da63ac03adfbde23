"""Runs a pipeline over samples: takes launches from the scheduler until none is left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from gpusaxs.backends import Backend, IndexArray, get_backend
from gpusaxs.batch import SampleBatch
from gpusaxs.errors import GpusaxsError, PipelineError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.regroup import RegroupPool
from gpusaxs.runtime.scheduler import Launch, Scheduler
from gpusaxs.sample import CurveStatus, Sample
from gpusaxs.stages.base import Requests


class Runtime:
    """Runs one pipeline on one backend.

    Parameters
    ----------
    backend
        A backend or its name.
    workers
        Threads of the numpy backend; by default one a core.
    pipeline
        A pipeline, the name of a preset, or a TOML file.

    Examples
    --------
    >>> from gpusaxs import Runtime, Sample, simulate
    >>> simulation = simulate(2, seed=1)
    >>> samples = [Sample("a", simulation.q, simulation.intensity[0], simulation.sigma[0])]
    >>> [done] = Runtime("numpy", workers=1).run(samples)
    >>> done.id
    'a'
    """

    def __init__(
        self,
        backend: str | Backend = "auto",
        workers: int | None = None,
        pipeline: str | Pipeline = "standard",
    ) -> None:
        self.backend = get_backend(backend, workers) if isinstance(backend, str) else backend
        self.pipeline = pipeline if isinstance(pipeline, Pipeline) else Pipeline.load(pipeline)

    def run(self, samples: Sequence[Sample]) -> list[Sample]:
        """Process samples and return them in the same order; the given ones are not changed."""
        if not samples:
            return []
        batch = SampleBatch.from_samples(samples, self.backend)
        self.run_on(batch)
        done = batch.to_samples()
        for given, result in zip(samples, done, strict=True):
            result.origin = given.origin
            result.measured_q = given.q
            result.measured_intensity = given.intensity
        return done

    async def run_batch(self, samples: Sequence[Sample]) -> list[Sample]:
        """Process samples in another thread: `run` for an event loop."""
        return await asyncio.to_thread(self.run, samples)

    def run_on(self, batch: SampleBatch) -> list[Launch]:
        """Process a batch in place and return the launches in their order."""
        return _Run(batch, self.pipeline).to_the_end()


@dataclass(slots=True)
class _Run:
    """One batch on its way through a pipeline."""

    batch: SampleBatch
    pipeline: Pipeline
    scheduler: Scheduler = field(default_factory=Scheduler)
    pool: RegroupPool = field(default_factory=RegroupPool)
    granted: dict[str, IndexArray] = field(default_factory=dict)

    def to_the_end(self) -> list[Launch]:
        numbers = self.pipeline.numbers
        self.pool.set_checkpoints(numbers[name] for name in self.pipeline.checkpoints)
        self._send(self.pipeline.after(-1), self.batch.live_rows())
        launches = []
        while (launch := self.scheduler.pop()) or self._release():
            if launch:
                launches.append(launch)
                self._run(launch)
        return launches

    def _run(self, launch: Launch) -> None:
        stage = self.pipeline.stages[launch.stage_num]
        self.batch.stage_num[launch.rows] = launch.stage_num
        try:
            requests = stage.launch(self.batch, launch.rows)
        except GpusaxsError:
            raise
        except Exception as error:  # noqa: BLE001 a stage may be anybody's code
            self.batch.fail(launch.rows, launch.stage, error)
            return
        alive = np.isin(launch.rows, self.batch.live_rows(), assume_unique=True)
        rows = launch.rows[alive]
        moved = self._grant(rows, requests, launch)
        self._send(self.pipeline.after(launch.stage_num), rows[~np.isin(rows, moved)])

    def _grant(self, rows: IndexArray, requests: Requests, launch: Launch) -> IndexArray:
        """Send rows where they ask to go, as far as the policies admit; return those sent."""
        moved = [np.empty(0, np.int64)]
        for name, all_asking in requests.items():
            number = self.pipeline.numbers.get(name)
            if number is None:
                raise PipelineError(
                    f"Stage {launch.stage!r} asked for {name!r}, which is not in the pipeline "
                    f"({', '.join(self.pipeline.numbers)}). Name it in the stage's may_request."
                )
            asking = all_asking[np.isin(all_asking, rows)]
            granted = self.granted.setdefault(name, np.zeros(len(self.batch), np.int64))
            admitted = self.pipeline.policy(name).admit(granted[asking], int(granted.sum()))
            granted[asking[admitted]] += 1
            if not admitted.all():
                self.batch.set_status(asking[~admitted], CurveStatus.INSERTION_REFUSED)
            self._send(number, asking[admitted])
            moved.append(asking[admitted])
        return np.concatenate(moved)

    def _send(self, number: int, rows: IndexArray) -> None:
        """Let rows wait for a stage, or hold them at a checkpoint; past the end they are done."""
        if number == len(self.pipeline.stages):
            self.batch.stage_num[rows] = number
        elif number in self.pool.checkpoints:
            self.pool.add(number, rows)
        else:
            self.scheduler.push(number, self.pipeline.stages[number].name, rows)

    def _release(self) -> bool:
        """Let the lowest checkpoint go: nothing moves any more, so nothing can still arrive."""
        held = [number for number in self.pool.checkpoints if self.pool.held(number)]
        if not held or not self.pool.checkpoint_ready(min(held), self.scheduler.waiting()):
            return False
        number = min(held)
        released = self.pool.regroup(number)
        for stage, rows in released.items():
            if stage == number:
                self.scheduler.push(stage, self.pipeline.stages[stage].name, np.sort(rows))
            else:
                self.pool.add(stage, rows)
        return True
