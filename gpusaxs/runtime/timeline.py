"""A timeline of a run in the Chrome trace format, for Perfetto and chrome://tracing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from gpusaxs.runtime.events import (
    CheckpointReleased,
    Copied,
    Event,
    KernelRan,
    LaunchEnded,
    Retried,
    RunCancelled,
    RunEnded,
    RunStarted,
    event_name,
)

LAUNCHES, WORKERS, COPIES = 1, 2, 3
_PROCESSES = {LAUNCHES: "launches by stage", WORKERS: "kernels by worker", COPIES: "copies"}
_MICRO = 1e6


class ChromeTrace:
    """Writes spans of launches, kernels and copies, each kind by itself.

    Launches have a row for each stage, and for each thread that launched it; kernels a row for
    each worker; copies one for each direction. Runs are spans that may overlap; checkpoints,
    retries and cancels are marks.

    Parameters
    ----------
    path
        The file, written when the sink is closed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._marks: list[tuple[dict[str, Any], float]] = []
        self._rows: dict[tuple[int, str], int] = {}
        self._order: dict[tuple[int, str], int] = {}

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case LaunchEnded():
                row = self._row(LAUNCHES, f"{event.stage} · {event.worker}", event.stage_num)
                details: dict[str, Any] = {"rows": event.rows, "stage_num": event.stage_num}
                if event.error:
                    details["error"] = event.error
                self._span(event.stage, "launch", row, event.at, event.seconds, details)
            case KernelRan():
                row = self._row(WORKERS, event.worker)
                rows = {"rows": event.rows}
                self._span(event.kernel, "kernel", row, event.at, event.seconds, rows)
            case Copied():
                name = event.direction.replace("_", " ")
                row = self._row(COPIES, name)
                nbytes = {"bytes": event.nbytes}
                self._span(name, event.direction, row, event.at, event.seconds, nbytes)
            case RunStarted() | RunEnded():
                phase = "b" if isinstance(event, RunStarted) else "e"
                mark = {
                    "name": f"run {event.run}", "cat": "run", "ph": phase, "id": event.run,
                    "pid": LAUNCHES, "tid": 0, "args": event._asdict(),
                }  # fmt: skip
                self._marks.append((mark, event.at))
            case CheckpointReleased() | Retried() | RunCancelled():
                mark = {
                    "name": event_name(event), "cat": "mark", "ph": "i", "s": "p",
                    "pid": LAUNCHES, "tid": 0, "args": event._asdict(),
                }  # fmt: skip
                self._marks.append((mark, event.at))

    def close(self) -> None:
        """Write the file, beside its place first."""
        origin = min((at for _, at in self._marks), default=0.0)
        events = [mark | {"ts": max(0.0, (at - origin) * _MICRO)} for mark, at in self._marks]
        text = json.dumps({"traceEvents": self._names() + events, "displayTimeUnit": "ms"})
        aside = self.path.with_name(f".{self.path.name}.part")
        aside.write_text(text, "utf-8")
        os.replace(aside, self.path)

    def _row(self, process: int, name: str, order: int = 0) -> tuple[int, int]:
        key = (process, name)
        self._order.setdefault(key, order)
        return process, self._rows.setdefault(key, len(self._rows) + 1)

    def _span(
        self,
        name: str,
        category: str,
        row: tuple[int, int],
        at: float,
        seconds: float,
        details: dict[str, Any],
    ) -> None:
        span = {
            "name": name, "cat": category, "ph": "X", "dur": seconds * _MICRO,
            "pid": row[0], "tid": row[1], "args": details,
        }  # fmt: skip
        self._marks.append((span, at - seconds))

    def _names(self) -> list[dict[str, Any]]:
        """Return what names and orders the rows."""
        named = []
        for process, name in _PROCESSES.items():
            named += [
                _metadata("process_name", process, 0, {"name": name}),
                _metadata("process_sort_index", process, 0, {"sort_index": process}),
            ]
        for (process, name), row in self._rows.items():
            place = 1000 * self._order[process, name] + row
            named += [
                _metadata("thread_name", process, row, {"name": name}),
                _metadata("thread_sort_index", process, row, {"sort_index": place}),
            ]
        return named


def _metadata(name: str, process: int, row: int, details: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "ph": "M", "pid": process, "tid": row, "args": details}
