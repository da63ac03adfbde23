"""Layout of a series of BioXTAS RAW: one dataset a frame, in the group ``profiles``.

RAW stores each profile as it shows it: scaled, offset and cut to the selected range of q. What it
was before that is in ``profiles/raw``, which is not read; neither are the subtracted profiles,
which RAW computes from these. The unit of q is not stored. A column behind all others, of q or of a
profile, is dQ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath

import h5py
import numpy as np
from numpy.typing import NDArray

from gpusaxs.errors import ReadError
from gpusaxs.io.curves import Curves, Extent, as_float64, check_size
from gpusaxs.io.hdf5_access import as_text, has, member, numbers, text
from gpusaxs.io.hdf5_notes import Notes
from gpusaxs.metadata import Metadata, stated

__all__ = ["FORMAT", "stack_at", "stacks"]

FORMAT = "raw_series"

_PROFILES = "profiles"
_LONGEST_HEADER = 2**20
_EXPOSURE_IN_SECONDS = "exposure time/frame (s)"


def stacks(file: h5py.File, notes: Notes) -> Sequence[_SharedQ | _OwnQ]:
    """Stacks of a series: one where its frames share q, else one a frame; none of other files."""
    if text(file, "file_type") != "RAW_Series":
        return []
    group = _profiles(file)
    names = _frame_names(group)
    if not names:
        raise ReadError("is a RAW series without profiles")
    if has(group, "q"):
        return [_shared(group, names)]
    return [_own(group, name) for name in names]


def stack_at(file: h5py.File, place: str, notes: Notes) -> _SharedQ | _OwnQ:
    """Stack at a path, of the group or of a frame in it."""
    group = _profiles(file)
    name = place.rpartition("/")[2]
    return _own(group, name) if name.isdecimal() else _shared(group, _frame_names(group))


@dataclass(frozen=True, slots=True, eq=False)
class _SharedQ:
    """Frames with the columns I and sigma, and one dataset of q."""

    group: h5py.Group
    names: Sequence[str]
    q: NDArray[np.float64]
    q_sigma: NDArray[np.float64] | None

    @property
    def place(self) -> str:
        """Path of the group."""
        return str(self.group.name)

    @property
    def extent(self) -> Extent:
        """How much it holds."""
        return Extent(len(self.names), len(self.q))

    def curves(self, frames: range, q_unit: str | None) -> Curves:
        """Those frames, counted within the stack."""
        points = len(self.q)
        check_size((len(frames), 2, points))
        values = np.empty((2, len(frames), points))
        said: list[Metadata] = []
        for row, name in enumerate(islice(self.names, frames.start, frames.stop)):
            profile = numbers(self.group, name)
            if profile.shape != (points, 2):
                raise ReadError(
                    f"holds a profile of shape {profile.shape} in {profile.name}: expected "
                    f"({points}, 2), the intensity and its uncertainty at each q"
                )
            values[:, row] = as_float64(profile[...].T)
            said.append(_said(profile))
        return Curves(self.q, values[0], values[1], self.q_sigma, metadata=said)


@dataclass(frozen=True, slots=True, eq=False)
class _OwnQ:
    """One frame with the columns q, I, sigma and perhaps dQ."""

    profile: h5py.Dataset

    @property
    def place(self) -> str:
        """Path of the profile."""
        return str(self.profile.name)

    @property
    def extent(self) -> Extent:
        """How much it holds."""
        return Extent(1, int(self.profile.shape[0]))

    def curves(self, frames: range, q_unit: str | None) -> Curves:
        """The frame, or none."""
        check_size(self.profile.shape)
        columns = as_float64(self.profile[...].T)
        rows = columns[:, np.newaxis][:, frames.start : frames.stop]
        said = _said(self.profile)
        q_sigma = columns[3] if len(columns) > 3 else None
        return Curves(columns[0], rows[1], rows[2], q_sigma, metadata=said)


def _profiles(file: h5py.File) -> h5py.Group:
    group = member(file, _PROFILES)
    if not isinstance(group, h5py.Group):
        raise ReadError("is a RAW series without profiles")
    return group


def _frame_names(group: h5py.Group) -> list[str]:
    """Numbers of the frames; other members are q, the averaged buffer and what was before."""
    # A name that is no UTF-8 comes as bytes.
    names = [name for name in group if isinstance(name, str) and name.isdecimal()]
    return sorted(names, key=int)


def _shared(group: h5py.Group, names: Sequence[str]) -> _SharedQ:
    q = numbers(group, "q")
    if q.ndim > 2:
        raise ReadError(f"holds q of shape {q.shape} in {q.name}: expected one q a point")
    check_size(q.shape)
    columns = as_float64(np.atleast_2d(q[...].T))
    return _SharedQ(group, names, columns[0], columns[1] if len(columns) > 1 else None)


def _own(group: h5py.Group, name: str) -> _OwnQ:
    profile = numbers(group, name)
    if profile.ndim != 2 or profile.shape[1] not in (3, 4):
        raise ReadError(
            f"holds a profile of shape {profile.shape} in {profile.name}: expected the columns "
            "q, intensity and uncertainty"
        )
    return _OwnQ(profile)


def _said(profile: h5py.Dataset) -> dict[str, str | float]:
    """What the parameters of a profile say that has a name known here."""
    header = _header(profile)
    name = header.get("filename")
    said = stated("title", as_text(PurePath(name).stem) if isinstance(name, str) else None)
    counters = _lower(header.get("imageHeader")) | _lower(header.get("counters"))
    said |= stated("time", counters.get("date"))
    number, _, unit = str(counters.get("exposure_time", "")).strip().partition(" ")
    said |= stated("exposure", counters.get(_EXPOSURE_IN_SECONDS), "s")
    return said | stated("exposure", number, unit)


def _lower(values: object) -> dict[str, object]:
    if not isinstance(values, dict):
        return {}
    return {str(name).lower(): value for name, value in values.items()}


def _header(profile: h5py.Dataset) -> Mapping[str, object]:
    spelled = text(profile, "parameters")
    if len(spelled) > _LONGEST_HEADER:
        return {}
    try:
        header = json.loads(spelled)
    except (ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}
