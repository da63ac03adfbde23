"""Where events go: a file, the screen, a list. Any function of an event is a sink as well."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gpusaxs.runtime.events import Event, RunStarted, SampleEnded, event_name, now

LINES_AT_ONCE = 1000
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

    A bus has it write what is at hand, so that the file can be read at any time and lags by a
    tenth of a second; all of its lines are whole. A number that is not finite is null.

    Parameters
    ----------
    path
        A file; it is replaced.
    append
        Go on at the end of the file instead.
    """

    def __init__(self, path: str | Path, *, append: bool = False) -> None:
        self._file = open(path, "a+b" if append else "wb", buffering=0)  # noqa: SIM115 see close()
        self._lines: list[str] = []
        if append and not _ends_with_a_line(self._file.fileno()):
            self._file.write(b"\n")

    def __call__(self, event: Event) -> None:
        """Take an event, to be written with those that follow."""
        self._lines.append(strict_json({"event": event_name(event), **event._asdict()}) + "\n")
        if len(self._lines) >= LINES_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what was taken."""
        left, self._lines = memoryview("".join(self._lines).encode()), []
        while left:
            left = left[self._file.write(left) :]

    def close(self) -> None:
        """Write what was taken, and close the file."""
        try:
            self.flush()
        finally:
            self._file.close()


def _ends_with_a_line(file: int) -> bool:
    size = os.fstat(file).st_size
    return size == 0 or os.pread(file, 1, size - 1) == b"\n"


_encode = json.JSONEncoder(allow_nan=False).encode


def strict_json(value: Any) -> str:
    """Return a value as JSON that any parser takes: numbers that are not finite are null."""
    try:
        return _encode(value)
    except (TypeError, ValueError):
        return _encode(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


class ProgressBar:
    """Shows samples done, samples/s and the time left: a bar on a terminal, else a line at times.

    A bus has it redraw when it was given what is at hand.

    Parameters
    ----------
    total
        How many samples there will be; by default what the runs say of themselves.
    console
        Where it shows; by default standard error.
    """

    def __init__(self, total: int | None = None, console: Console | None = None) -> None:
        self._console = Console(stderr=True) if console is None else console
        self._given = total
        self._announced = 0.0
        self._done = 0
        self._began: float | None = None
        self._said = 0.0
        self._bar: Progress | None = None

    def __call__(self, event: Event) -> None:
        """Count a sample that has ended, or those of a run that begins."""
        if isinstance(event, RunStarted):
            self._announced += math.inf if event.samples is None else event.samples
        elif isinstance(event, SampleEnded):
            self._done += 1
        if self._began is None:
            self._began = self._said = event.at

    def flush(self) -> None:
        """Show where it is."""
        if self._began is None:
            return
        if self._console.is_terminal:
            self._draw()
        elif now() - self._said > SECONDS_BETWEEN_LINES:
            self._say()

    def close(self) -> None:
        """Show where it has ended."""
        if self._began is None:
            return
        if self._console.is_terminal:
            self._draw().stop()
        else:
            self._say()

    @property
    def _total(self) -> int | None:
        if self._given is not None:
            return self._given
        return int(self._announced) if 0 < self._announced < math.inf else None

    @property
    def _rate(self) -> float:
        return 0.0 if self._began is None else self._done / max(now() - self._began, 1e-6)

    def _draw(self) -> Progress:
        if self._bar is None:
            self._bar = _bar(self._console)
        self._bar.update(
            self._bar.task_ids[0],
            completed=self._done,
            total=self._total,
            rate=f"{self._rate:,.0f} samples/s",
        )
        return self._bar

    def _say(self) -> None:
        self._said = now()
        of = left = ""
        if self._total is not None:
            of = f" of {self._total:,}"
            if 0 < self._done < self._total:
                seconds = round((self._total - self._done) / self._rate)
                left = f", {timedelta(seconds=seconds)} left"
        self._console.print(
            f"{self._done:,}{of} samples, {self._rate:,.0f} samples/s{left}",
            highlight=False,
            soft_wrap=True,
        )


def _bar(console: Console) -> Progress:
    bar = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("samples"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
    )
    bar.add_task("", total=None, rate="")
    bar.start()
    return bar
