"""One thread that runs the samples of many calls together: small calls share launches."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import numpy as np

from gpusaxs.arena import Arena
from gpusaxs.backends import BLOCK_POINTS, Backend, IndexArray
from gpusaxs.errors import RunStoppedError
from gpusaxs.runtime.event_loop import EventLoops
from gpusaxs.runtime.execution import Execution, Settings
from gpusaxs.runtime.run import Run
from gpusaxs.sample import CurveStatus, Sample, Verdict

logger = logging.getLogger("gpusaxs")

Deliver = Callable[[list[Sample]], None]


@dataclass(eq=False, slots=True)
class Submission:
    """Samples that were given to a runtime to be processed while it goes on.

    Parameters
    ----------
    most
        Samples that may be on their way at once; None for any number. As long as there are
        fewer and it is not closed, checkpoints wait for more.
    deliver
        Called with samples as they end, from the thread of the runtime.
    """

    service: Service
    run: Run
    number: int
    most: int | None = None
    deliver: Deliver | None = None
    future: Future[list[Sample]] = field(default_factory=Future)
    closed: bool = False
    given: int = 0
    ended: int = 0
    _results: dict[int, Sample] = field(default_factory=dict)

    @property
    def completed(self) -> list[Sample]:
        """Samples that have ended so far, in the order in which they were given."""
        return [self._results[place] for place in sorted(self._results)]

    def add(self, samples: Sequence[Sample]) -> None:
        """Give more samples; they go before those that are further on."""
        self.service.put(self, samples)

    def close(self) -> None:
        """Say that no more samples will come."""
        self.service.close_submission(self)

    def cancel(self, reason: str = "cancelled") -> None:
        """Let the samples that have not ended end as they are, before the next launch."""
        self.run.token.cancel(reason)

    def done(self) -> bool:
        """Whether all samples have ended."""
        return self.future.done()

    def result(self, timeout: float | None = None) -> list[Sample]:
        """Wait until all samples have ended and return them in the order they were given.

        Parameters
        ----------
        timeout
            Seconds; None waits for ever.

        Raises
        ------
        RunStoppedError
            If the runtime fails fast and a sample has failed.
        TimeoutError
            If they have not ended in that time; they go on.
        """
        return self.future.result(timeout)

    @property
    def expects_more(self) -> bool:
        """Whether a sample may still come before one of those on their way must end."""
        full = self.most is not None and self.given - self.ended >= self.most
        return not (self.closed or full)

    def finish(self) -> None:
        """Give the result to whoever waits for it."""
        if self.run.stopped:
            self.future.set_exception(RunStoppedError(self.run.stopped, self.completed))
        else:
            self.future.set_result(self.completed)

    def take(self, places: Sequence[int], samples: list[Sample]) -> None:
        """Take samples that have ended."""
        self.ended += len(samples)
        if self.deliver is None:
            self._results.update(zip(places, samples, strict=True))
        else:
            self.deliver(samples)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A sample that was given and has no row yet."""

    submission: Submission
    place: int
    sample: Sample


