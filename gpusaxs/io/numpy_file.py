"""NumPy's ``.npy`` and ``.npz``: one curve or a stack of them, never a pickle."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import IO

import numpy as np
from numpy.typing import NDArray

from gpusaxs.errors import ReadError
from gpusaxs.io.curves import Curves, FileIdentity, check_size, to_samples
from gpusaxs.sample import Sample

FloatArray = NDArray[np.float64]

NAME = "numpy"

_NPY_MAGIC = b"\x93NUMPY"
_ZIP_MAGIC = b"PK\x03\x04"
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
    RuntimeError, TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def matches(path: Path, head: bytes) -> bool:
    """Whether the file begins as ``.npy``, or as a zip archive whose first member is one."""
    return head.startswith(_NPY_MAGIC) or (head.startswith(_ZIP_MAGIC) and b".npy" in head[:300])


def read(path: Path, curve_id: str, q_unit: str | None = None) -> list[Sample]:
    """Curves of a ``.npy`` or ``.npz`` file."""
    try:
        curves = _read_npz(path) if zipfile.is_zipfile(path) else _read_npy(path)
    except _DAMAGES as error:
        raise ReadError(f"is a damaged NumPy file: {error}") from error
    return to_samples([curves], FileIdentity(path, curve_id, NAME, q_unit))


def _read_npy(path: Path) -> Curves:
    with path.open("rb") as file:
        array = _load(file, path.stat().st_size)
    if array.ndim == 2:
        array = _columns_first(array)[np.newaxis]
    if array.ndim != 3 or array.shape[1] not in (2, 3) or array.shape[2] < 4:
        raise ReadError(f"holds an array of shape {array.shape}: {_NPY_SHAPES}")
    return _stack(array[:, 0], array[:, 1], array[:, 2] if array.shape[1] == 3 else None)


def _columns_first(array: FloatArray) -> FloatArray:
    as_rows, as_columns = array.shape[0] in (2, 3), array.shape[1] in (2, 3)
    if as_rows == as_columns:
        raise ReadError(f"holds an array of shape {array.shape}: {_NPY_SHAPES}")
    return array if as_rows else array.T


def _read_npz(path: Path) -> Curves:
    with zipfile.ZipFile(path) as archive:
        q = _member(archive, "q")
        intensity = _member(archive, "intensity")
        sigma = _member(archive, "sigma")
        q_unit = _text_member(archive)
    if q is None or intensity is None:
        raise ReadError(
            f"holds the arrays {sorted(_array_names(archive))}: expected 'q', 'intensity' and, "
            "if known, 'sigma'"
        )
    return _checked(q, intensity, sigma, q_unit)


def _checked(
    q: FloatArray, intensity: FloatArray, sigma: FloatArray | None, q_unit: str | None
) -> Curves:
    rows = np.atleast_2d(intensity)
    sigmas = None if sigma is None else np.atleast_2d(sigma)
    q = q[0] if q.ndim == 2 and len(q) == 1 else q
    fits = rows.ndim == 2 and q.shape in (rows.shape, rows.shape[1:])
    if not fits or (sigmas is not None and sigmas.shape != rows.shape):
        shapes = f"q {q.shape}, intensity {intensity.shape}"
        shapes += "" if sigma is None else f", sigma {sigma.shape}"
        raise ReadError(f"holds arrays of shapes {shapes}: {_NPZ_SHAPES}")
    return _stack(q, rows, sigmas, q_unit)


def _stack(
    q: FloatArray, intensity: FloatArray, sigma: FloatArray | None, q_unit: str | None = None
) -> Curves:
    """Curves with one row of q where all frames have the same."""
    if q.ndim == 2 and np.array_equal(q, np.broadcast_to(q[0], q.shape), equal_nan=True):
        q = q[0]
    return Curves(
        q=np.ascontiguousarray(q),
        intensity=np.ascontiguousarray(intensity),
        sigma=None if sigma is None else np.ascontiguousarray(sigma),
        stated_q_unit=q_unit,
    )


def _array_names(archive: zipfile.ZipFile) -> dict[str, str]:
    """Members of an ``.npz`` archive by the names of their arrays."""
    return {name.removesuffix(".npy"): name for name in archive.namelist()}


def _find(archive: zipfile.ZipFile, meaning: str) -> zipfile.ZipInfo | None:
    members = _array_names(archive)
    found = [name for name in members if name.lower() in _KEYS[meaning]]
    if len(found) > 1:
        raise ReadError(f"holds several arrays for {meaning}: {sorted(found)}; keep one")
    return archive.getinfo(members[found[0]]) if found else None


def _member(archive: zipfile.ZipFile, meaning: str) -> FloatArray | None:
    member = _find(archive, meaning)
    if member is None:
        return None
    with archive.open(member) as file:
        return _load(file, member.file_size)


def _text_member(archive: zipfile.ZipFile) -> str | None:
    member = _find(archive, "q_unit")
    if member is None or member.file_size > 2**16:
        return None
    with archive.open(member) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
    return str(array) if array.dtype.kind == "U" and array.size == 1 else None


def _load(file: IO[bytes], size: int) -> FloatArray:
    """Array of a ``.npy`` stream of ``size`` bytes, as float64."""
    shape, fortran_order, dtype = _header(file)
    if dtype.kind not in "fiu":
        kind = "Python objects" if dtype.hasobject else f"values of the type {dtype}"
        raise ReadError(f"holds {kind}: expected real numbers")
    check_size(shape)
    expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    held = size - file.tell()
    if held != expected:
        raise ReadError(f"declares {expected} bytes of numbers but holds {held}: it is cut off")
    values = np.frombuffer(file.read(expected), dtype=dtype)
    return values.reshape(shape, order="F" if fortran_order else "C").astype(np.float64)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ReadError(f"is a .npy file of version {version}: expected version 1 or 2")
