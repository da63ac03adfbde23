"""Parts of an NXcanSAS file that is being written: the file, an entry that grows, its columns."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from gpusaxs.errors import GpusaxsError
from gpusaxs.metadata import Metadata

DATA = "sasdata"
SAMPLE = "sassample"

_TEXT = h5py.string_dtype()
_BACKFILLED = 2**16


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value that belongs to a frame stands in an entry.

    Parameters
    ----------
    path
        Of its dataset, from the entry on: one value for all frames, or where they differ one a
        frame.
    dtype
        Of an array of it; None for text.
    units
        As the dataset states them.
    """

    path: str
    dtype: type | None = None
    units: str = ""

    @property
    def missing(self) -> Any:
        """What stands in an array for a frame without a value."""
        return "" if self.dtype is None else np.nan if self.dtype is float else -1


METADATA_PLACES: Mapping[str, Place] = {
    "title": Place("title"),
    "time": Place("start_time"),
    "sample": Place(f"{SAMPLE}/name"),
    "transmission": Place(f"{SAMPLE}/transmission", float),
    "thickness": Place(f"{SAMPLE}/thickness", float, "mm"),
    "temperature": Place(f"{SAMPLE}/temperature", float, "C"),
    "concentration": Place(f"{SAMPLE}/concentration", float, "mg/ml"),
    "exposure": Place(f"{SAMPLE}/count_time", float, "s"),
    "resolution": Place(f"{DATA}/resolution_fwhm", float, "1/nm"),
    "relative_resolution": Place(f"{DATA}/relative_resolution_fwhm", float),
}
"""Places of what `gpusaxs.metadata.FIELDS` name."""

ORIGIN_PLACES: Mapping[str, Place] = {
    "source": Place(f"{DATA}/source"),
    "frame": Place(f"{DATA}/source_frame", int),
    "q_unit": Place(f"{DATA}/source_q_unit"),
    "q_unit_from": Place(f"{DATA}/source_q_unit_from"),
    "format": Place(f"{DATA}/source_format"),
    "status": Place(f"{DATA}/source_status"),
}
"""Places of what `gpusaxs.sample.Origin` says of a curve: the file that it was read from; and of
remarks on how it was read, as `gpusaxs.sample.CurveStatus.label` spells them."""

_PLACES = {**METADATA_PLACES, **ORIGIN_PLACES}


class NewFile:
    """An HDF5 file that is written beside its place and renamed into it when it is complete.

    A context manager: the file is there whole or, after an error, not at all.

    Parameters
    ----------
    path
        Its place; an older file is replaced.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._beside = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        self._output: _Output | None = None
        self._file: h5py.File | None = None

    def __enter__(self) -> Self:
        try:
            self._output = _Output(self._beside, "w+")
            self._file = h5py.File(self._output, "w")
            self._file.attrs.update({"NX_class": "NXroot", "creator": "gpusaxs"})
            self._begin()
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None and self._finish():
                self._complete()
        finally:
            self._discard()

    @property
    def file(self) -> h5py.File:
        """The open file; ValueError outside of a with statement."""
        if self._file is None:
            raise ValueError(
                f"Expected a {type(self).__name__} in a with statement. It is not open."
            )
        return self._file

    def _begin(self) -> None:
        """Write what the file begins with."""

    def _finish(self) -> bool:
        """Write what it ends with; whether there is anything in it that is worth a file."""
        return True

    def check(self) -> None:
        """Raise the OSError that a write has met, if one has: the file is lost then."""
        if self._output is not None and self._output.error is not None:
            error = self._output.error
            raise OSError(error.errno, error.strerror, os.fspath(self._path)) from error

    def _complete(self) -> None:
        """Close it and put it in its place; OSError if there is no room for it."""
        assert self._file is not None
        assert self._output is not None
        self._file.close()
        self._output.close()
        self.check()
        os.replace(self._beside, self._path)

    def _discard(self) -> None:
        """Close it, and remove it where it was not completed."""
        if self._file is not None:
            # What is lost may be missed as it is closed.
            with suppress(OSError, RuntimeError):
                self._file.close()
        if self._output is not None:
            self._output.close()
        self._file = self._output = None
        self._beside.unlink(missing_ok=True)


class _Output(io.FileIO):
    """Bytes of a file; the first error of a write is kept, and nothing is written after it.

    The HDF5 library cannot close a file when writes fail: it tries again until the end of the
    process, which dies of it.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of it, or note why that cannot be."""
        left = memoryview(data)
        size = left.nbytes
        try:
            while self.error is None and left.nbytes:
                left = left[super().write(left) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the size of the file, unless it is lost."""
        try:
            if self.error is None:
                return super().truncate(size)
        except OSError as error:
            self.error = error
        return size or 0


