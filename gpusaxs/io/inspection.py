"""What a file holds, for a person who wonders: curves, units, metadata and problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gpusaxs.errors import ReadError
from gpusaxs.io.discover import Source, extent, read
from gpusaxs.metadata import Metadata
from gpusaxs.repair import repair
from gpusaxs.sample import CurveStatus, Sample

MOST_CURVES = 1000
"""Curves of one file that are read."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was seen in a file.

    Parameters
    ----------
    curves
        How many it holds.
    samples
        Those that were read, of the first `MOST_CURVES`.
    unreadable
        Why others of these could not be read, by their numbers.
    metadata
        What the file says of the first curve.
    varying
        Names of the metadata that differ among the curves.
    remarks
        Curves by what has to be said of them.
    """

    path: Path
    curves: int
    samples: Sequence[Sample] = field(repr=False)
    unreadable: Mapping[int, str]
    metadata: Metadata
    varying: Sequence[str]
    remarks: Mapping[CurveStatus, int]

    @property
    def formats(self) -> list[str]:
        """Names of the readers, without repetition."""
        return list(dict.fromkeys(sample.origin.format for sample in self.samples))

    @property
    def points(self) -> tuple[int, int]:
        """Points of the shortest and of the longest curve."""
        lengths = [sample.q.size for sample in self.samples]
        return min(lengths), max(lengths)

    @property
    def q_range(self) -> tuple[float, float]:
        """Smallest and largest positive q in 1/nm; NaN where there is none."""
        low, high = np.inf, -np.inf
        for sample in self.samples:
            q = sample.q[np.isfinite(sample.q) & (sample.q > 0)]
            if q.size:
                low, high = min(low, float(q.min())), max(high, float(q.max()))
        return (low, high) if low <= high else (np.nan, np.nan)

    @property
    def units(self) -> list[tuple[str, str]]:
        """Units in which the file gives q, and who said so."""
        found = ((s.origin.q_unit, s.origin.q_unit_from) for s in self.samples)
        return list(dict.fromkeys(found))

    @property
    def with_sigma(self) -> int:
        """Curves that have uncertainties."""
        return sum(sample.sigma is not None for sample in self.samples)


def inspect(
    path: str | Path, q_unit: str | None = None, *, follow_links: bool = False
) -> Inspection:
    """Look at a file: what it holds and what gpusaxs would make of it.

    Parameters
    ----------
    q_unit
        See `gpusaxs.io.read`.
    follow_links
        See `gpusaxs.io.Source`.

    Raises
    ------
    ReadError
        If no curve can be read.
    """
    source = Source(Path(path), Path(path).name, follow_links)
    held = extent(source).curves
    samples, unreadable = _read(source, q_unit, held)
    remarks = Counter(flag for sample in samples for flag in _status(sample))
    said = [sample.origin.metadata for sample in samples]
    names = dict.fromkeys(name for entry in said for name in entry)
    varying = [name for name in names if any(e.get(name) != said[0].get(name) for e in said)]
    return Inspection(source.path, held, samples, unreadable, said[0], varying, remarks)


def _read(
    source: Source, q_unit: str | None, held: int
) -> tuple[Sequence[Sample], Mapping[int, str]]:
    """Curves of a file; where one is in the way of the others, each by itself."""
    frames = range(min(held, MOST_CURVES)) if held > 1 else None
    try:
        return read(source, q_unit, frames), {}
    except ReadError:
        if frames is None:
            raise
    samples: list[Sample] = []
    unreadable: dict[int, str] = {}
    for frame in frames:
        try:
            samples += read(source, q_unit, range(frame, frame + 1))
        except ReadError as error:
            unreadable[frame] = str(error)
    if not samples:
        raise ReadError(unreadable[0])
    return samples, unreadable


def _status(sample: Sample) -> CurveStatus:
    """What has to be said of a curve before anything is computed."""
    nothing = np.full(sample.q.shape, np.nan)
    sigma = nothing if sample.sigma is None else sample.sigma
    return sample.status | repair(sample.q, sample.intensity, sigma)[3]
