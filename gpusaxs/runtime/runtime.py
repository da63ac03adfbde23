"""Runs a pipeline over samples: at once, in an event loop, or one by one as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Literal

import numpy as np

from gpusaxs.backends import Backend, get_backend
from gpusaxs.batch import SampleBatch
from gpusaxs.errors import RunStoppedError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.cancel import CancelToken
from gpusaxs.runtime.events import EventBus
from gpusaxs.runtime.execution import Execution, OnCheckpoint, Settings
from gpusaxs.runtime.interceptors import Interceptor
from gpusaxs.runtime.run import Run
from gpusaxs.runtime.service import Service, Submission, remember
from gpusaxs.runtime.stream import stream
from gpusaxs.sample import Sample


class Runtime:
    """Runs one pipeline on one backend.

    `run` works in the calling thread. `submit`, `run_batch` and `stream` hand their samples to
    one thread of the runtime, which runs what came from all of them together. A curve's result is
    the same either way.

    Parameters
    ----------
    backend
        A backend or its name.
    workers
        Threads of the numpy backend; by default one a core.
    pipeline
        A pipeline, the name of a preset, or a TOML file.
    on_failure
        Whether other curves go on where one fails, or all that are not complete are cancelled
        and `RunStoppedError` is raised.
    interceptors
        What is done around each launch; the first is the outermost.
    events
        Takes what happens to its sinks. Who made it closes it.
    on_checkpoint
        Called with the name of a checkpoint's stage and all samples held there; returns those
        that go on, changed or not, or None for all as they are.
    rows_at_once
        Curves that one launch may have; by default as many as the backend has memory for.
    device_memory
        What may be taken of each GPU, such as ``"20GB"``: see `gpusaxs.backends.get_backend`.

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
        *,
        on_failure: Literal["continue", "fail_fast"] = "continue",
        interceptors: Sequence[Interceptor] = (),
        events: EventBus | None = None,
        on_checkpoint: OnCheckpoint | None = None,
        rows_at_once: int | None = None,
        device_memory: int | str | None = None,
    ) -> None:
        if on_failure not in ("continue", "fail_fast"):
            raise ValueError(f"Expected on_failure 'continue' or 'fail_fast'. Got {on_failure!r}.")
        if rows_at_once is not None and rows_at_once < 1:
            raise ValueError(f"Expected at least 1 row at once. Got {rows_at_once}.")
        self._owns_backend = isinstance(backend, str)
        if isinstance(backend, str):
            backend = get_backend(backend, workers, device_memory)
        self.backend = backend
        self.pipeline = pipeline if isinstance(pipeline, Pipeline) else Pipeline.load(pipeline)
        self.settings = Settings(
            self.pipeline,
            tuple(interceptors),
            events,
            on_checkpoint,
            on_failure == "fail_fast",
            rows_at_once,
        )
        self._service = Service(self.backend, self.settings)

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what is on its way, and give the threads back."""
        self._service.stop("the runtime was closed")
        if self._owns_backend:
            self.backend.close()

    def run(self, samples: Sequence[Sample], cancel: CancelToken | None = None) -> list[Sample]:
        """Process samples and return them in the same order; the given ones are not changed.

        Parameters
        ----------
        cancel
            Tells the run to stop. What was complete by then is returned so; the status of the
            rest is ``cancelled``.

        Raises
        ------
        RunStoppedError
            If the runtime fails fast and a sample has failed.
        """
        if not samples:
            with self.new_run(cancel, 0):
                return []
        with self.backend.lane():
            batch = SampleBatch.from_samples(samples, self.backend)
            with self.new_run(cancel, len(samples)) as run:
                self.run_on(batch, run)
            done = batch.to_samples()
        for sample, given in zip(done, samples, strict=True):
            remember(sample, given)
        if run.stopped:
            raise RunStoppedError(run.stopped, done)
        return done

    @contextmanager
    def new_run(
        self, cancel: CancelToken | None = None, samples: int | None = None
    ) -> Iterator[Run]:
        """Begin a run of one batch or several, and end it.

        Parameters
        ----------
        cancel
            Tells the run to stop.
        samples
            How many samples it will have, where that is known.
        """
        run = self._new_run(cancel)
        run.begin()
        try:
            run.announce(samples)
            yield run
        finally:
            run.end()

    def run_on(self, batch: SampleBatch, run: Run | None = None) -> None:
        """Process a batch in place, as a run of its own or as part of one."""
        if run is None:
            with self.new_run(samples=len(batch)) as own:
                self.run_on(batch, own)
            return
        with self.backend.lane(batch.status):
            execution = Execution(batch, self.settings)
            execution.enter(np.arange(len(batch)), 0, run)
            unlisten = run.token.on_cancel(lambda reason: execution.cancel(0, reason))
            try:
                with execution.watched():
                    while execution.step():
                        pass
            finally:
                unlisten()

    def submit(self, samples: Sequence[Sample], cancel: CancelToken | None = None) -> Submission:
        """Give samples to be processed, beside those that are on their way, and go on.

        They begin before samples that are further on continue.

        Returns
        -------
        Submission
            ``result()`` waits for them; ``completed`` has what has ended so far.
        """
        submission = self._service.submission(self._new_run(cancel), samples=len(samples))
        try:
            submission.add(samples)
        finally:
            submission.close()
        return submission

    async def run_batch(
        self, samples: Sequence[Sample], cancel: CancelToken | None = None
    ) -> list[Sample]:
        """Process samples from an event loop: see `run`.

        Small calls at the same time share their launches. When the task is cancelled, so is the
        run.
        """
        submission = self.submit(samples, cancel)
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def end() -> None:
            if not ended.done():
                ended.set_result(None)

        submission.future.add_done_callback(lambda _: self._service.loops.call(loop, end))
        try:
            await ended
            return submission.result(0)
        except asyncio.CancelledError:
            submission.cancel("the task was cancelled")
            raise

    def stream(
        self,
        source: Iterable[Sample] | AsyncIterable[Sample],
        *,
        max_in_flight: int = 64,
        cancel: CancelToken | None = None,
    ) -> AsyncIterator[Sample]:
        """Process samples as they come and yield each when it has ended.

        Parameters
        ----------
        source
            Of any length. A synchronous one is asked for its next sample in another thread.
        max_in_flight
            Samples that were taken from the source and that the loop over the stream is not
            done with: a slow loop stops the source. A checkpoint waits for so many, or for the
            end of the source.
        cancel
            Tells the run to stop; what was on its way is yielded with the status ``cancelled``.

        Raises
        ------
        RunStoppedError
            If the runtime fails fast and a sample has failed.
        PipelineError
            If a stage needs all curves at once: a stream may have no end.
        """
        self.pipeline.check_by_curve("a stream never has all of them. Use run or run_batch")
        if max_in_flight < 1:
            raise ValueError(f"Expected at least 1 sample in flight. Got {max_in_flight}.")
        return stream(self._service, self._new_run(cancel), source, max_in_flight)

    def regroup(self, min_stage: str | int) -> list[Sample]:
        """Hand out every submitted sample that waits at a stage or beyond it, and end it there.

        Each is handed out once; the rest goes on. The calls that the samples came from get them
        as they stand, with the remark ``regrouped``. It waits for the launch at work: in an
        event loop, call it in a thread.

        Parameters
        ----------
        min_stage
            The stage, by its name or number.
        """
        number = self.pipeline.numbers[min_stage] if isinstance(min_stage, str) else min_stage
        return self._service.regroup(number)

    def _new_run(self, cancel: CancelToken | None) -> Run:
        return Run(self.pipeline.name, self.backend.name, cancel, self.settings.events)
