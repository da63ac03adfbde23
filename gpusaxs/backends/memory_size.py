"""Amounts of memory as people write them."""

from __future__ import annotations

import re

_UNITS = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)", re.IGNORECASE)


def bytes_of(size: int | str) -> int:
    """Return an amount of memory in bytes.

    Parameters
    ----------
    size
        Bytes, or words such as ``"20GB"`` (10^9 bytes each) and ``"20GiB"`` (2^30).

    Raises
    ------
    ValueError
        If it is no amount of memory.
    """
    match = _SIZE.fullmatch(str(size).strip())
    if match is None or match.group(2).upper() not in _UNITS:
        raise ValueError(f"Expected an amount of memory such as '20GB' or '512MiB'. Got {size!r}.")
    return int(float(match.group(1)) * _UNITS[match.group(2).upper()])
