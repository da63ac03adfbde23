"""Counts of bytes and operations, on kernels and curves where they are known."""

import numpy as np
import pytest
from gpusaxs.kernels.restart_search import restart_search

from benchmarks.counted import WARP, Count, Watched, count, counting_float
from benchmarks.curves import curves_with_peaks
from benchmarks.least_cost import H200, Card, StageCost, least_costs, page, total

POINTS = 200
PEAKS = 2


@pytest.fixture(scope="module")
def curves():
    return curves_with_peaks(PEAKS, 2, 2, POINTS)


@pytest.fixture(scope="module")
def costs(curves):
    return least_costs(curves)


def test_each_operation_with_a_counting_float_is_counted_once():
    tally = Count()
    x = counting_float(tally)(3.0)
    assert 2.0 * x + 1 - x / 4.0 == 6.25
    assert tally.flops == 5  # the comparison is one
    y = abs(-x)
    assert isinstance(y, type(x))
    assert tally.flops == 5
    np.float64(1.0) + x
    assert tally.flops == 6


def test_the_numbers_of_a_watched_array_count_once_however_often_they_are_read():
    counts = Count()
    array = Watched(counts, counting_float(counts), np.arange(6.0))
    half = array[1:4]
    for _ in range(3):
        half[0] + half[1]
    half[2] = 0.0
    half[2] + 1.0  # it was written before
    assert array.moved == 3 * 8
    assert counts.asked == 8 * 8


def test_a_copy_moves_each_of_its_rows_once():
    counts = Count()
    rows = [Watched(counts, counting_float(counts), np.ones(POINTS)) for _ in range(5)]
    restart_search.py_func(*rows)
    assert sum(row.moved for row in rows) == 5 * 8 * POINTS
    assert counts.flops == 0


def test_every_stage_is_counted_with_a_fit_for_each_peak(costs):
    assert list(costs) == [
        "cut", "noise", "background", "filter", "find_peak", "process_peak", "phase",
    ]  # fmt: skip
    assert costs["process_peak"].launches == PEAKS
    assert costs["find_peak"].launches == PEAKS + 1


def test_the_background_moves_the_rows_that_it_has_to(costs):
    # Two are read and two written, one of these read as well.
    assert costs["background"].moved == 5 * 8 * POINTS
    rounds = 40 * (POINTS - 40) * 3
    assert rounds < costs["background"].flops < 3 * rounds


def test_the_least_time_is_that_of_memory_or_of_arithmetic():
    card = Card("", copy=100.0, upload=1.0, flops=10.0)
    moving = StageCost(1, 200.0, 900.0, 10.0, 3.0, 4.0)
    computing = StageCost(1, 100.0, 0.0, 30.0, 1.0, 4.0)
    assert (moving.seconds(card), moving.limit(card)) == (2.0, "memory")
    assert (computing.seconds(card), computing.limit(card)) == (3.0, "arithmetic")
    assert moving.uncached_seconds(card) == 9.0
    assert total({"a": moving, "b": computing}) == StageCost(2, 300.0, 900.0, 40.0, 4.0, 8.0)


def test_the_page_has_a_row_for_each_stage_and_the_time_of_the_upload(costs):
    text = page(costs, H200, POINTS)
    for stage in (*costs, "all"):
        assert f"\n| {stage} " in text
    assert f"{1e9 * 2 * 8 * POINTS / H200.upload:.0f} ns at 64 GB/s" in text


def test_a_warp_waits_for_its_slowest_curve(costs):
    counts = Count()
    counts.pace([1] * (WARP - 1) + [3] + [2, 4])
    assert counts.steps == WARP + 2 + 6
    assert counts.paced == 3 * WARP + 2 * 4
    assert all(0.0 < cost.busy <= 1.0 for cost in costs.values())
    assert costs["background"].busy > 0.99
    assert costs["process_peak"].busy < 0.99


def test_compiled_kernels_are_refused(curves):
    with pytest.raises(RuntimeError, match="Set NUMBA_DISABLE_JIT=1"):
        count(curves.q, curves.intensity, curves.sigma)