class Service:
    """Runs submissions in a thread that lives as long as there are any.

    The samples of all submissions share one arena, and so their launches. There are as many rows
    as make up a block; what does not fit waits as it was given. Where the pipeline has
    checkpoints all rows of a run have to be there at once, and the arena grows.
    """

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self.backend = backend
        self.settings = settings
        self.changed = threading.Condition()
        self.inbox: deque[_Waiting] = deque()
        self.open: dict[int, Submission] = {}
        self.begun: list[tuple[Run, int | None]] = []
        self.regroups: list[tuple[int, Future[list[Sample]]]] = []
        self.cancelled = False
        self.changes = 0
        self.worker: _Worker | None = None
        self.loops = EventLoops()
        self._numbers = itertools.count()

    def submission(
        self,
        run: Run,
        *,
        samples: int | None = None,
        most: int | None = None,
        deliver: Deliver | None = None,
    ) -> Submission:
        """Begin a submission; `samples` says how many it will have, where that is known."""
        submission = Submission(self, run, next(self._numbers), most, deliver)
        submission.future.set_running_or_notify_cancel()
        run.begin()
        with self.changed:
            self.open[submission.number] = submission
            self.begun.append((run, samples))
            self._tell()
            if self.worker is None:
                self.worker = _Worker(self)
        run.token.on_cancel(lambda reason: self._cancel(submission, reason))
        return submission

    def put(self, submission: Submission, samples: Sequence[Sample]) -> None:
        """Take samples in."""
        for sample in samples:
            if not isinstance(sample, Sample):
                raise TypeError(f"Expected samples. Got {type(sample).__name__}.")
        with self.changed:
            if submission.number not in self.open:
                return  # it has ended with an error, which its future tells
            places = range(submission.given, submission.given + len(samples))
            self.inbox.extend(map(_Waiting, itertools.repeat(submission), places, samples))
            submission.given += len(samples)
            self.cancelled |= submission.run.token.cancelled
            self._tell()

    def close_submission(self, submission: Submission) -> None:
        """Let a submission end when its samples have."""
        with self.changed:
            submission.closed = True
            self._tell()

    def regroup(self, min_stage: int) -> list[Sample]:
        """Hand out the samples that wait at or beyond a stage, after the launch at work."""
        answer: Future[list[Sample]] = Future()
        with self.changed:
            if self.worker is None:
                return []
            self.regroups.append((min_stage, answer))
            self._tell()
        return answer.result()

    def stop(self, reason: str) -> None:
        """Cancel everything and wait until the thread has ended."""
        with self.changed:
            worker, running = self.worker, list(self.open.values())
        for submission in running:
            submission.cancel(reason)
        if worker is not None:
            worker.thread.join()

    def _cancel(self, submission: Submission, reason: str) -> None:
        with self.changed:
            # A stream gets no more; whoever gives all samples at once closes when they are there.
            submission.closed |= submission.deliver is not None
            self.cancelled = True
            if self.worker is not None:
                self.worker.execution.cancel(submission.number, reason)
            self._tell()

    def _tell(self) -> None:
        """Let the worker look at what has changed; the lock is held."""
        self.changes += 1
        self.changed.notify()


