"""What happens while a runtime works, as values; and the queue that takes them to their sinks."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Literal, NamedTuple, get_args

logger = logging.getLogger("gpusaxs")

_EPOCH = time.time() - time.perf_counter()
_PILE_UP_SECONDS = 0.1


def now() -> float:
    """Seconds since 1970, by a clock that never goes back."""
    return epoch(time.perf_counter())


def epoch(moment: float) -> float:
    """Return a time of `time.perf_counter` in seconds since 1970."""
    return _EPOCH + moment


class RunStarted(NamedTuple):
    """A run has begun: `samples` is None where their number is not known yet.

    In all events `at` is the end of what they tell of, in seconds since 1970; what took `seconds`
    began at ``at - seconds``. `worker` is the name of a thread.
    """

    at: float
    run: str
    pipeline: str
    backend: str
    samples: int | None


class LaunchEnded(NamedTuple):
    """A stage has run over some rows, of one run or of several; `error` says why it failed."""

    at: float
    stage: str
    stage_num: int
    rows: int
    seconds: float
    worker: str
    error: str


class KernelRan(NamedTuple):
    """A worker has run a kernel over its share of a launch's rows."""

    at: float
    kernel: str
    rows: int
    seconds: float
    worker: str


class Copied(NamedTuple):
    """An array went to the device or came from it."""

    at: float
    direction: Literal["host_to_device", "device_to_host"]
    nbytes: int
    seconds: float
    worker: str


class SampleEnded(NamedTuple):
    """A sample takes no further part: it is complete, has failed, or was cancelled."""

    at: float
    run: str
    sample: str
    status: str
    failed: bool
    reason: str


class CheckpointReleased(NamedTuple):
    """All samples that could still arrive at a checkpoint have; `released` of them went on."""

    at: float
    run: str
    stage: str
    held: int
    released: int


class Retried(NamedTuple):
    """Rows failed for a reason that may pass, and are run again after `wait` seconds."""

    at: float
    stage: str
    rows: int
    attempt: int
    wait: float
    error: str


class RunCancelled(NamedTuple):
    """A run was told to stop; `samples` of it were on their way."""

    at: float
    run: str
    reason: str
    samples: int


class RunEnded(NamedTuple):
    """What a person asks first about a run, in one record.

    A launch that several runs shared counts in each of them, with its rows of all.
    """

    at: float
    run: str
    pipeline: str
    backend: str
    version: str
    started: float
    seconds: float
    samples: int
    complete: int
    failed: int
    cancelled: int
    refused: int
    launches: int
    retries: int
    samples_per_second: float
    statuses: Mapping[str, int]
    reasons: Mapping[str, int]
    seconds_by_stage: Mapping[str, float]
    launches_by_stage: Mapping[str, int]
    cancel_reason: str


Event = (
    RunStarted
    | LaunchEnded
    | KernelRan
    | Copied
    | SampleEnded
    | CheckpointReleased
    | Retried
    | RunCancelled
    | RunEnded
)
Sink = Callable[[Event], object]
"""Takes one event after another. A method ``flush()``, where it has one, is called when it was
given all that is at hand; a method ``close()`` when the bus is closed."""


def event_name(event: Event) -> str:
    """Return the name of an event's kind as it stands in files: ``"launch_ended"``."""
    return _names[type(event)]


_names = {kind: re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower() for kind in get_args(Event)}


