"""The files within zip and tar archives, and their bytes.

Names are labels and never paths: nothing is written under them. Directories, links, devices and
hidden files are left out, as in a folder; of several files of one name the last one is there.
"""

from __future__ import annotations

import bz2
import errno
import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gpusaxs.errors import ReadError
from gpusaxs.io.packed_bytes import (
    Decompressor,
    OpenFile,
    check_ratio,
    expanded,
    inflater,
    lzma_of_zip,
)
from gpusaxs.io.recognise import OFFICE_DOCUMENT

MOST_MEMBERS = 10**6

_BLOCK = 512
_LARGEST_DIRECTORY = 2**28
_LARGEST_EXTENSION = 2**20
_ZIP_MAGIC = b"PK\x03\x04"
_LOCAL_HEADER = struct.Struct("<4s22x2H")
_LZMA_HEADER = struct.Struct("<2xH")
_ENCRYPTED, _ENDS_WITH_MARK = 1, 2
_UNIX = 3
_OFFICE_MEMBERS = ({"[Content_Types].xml"}, {"mimetype", "META-INF/manifest.xml"})
_DIRECTORY_DAMAGES = (
    zipfile.BadZipFile, NotImplementedError, UnicodeError, ValueError, OverflowError, EOFError,
    RuntimeError, struct.error, IndexError, KeyError,
)  # fmt: skip
_OCTAL = re.compile(rb"[0-7]*")
_FILES = (b"0", b"\x00", b"7")
_WITHOUT_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")
_SAYS_MORE = (b"L", b"K", b"x", b"X", b"g")
_HAS_HOLES = "is stored with holes: unpack the archive first"


@dataclass(frozen=True, slots=True)
class Member:
    """A file within a packed one.

    Parameters
    ----------
    name
        Its path in the archive; empty for the content of a compressed file.
    size
        Bytes when it is unpacked.
    begin
        Where its bytes begin, or its header in a zip archive.
    zipped
        How a zip archive holds it.
    problem
        Why it cannot be unpacked.
    """

    name: str
    size: int
    begin: int
    zipped: zipfile.ZipInfo | None = None
    problem: str = ""

    def content(self, file: OpenFile) -> Iterator[bytes]:
        """Its bytes, piece by piece; raises ReadError."""
        if self.problem:
            raise ReadError(self.problem)
        if self.zipped is None:
            return file.pieces(self.begin, self.size)
        return _checked(_unzipped(file, self.zipped), self.zipped)


