import asyncio
from typing import ClassVar

import numpy as np
import pytest

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.errors import PipelineError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.policy import Never, PerSample
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import CurveStatus, Sample
from gpusaxs.stages.base import NO_REQUESTS, FunctionStage, Stage, StageResult


class Recorded(Stage):
    """A stage that notes its rows."""

    label: str
    seen: ClassVar[list[tuple[str, list[int]]]] = []

    @property
    def name(self):
        return self.label

    def launch(self, batch, rows):
        self.seen.append((self.label, rows.tolist()))
        return self.requests(batch, rows)

    def requests(self, batch, rows):
        return NO_REQUESTS


class Again(Recorded):
    """Runs on request, and sends its rows back."""

    may_request: ClassVar[tuple[str, ...]] = ("find",)
    on_request: ClassVar[bool] = True

    def requests(self, batch, rows):
        return {"find": rows}


class Find(Recorded):
    """Row n asks for `fit` n times."""

    may_request: ClassVar[tuple[str, ...]] = ("fit",)
    times: dict[int, int] = {}  # noqa: RUF012

    def requests(self, batch, rows):
        asking = [row for row in rows if self.times.get(int(row), 0) < row]
        for row in asking:
            self.times[int(row)] = self.times.get(int(row), 0) + 1
        return {"fit": np.array(asking, np.int64)}


@pytest.fixture(autouse=True)
def _nothing_seen():
    Recorded.seen.clear()


def batch_of(curves: int) -> SampleBatch:
    q = np.linspace(0.1, 1.0, 32)
    intensity = np.random.default_rng(1).normal(10.0, 1.0, (curves, 32))
    return SampleBatch.from_arrays(
        [str(i) for i in range(curves)], q, intensity, None, NumpyBackend(1)
    )


def loop(**options) -> Pipeline:
    return Pipeline.of(
        [Recorded(label="cut"), Find(label="find", times={}), Again(label="fit"),
         Recorded(label="name")],
        **options,
    )  # fmt: skip


def run(pipeline: Pipeline, batch: SampleBatch):
    return Runtime(NumpyBackend(1), pipeline=pipeline).run_on(batch)


def test_stages_run_in_order_as_one_launch_each():
    run(Pipeline.of([Recorded(label="a"), Recorded(label="b")]), batch_of(3))
    assert Recorded.seen == [("a", [0, 1, 2]), ("b", [0, 1, 2])]


def test_requests_loop_until_no_row_asks_and_the_rest_waits_for_them():
    run(loop(), batch_of(3))
    assert Recorded.seen == [
        ("cut", [0, 1, 2]),
        ("find", [0, 1, 2]),
        ("fit", [1, 2]),
        ("find", [1, 2]),
        ("fit", [2]),
        ("find", [2]),
        ("name", [0, 1, 2]),
    ]


def test_a_stage_on_request_is_passed_over_by_who_did_not_ask():
    run(loop(insertion={"fit": Never()}), batch_of(2))
    assert [stage for stage, _ in Recorded.seen] == ["cut", "find", "name"]


def test_a_refused_row_goes_on_and_its_status_says_so():
    batch = batch_of(3)
    run(loop(insertion={"fit": PerSample(limit=1)}), batch)
    assert ("name", [0, 1, 2]) in [(stage, sorted(found)) for stage, found in Recorded.seen]
    refused = (batch.status & CurveStatus.INSERTION_REFUSED) != 0
    assert refused.tolist() == [False, False, True]


def test_a_row_that_fails_goes_no_further_and_the_others_do():
    class Fails(Recorded):
        def requests(self, batch, rows):
            batch.set_status(rows[rows == 1], CurveStatus.TOO_FEW_POINTS)
            return NO_REQUESTS

    run(Pipeline.of([Fails(label="a"), Recorded(label="b")]), batch_of(3))
    assert Recorded.seen[-1] == ("b", [0, 2])


def test_a_checkpoint_holds_every_row_until_all_have_arrived():
    run(loop(checkpoints=("name",)), batch_of(3))
    assert Recorded.seen[-1] == ("name", [0, 1, 2])
    assert [stage for stage, _ in Recorded.seen].count("name") == 1


def test_a_stage_that_raises_marks_its_rows_with_the_reason():
    class Raises(Recorded):
        def requests(self, batch, rows):
            raise ZeroDivisionError("no way")

    batch = batch_of(2)
    run(Pipeline.of([Raises(label="a"), Recorded(label="b")]), batch)
    assert Recorded.seen == [("a", [0, 1])]
    [first, _] = batch.to_samples()
    assert first.status.failed
    assert "no way" in first.reason


def test_a_request_for_a_stage_that_is_not_there_is_an_error_when_the_pipeline_is_built():
    with pytest.raises(PipelineError, match="'find' of a request"):
        Pipeline.of([Again(label="fit")])


def test_a_function_of_one_sample_is_a_stage():
    def double(sample, metadata):
        sample.intensity = 2.0 * sample.intensity
        return StageResult(sample, metadata)

    batch = batch_of(2)
    before = batch.intensity.copy()
    run(Pipeline.of([double]), batch)
    np.testing.assert_array_equal(batch.intensity, 2.0 * before)
    np.testing.assert_array_equal(batch.search, batch.intensity)


def test_a_function_that_raises_on_one_sample_leaves_the_others_alone():
    def picky(sample, metadata):
        if sample.id == "1":
            raise ValueError("not this one")
        return StageResult(sample, metadata)

    batch = batch_of(3)
    run(Pipeline.of([picky, Recorded(label="b")]), batch)
    assert Recorded.seen == [("b", [0, 2])]
    assert "not this one" in batch.to_samples()[1].reason


def test_a_function_stage_bears_the_name_of_its_function():
    def common_level(sample, metadata):
        return StageResult(sample, metadata)

    assert FunctionStage(function=common_level).name == "common_level"


def test_run_returns_the_samples_in_order_and_leaves_the_given_ones_alone():
    q = np.linspace(0.1, 1.0, 32)
    given = [Sample(name, q, np.arange(32.0) + i) for i, name in enumerate("ab")]
    before = [sample.intensity.copy() for sample in given]
    pipeline = Pipeline.of([Recorded(label="a")])
    done = Runtime("numpy", 1, pipeline).run(given)
    assert [sample.id for sample in done] == ["a", "b"]
    for sample, intensity in zip(given, before, strict=True):
        np.testing.assert_array_equal(sample.intensity, intensity)


def test_run_batch_gives_the_same_in_an_event_loop():
    q = np.linspace(0.1, 1.0, 32)
    given = [Sample("a", q, np.arange(32.0))]
    runtime = Runtime("numpy", 1, Pipeline.of([Recorded(label="a")]))
    [done] = asyncio.run(runtime.run_batch(given))
    assert done.stage_num == 1
    np.testing.assert_array_equal(done.intensity, given[0].intensity)


def test_no_samples_give_no_samples():
    assert Runtime("numpy", 1, Pipeline.of([Recorded(label="a")])).run([]) == []


def test_a_curve_that_asks_for_what_is_not_declared_fails_alone():
    def strays(sample, metadata):
        return StageResult(sample, metadata, ["zz"] if sample.id == "0" else [])

    batch = batch_of(3)
    run(Pipeline.of([strays, Recorded(label="b")]), batch)
    assert Recorded.seen == [("b", [1, 2])]
    [first, *_] = batch.to_samples()
    assert "asked for 'zz'; it may ask for nothing" in first.reason


def test_a_pipeline_of_stages_on_request_alone_is_refused():
    with pytest.raises(PipelineError, match="at which curves enter"):
        Pipeline.of([Again(label="find")])
