"""HDF5 files: which layout one follows, and the curves or slices of it.

A layout is a module with a ``FORMAT``, ``stacks`` and ``stack_at`` (see
`gpusaxs.io.hdf5_stack.Layout`): it knows where one kind of file keeps its curves. The layouts are
asked in a fixed order, the most particular one first. Only what is in the file itself is read,
unless the caller allows more: links to other files, virtual datasets and external storage are
refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import h5py

from gpusaxs.errors import ReadError
from gpusaxs.io import nexus, nxcansas, raw_series
from gpusaxs.io.curves import Curves, Extent, FileIdentity, check_frames, to_samples
from gpusaxs.io.hdf5_access import check_declared, links_followed
from gpusaxs.io.hdf5_notes import Notes
from gpusaxs.io.hdf5_stack import Layout, Stack
from gpusaxs.sample import Sample

__all__ = ["FOLLOWS_LINKS", "NAME", "extent", "matches", "read"]

NAME = "hdf5"
FOLLOWS_LINKS = True

_MAGIC = b"\x89HDF\r\n\x1a\n"
_LAYOUTS = tuple(cast(Layout, module) for module in (raw_series, nxcansas, nexus))
_OPEN_ELSEWHERE = {
    "unable to lock file": "is open for writing elsewhere: try again when it is complete",
    # What a writer leaves in the file as long as it has not closed it.
    "already open for write": "is open for writing elsewhere, or its writer was stopped: try "
    "again when it is complete, or repair it with h5clear",
}
_VALUES_OF_A_SAMPLE = 100
_DAMAGES = (OSError, RuntimeError, KeyError, ValueError, TypeError)


def matches(head: bytes) -> bool:
    """Whether the file begins as HDF5."""
    return head.startswith(_MAGIC)


def read(
    path: Path,
    curve_id: str,
    q_unit: str | None = None,
    frames: range | None = None,
    *,
    follow_links: bool = False,
) -> list[Sample]:
    """One-dimensional curves of an HDF5 file, in the order of their paths in it."""
    if frames is None:
        with _opened(path, follow_links) as file:
            layout, stacks = _stacks(file, Notes())
            curves = [stack.curves(range(stack.extent.curves), q_unit) for stack in stacks]
        return to_samples(curves, FileIdentity(path, curve_id, layout.FORMAT, q_unit))
    layout, places, notes = _places(path, follow_links)
    held = sum(place.extent.curves for place in places)
    check_frames(frames, held)
    with _opened(path, follow_links) as file:
        curves = [
            _curves(layout.stack_at(file, place.path, notes), place, part, q_unit)
            for place, part in _parts(places, frames)
        ]
    identity = FileIdentity(path, curve_id, layout.FORMAT, q_unit)
    return to_samples(curves, identity, frames.start, held)


def extent(path: Path, *, follow_links: bool = False) -> Extent:
    """How many curves the file holds, how long they are and how they are chunked."""
    extents = [place.extent for place in _places(path, follow_links)[1]]
    return Extent(
        sum(extent.curves for extent in extents),
        max(extent.points for extent in extents),
        max(extent.together for extent in extents),
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """A stack of a file, by its path, and how much it holds."""

    path: str
    extent: Extent


def _places(path: Path, follow_links: bool) -> tuple[Layout, tuple[_Place, ...], Notes]:
    """Layout of a file, its stacks in the order of their paths, and what is said of them."""
    state = os.stat(path)
    return _places_in(path, follow_links, state.st_ino, state.st_size, state.st_mtime_ns)


# Looking through all groups takes about 1 ms for each: one slice after another would look through
# a file of ten thousand groups again and again.
@lru_cache(maxsize=16)
def _places_in(
    path: Path, follow_links: bool, *_state: int
) -> tuple[Layout, tuple[_Place, ...], Notes]:
    """Stacks of a file as long as its inode, size and time of change are the same."""
    with _opened(path, follow_links) as file:
        notes = Notes()
        layout, stacks = _stacks(file, notes)
        return layout, tuple(_Place(stack.place, stack.extent) for stack in stacks), notes


def _stacks(file: h5py.File, notes: Notes) -> tuple[Layout, Sequence[Stack]]:
    """Stacks of the first layout that knows the file."""
    for layout in _LAYOUTS:
        stacks = layout.stacks(file, notes)
        if stacks:
            extents = [stack.extent for stack in stacks]
            # A curve is more than its numbers when it is a sample.
            values = sum(held.curves * (held.points + _VALUES_OF_A_SAMPLE) for held in extents)
            check_declared(values, file)
            return layout, stacks
    raise ReadError(
        "is an HDF5 file without canSAS data, NXdata or a RAW series: expected a SASdata, or an "
        "NXdata with an axis q; datasets that no class describes are not guessed at"
    )


def _parts(places: Sequence[_Place], frames: range) -> Iterator[tuple[_Place, range]]:
    """Stacks that hold some of the frames, each with its part, counted within it."""
    begin = 0
    for place in places:
        held = place.extent.curves
        start, stop = max(frames.start - begin, 0), min(frames.stop - begin, held)
        if start < stop:
            yield place, range(start, stop)
        begin += held


def _curves(stack: Stack, place: _Place, frames: range, q_unit: str | None) -> Curves:
    if stack.extent != place.extent:
        raise ReadError(f"has changed in {place.path} while it was read")
    return stack.curves(frames, q_unit)


@contextmanager
def _opened(path: Path, follow_links: bool) -> Iterator[h5py.File]:
    """File whose damages, wherever they show themselves, become reasons."""
    try:
        with h5py.File(path, "r") as file, links_followed(follow_links):
            yield file
    except _DAMAGES as error:
        for sign, reason in _OPEN_ELSEWHERE.items():
            if sign in str(error):
                raise ReadError(reason) from error
        raise ReadError(f"is a damaged HDF5 file, or cut off: {error}") from error