def zip_members(path: Path, file: OpenFile) -> list[Member]:
    """Files in a zip archive, in the order of their names."""
    try:
        with _Limited(path) as source, zipfile.ZipFile(source) as archive:
            listed = archive.infolist()
    except _DIRECTORY_DAMAGES as error:
        raise ReadError(f"is a damaged zip archive, or cut off: {error}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # A place before the beginning of the file.
        raise ReadError("is a damaged zip archive: its directory is not where it says") from error
    names = {info.filename for info in listed}
    if any(signs <= names for signs in _OFFICE_MEMBERS):
        raise ReadError(OFFICE_DOCUMENT)
    members = _in_order(
        Member(_zip_name(info), info.file_size, info.header_offset, info) for info in listed
    )
    if any(_flags(member) & _ENCRYPTED for member in members):
        raise ReadError("is a zip archive with a password: unpack it first")
    check_ratio(file.size, sum(member.size for member in members))
    return members


def tar_members(file: OpenFile) -> list[Member]:
    """Files in a tar archive, in the order of their names."""
    return _in_order(_tar_listing(file))


def is_tar_header(block: bytes) -> bool:
    """Whether 512 bytes are the header of a file in a tar archive: its sum is right."""
    return len(block) >= _BLOCK and block[0] != 0 and _sum_is_right(block)


class _Limited(io.BufferedReader):
    """A file of which no more is read at once than a directory of archives may take."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = self.seek(0, io.SEEK_END)
        self.seek(0)

    def read(self, size: int | None = -1) -> bytes:
        wanted = size if size is not None and size >= 0 else self._size - self.tell()
        if wanted > _LARGEST_DIRECTORY:
            raise ReadError(f"lists more than {MOST_MEMBERS:,} files: unpack it by hand")
        return super().read(wanted)


def _in_order(members: Iterable[Member]) -> list[Member]:
    """Visible members under their plain names, the last one of each, as a folder lists them."""
    found: dict[str, Member] = {}
    for count, member in enumerate(members):
        if count >= MOST_MEMBERS:
            raise ReadError(f"holds more than {MOST_MEMBERS:,} files: unpack it by hand")
        name = _plain_name(member.name)
        if name is not None:
            kept = (member.size, member.begin, member.zipped, member.problem)
            found[name] = Member(name, *kept)
    if not found:
        raise ReadError("is an archive without files, or with hidden ones alone")
    return sorted(found.values(), key=lambda member: member.name.split("/"))


def _plain_name(name: str) -> str | None:
    """Path below the archive, None where it is hidden; all that leads out of it is cut."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    while ".." in parts:
        parts = parts[parts.index("..") + 1 :]
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    if hidden or not parts:
        return None
    return "/".join(parts).encode("utf-8", "backslashreplace").decode("utf-8")


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Name of a file; nothing of a directory or a link."""
    name = info.filename.replace("\\", "/")
    is_link = info.create_system == _UNIX and stat.S_ISLNK(info.external_attr >> 16)
    return "" if is_link or name.endswith("/") else name


def _flags(member: Member) -> int:
    return 0 if member.zipped is None else member.zipped.flag_bits


def _checked(pieces: Iterator[bytes], info: zipfile.ZipInfo) -> Iterator[bytes]:
    """Pass the pieces of a member on; ReadError where they are not those that were packed."""
    held = checksum = 0
    for piece in pieces:
        held += len(piece)
        if held > info.file_size:
            break
        checksum = zlib.crc32(piece, checksum)
        yield piece
    if held != info.file_size:
        raise ReadError(f"is damaged: it declares {info.file_size} bytes and holds others")
    if checksum != info.CRC:
        raise ReadError("is damaged: its checksum is wrong")


def _unzipped(file: OpenFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    begin = info.header_offset
    header = file.read(begin, _LOCAL_HEADER.size)
    if not header.startswith(_ZIP_MAGIC) or len(header) < _LOCAL_HEADER.size:
        raise ReadError("is damaged: it does not begin where the archive says")
    _, name, extra = _LOCAL_HEADER.unpack(header)
    begin += _LOCAL_HEADER.size + name + extra
    left = info.compress_size
    if info.compress_type == zipfile.ZIP_STORED:
        return file.pieces(begin, left)
    if info.compress_type == zipfile.ZIP_LZMA:
        before = _LZMA_HEADER.size
        [length] = _LZMA_HEADER.unpack(file.read(begin, before).ljust(before, b"\x00"))
        properties = file.read(begin + before, length)
        size = None if info.flag_bits & _ENDS_WITH_MARK else info.file_size
        begin, left = begin + before + length, max(left - before - length, 0)
        return expanded(
            file.pieces(begin, left), lambda: lzma_of_zip(properties, size), several=False
        )
    return expanded(file.pieces(begin, left), _method(info.compress_type), several=False)


def _method(number: int) -> Callable[[], Decompressor]:
    if number == zipfile.ZIP_DEFLATED:
        return inflater
    if number == zipfile.ZIP_BZIP2:
        return bz2.BZ2Decompressor
    raise ReadError(f"is packed by the method {number} of zip: pack it as deflated")


def _tar_listing(file: OpenFile) -> Iterator[Member]:
    """Yield the regular files of a tar archive; ReadError where it is damaged or cut off."""
    place = 0
    stated: dict[bytes, bytes] = {}
    while True:
        header = file.read(place, _BLOCK)
        if len(header) < _BLOCK:
            raise ReadError("is a tar archive that is cut off: it has no mark at its end")
        if not any(header):
            return
        if not _sum_is_right(header):
            raise ReadError(f"is a damaged tar archive: at byte {place:,} there is no header")
        kind = header[156:157]
        size = _tar_number(header[124:136]) if kind in _SAYS_MORE else _size(header, stated)
        begin = place + _BLOCK
        if kind in (b"L", b"x", b"X"):
            data = _extension(file, begin, size)
            stated |= {b"path": data.rstrip(b"\x00")} if kind == b"L" else _records(data)
        elif kind not in _SAYS_MORE:
            if kind == b"S":
                begin = _behind_map(file, header, begin)
            if kind in _FILES or kind == b"S":
                yield _tar_member(header, kind, size, begin, stated)
            stated = {}
        held = 0 if kind in _WITHOUT_DATA else -(-size // _BLOCK) * _BLOCK
        place = begin + held


def _tar_member(
    header: bytes, kind: bytes, size: int, begin: int, stated: dict[bytes, bytes]
) -> Member:
    name = _tar_name(header, stated)
    has_holes = kind == b"S" or any(key.startswith(b"GNU.sparse") for key in stated)
    if name.endswith("/"):
        # So did old archives write a directory; nothing is left of a name like this.
        name = ""
    return Member(name, size, begin, None, _HAS_HOLES if has_holes else "")


def _tar_name(header: bytes, stated: dict[bytes, bytes]) -> str:
    name = stated.get(b"path")
    if name is None:
        name = header[:100].split(b"\x00", 1)[0]
        prefix = header[345:500].split(b"\x00", 1)[0] if header[257:263] == b"ustar\x00" else b""
        name = prefix + b"/" + name if prefix else name
    return name.decode("utf-8", "surrogateescape")


def _size(header: bytes, stated: dict[bytes, bytes]) -> int:
    size = stated.get(b"size")
    if size is None:
        return _tar_number(header[124:136])
    if not size.isdigit() or len(size) > 20:
        raise ReadError("is a damaged tar archive: it states a size that is no number")
    return int(size)


def _tar_number(field: bytes) -> int:
    """A number of a header: octal digits, or binary where the first byte says so."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \x00")
    if _OCTAL.fullmatch(digits) is None:
        raise ReadError("is a damaged tar archive: a header holds a number that is none")
    return int(digits or b"0", 8)


