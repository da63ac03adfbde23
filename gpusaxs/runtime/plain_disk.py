"""An embedded store on disk that holds bytes and nothing that could run."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import MODE_PICKLE

PROBLEMS = (sqlite3.Error, OSError, diskcache.Timeout)
"""What is raised where the folder cannot be read or written."""


class PlainDisk(diskcache.Disk):  # type: ignore[misc]
    """Refuses to unpickle: whoever may write the folder must not run code here (CVE-2025-69872)."""

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        """Return a stored value that is plain.

        Raises
        ------
        ValueError
            If it is not.
        """
        if mode == MODE_PICKLE:
            raise ValueError(
                f"Expected plain bytes in the result cache {self._directory}. Got a pickle, which "
                "gpusaxs never writes. Remove the folder."
            )
        return super().fetch(mode, filename, value, read)


def open_cache(folder: str | Path, size_limit: int) -> Any:
    """Open the store in a folder; the least recently used values go when it is full."""
    return diskcache.Cache(
        str(folder),
        disk=PlainDisk,
        size_limit=size_limit,
        eviction_policy="least-recently-used",
    )
