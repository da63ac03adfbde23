"""Write a stack of curves as one NXcanSAS file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gpusaxs.units import check_q_unit

_CHUNK_BYTES = 2**20


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
) -> None:
    """Write curves with one q as a chunked NXcanSAS stack.

    The file is written beside its place and renamed into it, so it is there whole or not at all.

    Parameters
    ----------
    path
        The file; an older one is replaced.
    q : (points,) float64
        In ``q_unit``; always stored as float64.
    intensity, sigma : (frames, points)
        Stored as ``dtype``; sigma may be None.
    title
        Title of the entry.
    q_unit
        ``"1/nm"`` or ``"1/angstrom"``.
    names
        One name a frame.
    dtype
        float64, or float32 to halve the file.

    Raises
    ------
    ValueError
        If the shapes do not fit, or if the unit is not one of q.
    """
    unit = check_q_unit(q_unit)
    shared_q = np.asarray(q, dtype=np.float64)
    rows = np.asarray(intensity)
    deviation = None if sigma is None else np.asarray(sigma)
    _check_shapes(shared_q, rows, deviation, names)
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with h5py.File(beside, "w") as file:
            group = _entry(file, title)
            _write_data(group, shared_q, rows, deviation, unit, np.dtype(dtype))
            if names is not None:
                group.create_dataset("frame_name", data=list(names), dtype=h5py.string_dtype())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _check_shapes(
    q: np.ndarray,
    intensity: np.ndarray,
    sigma: np.ndarray | None,
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


def _write_data(
    group: h5py.Group,
    q: np.ndarray,
    intensity: np.ndarray,
    sigma: np.ndarray | None,
    unit: str,
    dtype: np.dtype[np.generic],
) -> None:
    frames, points = intensity.shape
    chunk = (min(frames, max(1, _CHUNK_BYTES // (points * dtype.itemsize))), points)
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
    group.create_dataset("Q", data=q).attrs["units"] = unit
    group.create_dataset("Frame", data=np.arange(frames))
    signal = group.create_dataset("I", data=intensity, dtype=dtype, chunks=chunk)
    signal.attrs["units"] = "arbitrary"
    if sigma is not None:
        signal.attrs["uncertainties"] = "Idev"
        deviation = group.create_dataset("Idev", data=sigma, dtype=dtype, chunks=chunk)
        deviation.attrs["units"] = "arbitrary"
