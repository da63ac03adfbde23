"""Text of two or more columns, with any header and footer."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpusaxs.errors import ReadError
from gpusaxs.io.curves import Curves, FileIdentity, to_samples
from gpusaxs.io.numeric_block import UTF_16_MARKS, find_block, find_plain_block
from gpusaxs.io.recognise import looks_like_text
from gpusaxs.sample import Sample
from gpusaxs.units import find_q_unit

FloatArray = NDArray[np.float64]

NAME = "text"
LAST_RESORT = True

LARGEST_FILE = 256 * 2**20
MOST_COLUMNS = 16
_BLOCK = 2**20

_ANGLE = re.compile(r"^[\s#;%!]*(?:2[\s_-]*th|2\s*θ|two[\s_-]*theta)", re.IGNORECASE | re.MULTILINE)
_COMMENT_SIGNS = "#;%! \t"
_LABELS = {
    "q": re.compile(r"q(?![a-z])", re.IGNORECASE),
    "intensity": re.compile(r"i(?![a-z])|intensity", re.IGNORECASE),
    "sigma": re.compile(r"sig|err|i?dev|di(?![a-z])|std|s\.?d|uncert", re.IGNORECASE),
}


def matches(head: bytes) -> bool:
    """Whether the file begins with text that is no markup."""
    return looks_like_text(head)


def read(
    path: Path, curve_id: str, q_unit: str | None = None, content: bytes | None = None
) -> list[Sample]:
    """Curve of the longest table in a text file.

    The columns are q, intensity and, from three columns on, sigma. Labels are heeded in tables of
    four and more columns only, where they name q and intensity.
    """
    if content is None:
        content = read_content(path, "a text")
    values, header, footer = _table(content)
    if q_unit is None and _ANGLE.search(header):
        raise ReadError("gives intensity over the scattering angle: convert the angle to q first")
    _check_table(values)
    curve = _curve(values, header, find_q_unit(f"{header}\n{footer}"))
    return to_samples([curve], FileIdentity(path, curve_id, NAME, q_unit))


def read_content(path: str | Path, kind: str) -> bytes:
    """Bytes of a file of some kind; ReadError where they are too many for one curve."""
    # Each call of the system hands the interpreter's lock over: these are the fewest.
    file = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(file).st_size
        if size > LARGEST_FILE:
            raise ReadError(f"is {kind} of more than {LARGEST_FILE >> 20} MiB: expected one curve")
        content = os.read(file, size + 1)
        while len(content) != size and (more := os.read(file, _BLOCK)):
            content += more
        return content
    finally:
        os.close(file)


def decode(content: bytes) -> str:
    r"""Text in whatever encoding it is, with ``\n`` as line ends and blanks for quotes."""
    if content.startswith(UTF_16_MARKS):
        return _plain_signs(content.decode("utf-16", errors="replace"))
    if b"\x00" in content:
        raise ReadError("is text with binary parts: expected text alone")
    return _decode_bytewise(content)


def decode_around(content: bytes, start: int, stop: int) -> tuple[str, str]:
    """What `decode` makes of the header before a plain table and of the footer behind it."""
    # Both together, because both have the encoding of the whole. No plain text holds a NUL.
    around = _decode_bytewise(content[:start] + b"\x00" + content[stop:])
    header, _, footer = around.partition("\x00")
    return header, footer


def _table(content: bytes) -> tuple[FloatArray, str, str]:
    """Numbers of the longest table in a text, its header and its footer."""
    block = find_plain_block(content)
    if block is not None:
        return block.values, *decode_around(content, block.start, block.stop)
    text = decode(content)
    block = find_block(text)
    return block.values, text[: block.start], text[block.stop :]


def _decode_bytewise(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return _plain_signs(text)


def _plain_signs(text: str) -> str:
    if "\r" in text:
        # Nearly always this is all there is to do, and it is much faster.
        text = text.replace("\r\n", "\n")
    if "\r" in text:
        text = re.sub(r"\r+\n|\r", "\n", text)
    return text.replace('"', " ")


def _check_table(values: FloatArray) -> None:
    rows, columns = values.shape
    if columns > MOST_COLUMNS:
        raise ReadError(
            f"holds a table of {columns} columns, an image or many curves side by side: "
            "expected the columns q, intensity and, if known, sigma"
        )
    q = values[:, 0]
    # The first number alone tells nearly always.
    if rows > 2 and q[0] == np.rint(q[0]) and (q == np.rint(q)).all():
        raise ReadError(
            "holds whole numbers alone in its first column, channels or an image: expected q there"
        )


def _curve(values: FloatArray, header: str, stated_q_unit: str | None) -> Curves:
    q, intensity, sigma = _columns(values.shape[1], header)
    rows = np.ascontiguousarray(values.T)
    return Curves(
        q=rows[q],
        intensity=rows[intensity : intensity + 1],
        sigma=None if sigma is None else rows[sigma : sigma + 1],
        stated_q_unit=stated_q_unit,
    )


def _columns(count: int, header: str) -> tuple[int, int, int | None]:
    """Places of q, intensity and sigma."""
    if count == 2:
        return 0, 1, None
    labels = _labels(header, count) if count > 3 else []
    places = {
        name: [place for place, label in enumerate(labels) if pattern.match(label)]
        for name, pattern in _LABELS.items()
    }
    if len(places["q"]) != 1 or len(places["intensity"]) != 1:
        return 0, 1, 2
    sigma = places["sigma"][0] if places["sigma"] else None
    return places["q"][0], places["intensity"][0], sigma


def _labels(header: str, count: int) -> list[str]:
    """Labels in the last line of the header, if they are as many as the columns."""
    line = header.rstrip().rsplit("\n", 1)[-1].strip(_COMMENT_SIGNS)
    for separator in (r"[\t,;|]", r"\s{2,}", r"\s+"):
        labels = [label.strip() for label in re.split(separator, line)]
        if len(labels) == count:
            return labels
    return []
