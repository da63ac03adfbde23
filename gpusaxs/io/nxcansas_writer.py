"""Write stacks of curves as an NXcanSAS file, at once or block by block."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gpusaxs.io.nxcansas_entry import GrowingEntry, Layout, NewFile
from gpusaxs.metadata import Metadata
from gpusaxs.sample import CurveStatus, Origin
from gpusaxs.units import check_q_unit

Compression = Literal["gzip", "bitshuffle", "blosc"]

_CHUNK_BYTES = 2**20
_ENTRY = "sasentry"


class StackWriter(NewFile):
    """Writes curves with one q as a chunked NXcanSAS stack, block by block.

    A context manager. The file is written beside its place and renamed into it at the end, so it
    is there whole or not at all; after an error nothing is left of it.

    Parameters
    ----------
    path
        The file; an older one is replaced.
    q : (points,) float64
        In ``q_unit``; always stored as float64.
    title
        Title of the entry.
    q_unit
        ``"1/nm"``, ``"1/angstrom"`` or ``"1/m"``.
    dtype
        float64, or float32 to halve the file.
    compression
        ``"gzip"`` is read everywhere and is the slowest; ``"bitshuffle"`` and ``"blosc"`` need
        the plugins of ``hdf5plugin`` where the file is read.
    frames
        How many there will be, where that is known: few frames then take a small chunk.

    Raises
    ------
    ValueError
        If q, its unit or the compression is none.

    Examples
    --------
    >>> with StackWriter("stack.h5", q, title="a series") as stack:  # doctest: +SKIP
    ...     for intensity, sigma in blocks:
    ...         stack.append(intensity, sigma)
    """

    def __init__(
        self,
        path: str | Path,
        q: ArrayLike,
        *,
        title: str,
        q_unit: str = "1/nm",
        dtype: DTypeLike = np.float64,
        compression: Compression | None = None,
        frames: int | None = None,
    ) -> None:
        super().__init__(path)
        self._q = np.asarray(q, dtype=np.float64)
        if self._q.ndim != 1 or self._q.size == 0:
            raise ValueError(f"Expected q (points,). Got the shape {self._q.shape}.")
        kind: np.dtype[Any] = np.dtype(dtype)
        fitting = frames_of_a_chunk(self._q.size, kind)
        self._layout = Layout(
            self._q,
            self._q.size,
            check_q_unit(q_unit),
            kind,
            fitting if frames is None else max(1, min(frames, fitting)),
            _filter(compression),
            title,
            title,
        )
        self._entry: GrowingEntry | None = None
        self.frames = 0

    def _begin(self) -> None:
        self._entry = GrowingEntry(self.file, _ENTRY, self._layout)

    def _finish(self) -> bool:
        if self._entry is None or self.frames == 0:
            raise ValueError("Expected at least one frame. Append one, or write no file.")
        self._entry.complete()
        return True

    def append(
        self,
        intensity: ArrayLike,
        sigma: ArrayLike | None = None,
        names: Sequence[str] | None = None,
        metadata: Sequence[Metadata] | None = None,
    ) -> None:
        """Add frames at the end.

        Parameters
        ----------
        intensity, sigma : (frames, points)
            sigma in all blocks or in none.
        names
            One name a frame, in all blocks or in none.
        metadata
            What is said of each frame: see `gpusaxs.metadata.FIELDS`.

        Raises
        ------
        ValueError
            If the shapes do not fit, or if only some blocks have sigma or names.
        """
        if self._entry is None or self._file is None:
            raise ValueError("Expected a StackWriter in a with statement. It is not open.")
        rows = np.asarray(intensity)
        deviation = None if sigma is None else np.asarray(sigma)
        _check_shapes(self._q, rows, deviation)
        for name, given in (("names", names), ("entries of metadata", metadata)):
            if given is not None and len(given) != len(rows):
                raise ValueError(f"Expected {len(rows)} {name}, one a frame. Got {len(given)}.")
        self._entry.extend(rows, deviation, arrays={"frame_name": names}, said=metadata)
        self.check()
        self.frames = self._entry.frames


class Stack:
    """A stack in a file of several: see `StacksWriter.stack`.

    Attributes
    ----------
    first
        Number of its first curve among the inputs.
    """

    def __init__(self, entry: GrowingEntry, first: int, file: NewFile) -> None:
        self.first = first
        self.entry = entry
        self._file = file

    def append(
        self,
        numbers: Sequence[int],
        names: Sequence[str],
        origins: Sequence[Origin],
        statuses: Sequence[CurveStatus],
        intensity: NDArray[np.float64],
        sigma: NDArray[np.float64] | None = None,
        q: NDArray[np.float64] | None = None,
    ) -> None:
        """Add frames at the end.

        Parameters
        ----------
        numbers
            Of the curves among the inputs.
        names
            Their ids.
        origins
            Where they come from, and what is said of them there.
        statuses
            Remarks on how they were read.
        intensity, sigma, q : (frames, points)
            sigma for all frames of the stack or for none; q where each has its own.
        """
        said = [
            {**_said(origin, status), **origin.metadata}
            for origin, status in zip(origins, statuses, strict=True)
        ]
        arrays = {"frame_name": names, "input_number": np.asarray(numbers, np.int64)}
        self.entry.extend(intensity, sigma, q=q, arrays=arrays, said=said)
        self._file.check()


class StacksWriter(NewFile):
    """Writes an NXcanSAS file of several stacks, an entry each; q in 1/nm.

    A context manager. As with `StackWriter` the file is there whole or not at all. The entries
    have the order of their first curves.

    Parameters
    ----------
    path
        The file; an older one is replaced.
    run
        Name of the whole, in every entry.
    dtype, compression
        See `StackWriter`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        run: str,
        dtype: DTypeLike = np.float64,
        compression: Compression | None = None,
    ) -> None:
        super().__init__(path)
        self._run = run
        self._dtype: np.dtype[Any] = np.dtype(dtype)
        self._filters = _filter(compression)
        self.stacks: list[Stack] = []

    def stack(self, q: NDArray[np.float64] | None, points: int, first: int, frames: int) -> Stack:
        """Begin a stack.

        Parameters
        ----------
        q : (points,) float64, optional
            The q of all its frames; each has its own without it.
        first
            Number of its first curve among the inputs.
        frames
            How many come first: there may be no others, so a chunk is no larger.
        """
        chunk = max(1, min(frames, frames_of_a_chunk(points, self._dtype)))
        layout = Layout(
            q, points, "1/nm", self._dtype, chunk, self._filters, title="", run=self._run
        )
        made = Stack(GrowingEntry(self.file, f"stack{len(self.stacks)}", layout), first, self)
        self.stacks.append(made)
        return made

    def _finish(self) -> bool:
        digits = len(str(len(self.stacks)))
        ordered = sorted(self.stacks, key=lambda stack: stack.first)
        for number, stack in enumerate(ordered, 1):
            name = f"{_ENTRY}{number:0{digits}d}"
            self.file.move(stack.entry.complete().name, name)
            if number == 1:
                self.file.attrs["default"] = name
        # A file without a curve is none.
        return bool(self.stacks)


