import pyarrow as pa
import pytest

from gpusaxs.coordinates import Coordinate, coordinate, grouping, in_words, named_columns
from gpusaxs.errors import GpusaxsError
from gpusaxs.tables import SAMPLES


@pytest.fixture
def samples():
    ids = ["run/OTAB_086wtp_T250.pdh", "run/OTAB_090wtp_T003.pdh", "water.dat"]
    rows = [
        {"id": name, "frame": 3 * place, "meta.temperature": warm, "meta.time": when}
        for place, (name, warm, when) in enumerate(
            zip(
                ids,
                (24.9, None, float("inf")),
                ("2024-10-11T17:54:52", None, "2024-10-11T17:54:50"),
                strict=True,
            )
        )
    ]
    table = pa.Table.from_pylist(rows, SAMPLES)
    return table.append_column("meta.composition (wt%)", [[1.0, 2.0, 3.0]])


PATTERN = r"OTAB_(?P<concentration>\d+)wtp_T(?P<temperature>\d+)"


@pytest.mark.parametrize("name", ["temperature", "meta.temperature", "temperature (°C)"])
def test_a_column_is_found_with_and_without_meta_and_unit(samples, name):
    known, values = coordinate(samples, name)
    assert known == Coordinate("temperature", "°C")
    assert known.label == "temperature (°C)"
    assert values.to_pylist() == [24.9, None, None]


def test_a_unit_in_a_heading_is_that_of_the_column(samples):
    for name in ("composition", "composition (wt%)", "meta.composition (wt%)"):
        assert coordinate(samples, name)[0] == Coordinate("composition", "wt%")


def test_a_column_of_the_samples_has_its_unit(samples):
    assert coordinate(samples, "frame")[1].to_pylist() == [0.0, 3.0, 6.0]
    assert coordinate(samples, "frame")[0].label == "frame"
    assert coordinate(samples, "lattice")[0] == Coordinate("lattice", "nm")


def test_times_are_seconds_from_the_earliest(samples):
    known, values = coordinate(samples, "time")
    assert known == Coordinate("time", "s")
    assert values.to_pylist() == [2.0, None, 0.0]


def test_times_with_and_without_an_offset_do_not_go_together(samples):
    place = samples.column_names.index("meta.time")
    mixed = pa.array(["2024-10-11T17:54:52", "2024-10-11T17:54:52+02:00", None])
    with pytest.raises(GpusaxsError, match="offset"):
        coordinate(samples.set_column(place, "meta.time", mixed), "time")


def test_another_unit_than_that_of_the_column_is_refused(samples):
    with pytest.raises(GpusaxsError, match="°C"):
        coordinate(samples, "temperature (K)")


def test_words_are_no_coordinate_but_tell_series_apart(samples):
    with pytest.raises(GpusaxsError, match="Expected numbers or times"):
        coordinate(samples, "id")
    assert grouping(samples, "id")[1].to_pylist() == samples["id"].to_pylist()
    assert grouping(samples, "frame")[1].to_pylist() == [0.0, 3.0, 6.0]
    assert grouping(samples, "temperature")[1].to_pylist() == [24.9, None, None]


def test_of_no_such_column_the_others_are_told(samples):
    with pytest.raises(GpusaxsError, match=r"'sise'.*frame, temperature, time.*order"):
        coordinate(samples, "sise")


def test_names_of_curves_give_columns(samples):
    named = named_columns(samples, PATTERN)
    assert named["meta.concentration"].to_pylist() == [86.0, 90.0, None]
    assert named["meta.temperature"].to_pylist() == [250.0, 3.0, None]
    assert named.drop_columns(["meta.concentration", "meta.temperature"]) == samples.drop_columns(
        ["meta.concentration", "meta.temperature"]
    )


def test_a_column_out_of_names_has_the_unit_that_is_given_and_no_other(samples):
    named = named_columns(samples, PATTERN)
    assert coordinate(named, "concentration")[0] == Coordinate("concentration")
    assert coordinate(named, "concentration (wt%)")[0] == Coordinate("concentration", "wt%")


def test_names_that_are_no_numbers_are_words(samples):
    named = named_columns(samples, r"(?P<who>OTAB_086|water)")
    assert named["meta.who"].to_pylist() == ["OTAB_086", None, "water"]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("T(?P<t", "regular expression"), (r"T\d+", "named groups"), (r"P(?P<p>\d+)", "fits no name")],
)
def test_a_pattern_that_gives_nothing_is_refused(samples, pattern, words):
    with pytest.raises(GpusaxsError, match=words):
        named_columns(samples, pattern)


def test_numbers_are_written_without_digits_that_say_nothing():
    assert [in_words(value) for value in (90.0, 0.1 + 0.2, -1.8, "A7")] == [
        "90",
        "0.3",
        "-1.8",
        "A7",
    ]
