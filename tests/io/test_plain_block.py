"""The shortcut for ordinary texts gives what the general way gives, or nothing."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpusaxs.errors import ReadError
from gpusaxs.io import pdh, read, text
from gpusaxs.io.numeric_block import find_block, find_plain_block
from gpusaxs.io.recognise import HEAD_BYTES, reader_for
from gpusaxs.io.text import decode, decode_around

DATA = Path(__file__).parents[3] / "shared" / "data"
ROWS = "0.01 5.5 0.1\n0.02 4.5 0.1\n0.03 3.5 0.1\n"

NUMBERS = ["+.5", "5.", "-0.0", "0", "00012.5", "1e5", "1E+05", "nan", "-NaN", "7", "-3", "1."]
RARE = ["1e-320", "1e400", "9007199254740993", "1234567890123456789012345", "1.5e-300"]
ODD = ["-", "--", "inf", "-inf", "null", "***", "1D5", "1.5d-3", "1-2", "1e", "."]
ODD += ["1.2.3", "NA", "n/a", "1,5", "1;2", '"1"', "١", "é", "#", "1_0", "0x10", "\x0b", "\x0c"]
ODD += ["\xa0", "²", "nano", "N", "i", "no data", ",", "/", "2020-10-11", "1\r2", "\x00", "\u2028"]
LINES = ["# comment", "q I sigma", "", "  ", "Prüfung (Å^-1)", "sample 12", "1 2 3 4 5", "30"]
LINES += ["-1 -1", "info", "no data", "---", "{", '"a","b"', "x,y", "% 1 2", "1.5 abc", "\ufeff"]
LINES += ["20\N{DEGREE SIGN}C", "3 3 3", "0.5, 0.6,", "<column>"]
SEPARATORS = [" ", "  ", "\t", ",", ", ", ";", " ; ", " \t", ",,"]
ENDS = ["\n", "\n", "\n", "\r\n", "\r\n", "\r", "\r\r\n"]
ENCODINGS = ["utf-8", "utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16"]


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Compile beforehand: hypothesis takes the first example for a slow one otherwise."""
    find_plain_block(ROWS.encode())


def number(source):
    kind = source.random()
    if kind < 0.4:
        value = source.uniform(-2, 2) * 10.0 ** source.randint(-5, 5)
        return f"{value:.{source.randint(0, 20)}e}"
    if kind < 0.6:
        return repr(source.uniform(-10, 10))
    if kind < 0.8:
        return f"{source.uniform(-10, 1000):.{source.randint(0, 6)}f}"
    return source.choice(RARE if source.random() < 0.02 else NUMBERS)


def table(source, oddity):
    """Lines of numbers, some of them with cells that are none."""
    separator = source.choice(SEPARATORS[:4] if source.random() < 0.8 else SEPARATORS)
    columns = source.randint(1, 5)
    lines = []
    for _ in range(source.choice([0, 1, 2, 3, 3, 4, 8, 20])):
        cells = [
            source.choice(ODD) if source.random() < oddity else number(source)
            for _ in range(columns + (source.random() < oddity))
        ]
        lines.append(source.choice(["", "", "", " ", "\t"]) + separator.join(cells))
    kind = source.random()
    if kind < 0.2:
        lines.insert(0, " ".join([str(len(lines)), *["1"] * source.randint(0, 2)]))
    elif kind < 0.3:
        lines = [line.replace(".", ",") for line in lines]
    elif kind < 0.4:
        lines = [line + source.choice([" ", ",", ",,", ";;"]) for line in lines]
    return lines


def random_text(source):
    """Bytes of a text with headers, tables and footers of all kinds, some of them damaged."""
    oddity = source.choice([0, 0, 0, 0.002, 0.05, 0.3])
    lines = []
    for _ in range(source.randint(1, 4)):
        lines += source.choices(LINES, k=source.choice([0, 0, 1, 2, 3]))
        lines += table(source, oddity)
    lines += source.choices(LINES, k=source.choice([0, 0, 1, 2]))
    same_end = source.choice(ENDS) if source.random() < 0.9 else None
    whole = "".join(line + (same_end or source.choice(ENDS)) for line in lines)
    if source.random() < 0.3:
        whole = whole.rstrip("\r\n")
    content = whole.encode(source.choice(ENCODINGS), errors="replace")
    if source.random() < 0.03:
        place = source.randint(0, len(content))
        content = content[:place] + source.randbytes(1) + content[place:]
    return content