def _sum_is_right(header: bytes) -> bool:
    stated = header[148:156].strip(b" \x00")
    if not stated or _OCTAL.fullmatch(stated) is None:
        return False
    # The bytes of the sum itself count as blanks.
    return sum(header[:148]) + sum(header[156:_BLOCK]) + 8 * ord(" ") == int(stated, 8)


def _extension(file: OpenFile, begin: int, size: int) -> bytes:
    """Data of a header that says more about the next file."""
    if size > _LARGEST_EXTENSION:
        raise ReadError("is a damaged tar archive: a header is larger than any")
    data = file.read(begin, size)
    if len(data) < size:
        raise ReadError("is a tar archive that is cut off: it has no mark at its end")
    return data


def _records(data: bytes) -> dict[bytes, bytes]:
    """What an extended header states: lines of ``length key=value``."""
    found: dict[bytes, bytes] = {}
    place = 0
    while place < len(data) and data[place]:
        length = data[place : place + 20].split(b" ", 1)[0]
        if not length.isdigit() or not len(length) < int(length) <= len(data) - place:
            raise ReadError("is a damaged tar archive: an extended header cannot be read")
        record = data[place + len(length) + 1 : place + int(length)]
        key, _, value = record.removesuffix(b"\n").partition(b"=")
        found[key] = value
        place += int(length)
    return found


def _behind_map(file: OpenFile, header: bytes, begin: int) -> int:
    """Where the data of a file with holes begin: behind the blocks that list these."""
    goes_on = header[482]
    while goes_on:
        block = file.read(begin, _BLOCK)
        if len(block) < _BLOCK:
            raise ReadError("is a tar archive that is cut off: it has no mark at its end")
        goes_on = block[504]
        begin += _BLOCK
    return begin
