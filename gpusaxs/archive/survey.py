"""What the files of an archive hold, and a sample of their curves that is spread over all."""

from __future__ import annotations

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gpusaxs.archive.fingerprints import SMALL, sha256
from gpusaxs.archive.plan import BlockLimits, ListedFile
from gpusaxs.archive.reading import read_frames
from gpusaxs.backends import BLOCK_POINTS
from gpusaxs.errors import ReadError
from gpusaxs.io import Extent, extent
from gpusaxs.sample import Sample
from gpusaxs.tables import Unread

Clock = Callable[[], float]
Entries = Sequence[Sample | Unread]

# The sample has fewer curves where they are long, but so many at least.
_SAMPLE_POINTS = 4 * BLOCK_POINTS
_FEWEST = 8
# A stack is read at its beginning, its middle and its end.
_SLICES = 3


@dataclass(slots=True)
class Group:
    """Files that share a scale: what they hold, and what was found in a sample of them.

    Parameters
    ----------
    curves, points
        Of all files; points as the extents say.
    longest, shortest
        Points of their longest and shortest curves, as the extents say.
    entries
        What was read, or not, of the sample.
    announced
        Points of the sample, as the extents say.
    stretch
        Largest ratio of a curve's points to what its extent says.
    reading
        Seconds to read the curves of the sample, as parts of blocks.
    """

    curves: int = 0
    points: float = 0.0
    longest: int = 0
    shortest: int = 0
    entries: list[Sample | Unread] = field(default_factory=list)
    announced: float = 0.0
    stretch: float = 0.0
    reading: float = 0.0

    def hold(self, known: Extent) -> None:
        """Count a file."""
        self.curves += known.curves
        self.points += known.curves * known.points
        self.longest = max(self.longest, known.points)
        self.shortest = min(self.shortest or known.points, known.points)

    def draw(self, known: Extent, entries: Entries, seconds: float) -> None:
        """Take curves of a file into the sample."""
        self.entries += entries
        self.announced += len(entries) * known.points
        self.reading += seconds
        for entry in entries:
            if isinstance(entry, Sample):
                self.stretch = max(self.stretch, entry.q.size / known.points)

    @property
    def points_factor(self) -> float:
        """How often the points of the sample go into those of all files."""
        return self.points / self.announced

    @property
    def curves_factor(self) -> float:
        """How often the curves of the sample go into those of all files."""
        return self.curves / len(self.entries)


