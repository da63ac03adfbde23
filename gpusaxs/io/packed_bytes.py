"""Bytes of packed files: read at any place from any thread, and unpacked within limits."""

from __future__ import annotations

import bz2
import lzma
import os
import tempfile
import weakref
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from gpusaxs.errors import ReadError

LARGEST_UNPACKED = 64 * 2**30
"""Bytes that one file or member may take on the disk when it is unpacked."""

LARGEST_RATIO = 1000
"""How many times its packed size a file of more than `HARMLESS` bytes may become."""

HARMLESS = 2**26
_PIECE = 2**16
_LZMA_MEMORY = 2**29
_NO_SIZE = 2**64 - 1


class Decompressor(Protocol):
    """What ``bz2`` and ``lzma`` offer, and `_Inflater` for zlib."""

    @property
    def eof(self) -> bool:
        """Whether the stream has come to its end."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes before more is put in."""

    @property
    def unused_data(self) -> bytes:
        """What was put in and stands behind the end of the stream."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Put bytes in, and take out as many as are wanted at most."""


class _Inflater:
    """zlib's decompressor as those of ``bz2`` and ``lzma`` behave."""

    def __init__(self, window: int) -> None:
        self._inflate = zlib.decompressobj(window)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        tail = self._inflate.unconsumed_tail
        found = self._inflate.decompress(tail + data if tail else data, max_length)
        self.needs_input = len(found) < max_length and not self._inflate.unconsumed_tail
        return found


def inflater() -> Decompressor:
    """For what zip calls deflated."""
    return _Inflater(-zlib.MAX_WBITS)


def lzma_of_zip(properties: bytes, size: int | None) -> Decompressor:
    """For what zip calls LZMA.

    Parameters
    ----------
    properties
        Those that stand before the data.
    size
        Of the content, or None where a mark in the data ends it.
    """
    alone = lzma.LZMADecompressor(lzma.FORMAT_ALONE, _LZMA_MEMORY)
    _decompressed(alone, properties + (_NO_SIZE if size is None else size).to_bytes(8, "little"))
    return alone


STREAMS: dict[bytes, tuple[str, Callable[[], Decompressor]]] = {
    b"\x1f\x8b": ("gzip", lambda: _Inflater(16 + zlib.MAX_WBITS)),
    b"BZh": ("bzip2", bz2.BZ2Decompressor),
    b"\xfd7zXZ\x00": ("xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _LZMA_MEMORY)),
}
"""Names and decompressors of compressed files, by their first bytes."""


class OpenFile:
    """A file that is read at any place from any thread; closed when nobody holds it any more.

    Parameters
    ----------
    descriptor
        Its number, from now on the object's own.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor).atexit = False
        self.size = os.fstat(descriptor).st_size

    @classmethod
    def at(cls, path: Path) -> OpenFile:
        """Open a file; raises OSError."""
        return cls(os.open(path, os.O_RDONLY))

    def read(self, begin: int, count: int) -> bytes:
        """As many bytes from a place on, fewer where the file ends before."""
        found = os.pread(self._descriptor, count, begin) if 0 <= begin < self.size else b""
        while 0 < len(found) < count:
            more = os.pread(self._descriptor, count - len(found), begin + len(found))
            if not more:
                break
            found += more
        return found

    def pieces(self, begin: int, count: int) -> Iterator[bytes]:
        """As many bytes from a place on, piece by piece; ReadError where the file ends before."""
        stop = begin + count
        if stop > self.size:
            raise ReadError("is cut off")
        for place in range(begin, stop, _PIECE):
            piece = self.read(place, min(_PIECE, stop - place))
            if not piece:
                raise ReadError("has changed while it was read")
            yield piece


class UnpackedFile:
    """A temporary file under a name of ours, gone when nobody holds it any more.

    Parameters
    ----------
    content
        What it holds, piece by piece.
    """

    def __init__(self, content: Iterator[bytes]) -> None:
        descriptor, name = tempfile.mkstemp(prefix="gpusaxs-")
        self.path = Path(name)
        weakref.finalize(self, _remove, name, os.getpid())
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            self.size = _write(file.write, content)


def _remove(name: str, owner: int) -> None:
    """Remove a temporary file, but not from a process that only inherited it."""
    if os.getpid() == owner:
        Path(name).unlink(missing_ok=True)


def unpacked_stream(file: OpenFile, new: Callable[[], Decompressor]) -> OpenFile:
    """Content of a compressed file, in a temporary one without a name."""
    content = expanded(file.pieces(0, file.size), new)
    with tempfile.TemporaryFile(buffering=0) as target:
        _write(target.write, content, file.size)
        return OpenFile(os.dup(target.fileno()))


def expanded(
    packed: Iterator[bytes], new: Callable[[], Decompressor], *, several: bool = True
) -> Iterator[bytes]:
    """Content of compressed pieces, in pieces of a bounded size.

    Parameters
    ----------
    several
        Whether compressed streams may follow each other, with padding between them.
    """
    decompressor: Decompressor | None = new()
    for data in packed:
        while data or not (decompressor is None or decompressor.needs_input):
            if decompressor is None:
                data = data.lstrip(b"\x00")  # noqa: PLW2901
                if not data:
                    break
                decompressor = new()
            yield _decompressed(decompressor, data)
            data = b""  # noqa: PLW2901
            if decompressor.eof and not several:
                return
            if decompressor.eof:
                data = decompressor.unused_data  # noqa: PLW2901
                decompressor = None
    if decompressor is not None and several:
        raise ReadError("is cut off, or damaged at its end")


def check_ratio(packed: int, unpacked: int) -> None:
    """Refuse what becomes so much larger that it can only be meant to fill a disk."""
    if unpacked > HARMLESS and unpacked > LARGEST_RATIO * packed:
        raise ReadError(
            f"unpacks to more than {LARGEST_RATIO:,} times its size, as measured curves never "
            "do: unpack it by hand if that is right"
        )


def _decompressed(decompressor: Decompressor, data: bytes) -> bytes:
    try:
        return decompressor.decompress(data, _PIECE)
    except (zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
        raise ReadError(f"is damaged: {error}") from error


def _write(
    write: Callable[[bytes | memoryview], int | None],
    content: Iterator[bytes],
    packed: int | None = None,
) -> int:
    """Write pieces within the limits; return how many bytes they were."""
    held = 0
    for piece in content:
        held += len(piece)
        if held > LARGEST_UNPACKED:
            raise ReadError(f"unpacks to more than {LARGEST_UNPACKED >> 30} GiB: unpack it by hand")
        if packed is not None:
            check_ratio(packed, held)
        try:
            _write_all(write, piece)
        except OSError as error:
            raise ReadError(
                f"cannot be unpacked into {tempfile.gettempdir()} ({error.strerror}): set TMPDIR "
                "to a folder with more room"
            ) from error
    return held


def _write_all(write: Callable[[bytes | memoryview], int | None], piece: bytes) -> None:
    """Write a piece, also where the system takes it in parts."""
    rest = memoryview(piece)
    while rest:
        rest = rest[write(rest) or 0 :]
