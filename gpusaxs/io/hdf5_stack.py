"""Frames of one group of an HDF5 file, read by slices that follow its chunks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from gpusaxs.errors import ReadError
from gpusaxs.io.curves import Curves, Extent, as_float64, check_size, shared_row
from gpusaxs.io.hdf5_access import identity, indices, text
from gpusaxs.io.hdf5_notes import Notes
from gpusaxs.units import find_q_unit, parse_q_unit

FloatArray = NDArray[np.float64]

ANGLES = ("deg", "degree", "degrees", "rad", "radian", "radians", "2th_deg", "2th_rad", "°")
"""Units, in lower case, of what is an angle and not q."""

NO_UNITS = ("", "?", "none", "arbitrary", "a.u.")
"""What stands in the place of a unit, in lower case, where there is none."""


class Stack(Protocol):
    """Curves of an HDF5 file that belong together."""

    @property
    def place(self) -> str:
        """Path by which its layout finds it again."""

    @property
    def extent(self) -> Extent:
        """How much it holds."""

    def curves(self, frames: range, q_unit: str | None) -> Curves:
        """Those frames, counted within the stack; raises ReadError."""


class Layout(Protocol):
    """A module that finds the curves of one kind of HDF5 file: see `gpusaxs.io.hdf5`."""

    FORMAT: str

    def stacks(self, file: h5py.File, notes: Notes) -> Sequence[Stack]:
        """All stacks of a file, none where it is not of this layout; raises ReadError."""

    def stack_at(self, file: h5py.File, place: str, notes: Notes) -> Stack:
        """One of these stacks; raises ReadError."""


@dataclass(frozen=True, slots=True, eq=False)
class ArrayStack:
    """Datasets of a group, which fit each other; a single curve is a stack of one.

    Parameters
    ----------
    q_axis
        The axis of the points; the frames are counted through all others, the last one fastest.
    unit
        What the file says about the unit of q, if it says anything.
    q_sigma
        Standard deviations of q, in its unit and of its shape or that of the intensity.
    """

    group: h5py.Group
    q: h5py.Dataset
    intensity: h5py.Dataset
    sigma: h5py.Dataset | None
    q_axis: int
    unit: str | None
    notes: Notes
    q_sigma: h5py.Dataset | None = None

    @property
    def place(self) -> str:
        """Path of its group."""
        return str(self.group.name)

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
        stated = None if q_unit else self._stated_unit()
        own_q = self.q.shape == self.intensity.shape
        needs_first = own_q and frames.start > 0 and not (q_unit or stated)
        return Curves(
            q=self._of_q(self.q, frames),
            intensity=self._rows(self.intensity, frames),
            sigma=None if self.sigma is None else self._rows(self.sigma, frames),
            q_sigma=None if self.q_sigma is None else self._of_q(self.q_sigma, frames),
            stated_q_unit=stated,
            first_q=self._rows(self.q, range(1))[0] if needs_first else None,
            metadata=self.notes.of(self.group, frames, self.lengths),
        )

    def _stated_unit(self) -> str | None:
        if self.unit and parse_q_unit(self.unit) is None:
            raise ReadError(
                f"gives q in {self.unit!r}: expected 1/nm or 1/angstrom; say which one it is"
            )
        return self.unit

    def _of_q(self, dataset: h5py.Dataset, frames: range) -> FloatArray:
        """(points,) of a dataset where all frames share it, else (frames, points)."""
        if dataset.shape == self.intensity.shape:
            return shared_row(self._rows(dataset, frames))
        return as_float64(dataset[...])

    def _rows(self, dataset: h5py.Dataset, frames: range) -> FloatArray:
        """(frames, points) of a dataset that has the intensity's shape."""
        parts = []
        for box in _boxes(frames.start, frames.stop, self.lengths):
            values = dataset[(*box[: self.q_axis], slice(None), *box[self.q_axis :])]
            parts.append(np.moveaxis(values, self.q_axis, -1).reshape(-1, self.points))
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return as_float64(rows)


def checked_stack(
    group: h5py.Group,
    q: h5py.Dataset,
    intensity: h5py.Dataset,
    sigma: h5py.Dataset | None,
    q_axis: int,
    unit: str | None,
    notes: Notes,
) -> ArrayStack:
    """Stack of datasets, once they are known to fit each other.

    Raises
    ------
    ReadError
        If they do not.
    """
    if sigma is not None and sigma.shape != intensity.shape:
        raise ReadError(
            f"holds intensities of shape {intensity.shape} but uncertainties of {sigma.shape} "
            f"in {group.name}"
        )
    if q.shape not in (intensity.shape, (intensity.shape[q_axis],)):
        raise ReadError(
            f"holds q of shape {q.shape} for intensities of shape {intensity.shape} in "
            f"{group.name}: expected as many q as points"
        )
    return ArrayStack(group, q, intensity, sigma, q_axis, unit, notes)


def distinct(stacks: Sequence[ArrayStack]) -> list[ArrayStack]:
    """Stacks without those whose intensities are a dataset that was met before."""
    return list({identity(stack.intensity): stack for stack in reversed(stacks)}.values())[::-1]


def axis_of(
    group: h5py.Group,
    name: str,
    q: h5py.Dataset,
    intensity: h5py.Dataset,
    listed: Sequence[str],
) -> int:
    """Axis of the intensities that q counts.

    The one that the list of all axes or the indices of q name. Where neither does, or where it
    has another length than q, the one axis of q's length; the last one if several have it.

    Raises
    ------
    ReadError
        If two axes that both have q's length are named.
    """
    axes = intensity.ndim
    if q.ndim != 1:
        return list(listed).index(name) if name in listed and len(listed) == axes else axes - 1
    fitting = [axis for axis in range(axes) if intensity.shape[axis] == q.shape[0]]
    named = [list(listed).index(name)] if name in listed and len(listed) == axes else []
    named += indices(group, f"{name}_indices")[:1]
    chosen = {axis for axis in named if axis in fitting}
    if len(chosen) > 1:
        raise ReadError(
            f"says in {group.name} that q is axis {min(chosen)} and that it is axis "
            f"{max(chosen)}: expected one of them"
        )
    return chosen.pop() if chosen else (fitting or [axes - 1])[-1]


def stated_unit(q: h5py.Dataset) -> str | None:
    """Unit that an axis of q gives itself, as it is spelled or as its long name has it.

    An angle is refused even where a caller knows better: it is no q in any unit.

    Raises
    ------
    ReadError
        If the axis is an angle.
    """
    spelled = text(q, "units", "unit")
    if spelled.lower() in ANGLES:
        raise ReadError(
            f"gives q in {spelled!r} in {q.name}: that is an angle; convert it to q first"
        )
    if spelled.lower() in NO_UNITS:
        return find_q_unit(text(q, "long_name")) or None
    return spelled


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
