"""A stage whose result for a curve hangs on the others gets all curves of a run, and no more."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

import gpusaxs
from gpusaxs.api import process
from gpusaxs.archive.estimate import estimate
from gpusaxs.archive.from_run import reprocess_run
from gpusaxs.archive.opened import open_run
from gpusaxs.archive.run import process_archive
from gpusaxs.archive.verify import verify_run
from gpusaxs.errors import OutOfMemoryError, PipelineError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.interceptors import Interceptor
from gpusaxs.runtime.retry import Retry
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Sample

STANDARD = Pipeline.load("standard")
COMMON = STANDARD.with_settings(["background.mode=common"])
OPTIONS = {"backend": "numpy", "workers": 1}


def series(curves, seed, points=300):
    """Curves with one background; the samples are named by their seed."""
    drawn = gpusaxs.simulate(1, seed=seed, points=points, counts=20000.0, phases=["lamellar"])
    noise = np.random.default_rng(seed).normal(size=(curves, points))
    rows = drawn.expected[0] + noise * drawn.sigma[0]
    return [
        Sample(f"{seed}_{number}", drawn.q, row, drawn.sigma[0]) for number, row in enumerate(rows)
    ]


def intensities(samples):
    return [sample.intensity for sample in samples]


class Largest(Interceptor):
    """Notes the rows of each launch of the background."""

    def __init__(self):
        self.rows = []

    def before(self, launch):
        if launch.stage.name == "background":
            self.rows.append(launch.rows.size)


@pytest.fixture(scope="module")
def first():
    return series(12, 1)


@pytest.fixture(scope="module")
def alone(first):
    with Runtime("numpy", 1, COMMON) as runtime:
        return runtime.run(first)


def test_it_waits_for_all_curves_without_being_named_a_checkpoint():
    assert COMMON.checkpoints == ()
    assert COMMON.joint == ["background"]
    assert COMMON.holding == {"background"}
    assert STANDARD.joint == []


def test_its_launch_has_all_curves_of_the_run_however_few_a_launch_may_have(first, alone):
    largest = Largest()
    with Runtime("numpy", 1, COMMON, rows_at_once=5, interceptors=[largest]) as runtime:
        done = runtime.run(first)
    assert largest.rows == [12]
    np.testing.assert_array_equal(intensities(done), intensities(alone))


def test_runs_at_the_same_time_keep_to_themselves(first, alone):
    other = series(9, 2)
    largest = Largest()

    async def both(runtime):
        return await asyncio.gather(runtime.run_batch(first), runtime.run_batch(other))

    with Runtime("numpy", 1, COMMON, interceptors=[largest]) as runtime:
        done, others = asyncio.run(both(runtime))
    assert sorted(largest.rows) == [9, 12]
    np.testing.assert_array_equal(intensities(done), intensities(alone))
    with Runtime("numpy", 1, COMMON) as runtime:
        np.testing.assert_array_equal(intensities(others), intensities(runtime.run(other)))


def test_a_stream_is_refused(first):
    with (
        Runtime("numpy", 1, COMMON) as runtime,
        pytest.raises(PipelineError, match="a stream never has all of them"),
    ):
        runtime.stream(first)


def test_a_cancelled_run_leaves_the_other_its_launch(first, alone):
    with Runtime("numpy", 1, COMMON) as runtime:
        kept = runtime.submit(first)
        runtime.submit(series(9, 2)).cancel("not wanted")
        np.testing.assert_array_equal(intensities(kept.result(60)), intensities(alone))


class OutOfMemoryTwice(Interceptor):
    def __init__(self):
        self.left = 2

    def around(self, launch, proceed):
        if launch.stage.name == "background" and self.left:
            self.left -= 1
            raise OutOfMemoryError("too many")
        return proceed(launch.rows)


def test_another_attempt_has_all_curves_too(first, alone):
    largest = Largest()
    again = [Retry(3, "none"), OutOfMemoryTwice(), largest]
    with Runtime("numpy", 1, COMMON, interceptors=again) as runtime:
        done = runtime.run(first)
    assert largest.rows == [12]
    np.testing.assert_array_equal(intensities(done), intensities(alone))


class Halves(Interceptor):
    def around(self, launch, proceed):
        for half in np.array_split(launch.rows, 2):
            proceed(half)
        return {}


def test_an_interceptor_that_cuts_its_launch_fails_the_curves(first):
    with Runtime("numpy", 1, COMMON, interceptors=[Halves()]) as runtime:
        done = runtime.run(first)
    assert all("Expected all 12 curves of the launch" in sample.reason for sample in done)


def test_curves_from_arrays_are_one_series_and_the_same_when_looked_at_again(first, alone):
    rows = np.stack(intensities(first))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gpusaxs.backends.numpy.NumpyBackend.block_points", 1000)
        result = process(
            first[0].q, rows, np.stack([s.sigma for s in first]), q_unit="1/nm", pipeline=COMMON
        )
        np.testing.assert_array_equal(result[3].intensity, alone[3].intensity)
    assert result.samples["n_peaks"].to_pylist() == [len(s.metadata.processed_peaks) for s in alone]


@pytest.fixture(scope="module")
def folder(first, tmp_path_factory):
    place = tmp_path_factory.mktemp("series")
    for sample in first:
        columns = [sample.q, sample.intensity, sample.sigma]
        np.savetxt(place / f"{sample.id}.dat", np.column_stack(columns), header="q(1/nm) I sigma")
    return place


def test_an_archive_that_is_one_block_is_one_series(folder, alone, tmp_path):
    process_archive([folder], tmp_path / "run", pipeline=COMMON, save_curves=True, **OPTIONS)
    found = {s.id.split("/")[-1].removesuffix(".dat"): s for s in open_run(tmp_path / "run")}
    for sample in alone:
        np.testing.assert_allclose(
            found[sample.id].intensity, sample.intensity, atol=1e-9 * sample.background.max()
        )
    assert verify_run(tmp_path / "run").all_well


def test_an_archive_of_more_blocks_is_refused_before_anything_is_written(folder, tmp_path):
    with pytest.raises(PipelineError, match=r"more than a block, which has 5\. Give --block-size"):
        process_archive([folder], tmp_path / "run", pipeline=COMMON, block_size=5, **OPTIONS)
    assert not (tmp_path / "run").exists()


def test_what_takes_curves_one_by_one_is_refused(folder, tmp_path):
    process_archive([folder], tmp_path / "run", pipeline=COMMON, **OPTIONS)
    with pytest.raises(PipelineError, match="--save-curves"):
        open_run(tmp_path / "run")[0]
    process_archive([folder], tmp_path / "plain", **OPTIONS)
    with pytest.raises(PipelineError, match="takes them in part"):
        reprocess_run(tmp_path / "plain", tmp_path / "new", COMMON, **OPTIONS)
    with pytest.raises(PipelineError, match="a sample says nothing of it"):
        estimate([folder], pipeline=COMMON)
