"""One run: the curves of one call, when it is to stop, and what it came to."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property

import gpusaxs
from gpusaxs.kernels import status as codes
from gpusaxs.runtime.cancel import CancelToken
from gpusaxs.runtime.events import EventBus, RunEnded, RunStarted, SampleEnded, now
from gpusaxs.sample import CurveStatus


@dataclass(slots=True)
class Tally:
    """What a run came to so far; blocks of one run may count at the same time."""

    samples: int = 0
    complete: int = 0
    failed: int = 0
    cancelled: int = 0
    refused: int = 0
    launches: int = 0
    retries: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    seconds_by_stage: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    launches_by_stage: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def launched(self, stage: str, seconds: float) -> None:
        """Count a launch."""
        with self._lock:
            self.launches += 1
            self.seconds_by_stage[stage] += seconds
            self.launches_by_stage[stage] += 1

    def retried(self) -> None:
        """Count another attempt."""
        with self._lock:
            self.retries += 1

    def ended(self, status: list[int], reasons: list[str]) -> None:
        """Count curves that take no further part, by their status."""
        with self._lock:
            self.samples += len(status)
            self.reasons.update(reasons)
            for code, count in Counter(status).items():
                self.statuses[code] += count
                self.refused += count if code & codes.INSERTION_REFUSED else 0
                if code & codes.CANCELLED:
                    self.cancelled += count
                elif code & codes.FAILURES:
                    self.failed += count
                else:
                    self.complete += count


_PROCESS = uuid.uuid4().hex[:8]
_NUMBERS = itertools.count(1)


@dataclass
class Run:
    """The curves of one call.

    Parameters
    ----------
    pipeline, backend
        Their names, for people.
    given
        A user's token, which may be given to several runs: cancelling it cancels this one.
    bus
        Takes its events.
    stopped
        Why it ended early by itself, as a runtime that fails fast does.

    Attributes
    ----------
    token
        Tells this run to stop, and no other.
    """

    pipeline: str
    backend: str
    given: CancelToken | None = None
    bus: EventBus | None = None
    stopped: str = ""
    token: CancelToken = field(default_factory=CancelToken)
    name: str = field(default_factory=lambda: f"{_PROCESS}-{next(_NUMBERS)}")
    started: float = field(default_factory=now)

    @cached_property
    def tally(self) -> Tally:
        """What it came to so far."""
        return Tally()

    def begin(self) -> None:
        """Listen to the token that was given; its cleanup waits for the end of the run."""
        if self.given is not None:
            self.given.run_began()
            self._unlisten = self.given.on_cancel(self.token.cancel)

    def announce(self, samples: int | None) -> None:
        """Say that it has begun; `samples` is None where their number is not known."""
        if self.bus is not None:
            self.bus.emit(RunStarted(self.started, self.name, self.pipeline, self.backend, samples))

    def end(self) -> None:
        """Say what it came to, and do the cleanup."""
        try:
            if self.bus is not None:
                self.bus.emit(self.summary())
        finally:
            if self.given is not None:
                self._unlisten()
                self.given.run_ended()

    def unreadable(self, sample: str, reason: str, *, fatal: bool) -> None:
        """Say that something among its inputs was no curve; where that is fatal, it stops."""
        if fatal and not self.stopped:
            self.stopped = f"curve {sample!r} has failed: {reason}"
        if self.bus is not None:
            self.tally.ended([codes.UNREADABLE], [reason])
            status = CurveStatus.UNREADABLE.label
            self.bus.emit(SampleEnded(now(), self.name, sample, status, True, reason))

    def summary(self) -> RunEnded:
        """Return what a person asks first, in one record."""
        tally, at = self.tally, now()
        seconds = at - self.started
        return RunEnded(
            at=at,
            run=self.name,
            pipeline=self.pipeline,
            backend=self.backend,
            version=gpusaxs.__version__,
            started=self.started,
            seconds=seconds,
            samples=tally.samples,
            complete=tally.complete,
            failed=tally.failed,
            cancelled=tally.cancelled,
            refused=tally.refused,
            launches=tally.launches,
            retries=tally.retries,
            samples_per_second=tally.samples / max(seconds, 1e-6),
            statuses={CurveStatus(code).label: n for code, n in tally.statuses.most_common()},
            reasons=dict(tally.reasons.most_common(20)),
            seconds_by_stage=dict(tally.seconds_by_stage),
            launches_by_stage=dict(tally.launches_by_stage),
            cancel_reason=self.token.reason or "",
        )