class EventBus:
    """Takes events from any thread to all sinks, one after another, in a thread of its own.

    A sink that raises is logged once, and counted; the others get the event all the same. A sink
    may emit events itself: it never waits for room.

    Parameters
    ----------
    sinks
        Functions of an event.
    capacity
        Events that may wait, beside those that are being given to the sinks.
    when_full
        Whether who has an event waits until there is room, or the event is dropped and counted.

    Attributes
    ----------
    produced, emitted, dropped
        Events that came, that every sink was given, and that were dropped. When the bus is
        closed, the first is the sum of the others.
    failures
        Times that a sink has raised.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        capacity: int = 10_000,
        when_full: Literal["wait", "drop"] = "wait",
    ) -> None:
        if capacity < 1:
            raise ValueError(f"Expected room for at least 1 event. Got {capacity}.")
        if when_full not in ("wait", "drop"):
            raise ValueError(f"Expected when_full 'wait' or 'drop'. Got {when_full!r}.")
        self.sinks = list(sinks)
        self.capacity = capacity
        self.when_full = when_full
        self.produced = self.emitted = self.dropped = self.failures = 0
        self._queue: deque[Event] = deque()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._waiting = 0
        self._idle = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._failed: set[int] = set()

    def __enter__(self) -> EventBus:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def emit(self, event: Event) -> None:
        """Take an event: see `emit_all`."""
        self.emit_all((event,))

    def emit_all(self, events: Sequence[Event]) -> None:
        """Take events; wait or drop where there is no room for them.

        Raises
        ------
        RuntimeError
            If the bus is closed.
        """
        if not events:
            return
        with self._lock:
            if self._closed and not self._from_a_sink():
                raise RuntimeError(
                    "The event bus is closed. Close it when the runtimes that use it have ended."
                )
            if self._thread is None:
                self._start()
            room = self.capacity - len(self._queue)
            if len(events) <= room:
                self._put(events)
            elif self.when_full == "drop":
                taken = events[: max(0, room)]
                self.produced += len(events) - len(taken)
                self.dropped += len(events) - len(taken)
                self._put(taken)
            elif self._from_a_sink():
                self._put(events)
            else:
                self._put_when_there_is_room(events)

    def close(self) -> None:
        """Deliver what waits, then close the sinks that can be.

        Raises
        ------
        RuntimeError
            If a sink calls it.
        """
        if self._from_a_sink():
            raise RuntimeError("A sink cannot close its own event bus. Close it elsewhere.")
        with self._changed:
            closed_before, self._closed = self._closed, True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        if not closed_before:
            for sink in self.sinks:
                self._call(sink, "close")

    def _start(self) -> None:
        thread = threading.Thread(target=self._deliver, name="gpusaxs-events", daemon=True)
        thread.start()
        self._thread = thread

    def _from_a_sink(self) -> bool:
        return threading.current_thread() is self._thread

    def _put(self, events: Sequence[Event]) -> None:
        half_full_before = self._half_full()
        self.produced += len(events)
        self._queue.extend(events)
        if self._idle or (self._half_full() and not half_full_before):
            self._changed.notify_all()

    def _put_when_there_is_room(self, events: Sequence[Event]) -> None:
        first = 0
        self._waiting += 1
        try:
            while first < len(events):
                room = self.capacity - len(self._queue)
                if room > 0:
                    self._put(events[first : first + room])
                    first += room
                else:
                    self._changed.wait()
        finally:
            self._waiting -= 1
            self._changed.notify_all()

    def _half_full(self) -> bool:
        return 2 * len(self._queue) > self.capacity

    def _over(self) -> bool:
        """Whether no more events will come: those who wait at the close still have theirs taken."""
        return self._closed and not self._waiting

    def _deliver(self) -> None:
        while events := self._take():
            for sink in self.sinks:
                self._give(sink, events)
                self._call(sink, "flush")
            self.emitted += len(events)

    def _take(self) -> list[Event]:
        """Wait for events and take all there are; there are none when no more will come."""
        with self._changed:
            # Few large deliveries disturb the run less than many small ones.
            self._changed.wait_for(
                lambda: self._closed or self._half_full(), timeout=_PILE_UP_SECONDS
            )
            self._idle = True
            self._changed.wait_for(lambda: self._queue or self._over())
            self._idle = False
            events = list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
            return events

    def _give(self, sink: Sink, events: Sequence[Event]) -> None:
        for event in events:
            try:
                sink(event)
            except BaseException:  # noqa: BLE001 without this thread, producers wait for ever
                self._count_failure(sink)

    def _call(self, sink: Sink, method: Literal["flush", "close"]) -> None:
        try:
            getattr(sink, method, _nothing)()
        except BaseException:  # noqa: BLE001 the other sinks have theirs to do
            self._count_failure(sink)

    def _count_failure(self, sink: Sink) -> None:
        self.failures += 1
        if id(sink) not in self._failed:
            self._failed.add(id(sink))
            logger.exception("The sink %r of events has failed; this is told once.", sink)


def _nothing() -> None:
    pass
