"""How the curves of files are cut into blocks.

A plan depends on the listing, the sizes and the content of large files alone, so a run that goes
on later cuts the same blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gpusaxs.backends import BLOCK_POINTS
from gpusaxs.errors import ReadError
from gpusaxs.io import Extent, Source, extent

# Beside its points a curve has a row of peaks, so a block of tiny curves is bounded as well.
_LEAST_POINTS = 256


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file as it was when the run began.

    Parameters
    ----------
    id
        Of its curve, or the first part of the ids of its curves.
    path
        Absolute.
    size, mtime_ns
        Bytes, and time of the last change in ns; -1 where the system does not say.
    follow_links
        See `gpusaxs.io.Source`. Runs never do: they vouch for what is in the file itself.
    """

    id: str
    path: str
    size: int
    mtime_ns: int
    follow_links: bool = False

    @property
    def source(self) -> Source:
        """The file as a reader takes it."""
        return Source(Path(self.path), self.id, self.follow_links)


class Position(NamedTuple):
    """A place between curves: the number of a file, and of a frame in it."""

    file: int
    frame: int


@dataclass(frozen=True, slots=True)
class Unit:
    """What a block takes from one file.

    Parameters
    ----------
    file
        Its number in the listing.
    curves
        How many curves it takes, or rows that say why there are none.
    frames
        Those that it takes of a file of several curves; None for the curve of another.
    begins, ends
        Whether the file is begun, and brought to its end, with it.
    problem
        Why the file cannot be read at all.
    """

    file: int
    curves: int
    frames: range | None = None
    begins: bool = True
    ends: bool = True
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """Curves that are read, processed and written together.

    Parameters
    ----------
    number
        Its place; also that of its parts in the run directory.
    start, stop
        Its first curve, and the one behind its last.
    share
        Bytes of the input files that it stands for, to tell how far a run has come.
    """

    number: int
    start: Position
    stop: Position
    units: tuple[Unit, ...]
    share: int

    @property
    def curves(self) -> int:
        """Number of curves, and of files that cannot be read."""
        return sum(unit.curves for unit in self.units)


@dataclass(frozen=True, slots=True)
class BlockLimits:
    """How large a block may be.

    Parameters
    ----------
    curves
        So many exactly, where they are given.
    points
        Else as many curves as have so many points, padded to the longest; a slice of a stack
        then begins at a chunk of its file where it can.
    """

    curves: int | None = None
    points: int = BLOCK_POINTS

    def room(self, curves: int, longest: int) -> int:
        """Curves that find room beside `curves` where the longest has so many points."""
        if self.curves is not None:
            return self.curves - curves
        within = self.points // max(longest, _LEAST_POINTS)
        return max(within, 1 if curves == 0 else 0) - curves


@dataclass(slots=True)
class Planner:
    """Cuts files into blocks, in order, and opens none before it is needed.

    Parameters
    ----------
    done
        Start and stop of the blocks that need not be planned again, by number.
    limit
        Curves after which it ends.
    """

    files: Sequence[ListedFile]
    limits: BlockLimits
    done: Mapping[int, tuple[Position, Position, int]] = field(default_factory=dict)
    limit: int | None = None
    _known: tuple[int, Extent | str] | None = None

    def blocks(self) -> Iterator[Block]:
        """Plan one block after another."""
        position, number = Position(0, 0), 0
        left = float("inf") if self.limit is None else self.limit
        while position.file < len(self.files) and left > 0:
            if number in self.done:
                _, position, curves = self.done[number]
            else:
                block = self._block(number, position, left)
                yield block
                position, curves = block.stop, block.curves
            left -= curves
            number += 1

    def replay(self, number: int) -> Block:
        """Return a block that is done as it was planned."""
        start, stop, curves = self.done[number]
        block = self._block(number, start, curves, stop)
        if block.stop != stop:
            raise ReadError(f"the files of block {number} hold other curves than before")
        return block

    def _block(
        self, number: int, start: Position, most: float, until: Position | None = None
    ) -> Block:
        units: list[Unit] = []
        curves = longest = share = 0
        file, frame = start
        while file < len(self.files) and curves < most:
            known = self._extent(file)
            held, points = (1, 1) if isinstance(known, str) else (known.curves, known.points)
            longest = max(longest, points)
            if until is None:
                taken = self._taken(known, frame, curves, longest)
            else:
                taken = (until.frame if file == until.file else held) - frame
            taken = int(min(taken, most - curves))
            if taken <= 0:
                break
            several = isinstance(known, Extent) and known.curves > 1
            units.append(
                Unit(
                    file,
                    taken,
                    range(frame, frame + taken) if several else None,
                    begins=frame == 0,
                    ends=frame + taken == held,
                    problem=known if isinstance(known, str) else "",
                )
            )
            share += max(self.files[file].size, 0) * taken // held
            curves += taken
            frame += taken
            if frame < held:
                break
            file, frame = file + 1, 0
        return Block(number, start, Position(file, frame), tuple(units), share)

    def _taken(self, known: Extent | str, frame: int, curves: int, longest: int) -> int:
        """Curves of a file, from a frame on, that a block takes which holds some already."""
        room = self.limits.room(curves, longest)
        if isinstance(known, str) or room <= 0:
            return min(room, 1)
        left = known.curves - frame
        if left <= room:
            return left
        if self.limits.curves is not None:
            return room
        if curves:
            # The slice begins a block of its own, at the beginning of a chunk.
            return 0
        stop = frame + room
        aligned = stop - stop % known.together
        return (aligned if aligned > frame else stop) - frame

    def _extent(self, file: int) -> Extent | str:
        """What a file holds, or why it cannot be read; remembered for the file at hand."""
        remembered = self._known
        if remembered is not None and remembered[0] == file:
            return remembered[1]
        listed = self.files[file]
        known: Extent | str
        try:
            known = extent(listed.source, listed.size)
        except ReadError as error:
            known = str(error)
        self._known = (file, known)
        return known
