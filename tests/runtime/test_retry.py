import gc
import logging
import threading
import time

import numpy as np
import pytest
from runtime_curves import Does, bragg_samples, plain_samples, result_bits

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.errors import OutOfMemoryError, PipelineError, StageTimeoutError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime import execution
from gpusaxs.runtime.cancel import CancelToken
from gpusaxs.runtime.events import EventBus, Retried
from gpusaxs.runtime.interceptors import Interceptor, Timeout
from gpusaxs.runtime.retry import Retry
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import CurveStatus
from gpusaxs.stages.base import FunctionStage, StageResult


class Passing(Exception):
    """Something that may pass."""


class Fails(Interceptor):
    """Lets the first launches of a stage fail, after the stage has run."""

    def __init__(self, times, error, stage=None):
        self.left, self.error_to_raise, self.stage = times, error, stage
        self.widths = []

    def around(self, launch, proceed):
        if self.stage not in (None, launch.stage.name):
            return proceed(launch.rows)
        self.widths.append(launch.rows.size)
        requests = proceed(launch.rows)
        if self.left > 0:
            self.left -= 1
            raise self.error_to_raise
        return requests


@pytest.fixture
def pauses(monkeypatch):
    """Seconds that were waited, without waiting."""
    waited = []
    monkeypatch.setattr(
        execution.Execution, "_pause", lambda self, seconds, rows: waited.append(seconds)
    )
    return waited


def run(retry, inner, samples, stages=None):
    pipeline = Pipeline.of(stages or [Does(label="a")])
    return Runtime(NumpyBackend(1), pipeline=pipeline, interceptors=[retry, inner]).run(samples)


