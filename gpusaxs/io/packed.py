"""Packed folders and files: zip, tar, and what gzip, bzip2 or xz compress.

The curves of a packed folder are those of the files in it, in the order of their names, each
read by the reader of its own format; what is no curve counts as one that cannot be read. A
compressed tar archive, and a member of a format that needs a file, are unpacked to temporary
files.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from heapq import nlargest
from itertools import accumulate
from pathlib import Path
from typing import cast

from gpusaxs.errors import ReadError
from gpusaxs.io.curves import Extent, check_frames
from gpusaxs.io.packed_bytes import STREAMS, Decompressor, OpenFile, UnpackedFile, unpacked_stream
from gpusaxs.io.packed_members import Member, is_tar_header, tar_members, zip_members
from gpusaxs.io.recognise import (
    HEAD_BYTES,
    OFFICE_DOCUMENT,
    CurveReader,
    StackReader,
    reader_for,
    reads_stacks,
)
from gpusaxs.io.text import LARGEST_FILE
from gpusaxs.sample import Sample

NAME = "packed"

LARGEST_KEPT = 4 * 2**30
"""Bytes of unpacked members that a packed file keeps on the disk, beside the one it reads."""

_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")
_OFFICE_MEMBER = b"[Content_Types].xml"
_BYTES_A_POINT = 24
_LOOKED_AT = 16
_MUCH_LARGER = 4
_TWICE = "is packed twice: unpack the outer one first"


def matches(head: bytes) -> bool:
    """Whether the file begins as a zip or tar archive, or as one of the compressions."""
    return head.startswith(_ZIP_MAGICS) or _stream_magic(head) is not None or is_tar_header(head)


def read(
    path: Path, curve_id: str, q_unit: str | None = None, frames: range | None = None
) -> list[Sample]:
    """Curves of the files in a packed one, counted through in the order of their names.

    Their ids are ``id/member``, with ``#k`` where the member holds several; a compressed file
    that is no archive has the ids of its content. Their origin is the packed file.
    """
    packed = _opened(path)
    wanted = range(packed.extent.curves) if frames is None else frames
    check_frames(wanted, packed.extent.curves)
    return packed.samples(path, curve_id, q_unit, wanted)


def extent(path: Path) -> Extent:
    """How many curves, or files without one, are packed, and how long the longest is."""
    return _opened(path).extent


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file in a packed one: its reader and how much it holds, or why it cannot be read."""

    member: Member
    reader: CurveReader | StackReader | None
    extent: Extent
    problem: str = ""


