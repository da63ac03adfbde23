"""NumPy's ``.npy`` and ``.npz``: one curve or a stack of them, never a pickle."""

from __future__ import annotations

import ast
import errno
import io
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from gpusaxs.errors import ReadError
from gpusaxs.io.curves import (
    Curves,
    Extent,
    FileIdentity,
    check_frames,
    check_points,
    check_size,
    shared_row,
    to_samples,
)
from gpusaxs.sample import Sample

FloatArray = NDArray[np.float64]

NAME = "numpy"

_NPY_MAGIC = b"\x93NUMPY"
_ZIP_MAGIC = b"PK\x03\x04"
_ENCRYPTED = 1
_LOCAL_HEADER = struct.Struct("<26x2H")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LENGTHS = {(1, 0): struct.Struct("<H"), (2, 0): struct.Struct("<I")}
_LONGEST_HEADER = 2**16
# Signs in a header at which Python's parser would warn; no array of numbers has them.
_WARNED_OF = re.compile(rb"\\|\d(?:and|else|for|i[fns]|not|or)")
_KEYS = {
    "q": ("q",),
    "intensity": ("intensity", "i"),
    "sigma": ("sigma", "error", "errors", "err", "idev"),
    "q_unit": ("q_unit", "unit", "units"),
}
_NPY_SHAPES = (
    "expected one curve as (points, 2 or 3) or (2 or 3, points), or a stack as "
    "(frames, 2 or 3, points), with the columns q, intensity, sigma and more than 3 points"
)
_NPZ_SHAPES = (
    "expected q as (points,) or (frames, points), intensity and sigma as (points,) or "
    "(frames, points)"
)
_DAMAGES = (
    ValueError, EOFError, SyntaxError, TypeError, KeyError, RecursionError, NotImplementedError,
    RuntimeError, TokenError, zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip


def matches(head: bytes) -> bool:
    """Whether the file begins as ``.npy``, or as a zip archive whose first member is one."""
    return head.startswith(_NPY_MAGIC) or (head.startswith(_ZIP_MAGIC) and b".npy" in head[:300])


def read(
    path: Path, curve_id: str, q_unit: str | None = None, frames: range | None = None
) -> list[Sample]:
    """Curves of a ``.npy`` or ``.npz`` file."""
    with _opened(path, in_slices=frames is not None) as stack:
        wanted = range(stack.frames) if frames is None else frames
        check_frames(wanted, stack.frames)
        curves = [stack.curves(wanted)] if wanted else []
    identity = FileIdentity(path, curve_id, NAME, q_unit)
    return to_samples(curves, identity, wanted.start, stack.frames)


def extent(path: Path) -> Extent:
    """How many curves the file holds, and how long they are."""
    with _opened(path, in_slices=True) as stack:
        return Extent(stack.frames, stack.points, stack.together)


class _Stack(Protocol):
    """Curves in a file, of which only the shapes were read; a single one is a stack of one."""

    @property
    def frames(self) -> int: ...

    @property
    def points(self) -> int: ...

    @property
    def together(self) -> int: ...

    def curves(self, frames: range) -> Curves: ...


@contextmanager
def _opened(path: Path, *, in_slices: bool) -> Iterator[_Stack]:
    """Stack in a file whose damages, wherever they show themselves, become reasons."""
    try:
        with path.open("rb") as file, ExitStack() as members:
            if zipfile.is_zipfile(file):
                archive = members.enter_context(zipfile.ZipFile(file))
                yield _npz(archive, file, members, in_slices)
            else:
                yield _npy(file)
    except _DAMAGES as error:
        raise ReadError(f"is a damaged NumPy file: {error}") from error
    except OSError as error:
        # A place before the beginning of the file, or what the decompressors of zip raise.
        if error.errno not in (None, errno.EINVAL):
            raise
        raise ReadError("is a damaged NumPy file: its numbers are not where it says") from error


@dataclass(frozen=True, slots=True, eq=False)
class _Array:
    """An array in a file, of which only the header was read.

    Parameters
    ----------
    file
        With the numbers from the byte ``begin`` on.
    """

    file: IO[bytes]
    begin: int
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[np.generic]

    def read(self, wanted: range | None = None) -> FloatArray:
        """All of it, or those indices of its first axis."""
        wanted = range(self.shape[0]) if wanted is None else wanted
        others = self.shape[1:]
        check_size((len(wanted), *others))
        # In Fortran order the first axis is the fastest: a few numbers of it at many places.
        runs, length = (math.prod(others), 1) if self.fortran_order else (1, math.prod(others))
        if len(wanted) == self.shape[0]:
            runs, length = 1, math.prod(others)
        numbers = np.empty((runs, len(wanted) * length), self.dtype)
        for run, part in enumerate(numbers):
            self._fill(part, (run * self.shape[0] + wanted.start) * length)
        # A longer number than float64 has becomes infinite, a signalling NaN an ordinary one.
        with np.errstate(over="ignore", invalid="ignore"):
            values = numbers.astype(np.float64, copy=False).reshape(-1)
        shape = (len(wanted), *others)
        return values.reshape(shape[::-1]).T if self.fortran_order else values.reshape(shape)

    def _fill(self, part: NDArray[np.generic], first: int) -> None:
        """Read numbers that stand together, from the one with that place in the file on."""
        self.file.seek(self.begin + first * self.dtype.itemsize)
        if self.file.readinto(part.view(np.uint8)) < part.nbytes:  # type: ignore[attr-defined]
            raise ReadError("ends within its numbers: it is cut off")


@dataclass(frozen=True, slots=True, eq=False)
class _Npy:
    """The array of a ``.npy`` file: one curve in two axes, or a stack in three."""

    array: _Array
    frames: int
    points: int
    together: int = 1

    def curves(self, frames: range) -> Curves:
        """Those frames."""
        columns = self._columns(frames)
        return Curves(
            q=shared_row(np.ascontiguousarray(columns[:, 0])),
            intensity=np.ascontiguousarray(columns[:, 1]),
            sigma=np.ascontiguousarray(columns[:, 2]) if columns.shape[1] == 3 else None,
            first_q=self._columns(range(1))[0, 0] if frames.start > 0 else None,
        )

    def _columns(self, frames: range) -> FloatArray:
        """(frames, 2 or 3, points)."""
        if len(self.array.shape) == 3:
            return self.array.read(frames)
        table = self.array.read()
        return (table if len(table) in (2, 3) else table.T)[np.newaxis]


def _npy(file: IO[bytes]) -> _Npy:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    array = _array(file, size)
    shape = array.shape
    if len(shape) == 2 and (shape[0] in (2, 3)) != (shape[1] in (2, 3)):
        return _Npy(array, 1, max(shape))
    if len(shape) == 3 and shape[1] in (2, 3) and shape[2] > 3:
        return _Npy(array, shape[0], shape[2])
    raise ReadError(f"holds an array of shape {shape}: {_NPY_SHAPES}")


@dataclass(frozen=True, slots=True, eq=False)
class _Npz:
    """The arrays of a ``.npz`` file, which fit each other."""

    q: _Array
    intensity: _Array
    sigma: _Array | None
    q_unit: str | None
    compressed: bool

    @property
    def frames(self) -> int:
        return self.intensity.shape[0] if len(self.intensity.shape) == 2 else 1

    @property
    def points(self) -> int:
        return self.intensity.shape[-1]

    @property
    def together(self) -> int:
        """All where they are compressed: a slice is reached by inflating what is before it."""
        return self.frames if self.compressed else 1

    def curves(self, frames: range) -> Curves:
        """Those frames."""
        own_q = len(self.q.shape) == 2 and self.q.shape[0] > 1
        needs_first = own_q and frames.start > 0 and self.q_unit is None
        return Curves(
            # The first frame first: to go back, a compressed array is inflated from its beginning.
            first_q=self.q.read(range(1))[0] if needs_first else None,
            q=shared_row(_rows(self.q, frames)) if own_q else self.q.read().reshape(-1),
            intensity=_rows(self.intensity, frames),
            sigma=None if self.sigma is None else _rows(self.sigma, frames),
            stated_q_unit=self.q_unit,
        )


def _rows(array: _Array, frames: range) -> FloatArray:
    """(frames, points) of an array that may hold one curve without an axis of frames."""
    rows = array.read(frames) if len(array.shape) == 2 else array.read()[np.newaxis]
    return np.ascontiguousarray(rows)


def _npz(archive: zipfile.ZipFile, file: IO[bytes], members: ExitStack, in_slices: bool) -> _Npz:
    """Arrays of an archive, to be read as wholes or at any place.

    What is stored as it is can be sought in the file itself. Read as a whole it goes through
    `zipfile` all the same, which compares the checksum.
    """
    found = {meaning: _find(archive, meaning) for meaning in ("q", "intensity", "sigma")}
    arrays: dict[str, _Array | None] = dict.fromkeys(found)
    for meaning, member in found.items():
        if member is not None and in_slices and _is_plain(member):
            arrays[meaning] = _plain_array(file, member)
        elif member is not None:
            stream = members.enter_context(archive.open(member))
            arrays[meaning] = _array(stream, member.file_size)
    q, intensity, sigma = arrays["q"], arrays["intensity"], arrays["sigma"]
    if q is None or intensity is None:
        raise ReadError(
            f"holds the arrays {sorted(_array_names(archive))}: expected 'q', 'intensity' and, "
            "if known, 'sigma'"
        )
    _check_shapes(q, intensity, sigma)
    compressed = not all(_is_plain(member) for member in found.values() if member is not None)
    return _Npz(q, intensity, sigma, _text_member(archive), compressed)


def _check_shapes(q: _Array, intensity: _Array, sigma: _Array | None) -> None:
    rows = _with_frames(intensity.shape)
    shared_q = (*rows[1:],), (1, *rows[1:])
    fits = len(rows) == 2 and q.shape in (rows, *shared_q)
    if not fits or (sigma is not None and _with_frames(sigma.shape) != rows):
        shapes = f"q {q.shape}, intensity {intensity.shape}"
        shapes += "" if sigma is None else f", sigma {sigma.shape}"
        raise ReadError(f"holds arrays of shapes {shapes}: {_NPZ_SHAPES}")


def _with_frames(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (1, *shape) if len(shape) == 1 else shape


def _array_names(archive: zipfile.ZipFile) -> dict[str, str]:
    """Members of an ``.npz`` archive by the names of their arrays."""
    return {name.removesuffix(".npy"): name for name in archive.namelist()}


def _find(archive: zipfile.ZipFile, meaning: str) -> zipfile.ZipInfo | None:
    members = _array_names(archive)
    found = [name for name in members if name.lower() in _KEYS[meaning]]
    if len(found) > 1:
        raise ReadError(f"holds several arrays for {meaning}: {sorted(found)}; keep one")
    member = archive.getinfo(members[found[0]]) if found else None
    # The header alone of what LZMA packs can ask for 4 GiB of memory.
    if member is not None and member.compress_type not in _METHODS:
        raise ReadError(
            f"is packed by the method {member.compress_type} of zip: expected arrays that are "
            "stored or deflated, as NumPy writes them"
        )
    return member


def _is_plain(member: zipfile.ZipInfo) -> bool:
    """Whether the bytes of a member stand in the file as they are."""
    return member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & _ENCRYPTED


def _plain_array(file: IO[bytes], member: zipfile.ZipInfo) -> _Array:
    file.seek(member.header_offset)
    names_and_extras = sum(_LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size)))
    begin = file.seek(names_and_extras, os.SEEK_CUR)
    return _array(file, begin + member.file_size)


