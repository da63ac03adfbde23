"""What curves of a series are put in order by: a column, their names, or their order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gpusaxs.errors import GpusaxsError
from gpusaxs.metadata import FIELDS, META

ORDER = "order"
"""Name of the coordinate that counts the curves of a series in the order of the run, from 0."""

_UNITS = {
    **dict.fromkeys(("lattice", "lattice_sigma", "d_spacing"), "nm"),
    **dict.fromkeys(("q_min", "q_max"), "1/nm"),
}
_HEADING = re.compile(r"(?P<name>.*?)\s*[\[(](?P<unit>[^\])]*)[\])]")


@dataclass(frozen=True, slots=True)
class Coordinate:
    """What a series runs along, or what tells series apart.

    Parameters
    ----------
    name
        Without ``meta.``.
    unit
        ``""`` where it has none or nobody says.
    """

    name: str
    unit: str = ""

    @property
    def label(self) -> str:
        """Name and unit, as an axis has them."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


def in_words(value: Any) -> str:
    """Write a coordinate, or the name of a series, without digits that say nothing."""
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def named_columns(samples: pa.Table, pattern: str) -> pa.Table:
    r"""Return a table of samples with columns ``meta.NAME`` of what the curves' ids say.

    Parameters
    ----------
    pattern
        A regular expression with named groups, ``T(?P<temperature>\d+)``, looked for in each id.
        A column holds numbers where all that was found are numbers, else text, null where the
        pattern fits nowhere in the id; it goes before one of the same name that files state.

    Raises
    ------
    GpusaxsError
        If it is no such expression, or fits no id.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise GpusaxsError(
            f"Expected a regular expression for names. Got {pattern!r}: {error}."
        ) from error
    if not expression.groupindex:
        raise GpusaxsError(
            f"Expected named groups in the pattern for names, such as 'T(?P<temperature>\\d+)'. "
            f"Got {pattern!r}."
        )
    ids = samples["id"].to_pylist()
    matches = [expression.search(curve_id) for curve_id in ids]
    if ids and not any(matches):
        raise GpusaxsError(
            f"The pattern {pattern!r} fits no name of a curve. Names look like {ids[0]!r}."
        )
    for name in expression.groupindex:
        words = [None if match is None else match[name] for match in matches]
        samples = _with_column(samples, f"{META}{name}", _numbers_or_words(words))
    return samples


def coordinate(samples: pa.Table, name: str) -> tuple[Coordinate, pa.Array]:
    """Return a column of numbers or times as a coordinate; null where a curve has none.

    Times count in seconds from the earliest one.

    Parameters
    ----------
    name
        Of a column, with or without ``meta.``. A unit behind it in brackets, as in
        ``"composition (wt%)"``, is that of a column that has none of its own.

    Raises
    ------
    GpusaxsError
        If there is no such column, it has another unit, or it holds neither numbers nor times.
    """
    known, values = _column(samples, name)
    if _is_number(values.type):
        return known, _finite(values)
    words = values.cast(pa.string()).to_pylist()
    try:
        return Coordinate(known.name, "s"), pa.array(_seconds(words), pa.float64())
    except ValueError as error:
        raise GpusaxsError(
            f"Expected numbers or times in the column {known.name!r}. Got: {error}. "
            f"{_choice(samples)}"
        ) from error


def grouping(samples: pa.Table, name: str) -> tuple[Coordinate, pa.Array]:
    """Return a column of numbers or words that tells series apart; null where a curve has none.

    Raises
    ------
    GpusaxsError
        If there is no such column, or it has another unit.
    """
    known, values = _column(samples, name)
    return known, _finite(values) if _is_number(values.type) else values.cast(pa.string())


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _finite(values: pa.Array) -> pa.Array:
    numbers = values.cast(pa.float64())
    return pc.if_else(pc.is_finite(numbers), numbers, None)


def _with_column(samples: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """Add a column, or put it in the place of that of the same name; it has no unit."""
    kind = pa.field(name, values.type, metadata={"unit": ""})
    if name not in samples.column_names:
        return samples.append_column(kind, values)
    return samples.set_column(samples.column_names.index(name), kind, values)


def _numbers_or_words(words: Sequence[str | None]) -> pa.Array:
    try:
        return pa.array([None if word is None else float(word) for word in words], pa.float64())
    except ValueError:
        return pa.array(words, pa.string())


def _described(column: pa.Field) -> Coordinate:
    """Name and unit of a column."""
    name = column.name.removeprefix(META)
    given = (column.metadata or {}).get(b"unit")
    if given is not None:
        return Coordinate(name, given.decode())
    if column.name.startswith(META) and name in FIELDS:
        unit = FIELDS[name].unit
        return Coordinate(name, "" if unit == "1" else unit)
    heading = _HEADING.fullmatch(name)
    if heading is not None:
        return Coordinate(heading["name"], heading["unit"])
    return Coordinate(name, _UNITS.get(name, ""))


def _column(samples: pa.Table, asked: str) -> tuple[Coordinate, pa.Array]:
    """Find the column that is meant: by its whole name, else by its name without a unit."""
    described = [_described(column) for column in samples.schema]
    names = samples.column_names
    for name in (asked, f"{META}{asked}"):
        if name in names:
            return described[names.index(name)], samples[name].combine_chunks()
    heading = _HEADING.fullmatch(asked)
    name, unit = (heading["name"], heading["unit"]) if heading else (asked, "")
    name = name.removeprefix(META)
    places = [place for place, known in enumerate(described) if known.name == name]
    if not places:
        raise GpusaxsError(
            f"Expected a column of the table of samples. Got {asked!r}. {_choice(samples)}"
        )
    known = described[places[0]]
    if unit and known.unit and unit != known.unit:
        raise GpusaxsError(
            f"Expected {name} in its unit, {known.unit}. Got {asked!r}. Leave the unit out."
        )
    return Coordinate(name, known.unit or unit), samples.column(places[0]).combine_chunks()


def _choice(samples: pa.Table) -> str:
    """Say what a series can run along."""
    useful = [
        column.name.removeprefix(META)
        for column in samples.schema
        if ("." in column.name or column.name == "frame")
        and (samples[column.name].null_count < samples.num_rows or not samples.num_rows)
    ]
    return (
        f"Columns to choose from are {', '.join(useful)}; {ORDER!r} is the order of the curves; "
        "others come with --metadata, or out of the curves' names."
    )


def _seconds(words: Sequence[str | None]) -> list[float | None]:
    """Seconds from the earliest of some times.

    Raises
    ------
    ValueError
        If one is no time, or some have an offset from UTC and others have none.
    """
    times = [None if word is None else datetime.fromisoformat(word) for word in words]
    known = [time for time in times if time is not None]
    if len({time.tzinfo is None for time in known}) > 1:
        raise ValueError("times with and without an offset from UTC")
    first = min(known, default=None)
    return [
        None if time is None or first is None else (time - first).total_seconds() for time in times
    ]
