"""What the kernels of a launch are told about their surroundings: who watches, and until when."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from gpusaxs.errors import StageTimeoutError

Direction = Literal["host_to_device", "device_to_host"]


class Observer(Protocol):
    """Is told what a backend did; times are those of `time.perf_counter`."""

    def kernel_ran(self, kernel: str, rows: int, began: float, worker: str) -> None:
        """Take note of a worker's share of a kernel's launch that has just ended."""
        ...

    def copied(self, direction: Direction, nbytes: int, began: float, worker: str) -> None:
        """Take note of a copy that has just ended."""
        ...


@dataclass(frozen=True, slots=True)
class Supervision:
    """Who watches the launches of a thread, and when they must have ended.

    `deadline` is a time of `time.perf_counter`.
    """

    observer: Observer | None = None
    deadline: float = float("inf")

    def check_deadline(self) -> None:
        """Raise `StageTimeoutError` if the deadline has passed."""
        if time.perf_counter() > self.deadline:
            raise StageTimeoutError("the launch took longer than its timeout")


_current: ContextVar[Supervision] = ContextVar("supervision", default=Supervision())  # noqa: B039


def supervision() -> Supervision:
    """What holds for the launches of this thread."""
    return _current.get()


def check_deadline() -> None:
    """Raise `StageTimeoutError` if the launch at work in this thread took too long.

    Kernels check it between chunks of curves. A stage that works on the host calls it now and
    then, so that a timeout can end it.
    """
    _current.get().check_deadline()


@contextmanager
def observed_by(observer: Observer | None) -> Iterator[None]:
    """Let somebody watch the launches of this thread."""
    token = _current.set(replace(_current.get(), observer=observer))
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def limited_to(seconds: float) -> Iterator[None]:
    """Let the launches of this thread end after `seconds`, or sooner where that holds already."""
    before = _current.get()
    deadline = min(before.deadline, time.perf_counter() + seconds)
    token = _current.set(replace(before, deadline=deadline))
    try:
        yield
        _current.get().check_deadline()
    finally:
        _current.reset(token)


def worker_name() -> str:
    """Name of the thread at work."""
    return threading.current_thread().name
