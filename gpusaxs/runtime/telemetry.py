"""Events as OpenTelemetry spans and metrics; needs the extra ``telemetry``."""

from __future__ import annotations

from typing import Any

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

_NANO = 1e9


class OpenTelemetry:
    """A span a run and a launch, and counts of samples, launches and retries.

    A launch's span belongs to the run's where one run is at work; several share launches.

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
        self._tracer = trace.get_tracer("gpusaxs", tracer_provider=tracer_provider)
        meter = metrics.get_meter("gpusaxs", meter_provider=meter_provider)
        self._samples = meter.create_counter("gpusaxs.samples", "1", "Samples that have ended")
        self._retries = meter.create_counter("gpusaxs.retries", "1", "Launches run again")
        self._durations = meter.create_histogram("gpusaxs.launch.duration", "s", "Time of a launch")
        self._rows = meter.create_counter("gpusaxs.launch.rows", "1", "Rows of launches")
        self._runs: dict[str, trace.Span] = {}

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case RunStarted():
                self._runs[event.run] = self._tracer.start_span(
                    "gpusaxs.run", start_time=_nano(event.at), attributes=_attributes(event)
                )
            case LaunchEnded():
                self._launch(event)
            case SampleEnded():
                outcome = "failed" if event.failed else "complete"
                self._samples.add(1, {"outcome": outcome})
            case Retried():
                self._retries.add(1, {"stage": event.stage})
                self._mark(event, list(self._runs.values()))
            case CheckpointReleased() | RunCancelled():
                self._mark(event, [self._runs[event.run]] if event.run in self._runs else [])
            case RunEnded():
                self._end(event)

    def close(self) -> None:
        """End the spans of runs that have not."""
        for span in self._runs.values():
            span.end()
        self._runs.clear()

    def _launch(self, event: LaunchEnded) -> None:
        context = None
        if len(self._runs) == 1:
            [parent] = self._runs.values()
            context = trace.set_span_in_context(parent)
        span = self._tracer.start_span(
            f"gpusaxs.launch {event.stage}",
            context=context,
            start_time=_nano(event.at - event.seconds),
            attributes=_attributes(event),
        )
        if event.error:
            span.set_status(trace.StatusCode.ERROR, event.error)
        span.end(_nano(event.at))
        self._durations.record(event.seconds, {"stage": event.stage})
        self._rows.add(event.rows, {"stage": event.stage})

    def _mark(self, event: Event, spans: list[trace.Span]) -> None:
        for span in spans:
            span.add_event(event_name(event), _attributes(event), _nano(event.at))

    def _end(self, event: RunEnded) -> None:
        span = self._runs.pop(event.run, None)
        if span is None:
            return
        span.set_attributes(_attributes(event))
        if event.cancel_reason:
            span.set_status(trace.StatusCode.ERROR, event.cancel_reason)
        span.end(_nano(event.at))


def _nano(at: float) -> int:
    return int(at * _NANO)


def _attributes(event: Event) -> dict[str, Any]:
    """Return the fields of an event as attributes; counts by name become one attribute each."""
    found: dict[str, Any] = {}
    for name, value in event._asdict().items():
        if isinstance(value, dict):
            found |= {f"gpusaxs.{name}.{key}": entry for key, entry in value.items()}
        elif value is not None:
            found[f"gpusaxs.{name}"] = value
    return found
