"""What a comparison of tables finds is what looking at every row finds."""

import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpusaxs.archive.compare import KEPT, Comparison, difference_sizes

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("x", pa.float64()),
        ("count", pa.int32()),
        ("bragg", pa.bool_()),
        ("word", pa.dictionary(pa.int32(), pa.string())),
        ("matched", pa.list_(pa.int32())),
        ("row", pa.list_(pa.float64())),
    ]
)
COLUMNS = SCHEMA.names[1:]
NAN = float("nan")
PLAIN = {"x": 1.5, "count": 3, "bragg": True, "word": "a", "matched": [1, 3], "row": [1.0, 2.0]}


def table(*rows):
    """Rows of id and what is not plain."""
    return pa.Table.from_pylist([{"id": name} | PLAIN | other for name, other in rows], SCHEMA)


def compared(stored, again, tolerance=0.0):
    found = Comparison(tolerance)
    found.add("peaks", stored, again)
    return found


def one(before, after, tolerance=0.0):
    """The summary of the column that differs between two rows."""
    found = compared(table(("a", before)), table(("a", after)), tolerance)
    [((name, column), summary)] = found.columns.items()
    assert (name, [column]) == ("peaks", list(before))
    return summary, found


@pytest.mark.parametrize(
    "same",
    [
        {},
        {"x": NAN, "row": [NAN, 1.0]},
        {"x": None, "row": None, "word": None, "matched": None, "count": None, "bragg": None},
        {"x": math.inf, "row": [-math.inf]},
        {"x": 0.0, "row": []},
    ],
    ids=str,
)
def test_equal_tables_do_not_differ(same):
    found = compared(table(("a", same), ("b", {})), table(("a", same), ("b", {})))
    assert not found.columns
    assert found.beyond == 0
    assert found.differences == []


def test_zero_is_zero_whatever_its_sign():
    assert not compared(table(("a", {"x": 0.0})), table(("a", {"x": -0.0}))).columns


def test_words_are_compared_and_not_their_places_in_a_dictionary():
    words = pa.array(["a", "b", "a"]).dictionary_encode()
    others = pa.DictionaryArray.from_arrays(pa.array([2, 1, 2], pa.int32()), ["c", "b", "a"])
    rows = table(("x", {}), ("y", {}), ("z", {}))
    place = SCHEMA.get_field_index("word")
    stored, again = (rows.set_column(place, SCHEMA.field(place), it) for it in (words, others))
    assert not compared(stored, again).columns


def test_pieces_of_a_column_may_be_others():
    rows = [(f"{i}", {"x": float(i), "row": [float(i)] * i}) for i in range(9)]
    pieces = pa.concat_tables([table(*rows[:2]), table(*rows[2:])])
    assert not compared(pieces, table(*rows)).columns
    changed = [*rows[:4], ("4", {"x": 4.0, "row": [4.0, 4.0, 4.0, 5.0]}), *rows[5:]]
    assert [one.id for one in compared(pieces, table(*changed)).differences] == ["4"]


@pytest.mark.parametrize(
    ("stored", "again", "size"),
    [
        (1.0, 1.25, 0.2),
        (1.25, 1.0, 0.2),
        (-2.0, 2.0, 2.0),
        (0.0, 1e-300, 1.0),
        (3.0, 3.0 * (1 + 1e-9), 1e-9),
        (1e308, -1e308, math.inf),
        (1.0, NAN, math.inf),
        (1.0, None, math.inf),
        (None, NAN, math.inf),
        (NAN, math.inf, math.inf),
        (math.inf, -math.inf, math.inf),
        (5.0, math.inf, math.inf),
    ],
)
def test_the_size_of_a_difference_is_that_over_the_larger_number(stored, again, size):
    summary, found = one({"x": stored}, {"x": again})
    assert summary.largest.size == pytest.approx(size, rel=1e-6)
    assert repr((summary.largest.stored, summary.largest.again)) == repr((stored, again))
    assert (summary.differ, summary.beyond, found.beyond) == (1, 1, 1)
    assert found.differences == [summary.largest]


def test_a_difference_of_the_tolerance_is_none_and_a_larger_one_is():
    for tolerance, beyond in ((0.2, 0), (0.1999, 1), (0.0, 1)):
        summary, found = one({"x": 1.0}, {"x": 1.25}, tolerance)
        assert (summary.differ, summary.beyond, found.beyond) == (1, beyond, beyond)
        assert len(found.differences) == beyond