class _Worker:
    """The thread of a service and what belongs to it alone."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.arena = Arena(service.backend)
        self.execution = Execution(self.arena.batch, service.settings, self._collect)
        self._rows: dict[int, _Waiting] = {}
        self._seen = 0
        self._holds = bool(service.settings.pipeline.holding)
        self.thread = threading.Thread(target=self._work, name="gpusaxs-runtime", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            lane = self.service.backend.lane(self.arena.batch.status)
            with lane, self.execution.watched():
                while True:
                    self._admit()
                    if not self.execution.step() and not self._wait():
                        return
                    self._finish()
        except BaseException as error:  # noqa: BLE001 whoever waits has to hear of it
            self._give_up(error)
        finally:
            # They know the worker: without this only the garbage collector would free them.
            del self.execution, self.arena

    def _admit(self) -> None:
        """Let what was given begin, as far as there is room; hand out what is to be."""
        service = self.service
        with service.changed:
            self._seen = service.changes
            dropped = self._drop_cancelled()
            admitted = self._next_in_line()
            begun, service.begun = service.begun, []
            if self._holds:
                for submission in service.open.values():
                    self.execution.expect_more(submission.number, submission.expects_more)
        for run, samples in begun:
            run.announce(samples)
        for waiting in dropped:
            waiting.submission.take([waiting.place], [_cancelled(waiting)])
        if admitted:
            self._enter(admitted)
        self._regroup()

    def _regroup(self) -> None:
        """Hand out what was asked for."""
        while True:
            with self.service.changed:
                if not self.service.regroups:
                    return
                min_stage, answer = self.service.regroups[0]
            answer.set_result(self.execution.regroup(min_stage))
            with self.service.changed:
                self.service.regroups.pop(0)

    def _drop_cancelled(self) -> list[_Waiting]:
        service = self.service
        if not service.cancelled:
            return []
        service.cancelled = False
        dropped = [w for w in service.inbox if w.submission.run.token.cancelled]
        if dropped:
            left = [w for w in service.inbox if not w.submission.run.token.cancelled]
            service.inbox = deque(left)
        return dropped

    def _next_in_line(self) -> list[_Waiting]:
        """Take what has room in the arena, in the order in which it was given."""
        admitted: list[_Waiting] = []
        inbox = self.service.inbox
        curves, points = len(self._rows), self.arena.batch.intensity.shape[1]
        while inbox:
            points = max(points, inbox[0].sample.q.size)
            full = curves > 0 and (curves + 1) * points > BLOCK_POINTS
            if full and not self._holds:
                break
            admitted.append(inbox.popleft())
            curves += 1
        return admitted

    def _enter(self, admitted: list[_Waiting]) -> None:
        rows = self.arena.add([waiting.sample for waiting in admitted])
        self.execution.use(self.arena.batch)
        self._rows.update(zip(rows.tolist(), admitted, strict=True))
        of_submission: dict[Submission, list[int]] = {}
        for row, waiting in zip(rows.tolist(), admitted, strict=True):
            of_submission.setdefault(waiting.submission, []).append(row)
        for submission, mine in of_submission.items():
            self.execution.enter(
                np.array(mine, np.int64),
                submission.number,
                submission.run,
                more=submission.expects_more,
            )

    def _collect(self, rows: IndexArray) -> None:
        """Hand over samples that have ended; their rows are free."""
        ended: dict[Submission, tuple[list[int], list[Sample]]] = {}
        for row, sample in zip(rows.tolist(), self.execution.batch.to_samples(rows), strict=True):
            waiting = self._rows.pop(row)
            remember(sample, waiting.sample)
            places, samples = ended.setdefault(waiting.submission, ([], []))
            places.append(waiting.place)
            samples.append(sample)
        self.arena.free(rows)
        for submission, (places, samples) in ended.items():
            submission.take(places, samples)

    def _finish(self) -> None:
        """End the submissions all of whose samples have ended."""
        with self.service.changed:
            done = [s for s in self.service.open.values() if s.closed and s.ended == s.given]
            for submission in done:
                del self.service.open[submission.number]
        for submission in done:
            self.execution.forget(submission.number)
            try:
                submission.run.end()
            except Exception as error:  # noqa: BLE001 whoever waits has to hear of it
                submission.future.set_exception(error)
            else:
                submission.finish()

    def _wait(self) -> bool:
        """Wait until there is something to do; return whether there can be."""
        self._finish()
        service = self.service
        with service.changed:
            if not service.open:
                service.worker = None
                for _, answer in service.regroups:
                    answer.set_result([])
                service.regroups = []
                return False
            if service.changes == self._seen:
                service.changed.wait()
        return True

    def _give_up(self, error: BaseException) -> None:
        """Tell everybody who waits that nothing will come any more."""
        service = self.service
        with service.changed:
            service.worker = None
            abandoned, service.open = list(service.open.values()), {}
            regroups, service.regroups = service.regroups, []
            service.inbox.clear()
            service.begun.clear()
        for submission in abandoned:
            try:
                submission.run.end()
            except Exception:
                logger.exception("run %s could not be ended", submission.run.name)
            submission.future.set_exception(error)
        for _, answer in regroups:
            answer.set_exception(error)


def _cancelled(waiting: _Waiting) -> Sample:
    """Return a sample that never began."""
    given = waiting.sample
    sample = replace(
        given,
        status=given.status | CurveStatus.CANCELLED,
        reason=f"cancelled: {waiting.submission.run.token.reason}",
        verdict=Verdict.FAILED,
    )
    remember(sample, given)
    return sample


def remember(sample: Sample, given: Sample) -> None:
    """Let a sample know the measurement that it comes from."""
    sample.origin = given.origin
    sample.measured_q = given.q
    sample.measured_intensity = given.intensity
