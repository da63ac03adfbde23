"""Tracks peaks and phases along series of curves, and finds where the phases change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gpusaxs.branches import Step, join
from gpusaxs.coordinates import ORDER, Coordinate, coordinate, grouping, named_columns
from gpusaxs.errors import GpusaxsError
from gpusaxs.sample import Verdict
from gpusaxs.series import SCHEMAS, Series

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MOST_MISSED = 2
"""Curves in a row that may lack a peak of a branch that goes on."""

_LATTICE_WIDTH = 0.01


class HasTables(Protocol):
    """A `gpusaxs.Result`, or whatever else has its tables."""

    @property
    def samples(self) -> pa.Table:
        """One row a curve."""
        ...

    @property
    def peaks(self) -> pa.Table:
        """One row a peak."""
        ...

    @property
    def phases(self) -> pa.Table:
        """One row a phase of a curve."""
        ...


def track(
    result: HasTables, along: str, by: str | None = None, *, from_name: str | None = None
) -> Series:
    r"""Track peaks and phases along a series of curves, and find where the phases change.

    Bragg peaks are joined from curve to curve by the nearest ln q, phases by the nearest ln of
    the lattice parameter: see `gpusaxs.branches.join`. A peak may be missing in up to
    `MOST_MISSED` curves in a row; a phase ends where a curve is known not to have it.

    A curve that is identified, or has no Bragg line, decides which phases there are; one that is
    unindexed, ambiguous or failed decides nothing, and nor do curves with the same coordinate
    that disagree. A transition lies between the last curve that decides for the phases before it
    and the first that decides for those behind it.

    Parameters
    ----------
    result
        What `gpusaxs.process` or `gpusaxs.open_run` gives.
    along
        Coordinate of the series: a column of the samples that holds numbers or times, such as
        ``"temperature"`` for ``meta.temperature``, or ``"order"`` for that of the curves. A unit
        behind it, as in ``"composition (wt%)"``, is for those that have none of their own.
    by
        Column that tells series apart; without it all curves are one series.
    from_name
        A regular expression whose named groups are columns more, taken out of the curves' ids:
        ``"T(?P<temperature>\d+)"``.

    Raises
    ------
    GpusaxsError
        If there is no such column, or the pattern fits no name.
    """
    samples = result.samples
    (known_along, column), (known_by, names) = columns(samples, along, by, from_name)
    parts = _parts(samples.num_rows, names)
    values = _order(samples.num_rows, parts) if column is None else column.to_numpy(False)
    found = _Found.of(result, samples)
    collected = _Tables(pa.float64() if names is None else names.type)
    taken = 0
    for name, members in parts:
        rows = members[np.isfinite(values[members])]
        rows = rows[np.argsort(values[rows], kind="stable")]
        taken += rows.size
        if rows.size:
            ids = samples["id"].take(pa.array(rows)).to_pylist()
            _track_one(collected, _Curves(name, rows, values[rows], ids), found)
    if not taken:
        raise GpusaxsError(f"No curve has a value of {along!r}{f' and {by!r}' if by else ''}.")
    return Series(known_along, known_by, **collected.tables(), left_out=samples.num_rows - taken)


def columns(
    samples: pa.Table, along: str, by: str | None, from_name: str | None
) -> tuple[tuple[Coordinate, pa.Array | None], tuple[Coordinate | None, pa.Array | None]]:
    """Return what series run along, and what tells them apart, each with a value a curve.

    There are no values where the order of the curves is the coordinate, and where there is one
    series alone. Raises as `track` does; a table without rows tells whether there are columns.
    """
    if from_name is not None:
        samples = named_columns(samples, from_name)
    return (
        (Coordinate(ORDER), None) if along == ORDER else coordinate(samples, along),
        (None, None) if by is None else grouping(samples, by),
    )


def _parts(curves: int, names: pa.Array | None) -> list[tuple[Any, IntArray]]:
    """Rows of the samples by the series they belong to, in the order of its name."""
    if names is None:
        return [(None, np.arange(curves))]
    words = names.dictionary_encode()
    which = pc.fill_null(words.indices, -1).to_numpy()
    order = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[order], np.arange(len(words.dictionary) + 1))
    parts = [
        (name, order[start:stop])
        for name, (start, stop) in zip(
            words.dictionary.to_pylist(), pairwise(bounds.tolist()), strict=True
        )
    ]
    return sorted(parts, key=lambda part: part[0])


def _order(curves: int, parts: Sequence[tuple[Any, IntArray]]) -> FloatArray:
    values = np.full(curves, np.nan)
    for _, rows in parts:
        values[rows] = np.arange(rows.size)
    return values


@dataclass(frozen=True, slots=True)
class _Entries:
    """Peaks or phases of the curves: sorted rows of their table, by the curve's row."""

    rows: pa.Table
    places: FloatArray
    sigmas: FloatArray
    widths: FloatArray
    bounds: IntArray

    @classmethod
    def of(
        cls,
        rows: pa.Table,
        ids: pa.Array,
        value: str,
        widths: FloatArray,
    ) -> _Entries:
        """Sort rows with a positive value by their curves; (rows,) widths in its ln."""
        values = rows[value].to_numpy()
        sigmas = rows[f"{value}_sigma"].to_numpy() / values
        curve = pc.fill_null(pc.index_in(rows["id"], ids), -1).to_numpy()
        order = np.argsort(curve, kind="stable")
        order = order[curve[order] >= 0]
        return cls(
            rows.take(pa.array(order)),
            np.log(values)[order],
            np.where(np.isfinite(sigmas) & (sigmas > 0.0), sigmas, 0.0)[order],
            widths[order],
            np.searchsorted(curve[order], np.arange(len(ids) + 1)),
        )

    def of_curve(self, row: int) -> slice:
        """Places of a curve's entries."""
        return slice(int(self.bounds[row]), int(self.bounds[row + 1]))

    def mean_widths(self) -> FloatArray:
        """Mean width of each curve's entries: of lattice parameters that much can be told apart."""
        sums = np.diff(np.concatenate([[0.0], np.cumsum(self.widths)])[self.bounds])
        counts = np.diff(self.bounds)
        return np.where(counts > 0, sums / np.maximum(counts, 1), _LATTICE_WIDTH)


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found in all curves, by the row of the curve."""

    verdicts: list[str]
    peaks: _Entries
    phases: _Entries
    phase_names: list[str]

    @classmethod
    def of(cls, result: HasTables, samples: pa.Table) -> _Found:
        ids = samples["id"].combine_chunks()
        verdicts = samples["verdict"].cast(pa.string())
        lines = result.peaks
        usable = pc.and_(lines["bragg"], pc.and_(_positive(lines["q"]), _positive(lines["fwhm"])))
        lines = lines.filter(usable)
        peaks = _Entries.of(lines, ids, "q", lines["fwhm"].to_numpy() / lines["q"].to_numpy())
        matches = result.phases
        # Tables of older runs have one candidate of an identified curve, without a number.
        matches = matches.filter(pc.equal(pc.fill_null(matches["candidate"], 0), 0))
        identified = samples.filter(pc.equal(verdicts, Verdict.IDENTIFIED.value))["id"]
        mine = pc.is_in(matches["id"], identified.combine_chunks())
        matches = matches.filter(pc.and_(mine, _positive(matches["lattice"])))
        curve = pc.index_in(matches["id"], ids).to_numpy().astype(np.int64)
        phases = _Entries.of(matches, ids, "lattice", peaks.mean_widths()[curve])
        names = phases.rows["phase"].cast(pa.string()).to_pylist()
        return cls(verdicts.to_pylist(), peaks, phases, names)

    def phases_of(self, row: int) -> frozenset[str] | None:
        """Phases that a curve has; None where it decides nothing."""
        match self.verdicts[row]:
            case Verdict.NONE:
                return frozenset()
            case Verdict.IDENTIFIED:
                return frozenset(self.phase_names[self.phases.of_curve(row)]) or None
        return None


def _positive(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.fill_null(pc.and_(pc.is_finite(column), pc.greater(column, 0.0)), False)


def _column(values: Any, kind: pa.DataType) -> pa.Array:
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)


class _Tables:
    """Collects the rows of the tables of all series."""

    def __init__(self, kind: pa.DataType) -> None:
        self._kind = kind
        self._parts: dict[str, list[pa.Table]] = {name: [] for name in SCHEMAS}
        self.branches = 0

    def add(self, name: str, series: Any, columns: Mapping[str, Any], rows: int) -> None:
        """Add rows of one series; a column that is not given is null."""
        arrays = [
            pa.nulls(rows, column.type)
            if column.name not in columns
            else _column(columns[column.name], column.type)
            for column in SCHEMAS[name]
        ]
        first = pa.repeat(pa.scalar(series, self._kind), rows)
        self._parts[name].append(pa.Table.from_arrays([first, *arrays], schema=self._schema(name)))

    def add_branches(
        self,
        kind: Literal["peak", "phase"],
        curves: _Curves,
        entries: _Entries,
        curve: IntArray,
        place: IntArray,
        numbers: IntArray,
    ) -> None:
        """Add the entries of a series and the branches into which they are joined."""
        rows = entries.rows.take(pa.array(place))
        numbers = numbers + self.branches
        about = {name: rows[name].combine_chunks() for name in rows.column_names}
        about |= {
            "branch": numbers,
            "coordinate": curves.values[curve],
            "id": [curves.ids[number] for number in curve.tolist()],
        }
        self.add(f"{kind}s", curves.name, about, place.size)
        known, first, counts = np.unique(numbers, return_index=True, return_counts=True)
        last = numbers.size - 1 - np.unique(numbers[::-1], return_index=True)[1]
        value = rows[{"peak": "q", "phase": "lattice"}[kind]].to_numpy()
        self.add(
            "branches",
            curves.name,
            {
                "branch": known,
                "kind": [kind] * known.size,
                **({"phase": about["phase"].take(pa.array(first))} if kind == "phase" else {}),
                "curves": counts,
                "missed": curve[last] - curve[first] + 1 - counts,
                "begin": curves.values[curve[first]],
                "end": curves.values[curve[last]],
                "first": value[first],
                "last": value[last],
            },
            known.size,
        )
        self.branches += known.size

    def tables(self) -> dict[str, pa.Table]:
        """Return all that was added."""
        return {
            name: pa.concat_tables([self._schema(name).empty_table(), *parts]).combine_chunks()
            for name, parts in self._parts.items()
        }

    def _schema(self, name: str) -> pa.Schema:
        return pa.schema([("series", self._kind), *SCHEMAS[name]])


@dataclass(frozen=True, slots=True)
class _Curves:
    """The curves of one series in order."""

    name: Any
    rows: IntArray
    values: FloatArray
    ids: list[str]

    def entries(self, of: _Entries) -> tuple[IntArray, IntArray]:
        """Which curve each of their entries is of, and its place among all entries."""
        starts = of.bounds[self.rows]
        counts = of.bounds[self.rows + 1] - starts
        curve = np.repeat(np.arange(self.rows.size), counts)
        before = np.cumsum(counts) - counts
        return curve, np.repeat(starts - before, counts) + np.arange(curve.size)


def _track_one(tables: _Tables, curves: _Curves, found: _Found) -> None:
    """Track the peaks and phases of one series, and find its transitions."""
    rows = curves.rows.tolist()
    verdicts = [found.verdicts[row] for row in rows]
    phases = [found.phases_of(row) for row in rows]
    states = _agreed(curves.values, phases)
    about = {
        "coordinate": curves.values,
        "id": curves.ids,
        "verdict": verdicts,
        "phases": [None if names is None else sorted(names) for names in phases],
    }
    tables.add("curves", curves.name, about, len(rows))
    _track_phases(tables, curves, found, [state is not None for state in states])
    _track_peaks(tables, curves, found, [verdict != Verdict.FAILED for verdict in verdicts])
    changes = list(pairwise(_stretches(states)))
    about = {
        "lower": [curves.values[before.last] for before, _ in changes],
        "upper": [curves.values[behind.first] for _, behind in changes],
        "phases_lower": [sorted(before.phases) for before, _ in changes],
        "phases_upper": [sorted(behind.phases) for _, behind in changes],
        "undecided": [behind.undecided for _, behind in changes],
        "curves_lower": [before.curves for before, _ in changes],
        "curves_upper": [behind.curves for _, behind in changes],
        "id_lower": [curves.ids[before.last] for before, _ in changes],
        "id_upper": [curves.ids[behind.first] for _, behind in changes],
    }
    tables.add("transitions", curves.name, about, len(changes))


def _track_peaks(tables: _Tables, curves: _Curves, found: _Found, searched: Sequence[bool]) -> None:
    curve, place = curves.entries(found.peaks)
    numbers = _joined(curves.values, found.peaks, curve, place, searched, MOST_MISSED)
    tables.add_branches("peak", curves, found.peaks, curve, place, numbers)


def _track_phases(tables: _Tables, curves: _Curves, found: _Found, decided: Sequence[bool]) -> None:
    """Track each phase by itself."""
    curve, place = curves.entries(found.phases)
    names = [found.phase_names[entry] for entry in place.tolist()]
    numbers = np.zeros(place.size, np.int64)
    begun = 0
    for name in sorted(set(names)):
        mine = np.array([other == name for other in names])
        own = _joined(curves.values, found.phases, curve[mine], place[mine], decided, 0)
        numbers[mine] = begun + own
        begun += int(own.max()) + 1
    tables.add_branches("phase", curves, found.phases, curve, place, numbers)


def _joined(
    values: FloatArray,
    entries: _Entries,
    curve: IntArray,
    place: IntArray,
    decided: Sequence[bool],
    most_missed: int,
) -> IntArray:
    """Branch of each entry, by its curve and its place among all entries."""
    bounds = np.searchsorted(curve, np.arange(values.size + 1)).tolist()
    steps = [
        Step(
            float(values[number]),
            entries.places[place[start:stop]],
            entries.sigmas[place[start:stop]],
            entries.widths[place[start:stop]],
            decided[number],
        )
        for number, (start, stop) in enumerate(pairwise(bounds))
    ]
    return np.concatenate(join(steps, most_missed))


def _agreed(
    values: FloatArray, phases: Sequence[frozenset[str] | None]
) -> list[frozenset[str] | None]:
    """Phases of each curve, None for those with the same coordinate that disagree as well."""
    agreed: list[frozenset[str] | None] = []
    for _, group in groupby(zip(values.tolist(), phases, strict=True), key=itemgetter(0)):
        states = [state for _, state in group]
        contrary = len(set(states) - {None}) > 1
        agreed += [None] * len(states) if contrary else states
    return agreed


@dataclass(slots=True)
class _Stretch:
    """Curves between which no other decides for other phases.

    Parameters
    ----------
    first, last
        Numbers of those at its ends.
    undecided
        Curves before it that decide nothing.
    curves
        Those that decide.
    """

    phases: frozenset[str]
    first: int
    last: int
    undecided: int
    curves: int = 1


def _stretches(states: Sequence[frozenset[str] | None]) -> list[_Stretch]:
    found: list[_Stretch] = []
    undecided = 0
    for number, state in enumerate(states):
        if state is None:
            undecided += 1
            continue
        if found and found[-1].phases == state:
            found[-1].last = number
            found[-1].curves += 1
        else:
            found.append(_Stretch(state, number, number, undecided))
        undecided = 0
    return found