@pytest.mark.parametrize(
    ("stored", "again"),
    [
        ({"word": "a"}, {"word": "b"}),
        ({"word": "a"}, {"word": None}),
        ({"count": 5}, {"count": 6}),
        ({"count": 0}, {"count": None}),
        ({"bragg": True}, {"bragg": False}),
        ({"matched": [1, 3]}, {"matched": [3, 1]}),
        ({"matched": [1, 3]}, {"matched": [1]}),
        ({"matched": []}, {"matched": None}),
        ({"row": [1.0, 2.0]}, {"row": [1.0]}),
        ({"row": []}, {"row": None}),
        ({"row": [1.0]}, {"row": None}),
        ({"row": [1.0]}, {"row": [NAN]}),
        ({"row": [1.0]}, {"row": [None]}),
        ({"row": [NAN]}, {"row": [None]}),
    ],
)
def test_what_is_no_measured_number_is_right_or_wrong_whatever_the_tolerance(stored, again):
    for before, after in ((stored, again), (again, stored)):
        summary, found = one(before, after, tolerance=1e9)
        assert summary.largest.size == math.inf
        assert found.beyond == 1


def test_a_row_of_points_differs_by_its_worst_point():
    long = np.linspace(1.0, 2.0, 31).tolist()
    other = [*long[:7], long[7] * 1.1, *long[8:20], long[20] * 1.5, *long[21:]]
    summary, _ = one({"row": long}, {"row": other})
    assert summary.largest.size == pytest.approx(1 / 3)
    assert summary.differ == 1
    assert summary.largest.stored == "31 points"
    assert compared(table(("a", {"row": long})), table(("a", {"row": other})), 0.34).beyond == 0


def test_a_short_list_is_shown_as_it_is():
    summary, _ = one({"matched": list(range(30))}, {"matched": [1]})
    assert (summary.largest.stored, summary.largest.again) == (list(range(30)), [1])


def test_rows_of_a_curve_are_matched_in_their_order():
    stored = table(("a", {"x": 1.0}), ("a", {"x": 2.0}), ("b", {"x": 3.0}))
    again = table(("b", {"x": 3.0}), ("a", {"x": 1.0}), ("a", {"x": 4.0}))
    [difference] = compared(stored, again).differences
    assert (difference.id, difference.stored, difference.again) == ("a", 2.0, 4.0)
    again = table(("b", {"x": 3.0}), ("a", {"x": 1.0}), ("a", {"x": 2.0}))
    assert not compared(stored, again).columns


def test_curves_with_more_or_fewer_rows_are_named_and_the_others_compared():
    stored = table(("a", {"x": 1.0}), ("a", {"x": 9.0}), ("b", {"x": 2.0}), ("gone", {}))
    again = table(("a", {"x": 1.0}), ("b", {"x": 4.0}), ("new", {}), ("new", {}))
    found = compared(stored, again, tolerance=0.1)
    rows = found.columns["peaks", "number of rows"]
    assert (rows.differ, rows.beyond, rows.largest.size) == (3, 3, math.inf)
    named = [(it.id, it.column, it.stored, it.again) for it in found.differences]
    assert named == [
        ("a", "number of rows", 2, 1),
        ("gone", "number of rows", 1, 0),
        ("new", "number of rows", 0, 2),
        ("b", "x", 2.0, 4.0),
    ]
    assert found.beyond == 4


def test_tables_with_nothing_in_common_or_nothing_at_all_are_compared():
    found = compared(table(("a", {})), table(("b", {})))
    assert [it.id for it in found.differences] == ["a", "b"]
    assert [it.id for it in compared(table(), table(("b", {}))).differences] == ["b"]
    assert not compared(table(), table()).columns


def test_no_more_differences_are_kept_than_that_and_all_are_counted():
    count = KEPT + 500
    stored = table(*((f"{i}", {"x": 1.0}) for i in range(count)))
    again = table(*((f"{i}", {"x": 1.0 + i / count}) for i in range(count)))
    found = compared(stored, again, tolerance=0.25)
    sizes = difference_sizes(stored["x"].to_numpy(), again["x"].to_numpy())
    summary = found.columns["peaks", "x"]
    assert (summary.differ, summary.beyond) == (count - 1, int((sizes > 0.25).sum()))
    assert summary.largest.id == f"{count - 1}"
    assert summary.beyond < KEPT
    assert len(found.differences) == summary.beyond
    found.add("phases", stored, again)
    assert len(found.differences) == KEPT
    assert found.beyond == 2 * summary.beyond