@pytest.mark.parametrize(
    ("wait", "least", "most"),
    [
        ("none", [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        ("fixed", [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
        ("linear", [0.5, 1.0, 1.5], [0.5, 1.0, 1.5]),
        ("exponential", [0.5, 1.0, 2.0], [1.0, 1.5, 2.5]),
    ],
)
def test_the_waits_follow_their_policy(wait, least, most, pauses):
    retry = Retry(attempts=4, wait=wait, seconds=0.5, transient=[Passing])
    done = run(retry, Fails(3, Passing()), plain_samples(2))
    assert not any(sample.status.failed for sample in done)
    assert len(pauses) == 3
    assert all(a <= b <= c for a, b, c in zip(least, pauses, most, strict=True))


def test_exponential_waits_differ_from_run_to_run(pauses):
    for _ in range(5):
        retry = Retry(attempts=2, seconds=0.5, transient=[Passing])
        run(retry, Fails(1, Passing()), plain_samples(1))
    assert len(set(pauses)) > 1


def test_no_wait_is_longer_than_the_longest(pauses):
    retry = Retry(attempts=6, wait="linear", seconds=0.5, longest=1.2, transient=[Passing])
    run(retry, Fails(5, Passing()), plain_samples(1))
    assert pauses == [0.5, 1.0, 1.2, 1.2, 1.2]


def test_attempts_count_the_first(pauses):
    for attempts, failed in ((1, True), (2, True), (3, False)):
        inner = Fails(2, Passing("still"))
        [sample] = run(Retry(attempts, transient=[Passing]), inner, plain_samples(1))
        assert len(inner.widths) == attempts
        assert sample.status.failed is failed
        if failed:
            assert sample.reason == "stage 'a' raised Passing: still"


def test_other_errors_are_not_retried(pauses):
    inner = Fails(1, ValueError("for good"))
    [sample] = run(Retry(5, transient=[Passing]), inner, plain_samples(1))
    assert inner.widths == [1]
    assert "ValueError: for good" in sample.reason
    assert pauses == []


def test_every_attempt_starts_from_what_the_curves_were_before(pauses):
    samples = bragg_samples(6)
    plain = Runtime("numpy", 1).run(samples)
    for stage in ("cut", "noise", "background", "filter", "find_peak", "process_peak", "phase"):
        inner = Fails(2, Passing(), stage)
        runtime = Runtime("numpy", 1, interceptors=[Retry(3, transient=[Passing]), inner])
        done = runtime.run(samples)
        assert inner.left == 0
        assert [result_bits(s) for s in done] == [result_bits(s) for s in plain]


def test_a_retry_is_for_the_stages_it_names(pauses):
    inner = Fails(1, Passing(), "a")
    [sample] = run(Retry(3, transient=[Passing], stages=["b"]), inner, plain_samples(1))
    assert sample.status.failed


def test_out_of_memory_halves_the_group_until_it_fits_and_no_row_is_done_twice(pauses):
    done_rows = []

    def fits_two(batch, rows):
        if rows.size > 2:
            raise OutOfMemoryError("full")
        done_rows.extend(rows.tolist())
        return {"b": rows[rows % 2 == 0]}

    asked = []
    stages = [
        Does(label="a", does=fits_two, asks_for=("b",)),
        Does(label="b", does=lambda batch, rows: asked.extend(rows.tolist())),
    ]
    run(Retry(attempts=4), Fails(0, Passing()), plain_samples(9), stages)
    assert sorted(done_rows) == list(range(9))
    assert sorted(asked) == list(range(9))
    assert len(pauses) == 3


def test_only_the_samples_on_which_a_function_failed_are_tried_again(pauses):
    calls = []

    def picky(sample, metadata):
        calls.append(sample.id)
        if sample.id == "1" and calls.count("1") < 3:
            raise Passing("not yet")
        sample.intensity = sample.intensity + 1.0
        return StageResult(sample, metadata)

    given = plain_samples(3)
    done = run(Retry(3, transient=[Passing]), Fails(0, Passing()), given, [picky])
    assert calls == ["0", "1", "2", "1", "1"]
    for before, after in zip(given, done, strict=True):
        assert after.status == CurveStatus.OK
        np.testing.assert_array_equal(after.intensity, before.intensity + 1.0)


def test_the_last_failure_fails_the_samples_it_is_about_and_no_other(pauses):
    def picky(sample, metadata):
        if sample.id == "1":
            raise Passing("never")
        return StageResult(sample, metadata)

    done = run(Retry(3, transient=[Passing]), Fails(0, Passing()), plain_samples(3), [picky])
    assert [sample.status.failed for sample in done] == [False, True, False]
    assert done[1].reason == "stage 'picky' raised Passing: never"


def test_a_part_that_fails_for_good_leaves_the_other_parts_alone(pauses):
    def picky(batch, rows):
        if rows.size > 2:
            raise OutOfMemoryError("full")
        if 0 in rows:
            raise ValueError("for good")

    done = run(Retry(3), Fails(0, Passing()), plain_samples(4), [Does(label="a", does=picky)])
    assert [sample.status.failed for sample in done] == [True, True, False, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attempts": 0}, "at least 1 attempt"),
        ({"seconds": -1.0}, "waits from 0"),
        ({"seconds": 5.0, "longest": 1.0}, "waits from 0"),
        ({"wait": "sometimes"}, "a wait out of none, fixed, linear, exponential"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Retry(**options)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_fails_in_between_every_row_is_done_once_or_has_failed(seed, pauses):
    rng = np.random.default_rng(seed)
    curves = int(rng.integers(1, 12))
    fits = int(rng.integers(1, curves + 1))
    faults = rng.integers(0, 4, curves)
    attempts = int(rng.choice([1, 2, 3, 20]))
    asked = []

    def flaky(batch, rows):
        batch.intensity[rows] += 1.0
        if rows.size > fits:
            raise OutOfMemoryError("full")
        for row in rows[faults[rows] > 0]:
            faults[row] -= 1
            batch.fail([row], "a", Passing("not yet"))
        return {"b": rows}

    stages = [
        Does(label="a", does=flaky, asks_for=("b",)),
        Does(label="b", does=lambda batch, rows: asked.extend(rows.tolist())),
    ]
    given = plain_samples(curves)
    retry = Retry(attempts, transient=[Passing, OutOfMemoryError])
    done = run(retry, Fails(0, Passing()), given, stages)
    failed = [sample.status.failed for sample in done]
    assert sorted(asked) == np.flatnonzero(~np.array(failed)).tolist()
    for before, after in zip(given, done, strict=True):
        if not after.status.failed:
            np.testing.assert_array_equal(after.intensity, before.intensity + 1.0)
    assert attempts < 20 or not any(failed)


def test_requests_of_samples_that_are_tried_again_are_complete(pauses):
    asked, calls = [], []

    def picky(sample, metadata):
        calls.append(sample.id)
        if sample.id == "1" and calls.count("1") < 2:
            raise Passing("not yet")
        return StageResult(sample, metadata, ["b"])

    stages = [
        FunctionStage(function=picky, asks_for=("b",)),
        Does(label="b", does=lambda batch, rows: asked.extend(rows.tolist())),
    ]
    run(Retry(2, transient=[Passing]), Fails(0, Passing()), plain_samples(3), stages)
    assert sorted(asked) == [0, 1, 2]


def test_each_retry_is_told_with_its_rows_wait_and_error(pauses):
    def picky(sample, metadata):
        if sample.id == "1":
            raise Passing("not yet")
        return StageResult(sample, metadata)

    events = []
    with EventBus([events.append]) as bus:
        retry = Retry(3, "linear", seconds=0.5, transient=[Passing])
        Runtime(
            NumpyBackend(1), pipeline=Pipeline.of([picky]), interceptors=[retry], events=bus
        ).run(plain_samples(3))
    told = [event[1:] for event in events if isinstance(event, Retried)]
    assert told == [("picky", 1, 2, 0.5, "not yet"), ("picky", 1, 3, 1.0, "not yet")]


@pytest.mark.alone
def test_a_launch_that_timed_out_is_tried_again_by_halves(pauses):
    widths = []

    def slow(batch, rows):
        widths.append(rows.size)
        time.sleep(0.05 * rows.size)

    retry = Retry(4, transient=[StageTimeoutError])
    done = run(retry, Timeout(0.3), plain_samples(8), [Does(label="a", does=slow)])
    assert not any(sample.status.failed for sample in done)
    assert widths[0] == 8
    assert max(widths[1:]) == 4


def batches():
    return sum(type(found) is SampleBatch for found in gc.get_objects())


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="tenacity's Retrying is a cycle that knows the batch"
)
@pytest.mark.parametrize("faults", [0, 2, 9], ids=["no faults", "faults", "in vain"])
def test_arrays_are_released_when_a_run_has_ended_not_when_garbage_is_collected(faults):
    logging.disable(logging.CRITICAL)  # what is logged is kept by pytest, with the batch
    gc.collect()
    before = batches()
    gc.disable()
    try:
        inner = Fails(faults, Passing(), "a")
        run(Retry(3, "none", transient=[Passing]), inner, plain_samples(2))
        inner.error_to_raise = None
        assert batches() == before
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)


def test_no_exponential_wait_is_longer_than_the_longest(pauses):
    retry = Retry(8, seconds=1.0, longest=1.0, transient=[Passing])
    run(retry, Fails(7, Passing()), plain_samples(1))
    assert max(pauses) <= 1.0


def test_a_last_part_that_fails_for_good_leaves_alone_what_is_done(pauses):
    widths = []

    def picky(batch, rows):
        widths.append(rows.size)
        if len(widths) in (1, 3):
            raise OutOfMemoryError("full")
        if len(widths) == 4:
            raise ValueError("for good")

    done = run(Retry(4), Fails(0, Passing()), plain_samples(5), [Does(label="a", does=picky)])
    assert widths == [5, 3, 2, 2]
    assert [sample.status.failed for sample in done] == [False] * 3 + [True] * 2


@pytest.mark.xfail(
    strict=True, raises=AssertionError, reason="all get the error of the first of the last part"
)
def test_every_sample_that_fails_says_its_own_reason(pauses):
    def picky(sample, metadata):
        raise Passing(f"about {sample.id}")

    done = run(Retry(2, transient=[Passing]), Fails(0, Passing()), plain_samples(3), [picky])
    assert [sample.reason[-7:] for sample in done] == ["about 0", "about 1", "about 2"]


def test_memory_that_lacked_in_one_part_halves_the_next_whatever_came_after(pauses):
    widths = []

    def picky(batch, rows):
        widths.append(rows.size)
        if rows.size > 1 and 0 in rows:
            raise OutOfMemoryError("full")
        if len(widths) == 3:
            raise Passing("not yet")

    retry = Retry(3, transient=[Passing, OutOfMemoryError])
    done = run(retry, Fails(0, Passing()), plain_samples(4), [Does(label="a", does=picky)])
    assert widths == [4, 2, 2, 1, 1, 1, 1]
    assert not any(sample.status.failed for sample in done)


def test_an_error_of_the_pipeline_ends_the_run_in_a_part_as_well(pauses):
    def broken(batch, rows):
        if rows.size > 2:
            raise OutOfMemoryError("full")
        raise PipelineError("no curve could be processed so")

    with pytest.raises(PipelineError):
        run(Retry(3), Fails(0, Passing()), plain_samples(4), [Does(label="a", does=broken)])


def test_a_cancel_is_no_error_even_where_every_error_is_retried():
    token = CancelToken()

    def picky(sample, metadata):
        if sample.id == "1":
            threading.Timer(0.05, token.cancel, ["beam lost"]).start()
            raise Passing("not yet")
        return StageResult(sample, metadata)

    runtime = Runtime(
        NumpyBackend(1),
        pipeline=Pipeline.of([picky]),
        interceptors=[Retry(3, "fixed", seconds=5.0, transient=[Exception])],
    )
    done = runtime.run(plain_samples(3), cancel=token)
    assert {sample.reason for sample in done} == {"cancelled: beam lost"}


def test_a_sample_that_has_failed_for_good_is_not_cancelled_while_others_wait():
    token = CancelToken()

    def picky(sample, metadata):
        if sample.id == "0":
            raise ValueError("for good")
        threading.Timer(0.05, token.cancel, ["beam lost"]).start()
        raise Passing("not yet")

    runtime = Runtime(
        NumpyBackend(1),
        pipeline=Pipeline.of([picky]),
        interceptors=[Retry(3, "fixed", seconds=5.0, transient=[Passing])],
    )
    done = runtime.run(plain_samples(2), cancel=token)
    assert [s.status for s in done] == [CurveStatus.STAGE_FAILED, CurveStatus.CANCELLED]
