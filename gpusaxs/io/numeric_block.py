"""The table of numbers in a text: found, counted and parsed.

The table is the longest run of lines with the same number of columns, at least two, that hold
numbers and nothing else. So headers and footers need no rule of their own.

`find_block` reads any text. `find_plain_block` is its shortcut for the ordinary one: from the
bytes of the file to the same table in a twentieth of the time, without the interpreter's lock, or
None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np
from numpy.typing import NDArray

from gpusaxs.errors import ReadError
from gpusaxs.kernels import number_table

FloatArray = NDArray[np.float64]

# Lines that could be numbers, by their signs alone: one cheap pass finds the runs of them. The
# letters are those of exponents and of nan, inf, null, none, N/A.
_RUN = re.compile(
    r"(?:^[ \t]*[-+.\dniNI][-+.\deEdDnNaAiIfFtTyYuUlLoO*#/ \t,;]*(?:\n|\Z))+", re.MULTILINE
)
_NUMBER = re.compile(
    r"[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[ed][-+]?\d+)?|nan|inf(?:inity)?)", re.IGNORECASE | re.ASCII
)
_MISSING = re.compile(r"\*+|-{1,3}|#?n/?a|null|none", re.IGNORECASE)
_COMMAS_BETWEEN_DIGITS = re.compile(r"(?:[^,]|(?<=\d),(?=\d))*")
_EMPTY_CELL = re.compile(r"(?<=[,;])[ \t]*(?=[,;]|$)", re.MULTILINE)
_TO_BLANKS = str.maketrans(",;\t", "   ")

UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
# Numbers of a measurement rarely take fewer bytes, with what separates them.
_BYTES_A_NUMBER = 8


@dataclass(frozen=True, slots=True, eq=False)
class NumericBlock:
    """A table of numbers in a text, and where it stands.

    Parameters
    ----------
    values : (rows, columns) float64
    start, stop
        Its first character, and the one behind its last; bytes where it was found in bytes.
    """

    values: FloatArray
    start: int
    stop: int


def find_plain_block(content: bytes) -> NumericBlock | None:
    """Table that `find_block` finds in the decoded content, None where only that can tell."""
    block = plain_table(content)
    return None if block is None else _without_empty_columns(_without_count(block))


def plain_table(content: bytes, header_lines: int = 0) -> NumericBlock | None:
    """Longest table behind some lines as it stands, None where a text is out of the ordinary."""
    if not content or content.startswith(UTF_16_MARKS):
        return None
    text = np.frombuffer(content, np.uint8)
    numbers = np.empty(len(content) // _BYTES_A_NUMBER + 1)
    table = number_table.find_table(text, header_lines, numbers)
    if table.status == number_table.TOO_MANY_NUMBERS:
        numbers = np.empty(len(content) // 2 + 1)
        table = number_table.find_table(text, header_lines, numbers)
    if table.status != number_table.FOUND:
        return None
    values = numbers[table.first : table.first + table.rows * table.columns]
    # In memory each column is whole, as the curve takes it.
    columns = np.ascontiguousarray(values.reshape(table.rows, table.columns).T)
    return NumericBlock(columns.T, table.start, table.stop)


def find_block(text: str) -> NumericBlock:
    r"""Longest table of two or more columns in a text whose lines end with ``\n``.

    Raises
    ------
    ReadError
        If there is none.
    """
    text = text if text.endswith("\n") else f"{text}\n"
    runs = [(run.group().count("\n"), run) for run in _RUN.finditer(text)]
    best: NumericBlock | None = None
    for lines, run in sorted(runs, key=lambda item: item[0], reverse=True):
        if best is not None and lines < len(best.values):
            break
        for block in _blocks(run.group(), run.start()):
            if best is None or len(block.values) > len(best.values):
                best = block
    if best is None or len(best.values) < 2:
        longest = max((lines for lines, _ in runs), default=0)
        raise ReadError(_why_no_table(longest))
    return _without_empty_columns(_without_count(best))


def _blocks(run: str, offset: int) -> Iterator[NumericBlock]:
    """Tables in a run: its stretches with a constant number of columns."""
    lines = _with_blanks(run).split("\n")
    starts = list(accumulate((len(line) + 1 for line in run.split("\n")), initial=offset))
    for columns, first, last in _stretches([len(line.split()) for line in lines]):
        if columns < 2:
            continue
        values = _parsed(lines[first:last])
        if values is None:
            yield from _cleaned(lines[first:last], starts[first : last + 1])
        else:
            yield NumericBlock(values, starts[first], starts[last])


def _with_blanks(run: str) -> str:
    """Run with blanks between its columns and points as decimal signs."""
    if ";" not in run and "," not in run:
        return run
    decimal_commas = "," in run and _has_decimal_commas(run)
    run = _EMPTY_CELL.sub("nan", run)
    return (run.replace(",", ".") if decimal_commas else run).translate(_TO_BLANKS)


def _has_decimal_commas(run: str) -> bool:
    """Whether commas can only be decimal signs: between digits, no point, other separators."""
    if "." in run or _COMMAS_BETWEEN_DIGITS.fullmatch(run) is None:
        return False
    first_line = run.split("\n", 1)[0].strip()
    return len(re.split(r"[;\s]+", first_line)) > 1


def _stretches(keys: list[int]) -> Iterator[tuple[int, int, int]]:
    """Key, first and last + 1 of each stretch of equal keys."""
    last = 0
    for key, group in groupby(keys):
        first, last = last, last + sum(1 for _ in group)
        yield key, first, last


def _cleaned(lines: list[str], starts: list[int]) -> Iterator[NumericBlock]:
    """Tables in lines of which some are no rows, or spell numbers in other ways."""
    rows = [_clean_row(line) for line in lines]
    for is_row, first, last in _stretches([row != "" for row in rows]):
        values = _parsed(rows[first:last]) if is_row else None
        if values is not None:
            yield NumericBlock(values, starts[first], starts[last])


def _clean_row(line: str) -> str:
    """Row that NumPy's parser takes, ``""`` for a line that is no row.

    A cell that a program has filled with stars or with a word for "missing" becomes NaN, so that
    the row is dropped in the open and does not cut the table in two.
    """
    first, *others = line.split()
    if not _NUMBER.fullmatch(first):
        return ""
    cells = ["nan" if _MISSING.fullmatch(cell) else cell for cell in others]
    if not all(_NUMBER.fullmatch(cell) for cell in cells):
        return ""
    return re.sub("[dD]", "e", " ".join([first, *cells]))


def _parsed(lines: list[str]) -> FloatArray | None:
    try:
        return np.loadtxt(lines, dtype=np.float64, comments=None, ndmin=2)
    except ValueError:
        return None


def _without_count(block: NumericBlock) -> NumericBlock:
    """Block without a first row of whole numbers that begins with the count of the others."""
    first, others = block.values[0], block.values[1:]
    if len(others) > 1 and first[0] == len(others) and np.all(first == np.rint(first)):
        return NumericBlock(others, block.start, block.stop)
    return block


def _without_empty_columns(block: NumericBlock) -> NumericBlock:
    """Block without columns at its right end that hold no number, as spreadsheets write them."""
    columns = block.values.shape[1]
    # The first number alone tells nearly always.
    while (
        columns > 2 and math.isnan(block.values[0, columns - 1]) and _is_empty(block, columns - 1)
    ):
        columns -= 1
    if columns == block.values.shape[1]:
        return block
    return NumericBlock(block.values[:, :columns], block.start, block.stop)


def _is_empty(block: NumericBlock, column: int) -> bool:
    return bool(np.isnan(block.values[:, column]).all())


def _why_no_table(longest: int) -> str:
    expected = "expected a table with the columns q, intensity and, if known, sigma"
    if longest == 0:
        return f"is text without numbers: {expected}"
    return f"is text with numbers but without two columns of them side by side: {expected}"
