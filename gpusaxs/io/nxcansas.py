"""NXcanSAS in HDF5: single curves and stacks of frames, read and written.

Only what is in the file itself is read: links to other files, virtual datasets and external
storage are refused. Writing is in `gpusaxs.io.nxcansas_writer`.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from gpusaxs.errors import ReadError
from gpusaxs.io.curves import Curves, FileIdentity, check_size, to_samples
from gpusaxs.io.nxcansas_writer import write_stack
from gpusaxs.sample import Sample
from gpusaxs.units import parse_q_unit

__all__ = ["NAME", "matches", "read", "write_stack"]

FloatArray = NDArray[np.float64]

NAME = "nxcansas"

_MAGIC = b"\x89HDF\r\n\x1a\n"
_FIRST_PLUGIN_FILTER = 256
_MOST_LINKS = 16
_DAMAGES = (OSError, RuntimeError, KeyError, ValueError, TypeError)


def matches(path: Path, head: bytes) -> bool:
    """Whether the file begins as HDF5."""
    return head.startswith(_MAGIC)


def read(path: Path, curve_id: str, q_unit: str | None = None) -> list[Sample]:
    """All one-dimensional curves of an NXcanSAS file, in the order of their paths in it."""
    try:
        with h5py.File(path, "r") as file:
            curves = [_curves(group, q_unit) for group in _data_groups(file)]
    except _DAMAGES as error:
        raise ReadError(f"is a damaged HDF5 file, or cut off: {error}") from error
    return to_samples(curves, FileIdentity(path, curve_id, NAME, q_unit))


def _data_groups(file: h5py.File) -> list[h5py.Group]:
    """Groups of one-dimensional data, each once: hard links alone are followed."""
    groups: list[h5py.Group] = []

    def keep(_: str, member: h5py.Group | h5py.Dataset) -> None:
        if isinstance(member, h5py.Group) and "SASdata" in (
            _text(member.attrs.get("canSAS_class")),
            _text(member.attrs.get("NX_class")),
        ):
            groups.append(member)

    file.visititems(keep)
    if not groups:
        raise ReadError("is an HDF5 file without canSAS data: expected NXcanSAS with a SASdata")
    curves = [group for group in groups if not _is_image(group)]
    if not curves:
        raise ReadError("holds a two-dimensional image I(Qx, Qy): integrate it to a curve first")
    return curves


def _is_image(group: h5py.Group) -> bool:
    axes = _names(group.attrs.get("I_axes"))
    return sum(name.lower().startswith("q") for name in axes) > 1 or _has(group, "Qx")


def _curves(group: h5py.Group, q_unit: str | None) -> Curves:
    axes = _names(group.attrs.get("I_axes"))
    q_name = next((name for name in axes if name.lower().startswith("q")), "Q")
    q_values = _dataset(group, q_name)
    signal = _dataset(group, _text(group.attrs.get("signal")) or "I")
    q, intensity = _values(q_values), _values(signal)
    deviation = _deviation(group, signal)
    sigma = None if deviation is None else _values(deviation)
    if sigma is not None and sigma.shape != intensity.shape:
        raise ReadError(
            f"holds intensities of shape {intensity.shape} but uncertainties of {sigma.shape} "
            f"in {group.name}"
        )
    place = axes.index(q_name) if q_name in axes and len(axes) == intensity.ndim else -1
    stated = None if q_unit else _stated_unit(q_values)
    return Curves(
        q=_q_rows(q, intensity, place, group.name),
        intensity=_frames(intensity, place),
        sigma=None if sigma is None else _frames(sigma, place),
        stated_q_unit=stated,
    )


def _frames(values: FloatArray, q_axis: int) -> FloatArray:
    """(frames, points): all other axes are flattened into one."""
    points_last = np.moveaxis(values, q_axis, -1)
    return np.ascontiguousarray(points_last).reshape(-1, points_last.shape[-1])


def _q_rows(q: FloatArray, intensity: FloatArray, q_axis: int, name: str) -> FloatArray:
    if q.shape == intensity.shape:
        rows = _frames(q, q_axis)
        shared = np.array_equal(rows, np.broadcast_to(rows[0], rows.shape), equal_nan=True)
        return rows[0] if shared else rows
    if q.shape == (intensity.shape[q_axis],):
        return q
    raise ReadError(
        f"holds q of shape {q.shape} for intensities of shape {intensity.shape} in {name}: "
        "expected as many q as points"
    )


def _deviation(group: h5py.Group, signal: h5py.Dataset) -> h5py.Dataset | None:
    """Uncertainties of the intensity: those that it names, else ``Idev``."""
    named = [_text(signal.attrs.get(key)) for key in ("uncertainties", "uncertainty")]
    for name in [*named, "Idev"]:
        if name and _has(group, name):
            return _dataset(group, name)
    return None


def _stated_unit(q: h5py.Dataset) -> str | None:
    stated = _text(q.attrs.get("units")) or _text(q.attrs.get("unit"))
    if stated and parse_q_unit(stated) is None:
        raise ReadError(f"gives q in {stated!r}: expected 1/nm or 1/angstrom; say which one it is")
    return stated or None


def _has(group: h5py.Group, name: str) -> bool:
    return group.get(name, getlink=True) is not None


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """Dataset of a group, or one elsewhere in this file that it links to."""
    if not _has(group, name):
        raise ReadError(f"has no dataset {name!r} in {group.name}")
    member = _resolved(group, name, _MOST_LINKS)
    if not isinstance(member, h5py.Dataset) or member.is_virtual or member.external:
        raise ReadError(
            f"refers in {group.name}/{name} to another file or to nothing: expected the numbers "
            "themselves"
        )
    return member


def _resolved(group: h5py.Group, path: str, links_left: int) -> h5py.Group | h5py.Dataset | None:
    """Member at a path, through hard and soft links alone; None where these do not lead."""
    member = group.file if path.startswith("/") else group
    for part in path.split("/"):
        if part in ("", "."):
            continue
        link = member.get(part, getlink=True) if isinstance(member, h5py.Group) else None
        if isinstance(link, h5py.HardLink):
            member = member[part]
        elif isinstance(link, h5py.SoftLink) and links_left > 0:
            member = _resolved(member, link.path, links_left - 1)
        else:
            return None
    return member


def _values(dataset: h5py.Dataset) -> FloatArray:
    """All numbers of a dataset, with at least one axis."""
    shape = dataset.shape or ()
    if not shape:
        raise ReadError(f"has a single number in {dataset.name}: expected an array")
    check_size(shape)
    if dataset.dtype.kind not in "fiu":
        raise ReadError(f"holds the type {dataset.dtype} in {dataset.name}: expected real numbers")
    filters = dataset.id.get_create_plist()
    numbers = [filters.get_filter(k)[0] for k in range(filters.get_nfilters())]
    if any(number >= _FIRST_PLUGIN_FILTER for number in numbers):
        # Its import registers the filters with the HDF5 library; few files need it.
        importlib.import_module("hdf5plugin")
    return np.asarray(dataset[...], dtype=np.float64)


def _text(value: object) -> str:
    """Attribute as text; writers give bytes, strings and arrays of either."""
    names = _as_strings(value)
    return names[0] if names else ""


def _names(value: object) -> list[str]:
    """Attribute as a list of names, also where they stand in one text as ``"Time,Q"``."""
    names = _as_strings(value)
    return names[0].replace(",", " ").split() if len(names) == 1 else names


def _as_strings(value: object) -> list[str]:
    if value is None:
        return []
    items = np.atleast_1d(np.asarray(value, dtype=object)).ravel()
    return [
        item.decode("utf-8", errors="replace") if isinstance(item, bytes) else str(item)
        for item in items
    ]