def test_what_is_kept_of_one_column_is_the_worst_of_it():
    count = KEPT + 7
    stored = table(*((f"{i}", {"x": 1.0}) for i in range(count)))
    again = table(*((f"{i}", {"x": 1.1 + i / count}) for i in range(count)))
    found = compared(stored, again)
    assert [it.id for it in found.differences] == [f"{i}" for i in range(count - 1, 6, -1)]
    assert found.beyond == count


def test_several_blocks_add_up():
    found = Comparison(0.01)
    for before, after in ((1.0, 1.1), (1.0, 2.0), (1.0, 1.001), (1.0, 1.0)):
        found.add("samples", table((f"{after}", {"x": before})), table((f"{after}", {"x": after})))
    summary = found.columns["samples", "x"]
    assert (summary.differ, summary.beyond, summary.largest.id) == (3, 2, "2.0")
    assert [it.id for it in found.differences] == ["1.1", "2.0"]


def test_tables_of_the_same_name_of_column_are_kept_apart():
    found = Comparison(0.0)
    for name in ("samples", "phases"):
        found.add(name, table(("a", {"x": 1.0})), table(("a", {"x": 2.0})))
    assert sorted(found.columns) == [("phases", "x"), ("samples", "x")]


NUMBERS = st.none() | st.sampled_from([0.0, -0.0, 1.0, 1.0 + 1e-9, 2.0, NAN]) | st.floats()
SOME = {
    "x": NUMBERS,
    "count": st.none() | st.integers(-2, 2),
    "bragg": st.none() | st.booleans(),
    "word": st.none() | st.sampled_from("abc"),
    "matched": st.none() | st.lists(st.integers(0, 2), max_size=2),
    "row": st.none() | st.lists(st.sampled_from([None, NAN]) | NUMBERS, max_size=3),
}
ROWS = st.lists(st.fixed_dictionaries({"id": st.sampled_from("abcd")}, optional=SOME), max_size=8)


@st.composite
def two_tables(draw):
    """Rows, and rows of which some are others, gone, new, or in another place."""
    stored = [PLAIN | row for row in draw(ROWS)]
    if draw(st.booleans()):
        return stored, [PLAIN | row for row in draw(ROWS)]
    again = [row | draw(st.fixed_dictionaries({}, optional=SOME)) for row in stored]
    if draw(st.booleans()):
        again = draw(st.permutations(again))
    return stored, again[: draw(st.integers(0, 20))]


def size_of(column, before, after):
    if before is None or after is None:
        return 0.0 if before is after else math.inf
    if column == "row":
        if len(before) != len(after):
            return math.inf
        return max((size_of("x", *pair) for pair in zip(before, after, strict=True)), default=0.0)
    if column != "x":
        return 0.0 if before == after else math.inf
    if before == after or (math.isnan(before) and math.isnan(after)):
        return 0.0
    if math.isnan(before) or math.isnan(after):
        return math.inf
    size = abs(before - after) / max(abs(before), abs(after))
    return math.inf if math.isnan(size) else size


def naive(stored, again):
    """Id, column, what was, what is, and the size of each difference."""
    for name in sorted({row["id"] for row in stored + again}):
        rows = [[row for row in given if row["id"] == name] for given in (stored, again)]
        counts = [len(mine) for mine in rows]
        if counts[0] != counts[1]:
            yield name, "number of rows", *counts, math.inf
            continue
        for before, after in zip(*rows, strict=True):
            for column in COLUMNS:
                size = size_of(column, before[column], after[column])
                if size:
                    yield name, column, before[column], after[column], size


@given(two_tables(), st.sampled_from([0.0, 1e-9, 0.5, 2.0, 1e300]))
@settings(max_examples=300, deadline=None)
def test_any_two_tables_differ_where_a_naive_look_says(tables, tolerance):
    stored, again = tables
    expected = list(naive(stored, again))
    found = compared(*(pa.Table.from_pylist(rows, SCHEMA) for rows in tables), tolerance)
    assert {column for _, column in found.columns} == {column for _, column, *_ in expected}
    for (_, name), summary in found.columns.items():
        mine = [it for it in expected if it[1] == name]
        sizes = [it[-1] for it in mine]
        assert summary.differ == len(mine)
        assert summary.beyond == sum(size > tolerance for size in sizes)
        largest = summary.largest
        assert largest.size == max(sizes)
        told = (largest.id, name, largest.stored, largest.again, largest.size)
        assert repr(told) in map(repr, mine)
    beyond = Counter(repr(it) for it in expected if it[-1] > tolerance)
    assert found.beyond == beyond.total()
    kept = [(it.id, it.column, it.stored, it.again, it.size) for it in found.differences]
    assert Counter(map(repr, kept)) == beyond
    assert {it.table for it in found.differences} <= {"peaks"}
