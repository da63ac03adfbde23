"""A table beside the curves: what an experimenter knows of them, joined to them by file name."""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpusaxs.archive.directory import METADATA, Json, encoded
from gpusaxs.archive.fingerprints import sha256
from gpusaxs.archive.plan import ListedFile
from gpusaxs.errors import ReadError, RunDirectoryError
from gpusaxs.metadata import FIELDS, META, Metadata, stated
from gpusaxs.sample import Sample
from gpusaxs.tables import SAMPLES

KEYS = ("file", "filename", "file_name", "path", "id", "sample_id", "name")
"""Names of the column that says which file a row is about; the first one that is there."""

FRAME = "frame"
"""Name of the column that says which curve of a file, where a row is not about all of them."""

_KEY = "key"
_NAME_AND_UNIT = re.compile(r"(?P<name>.*?)\s*[\[(](?P<unit>[^\])]*)[\])]")
_LEADING_ZERO = re.compile(r"[-+]?0\d")
_EMPTY = ("", "na", "n/a", "nan", "null", "none")
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Companion:
    """Columns for the table of samples, by the names of files.

    Parameters
    ----------
    rows
        A column ``key``, the name of a file or ``name#frame``, and columns ``meta.NAME``.
    """

    rows: pa.Table
    _places: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        keys = self.rows[_KEY].to_pylist()
        places = {key: place for place, key in enumerate(keys)}
        if len(places) < len(keys):
            twice = next(key for place, key in enumerate(keys) if places[key] != place)
            raise ReadError(f"names {twice!r} in two rows: expected one row a file, or a curve")
        object.__setattr__(self, "_places", places)

    @classmethod
    def read(cls, path: str | Path) -> Companion:
        """Read a table of text with a line of names, separated by commas, semicolons or tabs.

        One column names the file (see `KEYS`): by its name with or without extension, or with
        folders where the name alone is not unique. Each other column becomes ``meta.NAME``: one of
        `gpusaxs.metadata.FIELDS` is taken in its unit, or in that of a heading such as
        ``temperature (K)``, and goes before what the file says; others hold numbers where all
        entries are numbers, else text.

        Raises
        ------
        ReadError
            If it cannot be read or understood; the message names the file.
        """
        try:
            return cls(_rows(_cells(Path(path))))
        except OSError as error:
            reason = error.strerror or str(error)
            raise ReadError(f"The metadata {path} cannot be opened: {reason.lower()}.") from error
        except (ReadError, csv.Error, UnicodeDecodeError) as error:
            raise ReadError(f"The metadata {path}: {error}.") from error

    @classmethod
    def of_run(cls, path: Path, description: Json) -> Companion | None:
        """Read what a run directory keeps of the one that was given with its files, if one was.

        Raises
        ------
        RunDirectoryError
            If it is missing or damaged.
        """
        known = description.get("metadata")
        if known is None:
            return None
        kept = path / METADATA
        if sha256(str(kept)) != known["sha256"]:
            raise RunDirectoryError(f"{kept} is not what was written.")
        return cls(pq.read_table(kept))

    @property
    def columns(self) -> list[pa.Field]:
        """Columns that it has for the table of samples."""
        return [column for column in self.rows.schema if column.name != _KEY]

    @property
    def encoded(self) -> pa.Buffer:
        """It as Parquet: equal tables give equal bytes."""
        return encoded(self.rows)

    @property
    def description(self) -> Json:
        """What `run.json` says of it."""
        kinds = {c.name: "number" if pa.types.is_float64(c.type) else "text" for c in self.columns}
        return {"columns": kinds, "sha256": hashlib.sha256(self.encoded).hexdigest()}

    def check(self, files: Sequence[ListedFile]) -> None:
        """Refuse a table that says of one file what may be meant for another.

        Raises
        ------
        ReadError
            If a name without folder is that of several files, or no name is that of any.
        """
        named: dict[str, str] = {}
        for file in files:
            for key in _names(file.path):
                if key in self._places and named.setdefault(key, file.path) != file.path:
                    raise ReadError(
                        f"The metadata say {key!r}, which is {named[key]} as well as {file.path}. "
                        "Write the name with its extension and its folder."
                    )
        inside = any("/" in key or "#" in key for key in self._places)
        if not named and not inside:
            shown = ", ".join(repr(key) for key in list(self._places)[:_SHOWN])
            raise ReadError(
                f"The metadata name no file of the input: they say {shown}, and the first file is "
                f"{files[0].path}. Write the names of files into the column {KEYS[0]!r}."
            )

    def complete(self, samples: Iterable[Sample]) -> None:
        """Let the metadata of curves be what stands here, where it does, for stages to use."""
        for sample in samples:
            origin = sample.origin
            place = self._place(sample.id, origin.source, origin.frame)
            if place is not None:
                said = {**origin.metadata, **self._metadata[place]}
                sample.origin = origin._replace(metadata=said)

    @cached_property
    def _metadata(self) -> list[Metadata]:
        """What each row says of the fields that files have."""
        known = [column.name for column in self.columns if column.name in SAMPLES.names]
        return [
            {name.removeprefix(META): said for name, said in row.items() if said is not None}
            for row in self.rows.select(known).to_pylist()
        ]

    def joined(self, samples: pa.Table) -> pa.Table:
        """Return a table of samples with these columns; null where no row is about a curve."""
        ids, sources = (samples[name].to_pylist() for name in ("id", "source"))
        frames = samples["frame"].to_pylist()
        places = pa.array(map(self._place, ids, sources, frames), pa.int64())
        for column in self.columns:
            values = self.rows[column.name].take(places)
            if column.name not in samples.column_names:
                samples = samples.append_column(column, values)
                continue
            place = samples.column_names.index(column.name)
            known = samples[column.name].cast(values.type)
            both = pc.coalesce(values, known)
            kind = SAMPLES.field(column.name)
            samples = samples.set_column(place, kind, both.cast(kind.type))
        return samples

    def _place(self, curve_id: str, source: str, frame: int | None) -> int | None:
        """Row that is about a curve: the one that names it most closely."""
        name = curve_id.removesuffix(f"#{frame}")
        for key in (*_names(name), *_names(source)):
            place = self._places.get(f"{key}#{frame}", self._places.get(key))
            if place is not None:
                return place
        return None


