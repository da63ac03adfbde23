import logging
import time
from collections import Counter

import numpy as np
import pytest
from runtime_curves import Does, bragg_samples, plain_samples, result_bits

from gpusaxs.backends import numpy as numpy_backend
from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.backends.supervision import check_deadline
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.interceptors import Interceptor, Logging, Timeout, Timing
from gpusaxs.runtime.retry import Retry
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import CurveStatus
from gpusaxs.stages.base import StageResult


def run(stages, interceptors, samples, **options):
    pipeline = Pipeline.of(stages)
    return Runtime(NumpyBackend(1), pipeline=pipeline, interceptors=interceptors, **options).run(
        samples
    )


class Notes(Interceptor):
    """Notes what it is told, with its name."""

    def __init__(self, name, told):
        self.name, self.told = name, told

    def before(self, launch):
        self.told.append(f"{self.name} before {launch.stage.name}")

    def after(self, launch, requests):
        self.told.append(f"{self.name} after")

    def error(self, launch, error):
        self.told.append(f"{self.name} error {error}")


def test_the_first_interceptor_is_the_outermost():
    told = []
    run([Does(label="a")], [Notes("outer", told), Notes("inner", told)], plain_samples(2))
    assert told == ["outer before a", "inner before a", "inner after", "outer after"]


def test_an_error_is_told_from_the_inside_out_and_fails_the_launch():
    def broken(batch, rows):
        raise ZeroDivisionError("no way")

    told = []
    [sample] = run(
        [Does(label="a", does=broken)], [Notes("outer", told), Notes("inner", told)],
        plain_samples(1),
    )  # fmt: skip
    assert told[2:] == ["inner error no way", "outer error no way"]
    assert sample.reason == "stage 'a' raised ZeroDivisionError: no way"


def test_an_interceptor_may_run_the_stage_over_parts_of_the_rows():
    class Halves(Interceptor):
        def around(self, launch, proceed):
            for part in np.array_split(launch.rows, 2):
                proceed(part)
            return {}

    widths = []
    run([Does(label="a", does=lambda batch, rows: widths.append(rows.size))], [Halves()],
        plain_samples(5))  # fmt: skip
    assert widths == [3, 2]


def test_an_interceptor_that_raises_fails_the_rows_of_that_launch_alone():
    class Picky(Interceptor):
        def before(self, launch):
            if launch.batch.ids[launch.rows[0]] == "1":
                raise ValueError("not this one")

    done = run([Does(label="a")], [Picky()], plain_samples(3), rows_at_once=1)
    assert [bool(s.status & CurveStatus.STAGE_FAILED) for s in done] == [False, True, False]


def test_timing_adds_up_seconds_launches_and_rows_by_stage():
    timing = Timing()
    stages = [Does(label="a", does=lambda batch, rows: time.sleep(0.01)), Does(label="b")]
    run(stages, [timing], plain_samples(5), rows_at_once=2)
    assert timing.launches == {"a": 3, "b": 3}
    assert timing.rows == {"a": 5, "b": 5}
    assert 0.03 <= timing.seconds["a"] < 1.0
    assert timing.seconds["b"] < timing.seconds["a"]


def test_logging_tells_each_launch_at_its_level_and_errors_as_warnings(caplog):
    def broken(batch, rows):
        raise ValueError("no way")

    stages = [
        Does(label="a", does=lambda batch, rows: {"b": rows}, asks_for=("b",)),
        Does(label="b", does=broken),
    ]
    with caplog.at_level(logging.INFO, "gpusaxs"):
        run(stages, [Logging(logging.INFO)], plain_samples(2))
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert ("INFO", "a over 2 curves; 2 ask for b") in told
    assert ("WARNING", "b over 2 curves: no way") in told


@pytest.mark.alone
def test_a_timeout_ends_a_function_between_curves_and_other_launches_go_on():
    seen = []

    def slow(sample, metadata):
        seen.append(sample.id)
        time.sleep(0.4 if sample.id == "0" else 0.0)
        return StageResult(sample, metadata)

    run([slow], [], plain_samples(2)[1:])  # compiles
    seen.clear()
    done = run([slow], [Timeout(0.2)], plain_samples(6), rows_at_once=3)
    assert seen == ["0", "3", "4", "5"]
    assert [bool(sample.status & CurveStatus.TIMED_OUT) for sample in done] == [True] * 3 + [
        False
    ] * 3
    assert "longer than its timeout" in done[0].reason


@pytest.mark.alone
def test_a_timeout_ends_a_kernel_between_chunks(monkeypatch):
    class SlowDriver:
        """A kernel each of whose chunks takes ten milliseconds."""

        def __init__(self, kernel):
            self._kernel = kernel
            self.chunks = 0

        def __getattr__(self, name):
            return getattr(self._kernel, name)

        @property
        def cpu_driver(self):
            def driver(*arguments):
                self.chunks += 1
                time.sleep(0.01)
                self._kernel.cpu_driver(*arguments)

            return driver

    from gpusaxs.stages import cut

    monkeypatch.setattr(numpy_backend, "CHUNK", 1)
    slow = SlowDriver(cut.cut)
    monkeypatch.setattr(cut, "cut", slow)
    runtime = Runtime(
        NumpyBackend(1), pipeline=Pipeline.of([cut.Cut()]), interceptors=[Timeout(0.035)]
    )
    done = runtime.run(bragg_samples(20))
    assert all(sample.status & CurveStatus.TIMED_OUT for sample in done)
    assert 1 <= slow.chunks < 10


