"""How a function over one curve becomes a kernel over many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gpusaxs.kernels import cache
from gpusaxs.kernels.curve_kernel import (
    IndexScratch,
    Output,
    PerCurve,
    Role,
    Row,
    Rows,
    Scratch,
    Shared,
    curve_kernel,
    device_function,
)
from numba.core.errors import NumbaError

from gpusaxs.backends.numpy import NumpyBackend


@device_function
def squared(value):
    return value * value


@curve_kernel
def moments(
    q: Row,
    values: Row,
    table: Rows,
    factor: PerCurve,
    power: Shared,
    points: Output,
    work: Scratch,
    order: IndexScratch,
) -> None:
    """A user's own kernel."""
    points[0] = values.shape[0]
    for i in range(values.shape[0]):
        work[i] = squared(values[i]) * factor + power
        order[i] = i
    for i in range(values.shape[0]):
        values[i] = work[order[i]]
    table[0, 0] = q[0]
    table[1, 0] = q[values.shape[0] - 1]


def launch(workers=1, rows=None, shared_q=False, curves=200, points=12):
    """Run `moments`; values, table and the number of points."""
    rng = np.random.default_rng(1)
    grid = np.arange(float(points))
    q = grid[np.newaxis].copy() if shared_q else grid + 100.0 * np.arange(curves)[:, np.newaxis]
    values = rng.normal(size=(curves, points))
    start = rng.integers(0, 4, curves)
    stop = rng.integers(5, points + 1, curves)
    table = np.full((curves, 2, 1), np.nan)
    number = np.full(curves, -1)
    chosen = np.arange(curves) if rows is None else rows
    NumpyBackend(workers).launch(
        moments, chosen, (start, stop), q, values, table, np.arange(float(curves)), 0.5, number
    )
    return values, table, number, start, stop


def test_annotations_say_how_an_argument_is_taken_from_a_batch():
    assert [(p.name, p.role) for p in moments.parameters] == [
        ("q", Role.ROW),
        ("values", Role.ROW),
        ("table", Role.ROWS),
        ("factor", Role.PER_CURVE),
        ("power", Role.SHARED),
        ("points", Role.OUTPUT),
        ("work", Role.SCRATCH),
        ("order", Role.SCRATCH),
    ]
    assert [scratch.dtype for scratch in moments.scratch] == ["float64", "int64"]


def test_a_missing_annotation_is_an_error_that_names_the_argument():
    def half_annotated(values: Row, factor) -> None:
        """No kernel."""

    with pytest.raises(TypeError, match=r"'factor' in kernel 'half_annotated'"):
        curve_kernel(half_annotated)


def test_another_annotation_is_an_error_that_shows_it():
    def wrongly_annotated(values: Row, factor: float) -> None:
        """No kernel."""

    with pytest.raises(TypeError, match=r"'factor'.*float"):
        curve_kernel(wrongly_annotated)


def test_a_kernel_keeps_the_name_and_the_words_of_its_function():
    assert moments.name == "moments"
    assert moments.__doc__ == "A user's own kernel."
    assert repr(moments).endswith("test_curve_kernel.moments)")


def test_a_users_own_kernel_sees_the_points_from_start_to_stop_and_nothing_else():
    values, table, number, start, stop = launch()
    before = np.random.default_rng(1).normal(size=values.shape)
    for curve in range(200):
        keep = slice(start[curve], stop[curve])
        expected = before[curve].copy()
        expected[keep] = before[curve, keep] ** 2 * curve + 0.5
        np.testing.assert_array_equal(values[curve], expected)
        first = 100.0 * curve + start[curve]
        assert table[curve, :, 0].tolist() == [first, 100.0 * curve + stop[curve] - 1]
    np.testing.assert_array_equal(number, stop - start)


def test_only_the_rows_asked_for_are_touched_in_any_order():
    rows = np.array([150, 3, 77])
    values, table, number, *_ = launch(rows=rows)
    everywhere = launch()
    untouched = np.setdiff1d(np.arange(200), rows)
    np.testing.assert_array_equal(values[rows], everywhere[0][rows])
    assert (number[untouched] == -1).all()
    assert np.isnan(table[untouched]).all()


