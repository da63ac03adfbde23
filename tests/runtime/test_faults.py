"""A fault at any launch touches the curves of that launch, and nothing stays behind."""

import gc
import itertools
import logging
import threading
import time

import numpy as np
import pytest
from runtime_curves import bragg_samples, result_bits

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.errors import OutOfMemoryError
from gpusaxs.runtime.cancel import CancelToken
from gpusaxs.runtime.interceptors import Interceptor, Timeout
from gpusaxs.runtime.retry import Retry
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import CurveStatus

CURVES = 7
AT_ONCE = 3
WAIT_SECONDS = 20.0


@pytest.fixture(scope="module")
def samples():
    return bragg_samples(CURVES)


class Counted(Interceptor):
    """Counts launches, and does something at one of them."""

    def __init__(self, at=-1):
        self.at = at
        self.number = itertools.count()
        self.hit = []

    def around(self, launch, proceed):
        if next(self.number) != self.at:
            return proceed(launch.rows)
        self.hit = [launch.batch.ids[row] for row in launch.rows]
        return self.fault(launch, proceed)


class RaisesBefore(Counted):
    flag = CurveStatus.STAGE_FAILED
    reason = "raised ZeroDivisionError: a fault"

    def fault(self, launch, proceed):
        raise ZeroDivisionError("a fault")


class RaisesAfter(RaisesBefore):
    def fault(self, launch, proceed):
        proceed(launch.rows)
        raise ZeroDivisionError("a fault")


class RunsLate(Counted):
    flag = CurveStatus.TIMED_OUT
    reason = "took longer than its timeout"

    def fault(self, launch, proceed):
        return Timeout(1e-9).around(launch, proceed)


class WritesAStatus(Counted):
    flag = CurveStatus.NO_SIGNAL
    reason = "zero or constant everywhere"

    def fault(self, launch, proceed):
        requests = proceed(launch.rows)
        self.hit = self.hit[:1]
        launch.batch.set_status(launch.rows[:1], CurveStatus.NO_SIGNAL)
        return requests


class Cancels(Counted):
    def __init__(self, at, token):
        super().__init__(at)
        self.token = token

    def fault(self, launch, proceed):
        self.token.cancel("a fault")
        return proceed(launch.rows)


class SmallDevice(NumpyBackend):
    """Has no memory at one kernel launch, or for more than some curves."""

    def __init__(self, at=-1, most=10**9):
        super().__init__(1)
        self.at, self.most = at, most
        self.number = itertools.count()

    def launch(self, kernel, rows, span, *arguments):
        if next(self.number) == self.at or rows.size > self.most:
            raise OutOfMemoryError(f"no room for {rows.size} curves")
        super().launch(kernel, rows, span, *arguments)


def directly(runtime, samples, token=None):
    return runtime.run(samples, cancel=token)


def by_the_service(runtime, samples, token=None):
    return runtime.submit(samples, cancel=token).result(WAIT_SECONDS)


WAYS = pytest.mark.parametrize("way", [directly, by_the_service])


@pytest.fixture(scope="module")
def expected(samples):
    """The bits of each curve where nothing goes wrong."""
    return {sample.id: result_bits(sample) for sample in Runtime("numpy", 1).run(samples)}


@pytest.fixture(scope="module")
def launches(samples):
    """Launches of a run in small groups."""
    counted = Counted()
    Runtime("numpy", 1, interceptors=[counted], rows_at_once=AT_ONCE).run(samples)
    number = next(counted.number)
    assert number > 30
    return number


@pytest.fixture(autouse=True)
def _nothing_stays_behind(expected):
    # What is logged is kept by pytest, with the frames of the error and all arrays in them.
    logging.disable(logging.CRITICAL)
    threads, batches = threading.active_count(), alive()
    yield
    logging.disable(logging.NOTSET)
    assert alive() == batches
    for thread in threading.enumerate():
        if thread.name == "gpusaxs-runtime":
            thread.join(WAIT_SECONDS)
    assert threading.active_count() <= threads


def alive():
    gc.collect()
    return sum(type(found) is SampleBatch for found in gc.get_objects())


@WAYS
@pytest.mark.parametrize("kind", [RaisesBefore, RaisesAfter, RunsLate, WritesAStatus])
def test_a_fault_fails_the_curves_of_its_launch_and_no_other(
    samples, expected, launches, kind, way
):
    for at in range(launches):
        fault = kind(at)
        runtime = Runtime("numpy", 1, interceptors=[fault], rows_at_once=AT_ONCE)
        done = {sample.id: sample for sample in way(runtime, samples)}
        assert list(done) == [sample.id for sample in samples]
        assert fault.hit
        for name, sample in done.items():
            if name in fault.hit:
                assert sample.status & kind.flag
                assert kind.reason in sample.reason
            else:
                assert result_bits(sample) == expected[name]


