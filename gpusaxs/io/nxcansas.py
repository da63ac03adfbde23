"""NXcanSAS in HDF5: single curves and stacks of frames, read and written.

Only what is in the file itself is read: links to other files, virtual datasets and external
storage are refused. Writing is in `gpusaxs.io.nxcansas_writer`.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from gpusaxs.errors import ReadError
from gpusaxs.io.curves import (
    Curves,
    Extent,
    FileIdentity,
    check_frames,
    check_points,
    check_size,
    shared_row,
    to_samples,
)
from gpusaxs.io.nxcansas_writer import StackWriter, write_stack
from gpusaxs.sample import Sample
from gpusaxs.units import parse_q_unit

__all__ = ["NAME", "StackWriter", "extent", "matches", "read", "write_stack"]

FloatArray = NDArray[np.float64]

NAME = "nxcansas"

_MAGIC = b"\x89HDF\r\n\x1a\n"
_FIRST_PLUGIN_FILTER = 256
_MOST_LINKS = 16
_OPEN_ELSEWHERE = {
    "unable to lock file": "is open for writing elsewhere: try again when it is complete",
    # What a writer leaves in the file as long as it has not closed it.
    "already open for write": "is open for writing elsewhere, or its writer was stopped: try "
    "again when it is complete, or repair it with h5clear",
}
_DAMAGES = (OSError, RuntimeError, KeyError, ValueError, TypeError)


def matches(head: bytes) -> bool:
    """Whether the file begins as HDF5."""
    return head.startswith(_MAGIC)


def read(
    path: Path, curve_id: str, q_unit: str | None = None, frames: range | None = None
) -> list[Sample]:
    """One-dimensional curves of an NXcanSAS file, in the order of their paths in it."""
    identity = FileIdentity(path, curve_id, NAME, q_unit)
    if frames is None:
        with _opened(path) as file:
            stacks = [_stack(group) for group in _data_groups(file)]
            curves = [stack.curves(range(stack.extent.curves), q_unit) for stack in stacks]
        return to_samples(curves, identity)
    places = _places(path)
    held = sum(place.extent.curves for place in places)
    check_frames(frames, held)
    with _opened(path) as file:
        curves = [_curves(file, place, part, q_unit) for place, part in _parts(places, frames)]
    return to_samples(curves, identity, frames.start, held)


def extent(path: Path) -> Extent:
    """How many curves the file holds, how long they are and how they are chunked."""
    extents = [place.extent for place in _places(path)]
    return Extent(
        sum(extent.curves for extent in extents),
        max(extent.points for extent in extents),
        max(extent.together for extent in extents),
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """A group of curves in a file, by its path, and how much it holds."""

    group: str
    extent: Extent


def _places(path: Path) -> tuple[_Place, ...]:
    """Groups of a file in the order of their paths."""
    state = os.stat(path)
    return _places_in(path, state.st_ino, state.st_size, state.st_mtime_ns)


# Looking through all groups takes about 1 ms for each: one slice after another would look through
# a file of ten thousand groups again and again.
@lru_cache(maxsize=16)
def _places_in(path: Path, *_state: int) -> tuple[_Place, ...]:
    """Groups of a file as long as its inode, size and time of change are the same."""
    with _opened(path) as file:
        return tuple(_Place(group.name, _stack(group).extent) for group in _data_groups(file))


def _parts(places: Sequence[_Place], frames: range) -> Iterator[tuple[_Place, range]]:
    """Groups that hold some of the frames, each with its part, counted within it."""
    begin = 0
    for place in places:
        held = place.extent.curves
        start, stop = max(frames.start - begin, 0), min(frames.stop - begin, held)
        if start < stop:
            yield place, range(start, stop)
        begin += held


def _curves(file: h5py.File, place: _Place, frames: range, q_unit: str | None) -> Curves:
    stack = _stack(file[place.group])
    if stack.extent != place.extent:
        raise ReadError(f"has changed in {place.group} while it was read")
    return stack.curves(frames, q_unit)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """File whose damages, wherever they show themselves, become reasons."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except _DAMAGES as error:
        for sign, reason in _OPEN_ELSEWHERE.items():
            if sign in str(error):
                raise ReadError(reason) from error
        raise ReadError(f"is a damaged HDF5 file, or cut off: {error}") from error