@pytest.mark.parametrize("workers", [2, 5])
def test_the_number_of_workers_changes_no_bit(workers):
    for one, many in zip(launch(), launch(workers), strict=True):
        np.testing.assert_array_equal(one, many)


def test_a_batch_array_of_one_row_is_shared_by_all_curves():
    _, table, _, start, stop = launch(shared_q=True)
    np.testing.assert_array_equal(table[:, 0, 0], start)
    np.testing.assert_array_equal(table[:, 1, 0], stop - 1)


def test_called_directly_a_kernel_runs_on_one_curve():
    values = np.array([1.0, 2.0, 3.0])
    table = np.zeros((2, 1))
    number = np.zeros(1, np.int64)
    moments(values.copy(), values, table, 2.0, 0.0, number, np.empty(3), np.empty(3, np.int64))
    assert values.tolist() == [2.0, 8.0, 18.0]
    assert number[0] == 3


def test_what_allocates_does_not_compile():
    @device_function
    def allocating(points):
        return np.empty(points).shape[0]

    with pytest.raises(NumbaError):
        allocating(3)


def test_no_rows_are_no_launch():
    launch(rows=np.array([], np.int64))


def test_a_wrong_number_of_arguments_is_an_error_that_names_them():
    span = (np.zeros(1, np.int64), np.ones(1, np.int64))
    message = r"Expected 6 arguments for kernel 'moments' \(q, values, .*points\). Got 2"
    with pytest.raises(TypeError, match=message):
        NumpyBackend(1).launch(moments, np.array([0]), span, np.zeros((1, 1)), np.zeros((1, 1)))


def test_the_cuda_driver_is_one_thread_a_curve():
    class Grid:
        """Thread number one."""

        @staticmethod
        def grid(_):
            return 1

    driver = moments.cuda_source(Grid)
    q, values = np.ones((3, 4)), np.ones((3, 4))
    number = np.zeros(3, np.int64)
    scratch = np.empty((2, 4)), np.empty((2, 4), np.int64)
    span = np.zeros(3, np.int64), np.full(3, 4)
    table = np.zeros((3, 2, 1))
    driver(np.array([0, 2]), 2, *span, *scratch, q, values, table, np.ones(3), 1.0, number)
    assert number.tolist() == [0, 0, 4]
    assert values.tolist() == [[1.0] * 4, [1.0] * 4, [2.0] * 4]


@pytest.fixture
def _fresh_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("GPUSAXS_CACHE_DIR", str(tmp_path))
    cache.folder.cache_clear()
    yield
    cache.folder.cache_clear()


@pytest.mark.usefixtures("_fresh_cache")
def test_the_cache_folder_is_named_after_the_hash_of_all_sources(tmp_path):
    assert cache.folder() == tmp_path / "kernels" / cache.source_hash()
    assert (tmp_path / "kernels" / cache.source_hash()).is_dir()


@pytest.mark.usefixtures("_fresh_cache")
def test_a_kernel_is_kept_in_the_cache_folder(tmp_path):
    @device_function
    def halved(value):
        return 0.5 * value

    assert halved(3.0) == 1.5
    assert list(tmp_path.glob("kernels/*/*halved*.nbc"))


def test_any_change_of_a_kernels_source_changes_the_hash(monkeypatch, tmp_path):
    for path in Path(cache.__file__).parent.glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(cache, "__file__", str(tmp_path / "cache.py"))
    cache.source_hash.cache_clear()
    before = cache.source_hash()
    with (tmp_path / "elementary.py").open("a") as file:
        file.write("# another\n")
    cache.source_hash.cache_clear()
    changed = cache.source_hash()
    cache.source_hash.cache_clear()
    assert before != changed


def test_without_a_place_to_write_kernels_are_compiled_anew(monkeypatch, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("GPUSAXS_CACHE_DIR", str(blocked))
    cache.folder.cache_clear()
    assert cache.folder() is None
    cache.folder.cache_clear()
    assert "compiled anew" in caplog.text
