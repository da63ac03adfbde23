"""A series of curves: what goes on from one to the next, and where the phases change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from gpusaxs.coordinates import Coordinate, in_words
from gpusaxs.errors import GpusaxsError
from gpusaxs.sample import Verdict

_NAMES = pa.list_(pa.string())

SCHEMAS: dict[str, pa.Schema] = {
    "curves": pa.schema(
        [
            ("coordinate", pa.float64()),
            ("id", pa.string()),
            ("verdict", pa.string()),
            ("phases", _NAMES),
        ]
    ),
    "peaks": pa.schema(
        [
            ("branch", pa.int32()),
            ("coordinate", pa.float64()),
            ("id", pa.string()),
            *((name, pa.float64()) for name in ("q", "q_sigma", "fwhm", "height", "area")),
        ]
    ),
    "phases": pa.schema(
        [
            ("branch", pa.int32()),
            ("coordinate", pa.float64()),
            ("id", pa.string()),
            ("phase", pa.string()),
            ("lattice", pa.float64()),
            ("lattice_sigma", pa.float64()),
        ]
    ),
    "branches": pa.schema(
        [
            ("branch", pa.int32()),
            ("kind", pa.string()),
            ("phase", pa.string()),
            ("curves", pa.int32()),
            ("missed", pa.int32()),
            *((name, pa.float64()) for name in ("begin", "end", "first", "last")),
        ]
    ),
    "transitions": pa.schema(
        [
            ("lower", pa.float64()),
            ("upper", pa.float64()),
            ("phases_lower", _NAMES),
            ("phases_upper", _NAMES),
            ("undecided", pa.int32()),
            ("curves_lower", pa.int32()),
            ("curves_upper", pa.int32()),
            ("id_lower", pa.string()),
            ("id_upper", pa.string()),
        ]
    ),
}
"""Columns of the tables of a series, behind a first one, ``series``: the value that tells a
series from others, null where there is one alone."""


@dataclass(frozen=True, slots=True)
class Series:
    """Curves in the order of a coordinate, and what goes on from one to the next.

    All numbers of curves are those of the tables they come from: nothing is smoothed. Each table
    begins with a column ``series``, which is that of `by`: null where there is one series alone.

    Attributes
    ----------
    along, by
        What the series run along, and what tells them apart, if something does.
    curves
        One row a curve, in order: coordinate, id, verdict, and the phases it has: an empty list
        where it has no Bragg line, null where it decides nothing.
    peaks
        One row a Bragg peak: its branch, coordinate, id, q, q_sigma, fwhm, height, area.
    phases
        One row a phase of an identified curve: its branch, coordinate, id, phase, lattice,
        lattice_sigma.
    branches
        One row a branch: kind (``"peak"`` or ``"phase"``), phase, curves that have it, curves
        within it that have not (missed), coordinates where it begins and ends, and its first and
        last value: q in 1/nm, or the lattice parameter in nm.
    transitions
        One row a change of the set of phases, between the coordinates lower and upper: the
        phases on either side, how many curves in between decide nothing, how many curves in a row
        have the phases on either side, and the ids of those next to the change.
    left_out
        Curves without a coordinate, or that belong to no series.
    """

    along: Coordinate
    by: Coordinate | None
    curves: pa.Table
    peaks: pa.Table
    phases: pa.Table
    branches: pa.Table
    transitions: pa.Table
    left_out: int = 0

    @property
    def names(self) -> list[Any]:
        """Values of `by` in order; ``[None]`` for one series alone."""
        return [None] if self.by is None else pc.unique(self.curves["series"]).to_pylist()

    def only(self, name: str | float) -> Series:
        """Return one of the series; a number may be given in words.

        Raises
        ------
        GpusaxsError
            If there is none of that name.
        """
        words = in_words(_number_in(name))
        place = next((known for known in self.names if in_words(known) == words), None)
        if place is None:
            shown = ", ".join(in_words(known) for known in self.names if known is not None)
            raise GpusaxsError(
                f"Expected one of the series {shown}. Got {name!r}."
                if shown
                else f"Expected no name: there is one series alone. Got {name!r}."
            )
        mine = pc.field("series") == place
        tables = {table: getattr(self, table).filter(mine) for table in SCHEMAS}
        return Series(self.along, self.by, **tables)

    def write_csv(self, folder: str | Path) -> None:
        """Write the tables into a folder as curves.csv, peaks.csv and so on.

        Phases stand there as ``Pn-3m + Im-3m``, ``none`` where there is no Bragg line.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for name in SCHEMAS:
            csv.write_csv(_flat(getattr(self, name)), target / f"{name}.csv")


def together(phases: Sequence[str]) -> str:
    """Write the phases of a curve in words."""
    return " + ".join(phases) or Verdict.NONE.value


def _number_in(name: str | float) -> str | float:
    try:
        return float(name)
    except ValueError:
        return name


def _flat(rows: pa.Table) -> pa.Table:
    """Return a table with sets of phases written as words."""
    for place, column in enumerate(rows.schema):
        if column.type == _NAMES:
            words = [
                None if names is None else together(names)
                for names in rows[column.name].to_pylist()
            ]
            rows = rows.set_column(place, column.name, pa.array(words, pa.string()))
    return rows
