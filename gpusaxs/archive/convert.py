"""Put the curves of files into one NXcanSAS file of stacks, block by block."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpusaxs.archive.fingerprints import stat
from gpusaxs.archive.plan import Block, BlockLimits, ListedFile, Planner
from gpusaxs.archive.reading import read_unit
from gpusaxs.errors import OutputInTheWayError
from gpusaxs.io import find_files
from gpusaxs.io.nxcansas_writer import Compression, Stack, StacksWriter, frames_of_a_chunk
from gpusaxs.sample import CurveStatus, Origin, Sample
from gpusaxs.tables import Unread
from gpusaxs.units import check_q_unit

FloatArray = NDArray[np.float64]

MOST_STACKS = 1000
"""Stacks of one q each: a reader looks at all of them, which takes some milliseconds each."""

MOST_SINGLE = 100
"""Curves with a q that no other one has: so many have a stack each; more of them share stacks in
which every frame has its own q."""

_BLOCK_POINTS = 500_000
_MOST_HELD = 2**26
_BESIDE_BYTES = 1000
_READERS = 2
_AHEAD = 3


@dataclass(slots=True)
class Converted:
    """What became of the curves.

    Attributes
    ----------
    files, size
        Input files, and their bytes.
    curves
        Written ones.
    stacks
        In how many stacks; no file was written where there are none.
    remarks
        Curves by the remarks on how they were read.
    unread
        Curves that could not be read, and files none of whose curves could.
    """

    files: int
    size: int
    curves: int = 0
    stacks: int = 0
    remarks: Counter[CurveStatus] = field(default_factory=Counter)
    unread: list[Unread] = field(default_factory=list)


def convert(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    q_unit: str | None = None,
    dtype: DTypeLike = np.float64,
    compression: Compression | None = "gzip",
    follow_links: bool = False,
    overwrite: bool = False,
    progress: Callable[[float, int], None] = lambda share, curves: None,
) -> Converted:
    """Write the curves of files into one NXcanSAS file of chunked stacks.

    Curves with the same q, to the last bit, share a stack, in the order of the inputs; those with
    and without sigma do not. Every frame has its id, its number among the inputs, and what its
    file says of it beside it. The file is there whole or not at all.

    Parameters
    ----------
    inputs
        Files, folders and patterns: see `gpusaxs.io.discover.find_files`. The output is not among
        them, wherever it lies.
    q_unit
        Unit of q in all files; None takes what each file says. It is written in 1/nm.
    dtype
        Of intensity and sigma: float64 keeps every bit.
    compression
        See `gpusaxs.io.nxcansas_writer.StackWriter`.
    follow_links
        Whether datasets of HDF5 files may lie in other files that they name.
    overwrite
        Whether an older output is replaced.
    progress
        Called with the share of the inputs that is done, and the curves so far.

    Raises
    ------
    FileNotFoundError
        If an input does not exist.
    OutputInTheWayError
        If there is an output already, or nothing but it to read.
    ValueError
        If the unit or the compression is none.
    """
    target = Path(output)
    unit = None if q_unit is None else check_q_unit(q_unit)
    if target.is_dir() or (target.exists() and not overwrite):
        raise OutputInTheWayError(
            f"{target} exists already. Give --output another place, or --overwrite to replace it."
        )
    files = _listing(inputs, target, follow_links)
    found = Converted(len(files), sum(max(file.size, 0) for file in files))
    with StacksWriter(target, run=target.stem, dtype=dtype, compression=compression) as writer:
        sorter = _Sorter(writer, dtype)
        done, numbers = 0, count()
        for block, entries in _read(files, unit):
            for entry in entries:
                number = next(numbers)
                if isinstance(entry, Unread):
                    found.unread.append(entry)
                    continue
                sorter.add(number, entry)
                found.curves += 1
                if entry.status:
                    found.remarks.update(entry.status)
            done += block.share
            progress(done / max(found.size, 1), found.curves)
        sorter.finish()
        found.stacks = len(writer.stacks)
    return found


def _listing(inputs: Sequence[str | Path], output: Path, follow_links: bool) -> list[ListedFile]:
    own = os.path.realpath(output)
    files = [
        ListedFile(found.id, found.absolute, *stat(found.absolute), follow_links)
        for found in find_files(inputs)
        if os.path.realpath(found.absolute) != own
    ]
    if not files:
        raise OutputInTheWayError(
            f"The only input is the output {output} itself. Give --output another place."
        )
    return files


def _read(
    files: Sequence[ListedFile], q_unit: str | None
) -> Iterator[tuple[Block, list[Sample | Unread]]]:
    """Yield blocks with their curves, in order; a few are read ahead."""

    def read(block: Block) -> list[Sample | Unread]:
        entries: list[Sample | Unread] = []
        for unit in block.units:
            entries += read_unit(files, unit, q_unit)
        return entries

    ahead: deque[tuple[Block, Future[list[Sample | Unread]]]] = deque()
    pool = ThreadPoolExecutor(_READERS, thread_name_prefix="gpusaxs-read")
    try:
        for block in Planner(files, BlockLimits(points=_BLOCK_POINTS)).blocks():
            ahead.append((block, pool.submit(read, block)))
            if len(ahead) >= _AHEAD:
                first, reading = ahead.popleft()
                yield first, reading.result()
        while ahead:
            first, reading = ahead.popleft()
            yield first, reading.result()
    finally:
        pool.shutdown(cancel_futures=True)


class _Kind(NamedTuple):
    """What curves that share a stack have in common; q by its hash, None for one each."""

    points: int
    has_sigma: bool
    q: bytes | None


class _Curve(NamedTuple):
    """A curve that is not written yet; the arrays are its own."""

    number: int
    name: str
    origin: Origin
    status: CurveStatus
    q: FloatArray
    intensity: FloatArray
    sigma: FloatArray | None


@dataclass(slots=True)
class _Pile:
    """Curves for one stack that are not in it yet.

    Parameters
    ----------
    first
        Number of its first curve.
    stack
        The stack, once it was begun.
    """

    kind: _Kind
    first: int
    stack: Stack | None = None
    curves: list[_Curve] = field(default_factory=list)

    def write(self, writer: StacksWriter) -> None:
        """Append what it holds to its stack, which is begun if need be."""
        if not self.curves:
            return
        # Curves that were moved here may stand behind later ones.
        curves = sorted(self.curves, key=lambda curve: curve.number)
        own_q = self.kind.q is None
        if self.stack is None:
            q = None if own_q else curves[0].q
            self.stack = writer.stack(q, self.kind.points, self.first, len(curves))
        self.stack.append(
            [curve.number for curve in curves],
            [curve.name for curve in curves],
            [curve.origin for curve in curves],
            [curve.status for curve in curves],
            np.array([curve.intensity for curve in curves]),
            np.array([curve.sigma for curve in curves]) if self.kind.has_sigma else None,
            np.array([curve.q for curve in curves]) if own_q else None,
        )
        self.curves.clear()


class _Sorter:
    """Sorts curves by their q into stacks, and holds a bounded number of them.

    A stack is begun when a chunk of it is full, or when too much is held: only then it is known
    how many curves have its q, and how large a chunk is good.
    """

    def __init__(self, writer: StacksWriter, dtype: DTypeLike) -> None:
        self._writer = writer
        self._dtype = dtype
        self._piles: dict[_Kind, _Pile] = {}
        self._held = 0
        self._last: tuple[FloatArray, bytes] | None = None

    def add(self, number: int, sample: Sample) -> None:
        """Take a curve; none of its arrays is kept."""
        q, sigma = sample.q, sample.sigma
        kind = _Kind(q.size, sigma is not None, self._hash(q))
        pile = self._piles.setdefault(kind, _Pile(kind, number))
        # A row of a stack is a view, and would keep the whole block.
        curve = _Curve(
            number,
            sample.id,
            sample.origin,
            sample.status,
            pile.curves[0].q if pile.curves else q.copy(),
            sample.intensity.copy(),
            None if sigma is None else sigma.copy(),
        )
        pile.curves.append(curve)
        self._held += _size(kind)
        if len(pile.curves) >= frames_of_a_chunk(kind.points, self._dtype):
            self._write(pile)
        if self._held > _MOST_HELD:
            self._make_room()

    def finish(self) -> None:
        """Write all that is held."""
        waiting = [pile for pile in self._piles.values() if pile.stack is None and pile.kind.q]
        single = Counter(pile.kind[:2] for pile in waiting if len(pile.curves) == 1)
        room = MOST_STACKS - len(self._writer.stacks)
        for pile in sorted(waiting, key=lambda pile: len(pile.curves), reverse=True):
            many = single[pile.kind[:2]] > MOST_SINGLE
            shared = pile.kind._replace(q=None) in self._piles
            if (len(pile.curves) == 1 and (many or shared)) or room <= 0:
                self._share(pile)
            else:
                room -= 1
        for pile in self._piles.values():
            pile.write(self._writer)

    def _hash(self, q: FloatArray) -> bytes:
        if self._last is not None and self._last[0] is q:
            return self._last[1]
        found = hashlib.blake2b(q.data, digest_size=16).digest()
        self._last = (q, found)
        return found

    def _make_room(self) -> None:
        """Write all that is held; what has a q that did not come twice shares a stack."""
        for pile in list(self._piles.values()):
            if pile.stack is not None or pile.kind.q is None:
                continue
            if len(pile.curves) == 1 or len(self._writer.stacks) >= MOST_STACKS:
                self._share(pile)
        for pile in self._piles.values():
            self._write(pile)

    def _share(self, pile: _Pile) -> None:
        """Move curves to the pile of those that have q of their own."""
        kind = pile.kind._replace(q=None)
        shared = self._piles.setdefault(kind, _Pile(kind, pile.first))
        if shared.stack is None:
            shared.first = min(shared.first, pile.first)
        shared.curves += pile.curves
        del self._piles[pile.kind]
        if len(shared.curves) >= frames_of_a_chunk(kind.points, self._dtype):
            self._write(shared)

    def _write(self, pile: _Pile) -> None:
        self._held -= len(pile.curves) * _size(pile.kind)
        pile.write(self._writer)


def _size(kind: _Kind) -> int:
    """Bytes that a held curve takes, the objects about it included."""
    return 8 * kind.points * (3 if kind.has_sigma else 2) + _BESIDE_BYTES
