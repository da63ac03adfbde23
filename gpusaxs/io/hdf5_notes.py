"""What NeXus and canSAS entries say of their curves beside the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import h5py
import numpy as np

from gpusaxs.errors import ReadError
from gpusaxs.io.hdf5_access import (
    as_text,
    has,
    is_class,
    is_stored_here,
    member,
    text,
)
from gpusaxs.metadata import FIELDS, Metadata, stated

_MOST_MEMBERS = 200
_MOST_BYTES_A_VALUE = 2**16
_MOST_VALUES_OF_A_GRID = 2**20
_TEXTS_AT_ONCE = 4096

_ENTRY = ("NXentry", "NXsubentry", "SASentry")
_SAMPLE = ("NXsample", "SASsample")
_INSTRUMENT = ("NXinstrument", "SASinstrument")
_COUNTING = ("NXdetector", "SASdetector", "NXmonitor", "NXcollection", "SAScollection")

# Names in the file, with the field they state; canSAS gives a transmission no unit.
_OF_FRAMES = {"sample_name": "sample", "count_time": "exposure"}
# As gpusaxs writes them; NXcanSAS has columns of resolutions alone.
_OF_DATA = {"resolution_fwhm": "resolution", "relative_resolution_fwhm": "relative_resolution"}
_OF_FRAMES_ELSE = {"frame_name": "sample"}
_OF_ENTRY = {"title": "title", "start_time": "time", "count_time": "exposure"}
_OF_SAMPLE = {
    "name": "sample",
    "transmission": "transmission",
    "thickness": "thickness",
    "temperature": "temperature",
    "concentration": "concentration",
    "count_time": "exposure",
}
_OF_COUNTING = {"count_time": "exposure", "exposure_time": "exposure"}


@dataclass(frozen=True, slots=True)
class _Column:
    """A dataset that may hold a value for every frame: where it is, as files are opened anew.

    Parameters
    ----------
    name
        Of the field that it states, in the unit `unit`.
    group, member
        Path of the group, and name in it.
    """

    name: str
    group: str
    member: str
    shape: tuple[int, ...]
    unit: str


@dataclass(slots=True)
class _Said:
    """What one group says: of all its frames, and of each."""

    facts: dict[str, str | float] = field(default_factory=dict)
    columns: list[_Column] = field(default_factory=list)


_Look = Callable[[h5py.Group], _Said]


class Notes:
    """What is said beside the numbers of a file; every group is looked at once.

    It may be kept from one opening of the file to the next, as long as the file is the same.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, _Look], _Said] = {}

    def of(
        self, group: h5py.Group, frames: range, lengths: Sequence[int]
    ) -> Metadata | Sequence[Metadata]:
        """What is said of frames of a group of data.

        What stands near goes before what stands far: the group itself, its entry, and the entry
        around that. The names of frames stand for those of samples where no sample has one.

        Parameters
        ----------
        frames
            Counted through the frames of the group.
        lengths
            Of the axes that count them.
        """
        facts: dict[str, str | float] = {}
        columns: dict[str, _Column] = {}
        for said in self._around(group):
            for column in said.columns:
                if column.name not in facts and _fits(column.shape, lengths):
                    columns.setdefault(column.name, column)
            for name, value in said.facts.items():
                if name not in columns:
                    facts.setdefault(name, value)
        if not columns:
            return facts
        rows = [dict(facts) for _ in frames]
        for column in columns.values():
            for row, entry in zip(rows, _entries(group.file, column, frames), strict=True):
                row.update(entry)
        return rows

    def _around(self, group: h5py.Group) -> Iterator[_Said]:
        path = str(group.name)
        yield self._once(group, path, _of_frames)
        while path.strip("/"):
            yield self._once(group, path, _of_entry)
            path = path.rpartition("/")[0]
        yield self._once(group, str(group.name), _of_frames_else)

    def _once(self, group: h5py.Group, path: str, look: _Look) -> _Said:
        """What the group at a path says, asked once."""
        if (path, look) not in self._known:
            self._known[path, look] = look(group.file[path])
        return self._known[path, look]


def _of_frames(group: h5py.Group) -> _Said:
    said = _said(group, _OF_DATA)
    _add(said, _said(group, _OF_FRAMES, arrays_only=True))
    return said


