"""The longest table of numbers in the bytes of a text file, parsed without the interpreter.

Unlike the kernels over curves these loops run on the CPU alone, before there is a curve. They
take the ordinary case only: numbers in digits, or NaN, between blanks, tabs, commas or semicolons,
in lines that end with LF or CR LF. Whatever else could decide what the table is makes `find_table`
say so, and `gpusaxs.io.numeric_block` reads the text in its own, general way. So nothing here
repairs or guesses: a table that is found is exactly the table, and its numbers bit for bit the
numbers, of the general way.

Numbers are rounded correctly by the algorithm of Eisel and Lemire: D. Lemire, "Number parsing at
a gigabyte per second", Software: Practice and Experience 51 (2021) 1700; that its 128 bits
always suffice: N. Mushtak and D. Lemire, "Fast number parsing without fallback", ibid. 53 (2023)
1467.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numba
import numpy as np
from gpusaxs.kernels import cache
from numpy.typing import NDArray

P = ParamSpec("P")
R = TypeVar("R")

FOUND = 0
NOT_SIMPLE = 1
"""The general way has to decide."""
TOO_MANY_NUMBERS = 2
"""The array for the numbers is too short; half as many as there are bytes, plus one, suffice."""


class Table(NamedTuple):
    """A stretch of lines with the same number of columns.

    Parameters
    ----------
    status
        `FOUND`, or why it is none.
    rows, columns
        Its size.
    start, stop
        Its first byte, and the one behind its last.
    first
        Place of its first number in the array of all numbers; the others follow, row by row. -1
        where not all its lines are simple.
    """

    status: int
    rows: int
    columns: int
    start: int
    stop: int
    first: int


def _compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function that is called for every byte, into whatever calls it.

    It allocates nothing, so it needs no runtime of Numba's, which would count references to the
    arrays at each call. Both together make the whole six times as fast.
    """
    jit = numba.njit(nogil=True, error_model="numpy", forceinline=True, _nrt=False)
    made: Callable[P, R] = cache.enable(jit(function))
    return made


# What a byte can be to the general way: a line with an `_OTHER` one is no row of a table there.
_OTHER, _IN_ROW, _STARTS_ROW, _BLANK, _COMMA, _QUOTE, _CONTROL, _FOREIGN = (
    1 << k for k in range(8)
)


def _byte_kinds() -> NDArray[np.uint8]:
    kinds = np.full(256, _OTHER, np.uint8)
    kinds[128:] = _FOREIGN
    for signs, kind in (
        (b"eEdDaAfFtTyYuUlLoO*#/", _IN_ROW),
        (b"-+.0123456789niNI", _STARTS_ROW),
        (b" \t", _BLANK),
        (b",;", _COMMA),
        (b'"', _QUOTE),
        (b"\x00\r\n", _CONTROL),
    ):
        kinds[list(signs)] = kind
    return kinds


_KINDS = _byte_kinds()

# What is seen in the lines of a run: together these say what commas mean there.
_POINT, _COMMA_SEEN, _EMPTY_CELL = 1, 2, 4

_LEAST_POWER, _LARGEST_POWER = -342, 308


