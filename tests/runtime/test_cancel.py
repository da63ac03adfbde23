import logging
import threading
import time

import pytest
from runtime_curves import Does, plain_samples

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.errors import PipelineError, RunStoppedError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.cancel import CancelToken
from gpusaxs.runtime.events import EventBus, RunCancelled
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.runtime.service import Service
from gpusaxs.sample import CurveStatus


def runtime_of(*stages, **options):
    return Runtime(NumpyBackend(1), pipeline=Pipeline.of(stages), **options)


def broken(error):
    def does(batch, rows):
        raise error

    return Does(label="a", does=does)


def test_the_first_reason_is_kept_and_listeners_hear_of_it_once():
    token, heard = CancelToken(), []
    token.on_cancel(heard.append)
    away = token.on_cancel(heard.append)
    away()
    assert not token.cancelled
    token.cancel("beam lost")
    token.cancel("too late")
    token.on_cancel(heard.append)
    assert token.cancelled
    assert token.reason == "beam lost"
    assert heard == ["beam lost", "beam lost"]


WAYS = pytest.mark.parametrize(
    "way",
    [
        lambda runtime, samples, token: runtime.run(samples, cancel=token),
        lambda runtime, samples, token: runtime.submit(samples, cancel=token).result(20.0),
    ],
    ids=["run", "submit"],
)


@WAYS
@pytest.mark.parametrize("end", ["success", "failed curves", "error", "cancel", "fail fast"])
def test_cleanup_runs_last_in_first_out_however_a_run_ends(way, end, caplog):
    token, done = CancelToken(), []
    for name in ("first", "second", "third"):
        token.add_cleanup(lambda name=name: done.append(name))
    token.add_cleanup(lambda: 1 / 0)
    token.add_cleanup(lambda: done.append("last"))
    stage = {
        "success": Does(label="a"),
        "failed curves": broken(ValueError("no")),
        "error": broken(PipelineError("no")),
        "cancel": Does(label="a", does=lambda batch, rows: token.cancel("enough")),
        "fail fast": broken(ValueError("no")),
    }[end]
    on_failure = "fail_fast" if end == "fail fast" else "continue"
    runtime = runtime_of(stage, Does(label="b"), on_failure=on_failure)
    raised = {"error": PipelineError, "fail fast": RunStoppedError}.get(end)
    with caplog.at_level(logging.ERROR, "gpusaxs"):
        if raised:
            with pytest.raises(raised):
                way(runtime, plain_samples(2), token)
        else:
            way(runtime, plain_samples(2), token)
    assert done == ["last", "third", "second", "first"]
    assert "a cleanup callback failed" in caplog.text


def test_a_token_of_several_runs_cleans_up_when_the_last_has_ended():
    token, done = CancelToken(), []
    token.add_cleanup(lambda: done.append("clean"))
    runtime = runtime_of(Does(label="a"))
    with runtime.new_run(token):
        runtime.run(plain_samples(1), cancel=token)
        assert done == []
    assert done == ["clean"]


@WAYS
def test_a_token_that_is_cancelled_before_the_run_lets_nothing_begin(way):
    seen = []
    token = CancelToken()
    token.cancel("not today")
    runtime = runtime_of(Does(label="a", does=lambda batch, rows: seen.append(rows.size)))
    done = way(runtime, plain_samples(3), token)
    assert seen == []
    assert [sample.id for sample in done] == ["0", "1", "2"]
    assert {sample.reason for sample in done} == {"cancelled: not today"}


def test_samples_that_come_after_the_token_was_cancelled_come_back(monkeypatch):
    put = Service.put

    def late(*arguments):
        time.sleep(0.05)  # the service could have ended by then
        put(*arguments)

    monkeypatch.setattr(Service, "put", late)
    token = CancelToken()
    token.cancel("not today")
    done = runtime_of(Does(label="a")).submit(plain_samples(3), cancel=token).result(20.0)
    assert [sample.id for sample in done] == ["0", "1", "2"]


@WAYS
def test_failing_fast_raises_with_everything_that_was_done(way):
    def picky(batch, rows):
        if batch.ids[rows[0]] == "2":
            raise ValueError("not this one")

    runtime = runtime_of(Does(label="a", does=picky), on_failure="fail_fast", rows_at_once=1)
    with pytest.raises(RunStoppedError, match="curve '2' has failed: stage 'a' raised") as raised:
        way(runtime, plain_samples(5), None)
    done = raised.value.samples
    assert [sample.id for sample in done] == ["0", "1", "2", "3", "4"]
    flags = [CurveStatus.OK, CurveStatus.OK, CurveStatus.STAGE_FAILED]
    assert [sample.status for sample in done] == flags + [CurveStatus.CANCELLED] * 2