def general(content):
    """Numbers, header and footer as the general way finds them, None where it finds no table."""
    try:
        whole = decode(content)
        block = find_block(whole)
    except ReadError:
        return None
    return block.values, whole[: block.start], whole[block.stop :]


def agrees(content):
    """Whether the shortcut takes a text; it must then give what the general way gives."""
    block = find_plain_block(content)
    if block is None:
        return False
    values, *around = general(content)
    assert block.values.shape == values.shape
    assert block.values.tobytes() == values.tobytes()
    assert [*decode_around(content, block.start, block.stop)] == around
    return True


def test_random_texts_give_the_same_table_and_surroundings():
    source = random.Random(1)
    taken = sum(agrees(random_text(source)) for _ in range(20_000))
    assert taken > 1_000


@given(
    st.lists(st.sampled_from([*"0123456789.eE+-,; \t\n\r", "1.5", "nan", "#", "é", '"', "\n1 2"]))
)
def test_texts_of_random_signs_give_the_same_table_and_surroundings(signs):
    agrees("".join(signs).encode())
    agrees(("".join(signs) + ROWS).encode())
    agrees((ROWS + "".join(signs)).encode("latin-1"))


@pytest.mark.parametrize("footer", ["", "creator: x\n", "Prüfung\n", "1 2\n3 4\n", "{\n12.5, 3\n}"])
@pytest.mark.parametrize(
    "header", ["", "# q\r\n", "\ufeff# q Å\n", "Prüfung q\n", "5 1 1\n", "1\n2\n"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_ordinary_texts_are_taken(header, footer, encoding):
    assert agrees((header + ROWS + footer).encode(encoding, errors="replace"))


def test_a_header_in_one_encoding_and_a_footer_in_another_are_both_latin_1_as_the_whole_is():
    assert agrees("Prüfung\n".encode() + ROWS.encode() + "Prüfung\n".encode("latin-1"))
    assert agrees(ROWS.encode() + b"\xef\xbb\xbfthe end\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("4.5", "inf"),
        ("4.5", "***"),
        ("4.5", "null"),
        ("4.5", "4.5D0"),
        ("4.5", '"4.5"'),
        ("4.5", "1e-310"),
        ("4.5", "4.5é"),
        (" ", ",,"),
        ("\n", ",\n"),
        (".", ","),
        ("\n", "\r"),
        ("4.5", "\x00"),
    ],
)
def test_texts_out_of_the_ordinary_are_left_to_the_general_way(old, new):
    assert not agrees(ROWS.replace(old, new).encode())


def test_texts_that_begin_with_a_mark_of_utf_16_are_left_to_the_general_way():
    assert not agrees(b"\xff\xfe\n" + ROWS.encode())


@pytest.mark.parametrize(
    "tables",
    [
        "1 2\n3 4\n5 6 7\n8 9 1\n",
        "1 2\n3 4\n\n5 6 7\n8 9 1\n",
        "1 2\n3 4\n\n7\n5 6 7\n8 9 1\n",
        "1 2\n3 4\n---\n\n5 6 7\n8 9 1\n",
        "1 2\n3 4\n5 6\n\n5 6 7\n8 9 1\nno\nno\n",
        "5 6 7\n8 9 1\n--\n--\n--\n\n1 2\n3 4\n",
    ],
)
def test_of_tables_of_one_length_the_same_is_taken(tables):
    agrees(tables.encode())


def plain_columns(count):
    return "".join(f"0.{row:02d} 1.5 0.5\n" for row in range(count))


def test_many_short_numbers_fit_at_the_second_try():
    assert agrees(b"1 2 3\n" * 500)


def test_columns_are_whole_in_memory_as_a_curve_needs_them():
    block = find_plain_block(plain_columns(20).encode())
    assert block.values[:, 1].flags.c_contiguous


def outcome(path):
    """All that comes of reading a file: the curve, or why there is none."""
    try:
        (sample,) = read(path)
    except ReadError as error:
        return str(error)
    arrays = [
        None if a is None else a.tobytes() for a in (sample.q, sample.intensity, sample.sigma)
    ]
    return sample.id, arrays, sample.origin, sample.status


def both_outcomes(path):
    shortcut = outcome(path)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(text, "find_plain_block", lambda content: None)
        patched.setattr(pdh, "plain_table", lambda content, header_lines: None)
        return shortcut, outcome(path)


def damaged_pdh(source):
    """Bytes of a .pdh file that may be intact, or not."""
    points = source.choice([0, 1, 2, 3, 4, 10])
    oddity = source.choice([0, 0, 0, 0.05])
    columns = source.choice([1, 2, 3, 3, 3, 4])
    title = source.choice(["title", "Prüfung", "1 2 3", "<b>", "", "a,b"])
    declared = source.choice([points, points, points, points, points + 1, max(0, points - 1)])
    lines = [title, "SAXS BOX", f"{declared:9d}" + "         0" * 7]
    lines += ["  0.000000E+00" * 4 + "  1.542000E-01", "  0.000000E+00" * 5]
    for _ in range(points):
        cells = [source.choice(ODD) if source.random() < oddity else number(source)]
        cells += [number(source) for _ in range(columns - 1)]
        lines.append("  " + source.choice(["  ", "  ", "  ", "\t", ","]).join(cells))
    if source.random() < 0.1:
        lines.insert(source.randint(0, len(lines)), source.choice(LINES))
    if source.random() < 0.5:
        unit = source.choice(["nm^-1", "A^-1", "deg"])
        lines += ['<column key="X">', f'<value key="unit">{unit}</value>', "</column>"]
    whole = source.choice(["\n", "\n", "\n", "\r\n", "\r"]).join(lines) + source.choice(["\n", ""])
    return whole.encode(source.choice(["utf-8", "utf-8", "latin-1"]), errors="replace")


def test_random_pdh_files_give_the_same_curve_or_the_same_refusal(tmp_path):
    source = random.Random(2)
    path = tmp_path / "curve.pdh"
    curves = 0
    for _ in range(1_000):
        path.write_bytes(damaged_pdh(source))
        shortcut, expected = both_outcomes(path)
        assert shortcut == expected, path.read_bytes()
        curves += not isinstance(expected, str)
    assert curves > 100


def test_random_texts_give_the_same_curve_or_the_same_refusal(tmp_path):
    source = random.Random(3)
    path = tmp_path / "curve.dat"
    for _ in range(1_000):
        path.write_bytes(random_text(source))
        shortcut, expected = both_outcomes(path)
        assert shortcut == expected, path.read_bytes()


def test_an_intact_pdh_file_is_taken():
    lines = ["Prüfung", "SAXS BOX", "9" + "   0" * 7, "  0.0" * 4 + " 0.1542", "  0.0" * 5]
    rows = "".join(f"   0.{row}    1.5   nan \n" for row in range(9))
    header, values, trailer = pdh._plain_parts(("\n".join(lines) + "\n" + rows + "<x>").encode())
    assert header["points"] == "9"
    assert values.shape == (9, 3)
    assert trailer == "<x>"


@pytest.mark.skipif(not DATA.is_dir(), reason="the measured data are not there: ../shared/data")
def test_measured_files_give_the_same_curve_or_the_same_refusal():
    paths = sorted(path for path in DATA.rglob("*") if path.is_file())
    for path in paths:
        if reader_for(path.read_bytes()[:HEAD_BYTES]).NAME not in ("text", "pdh"):
            continue
        shortcut, expected = both_outcomes(path)
        assert shortcut == expected, path
        agrees(path.read_bytes())


@pytest.mark.skipif(not DATA.is_dir(), reason="the measured data are not there: ../shared/data")
def test_most_measured_curves_are_ordinary_texts():
    folders = ("bragg", "plain", "series", "background")
    paths = [path for folder in folders for path in (DATA / folder).rglob("*.dat")]
    assert sum(agrees(path.read_bytes()) for path in paths) > 0.9 * len(paths)
