"""Order statistics against `numpy.partition`."""

from __future__ import annotations

import numpy as np
from gpusaxs.kernels.select import median, select
from hypothesis import given, settings
from hypothesis import strategies as st

numbers = st.integers(-3, 3).map(float) | st.floats(allow_nan=False)
lists = st.lists(numbers, min_size=1, max_size=80).map(np.array)


@settings(deadline=None, max_examples=300)
@given(lists, st.data())
def test_the_value_of_a_rank_is_that_of_the_partition(values, data):
    count = data.draw(st.integers(1, values.size))
    rank = data.draw(st.integers(0, count - 1))
    expected = np.partition(values[:count], rank)[rank]
    assert select(values.copy(), count, rank) == expected


@settings(deadline=None)
@given(lists)
def test_values_are_reordered_and_none_is_lost(values):
    work = values.copy()
    select(work, work.size, work.size // 2)
    np.testing.assert_array_equal(np.sort(work), np.sort(values))


@settings(deadline=None)
@given(lists)
def test_values_beyond_the_count_stay_where_they_are(values):
    work = np.concatenate([values, [7.0, -8.0]])
    select(work, values.size, 0)
    assert work[-2:].tolist() == [7.0, -8.0]


@settings(deadline=None)
@given(lists)
def test_the_median_of_an_even_number_is_the_lower_one(values):
    expected = np.sort(values)[(values.size - 1) // 2]
    assert median(values.copy(), values.size) == expected


def test_sorted_reversed_and_equal_values_are_no_worst_case():
    for values in (np.arange(1e4), np.arange(1e4)[::-1].copy(), np.zeros(10_000)):
        expected = np.sort(values)[4999]
        assert median(values, 10_000) == expected


def test_a_value_that_is_no_number_ends_no_search():
    for values in ([np.nan] * 5, [1.0, np.nan, 2.0, np.nan, 0.0, 3.0], [2.0, 1.0, np.nan]):
        for rank in range(len(values)):
            select(np.array(values), len(values), rank)