@WAYS
def test_failing_fast_minds_curves_that_cannot_begin(way):
    [good, bad] = plain_samples(2)
    bad.intensity[:] = 0.0
    runtime = runtime_of(Does(label="a"), on_failure="fail_fast")
    with pytest.raises(RunStoppedError, match="zero or constant"):
        way(runtime, [good, bad], None)


def test_an_option_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="'continue' or 'fail_fast'"):
        runtime_of(Does(label="a"), on_failure="hope")
    with pytest.raises(ValueError, match="at least 1 row"):
        runtime_of(Does(label="a"), rows_at_once=0)


def test_a_run_that_fails_fast_leaves_other_runs_of_the_same_token_alone():
    def picky(batch, rows):
        if batch.ids[rows[0]].startswith("bad"):
            raise ValueError("not this one")

    token = CancelToken()
    runtime = runtime_of(Does(label="a", does=picky), on_failure="fail_fast", rows_at_once=1)
    bad = runtime.submit(plain_samples(3, "bad"), cancel=token)
    good = runtime.submit(plain_samples(3), cancel=token)
    with pytest.raises(RunStoppedError):
        bad.result(20.0)
    assert not any(sample.status.failed for sample in good.result(20.0))
    assert not token.cancelled


def test_a_token_cancels_all_runs_that_it_was_given_to():
    token = CancelToken()
    stops = Does(label="a", does=lambda batch, rows: token.cancel("enough"))
    runtime = runtime_of(stops, Does(label="b"))
    runs = [runtime.submit(plain_samples(2), cancel=token) for _ in range(3)]
    for run in runs:
        assert {sample.reason for sample in run.result(20.0)} == {"cancelled: enough"}


@WAYS
def test_what_was_complete_when_a_run_was_cancelled_stays_so(way):
    token = CancelToken()

    def stops(batch, rows):
        if batch.ids[rows[0]] == "1":
            token.cancel("beam lost")

    runtime = runtime_of(Does(label="a", does=stops), rows_at_once=1)
    done = way(runtime, plain_samples(4), token)
    assert [sample.status for sample in done] == [CurveStatus.OK] * 2 + [CurveStatus.CANCELLED] * 2
    assert [sample.reason for sample in done] == ["", ""] + ["cancelled: beam lost"] * 2


def test_cleanup_waits_for_the_last_of_the_runs_that_share_a_token():
    token, done, held = CancelToken(), [], threading.Event()
    token.add_cleanup(lambda: done.append("clean"))
    waits = Does(label="a", does=lambda batch, rows: held.wait(20.0))
    quick, slow = runtime_of(Does(label="a")), runtime_of(waits)
    submission = slow.submit(plain_samples(1), cancel=token)
    quick.submit(plain_samples(1), cancel=token).result(20.0)
    assert done == []
    held.set()
    submission.result(20.0)
    assert done == ["clean"]


def test_a_listener_that_fails_keeps_no_run_from_hearing_of_the_cancel():
    token, seen = CancelToken(), []
    token.on_cancel(lambda reason: 1 / 0)
    runtime = runtime_of(
        Does(label="a", does=lambda batch, rows: token.cancel("enough")),
        Does(label="b", does=lambda batch, rows: seen.append(rows.size)),
    )
    [sample] = runtime.run(plain_samples(1), cancel=token)
    assert sample.reason == "cancelled: enough"
    assert seen == []


def test_cleanup_runs_after_a_run_without_samples():
    token, done = CancelToken(), []
    token.add_cleanup(lambda: done.append("clean"))
    assert runtime_of(Does(label="a")).run([], cancel=token) == []
    assert done == ["clean"]


@WAYS
def test_a_run_that_fails_fast_tells_of_its_cancel_once(way):
    def broken(batch, rows):
        raise ValueError("no")

    events = []
    with EventBus([events.append]) as bus:
        runtime = runtime_of(
            Does(label="a", does=broken), on_failure="fail_fast", rows_at_once=1, events=bus
        )
        with pytest.raises(RunStoppedError):
            way(runtime, plain_samples(3), None)
    assert [event.samples for event in events if isinstance(event, RunCancelled)] == [2]
