"""Where events go: a file, the screen, a list. Any function of an event is a sink as well."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gpusaxs.runtime.events import Event, RunStarted, SampleEnded, event_name

FLUSH_SECONDS = 1.0
SECONDS_BETWEEN_LINES = 5.0

Kind = TypeVar("Kind")


class Record:
    """Keeps all events in a list: for tests and notebooks."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)

    def of(self, kind: type[Kind]) -> list[Kind]:
        """Return the events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]


class JsonLines:
    """Writes one JSON object a line: ``{"event": "launch_ended", "at": ..., ...}``.

    The file is complete up to the last second at any time. A number that is not finite is null.

    Parameters
    ----------
    path
        A file; it is replaced.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = open(path, "w", encoding="utf-8")  # noqa: SIM115 closed by close()
        self._flushed = time.monotonic()

    def __call__(self, event: Event) -> None:
        """Write an event."""
        line = {"event": event_name(event), **_plain(event._asdict())}
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._file.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class ProgressBar:
    """Shows samples done, samples/s and the time left: a bar on a terminal, else a line at times.

    It writes to standard error.

    Parameters
    ----------
    total
        How many samples there will be; by default what the runs say of themselves.
    """

    def __init__(self, total: int | None = None) -> None:
        self._given = total
        self._total = total or 0
        self._done = 0
        self._began = self._said = time.perf_counter()
        self._bar: Progress | None = _bar(total) if sys.stderr.isatty() else None

    def __call__(self, event: Event) -> None:
        """Count a sample that has ended."""
        if isinstance(event, RunStarted) and self._given is None:
            self._total += event.samples or 0
        elif isinstance(event, SampleEnded):
            self._done += 1
        else:
            return
        total = self._total or None
        rate = f"{self._done / (time.perf_counter() - self._began):,.0f} samples/s"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._done, total=total, rate=rate)
        elif time.perf_counter() - self._said > SECONDS_BETWEEN_LINES:
            self._say(rate)

    def close(self) -> None:
        """Show where it has ended."""
        if self._bar is not None:
            self._bar.stop()
        else:
            rate = self._done / max(time.perf_counter() - self._began, 1e-9)
            self._say(f"{rate:,.0f} samples/s")

    def _say(self, rate: str) -> None:
        self._said = time.perf_counter()
        of = f" of {self._total:,}" if self._total else ""
        print(f"{self._done:,}{of} samples, {rate}", file=sys.stderr)  # noqa: T201


def _bar(total: int | None) -> Progress:
    bar = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("samples"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    bar.add_task("", total=total, rate="")
    bar.start()
    return bar
