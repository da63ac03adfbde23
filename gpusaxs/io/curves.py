"""From the columns of a file to samples: the unit of q, ids, origin and status."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpusaxs.errors import ReadError
from gpusaxs.sample import CurveStatus, Origin, Sample
from gpusaxs.units import TO_INVERSE_NM, QUnit, QUnitSource, resolve_q_unit

FloatArray = NDArray[np.float64]

MOST_VALUES = 2**30
"""The largest array that a reader takes into memory: 8 GiB of float64."""


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """The curves of a file, as read.

    Parameters
    ----------
    q : (points,) or (frames, points) float64
        In the unit of the file; one row where all frames share it.
    intensity : (frames, points) float64
    sigma : (frames, points) float64, optional
    stated_q_unit
        What the file says about the unit of q, if it says anything.
    likely_q_unit
        A better guess than the numbers allow, where the file gives a hint.
    """

    q: FloatArray
    intensity: FloatArray
    sigma: FloatArray | None = None
    stated_q_unit: str | None = None
    likely_q_unit: QUnit | None = None


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What the samples of one file have in common."""

    path: Path
    curve_id: str
    format: str
    q_unit: str | None


def to_samples(groups: list[Curves], file: FileIdentity) -> list[Sample]:
    """Samples with q in 1/nm; ids are ``id#frame`` where a file holds several curves.

    Frames of one group share one q array, their intensities are rows of one array.
    """
    samples: list[Sample] = []
    several = sum(len(group.intensity) for group in groups) > 1
    for group in groups:
        unit, unit_from = _q_unit(group, file)
        q = group.q if unit == "1/nm" else group.q * TO_INVERSE_NM[unit]
        status = CurveStatus.Q_UNIT_GUESSED if unit_from == "guess" else CurveStatus.OK
        for row, intensity in enumerate(group.intensity):
            frame = len(samples)
            samples.append(
                Sample(
                    id=f"{file.curve_id}#{frame}" if several else file.curve_id,
                    q=q if q.ndim == 1 else q[row],
                    intensity=intensity,
                    sigma=None if group.sigma is None else group.sigma[row],
                    origin=Origin(str(file.path), frame, unit, unit_from, file.format),
                    status=status,
                )
            )
    return samples


def check_size(shape: tuple[int, ...]) -> None:
    """Refuse an array without points, and one that no memory would hold."""
    values = 1
    for length in shape:
        values *= length
    if values <= 0:
        raise ReadError(f"holds no points: its array has the shape {shape}")
    if values > MOST_VALUES:
        raise ReadError(
            f"declares an array of shape {shape}: expected at most {MOST_VALUES:,} values; "
            "split it into several files"
        )


def _q_unit(group: Curves, file: FileIdentity) -> tuple[QUnit, QUnitSource]:
    unit, unit_from = resolve_q_unit(file.q_unit, group.stated_q_unit, group.q)
    if unit_from == "guess" and group.likely_q_unit is not None:
        return group.likely_q_unit, unit_from
    return unit, unit_from
