"""What OpenTelemetry gets of a run: spans in their places, and counts that add up."""

import importlib
import subprocess
import sys

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from runtime_curves import Does, plain_samples

import gpusaxs
from gpusaxs.errors import GpusaxsError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.cancel import CancelToken
from gpusaxs.runtime.events import (
    CheckpointReleased,
    EventBus,
    KernelRan,
    LaunchEnded,
    Retried,
    RunCancelled,
    RunStarted,
    SampleEnded,
    now,
)
from gpusaxs.runtime.run import Run
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.runtime.telemetry import MOST_REASONS, OpenTelemetry

STARTED = now() - 2.0
ENDED = Run("standard", "numpy", CancelToken(), name="1", started=STARTED).summary()._replace(
    at=STARTED + 2.0, samples=5, complete=3, failed=2, statuses={"ok": 3, "no_signal": 2},
    reasons={"no signal": 2}, seconds_by_stage={"cut": 0.5}, launches_by_stage={"cut": 2},
)  # fmt: skip


class Collected:
    """What a sink has sent, in memory."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])

    def bus(self):
        return EventBus([OpenTelemetry(self.tracers, self.meters)])

    def after(self, *events):
        with self.bus() as bus:
            bus.emit_all(events)
        assert bus.failures == 0
        return self

    def spans(self, name):
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def points(self, name):
        """Return the points of a metric by the value of their only attribute."""
        return {
            next(iter(point.attributes.values())): point
            for resource in self.reader.get_metrics_data().resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        }

    def counts(self, name):
        return {key: point.value for key, point in self.points(name).items()}


@pytest.fixture
def collected():
    collected = Collected()
    yield collected
    collected.tracers.shutdown()
    collected.meters.shutdown()


def started(run="1"):
    return RunStarted(STARTED, run, "standard", "numpy", 5)


def launch(begin, seconds, stage="cut", error=""):
    return LaunchEnded(STARTED + begin + seconds, stage, 0, 10, seconds, "MainThread", error)


def nano(at):
    return pytest.approx(at * 1e9, abs=1e3)


def test_a_run_is_a_span_with_its_record_as_attributes(collected):
    [span] = collected.after(started(), ENDED).spans("gpusaxs.run")
    assert (span.start_time, span.end_time) == (nano(STARTED), nano(STARTED + 2.0))
    expected = {
        "run": "1", "pipeline": "standard", "backend": "numpy", "version": gpusaxs.__version__,
        "samples": 5, "complete": 3, "failed": 2, "statuses.ok": 3, "statuses.no_signal": 2,
        "reasons": ("2 x no signal",), "seconds_by_stage.cut": 0.5, "launches_by_stage.cut": 2,
    }  # fmt: skip
    assert (
        expected.items()
        <= {key.removeprefix("gpusaxs."): value for key, value in span.attributes.items()}.items()
    )
    assert span.status.status_code is StatusCode.UNSET
    assert span.instrumentation_scope.name == "gpusaxs"
    assert span.instrumentation_scope.version == gpusaxs.__version__


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"cancel_reason": "beam lost", "cancelled": 2}, "beam lost"),
        ({"complete": 0, "failed": 5}, "no sample is complete"),
    ],
)
def test_a_run_that_was_cancelled_or_came_to_nothing_is_an_error(collected, record, told):
    [span] = collected.after(started(), ENDED._replace(**record)).spans("gpusaxs.run")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, told)


def test_a_run_without_samples_is_no_error(collected):
    nothing = ENDED._replace(samples=0, complete=0, failed=0)
    [span] = collected.after(started(), nothing).spans("gpusaxs.run")
    assert span.status.status_code is StatusCode.UNSET


def test_only_the_commonest_reasons_are_told(collected):
    reasons = {f"reason {number}": number for number in range(1, 100)}
    [span] = collected.after(ENDED._replace(reasons=reasons)).spans("gpusaxs.run")
    told = span.attributes["gpusaxs.reasons"]
    assert len(told) == MOST_REASONS
    assert told[0] == "99 x reason 99"


def test_a_run_whose_begin_was_dropped_has_its_span_all_the_same(collected):
    [span] = collected.after(ENDED).spans("gpusaxs.run")
    assert (span.start_time, span.end_time) == (nano(STARTED), nano(STARTED + 2.0))


def test_a_run_that_has_not_ended_at_the_close_is_an_error(collected):
    [span] = collected.after(started()).spans("gpusaxs.run")
    assert span.status.description == "the run has not ended"


def test_a_launch_is_a_span_in_that_of_the_only_run(collected):
    collected.after(started(), launch(0.5, 1.0), ENDED, launch(3.0, 1.0))
    [run] = collected.spans("gpusaxs.run")
    [inside, later] = collected.spans("gpusaxs.launch cut")
    assert (inside.start_time, inside.end_time) == (nano(STARTED + 0.5), nano(STARTED + 1.5))
    assert inside.parent.span_id == run.context.span_id
    assert inside.attributes["gpusaxs.rows"] == 10
    assert inside.status.status_code is StatusCode.UNSET
    assert later.parent is None


def test_a_launch_that_several_runs_share_belongs_to_none_of_them(collected):
    collected.after(started("1"), started("2"), launch(0.5, 1.0))
    [span] = collected.spans("gpusaxs.launch cut")
    assert span.parent is None


def test_a_launch_that_failed_is_an_error(collected):
    [span] = collected.after(launch(0.0, 1.0, error="no memory")).spans("gpusaxs.launch cut")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "no memory")


def test_retries_are_events_of_the_launch_that_was_retried(collected):
    collected.after(
        Retried(STARTED + 0.5, "filter", 7, 2, 0.1, "no memory"),
        launch(0.0, 1.0, "cut"),
        launch(0.6, 1.0, "filter"),
        launch(0.1, 2.0, "filter"),
    )
    [other] = collected.spans("gpusaxs.launch cut")
    [later, retried] = collected.spans("gpusaxs.launch filter")
    assert (other.events, later.events) == ((), ())
    [event] = retried.events
    assert (event.name, event.timestamp) == ("retried", nano(STARTED + 0.5))
    assert event.attributes["gpusaxs.attempt"] == 2
    assert event.attributes["gpusaxs.error"] == "no memory"


def test_checkpoints_and_a_cancel_are_events_of_their_run(collected):
    collected.after(
        started("1"),
        started("2"),
        CheckpointReleased(STARTED + 0.5, "1", "phase", 5, 4),
        RunCancelled(STARTED + 0.6, "1", "beam lost", 3),
        RunCancelled(STARTED + 0.6, "unknown", "beam lost", 3),
        ENDED,
    )
    run, other = collected.spans("gpusaxs.run")
    assert [event.name for event in run.events] == ["checkpoint_released", "run_cancelled"]
    assert run.events[0].attributes["gpusaxs.released"] == 4
    assert run.events[0].timestamp == nano(STARTED + 0.5)
    assert other.events == ()


def test_samples_launches_and_retries_are_counted(collected):
    def sample(status, failed):
        return SampleEnded(STARTED, "1", "a", status, failed, "")

    collected.after(
        sample("ok", False), sample("sigma_rescaled", False), sample("no_signal", True),
        sample("sigma_rescaled cancelled", True),
        launch(0.0, 0.25), launch(1.0, 0.5), launch(2.0, 4.0, "phase"),
        Retried(STARTED, "cut", 7, 2, 0.1, "no memory"),
        KernelRan(STARTED, "snip", 10, 0.1, "gpusaxs_0"),
    )  # fmt: skip
    assert collected.counts("gpusaxs.samples") == {"complete": 2, "failed": 1, "cancelled": 1}
    assert collected.counts("gpusaxs.launches") == {"cut": 2, "phase": 1}
    assert collected.counts("gpusaxs.launch.rows") == {"cut": 20, "phase": 10}
    assert collected.counts("gpusaxs.retries") == {"cut": 1}


def test_the_histogram_tells_short_launches_apart(collected):
    collected.after(launch(0.0, 0.002), launch(0.0, 0.02), launch(0.0, 2.0, "phase"))
    points = collected.points("gpusaxs.launch.duration")
    assert {stage: (point.count, point.sum) for stage, point in points.items()} == {
        "cut": (2, pytest.approx(0.022)), "phase": (1, 2.0),
    }  # fmt: skip
    assert max(points["cut"].bucket_counts) == 1


def test_a_real_run_is_told_whole(collected):
    def fails_for_one(batch, rows):
        batch.fail(rows[:1], "go", ValueError("a fault"))

    pipeline = Pipeline.of([Does(label="look"), Does(label="go", does=fails_for_one)])
    with collected.bus() as bus:
        Runtime("numpy", 1, pipeline, events=bus).run(plain_samples(6))
    assert bus.failures == 0
    [run] = collected.spans("gpusaxs.run")
    for stage in ("look", "go"):
        [span] = collected.spans(f"gpusaxs.launch {stage}")
        assert span.parent.span_id == run.context.span_id
        assert run.start_time <= span.start_time <= span.end_time <= run.end_time
    assert collected.counts("gpusaxs.samples") == {"complete": 5, "failed": 1}
    assert run.attributes["gpusaxs.failed"] == 1


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "gpusaxs.runtime.telemetry")
    with pytest.raises(GpusaxsError, match=r"pip install 'gpusaxs\[telemetry\]'"):
        importlib.import_module("gpusaxs.runtime.telemetry")


def test_nothing_else_needs_the_package():
    script = """
import sys
sys.modules["opentelemetry"] = None
import gpusaxs, gpusaxs.cli.main, gpusaxs.cli.process
import gpusaxs.runtime.runtime, gpusaxs.runtime.sinks, gpusaxs.runtime.timeline
gpusaxs.EventBus, gpusaxs.Runtime
"""
    subprocess.run([sys.executable, "-c", script], check=True)