def _of_frames_else(group: h5py.Group) -> _Said:
    return _said(group, _OF_FRAMES_ELSE, arrays_only=True)


def _of_entry(entry: h5py.Group) -> _Said:
    if not is_class(entry, _ENTRY):
        return _Said()
    names = _OF_ENTRY
    if _text_in(entry, "program_name").lower().startswith("pyfai"):
        # It is the time at which the images were integrated.
        names = {name: field for name, field in names.items() if field != "time"}
    said = _said(entry, names)
    said.facts = stated("title", text(entry, "title")) | said.facts
    members = list(_groups(entry))
    samples = [group for group in members if is_class(group, _SAMPLE)]
    # Of several samples, none is known to be that of the curves.
    for sample in samples if len(samples) == 1 else []:
        _add(said, _said(sample, _OF_SAMPLE))
    inner = [part for group in members if is_class(group, _INSTRUMENT) for part in _groups(group)]
    for part in (*members, *inner):
        if is_class(part, _COUNTING):
            _add(said, _said(part, _OF_COUNTING))
    return said


def _add(said: _Said, more: _Said) -> None:
    """What goes before stays."""
    said.facts = more.facts | said.facts
    said.columns += more.columns


def _groups(group: h5py.Group) -> Iterator[h5py.Group]:
    """Groups among the first members of a group."""
    for name in islice(group, _MOST_MEMBERS):
        found = member(group, name)
        if isinstance(found, h5py.Group):
            yield found


def _said(group: h5py.Group, names: dict[str, str], arrays_only: bool = False) -> _Said:
    """Values of a group that are known by their names."""
    said = _Said()
    for name, meant in names.items():
        values = member(group, name) if has(group, name) else None
        if not is_stored_here(values) or not _is_readable(values, FIELDS[meant].is_text):
            continue
        if math.prod(values.shape) != 1:
            said.columns.append(_column(meant, group, name, values))
        elif not arrays_only:
            value = np.asarray(values[()], dtype=object).ravel()[0]
            said.facts = stated(meant, _plain(value), _unit(meant, values)) | said.facts
        elif FIELDS[meant].is_text:
            said.columns.append(_column(meant, group, name, values))
    return said


def _column(meant: str, group: h5py.Group, name: str, values: h5py.Dataset) -> _Column:
    return _Column(meant, str(group.name), name, values.shape, _unit(meant, values))


def _is_readable(values: h5py.Dataset, is_text: bool) -> bool:
    """Whether its values are few bytes each, and texts where a text is expected."""
    is_string = h5py.check_string_dtype(values.dtype) is not None
    fits = is_string or (values.dtype.kind in "fiu" and not is_text)
    return fits and values.shape is not None and 0 < values.dtype.itemsize <= _MOST_BYTES_A_VALUE


def _fits(shape: tuple[int, ...], lengths: Sequence[int]) -> bool:
    """Whether a column has one value a frame."""
    count = math.prod(lengths)
    grid = shape == tuple(lengths) and count <= _MOST_VALUES_OF_A_GRID
    return shape == (count,) or (grid and len(lengths) > 1)


def _entries(file: h5py.File, column: _Column, frames: range) -> Iterator[dict[str, str | float]]:
    """Entries of the metadata, one a frame."""
    values = member(file[column.group], column.member)
    if not is_stored_here(values) or values.shape != column.shape:
        raise ReadError(f"has changed in {column.group}/{column.member} while it was read")
    for start in range(frames.start, frames.stop, _TEXTS_AT_ONCE):
        stop = min(frames.stop, start + _TEXTS_AT_ONCE)
        block = values[start:stop] if values.ndim == 1 else values[()].ravel()[start:stop]
        for value in block.tolist():
            yield stated(column.name, _plain(value), column.unit)


def _plain(value: object) -> object:
    return as_text(value) if isinstance(value, bytes) else value


def _unit(name: str, values: h5py.Dataset) -> str:
    unit = text(values, "units", "unit")
    return unit or ("1" if name == "transmission" else "")


def _text_in(group: h5py.Group, name: str) -> str:
    values = member(group, name) if has(group, name) else None
    if not is_stored_here(values) or not _is_readable(values, is_text=True):
        return ""
    return as_text(values[()]) if values.shape == () else ""
