"""What files say beside their numbers, in the units of the columns."""

import pytest

from gpusaxs.metadata import FIELDS, LONGEST_TEXT, stated


@pytest.mark.parametrize(
    ("name", "value", "unit", "expected"),
    [
        ("exposure", "2", "s", 2.0),
        ("exposure", 500, "ms", 0.5),
        ("exposure", 1.5, "min", 90.0),
        ("transmission", 0.327, None, 0.327),
        ("transmission", "32.7", "%", 0.327),
        ("thickness", 0.1, "cm", 1.0),
        ("thickness", 1000, "µm", 1.0),
        ("temperature", 298.15, "K", 25.0),
        ("temperature", 25, "°C", 25.0),
        ("temperature", 77, "F", 25.0),
        ("concentration", "1.0", "g/L", 1.0),
    ],
)
def test_numbers_come_in_the_unit_of_their_column(name, value, unit, expected):
    assert stated(name, value, unit)[name] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "value", "unit"),
    [
        ("thickness", 1.0, None),
        ("thickness", 0.00103, "mff"),
        ("temperature", 25.0, ""),
        ("exposure", float("nan"), "s"),
        ("exposure", "long", "s"),
        ("exposure", [1, 2], "s"),
        ("title", "  ", None),
        ("sample", None, None),
        ("sample", "None", None),
        ("time", "yesterday", None),
    ],
)
def test_nothing_comes_of_what_is_empty_or_in_no_known_unit(name, value, unit):
    assert stated(name, value, unit) == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-10-11T17:54:52", "2024-10-11T17:54:52"),
        ("2016-07-04T10:34:34+02:00", "2016-07-04T10:34:34+02:00"),
        ("2015:11:16 21:19:12", "2015-11-16T21:19:12"),
        ("Mon Nov 16 22:19:47 2015", "2015-11-16T22:19:47"),
        ("Mon, Jan 21, 2008 1:34:58 PM", "2008-01-21T13:34:58"),
        ("14-FEB-2018 10:01:53", "2018-02-14T10:01:53"),
    ],
)
def test_times_come_as_iso_8601_writes_them(text, expected):
    assert stated("time", text) == {"time": expected}


def test_texts_are_one_line_of_bounded_length():
    assert stated("title", " two\n lines\x00 ") == {"title": "two lines"}
    assert len(str(stated("title", "x" * 10_000)["title"])) == LONGEST_TEXT


def test_every_number_has_a_unit_that_is_understood():
    for field in FIELDS.values():
        if not field.is_text:
            assert stated(field.name, 1.0, field.unit) == {field.name: 1.0}
