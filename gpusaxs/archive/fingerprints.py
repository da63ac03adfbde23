"""What a file held when it was read: its hash, and whether it was changed meanwhile."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from gpusaxs.archive.plan import ListedFile

_PIECE = 2**20
SMALL = 2**24
"""Files up to this size are hashed by who reads them, others beside the reading of their blocks."""


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file that was read to its end.

    Parameters
    ----------
    file
        Its number in the listing.
    sha256
        Of its content; ``""`` where it cannot be opened.
    changed
        Whether it is not what the listing says any more.
    """

    file: int
    sha256: str
    changed: bool


class Fingerprints:
    """Hashes the files of a run; a large one in a thread of its own while it is read.

    Parameters
    ----------
    files
        The listing.
    """

    def __init__(self, files: Sequence[ListedFile]) -> None:
        self._files = files
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="gpusaxs-hash")
        self._begun: dict[int, Future[str]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def __enter__(self) -> Fingerprints:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._pool.shutdown(cancel_futures=True)

    def begin(self, file: int) -> None:
        """Say that a file is read from now on."""
        if self._files[file].size > SMALL:
            with self._lock:
                if file not in self._begun:
                    path = self._files[file].path
                    self._begun[file] = self._pool.submit(self._unless_ended, path)

    def end(self, file: int) -> ReadFile:
        """Say that the last curve of a file was read; return what it was."""
        self.begin(file)
        listed = self._files[file]
        with self._lock:
            begun = self._begun.pop(file, None)
        digest = sha256(listed.path) if begun is None else begun.result()
        return ReadFile(file, digest, stat(listed.path) != (listed.size, listed.mtime_ns))

    def read_small(self, file: int) -> tuple[bytes, ReadFile] | None:
        """Read a file at once, so that it is opened but once; return its bytes and what it was.

        None where it is large, or cannot be opened.
        """
        listed = self._files[file]
        if listed.size > SMALL:
            return None
        try:
            opened = os.open(listed.path, os.O_RDONLY)
        except OSError:
            return None
        try:
            # One byte more tells whether that is all.
            content = os.read(opened, listed.size + 1)
            while len(content) != listed.size and (more := os.read(opened, _PIECE)):
                content += more
            found = os.fstat(opened)
        except OSError:
            return None
        finally:
            os.close(opened)
        changed = (found.st_size, found.st_mtime_ns) != (listed.size, listed.mtime_ns)
        return content, ReadFile(file, hashlib.sha256(content).hexdigest(), changed)

    def _unless_ended(self, path: str) -> str:
        return sha256(path, self._ended)


def sha256(path: str, ended: threading.Event | None = None) -> str:
    """Hash a file; ``""`` where it cannot be read, or once nobody waits for it any more."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
                if ended is not None and ended.is_set():
                    return ""
    except OSError:
        return ""
    return digest.hexdigest()


def stat(path: str) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns; -1 where the system does not say."""
    try:
        found = os.stat(path)
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns
