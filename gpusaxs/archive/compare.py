"""Compare tables row by row: what differs, and by how much."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

KEPT = 1000


@dataclass(frozen=True, slots=True)
class Difference:
    """A value of a curve that is another one now.

    Parameters
    ----------
    size
        Of the difference over the larger of the two; infinite where one of them is missing, and
        where they are no measured numbers: a word, a count or a truth is right or wrong.
    """

    id: str
    table: str
    column: str
    stored: Any
    again: Any
    size: float


@dataclass(slots=True)
class ColumnSummary:
    """What differs in one column: how often, how often beyond the tolerance, and the largest."""

    differ: int = 0
    beyond: int = 0
    largest: Difference | None = None


@dataclass(slots=True)
class Comparison:
    """All differences between two sets of tables.

    Parameters
    ----------
    tolerance
        Largest size of a difference that is none.

    Attributes
    ----------
    columns
        By the names of table and column; only those in which something differs.
    differences
        The first that are beyond the tolerance, no more than `KEPT`.
    """

    tolerance: float
    columns: defaultdict[tuple[str, str], ColumnSummary] = field(
        default_factory=lambda: defaultdict(ColumnSummary)
    )
    differences: list[Difference] = field(default_factory=list)

    @property
    def beyond(self) -> int:
        """Number of differences beyond the tolerance."""
        return sum(column.beyond for column in self.columns.values())

    def add(self, table: str, stored: pa.Table, again: pa.Table) -> None:
        """Compare two tables of the same curves; rows of a curve are matched in their order."""
        ids = [rows["id"].combine_chunks() for rows in (stored, again)]
        if not ids[0].equals(ids[1]):
            stored, again = self._with_as_many_rows(table, stored, again)
        names = stored["id"].to_pylist()
        for column in stored.column_names:
            if column != "id":
                self._add_column(table, column, names, stored[column], again[column])

    def _with_as_many_rows(
        self, table: str, stored: pa.Table, again: pa.Table
    ) -> tuple[pa.Table, pa.Table]:
        """Note curves that have more or fewer rows than before; return the rows of the others."""
        counts: list[dict[str, int]] = []
        for rows in (stored, again):
            found = rows["id"].value_counts().to_pylist()
            counts.append({entry["values"]: entry["counts"] for entry in found})
        uneven = {
            name
            for name in counts[0].keys() | counts[1].keys()
            if counts[0].get(name) != counts[1].get(name)
        }
        for name in sorted(uneven):
            before, now = (count.get(name, 0) for count in counts)
            self._note([Difference(name, table, "number of rows", before, now, np.inf)], 0)
        kept = pa.array(sorted((counts[0].keys() | counts[1].keys()) - uneven), pa.string())
        even = [
            rows.filter(pc.is_in(rows["id"], value_set=kept)).sort_by("id")
            for rows in (stored, again)
        ]
        return even[0], even[1]

    def _add_column(
        self,
        table: str,
        column: str,
        names: list[str],
        stored: pa.ChunkedArray,
        again: pa.ChunkedArray,
    ) -> None:
        if stored.equals(again):
            return
        kind = stored.type
        if pa.types.is_list(kind) and pa.types.is_floating(kind.value_type):
            sizes = np.array(list(_list_sizes(stored, again)))
        elif pa.types.is_floating(kind):
            sizes = _sizes(stored.combine_chunks(), again.combine_chunks())
        else:
            before, now = stored.to_pylist(), again.to_pylist()
            differ = [a != b for a, b in zip(before, now, strict=True)]
            sizes = np.where(differ, np.inf, 0.0)
        rows = np.flatnonzero(sizes)
        worst_first = rows[np.argsort(-sizes[rows], kind="stable")]
        noted = [
            Difference(
                names[row],
                table,
                column,
                _shown(stored[row].as_py()),
                _shown(again[row].as_py()),
                float(sizes[row]),
            )
            for row in worst_first[:KEPT].tolist()
        ]
        within = int((sizes[rows] <= self.tolerance).sum())
        self._note(noted, within, len(rows))

    def _note(self, found: list[Difference], within: int, number: int = 1) -> None:
        """Count differences of one column, the largest first."""
        if not found:
            return
        summary = self.columns[found[0].table, found[0].column]
        summary.differ += number
        summary.beyond += number - within
        if summary.largest is None or found[0].size > summary.largest.size:
            summary.largest = found[0]
        room = KEPT - len(self.differences)
        self.differences += [one for one in found if one.size > self.tolerance][:room]


def difference_sizes(stored: FloatArray, again: FloatArray) -> FloatArray:
    """Size of each difference over the larger of the two numbers; NaN equals NaN."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        size = np.abs(stored - again) / np.maximum(np.abs(stored), np.abs(again))
    same = (stored == again) | (np.isnan(stored) & np.isnan(again))
    return np.where(same, 0.0, np.where(np.isnan(size), np.inf, size))


def _sizes(stored: pa.Array, again: pa.Array) -> FloatArray:
    """Size of each difference; infinite where one of the two is missing, which is not NaN."""
    numbers = (column.to_numpy(zero_copy_only=False) for column in (stored, again))
    missing = [column.is_null().to_numpy(zero_copy_only=False) for column in (stored, again)]
    return np.where(missing[0] == missing[1], difference_sizes(*numbers), np.inf)


def _list_sizes(stored: pa.ChunkedArray, again: pa.ChunkedArray) -> Iterator[float]:
    """Largest difference in each row of lists; infinite where their lengths differ."""
    for before, now in zip(stored, again, strict=True):
        a, b = before.values, now.values
        if a is None or b is None:
            yield 0.0 if a is b else np.inf
        elif len(a) != len(b):
            yield np.inf
        else:
            yield float(_sizes(a, b).max(initial=0.0))


def _shown(value: Any) -> Any:
    """A list of points is named by its length."""
    return f"{len(value)} points" if isinstance(value, list) and len(value) > 30 else value
