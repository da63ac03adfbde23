"""Which reader understands a file, by its first bytes; what a file is that none does."""

from __future__ import annotations

import importlib
import os
import pkgutil
from functools import cache
from pathlib import Path
from typing import Protocol, TypeGuard, cast

import gpusaxs.io
from gpusaxs.errors import ReadError
from gpusaxs.io.curves import Extent
from gpusaxs.sample import Sample

HEAD_BYTES = 4096

OFFICE_DOCUMENT = "is an office document: export it as text"

_UNPACK = "unpack it first"
_FOREIGN: tuple[tuple[bytes, str], ...] = (
    (b"\x28\xb5\x2f\xfd", f"is compressed with zstd: {_UNPACK}"),
    (b"7z\xbc\xaf\x27\x1c", f"is a 7z archive: {_UNPACK}"),
    (b"Rar!\x1a\x07", f"is a RAR archive: {_UNPACK}"),
    (b"PK\x07\x08", f"is one part of a divided zip archive: {_UNPACK}"),
    (b"\xd0\xcf\x11\xe0", OFFICE_DOCUMENT),
    (b"%PDF", "is a PDF document"),
    (b"\x89PNG", "is a PNG image"),
    (b"\xff\xd8\xff", "is a JPEG image"),
    (b"II*\x00", "is a TIFF image: integrate it to a curve first"),
    (b"MM\x00*", "is a TIFF image: integrate it to a curve first"),
    (
        b"<",
        "is an XML or HTML file, but not canSAS1D: save the curve as text, NXcanSAS or canSAS1D "
        "instead",
    ),
)
_FOREIGN_MAGICS = tuple(magic for magic, _ in _FOREIGN)
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_CONTROL = bytes(sorted({*range(9), *range(14, 26), *range(27, 32), 127}))


class Reader(Protocol):
    """A module of this package that reads one format.

    A module whose ``LAST_RESORT`` is True is asked only where no other one matches.
    """

    NAME: str

    def matches(self, head: bytes) -> bool:
        """Whether the first bytes of a file are of this format."""


class CurveReader(Reader, Protocol):
    """A module for a format that holds one curve a file."""

    def read(
        self, path: Path, curve_id: str, q_unit: str | None = None, content: bytes | None = None
    ) -> list[Sample]:
        """Curve of the file, or of its content where the caller has that already.

        Raises ReadError or OSError.
        """


class StackReader(Reader, Protocol):
    """A module for a format that can hold several curves in one file."""

    def read(
        self, path: Path, curve_id: str, q_unit: str | None = None, frames: range | None = None
    ) -> list[Sample]:
        """Curves of the file, or those with these numbers; raises ReadError or OSError."""

    def extent(self, path: Path) -> Extent:
        """How much the file holds; raises ReadError or OSError."""


class LinkReader(Protocol):
    """A module for a format whose files can refer to other files for their numbers.

    It is a `StackReader` that follows such links where it is told to; it has ``FOLLOWS_LINKS``.
    """

    FOLLOWS_LINKS: bool

    def read(
        self,
        path: Path,
        curve_id: str,
        q_unit: str | None = None,
        frames: range | None = None,
        *,
        follow_links: bool = False,
    ) -> list[Sample]:
        """Curves of the file, or those with these numbers; raises ReadError or OSError."""

    def extent(self, path: Path, *, follow_links: bool = False) -> Extent:
        """How much the file holds; raises ReadError or OSError."""


@cache
def readers() -> tuple[CurveReader | StackReader, ...]:
    """All readers, in the order in which they are asked."""
    names = sorted(module.name for module in pkgutil.iter_modules(gpusaxs.io.__path__))
    modules = [importlib.import_module(f"gpusaxs.io.{name}") for name in names]
    found = [module for module in modules if hasattr(module, "NAME")]
    found.sort(key=lambda module: bool(getattr(module, "LAST_RESORT", False)))
    return tuple(cast(CurveReader | StackReader, module) for module in found)


@cache
def stack_readers() -> tuple[StackReader, ...]:
    """Readers of the formats that can hold several curves."""
    return tuple(reader for reader in readers() if reads_stacks(reader))


def reads_stacks(reader: CurveReader | StackReader) -> TypeGuard[StackReader]:
    """Whether a reader's format can hold several curves in one file."""
    return hasattr(reader, "extent")


def follows_links(reader: object) -> TypeGuard[LinkReader]:
    """Whether a reader can be told to follow links to other files."""
    return hasattr(reader, "FOLLOWS_LINKS")


def reader_for(head: bytes) -> CurveReader | StackReader:
    """Reader of a file, chosen by its first `HEAD_BYTES`.

    Raises
    ------
    ReadError
        If no reader knows the content; the message says what the file is.
    """
    for reader in readers():
        if reader.matches(head):
            return reader
    raise ReadError(_what_it_is(head))


def first_bytes(path: str, count: int) -> bytes:
    """Beginning of a file, by the shortest way: archives have a hundred thousand of them."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, count)
    finally:
        os.close(file)


def looks_like_text(head: bytes) -> bool:
    """Whether bytes are text in some encoding, and no markup."""
    if foreign_format(head) is not None:
        return False
    if head.startswith(_BYTE_ORDER_MARKS):
        return True
    return bool(head.strip()) and len(head) - len(head.translate(None, _CONTROL)) == 0


def foreign_format(head: bytes) -> str | None:
    """Sentence about a well-known format that holds no curve for us, by its first bytes."""
    start = head.removeprefix(_BYTE_ORDER_MARKS[0])
    if head.startswith(_BYTE_ORDER_MARKS[1:]):
        start = head[2:].replace(b"\x00", b"")
    if not start.lstrip().startswith(_FOREIGN_MAGICS):
        return None
    for magic, sentence in _FOREIGN:
        if start.startswith(magic) or (magic == b"<" and start.lstrip().startswith(magic)):
            return sentence
    return None


def _what_it_is(head: bytes) -> str:
    if not head.strip():
        return "is empty" if not head else "holds nothing but blanks"
    return foreign_format(head) or (
        "is a binary file of an unknown format: expected text, HDF5, NumPy or canSAS1D"
    )