class Survey:
    """The files of an archive, what each holds, and a sample of them.

    Attributes
    ----------
    groups
        Those of which the sample has curves; the others are counted with the largest.
    unopened
        Files that hold nothing to read, with the reasons.
    seconds
        What it took to look at all files.
    hashing
        What it will take to hash the large ones.
    """

    def __init__(self, files: Sequence[ListedFile], limits: BlockLimits, clock: Clock) -> None:
        self.files = files
        self.limits = limits
        self.unopened: list[tuple[str, str]] = []
        self._clock = clock
        began = clock()
        self._extents = [self._extent(file) for file in files]
        self.seconds = clock() - began
        self.groups: list[Group] = []
        self.hashing = self._hashing()

    @property
    def curves(self) -> int:
        """Curves, and a row for each file that cannot be read."""
        return sum(1 if known is None else known.curves for known in self._extents)

    @property
    def longest(self) -> float:
        """Points of the longest curve."""
        return max((group.longest * group.stretch for group in self.groups), default=1.0)

    @property
    def blocks(self) -> int:
        """About how many blocks it will be cut into."""
        if self.limits.curves is not None:
            return -(-self.curves // self.limits.curves)
        found = sum(
            group.curves / max(1, self.limits.room(0, math.ceil(group.points / group.curves)))
            for group in self.groups
        )
        return max(1, math.ceil(found))

    def largest_block(self) -> tuple[float, int]:
        """Points, padding included, and curves that no block exceeds."""
        if not self.groups:
            return 1.0, min(self.curves, self.limits.room(0, 1))
        if self.limits.curves is not None:
            curves = min(self.curves, self.limits.curves)
            return curves * self.longest, curves
        stretch = max(group.stretch for group in self.groups)
        shortest = min(group.shortest for group in self.groups)
        curves = min(self.curves, self.limits.room(0, shortest))
        points = min(self.limits.points * stretch, curves * self.longest)
        return max(points, self.longest), curves

    def draw(self, q_unit: str | None, most: int) -> list[Group]:
        """Read a sample that is spread over all files."""
        readable = [number for number, known in enumerate(self._extents) if known is not None]
        extents = [known for known in self._extents if known is not None]
        shares = shares_of(extents, most)
        groups: defaultdict[tuple[str, bool], Group] = defaultdict(Group)
        keys = []
        for number, known in zip(readable, extents, strict=True):
            suffix = os.path.splitext(self.files[number].path)[1].lower()
            keys.append((suffix, known.curves > 1))
        warm = set()
        for key, number, known, share in zip(keys, readable, extents, shares, strict=True):
            if not share:
                continue
            slices = slices_of(known, share)
            if key not in warm:
                # The first file of a format has a kernel compiled, or a library loaded.
                read_frames(self.files[number], q_unit, slices[0])
                warm.add(key)
            entries, seconds = self._read(number, known, q_unit, slices)
            groups[key].draw(known, entries, seconds)
        other = max(groups, key=lambda key: groups[key].announced, default=None)
        for key, known in zip(keys, extents, strict=True):
            if other is not None:
                groups[key if key in groups else other].hold(known)
        self.groups = list(groups.values())
        return self.groups

    def _extent(self, file: ListedFile) -> Extent | None:
        try:
            return extent(file.source, file.size)
        except ReadError as error:
            self.unopened.append((file.id, str(error)))
            return None

    def _read(
        self, number: int, known: Extent, q_unit: str | None, slices: Sequence[range | None]
    ) -> tuple[list[Sample | Unread], float]:
        """Read slices of a file; return the seconds that they take as parts of blocks."""
        file = self.files[number]
        entries: list[Sample | Unread] = []
        seconds = 0.0
        for frames in slices:
            began = self._clock()
            found = read_frames(file, q_unit, frames)
            spent = self._clock() - began
            entries += found
            if frames is not None:
                spent *= self._share_of_chunks(known, len(frames))
            seconds += spent
        if 0 <= file.size <= SMALL:
            began = self._clock()
            sha256(file.path)
            seconds += (self._clock() - began) * len(entries) / known.curves
        return entries, seconds

    def _share_of_chunks(self, known: Extent, frames: int) -> float:
        """How much of the time of a slice its frames take where a whole block is read at once."""
        in_block = max(1, min(known.curves, self.limits.room(0, known.points)))
        chunks, chunks_of_block = -(-frames // known.together), -(-in_block // known.together)
        return min(1.0, chunks_of_block / in_block * frames / chunks)

    def _hashing(self) -> float:
        large = sum(file.size for file in self.files if file.size > SMALL)
        if not large:
            return 0.0
        piece = bytes(SMALL)
        began = self._clock()
        hashlib.sha256(piece).digest()
        return (self._clock() - began) * large / len(piece)


def shares_of(extents: Sequence[Extent], most: int) -> list[int]:
    """How many curves of each file to read: half of the sample goes by files, half by curves.

    So many small files do not hide behind a large stack, nor it behind them.
    """
    curves = np.array([known.curves for known in extents], np.int64)
    total = int(curves.sum())
    if not total:
        return []
    mean_points = sum(known.curves * known.points for known in extents) / total
    most = min(most, max(_FEWEST, int(_SAMPLE_POINTS / mean_points)))
    if total <= most:
        return [known.curves for known in extents]
    by_file = _spread(len(extents), min(most, max(2, most // 2)))
    shares = np.zeros(len(extents), np.int64)
    shares[by_file] = 1
    rest = most - by_file.size
    places = ((np.arange(rest) + 0.5) * total / max(rest, 1)).astype(np.int64)
    by_curve = np.searchsorted(np.cumsum(curves), places, side="right")
    shares += np.bincount(by_curve, minlength=len(extents))
    return list(map(int, np.minimum(shares, curves)))


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """Numbers below `count`, at most so many: the first, the last, and evenly between."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def slices_of(known: Extent, share: int) -> list[range | None]:
    """Frames of a file to read: a few slices of a stack, one where a slice costs as much as all."""
    if known.curves == 1:
        return [None]
    whole = share == known.curves or known.together >= known.curves
    pieces = 1 if whole else min(_SLICES, share)
    slices: list[range | None] = []
    for piece in range(pieces):
        length = share // pieces + (piece < share % pieces)
        start = round(piece * (known.curves - length) / max(1, pieces - 1))
        slices.append(range(start, start + length))
    return slices
