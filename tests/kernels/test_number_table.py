"""Numbers and tables in bytes, against Python's own float."""

import random
import struct
from itertools import pairwise

import numpy as np
import pytest
from gpusaxs.kernels.number_table import (
    FOUND,
    NOT_SIMPLE,
    TOO_MANY_NUMBERS,
    find_table,
    read_number,
)
from hypothesis import given
from hypothesis import strategies as st

FORMATS = {
    "repr": repr,
    "%.6e": "%.6e".__mod__,
    "%.8g": "%.8g".__mod__,
    "%.17g": "%.17g".__mod__,
    "%.18e": "%.18e".__mod__,
    "%.24e": "%.24e".__mod__,
}


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compile beforehand: hypothesis takes the first example for a slow one otherwise."""
    number_in("1.5")


def table_of(text, *, header_lines=0, capacity=None):
    content = text.encode()
    numbers = np.empty(len(content) // 2 + 1 if capacity is None else capacity)
    return find_table(np.frombuffer(content, np.uint8), header_lines, numbers), numbers


def number_in(text):
    """Value of a text that is one number, None where the kernel does not tell it."""
    value, stop, seen = read_number(np.frombuffer(text.encode(), np.uint8), 0)
    return value if seen >= 0 and stop == len(text) else None


def bits(values):
    return np.asarray(values, np.float64).view(np.uint64).tolist()


def random_doubles(count, seed):
    """Doubles of random bits, without those that are not normal and finite."""
    source = random.Random(seed)
    values = struct.unpack(f"<{count}d", source.randbytes(8 * count))
    return [value for value in values if 2.3e-308 < abs(value) < 1.7e308]


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_numbers_of_random_bits_are_rounded_as_python_rounds_them(form):
    cells = [form(value) for value in random_doubles(20_000, seed=1)]
    table, numbers = table_of("".join(f"{a} {b}\n" for a, b in pairwise(cells)))
    assert (table.status, table.rows, table.columns) == (FOUND, len(cells) - 1, 2)
    assert bits(numbers[: 2 * table.rows : 2]) == bits([float(cell) for cell in cells[:-1]])


@given(st.integers(0, 10**30), st.integers(-45, 45))
def test_digits_with_an_exponent_are_rounded_as_python_rounds_them(digits, exponent):
    text = f"{digits}e{exponent}"
    value = number_in(text)
    # Beyond nineteen digits a number next to the middle of two is not told.
    assert (value is None and digits >= 10**19) or bits(value) == bits(float(text))


@given(st.integers(0, 2**64), st.integers(-330, 300))
def test_a_number_of_any_size_is_rounded_as_python_rounds_it_or_not_told(digits, exponent):
    text = f"{digits}e{exponent}"
    value = number_in(text)
    if 2.3e-308 < float(text) < 1.7e308 and digits < 10**19:
        assert value is not None
    assert value is None or bits(value) == bits(float(text))


@given(st.floats(1e-300, 1e300), st.integers(-1, 1))
def test_numbers_at_and_beside_the_middle_of_two_doubles_are_never_wrong(value, beside):
    numerator, denominator = value.as_integer_ratio()
    above, other = np.nextafter(value, np.inf).item().as_integer_ratio()
    # Half the sum, and its exact decimals: the denominator is a power of two.
    numerator = numerator * other + above * denominator
    denominator *= 2 * other
    places = denominator.bit_length() - 1
    text = f"{numerator * 5**places + beside}e-{places}"
    told = number_in(text)
    assert told is None or bits(told) == bits(float(text))


# At and beside the middle of two doubles, in all spellings, with more digits than fit in 64 bits.
ORDINARY = """
9007199254740992 9007199254740993 9007199254740994 9007199254740995 9007199254740993.0
1e22 1e23 1e-23 8.5e22 123456789012345678e22 4503599627370496.5 4503599627370497.5
4503599627370498.5 0.1 0.3 2.2250738585072014e-308 1.7976931348623157e308 1.7976931348623158e308
0 -0 -0.0 +0.0 0e999 0.000000000000000000000000000000 -0e-999 00012.5 000000000000000000000001.5
+.5 -.5 5. +5. 5.e3 .5E+03 1e5 1E05 1e+0000000000000005 1234567890.12345678901234567890
100000000000000000000 12345678901234567890 18446744073709551615 18446744073709551616
0.1234567890123456789012345678901234567890 99999999999999999999 7.2057594037927933e16 5e-20
67902.44 65536.5 0.5e-10 31.4159265358979e-1 9214843084008499 1777820000000000000001
"""
EXTREME = """
3.5e-323 2.2250738585072011e-308 6.631236846766476e-316 2.5e-324 5e-324 2.47032822920623272e-324
1e-400 1e309 1e400 1e99999999999999999999 1e-99999999999999999999 1.0000000000000001110223024
1.00000000000000011102230246251565 1.00000000000000011102230246251566 30078505129381147446200
0.500000000000000166533453693773481063544750213623046875 3.518437208883201171875e13
"""
NO_NUMBERS = """
- + . -. e5 .e5 1e 1e+ 1e- 1.5d3 1_0 0x1 1..2 1.2.3 --1 +-1 inf -inf na nano 1-2 1e5e5
1e5.5 / : 1/2 1:
"""


def words(text):
    return pytest.mark.parametrize("text", text.split())


@words(ORDINARY)
def test_an_ordinary_number_is_rounded_as_python_rounds_it(text):
    assert bits(number_in(text)) == bits(float(text))


@words(EXTREME)
def test_a_number_at_the_edge_of_what_can_be_told_is_never_wrong(text):
    value = number_in(text)
    assert value is None or bits(value) == bits(float(text))


@words(NO_NUMBERS)
def test_what_is_no_plain_number_is_not_told(text):
    assert number_in(text) is None


@words("nan NaN NAN -nan +NaN")
def test_nan_is_told_with_its_sign(text):
    assert bits(number_in(text)) == bits(float(text))


def test_the_search_runs_without_the_interpreters_lock():
    assert find_table.targetoptions["nogil"]


def test_a_short_array_for_the_numbers_is_refused_and_nothing_is_written_beyond_it():
    guarded = np.full(10, 7.0)
    text = np.frombuffer(b"1 2 3\n4 5 6\n", np.uint8)
    assert find_table(text, 0, guarded[:5]).status == TOO_MANY_NUMBERS
    assert guarded[5:].tolist() == [7.0] * 5
    assert find_table(text, 0, guarded[:6]).status == FOUND


def test_lines_of_the_header_are_no_part_of_the_table():
    table, numbers = table_of("1 2\n3 4\n5 6\n7 8\n", header_lines=2)
    assert table == (FOUND, 2, 2, 8, 16, 0)
    assert numbers[:4].tolist() == [5, 6, 7, 8]


@pytest.mark.parametrize("text", ["", "\n", "1 2", "1 2\n", "1\n2\n3\n", "q I\n", "1 2\n3 4\r"])
def test_a_text_without_two_rows_is_not_simple(text):
    assert table_of(text)[0].status == NOT_SIMPLE