def _text_member(archive: zipfile.ZipFile) -> str | None:
    member = _find(archive, "q_unit")
    if member is None or member.file_size > 2**16:
        return None
    with archive.open(member) as file:
        shape, _, dtype = _header(file)
        if dtype.kind != "U" or math.prod(shape) != 1:
            return None
        text = file.read(dtype.itemsize)
    # A damaged text may hold what is no character: no str of Python may.
    encoding = "utf-32-be" if dtype.str.startswith(">") else "utf-32-le"
    return text.decode(encoding, errors="replace").rstrip("\x00")


def _array(file: IO[bytes], end: int) -> _Array:
    """Array whose header is next in a stream, and whose numbers end at the byte ``end``."""
    shape, fortran_order, dtype = _header(file)
    if dtype.kind not in "fiu":
        kind = "Python objects" if dtype.hasobject else f"values of the type {dtype}"
        raise ReadError(f"holds {kind}: expected real numbers")
    check_points(shape)
    expected, held = math.prod(shape) * dtype.itemsize, end - file.tell()
    if held != expected:
        raise ReadError(f"declares {expected} bytes of numbers but holds {held}: it is cut off")
    return _Array(file, file.tell(), shape, fortran_order, dtype)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    if version not in _LENGTHS:
        raise ReadError(f"is a .npy file of version {version}: expected version 1 or 2")
    length = file.read(_LENGTHS[version].size)
    header = _understood(file.read(min(_LONGEST_HEADER, *_LENGTHS[version].unpack(length))))
    stream = io.BytesIO(_LENGTHS[version].pack(len(header)) + header)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


def _understood(header: bytes) -> bytes:
    """Header without the ``L`` of Python 2 behind its numbers, at which NumPy would warn."""
    if _WARNED_OF.search(header):
        raise ReadError(f"is a damaged NumPy file: its header is {header[:100]!r}")
    try:
        ast.literal_eval(header.decode("latin-1"))
    except SyntaxError:
        header = re.sub(rb"(?<=\d)L", b"", header)
        ast.literal_eval(header.decode("latin-1"))
    return header
