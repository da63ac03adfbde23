"""Runs launches over a batch, one after another, until nothing waits: a thin executor."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from gpusaxs.backends import IndexArray
from gpusaxs.backends.supervision import Direction, observed_by, worker_name
from gpusaxs.batch import SampleBatch
from gpusaxs.errors import BackendError, PipelineError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.events import (
    CheckpointReleased,
    Copied,
    Event,
    EventBus,
    KernelRan,
    LaunchEnded,
    Retried,
    RunCancelled,
    SampleEnded,
    epoch,
    now,
)
from gpusaxs.runtime.flow import NO_ROWS, Checkpoint, Flow, Which
from gpusaxs.runtime.interceptors import Interceptor, StageLaunch, nested
from gpusaxs.runtime.run import Run
from gpusaxs.runtime.scheduler import Launch
from gpusaxs.sample import CurveStatus, Sample
from gpusaxs.stages.base import NO_REQUESTS, Requests

OnCheckpoint = Callable[[str, list[Sample]], Sequence[Sample] | None]
"""Called with the name of a checkpoint's stage and all samples held there. Returns those that go
on, changed or not; None for all as they are."""


class LaunchCancelled(BaseException):
    """All curves of a launch were cancelled while it waited for its next attempt."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a runtime runs its launches: see `gpusaxs.runtime.runtime.Runtime`."""

    pipeline: Pipeline
    interceptors: tuple[Interceptor, ...] = ()
    events: EventBus | None = None
    on_checkpoint: OnCheckpoint | None = None
    fail_fast: bool = False
    rows_at_once: int | None = None


