"""Text of two or more columns, with any header and footer."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpusaxs.errors import ReadError
from gpusaxs.io.columns import columns_of
from gpusaxs.io.curves import Curves, FileIdentity, to_samples
from gpusaxs.io.numeric_block import UTF_16_MARKS, find_block, find_plain_block
from gpusaxs.io.recognise import looks_like_text
from gpusaxs.io.text_header import metadata_of
from gpusaxs.sample import CurveStatus, Sample
from gpusaxs.units import find_q_unit

FloatArray = NDArray[np.float64]

NAME = "text"
LAST_RESORT = True

LARGEST_FILE = 256 * 2**20
MOST_COLUMNS = 16
_BLOCK = 2**24

_ROW_BEGINS = frozenset("0123456789+-. \t")
_IMAGE = re.compile(r"detector image|PIXELS\(X\)", re.IGNORECASE)
_IMAGE_REASON = "holds the image of a detector: integrate it to a curve first"


def matches(head: bytes) -> bool:
    """Whether the file begins with text that is no markup."""
    return looks_like_text(head)


def read(
    path: Path, curve_id: str, q_unit: str | None = None, content: bytes | None = None
) -> list[Sample]:
    """Curve of the longest table in a text file.

    The columns are those that its labels name. Without labels they are q, intensity and, from
    three columns on, sigma; of four and more the curve's status then says that this is a guess.
    """
    if content is None:
        content = read_content(path, "a text")
    values, header, footer = _table(content)
    columns = columns_of(values.shape[1], header, path.suffix.lower())
    if columns.refusal and (columns.labelled or q_unit is None):
        raise ReadError(columns.refusal)
    _check_table(values)
    _check_whole(values, header, footer)
    rows = np.ascontiguousarray(values.T)
    sigma, q_sigma = columns.sigma, columns.q_sigma
    curve = Curves(
        q=rows[columns.q],
        intensity=rows[columns.intensity : columns.intensity + 1],
        sigma=None if sigma is None else rows[sigma : sigma + 1],
        q_sigma=None if q_sigma is None else rows[q_sigma],
        stated_q_unit=find_q_unit(f"{header}\n{footer}"),
        metadata=metadata_of(header, footer),
        status=CurveStatus.COLUMNS_GUESSED if columns.guessed else CurveStatus.OK,
    )
    return to_samples([curve], FileIdentity(path, curve_id, NAME, q_unit))


def read_content(path: str | Path, kind: str) -> bytes:
    """Bytes of a file of some kind; ReadError where they are too many for one curve."""
    # Each call of the system hands the interpreter's lock over: these are the fewest.
    file = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(file).st_size
        content = b"" if size > LARGEST_FILE else os.read(file, size + 1)
        # A file that grows, or a device, has more than it says.
        while len(content) != size <= LARGEST_FILE and (more := os.read(file, _BLOCK)):
            content += more
            size = max(size, len(content) + 1)
        if size > LARGEST_FILE:
            raise ReadError(f"is {kind} of more than {LARGEST_FILE >> 20} MiB: expected one curve")
        return content
    finally:
        os.close(file)


def decode(content: bytes) -> str:
    r"""Text in whatever encoding it is, with ``\n`` as line ends."""
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
    try:
        block = find_block(text.replace('"', " "))
    except ReadError:
        if _IMAGE.search(text):
            raise ReadError(_IMAGE_REASON) from None
        raise
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
    return text


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


def _check_whole(values: FloatArray, header: str, footer: str) -> None:
    """Refuse a table that one damaged line cuts in two: the other part would be lost unsaid."""
    columns = values.shape[1]
    line, *below = footer.split("\n", 2)
    if below and line.strip() and _first_number(below[0], columns) > values[-1, 0]:
        raise ReadError(_interrupted(line))
    above = header.rsplit("\n", 3)
    if len(above) > 2 and above[-2].strip() and _first_number(above[-3], columns) < values[0, 0]:
        raise ReadError(_interrupted(above[-2]))


def _first_number(line: str, columns: int) -> float:
    """First number of a line that could be a row of the table; NaN for other lines."""
    if line[:1] not in _ROW_BEGINS:
        return math.nan
    cells = line.replace(",", " ").replace(";", " ").split()
    # Headers hold rows of whole numbers as well.
    if len(cells) != columns or "." not in cells[0]:
        return math.nan
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        return math.nan
    return numbers[0]


def _interrupted(line: str) -> str:
    return (
        f"has a table that is interrupted by the line {line.strip()[:60]!r}: correct or remove it"
    )