@pytest.mark.alone
def test_a_stage_that_ends_late_by_itself_has_timed_out():
    stages = [Does(label="a", does=lambda batch, rows: time.sleep(0.03))]
    [sample] = run(stages, [Timeout(0.01)], plain_samples(1))
    assert sample.status & CurveStatus.TIMED_OUT


@pytest.mark.alone
def test_a_timeout_is_for_the_stages_it_names():
    stages = [Does(label="a", does=lambda batch, rows: time.sleep(0.03)), Does(label="b")]
    [sample] = run(stages, [Timeout(0.01, stages=["b"])], plain_samples(1))
    assert not sample.status.failed


@pytest.mark.alone
def test_the_shorter_of_two_timeouts_holds_and_none_outlives_its_launch():
    def slow(batch, rows):
        time.sleep(0.03)
        check_deadline()

    stages = [Does(label="a", does=slow)]
    for limits in ([0.01, 10.0], [10.0, 0.01]):
        [sample] = run(stages, [Timeout(limit) for limit in limits], plain_samples(1))
        assert sample.status & CurveStatus.TIMED_OUT
    check_deadline()


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_timeout_that_cannot_be_is_refused(seconds):
    with pytest.raises(ValueError, match="above 0 s"):
        Timeout(seconds)


def test_what_does_not_time_out_keeps_its_bits():
    samples = bragg_samples(5)
    plain = Runtime("numpy", 1).run(samples)
    limited = Runtime("numpy", 1, interceptors=[Timeout(60.0)]).run(samples)
    assert [result_bits(s) for s in limited] == [result_bits(s) for s in plain]


def test_an_interceptor_may_run_fewer_rows_and_the_others_go_on_as_they_are():
    class EveryOther(Interceptor):
        def around(self, launch, proceed):
            return proceed(launch.rows[::2])

    def double(batch, rows):
        batch.intensity[rows] *= 2.0

    told, given = [], plain_samples(5)
    done = run([Does(label="a", does=double)], [EveryOther(), Notes("inner", told)], given)
    assert told == ["inner before a", "inner after"]
    for factor, before, after in zip([2.0, 1.0, 2.0, 1.0, 2.0], given, done, strict=True):
        assert not after.status.failed
        np.testing.assert_array_equal(after.intensity, factor * before.intensity)


def test_a_users_interceptor_needs_a_few_lines():
    class Lost(Interceptor):
        """Counts the curves that a stage gave up."""

        def __init__(self):
            self.by_stage = Counter()

        def after(self, launch, requests):
            alive = launch.batch.alive(launch.rows)
            self.by_stage[launch.stage.name] += int((~alive).sum())

    def gives_up(batch, rows):
        batch.set_status(rows[:2], CurveStatus.NO_SIGNAL)

    lost = Lost()
    run([Does(label="a", does=gives_up), Does(label="b")], [lost], plain_samples(5))
    assert lost.by_stage == {"a": 2, "b": 0}


def test_what_an_interceptor_raises_is_an_error_to_those_around_it_alone():
    class Refuses(Notes):
        def before(self, launch):
            raise ValueError("not today")

    told = []
    [sample] = run(
        [Does(label="a")], [Notes("outer", told), Refuses("inner", told)], plain_samples(1)
    )
    assert told == ["outer before a", "outer error not today"]
    assert sample.status & CurveStatus.STAGE_FAILED
    assert sample.reason == "stage 'a' raised ValueError: not today"


@pytest.mark.alone
def test_a_timeout_changes_no_bit_of_the_curves_of_other_launches():
    naps = {"0": 0.6}

    def slow(sample, metadata):
        time.sleep(naps.get(sample.id, 0.0))
        return StageResult(sample, metadata)

    stages = [slow, *Pipeline.load("standard").stages]
    samples = bragg_samples(6)
    plain = run(stages, [], samples[3:])
    done = run(stages, [Timeout(0.3, stages=["slow"])], samples, rows_at_once=3)
    assert all(sample.status & CurveStatus.TIMED_OUT for sample in done[:3])
    assert [result_bits(s) for s in done[3:]] == [result_bits(s) for s in plain]


@pytest.mark.parametrize("interceptor", [Logging(), Retry()], ids=["logging", "retry"])
def test_a_stage_may_ask_with_a_list_of_rows_whatever_is_around_it(interceptor):
    asked = []
    stages = [
        Does(label="a", does=lambda batch, rows: {"b": rows.tolist()}, asks_for=("b",)),
        Does(label="b", does=lambda batch, rows: asked.extend(rows.tolist())),
    ]
    run(stages, [interceptor], plain_samples(2))
    assert asked == [0, 1]


def test_logging_says_nothing_of_requests_where_there_are_none(caplog):
    with caplog.at_level(logging.DEBUG, "gpusaxs"):
        run([Does(label="a")], [Logging()], plain_samples(2))
    assert [record.getMessage() for record in caplog.records] == ["a over 2 curves"]


@pytest.mark.parametrize(
    "kind", [lambda word: Timeout(1.0, stages=word), lambda w: Retry(stages=w)]
)
def test_a_word_in_place_of_a_list_of_stages_is_refused(kind):
    with pytest.raises((TypeError, ValueError), match="background"):
        kind("background")