def write_stack(
    path: str | Path,
    q: ArrayLike,
    intensity: ArrayLike,
    sigma: ArrayLike | None,
    *,
    title: str,
    q_unit: str = "1/nm",
    names: Sequence[str] | None = None,
    metadata: Sequence[Metadata] | None = None,
    dtype: DTypeLike = np.float64,
    compression: Compression | None = None,
) -> None:
    """Write curves with one q as a chunked NXcanSAS stack: see `StackWriter`.

    Parameters
    ----------
    intensity, sigma : (frames, points)
        Stored as ``dtype``; sigma may be None.
    names, metadata
        One a frame.

    Raises
    ------
    ValueError
        If the shapes do not fit, or if the unit is not one of q.
    """
    rows = np.asarray(intensity)
    frames = len(rows) if rows.ndim else 0
    with StackWriter(
        path, q, title=title, q_unit=q_unit, dtype=dtype, compression=compression, frames=frames
    ) as stack:
        stack.append(rows, sigma, names, metadata)


def frames_of_a_chunk(points: int, dtype: DTypeLike) -> int:
    """How many frames make a chunk that is read and compressed well."""
    return max(1, _CHUNK_BYTES // (points * np.dtype(dtype).itemsize))


def _said(origin: Origin, status: CurveStatus) -> Mapping[str, Any]:
    """Where a curve comes from and how it was read, under the names of the places."""
    return {
        "source": origin.source,
        "frame": origin.frame,
        "q_unit": origin.q_unit,
        "q_unit_from": origin.q_unit_from,
        "format": origin.format,
        "status": status.label if status else None,
    }


def _filter(compression: Compression | None) -> Mapping[str, Any]:
    """Compression as h5py takes it."""
    if compression is None:
        return {}
    if compression == "gzip":
        return {"compression": "gzip", "shuffle": True}
    if compression not in ("bitshuffle", "blosc"):
        raise ValueError(
            f"Expected the compression 'gzip', 'bitshuffle', 'blosc' or None. Got {compression!r}."
        )
    # Its import registers filters with the HDF5 library; only few files need them.
    plugins = importlib.import_module("hdf5plugin")
    chosen: Mapping[str, Any] = (
        plugins.Bitshuffle() if compression == "bitshuffle" else plugins.Blosc()
    )
    return chosen


def _check_shapes(
    q: NDArray[np.float64], intensity: NDArray[Any], sigma: NDArray[Any] | None
) -> None:
    fits = intensity.ndim == 2 and intensity.size > 0 and q.shape == intensity.shape[1:]
    if not fits or (sigma is not None and sigma.shape != intensity.shape):
        raise ValueError(
            "Expected q (points,) with intensity and sigma (frames, points). Got "
            f"{q.shape}, {intensity.shape}, {None if sigma is None else sigma.shape}."
        )