@dataclass(frozen=True, slots=True)
class Layout:
    """How the frames of an entry are stored.

    Parameters
    ----------
    q : (points,) float64, optional
        The q of all frames; each has its own without it.
    points
        Of a frame.
    chunk
        Frames of a chunk.
    filters
        Compression, as h5py takes it.
    title, run
        Of the entry.
    """

    q: NDArray[np.float64] | None
    points: int
    q_unit: str
    dtype: np.dtype[Any]
    chunk: int
    filters: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    run: str = ""


class GrowingEntry:
    """An SASentry with a stack of frames to which others are added.

    Attributes
    ----------
    frames
        How many it holds.
    """

    def __init__(self, file: h5py.File, name: str, layout: Layout) -> None:
        self.frames = 0
        self._layout = layout
        self._entry = begin_entry(file, name, layout.run)
        self._data = begin_data(self._entry, ["Frame", "Q"], own_q=layout.q is None)
        if layout.q is not None:
            self._data.create_dataset("Q", data=layout.q).attrs["units"] = layout.q_unit
        self._columns = {name: _Column(self._entry, place) for name, place in _PLACES.items()}

    def extend(
        self,
        intensity: NDArray[Any],
        sigma: NDArray[Any] | None,
        *,
        q: NDArray[np.float64] | None = None,
        arrays: Mapping[str, Any] | None = None,
        said: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Add frames at the end.

        Parameters
        ----------
        intensity, sigma, q : (frames, points)
            sigma in all blocks or in none; q where each frame has its own.
        arrays
            Values that stand beside the frames, one each, by the name of their dataset; in all
            blocks or in none.
        said
            What is said of each frame, by the names of the places.
        """
        columns: dict[str, Any] = {"I": intensity, "Idev": sigma, **(arrays or {})}
        if self._layout.q is None:
            columns["Q"] = q
        for name, values in columns.items():
            if self.frames == 0 and values is not None:
                self._create(name, values)
            if (values is None) == (name in self._data):
                raise ValueError(f"Expected {name} in all blocks or in none. Give it or leave it.")
        for name, values in columns.items():
            if values is not None:
                self._extend(self._data[name], values, len(intensity))
        for name, column in self._columns.items():
            column.extend(
                [None] * len(intensity) if said is None else [entry.get(name) for entry in said]
            )
        self.frames += len(intensity)

    def complete(self) -> h5py.Group:
        """Write what is known at the end alone; return the entry."""
        self._data.create_dataset("Frame", data=np.arange(self.frames))
        for column in self._columns.values():
            column.complete()
        if "title" not in self._entry:
            put_text(self._entry, "title", self._layout.title)
        return self._entry

    def _create(self, name: str, values: Any) -> None:
        """Dataset without a frame yet."""
        if name not in ("I", "Idev", "Q"):
            kind = values.dtype if isinstance(values, np.ndarray) else _TEXT
            self._data.create_dataset(name, (0,), kind, maxshape=(None,))
            return
        layout = self._layout
        dataset = self._data.create_dataset(
            name,
            (0, layout.points),
            np.float64 if name == "Q" else layout.dtype,
            maxshape=(None, layout.points),
            chunks=(layout.chunk, layout.points),
            **layout.filters,
        )
        dataset.attrs["units"] = layout.q_unit if name == "Q" else "arbitrary"
        if name == "Idev":
            self._data["I"].attrs["uncertainties"] = name

    def _extend(self, dataset: h5py.Dataset, values: Any, count: int) -> None:
        if h5py.check_string_dtype(dataset.dtype) is not None:
            rows: Any = [as_stored(text) for text in values]
        else:
            rows = _converted(np.asarray(values), dataset.dtype)
        dataset.resize(self.frames + count, axis=0)
        dataset[self.frames :] = rows


class _Column:
    """What is said of frames under one name: one value as long as it is the same for all."""

    def __init__(self, entry: h5py.Group, place: Place) -> None:
        self._entry = entry
        self._place = place
        self._frames = 0
        self._same: Any = None
        self._varies = False

    def extend(self, values: Sequence[Any]) -> None:
        """Add one value a frame, None where there is none."""
        if self._frames == 0:
            self._same = values[0]
        if not self._varies and any(value != self._same for value in values):
            self._begin_to_vary()
        if self._varies:
            self._put([self._place.missing if value is None else value for value in values])
        self._frames += len(values)

    def complete(self) -> None:
        """Write the one value of all frames, if there is one."""
        if not self._varies and self._same is not None:
            put_value(self._entry, self._place, self._same)

    def _begin_to_vary(self) -> None:
        place = self._place
        dataset = _parent(self._entry, place.path).create_dataset(
            place.path.rpartition("/")[2],
            (0,),
            _TEXT if place.dtype is None else place.dtype,
            maxshape=(None,),
        )
        if place.units:
            dataset.attrs["units"] = place.units
        self._varies = True
        before, self._frames = self._frames, 0
        value = place.missing if self._same is None else self._same
        while self._frames < before:
            part = min(_BACKFILLED, before - self._frames)
            self._put([value] * part)
            self._frames += part

    def _put(self, values: list[Any]) -> None:
        dataset = self._entry[self._place.path]
        dataset.resize(self._frames + len(values), axis=0)
        if self._place.dtype is None:
            values = [as_stored(value) for value in values]
        dataset[self._frames :] = values


def begin_entry(file: h5py.File, name: str, run: str) -> h5py.Group:
    """SASentry without a title yet; the first of a file is the one that programs open."""
    file.attrs.setdefault("default", name)
    entry = file.create_group(name)
    entry.attrs.update(
        {"NX_class": "NXentry", "canSAS_class": "SASentry", "version": "1.1", "default": DATA}
    )
    put_text(entry, "definition", "NXcanSAS")
    put_text(entry, "run", run)
    return entry


def begin_data(entry: h5py.Group, axes: Sequence[str], *, own_q: bool = False) -> h5py.Group:
    """SASdata of an entry, without numbers yet.

    Parameters
    ----------
    axes
        Of the intensity, in their order: ``["Q"]``, or ``["Frame", "Q"]``.
    own_q
        Whether q is given for each frame.
    """
    data = entry.create_group(DATA)
    last = len(axes) - 1
    data.attrs.update(
        {
            "NX_class": "NXdata",
            "canSAS_class": "SASdata",
            "signal": "I",
            "I_axes": list(axes),
            "axes": list(axes),
            "Q_indices": np.arange(last + 1) if own_q else np.array([last]),
        }
    )
    if last:
        data.attrs["Frame_indices"] = np.array([0])
    return data


def put_metadata(entry: h5py.Group, metadata: Metadata) -> None:
    """Write what is said of the one curve of an entry."""
    for name, value in metadata.items():
        put_value(entry, METADATA_PLACES[name], value)


def put_value(entry: h5py.Group, place: Place, value: Any) -> None:
    """Write the value of all frames of an entry."""
    parent, name = _parent(entry, place.path), place.path.rpartition("/")[2]
    if place.dtype is None:
        put_text(parent, name, value)
        return
    dataset = parent.create_dataset(name, data=place.dtype(value))
    if place.units:
        dataset.attrs["units"] = place.units


def put_text(group: h5py.Group, name: str, text: str) -> None:
    """Write a text as a dataset of a group."""
    group.create_dataset(name, data=as_stored(text), dtype=_TEXT)


def as_stored(text: str) -> str:
    """Text that HDF5 can hold: without NUL, and without bytes of file names that are no text."""
    if not isinstance(text, str):
        raise TypeError(f"Expected a text. Got {text!r}.")
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def _parent(entry: h5py.Group, path: str) -> h5py.Group:
    """Group of an entry in which a path ends; the one of the sample is made when it is needed."""
    group = path.rpartition("/")[0]
    if not group:
        return entry
    if group not in entry:
        made = entry.create_group(group)
        made.attrs.update({"NX_class": "NXsample", "canSAS_class": "SASsample"})
    return entry[group]


def _converted(values: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values in the type in which they are stored; none becomes infinite by that."""
    if dtype.kind != "f" or dtype.itemsize >= values.dtype.itemsize:
        return np.asarray(values, dtype)
    with np.errstate(over="ignore"):
        converted = values.astype(dtype)
    if (np.isinf(converted) & ~np.isinf(values)).any():
        raise GpusaxsError(f"Expected numbers that {dtype} can hold. Got larger: give float64.")
    return converted
