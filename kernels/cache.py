"""Where compiled kernels are kept between runs.

Numba's own cache watches only the file of the function itself; a change in a helper in another
file would leave stale machine code. Here every entry lives in a folder named after a hash of all
kernel sources, so any change starts a fresh one.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from numba.core.caching import Cache, CompileResultCacheImpl
from platformdirs import user_cache_path

logger = logging.getLogger("gpusaxs")


@cache
def source_hash() -> str:
    """Hash of all files of this package."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@cache
def folder() -> Path | None:
    """Folder of the compiled kernels, or None where no folder can be written.

    ``GPUSAXS_CACHE_DIR`` names another place than the user's cache folder.
    """
    override = os.environ.get("GPUSAXS_CACHE_DIR")
    base = Path(override) if override else user_cache_path("gpusaxs")
    path = base / "kernels" / source_hash()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logger.warning("Kernels will be compiled anew in each process: %s", error)
        return None
    return path


class _Locator:
    """Tells Numba's cache where the entry of a function lives and when it is stale."""

    def __init__(self, path: Path, py_func: Callable[..., Any], py_file: str) -> None:
        self._path = path
        self._line = py_func.__code__.co_firstlineno
        self._file = py_file

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Locator | None:
        path = folder()
        return None if path is None else cls(path, py_func, py_file)

    def get_cache_path(self) -> str:
        return str(self._path)

    def ensure_cache_path(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)

    def get_source_stamp(self) -> tuple[int, int]:
        """Stamp of the function's own file: a user's kernel may live outside this package."""
        status = os.stat(self._file)
        return status.st_mtime_ns, status.st_size

    def get_disambiguator(self) -> str:
        return f"{self._line}-{hashlib.sha256(self._file.encode()).hexdigest()[:8]}"


LOCATORS = [_Locator]
"""What tells Numba's caches, on any target, where entries live."""


class _Impl(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = LOCATORS


@contextmanager
def alone_in(path: Path) -> Iterator[None]:
    """Hold off all other threads and processes that write to a folder in this way."""
    with open(path / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class _KernelCache(Cache):  # type: ignore[misc]
    _impl_class = _Impl

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function; one process at a time, or two take the same file for theirs."""
        with alone_in(Path(self.cache_path)):
            super().save_overload(sig, data)


def enable(dispatcher: Any) -> Any:
    """Keep what `dispatcher` compiles on disk, and return it."""
    if folder() is not None and hasattr(dispatcher, "_cache"):
        dispatcher._cache = _KernelCache(dispatcher.py_func)
    return dispatcher