class _Packed:
    """A packed file that stays open, to be read from any thread.

    Parameters
    ----------
    file
        With the bytes that the members refer to.
    members
        In order; a single one without a name is the content of a compressed file.
    """

    def __init__(self, file: OpenFile, members: Sequence[Member]) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._unpacked: OrderedDict[Member, UnpackedFile] = OrderedDict()
        self._unreadable: dict[tuple[int, str | None], str] = {}
        self._entries = [self._entry(member) for member in members]
        self._look_at_the_largest()
        curves = [entry.extent.curves for entry in self._entries]
        self._begins = [0, *accumulate(curves)]
        if not members[0].name and self._entries[0].problem:
            raise ReadError(self._entries[0].problem)
        self.extent = Extent(
            self._begins[-1],
            max(entry.extent.points for entry in self._entries),
            max(entry.extent.together for entry in self._entries),
        )

    def samples(self, path: Path, curve_id: str, q_unit: str | None, frames: range) -> list[Sample]:
        """Curves with these numbers; ReadError if one of their members cannot be read."""
        parts = list(self._parts(frames))
        for number, _ in parts:
            # What is known already is said before anything is read for nothing.
            reason = self._entries[number].problem or self._unreadable.get((number, q_unit))
            if reason:
                raise ReadError(_said(self._entries[number].member, reason))
        samples: list[Sample] = []
        for number, part in parts:
            entry, begin = self._entries[number], self._begins[number]
            try:
                found = self._read(entry, path, curve_id, q_unit, part)
            except ReadError as error:
                if entry.extent.curves == 1:
                    self._unreadable[number, q_unit] = str(error)
                raise ReadError(_said(entry.member, str(error))) from error
            for frame, sample in enumerate(found, begin + part.start):
                sample.origin = sample.origin._replace(source=str(path), frame=frame)
            samples += found
        return samples

    def _parts(self, frames: range) -> Iterator[tuple[int, range]]:
        """Entries that hold some of the frames, each with its part, counted within it."""
        number = bisect_right(self._begins, frames.start) - 1
        while number < len(self._entries) and self._begins[number] < frames.stop:
            begin, end = self._begins[number : number + 2]
            part = range(max(frames.start, begin) - begin, min(frames.stop, end) - begin)
            if part:
                yield number, part
            number += 1

    def _read(
        self, entry: _Entry, path: Path, curve_id: str, q_unit: str | None, part: range
    ) -> list[Sample]:
        member, reader = entry.member, entry.reader
        name = f"{curve_id}/{member.name}" if member.name else curve_id
        if reader is None:
            raise ReadError(entry.problem)
        if reads_stacks(reader):
            unpacked = self._as_file(member)
            try:
                found = reader.read(unpacked.path, name, q_unit, part)
            except ReadError as error:
                raise ReadError(_without(unpacked, str(error))) from error
        else:
            content = b"".join(member.content(self._file))
            found = cast(CurveReader, reader).read(path, name, q_unit, content)
        if len(found) != len(part):
            raise ReadError(f"holds {len(found)} curves where {len(part)} were expected")
        return found

    def _entry(self, member: Member) -> _Entry:
        try:
            head = self._head(member)
            reader = reader_for(head)
            if reader.NAME == NAME:
                raise ReadError(OFFICE_DOCUMENT if _OFFICE_MEMBER in head else _TWICE)
            if reads_stacks(reader):
                return _Entry(member, reader, self._stack_extent(member, reader))
            if member.size > LARGEST_FILE:
                raise ReadError(f"is of more than {LARGEST_FILE >> 20} MiB: expected one curve")
        except ReadError as error:
            return _Entry(member, None, Extent(1, 1), str(error))
        return _Entry(member, reader, Extent(1, max(1, member.size // _BYTES_A_POINT)))

    def _look_at_the_largest(self) -> None:
        """Count the points of texts that are much larger than the others: logs and tables, mostly.

        By their sizes alone, one of them would let all curves be processed in tiny blocks.
        """
        points = [entry.extent.points for entry in self._entries]
        usual = sorted(points)[len(points) // 2]
        largest = nlargest(_LOOKED_AT, range(len(points)), key=points.__getitem__)
        for number in largest:
            entry = self._entries[number]
            if points[number] <= _MUCH_LARGER * usual:
                break
            if entry.reader is not None and not reads_stacks(entry.reader):
                held = Extent(1, self._points(entry))
                self._entries[number] = replace(entry, extent=held)

    def _points(self, entry: _Entry) -> int:
        """Points of a curve; 1 where the member holds none."""
        try:
            [sample] = self._read(entry, Path(), "", "1/nm", range(1))
        except ReadError:
            return 1
        return max(1, len(sample.q))

    def _head(self, member: Member) -> bytes:
        head = b""
        for piece in member.content(self._file):
            head += piece
            if len(head) >= HEAD_BYTES:
                break
        return head[:HEAD_BYTES]

    def _stack_extent(self, member: Member, reader: StackReader) -> Extent:
        unpacked = self._as_file(member)
        try:
            return reader.extent(unpacked.path)
        except ReadError as error:
            raise ReadError(_without(unpacked, str(error))) from error

    def _as_file(self, member: Member) -> UnpackedFile:
        """Member as a file, one of the last ones that were asked for; there while it is held."""
        with self._lock:
            found = self._unpacked.pop(member, None)
            if found is None:
                found = UnpackedFile(member.content(self._file))
            self._unpacked[member] = found
            kept = sum(unpacked.size for unpacked in self._unpacked.values())
            while kept > LARGEST_KEPT and len(self._unpacked) > 1:
                kept -= self._unpacked.popitem(last=False)[1].size
            return found


def _said(member: Member, reason: str) -> str:
    return f"member {member.name!r} {reason}" if member.name else reason


def _without(unpacked: UnpackedFile, reason: str) -> str:
    """Reason that does not name the temporary file, which has another name every time."""
    return reason.replace(str(unpacked.path), "it")


class _Opening:
    """A packed file that is opened when it is needed first, and once for all threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._packed: _Packed | None = None

    def packed(self) -> _Packed:
        with self._lock:
            if self._packed is None:
                self._packed = _open(self._path)
            return self._packed


def _opened(path: Path) -> _Packed:
    state = os.stat(path)
    with _opening_lock:
        opening = _opening(path, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
    return opening.packed()


_opening_lock = threading.Lock()


@lru_cache(maxsize=8)
def _opening(path: Path, *_state: int) -> _Opening:
    """The same for a path as long as its device, inode, size and time of change are the same."""
    return _Opening(path)


def _open(path: Path) -> _Packed:
    file = OpenFile.at(path)
    head = file.read(0, HEAD_BYTES)
    if head.startswith(_ZIP_MAGICS):
        return _Packed(file, zip_members(path, file))
    magic = _stream_magic(head)
    if magic is not None:
        file = _unpacked(file, *STREAMS[magic])
        if not is_tar_header(file.read(0, HEAD_BYTES)):
            return _Packed(file, [Member("", file.size, 0)])
    return _Packed(file, tar_members(file))


def _unpacked(file: OpenFile, name: str, new: Callable[[], Decompressor]) -> OpenFile:
    try:
        return unpacked_stream(file, new)
    except ReadError as error:
        raise ReadError(f"is compressed with {name}, but it {error}") from error


def _stream_magic(head: bytes) -> bytes | None:
    """Magic of a compression that a file begins with."""
    for magic in STREAMS:
        if head.startswith(magic):
            # A text may begin with the letters of bzip2.
            is_text = magic == b"BZh" and not head.startswith(_BZIP2_BLOCKS, 4)
            return None if is_text else magic
    return None
