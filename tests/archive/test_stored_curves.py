"""Stored curves and peaks stand in a batch as they did in the one that they came from."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gpusaxs.kernels import peak_table as table
from hypothesis import given, settings
from hypothesis import strategies as st

from gpusaxs.archive.stored_curves import (
    CURVES,
    batch_of_curves,
    curve_table,
    origins_of,
    put_peaks,
    stored_status,
)
from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.errors import RunDirectoryError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import CurveStatus, FitStatus, Origin, Sample
from gpusaxs.simulate import simulate
from gpusaxs.tables import Tables, tables_of

ROWS = ("q", "intensity", "sigma", "background")
STANDARD = Pipeline.load("standard").with_settings(["cut.q_min=0.3"])
IDS = ["bragg 0", "bragg 1", "bragg 2", "flat", "own 0", "own 1", "short", "unnamed"]


class ColumnBackend(NumpyBackend):
    """Keeps the same point of neighbouring curves together, as a GPU has it."""

    order = "F"

    def empty(self, shape, dtype=np.float64):
        return np.empty(shape, dtype, order="F" if len(shape) == 2 else "C")

    def to_device(self, array):
        return np.asfortranarray(array)

    def to_host(self, array):
        return np.ascontiguousarray(array)


BACKENDS = pytest.mark.parametrize(
    "backend", [NumpyBackend(1), ColumnBackend(1)], ids=["rows", "columns"]
)


def samples():
    """Curves of several lengths; two of them fail."""
    shared = simulate(3, seed=2, points=300, counts=20000.0)
    own = simulate(3, seed=3, points=256, counts=20000.0, grid="log", hard=True)
    rows = [
        *(Sample(f"bragg {i}", shared.q, shared.intensity[i], shared.sigma[i]) for i in range(3)),
        Sample("flat", shared.q, np.ones(300)),
        *(Sample(f"own {i}", own.q, own.intensity[i], own.sigma[i]) for i in range(2)),
        Sample("short", own.q[:9], own.intensity[2][:9]),
        Sample("unnamed", own.q, own.intensity[2]),
    ]
    for frame, sample in enumerate(rows):
        sample.origin = Origin("stack.h5", frame, "1/angstrom", "metadata", "nxcansas")
    return rows


def processed(backend=None):
    backend = backend or NumpyBackend(1)
    given = samples()
    batch = SampleBatch.from_samples(given, backend)
    Runtime(backend, pipeline=STANDARD).run_on(batch)
    return batch, tables_of(batch, [sample.origin for sample in given])


def round_trip(rows):
    file = io.BytesIO()
    pq.write_table(rows, file, row_group_size=3)
    return pq.read_table(io.BytesIO(file.getvalue()), schema=rows.schema)


def restored(backend=None):
    """A processed batch, its tables, and the batch that Parquet brings back."""
    batch, tables = processed()
    tables = Tables(*(round_trip(rows) for rows in (tables.samples, tables.peaks, tables.phases)))
    curves = round_trip(curve_table(batch))
    return batch, tables, batch_of_curves(tables.samples, curves, backend or NumpyBackend(1))


def kept_bits(batch, name, row):
    kept = slice(int(batch.start[row]), int(batch.stop[row]))
    return np.ascontiguousarray(getattr(batch, name)[row, kept]).view(np.int64)


def test_a_stored_curve_says_where_it_began_and_every_value_to_the_bit():
    batch, _ = processed()
    rows = round_trip(curve_table(batch))
    assert rows.schema.equals(CURVES)
    live = [IDS.index(name) for name in rows["id"].to_pylist()]
    assert [IDS[row] for row in live] == [i for i in IDS if i not in ("flat", "short")]
    for row, line in zip(live, rows.to_pylist(), strict=True):
        assert line["first"] == batch.start[row] > 0
        for name in ROWS:
            assert (
                np.array(line[name]).view(np.int64).tolist() == kept_bits(batch, name, row).tolist()
            )


@BACKENDS
def test_a_restored_curve_stands_as_it_did_and_in_its_old_place(backend):
    batch, _, again = restored(backend)
    assert again.ids == [i for i in IDS if i not in ("flat", "short")]
    for row, name in enumerate(again.ids):
        was = IDS.index(name)
        for number in ("start", "stop", "status"):
            assert getattr(again, number)[row] == getattr(batch, number)[was]
        for array in ROWS:
            np.testing.assert_array_equal(
                kept_bits(again, array, row), kept_bits(batch, array, was)
            )
        outside = np.ones(again.q.shape[1], bool)
        outside[int(again.start[row]) : int(again.stop[row])] = False
        for array in ("q", "intensity", "sigma", "residual", "search", "noise"):
            assert np.isnan(getattr(again, array)[row, outside]).all()


@BACKENDS
def test_a_restored_batch_has_not_been_searched_and_has_the_order_of_its_backend(backend):
    _, _, again = restored(backend)
    np.testing.assert_array_equal(again.residual, again.intensity)
    np.testing.assert_array_equal(again.search, again.intensity)
    np.testing.assert_array_equal(again.noise, again.sigma)
    assert not again.n_peaks.any()
    for name in (*ROWS, "residual", "search", "noise"):
        assert getattr(again, name).flags[f"{backend.order}_CONTIGUOUS"], name


def test_curves_are_stored_alike_whatever_the_order_in_memory():
    for shared in (True, False):
        given = samples()[:3] if shared else samples()
        stored = [
            curve_table(SampleBatch.from_samples(given, backend))
            for backend in (NumpyBackend(1), ColumnBackend(1))
        ]
        assert repr(stored[0].to_pylist()) == repr(stored[1].to_pylist())


def test_a_shared_q_is_stored_with_every_curve():
    batch = SampleBatch.from_samples(samples()[:3], NumpyBackend(1))
    assert batch.q.shape[0] == 1
    for line in curve_table(batch)["q"].to_pylist():
        assert line == batch.q[0].tolist()


def assert_same_peaks(mine, theirs):
    # What the lines of a curve show together is worked out while they are fitted, and not kept.
    kept = np.delete(np.arange(table.PEAK_COLUMNS), [table.SHOWN, table.SHOWN_PRECISION])
    np.testing.assert_array_equal(mine[:, kept], theirs[:, kept])


def test_peaks_come_back_to_their_curves_in_their_order_with_all_that_is_known():
    batch, tables, again = restored()
    put_peaks(again, tables.samples, tables.peaks)
    assert again.n_peaks.sum() == tables.peaks.num_rows > 10
    statuses = set()
    for row, name in enumerate(again.ids):
        was = IDS.index(name)
        count = int(batch.n_peaks[was])
        assert again.n_peaks[row] == count
        assert_same_peaks(again.peaks[row, :count], batch.peaks[was, :count])
        assert np.isnan(again.peaks[row, count:]).all()
        statuses |= {FitStatus(int(line[table.STATUS])) for line in batch.peaks[was, :count]}
    assert len(statuses) > 1
    rows = tables_of(again, origins_of(tables.samples)[: len(again)]).peaks
    assert repr(rows.to_pylist()) == repr(tables.peaks.to_pylist())


def test_peaks_come_back_to_curves_in_another_order_and_to_some_of_them_alone():
    batch, tables, _ = restored()
    given = [samples()[IDS.index(name)] for name in ("own 1", "flat", "bragg 2")]
    again = SampleBatch.from_samples(given, NumpyBackend(1))
    put_peaks(again, tables.samples, tables.peaks)
    assert again.n_peaks[1] == 0
    for row, was in ((0, 5), (2, 2)):
        count = int(batch.n_peaks[was])
        assert again.n_peaks[row] == count > 0
        assert_same_peaks(again.peaks[row, :count], batch.peaks[was, :count])


def test_peaks_are_put_in_the_order_of_the_backend():
    _, tables, again = restored(ColumnBackend(1))
    put_peaks(again, tables.samples, tables.peaks)
    assert again.peaks.flags.f_contiguous


def test_status_and_origin_come_back_from_the_table_of_samples():
    batch, tables, _ = restored()
    assert stored_status(tables.samples).tolist() == batch.status.tolist()
    assert (
        stored_status(tables.samples, ["short", "own 0"]).tolist() == batch.status[[6, 4]].tolist()
    )
    assert CurveStatus(int(batch.status[7])) & CurveStatus.SIGMA_ESTIMATED
    assert origins_of(tables.samples) == [sample.origin for sample in samples()]


def test_a_run_in_which_every_curve_failed_is_an_empty_batch():
    batch = SampleBatch.from_samples([samples()[3]], NumpyBackend(1))
    tables = tables_of(batch, [Origin()])
    rows = round_trip(curve_table(batch))
    assert rows.num_rows == 0
    for curves in (rows, CURVES.empty_table()):
        again = batch_of_curves(tables.samples, curves, NumpyBackend(1))
        put_peaks(again, tables.samples, round_trip(tables.peaks))
        Runtime(again.backend, pipeline=STANDARD).run_on(again)
        assert len(again) == 0
        assert tables_of(again, []).samples.num_rows == 0


def test_tables_that_do_not_belong_together_are_refused():
    batch, tables, again = restored()
    curves = curve_table(batch)
    others = tables.samples.slice(1)
    with pytest.raises(RunDirectoryError, match="curve bragg 0 in the table of samples"):
        batch_of_curves(others, curves, NumpyBackend(1))
    with pytest.raises(RunDirectoryError, match="as many peaks"):
        put_peaks(again, tables.samples, tables.peaks.slice(1))
    with pytest.raises(RunDirectoryError, match="as many peaks"):
        put_peaks(again, tables.samples, pa.concat_tables([tables.peaks, tables.peaks]))
    turned = curves["sigma"].take(pa.array(range(len(curves) - 1, -1, -1)))
    with pytest.raises(RunDirectoryError, match="as many values of sigma"):
        batch_of_curves(
            tables.samples, curves.set_column(4, CURVES.field("sigma"), turned), NumpyBackend(1)
        )


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_any_numbers_of_any_lengths_come_back_to_the_bit(data):
    points = data.draw(st.integers(1, 12))
    count = data.draw(st.integers(1, 5))
    values = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
    arrays = [
        np.array(
            data.draw(st.lists(values, min_size=points * count, max_size=points * count))
        ).reshape(count, points)
        for _ in ROWS
    ]
    batch = SampleBatch(
        [f"{i}" for i in range(count)],
        *arrays[:3],
        np.full(count, points),
        np.array(data.draw(st.lists(st.sampled_from([0, 64, 1 << 18]), min_size=count,
                                    max_size=count)), np.int64),
        NumpyBackend(1),
    )  # fmt: skip
    batch.background = arrays[3]
    for row in range(count):
        batch.start[row] = data.draw(st.integers(0, points))
        batch.stop[row] = data.draw(st.integers(int(batch.start[row]), points))
    live = batch.live_rows().tolist()
    stored = pa.table(
        {
            "id": batch.ids,
            "status": [CurveStatus(int(status)).label for status in batch.status],
            "meta.exposure": pa.array([None, *range(1, count)], pa.float64()),
            **{
                f"meta.{name}": pa.nulls(count, pa.float64())
                for name in ("transmission", "resolution", "relative_resolution")
            },
        }
    )
    again = batch_of_curves(stored, round_trip(curve_table(batch)), NumpyBackend(1))
    assert again.ids == [batch.ids[row] for row in live]
    assert again.status.tolist() == batch.status[live].tolist()
    assert np.nan_to_num(again.exposure).tolist() == live
    assert np.isnan(again.transmission).all()
    for row, was in enumerate(live):
        for name in ROWS:
            mine, before = kept_bits(again, name, row), kept_bits(batch, name, was)
            nan = np.isnan(before.view(np.float64))
            np.testing.assert_array_equal(mine[~nan], before[~nan])
            assert np.isnan(mine.view(np.float64)[nan]).all()
