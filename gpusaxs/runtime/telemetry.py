"""Events as OpenTelemetry spans and metrics; needs the extra ``telemetry``."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

import gpusaxs
from gpusaxs.errors import GpusaxsError
from gpusaxs.runtime.events import (
    CheckpointReleased,
    Event,
    LaunchEnded,
    Retried,
    RunCancelled,
    RunEnded,
    RunStarted,
    SampleEnded,
    event_name,
)

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise GpusaxsError(
        f"OpenTelemetry is missing ({error}). Install it with: pip install 'gpusaxs[telemetry]'"
    ) from error

LAUNCH_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Between these the histogram of launches counts."""
MOST_REASONS = 20


class OpenTelemetry:
    """A span a run and a launch, and counts of samples, launches and retries.

    A launch's span belongs to the run's where one run is at work; several share launches. Its
    retries are events of it; checkpoints and a cancel are events of the run's. The status of a
    run's span is an error where the run was cancelled or none of its samples is complete, and a
    launch's where it failed. Samples that failed are counted: bad curves are no error of a run.

    Parameters
    ----------
    tracer_provider, meter_provider
        Where spans and metrics go; by default the providers that the program has set.
    """

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer("gpusaxs", gpusaxs.__version__, tracer_provider)
        meter = metrics.get_meter("gpusaxs", gpusaxs.__version__, meter_provider)
        self._samples = meter.create_counter("gpusaxs.samples", "{sample}", "Samples that ended")
        self._launches = meter.create_counter("gpusaxs.launches", "{launch}", "Launches that ended")
        self._rows = meter.create_counter("gpusaxs.launch.rows", "{row}", "Rows of launches")
        self._retries = meter.create_counter("gpusaxs.retries", "{retry}", "Launches run again")
        self._seconds = meter.create_histogram(
            "gpusaxs.launch.duration",
            "s",
            "Time of a launch",
            explicit_bucket_boundaries_advisory=LAUNCH_SECONDS,
        )
        self._runs: dict[str, trace.Span] = {}
        self._retried: deque[Retried] = deque(maxlen=1000)

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case RunStarted():
                self._begin(event.run, event.at, event)
            case RunEnded():
                self._end(event)
            case LaunchEnded():
                self._launch(event)
            case SampleEnded():
                self._samples.add(1, {"outcome": _outcome(event)})
            case Retried():
                self._retries.add(1, {"stage": event.stage})
                self._retried.append(event)
            case CheckpointReleased() | RunCancelled():
                if event.run in self._runs:
                    _add(event, self._runs[event.run])

    def close(self) -> None:
        """End the spans of runs that have not ended."""
        for span in self._runs.values():
            span.set_status(trace.StatusCode.ERROR, "the run has not ended")
            span.end()
        self._runs.clear()

    def _begin(self, run: str, at: float, event: RunStarted | RunEnded) -> trace.Span:
        self._runs[run] = self._tracer.start_span(
            "gpusaxs.run", start_time=_nano(at), attributes=_attributes(event)
        )
        return self._runs[run]

    def _end(self, event: RunEnded) -> None:
        span = self._runs.get(event.run) or self._begin(event.run, event.started, event)
        span.set_attributes(_attributes(event))
        if event.cancel_reason:
            span.set_status(trace.StatusCode.ERROR, event.cancel_reason)
        elif event.samples and not event.complete:
            span.set_status(trace.StatusCode.ERROR, "no sample is complete")
        span.end(_nano(event.at))
        del self._runs[event.run]

    def _launch(self, event: LaunchEnded) -> None:
        context = None
        if len(self._runs) == 1:
            [parent] = self._runs.values()
            context = trace.set_span_in_context(parent)
        began = event.at - event.seconds
        span = self._tracer.start_span(
            f"gpusaxs.launch {event.stage}",
            context,
            start_time=_nano(began),
            attributes=_attributes(event),
        )
        for retried in list(self._retried):
            if retried.stage == event.stage and began <= retried.at <= event.at:
                _add(retried, span)
                self._retried.remove(retried)
        if event.error:
            span.set_status(trace.StatusCode.ERROR, event.error)
        span.end(_nano(event.at))
        stage = {"stage": event.stage}
        self._launches.add(1, stage)
        self._rows.add(event.rows, stage)
        self._seconds.record(event.seconds, stage)


def _outcome(event: SampleEnded) -> str:
    if "cancelled" in event.status.split():
        return "cancelled"
    return "failed" if event.failed else "complete"


def _add(event: Event, span: trace.Span) -> None:
    span.add_event(event_name(event), _attributes(event), _nano(event.at))


def _nano(at: float) -> int:
    return round(at * 1e9)


def _attributes(event: Event) -> dict[str, Any]:
    """Return the fields of an event as attributes; counts by name become one attribute each."""
    found: dict[str, Any] = {}
    for name, value in event._asdict().items():
        if name == "reasons":
            common = Counter[str](value).most_common(MOST_REASONS)
            found["gpusaxs.reasons"] = [f"{count} x {reason}" for reason, count in common]
        elif isinstance(value, Mapping):
            found |= {f"gpusaxs.{name}.{key}": entry for key, entry in value.items()}
        elif name != "at" and value not in (None, ""):
            found[f"gpusaxs.{name}"] = value
    return found