@dataclass(frozen=True, slots=True, eq=False)
class _Stack:
    """The datasets of one SASdata, which fit each other; a single curve is a stack of one.

    Parameters
    ----------
    q_axis
        The axis of the points; the frames are counted through all others, the last one fastest.
    """

    q: h5py.Dataset
    intensity: h5py.Dataset
    sigma: h5py.Dataset | None
    q_axis: int

    @property
    def points(self) -> int:
        """Points of a frame."""
        return int(self.intensity.shape[self.q_axis])

    @property
    def lengths(self) -> tuple[int, ...]:
        """Lengths of the axes that are not q's."""
        return self._without_q(self.intensity.shape)

    @property
    def extent(self) -> Extent:
        """How much it holds."""
        return Extent(math.prod(self.lengths), self.points, self._together())

    def _together(self) -> int:
        """Frames between two places at which a slice cuts no chunk."""
        if self.intensity.chunks is None:
            return 1
        lengths, sides = self.lengths, self._without_q(self.intensity.chunks)
        for axis, (side, length) in enumerate(zip(sides, lengths, strict=True)):
            if side > 1 and length > 1:
                # Where the last chunk along an inner axis is not full, the next index of the
                # axis before begins elsewhere in its chunk.
                cut = min(side, length) if axis == 0 or length % side == 0 else length
                return cut * math.prod(lengths[axis + 1 :])
        return 1

    def _without_q(self, axes: tuple[int, ...]) -> tuple[int, ...]:
        return axes[: self.q_axis] + axes[self.q_axis + 1 :]

    def curves(self, frames: range, q_unit: str | None) -> Curves:
        """Those frames, counted within the stack."""
        check_size((len(frames), self.points))
        stated = None if q_unit else _stated_unit(self.q)
        own_q = self.q.shape == self.intensity.shape
        needs_first = own_q and frames.start > 0 and not (q_unit or stated)
        return Curves(
            q=shared_row(self._rows(self.q, frames)) if own_q else self._shared_q(),
            intensity=self._rows(self.intensity, frames),
            sigma=None if self.sigma is None else self._rows(self.sigma, frames),
            stated_q_unit=stated,
            first_q=self._rows(self.q, range(1))[0] if needs_first else None,
        )

    def _shared_q(self) -> FloatArray:
        return np.asarray(self.q[...], dtype=np.float64)

    def _rows(self, dataset: h5py.Dataset, frames: range) -> FloatArray:
        """(frames, points) of a dataset that has the intensity's shape."""
        parts = []
        for box in _boxes(frames.start, frames.stop, self.lengths):
            values = dataset[(*box[: self.q_axis], slice(None), *box[self.q_axis :])]
            parts.append(np.moveaxis(values, self.q_axis, -1).reshape(-1, self.points))
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return np.ascontiguousarray(rows, dtype=np.float64)


def _boxes(start: int, stop: int, lengths: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    """Boxes of an array that make up its elements ``start`` to ``stop``, in C order."""
    if not lengths:
        yield ()
        return
    inner = math.prod(lengths[1:])
    while start < stop:
        index, offset = divmod(start, inner)
        whole = (stop - start) // inner if offset == 0 else 0
        if whole:
            yield (slice(index, index + whole), *(slice(None) for _ in lengths[1:]))
            start += whole * inner
        else:
            within = min(stop - start, inner - offset)
            for box in _boxes(offset, offset + within, lengths[1:]):
                yield (slice(index, index + 1), *box)
            start += within


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


def _stack(group: h5py.Group) -> _Stack:
    axes = _names(group.attrs.get("I_axes"))
    q_name = next((name for name in axes if name.lower().startswith("q")), "Q")
    q = _numbers(group, q_name)
    intensity = _numbers(group, _text(group.attrs.get("signal")) or "I")
    sigma = _deviation(group, intensity)
    if sigma is not None and sigma.shape != intensity.shape:
        raise ReadError(
            f"holds intensities of shape {intensity.shape} but uncertainties of {sigma.shape} "
            f"in {group.name}"
        )
    stated = q_name in axes and len(axes) == intensity.ndim
    q_axis = axes.index(q_name) if stated else intensity.ndim - 1
    if q.shape not in (intensity.shape, (intensity.shape[q_axis],)):
        raise ReadError(
            f"holds q of shape {q.shape} for intensities of shape {intensity.shape} in "
            f"{group.name}: expected as many q as points"
        )
    return _Stack(q, intensity, sigma, q_axis)


def _deviation(group: h5py.Group, signal: h5py.Dataset) -> h5py.Dataset | None:
    """Uncertainties of the intensity: those that it names, else ``Idev``."""
    named = [_text(signal.attrs.get(key)) for key in ("uncertainties", "uncertainty")]
    for name in [*named, "Idev"]:
        if name and _has(group, name):
            return _numbers(group, name)
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


def _numbers(group: h5py.Group, name: str) -> h5py.Dataset:
    """Dataset of real numbers with at least one axis that can be read here."""
    dataset = _dataset(group, name)
    if not dataset.shape:
        raise ReadError(f"has a single number in {dataset.name}: expected an array")
    check_points(dataset.shape)
    if dataset.dtype.kind not in "fiu":
        raise ReadError(f"holds the type {dataset.dtype} in {dataset.name}: expected real numbers")
    _load_filters(dataset)
    return dataset


def _load_filters(dataset: h5py.Dataset) -> None:
    """Have the filters at hand that a dataset is compressed with."""
    pipeline = dataset.id.get_create_plist()
    numbers = [pipeline.get_filter(k)[0] for k in range(pipeline.get_nfilters())]
    if any(number >= _FIRST_PLUGIN_FILTER for number in numbers):
        # Its import registers the filters with the HDF5 library; few files need it.
        importlib.import_module("hdf5plugin")
    for number in numbers:
        if not h5py.h5z.filter_avail(number):
            raise ReadError(
                f"is compressed with the HDF5 filter {number}, which is not known here: "
                "compress it with gzip, bitshuffle or Blosc instead"
            )


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