def _powers_of_five() -> NDArray[np.uint64]:
    """128 leading bits of 5**k, as high and low half.

    The rest is cut off, but for the powers from -27 to -1, which are rounded up: so products
    with numbers that they divide come out whole, and ties are seen.
    """
    powers = []
    for k in range(_LEAST_POWER, _LARGEST_POWER + 1):
        five = 5 ** abs(k)
        if k >= 0:
            powers.append((five << 128) >> five.bit_length())
        else:
            powers.append((1 << (five.bit_length() + 127)) // five + (k >= -27))
    halves = [half for bits in powers for half in (bits >> 64, bits & (2**64 - 1))]
    return np.array(halves, np.uint64)


_POWERS = _powers_of_five()
# 2**k for every k that a float64 can have below its 53 bits.
_LEAST_TWO = -1074
_TWOS = np.array([2.0**k for k in range(_LEAST_TWO, 972)])
_TENS = 10.0 ** np.arange(23)
# In memory, because compilers are free to forget the sign of a NaN.
_NANS = np.array([np.nan, -np.nan])

u64 = np.uint64


@_compiled
def multiply(a, b):  # type: ignore[no-untyped-def]
    """High and low half of the product of two uint64."""
    a_low, a_high = a & u64(0xFFFFFFFF), a >> u64(32)
    b_low, b_high = b & u64(0xFFFFFFFF), b >> u64(32)
    low = a_low * b_low
    middle = a_high * b_low + (low >> u64(32))
    other = a_low * b_high + (middle & u64(0xFFFFFFFF))
    return a_high * b_high + (middle >> u64(32)) + (other >> u64(32)), a * b


@_compiled
def nearest(digits, power):  # type: ignore[no-untyped-def]
    """Float64 nearest to digits * 10**power, and whether it could be told.

    digits : uint64. Numbers that are subnormal or too large are not told.
    """
    if digits == u64(0):
        return 0.0, True
    if digits <= u64(1 << 53) and -22 <= power <= 22:
        # Both are exact, so the one rounding is the right one (W. Clinger, 1990).
        value = float(np.int64(digits))
        return (value / _TENS[-power] if power < 0 else value * _TENS[power]), True
    if power < _LEAST_POWER or power > _LARGEST_POWER:
        return 0.0, False
    shift = 0
    while digits & u64(1 << 63) == u64(0):
        digits <<= u64(1)
        shift += 1
    place = 2 * (power - _LEAST_POWER)
    high, low = multiply(digits, _POWERS[place])
    if high & u64(0x1FF) == u64(0x1FF):
        more, _ = multiply(digits, _POWERS[place + 1])
        low += more
        if low < more:
            high += u64(1)
    upper = high >> u64(63)
    cut = upper + u64(9)
    # 54 bits: one more than there is place for, to round with.
    bits = high >> cut
    # 217706 / 2**16 is the logarithm of 10 to the base 2, close enough for these powers.
    exponent = ((217706 * power) >> 16) + 63 + np.int64(upper) - shift + 1023
    if exponent <= 0 or exponent > 2046:
        return 0.0, False
    if low <= u64(1) and -4 <= power <= 23 and bits & u64(3) == u64(1) and bits << cut == high:
        # Halfway between two: down to the even one. Elsewhere the half rounds up.
        bits &= ~u64(1)
    bits = (bits + (bits & u64(1))) >> u64(1)
    return float(np.int64(bits)) * _TWOS[exponent - 1], True


@_compiled
def byte_at(text, position):  # type: ignore[no-untyped-def]
    """Byte of a text. An unsigned place spares the case that it counts from the end."""
    return text[u64(position)]


@_compiled
def digit_at(text, position):  # type: ignore[no-untyped-def]
    """Digit at a place, or something else than 0 to 9 where there is none."""
    return np.int64(byte_at(text, position)) - 48 if position < text.shape[0] else -1


@_compiled
def eight_digits(text, position):  # type: ignore[no-untyped-def]
    """Number that the next eight bytes spell, and whether they are all digits."""
    if position + 8 > text.shape[0]:
        return u64(0), False
    # The compiler makes a single load of these.
    chunk = u64(byte_at(text, position))
    chunk |= u64(byte_at(text, position + 1)) << u64(8)
    chunk |= u64(byte_at(text, position + 2)) << u64(16)
    chunk |= u64(byte_at(text, position + 3)) << u64(24)
    chunk |= u64(byte_at(text, position + 4)) << u64(32)
    chunk |= u64(byte_at(text, position + 5)) << u64(40)
    chunk |= u64(byte_at(text, position + 6)) << u64(48)
    chunk |= u64(byte_at(text, position + 7)) << u64(56)
    # A digit is 3 in its upper half, and still so with 6 added.
    upper = u64(0xF0F0F0F0F0F0F0F0)
    more = chunk + u64(0x0606060606060606)
    if (chunk & upper) | ((more & upper) >> u64(4)) != u64(0x3333333333333333):
        return u64(0), False
    # Neighbours become pairs, pairs fours, fours the number.
    chunk -= u64(0x3030303030303030)
    chunk = chunk * u64(10) + (chunk >> u64(8))
    pairs = u64(0x000000FF000000FF)
    front = (chunk & pairs) * u64(0x000F424000000064)
    back = ((chunk >> u64(16)) & pairs) * u64(0x0000271000000001)
    return (front + back) >> u64(32), True


@_compiled
def read_digits(text, position, number):  # type: ignore[no-untyped-def]
    """Append digits to a number, modulo 2**64; the place behind them, too."""
    digit = digit_at(text, position)
    while 0 <= digit <= 9:
        number = number * u64(10) + u64(digit)
        position += 1
        digit = digit_at(text, position)
    return number, position


@_compiled
def read_many_digits(text, position, number):  # type: ignore[no-untyped-def]
    """Do the same as `read_digits`, faster from eight digits on."""
    eight, all_digits = eight_digits(text, position)
    while all_digits:
        number = number * u64(100_000_000) + eight
        position += 8
        eight, all_digits = eight_digits(text, position)
    return read_digits(text, position, number)


@_compiled
def first_digits(text, position, stop):  # type: ignore[no-untyped-def]
    """First 19 significant digits as a number, and the count of digits and zeros after them."""
    number, taken, left = u64(0), 0, 0
    for place in range(position, stop):
        digit = digit_at(text, place)
        if digit < 0:  # the point
            continue
        if taken == 19:
            left += 1
        elif taken > 0 or digit > 0:
            number = number * u64(10) + u64(digit)
            taken += 1
    return number, left


@_compiled
def is_nan(text, position):  # type: ignore[no-untyped-def]
    """Whether three bytes spell NaN, in whatever case."""
    if position + 3 > text.shape[0]:
        return False
    # 32 makes small letters of capitals.
    small = np.uint8(32)
    return (
        byte_at(text, position) | small == ord("n")
        and byte_at(text, position + 1) | small == ord("a")
        and byte_at(text, position + 2) | small == ord("n")
    )


@_compiled
def read_number(text, position):  # type: ignore[no-untyped-def]
    """Number at a place of a text: its value, the place behind it, what was seen.

    What was seen is `_POINT` or 0, and -1 where there is no number or it cannot be told.
    """
    sign = byte_at(text, position)
    if sign == ord("-") or sign == ord("+"):
        position += 1
    if is_nan(text, position):
        return _NANS[1 if sign == ord("-") else 0], position + 3, 0
    start = position
    number, position = read_digits(text, start, u64(0))
    count = position - start
    power = 0
    seen = 0
    if digit_at(text, position) == ord(".") - 48:
        seen = _POINT
        fraction = position + 1
        number, position = read_many_digits(text, fraction, number)
        power = fraction - position
        count -= power
    if count == 0:
        return 0.0, start, -1
    stop = position
    letter = digit_at(text, position)
    if letter == ord("e") - 48 or letter == ord("E") - 48:
        written, position, told = read_exponent(text, position + 1)
        if not told:
            return 0.0, start, -1
        power += written
    cut = 0
    if count > 19:
        number, cut = first_digits(text, start, stop)
        power += cut
    value, told = nearest(number, power)
    if cut > 0 and told:
        # The digits left out make the number larger, by less than one of the last kept.
        larger, told = nearest(number + u64(1), power)
        told = told and larger == value
    if not told:
        return 0.0, start, -1
    return -value if sign == ord("-") else value, position, seen


@_compiled
def read_exponent(text, position):  # type: ignore[no-untyped-def]
    """Exponent behind its letter, the place behind it, and whether there is one."""
    sign = digit_at(text, position)
    if sign == ord("-") - 48 or sign == ord("+") - 48:
        position += 1
    digit = digit_at(text, position)
    told = 0 <= digit <= 9
    exponent = 0
    while 0 <= digit <= 9:
        # All beyond are as good as endless, and must not overflow.
        if exponent < 1_000_000:
            exponent = 10 * exponent + digit
        position += 1
        digit = digit_at(text, position)
    return -exponent if sign == ord("-") - 48 else exponent, position, told


@_compiled
def read_row(text, position, numbers, filled):  # type: ignore[no-untyped-def]
    """Numbers of a line: how many, the place behind the line, what was seen.

    The count is 0 where something else than numbers stands in the line, and -1 where `numbers`
    is too short.
    """
    size = text.shape[0]
    count = 0
    seen = 0
    separated = False
    while position < size:
        kind = _KINDS[byte_at(text, position)]
        if kind == _BLANK:
            position += 1
        elif kind == _STARTS_ROW:
            if filled + count == numbers.shape[0]:
                return -1, position, seen
            value, position, seen_here = read_number(text, position)
            if seen_here < 0:
                return 0, position, seen
            numbers[filled + count] = value
            count += 1
            seen |= seen_here
            separated = False
            if position < size and _KINDS[byte_at(text, position)] == _STARTS_ROW:
                # As in 1-2: a sign within a cell.
                return 0, position, seen
        elif kind == _COMMA and count > 0:
            if separated:
                seen |= _EMPTY_CELL
            if byte_at(text, position) == ord(","):
                seen |= _COMMA_SEEN
            separated = True
            position += 1
        else:
            break
    position = line_end(text, position)
    if position < 0:
        return 0, position, seen
    if separated:
        seen |= _EMPTY_CELL
    return count, position, seen


@_compiled
def line_end(text, position):  # type: ignore[no-untyped-def]
    """Place behind the end of a line at a place, -1 where no line ends there."""
    size = text.shape[0]
    if position < size and byte_at(text, position) == ord("\r"):
        position += 1
        if position == size:
            return -1
    if position < size:
        return position + 1 if byte_at(text, position) == ord("\n") else -1
    return position


@_compiled
def scan_line(text, position):  # type: ignore[no-untyped-def]
    """Columns of any line, the place behind the line, what was seen.

    The count is 0 where no table of the general way holds the line, and -1 where the line alone
    makes the text one for the general way.
    """
    size = text.shape[0]
    columns = 0
    seen = 0
    started = False
    is_row = True
    is_clear = True
    before = _BLANK
    separated = False
    while position < size:
        sign = byte_at(text, position)
        kind = _KINDS[sign]
        if kind == _CONTROL:
            break
        # Letters of other scripts can be digits, and a quote is a blank, in the general way.
        is_clear &= kind & (_QUOTE | _FOREIGN) == 0
        if kind == _COMMA:
            if sign == ord(","):
                seen |= _COMMA_SEEN
            if separated:
                seen |= _EMPTY_CELL
            separated = True
        elif kind != _BLANK:
            if before & (_BLANK | _COMMA):
                columns += 1
            if sign == ord("."):
                seen |= _POINT
            separated = False
        is_row &= kind != _OTHER
        if not started and kind & (_BLANK | _QUOTE) == 0:
            started = True
            is_row &= kind & (_STARTS_ROW | _FOREIGN) != 0
        before = kind
        position += 1
    position = line_end(text, position)
    if separated:
        seen |= _EMPTY_CELL
    if position < 0:
        return -1, position, seen
    if not (is_row and started):
        return 0, position, seen
    return columns if is_clear else -1, position, seen


@_compiled
def find_table(text, header_lines, numbers):  # type: ignore[no-untyped-def]
    """Longest table of two or more columns behind some lines of a text.

    Parameters
    ----------
    text : (bytes,) uint8
    header_lines
        So many lines at the beginning are no part of it.
    numbers : (capacity,) float64
        Takes the numbers of all tables.

    Returns
    -------
    Table
    """
    none = Table(NOT_SIMPLE, 0, 0, 0, 0, 0)
    best, best_run = none, 0
    # A run is a stretch of lines of numbers; its tables have a constant number of columns.
    best_of_run, run, run_seen = none, 0, 0
    longest_unclear_run = 0
    rows, columns, start, first = 0, 0, 0, 0
    # Not a plain 0: Numba would compile the functions that are given it once more, for it alone.
    zero: Any = np.int64(0)
    line, position, filled = zero, zero, zero
    at_end = False
    while not at_end:
        begin = position
        at_end = begin == text.shape[0]
        count, seen = 0, 0
        is_simple = False
        if not at_end:
            if line >= header_lines:
                count, position, seen = read_row(text, begin, numbers, filled)
                if count < 0:
                    return Table(TOO_MANY_NUMBERS, 0, 0, 0, 0, 0)
                is_simple = count > 0
            if not is_simple:
                count, position, seen = scan_line(text, begin)
                if count < 0:
                    return none
                if line < header_lines:
                    count = 0
        if count != columns:
            if columns > 1 and rows > best_of_run.rows:
                best_of_run = Table(FOUND, rows, columns, start, begin, first)
            rows, columns, start, first = 0, count, begin, filled
        if count == 0 and run > 0:
            # An empty cell is a column, and commas without any point may be decimal signs.
            commas_alone = run_seen & (_COMMA_SEEN | _POINT) == _COMMA_SEEN
            if run_seen & _EMPTY_CELL or commas_alone:
                longest_unclear_run = max(longest_unclear_run, run)
            # Of equal tables that of the longer run is the first that the general way sees.
            elif best_of_run.rows > best.rows or (best_of_run.rows == best.rows and run > best_run):
                best, best_run = best_of_run, run
            best_of_run, run, run_seen = none, 0, 0
        if count > 0:
            run += 1
            run_seen |= seen
            rows += 1
            if not is_simple:
                first = -1
            elif first >= 0:
                filled += count
        line += 1
    if best.rows < 2 or best.first < 0 or longest_unclear_run >= best.rows:
        return none
    return best