class Execution:
    """One batch on its way through a pipeline, a launch at a time.

    Everything but `cancel` is called from one thread. Rows end in `ended`: complete, failed or
    cancelled, each once.

    Parameters
    ----------
    ended
        Called with rows that take no further part, as they do.
    """

    def __init__(
        self,
        batch: SampleBatch,
        settings: Settings,
        ended: Callable[[IndexArray], None] = lambda rows: None,
    ) -> None:
        self.settings = settings
        self._ended = ended
        stages = enumerate(settings.pipeline.stages)
        self._may_fail = frozenset(number for number, stage in stages if "curve" in stage.writes)
        self._flow = Flow(settings.pipeline)
        self.use(batch)
        self._runs: dict[int, Run] = {}
        self._cancelled: deque[tuple[int, str]] = deque()
        self._cancel_came = threading.Event()
        self._observer = None if settings.events is None else _Observer(settings.events)

    def use(self, batch: SampleBatch) -> None:
        """Go on with a batch that has the same curves in the same rows."""
        self.batch = batch
        for stage, numbers in self.settings.pipeline.number_columns.items():
            batch.number_table(stage, numbers)
        limits = (self.settings.rows_at_once, batch.backend.rows_at_once(batch.intensity.shape[1]))
        self._flow.rows_at_once = min((most for most in limits if most is not None), default=None)

    def enter(self, rows: IndexArray, number: int, run: Run, *, more: bool = False) -> None:
        """Let rows begin as part of a run; `more` says whether others will follow.

        `number` names the run here. Rows that have failed before end at once.
        """
        self._runs[number] = run
        alive = self.batch.alive(rows)
        self.batch.stage_num[rows] = 0
        self._flow.enter(rows, number, more=more)
        if not alive.all():
            self._flow.remove(rows[~alive])
            self._end_failed(rows[~alive])

    def expect_more(self, number: int, more: bool) -> None:
        """Say whether rows of a run can still enter: its checkpoints wait for them."""
        self._flow.expect_more(number, more)

    def forget(self, number: int) -> None:
        """Drop what is kept about a run all of whose rows have ended."""
        self._runs.pop(number, None)
        self._flow.forget(number)

    def cancel(self, number: int, reason: str) -> None:
        """Let the rows of a run end before the next launch; from any thread."""
        self._cancelled.append((number, reason))
        self._cancel_came.set()

    def step(self) -> bool:
        """Run the next launch; return whether there was one."""
        if self._cancelled:
            self._drop_cancelled()
        while (checkpoint := self._flow.ready_checkpoint()) is not None:
            self._release(checkpoint)
        launch = self._flow.next_launch()
        if launch is None:
            return False
        self._launch(launch)
        return True

    def watched(self) -> AbstractContextManager[None]:
        """Let the sinks hear of what the backend does for this thread."""
        return observed_by(self._observer)

    def regroup(self, min_stage: int) -> list[Sample]:
        """Hand out the samples that wait at or beyond a stage; they end here."""
        rows = self._flow.regroup(min_stage)
        self.batch.set_status(rows, CurveStatus.REGROUPED)
        samples = self.batch.to_samples(rows)
        self._end(rows)
        return samples

    def _launch(self, launch: Launch) -> None:
        stage = self.settings.pipeline.stages[launch.stage_num]
        self.batch.stage_num[launch.rows] = launch.stage_num
        work = StageLaunch(
            stage, launch.stage_num, launch.rows, self.batch,
            lambda event: self._emit_of(launch, event),
            lambda seconds: self._pause(seconds, launch.rows),
        )  # fmt: skip
        began, problem, requests = time.perf_counter(), "", NO_REQUESTS
        try:
            answer = nested(self.settings.interceptors, work, launch.rows)
            requests = {name: np.asarray(rows, np.int64) for name, rows in answer.items()}
        except LaunchCancelled:
            for run, rows in self._by_run(launch.rows[self.batch.alive(launch.rows)]):
                reason = f"cancelled: {run.token.reason}"
                self.batch.end(rows, CurveStatus.CANCELLED, reason)
        except (PipelineError, BackendError):
            raise  # no curve could be processed so
        except Exception as error:  # noqa: BLE001 a stage may be anybody's code
            problem = str(error)
            self.batch.fail(launch.rows[self.batch.alive(launch.rows)], launch.stage, error)
        if self.settings.events is not None:
            self._tell(self.settings.events, launch, began, problem)
        self._settle(launch, requests)

    def _settle(self, launch: Launch, requests: Requests) -> None:
        alive = self._alive(launch)
        failed = NO_ROWS if alive is None else launch.rows[~alive]
        settled = self._flow.settle(launch, alive, requests, self._sample)
        if settled.refused.size:
            self.batch.set_status(settled.refused, CurveStatus.INSERTION_REFUSED)
        for row, error in settled.errors.items():
            self.batch.fail([row], launch.stage, error)
        self.batch.errors.clear()
        if settled.ended.size:
            self.batch.stage_num[settled.ended] = len(self.settings.pipeline.stages)
        if settled.errors:
            failed = np.concatenate([failed, np.fromiter(settled.errors, np.int64)])
        self._end(settled.ended)
        if failed.size:
            self._end_failed(failed)

    def _alive(self, launch: Launch) -> Which:
        """Which rows of a launch have not failed; the device is asked only where some may have."""
        if launch.stage_num not in self._may_fail and not self.batch.status_set:
            return None
        self.batch.status_set = False
        return self.batch.alive(launch.rows)

    def _sample(self, row: int) -> Sample:
        [sample] = self.batch.to_samples(np.array([row]))
        return sample

    def _end_failed(self, failed: IndexArray) -> None:
        """End rows that failed; and their runs, where the first failure is to."""
        fatal = failed if self.settings.fail_fast else NO_ROWS
        for row, number in zip(fatal.tolist(), self._flow.runs(fatal).tolist(), strict=True):
            if not self._runs[number].token.cancelled:
                sample = self._sample(row)
                reason = f"curve {sample.id!r} has failed: {sample.reason}"
                self._runs[number].stopped = reason
                self._runs[number].token.cancel(reason)
        self._end(failed)

    def _drop_cancelled(self) -> None:
        self._cancel_came.clear()
        while self._cancelled:
            number, reason = self._cancelled.popleft()
            if number not in self._runs:
                continue
            rows = self._flow.rows_of(number)
            self._flow.remove(rows)
            self.batch.end(rows, CurveStatus.CANCELLED, f"cancelled: {reason}")
            self._emit(RunCancelled(now(), self._runs[number].name, reason, rows.size))
            self._end(rows)

    def _release(self, checkpoint: Checkpoint) -> None:
        stage = self.settings.pipeline.stages[checkpoint.stage_num].name
        rows, function = checkpoint.rows, self.settings.on_checkpoint
        if function is not None:
            samples = self.batch.to_samples(rows)
            try:
                kept = function(stage, list(samples))
                rows = rows if kept is None else self._take_over(rows, samples, kept)
            except Exception as error:  # noqa: BLE001 the function is the user's
                self.batch.fail(rows, stage, error)
                self.batch.errors.clear()
                rows = NO_ROWS
        alive = rows[self.batch.alive(rows)]
        self._flow.release(checkpoint, alive)
        gone = checkpoint.rows[~np.isin(checkpoint.rows, alive)]
        dropped = gone[self.batch.alive(gone)]
        self.batch.end(dropped, CurveStatus.DROPPED, f"dropped at the checkpoint {stage}")
        name = self._runs[checkpoint.run].name
        self._emit(CheckpointReleased(now(), name, stage, checkpoint.rows.size, alive.size))
        self._end(dropped)
        self._end_failed(gone[~np.isin(gone, dropped)])

    def _take_over(
        self, rows: IndexArray, held: list[Sample], kept: Sequence[Sample]
    ) -> IndexArray:
        """Let curves be what a function has made of them; return the rows of those it kept."""
        row_of = dict(zip((sample.id for sample in held), rows.tolist(), strict=True))
        if len(row_of) < len(held):
            raise ValueError(
                f"Expected {len(held)} different ids at the checkpoint. Got {len(row_of)}."
            )
        strangers = [sample.id for sample in kept if sample.id not in row_of]
        if strangers:
            raise ValueError(
                f"Expected samples that were held at the checkpoint. Got {', '.join(strangers)}."
            )
        chosen = {row_of[sample.id]: sample for sample in kept}
        for row, sample in chosen.items():
            self.batch.set_curve(row, sample)
        staying = rows[np.isin(rows, np.fromiter(chosen, np.int64))]
        self.batch.restart_search(staying)
        return staying

    def _end(self, rows: IndexArray) -> None:
        if rows.size == 0:
            return
        if self.settings.events is not None:
            self._tell_ended(self.settings.events, rows)
        self._flow.forget_rows(rows)
        self._ended(rows)

    def _pause(self, seconds: float, rows: IndexArray) -> None:
        """Wait, but no longer than somebody waits for the result of one of the rows."""
        until = time.perf_counter() + seconds
        runs = set(self._flow.runs(rows).tolist())
        while (left := until - time.perf_counter()) > 0:
            if self._cancel_came.wait(left):
                self._cancel_came.clear()
                if runs <= {number for number, _ in list(self._cancelled)}:
                    raise LaunchCancelled

    def _emit(self, event: Event) -> None:
        if self.settings.events is not None:
            self.settings.events.emit(event)

    def _emit_of(self, launch: Launch, event: Event) -> None:
        """Emit what an interceptor tells of a launch."""
        if self.settings.events is not None and isinstance(event, Retried):
            for run, _ in self._by_run(launch.rows):
                run.tally.retried()
        self._emit(event)

    def _by_run(self, rows: IndexArray) -> list[tuple[Run, IndexArray]]:
        if len(self._runs) == 1:
            return [(run, rows) for run in self._runs.values()]
        runs = self._flow.runs(rows)
        return [(self._runs[n], rows[runs == n]) for n in np.unique(runs).tolist()]

    def _tell(self, bus: EventBus, launch: Launch, began: float, problem: str) -> None:
        ended = time.perf_counter()
        seconds = ended - began
        for run, _ in self._by_run(launch.rows):
            run.tally.launched(launch.stage, seconds)
        bus.emit(
            LaunchEnded(
                epoch(ended), launch.stage, launch.stage_num, launch.rows.size, seconds,
                worker_name(), problem,
            )
        )  # fmt: skip

    def _tell_ended(self, bus: EventBus, rows: IndexArray) -> None:
        at, reasons, ids = now(), self.batch.reasons, self.batch.ids
        for run, mine in self._by_run(rows):
            status = self.batch.backend.to_host(self.batch.status[mine]).tolist()
            told = [reasons[row] for row in mine.tolist() if row in reasons] if reasons else []
            run.tally.ended(status, told)
            kinds = {code: CurveStatus(code) for code in set(status)}
            said = {code: (kind.label, kind.failed) for code, kind in kinds.items()}
            ended = SampleEnded._make
            bus.emit_all(
                [
                    ended((at, run.name, ids[row], *said[code], reasons.get(row, "")))
                    for row, code in zip(mine.tolist(), status, strict=True)
                ]
            )


@dataclass(frozen=True, slots=True)
class _Observer:
    """Tells the sinks what the backend did."""

    bus: EventBus

    def kernel_ran(self, kernel: str, rows: int, began: float, worker: str) -> None:
        at = now()
        self.bus.emit(KernelRan(at, kernel, rows, at - epoch(began), worker))

    def copied(self, direction: Direction, nbytes: int, began: float, worker: str) -> None:
        at = now()
        self.bus.emit(Copied(at, direction, nbytes, at - epoch(began), worker))
