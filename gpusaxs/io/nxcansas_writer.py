"""Write a stack of curves as one NXcanSAS file, at once or block by block."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import h5py
import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from gpusaxs.units import check_q_unit

Compression = Literal["gzip", "bitshuffle", "blosc"]

_CHUNK_BYTES = 2**20


class StackWriter:
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
        self._path = Path(path)
        self._beside = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        self._q = np.asarray(q, dtype=np.float64)
        if self._q.ndim != 1 or self._q.size == 0:
            raise ValueError(f"Expected q (points,). Got the shape {self._q.shape}.")
        self._title = title
        self._q_unit = check_q_unit(q_unit)
        self._dtype: np.dtype[Any] = np.dtype(dtype)
        fitting = max(1, _CHUNK_BYTES // (self._q.size * self._dtype.itemsize))
        self._chunk = fitting if frames is None else max(1, min(frames, fitting))
        self._filter = _filter(compression)
        self._file: h5py.File | None = None
        self._group: h5py.Group | None = None
        self.frames = 0

    def __enter__(self) -> Self:
        self._file = h5py.File(self._beside, "w")
        try:
            self._group = _entry(self._file, self._title)
            _describe(self._group, self._q, self._q_unit)
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
            if error is None:
                self._complete()
        finally:
            self._discard()

    def append(
        self,
        intensity: ArrayLike,
        sigma: ArrayLike | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        """Add frames at the end.

        Parameters
        ----------
        intensity, sigma : (frames, points)
            sigma in all blocks or in none.
        names
            One name a frame, in all blocks or in none.

        Raises
        ------
        ValueError
            If the shapes do not fit, or if only some blocks have sigma or names.
        """
        if self._group is None:
            raise ValueError("Expected a StackWriter in a with statement. It is not open.")
        rows = np.asarray(intensity)
        deviation = None if sigma is None else np.asarray(sigma)
        _check_shapes(self._q, rows, deviation, names)
        columns: dict[str, Any] = {"I": rows, "Idev": deviation, "frame_name": names}
        for name, values in columns.items():
            if self.frames == 0 and values is not None:
                self._create(self._group, name)
            if (values is None) == (name in self._group):
                raise ValueError(f"Expected {name} in all blocks or in none. Give it or leave it.")
        for name, values in columns.items():
            if values is not None:
                self._extend(self._group[name], values, len(rows))
        self.frames += len(rows)

    def _create(self, group: h5py.Group, name: str) -> None:
        """Dataset without a frame yet."""
        if name == "frame_name":
            group.create_dataset(name, (0,), h5py.string_dtype(), maxshape=(None,))
            return
        points = self._q.size
        dataset = group.create_dataset(
            name,
            (0, points),
            self._dtype,
            maxshape=(None, points),
            chunks=(self._chunk, points),
            **self._filter,
        )
        dataset.attrs["units"] = "arbitrary"
        if name == "Idev":
            group["I"].attrs["uncertainties"] = name

    def _extend(self, dataset: h5py.Dataset, values: Any, count: int) -> None:
        dataset.resize(self.frames + count, axis=0)
        is_text = h5py.check_string_dtype(dataset.dtype) is not None
        dataset[self.frames :] = list(values) if is_text else np.asarray(values, dataset.dtype)

    def _complete(self) -> None:
        if self._file is None or self._group is None or self.frames == 0:
            raise ValueError("Expected at least one frame. Append one, or write no file.")
        self._group.create_dataset("Frame", data=np.arange(self.frames))
        self._file.close()
        os.replace(self._beside, self._path)

    def _discard(self) -> None:
        """Close the file beside, and remove it where it was not renamed."""
        if self._file is not None:
            self._file.close()
        self._file = self._group = None
        self._beside.unlink(missing_ok=True)


def write_stack(
    path: str | Path,
    q: ArrayLike,
    intensity: ArrayLike,
    sigma: ArrayLike | None,
    *,
    title: str,
    q_unit: str = "1/nm",
    names: Sequence[str] | None = None,
    dtype: DTypeLike = np.float64,
    compression: Compression | None = None,
) -> None:
    """Write curves with one q as a chunked NXcanSAS stack: see `StackWriter`.

    Parameters
    ----------
    intensity, sigma : (frames, points)
        Stored as ``dtype``; sigma may be None.
    names
        One name a frame.

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
        stack.append(rows, sigma, names)


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
    q: NDArray[np.float64],
    intensity: NDArray[Any],
    sigma: NDArray[Any] | None,
    names: Sequence[str] | None,
) -> None:
    fits = intensity.ndim == 2 and intensity.size > 0 and q.shape == intensity.shape[1:]
    if not fits or (sigma is not None and sigma.shape != intensity.shape):
        raise ValueError(
            "Expected q (points,) with intensity and sigma (frames, points). Got "
            f"{q.shape}, {intensity.shape}, {None if sigma is None else sigma.shape}."
        )
    if names is not None and len(names) != len(intensity):
        raise ValueError(f"Expected {len(intensity)} names, one a frame. Got {len(names)}.")


def _entry(file: h5py.File, title: str) -> h5py.Group:
    """SASdata group of a new file with one entry."""
    file.attrs.update({"NX_class": "NXroot", "default": "sasentry", "creator": "gpusaxs"})
    entry = file.create_group("sasentry")
    entry.attrs.update(
        {"NX_class": "NXentry", "canSAS_class": "SASentry", "version": "1.1", "default": "sasdata"}
    )
    for name, text in (("definition", "NXcanSAS"), ("title", title), ("run", title)):
        entry.create_dataset(name, data=text, dtype=h5py.string_dtype())
    return entry.create_group("sasdata")


def _describe(group: h5py.Group, q: NDArray[np.float64], q_unit: str) -> None:
    """Attributes and q of a SASdata group with the axes Frame and Q."""
    group.attrs.update(
        {
            "NX_class": "NXdata",
            "canSAS_class": "SASdata",
            "signal": "I",
            "I_axes": ["Frame", "Q"],
            "axes": ["Frame", "Q"],
            "Q_indices": np.array([1]),
            "Frame_indices": np.array([0]),
        }
    )
    group.create_dataset("Q", data=q).attrs["units"] = q_unit
