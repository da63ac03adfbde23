import numpy as np
import pytest

from gpusaxs.arena import MIN_CURVES, Arena
from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import POINT_ARRAYS, SampleBatch
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Sample
from gpusaxs.simulate import simulate


def samples(count, points, seed=1):
    curves = simulate(count, seed=seed, points=points, counts=(500.0, 50000.0))
    rows = zip(curves.intensity, curves.sigma, strict=True)
    return [Sample(f"{points}-{i}", curves.q, *row) for i, row in enumerate(rows)]


def words(sample):
    return repr((sample.id, sample.status, sample.metadata, sample.phases, sample.margin)), (
        sample.q.tobytes(), sample.intensity.tobytes(), sample.background.tobytes()
    )  # fmt: skip


def test_rows_are_used_again_and_leave_no_trace_of_who_was_there_before():
    backend = NumpyBackend(1)
    arena = Arena(backend)
    first = arena.add(samples(20, 250))
    Runtime(backend).run_on(arena.batch)
    arena.free(first)
    given = samples(20, 120, seed=2)
    again = arena.add(given)
    assert set(again) == set(first)
    whole = SampleBatch.from_samples(given, backend)
    for row, own in zip(again, range(20), strict=True):
        for name, values in arena.batch.take(np.array([row])).items():
            expected = whole.take(np.array([own]))[name]
            mine = values[:, :120] if name in POINT_ARRAYS else values
            np.testing.assert_array_equal(mine, expected, err_msg=name)
            if name in POINT_ARRAYS and name != "background":
                assert np.isnan(values[:, 120:]).all()


def test_it_grows_for_more_and_for_longer_curves_and_keeps_what_it_has():
    arena = Arena(NumpyBackend(1))
    rows = arena.add(samples(10, 100))
    before = arena.batch.take(rows)
    more = arena.add(samples(MIN_CURVES, 900))
    assert not set(rows) & set(more)
    assert arena.batch.intensity.shape[1] == 900
    after = arena.batch.take(rows)
    for name, values in before.items():
        kept = after[name][:, : values.shape[1]] if values.ndim == 2 else after[name]
        np.testing.assert_array_equal(kept, values, err_msg=name)
    assert [arena.batch.ids[row] for row in rows] == [f"100-{i}" for i in range(10)]


def test_a_curve_in_an_arena_gives_the_bits_of_a_curve_in_a_batch():
    runtime = Runtime("numpy", 1)
    given = samples(15, 300)
    expected = [words(sample) for sample in runtime.run(given)]
    for _ in range(2):
        runtime.submit(samples(7, 450)).result(20.0)
        done = runtime.submit(given).result(20.0)
        assert [words(sample) for sample in done] == expected


@pytest.mark.parametrize("shared", [True, False])
def test_what_is_taken_can_be_put_back(shared):
    backend = NumpyBackend(1)
    given = samples(6, 200)
    if not shared:
        for sample in given:
            sample.q = sample.q.copy()
    batch = SampleBatch.from_samples(given, backend)
    assert (batch.q.shape[0] == 1) is shared
    rows = np.array([4, 1])
    before, everything = batch.take(rows), batch.take(np.arange(6))
    Runtime(backend).run_on(batch)
    batch.fail([1], "cut", ValueError("no"))
    assert batch.n_peaks[rows].any()
    batch.put(rows, before)
    assert batch.reasons == batch.errors == {}
    for name, values in batch.take(rows).items():
        np.testing.assert_array_equal(values, everything[name][rows], err_msg=name)
