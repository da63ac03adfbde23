"""From the columns of a file, or of a slice of it, to samples: unit of q, ids, origin, status."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gpusaxs.errors import ReadError
from gpusaxs.io.resolution import resolution_of
from gpusaxs.metadata import Metadata
from gpusaxs.sample import CurveStatus, Origin, Sample
from gpusaxs.units import TO_INVERSE_NM, QUnit, QUnitSource, resolve_q_unit

FloatArray = NDArray[np.float64]

MOST_VALUES = 2**30
"""The largest array that a reader takes into memory: 8 GiB of float64."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a file holds, known without reading its numbers.

    Parameters
    ----------
    curves
        How many curves.
    points
        Points of the longest; an estimate where the file holds text.
    together
        Frames that are stored in one chunk: slices that begin at its multiples read nothing
        twice. In a file of several groups, those of the largest chunk.
    """

    curves: int
    points: int
    together: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Curves of a file, as read: all of a group of frames that belong together, or a slice.

    Parameters
    ----------
    q : (points,) or (frames, points) float64
        In the unit of the file; one row where all frames share it.
    intensity : (frames, points) float64
    sigma : (frames, points) float64, optional
    q_sigma : (points,) or (frames, points) float64, optional
        Standard deviation of q in its unit, where the file says that it is one.
    stated_q_unit
        What the file says about the unit of q, if it says anything.
    likely_q_unit
        A better guess than the numbers allow, where the file gives a hint.
    first_q : (points,) float64, optional
        q of the group's first frame, where that is not the first frame here.
    metadata
        What the file says of all these curves; or one entry a curve.
    status
        A remark on how they were read.
    """

    q: FloatArray
    intensity: FloatArray
    sigma: FloatArray | None = None
    q_sigma: FloatArray | None = None
    stated_q_unit: str | None = None
    likely_q_unit: QUnit | None = None
    first_q: FloatArray | None = None
    metadata: Metadata | Sequence[Metadata] = field(default_factory=dict)
    status: CurveStatus = CurveStatus.OK

    @property
    def telling_q(self) -> FloatArray:
        """The q from which the unit is guessed: the same for every slice of a group."""
        if self.first_q is not None:
            return self.first_q
        return self.q if self.q.ndim == 1 else self.q[0]


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What the samples of one file have in common."""

    path: Path
    curve_id: str
    format: str
    q_unit: str | None


def to_samples(
    groups: Sequence[Curves], file: FileIdentity, first: int = 0, of: int | None = None
) -> list[Sample]:
    """Samples with q in 1/nm; ids are ``id#frame`` where the file holds several curves.

    Frames of one group share one q array, their intensities are rows of one array.

    Parameters
    ----------
    groups
        Curves that follow each other in the file.
    first
        The first one's number in the file.
    of
        How many curves the file holds, where these are not all.
    """
    samples: list[Sample] = []
    several = (sum(len(group.intensity) for group in groups) if of is None else of) > 1
    source = str(file.path)
    for group in groups:
        unit, unit_from = _q_unit(group, file)
        # What no number can hold becomes infinite; such points, and NaN, are dropped later on.
        with np.errstate(over="ignore", invalid="ignore"):
            q = group.q if unit == "1/nm" else group.q * TO_INVERSE_NM[unit]
            metadata = _with_resolution(group, q, TO_INVERSE_NM[unit])
        status = group.status
        if unit_from == "guess":
            status |= CurveStatus.Q_UNIT_GUESSED
        rows = zip(
            repeat(q) if q.ndim == 1 else q,
            group.intensity,
            repeat(None) if group.sigma is None else group.sigma,
            repeat(metadata) if isinstance(metadata, Mapping) else metadata,
            strict=False,
        )
        for frame, (own_q, intensity, sigma, said) in enumerate(rows, first + len(samples)):
            samples.append(
                Sample(
                    id=f"{file.curve_id}#{frame}" if several else file.curve_id,
                    q=own_q,
                    intensity=intensity,
                    sigma=sigma,
                    origin=Origin(source, frame, unit, unit_from, file.format, said),
                    status=status,
                )
            )
    return samples


def as_float64(values: ArrayLike) -> FloatArray:
    """Numbers as contiguous float64: what is too large becomes infinite, without a warning."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(values, dtype=np.float64)


def shared_row(q: FloatArray) -> FloatArray:
    """The one q of all frames where they have the same, bit for bit; else all rows of q.

    Bits and not values, or the sign of a zero would depend on the frames read with it.
    """
    bits = q.view(np.uint64)
    return q[0].copy() if bool((bits == bits[0]).all()) else q


def check_frames(frames: range, curves: int) -> None:
    """Refuse frames that a file does not hold."""
    if frames.stop > curves:
        raise ReadError(
            f"holds {curves} curves, expected frames {frames.start} to {frames.stop - 1}: "
            "the file has changed"
        )


def check_points(shape: tuple[int, ...]) -> None:
    """Refuse an array without points."""
    if any(length <= 0 for length in shape):
        raise ReadError(f"holds no points: its array has the shape {shape}")


def check_size(shape: tuple[int, ...]) -> None:
    """Refuse an array that no memory would hold."""
    if math.prod(shape) > MOST_VALUES:
        raise ReadError(
            f"declares an array of shape {shape}: expected at most {MOST_VALUES:,} values; "
            "split it into several files"
        )


def _with_resolution(
    group: Curves, q: FloatArray, to_inverse_nm: float
) -> Metadata | Sequence[Metadata]:
    """What is said of curves, with what their standard deviations of q say; q is in 1/nm."""
    if group.q_sigma is None:
        return group.metadata
    curves = len(group.intensity)
    found = resolution_of(q, group.q_sigma * to_inverse_nm)
    said = [group.metadata] * curves if isinstance(group.metadata, Mapping) else group.metadata
    rows = found * curves if len(found) == 1 else found
    # What the file says in words goes before.
    return [{**entry, **known} for entry, known in zip(rows, said, strict=True)]


def _q_unit(group: Curves, file: FileIdentity) -> tuple[QUnit, QUnitSource]:
    unit, unit_from = resolve_q_unit(file.q_unit, group.stated_q_unit, group.telling_q)
    if unit_from == "guess" and group.likely_q_unit is not None:
        return group.likely_q_unit, unit_from
    return unit, unit_from