# The frames of a stack have one name and one source.
@lru_cache(1024)
def _names(path: str) -> tuple[str, ...]:
    """Names under which a table may speak of a file, the closest first."""
    parts = [part for part in path.split("/") if part]
    stem = PurePosixPath(parts[-1]).stem if parts else ""
    return (
        *([path] if path.startswith("/") else ()),
        *("/".join(parts[begin:]) for begin in range(len(parts))),
        *("/".join([*parts[begin:-1], stem]) for begin in range(len(parts))),
    )


def _cells(path: Path) -> dict[str, list[str | None]]:
    """Cells of each column as text, None where they are empty."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        heading = file.readline()
        separator = max(",;\t", key=heading.count)
        names = [name.strip() for name in next(csv.reader([heading], delimiter=separator), [])]
        if len(set(names)) < len(names) or not all(names):
            raise ReadError(f"has the heading {heading.strip()!r}: expected names that differ")
        columns: dict[str, list[str | None]] = {name: [] for name in names}
        for row in csv.reader(file, delimiter=separator):
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(names):
                raise ReadError(
                    f"has {len(row)} cells in the row {separator.join(row)!r}: expected "
                    f"{len(names)}, as in its heading"
                )
            for name, cell in zip(names, row, strict=True):
                columns[name].append(None if cell.strip().lower() in _EMPTY else cell.strip())
    return columns


def _rows(cells: dict[str, list[str | None]]) -> pa.Table:
    by_name = {name.lower(): name for name in cells}
    key = next((by_name[name] for name in KEYS if name in by_name), None)
    if key is None:
        raise ReadError(
            f"has the columns {list(cells)}: expected one with the names of files, 'file'"
        )
    frame = by_name.get(FRAME)
    columns = {_KEY: _keys(cells[key], None if frame is None else cells[frame])}
    for name, values in cells.items():
        if name in (key, frame):
            continue
        heading, column = _column(name, values)
        if heading in columns:
            raise ReadError(f"has two columns for {heading}: keep one")
        columns[heading] = column
    if len(columns) == 1:
        raise ReadError("has no column beside the names of files")
    if not cells[key]:
        raise ReadError("has no row below its heading")
    return pa.table(columns)


def _keys(names: list[str | None], frames: list[str | None] | None) -> pa.Array:
    if None in names:
        raise ReadError(f"names no file in row {names.index(None) + 1}")
    keys = []
    for name, frame in zip(names, frames or [None] * len(names), strict=True):
        if frame is not None and not frame.isdecimal():
            raise ReadError(f"has {frame!r} as a frame: expected whole numbers from 0 on")
        plain = str(name).replace("\\", "/").removeprefix("./")
        keys.append(plain if frame is None else f"{plain}#{int(frame)}")
    return pa.array(keys, pa.string())


def _column(name: str, cells: list[str | None]) -> tuple[str, pa.Array]:
    """Name in the table of samples, and values in its type."""
    match = _NAME_AND_UNIT.fullmatch(name)
    known, unit = (match["name"], match["unit"]) if match else (name, None)
    if known.lower() in FIELDS:
        return _known(known.lower(), unit, cells)
    if all(cell is None or _is_number(cell) for cell in cells):
        numbers = [None if cell is None else float(cell) for cell in cells]
        return f"{META}{name}", pa.array(numbers, pa.float64())
    return f"{META}{name}", pa.array(cells, pa.string())


def _known(name: str, unit: str | None, cells: list[str | None]) -> tuple[str, pa.Array]:
    entry = FIELDS[name]
    values = []
    for row, cell in enumerate(cells, 1):
        value = stated(name, cell, entry.unit if unit is None else unit).get(name)
        if cell is not None and value is None:
            expected = f"a number in {entry.unit}" if not entry.is_text else "a date and time"
            raise ReadError(
                f"has {cell!r} as {name} in row {row}"
                + (f" in {unit!r}" if unit else "")
                + f": expected {expected}, {entry.meaning}; name the column otherwise if it is "
                "something else"
            )
        values.append(value)
    kind = pa.string() if entry.is_text else pa.float64()
    return f"{META}{name}", pa.array(values, kind)


def _is_number(cell: str) -> bool:
    """Whether a cell is a number and no name such as 007."""
    try:
        float(cell)
    except ValueError:
        return False
    return _LEADING_ZERO.match(cell) is None
