"""Numbers that stages leave: in tables and samples, wherever curves come from and go to."""

from __future__ import annotations

import asyncio
import math
from typing import ClassVar

import numpy as np
import pytest

import gpusaxs
from gpusaxs.arena import Arena
from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.numbers import Number
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.result_cache import ResultCache
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import CurveStatus, Sample
from gpusaxs.stages.base import NO_REQUESTS, Stage, parameter
from gpusaxs.tables import SAMPLES

Q = np.linspace(0.05, 3.0, 200)


class Brightest(Stage):
    """Say where the intensity is highest; a user's stage, in no package."""

    leaves: ClassVar[tuple[Number, ...]] = (
        Number("q", "1/nm", "where the intensity is highest"),
        Number("side", "", "which half of the curve that is", ("low", "high")),
    )

    least: float = parameter(0.0, "Intensity below which nothing is said.")

    def launch(self, batch, rows):
        """Look at each curve."""
        numbers = self.numbers_in(batch)
        for row in rows.tolist():
            keep = slice(int(batch.start[row]), int(batch.stop[row]))
            top = int(batch.intensity[row, keep].argmax())
            if batch.intensity[row, keep][top] >= self.least:
                q = batch.q[0 if len(batch.q) == 1 else row, keep]
                numbers[row] = q[top], float(top >= q.size / 2)
        return NO_REQUESTS


def humps(centres, points=200):
    """Curves with one hump each, without noise."""
    q = Q[:points]
    return [
        Sample(str(i), q, 1.0 + np.exp(-(((q - centre) / 0.2) ** 2)), np.full(points, 0.01))
        for i, centre in enumerate(centres)
    ]


def intensities(samples):
    return np.stack([sample.intensity for sample in samples])


def told(sample):
    """Numbers as text: NaN equals NaN, and no digit is lost."""
    return repr(dict(sample.numbers))


MINE = Pipeline.of([Brightest(least=1.5)], name="mine")
NAME = Brightest().name


def test_a_users_stage_has_its_numbers_in_the_table_and_the_sample():
    samples = humps([0.5, 2.5, 9.0])
    result = gpusaxs.process(Q, intensities(samples), q_unit="1/nm", pipeline=MINE)
    columns = result.samples.column_names
    assert columns == [*SAMPLES.names, f"{NAME}.q", f"{NAME}.side"]
    q, side = (result.samples[name].to_pylist() for name in columns[-2:])
    assert q[:2] == [pytest.approx(0.5, abs=0.01), pytest.approx(2.5, abs=0.01)]
    assert q[2] is None
    assert side == ["low", "high", None]
    assert result[1].numbers == {f"{NAME}.q": q[1], f"{NAME}.side": "high"}
    assert math.isnan(result[2].numbers[f"{NAME}.q"])
    assert result[2].numbers[f"{NAME}.side"] == ""


def test_a_pipeline_without_such_stages_has_the_columns_it_always_had():
    curves = gpusaxs.simulate(2, seed=1, points=200)
    result = gpusaxs.process(curves.q, curves.intensity, q_unit="1/nm")
    assert result.samples.schema.equals(SAMPLES)
    assert result[0].numbers == {}


def test_the_columns_are_there_when_there_is_no_curve():
    result = gpusaxs.process(Q, np.empty((0, Q.size)), q_unit="1/nm", pipeline=MINE)
    assert result.samples.column_names[-2:] == [f"{NAME}.q", f"{NAME}.side"]


def test_a_curve_that_has_failed_has_no_number():
    samples = humps([0.5, 0.5])
    samples[1].status |= CurveStatus.UNREADABLE
    backend = NumpyBackend(1)
    batch = SampleBatch.from_samples(samples, backend)
    batch.number_table(NAME, Brightest.leaves)[:] = 1.0
    from gpusaxs.sample import Origin
    from gpusaxs.tables import tables_of

    rows = tables_of(batch, [Origin()] * 2).samples
    assert rows[f"{NAME}.q"].to_pylist() == [1.0, None]
    assert rows[f"{NAME}.side"].to_pylist() == ["high", None]


def test_a_row_that_is_used_again_has_none_of_the_numbers_before():
    arena = Arena(NumpyBackend(1))
    rows = arena.add(humps([0.5, 2.5]))
    arena.batch.number_table(NAME, Brightest.leaves)[rows] = 7.0
    arena.free(rows)
    again = arena.add(humps([0.5, 2.5]))
    assert set(again) == set(rows)
    assert np.isnan(arena.batch.numbers[NAME][again]).all()


def test_an_arena_that_grows_keeps_the_numbers():
    arena = Arena(NumpyBackend(1))
    rows = arena.add(humps([0.5, 2.5]))
    arena.batch.number_table(NAME, Brightest.leaves)[rows] = [[1.0, 0.0], [2.0, 1.0]]
    arena.add(humps([0.5] * 200))
    assert arena.batch.numbers[NAME][rows].tolist() == [[1.0, 0.0], [2.0, 1.0]]
    assert arena.batch.number_columns == {NAME: Brightest.leaves}


def test_what_is_taken_of_a_curve_holds_its_numbers():
    batch = SampleBatch.from_samples(humps([0.5, 2.5]), NumpyBackend(1))
    numbers = batch.number_table(NAME, Brightest.leaves)
    numbers[:] = [[1.0, 0.0], [2.0, 1.0]]
    taken = batch.take(np.array([1]))
    numbers[1] = 9.0
    batch.put(np.array([1]), taken)
    assert numbers.tolist() == [[1.0, 0.0], [2.0, 1.0]]


def test_curves_in_a_stream_have_the_numbers_of_a_batch():
    samples = [*humps(np.linspace(0.2, 2.8, 70)), *humps([0.4, 9.0], points=90)]
    expected = [told(sample) for sample in Runtime("numpy", 1, MINE).run(samples)]

    async def streamed():
        with Runtime("numpy", 1, MINE) as runtime:
            return [
                sample async for sample in runtime.stream(iter(samples), max_in_flight=5)
            ]  # rows are used again

    done = asyncio.run(streamed())
    assert sorted(told(sample) for sample in done) == sorted(expected)


def test_results_that_were_kept_hold_the_numbers(tmp_path):
    pytest.importorskip("diskcache", reason="diskcache is not installed")
    curves = humps(np.linspace(0.2, 2.8, 5))
    solution = Pipeline.from_document({"stages": ["guinier", "porod"]})
    cache = ResultCache(tmp_path)
    try:
        runs = [Runtime("numpy", 1, solution, interceptors=[cache]).run(curves) for _ in range(2)]
    finally:
        cache.close()
    assert cache.hits == cache.misses == 10
    assert [told(sample) for sample in runs[0]] == [told(sample) for sample in runs[1]]
    assert "guinier.range" in runs[1][0].numbers


def test_every_number_of_the_package_says_what_it_is():
    from gpusaxs.stages import stage_types

    declared = {name: kind.leaves for name, kind in stage_types().items() if kind.leaves}
    assert {"guinier", "porod", "kratky"} <= set(declared)
    for stage, numbers in declared.items():
        names = [number.name for number in numbers]
        assert len(set(names)) == len(names), stage
        for number in numbers:
            assert number.meaning, (stage, number.name)
            if number.name.endswith("_sigma"):
                [owner] = [n for n in numbers if f"{n.name}_sigma" == number.name]
                assert number.unit == owner.unit
