"""A timeline of runs in the Chrome trace format, for Perfetto and chrome://tracing."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gpusaxs.runtime.events import (
    Copied,
    Event,
    KernelRan,
    LaunchEnded,
    RunEnded,
    RunStarted,
    SampleEnded,
    event_name,
)
from gpusaxs.runtime.sinks import strict_json

PROCESSES = {1: "stages", 2: "workers", 3: "copies"}
STAGES, WORKERS, COPIES = PROCESSES
CLOCK_SECONDS = 10e-6
"""Spans of one thread may overlap by so much where their times were taken apart."""


class Row(NamedTuple):
    """Where spans are shown: rows are sorted by process, then by order, then by name."""

    process: int
    order: int
    name: str


RUNS, MARKS = Row(STAGES, -2, "runs"), Row(STAGES, -1, "marks")


class ChromeTrace:
    """Writes spans of launches, kernels and copies, each kind by itself.

    The process "stages" has a row for the runs, one with marks at checkpoints, retries and
    cancels, and one for the launches of each stage; "workers" has the kernels of each thread, and
    "copies" those of each direction. What is at work at the same time on one row, as launches of
    two batches of the same stage may be, goes to a second row of that name.

    Parameters
    ----------
    path
        The file, written when the sink is closed.

    Raises
    ------
    FileNotFoundError
        If there is no folder to put it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"Expected a folder at {self.path.parent} to put {self.path.name}. Make it first."
            )
        self._events: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Keep an event."""
        if not isinstance(event, SampleEnded):
            self._events.append(event)

    def close(self) -> None:
        """Write the file, beside its place first."""
        aside = self.path.with_name(f".{self.path.name}.part")
        with aside.open("w", encoding="utf-8") as file:
            before = '{"displayTimeUnit": "ms", "traceEvents": [\n'
            for entry in _entries(self._events):
                file.write(before + strict_json(entry))
                before = ",\n"
            file.write("\n]}\n")
        os.replace(aside, self.path)


class _Span(NamedTuple):
    """What took from `begin` to `end`, in seconds since 1970; or a mark, where there is none."""

    row: Row
    begin: float
    end: float
    name: str
    category: str
    details: dict[str, Any]


def _spans(events: list[Event]) -> Iterator[_Span]:
    ended = {event.run for event in events if isinstance(event, RunEnded)}
    last = max((event.at for event in events), default=0.0)
    for event in events:
        if not isinstance(event, RunStarted):
            yield _span(event)
        elif event.run not in ended:
            name = f"run {event.run}, not ended"
            yield _Span(RUNS, event.at, last, name, "run", event._asdict())


def _span(event: Event) -> _Span:
    match event:
        case LaunchEnded():
            row = Row(STAGES, event.stage_num, event.stage)
            details = {"rows": event.rows, "worker": event.worker}
            if event.error:
                details["error"] = event.error
            return _took(event, row, event.stage, "launch", details)
        case KernelRan():
            row = Row(WORKERS, 0, event.worker)
            return _took(event, row, event.kernel, "kernel", {"rows": event.rows})
        case Copied():
            name = event.direction.replace("_", " ")
            row = Row(COPIES, 0 if event.direction == "host_to_device" else 1, name)
            details = {"bytes": event.nbytes, "worker": event.worker}
            return _took(event, row, name, event.direction, details)
        case RunEnded():
            name = f"run {event.run}"
            return _Span(RUNS, event.started, event.at, name, "run", event._asdict())
        case _:
            return _Span(MARKS, event.at, event.at, event_name(event), "mark", event._asdict())


def _took(
    event: LaunchEnded | KernelRan | Copied,
    row: Row,
    name: str,
    category: str,
    details: dict[str, Any],
) -> _Span:
    return _Span(row, event.at - event.seconds, event.at, name, category, details)


def _lanes(spans: list[_Span]) -> list[list[_Span]]:
    """Spread the spans of a row over as few lanes as hold them without overlap."""
    lanes: list[list[_Span]] = []
    for span in sorted(spans, key=lambda span: span.begin):
        for lane in lanes:
            free_from = lane[-1].end
            if free_from <= span.begin + CLOCK_SECONDS:
                begin = max(free_from, span.begin)
                lane.append(span._replace(begin=begin, end=max(begin, span.end)))
                break
        else:
            lanes.append([span])
    return lanes


def _entries(events: list[Event]) -> Iterator[dict[str, Any]]:
    """Return the entries of ``traceEvents``."""
    rows: defaultdict[Row, list[_Span]] = defaultdict(list)
    for span in _spans(events):
        rows[span.row].append(span)
    origin = min((span.begin for spans in rows.values() for span in spans), default=0.0)
    for process, name in PROCESSES.items():
        yield from _named("process", name, process, process)
    # A thread with the number of its process would be taken for its main thread.
    number = len(PROCESSES)
    for row in sorted(rows, key=_place):
        for lane, spans in enumerate(_lanes(rows[row]), start=1):
            number += 1
            name = row.name if lane == 1 else f"{row.name} ({lane})"
            yield from _named("thread", name, row.process, number)
            for span in spans:
                yield _entry(span, number, origin)


def _entry(span: _Span, number: int, origin: float) -> dict[str, Any]:
    begin, end = (round((at - origin) * 1e9) for at in (span.begin, span.end))
    times: dict[str, Any] = {"ph": "X", "ts": begin / 1000, "dur": (end - begin) / 1000}
    if span.row == MARKS:
        times = {"ph": "i", "ts": begin / 1000, "s": "t"}
    return {
        "name": span.name,
        "cat": span.category,
        **times,
        "pid": span.row.process,
        "tid": number,
        "args": span.details,
    }


def _named(kind: str, name: str, process: int, number: int) -> Iterator[dict[str, Any]]:
    """Return what names a process or a row, and puts it in its place."""
    for what, value in (("name", name), ("sort_index", number)):
        yield {
            "name": f"{kind}_{what}",
            "ph": "M",
            "pid": process,
            "tid": number,
            "args": {what: value},
        }


def _place(row: Row) -> tuple[int, int, list[str | int]]:
    """Put worker 10 after worker 9."""
    parts = re.split(r"(\d+)", row.name)
    return row.process, row.order, [int(part) if part.isdigit() else part for part in parts]