@WAYS
def test_a_cancel_at_any_launch_leaves_what_was_complete(samples, expected, launches, way):
    complete = set()
    for at in range(launches):
        token = CancelToken()
        runtime = Runtime("numpy", 1, interceptors=[Cancels(at, token)], rows_at_once=AT_ONCE)
        done = way(runtime, samples, token)
        assert [sample.id for sample in done] == [sample.id for sample in samples]
        for sample in done:
            if sample.status & CurveStatus.CANCELLED:
                assert sample.reason == "cancelled: a fault"
            else:
                assert result_bits(sample) == expected[sample.id]
        complete.add(sum(not sample.status.failed for sample in done))
    assert {0, CURVES} <= complete
    assert len(complete) > 2


def kernel_launches(samples):
    device = SmallDevice()
    Runtime(device, rows_at_once=AT_ONCE).run(samples)
    return next(device.number)


@WAYS
def test_a_device_out_of_memory_at_any_kernel_fails_the_curves_of_its_launch_and_no_other(
    samples, expected, way
):
    for at in range(kernel_launches(samples)):
        done = way(Runtime(SmallDevice(at), rows_at_once=AT_ONCE), samples)
        failed = [sample for sample in done if sample.status.failed]
        assert 1 <= len(failed) <= AT_ONCE
        assert all("raised OutOfMemoryError: no room" in sample.reason for sample in failed)
        for sample in done:
            if sample not in failed:
                assert result_bits(sample) == expected[sample.id]


@WAYS
def test_with_retries_a_device_out_of_memory_at_any_kernel_changes_nothing(samples, expected, way):
    for at in range(kernel_launches(samples)):
        runtime = Runtime(SmallDevice(at), interceptors=[Retry(wait="none")], rows_at_once=AT_ONCE)
        assert {s.id: result_bits(s) for s in way(runtime, samples)} == expected


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_device_with_room_for_few_curves_gets_through_by_halves(samples, expected, most):
    retry = Retry(attempts=4, wait="none")
    done = Runtime(SmallDevice(most=most), interceptors=[retry]).run(samples)
    assert {sample.id: result_bits(sample) for sample in done} == expected


def test_faults_in_one_call_leave_other_calls_alone(samples, expected):
    class Picky(Interceptor):
        def before(self, launch):
            if any(launch.batch.ids[row].startswith("bad") for row in launch.rows):
                raise ZeroDivisionError("a fault")

    bad = [type(s)(f"bad{s.id}", s.q, s.intensity, s.sigma) for s in samples]
    runtime = Runtime("numpy", 1, interceptors=[Picky()], rows_at_once=1)
    both = runtime.submit(bad), runtime.submit(samples)
    failed, good = (submission.result(WAIT_SECONDS) for submission in both)
    assert all(sample.status & CurveStatus.STAGE_FAILED for sample in failed)
    assert {sample.id: result_bits(sample) for sample in good} == expected


def test_a_function_that_raises_at_a_checkpoint_fails_what_is_held_there():
    def broken(stage, held):
        raise ZeroDivisionError("a fault")

    samples = bragg_samples(4)
    runtime = Runtime("numpy", 1, on_checkpoint=broken)
    pipeline = runtime.pipeline.model_copy(update={"checkpoints": ("find_peak",)})
    done = Runtime("numpy", 1, pipeline, on_checkpoint=broken).run(samples)
    assert all(sample.status & CurveStatus.STAGE_FAILED for sample in done)
    assert np.unique([sample.reason for sample in done]).size == 1


@WAYS
def test_arrays_are_released_when_a_run_has_ended_not_when_garbage_is_collected(samples, way):
    runtime = Runtime("numpy", 1, interceptors=[Counted(), Counted()])
    before = alive()
    gc.disable()
    try:
        way(runtime, samples)
        for thread in threading.enumerate():
            if thread.name == "gpusaxs-runtime":
                thread.join(WAIT_SECONDS)
        assert sum(type(found) is SampleBatch for found in gc.get_objects()) == before
    finally:
        gc.enable()


@WAYS
def test_a_cancel_ends_the_wait_for_another_attempt_at_once(samples, way):
    class Full(Interceptor):
        def before(self, launch):
            if launch.stage.name == "phase":
                threading.Timer(0.05, token.cancel, ["beam lost"]).start()
                raise OutOfMemoryError("full")

    token = CancelToken()
    retry = Retry(attempts=5, wait="fixed", seconds=WAIT_SECONDS)
    runtime = Runtime("numpy", 1, interceptors=[retry, Full()])
    began = time.perf_counter()
    done = way(runtime, samples, token)
    assert time.perf_counter() - began < WAIT_SECONDS / 2
    assert {sample.reason for sample in done} == {"cancelled: beam lost"}
    assert not any(sample.phases for sample in done)
