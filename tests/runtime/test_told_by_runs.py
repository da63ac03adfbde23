"""What a runtime tells of its runs."""

import pytest
from runtime_curves import Does, bragg_samples, plain_samples

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.errors import OutOfMemoryError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.cancel import CancelToken
from gpusaxs.runtime.events import (
    CheckpointReleased,
    EventBus,
    KernelRan,
    LaunchEnded,
    Retried,
    RunCancelled,
    RunEnded,
    RunStarted,
    SampleEnded,
    now,
)
from gpusaxs.runtime.policy import PerSample
from gpusaxs.runtime.retry import Retry
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.runtime.sinks import Record
from gpusaxs.sample import CurveStatus


def told(runtime_options, samples, run=lambda runtime, samples: runtime.run(samples)):
    """Events of a run."""
    record = Record()
    with EventBus([record]) as bus:
        run(Runtime(events=bus, **runtime_options), samples)
    return record


WAYS = pytest.mark.parametrize(
    "run",
    [
        lambda runtime, samples: runtime.run(samples),
        lambda runtime, samples: runtime.submit(samples).result(20.0),
    ],
    ids=["run", "submit"],
)


@WAYS
def test_a_run_tells_of_its_launches_kernels_and_samples_and_sums_them_up(run):
    samples = bragg_samples(9)
    began = now()
    record = told({"backend": "numpy", "workers": 2}, samples, run)
    [started], [ended] = record.of(RunStarted), record.of(RunEnded)
    assert record.events[0] is started
    assert record.events[-1] is ended
    assert (started.samples, started.pipeline, started.backend) == (9, "standard", "numpy")
    launches = record.of(LaunchEnded)
    assert ended.launches == len(launches)
    assert ended.launches_by_stage["cut"] == 1
    assert sum(ended.launches_by_stage.values()) == len(launches)
    assert ended.seconds_by_stage["process_peak"] == pytest.approx(
        sum(launch.seconds for launch in launches if launch.stage == "process_peak")
    )
    rows = sum(launch.rows for launch in launches if launch.stage == "process_peak")
    assert rows == sum(e.rows for e in record.of(KernelRan) if e.kernel == "process_peak")
    assert sorted(event.sample for event in record.of(SampleEnded)) == [str(i) for i in range(9)]
    assert (ended.samples, ended.complete, ended.failed, ended.cancelled) == (9, 9, 0, 0)
    assert sum(ended.statuses.values()) == 9
    assert ended.samples_per_second == pytest.approx(9 / ended.seconds)
    assert began < started.at <= ended.started + 1e-6 <= ended.at <= now()
    for launch in launches:
        assert started.at <= launch.at - launch.seconds <= launch.at <= ended.at


@WAYS
def test_failures_and_refusals_are_told_with_their_reasons(run):
    def picky(batch, rows):
        bad = [row for row in rows if batch.ids[row] == "2"]
        if bad:
            raise ValueError("not this one")
        return {"again": rows}

    class OnRequest(Does):
        on_request = True

    stages = [
        Does(label="a", does=picky, asks_for=("again",)),
        OnRequest(label="again", does=lambda batch, rows: {"a": rows}, asks_for=("a",)),
    ]
    pipeline = Pipeline.of(stages, insertion={"again": PerSample(limit=1)})
    options = {"backend": NumpyBackend(1), "pipeline": pipeline, "rows_at_once": 1}
    record = told(options, plain_samples(4), run)
    [ended] = record.of(RunEnded)
    assert (ended.complete, ended.failed, ended.refused) == (3, 1, 3)
    assert ended.reasons == {"stage 'a' raised ValueError: not this one": 1}
    [failed] = [event for event in record.of(SampleEnded) if event.failed]
    assert (failed.sample, failed.status) == ("2", "stage_failed")
    [broken] = [launch for launch in record.of(LaunchEnded) if launch.error]
    assert broken.error == "not this one"


@WAYS
def test_retries_are_told_and_counted(run):
    times = []

    def flaky(batch, rows):
        times.append(rows.size)
        if len(times) < 3:
            raise OutOfMemoryError("full")

    options = {
        "backend": NumpyBackend(1),
        "pipeline": Pipeline.of([Does(label="a", does=flaky)]),
        "interceptors": [Retry(attempts=3, wait="none")],
    }
    record = told(options, plain_samples(4), run)
    assert [(event.stage, event.attempt, event.rows) for event in record.of(Retried)] == [
        ("a", 2, 4),
        ("a", 3, 2),
    ]
    [ended] = record.of(RunEnded)
    assert (ended.retries, ended.complete) == (2, 4)


def test_a_cancelled_run_says_why_and_how_many_were_on_their_way():
    token = CancelToken()

    def stop(batch, rows):
        token.cancel("beam lost")

    options = {
        "backend": NumpyBackend(1),
        "pipeline": Pipeline.of([Does(label="a", does=stop), Does(label="b")]),
        "rows_at_once": 2,
    }
    record = told(options, plain_samples(6), lambda r, s: r.run(s, cancel=token))
    [cancelled], [ended] = record.of(RunCancelled), record.of(RunEnded)
    assert (cancelled.reason, cancelled.samples) == ("beam lost", 6)
    assert (ended.cancelled, ended.complete, ended.cancel_reason) == (6, 0, "beam lost")
    assert ended.reasons == {"cancelled: beam lost": 6}


def test_a_checkpoint_says_how_many_it_held_and_let_go():
    options = {
        "backend": NumpyBackend(1),
        "pipeline": Pipeline.of([Does(label="a"), Does(label="b")], checkpoints=("b",)),
        "on_checkpoint": lambda stage, held: held[:3],
    }
    record = told(options, plain_samples(5))
    [released] = record.of(CheckpointReleased)
    assert (released.stage, released.held, released.released) == ("b", 5, 3)
    [ended] = record.of(RunEnded)
    assert ended.statuses["dropped"] == 2


def test_without_sinks_nothing_is_counted():
    runtime = Runtime(NumpyBackend(1), pipeline=Pipeline.of([Does(label="a")]))
    with runtime.new_run() as run:
        [sample] = plain_samples(1)
        assert runtime.run([sample])[0].status == CurveStatus.OK
    assert run.tally.samples == 0
