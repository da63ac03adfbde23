"""Damages: of bytes, of lines and cells, of elements, of headers, and of the members of HDF5."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import h5py
import numpy as np
from fuzzing_seeds import POINTS, Seed, saved, tarred, zipped

LARGEST = 2**17
"""Bytes that a damaged file may have; what repeats a part of it stays below."""

Random = random.Random
Mutation = Callable[[bytes, Random], bytes]

CELLS = (
    "nan", "inf", "-inf", "1e999", "-1e999", "1e308", "1e-320", "9" * 400, "0", "-0.0", "", " ",
    "word", "***", "--", "N/A", "1_000", "0x10", "1,5", "1.2.3", "+-1", "e5", "1e", "1d5", ".",
    "٣", "½", "\x00", "1" * 5000, "-1", "2147483648", "18446744073709551616", "1e18", "#", '"', "{",
    "1e9", "NaN(1)", "Infinity", "1+2j", "true", "\u2028", "1;2", "1\t2", "-", "+", "1.7976931e308",
)  # fmt: skip
UNITS = (
    "1/A", "1/nm", "1/m", "nm^-1", "Å⁻¹", "1/angstrom", "deg", "2th_deg", "m", "", " ", "none", "?",
    "1/cm", "nm|1/nm", "1/A 1/nm", "x" * 3000, "ä?", "1/",
    "rad",
    "q", "arbitrary", "a.u.",
)  # fmt: skip
_NUMBER = re.compile(rb"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
_TAG = re.compile(r"<[^<>]*>")


def some(rng: Random, most: int) -> int:
    """Return a number from 1 on that is mostly small."""
    return min(most, 1 + int(rng.expovariate(0.7)))


def _part(content: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.choice((1, 2, 4, 8, 64, 512)))


def _flipped(content: bytes, rng: Random) -> bytes:
    found = bytearray(content)
    for _ in range(some(rng, 16)):
        if found:
            found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def _overwritten(content: bytes, rng: Random) -> bytes:
    start, stop = _part(content, rng)
    other = rng.choice((b"\x00", b"\xff", b"0", b"9", b" ", b"\n", b"\x7f", None))
    new = rng.randbytes(stop - start) if other is None else other * (stop - start)
    return content[:start] + new + content[stop:]


def _inserted(content: bytes, rng: Random) -> bytes:
    place = rng.randrange(len(content) + 1)
    signs = (b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\x1a", b"\xe9", b"9" * 50,
             b" " * 5000, b"<", b"\xed\xa0\x80", b"\n" * 300, rng.randbytes(rng.randrange(1,
             40)))  # fmt: skip
    return content[:place] + rng.choice(signs) + content[place:]


def _removed(content: bytes, rng: Random) -> bytes:
    start, stop = _part(content, rng)
    return content[:start] + content[stop:]


def _repeated(content: bytes, rng: Random) -> bytes:
    start, stop = _part(content, rng)
    times = rng.choice((2, 3, 10, 200))
    return (content[:stop] + content[start:stop] * times + content[stop:])[:LARGEST]


def _swapped(content: bytes, rng: Random) -> bytes:
    a, b, c, d = sorted(rng.randrange(len(content) + 1) for _ in range(4))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def truncated(content: bytes, rng: Random) -> bytes:
    """Beginning of a file, or what is left behind one."""
    cut = rng.randrange(len(content) + 1)
    return content[:cut] if rng.random() < 0.85 else content[cut:]


def _other_number(content: bytes, rng: Random) -> bytes:
    found = list(_NUMBER.finditer(content[:LARGEST]))
    if not found:
        return content
    number = rng.choice(found)
    new = rng.choice(CELLS).encode("utf-8", "surrogatepass")
    return content[: number.start()] + new + content[number.end() :]


BYTES: tuple[Mutation, ...] = (
    _flipped, _overwritten, _inserted, _removed, _repeated, _swapped, truncated, _other_number,
)  # fmt: skip


def mixed(content: bytes, other: bytes, rng: Random) -> bytes:
    """Beginning of one file and end of another."""
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


# Text


def _between(line: str) -> str:
    return next((sign for sign in (";", ",", "\t", "   ") if sign in line), " ")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"[;,\t]", line)] if _between(line) in ";,\t" else (
        line.split()
    )  # fmt: skip


def _other_cells(lines: list[str], rng: Random) -> list[str]:
    place = rng.randrange(len(lines))
    cells = _cells(lines[place]) or [""]
    cells[rng.randrange(len(cells))] = rng.choice(CELLS)
    return [*lines[:place], _between(lines[place]).join(cells), *lines[place + 1 :]]


def _other_columns(lines: list[str], rng: Random) -> list[str]:
    """One column less, twice, more or of one value, in all lines or from one line on."""
    begin = rng.choice((0, rng.randrange(len(lines))))
    column, kind, cell = rng.randrange(-3, 4), rng.randrange(4), rng.choice(CELLS)
    found = lines[:begin]
    for line in lines[begin:]:
        cells = _cells(line)
        if cells and -len(cells) <= column < len(cells):
            if kind == 0:
                del cells[column]
            elif kind == 1:
                cells += [cells[column]] * rng.choice((1, 1, 15, 60))
            elif kind == 2:
                cells.insert(column, cell)
            else:
                cells[column] = cell
        found.append(_between(line).join(cells))
    return found


def _other_lines(lines: list[str], rng: Random) -> list[str]:
    a, b = sorted(rng.randrange(len(lines) + 1) for _ in range(2))
    kind = rng.randrange(6)
    if kind == 0:
        return lines[:a] + lines[b:]
    if kind == 1:
        return (lines[:b] + lines[a:b] * rng.choice((1, 2, 20)) + lines[b:])[:2000]
    if kind == 2:
        part = lines[a:b]
        rng.shuffle(part)
        return lines[:a] + part + lines[b:]
    if kind == 3:
        return lines[:a] + [rng.choice(CELLS) + " " + rng.choice(CELLS)] * some(rng, 9) + lines[a:]
    if kind == 4:
        return lines[:a] + lines + lines[a:]
    return [*lines[:a], " ".join(lines[a:b]), *lines[b:]]


def _other_signs(lines: list[str], rng: Random) -> list[str]:
    old, new = rng.choice(
        ((" ", ","), (" ", ";"), (" ", "\t"), (".", ","), ("e", "d"), ("E", "D"), (" ", "  "),
         ("-", "\u2212"), (" ", "\u00a0"), ("0", "\u0660"), ("\n", "\n\n"), (":", "="), ('"', "'"),
         ("#", ""), ("1/A", "1/nm"), ("nm", "A"), ("{", "{{"), ("}", ""), ("[", "["*3000))
    )  # fmt: skip
    if rng.random() < 0.5:
        return [line.replace(old, new) for line in lines]
    place = rng.randrange(len(lines))
    return [*lines[:place], lines[place].replace(old, new), *lines[place + 1 :]]


def _other_counts(lines: list[str], rng: Random) -> list[str]:
    """Other whole numbers in the header: those of points, and of lines."""
    places = [k for k, line in enumerate(lines[:30]) if re.search(r"(?<![\d.])\d+(?![\d.])", line)]
    if not places:
        return lines
    place = rng.choice(places)
    number = rng.choice(("0", "-1", "1", "7", "9", "10000000000", "1e3", "", "9" * 30, "9" * 5000))
    line = re.sub(r"(?<![\d.])\d+(?![\d.])", lambda _: number, lines[place], count=1)
    return [*lines[:place], line, *lines[place + 1 :]]


_LINES = (_other_cells, _other_cells, _other_columns, _other_lines, _other_signs, _other_counts)
_ENCODINGS = ("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "latin-1", "utf-32", "cp037")


def text(content: bytes, rng: Random) -> bytes:
    """Text with other cells, columns, lines, signs, counts or another encoding."""
    lines = content.decode("utf-8", "replace").split("\n")
    for _ in range(some(rng, 4)):
        lines = rng.choice(_LINES)(lines, rng) or [""]
    whole = rng.choice(("\n", "\n", "\n", "\n", "\r\n", "\r", "\n\r")).join(lines)[:LARGEST]
    if rng.random() < 0.05:
        return whole.encode(rng.choice(_ENCODINGS), "replace")
    return whole.encode("utf-8", "replace")


# XML


_ELEMENTS = (
    "SASroot", "SASentry", "SASdata", "Idata", "Q", "I", "Idev", "Qdev", "Title", "SASsample", "ID",
    "thickness", "transmission", "temperature", "Sesans", "Qx", "Qy", "x", "c:Q", "SASprocess",
)  # fmt: skip
_PIECES = (
    "<!-- a -- b -->", "<!--", "<![CDATA[1 2]]>", "<![CDATA[", "&amp;", "&lt;", "&unknown;", "&#0;",
    "&#x110000;", "&#55296;", "<?pi?>", "<?xml version='1.0'?>",
    '<!DOCTYPE SASroot [<!ENTITY a "b">]>',
    '<!DOCTYPE SASroot SYSTEM "file:///etc/passwd">', "<", ">", "/>", "</", "<Q/>", "<SASdata/>",
    "<I>1</I>", "<SASdata><Idata/></SASdata>", "<Idata><Q>1</Q><I>2</I></Idata>", "\x00", "\ufffe",
    "<Q unit='1/nm'>0.5", "</Idata>", "<Sesans/>", "<Qx>1</Qx>", "SASdata", " xmlns='x'", "\u0085",
)  # fmt: skip


def _other_tag(whole: str, rng: Random) -> str:
    tags = list(_TAG.finditer(whole))
    if not tags:
        return whole
    tag = rng.choice(tags)
    kind = rng.randrange(6)
    name = re.match(r"</?([\w:.-]*)", tag.group())
    old, new = "" if name is None else name[1], rng.choice(_ELEMENTS)
    changed = {
        0: "",
        1: tag.group() * rng.choice((2, 3, 40)),
        2: tag.group().replace(old, new, 1),
        3: tag.group().replace(">", f' unit="{rng.choice(UNITS)}">'),
        4: tag.group() + rng.choice(_PIECES),
        5: tag.group().replace('"', rng.choice(("'", "", '""', "&quot;")), 1),
    }[kind]
    if kind == 2 and old and rng.random() < 0.5:
        return re.sub(rf"(</?){re.escape(old)}(?=[\s>/])", rf"\g<1>{new}", whole)
    return whole[: tag.start()] + changed + whole[tag.end() :]


def _other_unit(whole: str, rng: Random) -> str:
    units = list(re.finditer(r'unit="[^"]*"', whole))
    new = rng.choice((f'unit="{rng.choice(UNITS)}"', "", 'unit="1/A" unit="1/nm"', "unit=1/A"))
    if not units or rng.random() < 0.3:
        return re.sub(r'unit="[^"]*"', lambda _: new, whole)
    unit = rng.choice(units)
    return whole[: unit.start()] + new + whole[unit.end() :]


def _nested(whole: str, rng: Random) -> str:
    """Element around a part, many times."""
    tags = [tag.end() for tag in _TAG.finditer(whole)] or [0]
    a, b = sorted(rng.choice(tags) for _ in range(2))
    levels, name = rng.choice((1, 3, 150, 250, 4000)), rng.choice(_ELEMENTS)
    end = f"</{name}>" * (levels if rng.random() < 0.8 else 0)
    return whole[:a] + f"<{name}>" * levels + whole[a:b] + end + whole[b:]


def _other_piece(whole: str, rng: Random) -> str:
    place = rng.randrange(len(whole) + 1)
    return whole[:place] + rng.choice(_PIECES) + whole[place:]


def _other_value(whole: str, rng: Random) -> str:
    values = list(re.finditer(r">([^<>]+)<", whole))
    if not values:
        return whole
    value = rng.choice(values)
    return whole[: value.start(1)] + rng.choice(CELLS) + whole[value.end(1) :]


def _other_declaration(whole: str, rng: Random) -> str:
    encoding = rng.choice(
        ("utf-8", "utf-16", "latin-1", "ascii", "utf-7", "idna", "base64", "zlib", "x" * 99,
        "cp037",
         "utf-8-sig", "unicode_escape", "undefined", "hex", "punycode", "mbcs", "shift-jis",
         "utf-32")
    )  # fmt: skip
    behind = re.sub(r"^\s*<\?xml[^>]*\?>", "", whole)
    return f"<?xml version='{rng.choice(('1.0', '1.1', '9'))}' encoding='{encoding}'?>{behind}"


_XML = (_other_tag, _other_tag, _other_unit, _nested, _other_piece, _other_value, _other_value,
        _other_declaration)  # fmt: skip


def xml(content: bytes, rng: Random) -> bytes:
    """XML with other tags, units, values, pieces, levels or another declaration."""
    is_utf_16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    whole = content.decode("utf-16" if is_utf_16 else "utf-8", "replace")
    for _ in range(some(rng, 4)):
        whole = rng.choice(_XML)(whole, rng)[:LARGEST]
    if is_utf_16 or rng.random() < 0.03:
        return whole.encode(rng.choice(_ENCODINGS), "replace")
    return whole.encode("utf-8", "replace")


# NumPy


_SHAPES = (
    "()", "(0,)", "(3,)", "(3, 0)", "(-1, 3)", "(3, 8)", "(8, 3)", "(2, 12)", "(1, 3, 8)", "(24,)",
    "(4, 2, 3)", "(3, 1, 8)", "(2**40,)", "(1099511627776, 3)", "(3, 9223372036854775807)",
    "(1e3,)",
    "(3, 18446744073709551616)", "(4294967296, 4294967296)", "(True, 8)", "3", "[3, 8]", "(3, '8')",
    "(3, 8, 1, 1, 1)", "(" + "1, " * 70 + ")", "None", "(" * 90, "(3, 536870912)", "(0, 2**60)",
)  # fmt: skip
_TYPES = (
    "'<f8'", "'>f8'", "'<f4'", "'<f2'", "'<f16'", "'|i1'", "'<u8'", "'|b1'", "'<c16'", "'|O'",
    "'<U4'",
    "'|S8'", "'<M8[ns]'", "'<m8'", "'|V8'", "[('a', '<f8')]", "[('q', '<f8', (3,))]", "''", "'f8'",
    "None", "8", "'<f3'", "('<f8', (2,))", "'<U99999999'", "'|V0'", "'|S0'", "'<f8,<f8'", "['<f8']",
)  # fmt: skip


def npy(content: bytes, rng: Random) -> bytes:
    """NumPy file with another header in front of the same numbers."""
    if len(content) < 12:
        return content
    [length] = struct.unpack("<H", content[8:10])
    header, numbers = content[10 : 10 + length].decode("latin-1"), content[10 + length :]
    kind = rng.randrange(7)
    if kind == 0:
        header = re.sub(r"'shape': \(.*?\)", f"'shape': {rng.choice(_SHAPES)}", header)
    elif kind == 1:
        header = re.sub(r"'descr': '.*?'", f"'descr': {rng.choice(_TYPES)}", header)
    elif kind == 2:
        order = rng.choice(("True", "False", "1", "None", "[]"))
        header = re.sub(r"'fortran_order': \w+", f"'fortran_order': {order}", header)
    elif kind == 3:
        numbers = (numbers * 3)[: rng.randrange(3 * len(numbers) + 1)]
    elif kind == 4:
        other = rng.choice((b"\xff", b"\x00", b"\x7f\xf0", rng.randbytes(8)))
        numbers = (other * len(numbers))[: len(numbers)]
    elif kind == 5:
        pieces = (
            "{",
            "}",
            "'",
            "\\",
            "(" * 300,
            "lambda: 0",
            "\n",
            "\x00",
            "#",
            "-" * 3000,
            "é",
            "9" * 5000,
        )
        place = rng.randrange(len(header) + 1)
        header = header[:place] + rng.choice(pieces) + header[place:]
    stated = len(header) if kind != 6 else rng.choice((0, 1, len(header) - 1, 30000, 65535))
    version = (
        b"\x01\x00" if rng.random() < 0.9 else rng.choice((b"\x02\x00", b"\x03\x00", b"\x09\x01"))
    )
    size = struct.pack("<I" if version[0] > 1 else "<H", min(max(stated, 0), 65535))
    return b"\x93NUMPY" + version + size + header.encode("latin-1", "replace") + numbers


_MEMBERS = (
    "q.npy", "intensity.npy", "sigma.npy", "Q.npy", "I.npy", "i.npy", "err.npy", "unit.npy", "q",
    "q_unit.npy", "other.npy", "../q.npy", "/q.npy", "", "q.npy/", "a.dat", "[Content_Types].xml",
    "\x00.npy", "x" * 300, ".hidden", "sub\\a.dat", "a.dat\x00b", "mimetype",
)  # fmt: skip
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


def _members(content: bytes) -> dict[str, bytes]:
    """Files of an archive that is intact; none of one that is not."""
    try:
        if content.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return {name: archive.read(name) for name in archive.namelist()}
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            files = [info for info in tar.getmembers() if info.isfile()]
            return {info.name: tar.extractfile(info).read() for info in files}  # type: ignore[union-attr]
    except Exception:  # noqa: BLE001
        return {}


def _other_members(members: dict[str, bytes], rng: Random) -> dict[str, bytes]:
    """Members of which some are damaged, missing, twice or under another name."""
    found = dict(members)
    for _ in range(some(rng, 3)):
        if not found:
            break
        name = rng.choice(sorted(found))
        kind = rng.randrange(5)
        if kind <= 1:
            found[name] = damaged(found[name], rng, inner=True)
        elif kind == 2:
            found[rng.choice(_MEMBERS)] = found[name]
        elif kind == 3:
            found[rng.choice(_MEMBERS)] = found.pop(name)
        else:
            found[name] = rng.choice((b"", bytes(5000), saved(np.array("1/nm")), saved(np.zeros(0)),
                                      saved(np.zeros((3, POINTS))), saved(np.array(["a"] * 9)),
                                      zipped({"a": b"1 2\n3 4\n"}),
                                      b"0.1 2\n0.2 3\n" * 9))  # fmt: skip
    return found


def npz(content: bytes, rng: Random) -> bytes:
    """Zip archive with other members, or with other entries in its directories."""
    if rng.random() < 0.4:
        return _other_fields(content, rng)
    members = _other_members(_members(content), rng)
    try:
        packed = zipped(members, rng.choice(_METHODS))
    except ValueError:
        return content
    return _other_fields(packed, rng) if rng.random() < 0.2 else packed


# Where numbers stand in the headers of zip: local, of the directory, and at its end.
_FIELDS = {
    b"PK\x03\x04": [(4, "H"), (6, "H"), (8, "H"), (14, "I"), (18, "I"), (22, "I"), (26, "H"), (28,
    "H")],
    b"PK\x01\x02": [(4, "H"), (6, "H"), (8, "H"), (10, "H"), (16, "I"), (20, "I"), (24, "I"), (28,
    "H"),
                    (30, "H"), (32, "H"), (34, "H"), (38, "I"), (42, "I")],
    b"PK\x05\x06": [(4, "H"), (6, "H"), (8, "H"), (10, "H"), (12, "I"), (16, "I"), (20, "H")],
}  # fmt: skip
_VALUES = (0, 1, 2, 8, 9, 12, 14, 20, 63, 93, 99, 255, 2048, 2**15, 2**16 - 1, 2**20, 2**31 - 1,
           2**31, 2**32 - 2, 2**32 - 1)  # fmt: skip


def _other_fields(content: bytes, rng: Random) -> bytes:
    found = bytearray(content)
    for _ in range(some(rng, 3)):
        magic = rng.choice(sorted(_FIELDS))
        places = [match.start() for match in re.finditer(re.escape(magic), bytes(found))]
        if not places:
            continue
        offset, form = rng.choice(_FIELDS[magic])
        place = rng.choice(places) + offset
        value = rng.choice((*_VALUES, len(content), rng.randrange(len(content) + 1)))
        if place + struct.calcsize(form) <= len(found):
            struct.pack_into(
                f"<{form}", found, place, value & (0xFFFF if form == "H" else 2**32 - 1)
            )
    return bytes(found)


_TAR_FIELDS = (
    (0, 100), (100, 8), (108, 8), (124, 12), (124, 12), (124, 12), (136, 12), (148, 8), (156, 1),
    (156, 1), (156, 1), (157, 100), (257, 8), (345, 155), (482, 1),
)  # fmt: skip
_TAR_VALUES = (
    b"0", b"7", b"77777777777", b"00000000001", b"-1", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"",
    b"\x80" + b"\x00" * 7 + b"\x00\x00\x10\x00", b"x", b"L", b"K", b"g", b"S", b"1", b"2", b"5",
    b"Z",
    b"\xff", b"99999", b"a/../b", b"/abs", b".hidden", b"\x80", b"ustar\x00", b" ", b"V", b"M",
    b"D",
)  # fmt: skip


def tar(content: bytes, rng: Random) -> bytes:
    """Tar archive with other members, or other headers whose sums are right."""
    if rng.random() < 0.3:
        members = {
            name: data for name, data in _other_members(_members(content), rng).items() if name
        }
        form = rng.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
        return tarred(members, form)
    found = bytearray(content)
    for _ in range(some(rng, 3)):
        places = [
            k for k in range(0, len(found) - 511, 512) if found[k + 257 : k + 262] == b"ustar"
        ]
        if not places:
            break
        place = rng.choice(places)
        offset, width = rng.choice(_TAR_FIELDS)
        value = rng.choice(_TAR_VALUES)[:width]
        found[place + offset : place + offset + width] = value.ljust(width, b"\x00")
        if rng.random() < 0.9:
            found[place + 148 : place + 156] = b" " * 8
            found[place + 148 : place + 156] = b"%06o\x00 " % sum(found[place : place + 512])
    if rng.random() < 0.1:
        records = rng.choice((b"15 size=99999999\n", b"12 size=-1\n", b"99 a=b\n", b"0 a\n", b"x",
        b"9 size=\n",
                              b"22 GNU.sparse.major=1\n", b"13 path=\x00\xff\n",
                              b"30 GNU.sparse.size=9999999999\n"))  # fmt: skip
        head = bytearray(found[:512].ljust(512, b"\x00"))
        head[124:136], head[156:157] = b"%011o\x00" % len(records), b"x"
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\x00 " % sum(head)
        found = head + records.ljust(512, b"\x00") + found
    return bytes(found)


_UNPACK: dict[bytes, tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]] = {
    b"\x1f\x8b": (gzip.decompress, lambda content: gzip.compress(content, 1, mtime=0)),
    b"BZh": (bz2.decompress, lambda content: bz2.compress(content, 1)),
    b"\xfd7zXZ": (lzma.decompress, lambda content: lzma.compress(content, preset=0)),
}


def compressed(content: bytes, rng: Random) -> bytes:
    """Compressed file whose content is damaged, or that is followed by another stream."""
    unpack, pack = next(both for magic, both in _UNPACK.items() if content.startswith(magic))
    try:
        inner = unpack(content)
    except Exception:  # noqa: BLE001
        return content
    kind = rng.randrange(12)
    if kind == 0:
        return content + rng.choice((content, b"\x00" * 20, b"junk", content[:20]))
    if kind == 1:
        return pack(content)
    if kind == 2:
        return pack(inner + bytes(rng.choice((10**4, 10**6, 8 * 10**6))))
    return pack(damaged(inner, rng, inner=True))


# HDF5


_NAMES = (
    "Q", "I", "Idev", "q", "data", "signal", "entry", "sasdata", "profiles", "000000", "000001",
    "raw",
    "Qx", "errors", "data_errors", "title", "name", "count_time", "frame_name", "transmission",
    "units",
    "instrument", "start_time", "program_name", "ü", "a b", "I_errors", "Time", "7", "x" * 300,
)  # fmt: skip
_ATTRIBUTES = (
    "canSAS_class", "NX_class", "signal", "I_axes", "axes", "Q_indices", "q_indices", "units",
    "unit",
    "uncertainties", "uncertainty", "I_uncertainties", "default", "long_name", "file_type",
    "interpretation",
    "parameters", "axis", "version", "title", "mask", "auxiliary_signals", "Mask_indices",
    "timestamp",
)  # fmt: skip
_WORDS = (
    "SASdata", "SASentry", "NXdata", "NXentry", "NXsubentry", "NXsample", "SASsample", "NXdetector",
    "NXinstrument", "I", "Q", "q", "Idev", "data", "errors", "Q,Time", "[Time:Q]", ".", "..", "/",
    "", " ",
    "RAW_Series", "0", "1", "-1", "99", "Q Q", "spectrum", "entry", "/entry/data", "\x00", "Qx,Qy",
    '{"counters": []}', '{"counters": {"date": 5}, "filename": 7}', "[" * 5000,
    '{"a": 1' + "0" * 5000 + "}",
    '{"imageHeader": {"Exposure_time": "nan s"}, "metadata": {"concentration (mg/ml)": 1e400}}',
)  # fmt: skip


def _attribute(rng: Random) -> Any:
    """Value of an attribute, of a type that writers give or of another."""
    word = rng.choice((*_WORDS, *UNITS))
    return rng.choice((
        word, word, word, word, np.bytes_(word.encode("utf-8", "replace")), [word,
        rng.choice(_WORDS)],
        [rng.choice(_WORDS) for _ in range(40)], 0, 1, -1, 1.5, True, np.nan, np.inf, 2**63, [0, 1],
        np.zeros(0), np.zeros((2, 2)), h5py.Empty("f8"), h5py.Empty("S1"), np.bytes_(b"\xff\xfe"),
        np.array([(1, 2.0)], dtype="i4,f8"), np.complex128(1j), np.array([b"a", b"\xff"]),
        "x" * 60000,
        np.void(b"\x00\x01"), np.zeros((3, 0)), np.float16(1), [[word], [word]],
    ))  # fmt: skip


def _array(rng: Random) -> Any:
    """Numbers, or something else, of some shape."""
    shape = rng.choice(
        ((POINTS,), (POINTS,), (3, POINTS), (POINTS, 3), (3, POINTS), (2, 3, POINTS), (POINTS,
        POINTS), (1,),
         (1, POINTS), (0,), (0, POINTS), (3, 0), (), (7,), (POINTS, 2), (1,) * 20, (3,), (5, 1,
         POINTS))
    )  # fmt: skip
    kind = rng.randrange(16)
    if kind == 0:
        return rng.choice(
            (h5py.Empty("f8"), h5py.Empty("S4"), "text", b"bytes", ["a"] * 3, [b"\xff"] * POINTS)
        )
    if kind == 1:
        return np.full(
            shape, rng.choice((np.nan, np.inf, -np.inf, 1e308, -1e308, 1e-320, 0.0, -0.0))
        )
    if kind == 2:
        return np.full(shape, np.longdouble("1e4000"))
    dtype = rng.choice(
        ("f8", "f8", "f8", ">f4", "f2", "i1", "u8", ">i2", "?", "c16", "S5", "i4,f8", "f16", "V4")
    )
    numbers = np.arange(1, 1 + int(np.prod(shape)), dtype=np.float64).reshape(shape) / 10
    if dtype == "V4":
        return np.zeros(shape, dtype)
    if dtype in ("S5", "i4,f8"):
        return np.zeros(shape, dtype)
    return numbers.astype(dtype)


def _all_paths(file: h5py.File) -> list[str]:
    paths = ["/"]
    file.visit(paths.append)
    return paths


def _a_group(file: h5py.File, rng: Random) -> h5py.Group:
    found = [path for path in _all_paths(file) if isinstance(file[path], h5py.Group)]
    return file[rng.choice(found)]


def _other_attribute(file: h5py.File, rng: Random) -> None:
    holder = file[rng.choice(_all_paths(file))]
    names = sorted(holder.attrs) if rng.random() < 0.6 else []
    name = rng.choice(names or _ATTRIBUTES)
    if rng.random() < 0.2 and name in holder.attrs:
        del holder.attrs[name]
    else:
        holder.attrs[name] = _attribute(rng)


def _place(file: h5py.File, rng: Random) -> tuple[h5py.Group, str]:
    """A group and the name of a member of it; what was there is gone."""
    paths = _all_paths(file)[1:]
    if paths and rng.random() < 0.8:
        path = rng.choice(paths)
        group, name = file[path].parent, path.rpartition("/")[2]
    else:
        group, name = _a_group(file, rng), rng.choice(_NAMES)
    if name in group or group.get(name, getlink=True) is not None:
        del group[name]
    return group, name


def _other_dataset(file: h5py.File, rng: Random) -> None:
    group, name = _place(file, rng)
    values = _array(rng)
    options: dict[str, Any] = {}
    if isinstance(values, np.ndarray) and values.size and values.ndim and rng.random() < 0.3:
        options = rng.choice((
            {"compression": "gzip"}, {"compression": "lzf", "shuffle": True}, {"chunks": True},
            {"fletcher32": True}, {"maxshape": (None,) * values.ndim}, {"scaleoffset": 3},
            {"compression": 32008, "allow_unknown_filter": True}, {"chunks": (1,) * values.ndim},
        ))  # fmt: skip
    if values is not None and values.__class__ is np.ndarray and values.dtype.kind not in "iu":
        options.pop("scaleoffset", None)
    group.create_dataset(name, data=values, **options)
    if rng.random() < 0.3:
        group[name].attrs["units"] = rng.choice(UNITS)


def _sparse_dataset(file: h5py.File, rng: Random) -> None:
    """Dataset that declares more than it stores."""
    group, name = _place(file, rng)
    shape = rng.choice(
        ((2**20,), (2**40,), (2**31, POINTS), (POINTS, 2**31), (2**62,), (3, 2**16), (10**6,
        POINTS), (2**27,),
         (2**14, 2**14), (2**30, 2**30))
    )  # fmt: skip
    chunks = rng.choice((True, tuple(min(side, 64) for side in shape), None))
    fill = rng.choice((None, 1.0, np.nan))
    group.create_dataset(name, shape, rng.choice(("f8", "f4", "i1")), chunks=chunks, fillvalue=fill)


def _other_link(file: h5py.File, rng: Random) -> None:
    group, name = _place(file, rng)
    paths = _all_paths(file)
    kind = rng.randrange(5)
    if kind == 0:
        targets = (
            rng.choice(paths),
            group.name + "/" + name,
            name,
            ".",
            "nowhere",
            "/",
            "",
            "a/../b",
        )
        group[name] = h5py.SoftLink(rng.choice(targets))
    elif kind == 1:
        other = rng.choice(("nowhere.h5", "/dev/zero", "/dev/null", ".", ""))
        group[name] = h5py.ExternalLink(other, rng.choice((*paths, "/entry")))
    elif kind == 2:
        # A group within itself, where the path leads upwards.
        group[name] = file[rng.choice(paths)]
    elif kind == 3:
        group[name], group[name + "2"] = h5py.SoftLink(name + "2"), h5py.SoftLink(name)
    else:
        group[name] = np.dtype("f8")


def _other_storage(file: h5py.File, rng: Random) -> None:
    group, name = _place(file, rng)
    if rng.random() < 0.5:
        layout = h5py.VirtualLayout(shape=(POINTS,), dtype="f8")
        layout[:] = h5py.VirtualSource(rng.choice(("nowhere.h5", ".")), "x", shape=(POINTS,))
        group.create_virtual_dataset(name, layout)
    else:
        # Nothing but /dev/null: what is written to such a dataset goes to the file it names.
        outside = [("/dev/null", 0, h5py.h5f.UNLIMITED)]
        group.create_dataset(name, (POINTS,), "f8", external=outside)


def _other_tree(file: h5py.File, rng: Random) -> None:
    paths = _all_paths(file)[1:]
    if not paths:
        return
    path = rng.choice(paths)
    kind = rng.randrange(5)
    target = f"{_a_group(file, rng).name.rstrip('/')}/{rng.choice(_NAMES)}"
    if kind == 0:
        del file[path]
    elif kind in (1, 2) and target not in file and not target.startswith(f"/{path}/"):
        (file.copy if kind == 1 else file.move)(path, target)
    elif kind == 3:
        group = _a_group(file, rng)
        for number in range(rng.choice((1, 3, 20))):
            inner = group.require_group(f"g{number}")
            inner.attrs[rng.choice(("NX_class", "canSAS_class"))] = rng.choice(_WORDS)
    else:
        deep = "/".join("d" * rng.choice((1, 3)) for _ in range(rng.choice((1, 3, 20))))
        if f"{path}/{deep}" not in file and isinstance(file[path], h5py.Group):
            file.copy(rng.choice(paths), f"{path}/{deep}")


def _other_numbers(file: h5py.File, rng: Random) -> None:
    found = [file[path] for path in _all_paths(file) if isinstance(file.get(path), h5py.Dataset)]
    found = [values for values in found if values.dtype.kind == "f" and values.size and values.ndim]
    found = [values for values in found if not (values.external or values.is_virtual)]
    if found:
        values = rng.choice(found)
        if values.size < 10**5:
            place = tuple(rng.randrange(side) for side in values.shape)
            values[place] = rng.choice((np.nan, np.inf, -np.inf, 1e308, -0.0, 1e-320, 0.0))


_TREES = (_other_attribute, _other_attribute, _other_attribute, _other_dataset, _other_dataset,
          _sparse_dataset, _other_link, _other_storage, _other_tree, _other_numbers)  # fmt: skip


def hdf5(content: bytes, rng: Random) -> bytes:
    """HDF5 file with other attributes, datasets, links or groups."""
    image = io.BytesIO(content)
    with h5py.File(image, "r+") as file:
        for _ in range(some(rng, 4)):
            try:
                rng.choice(_TREES)(file, rng)
            except (ValueError, TypeError, OSError, RuntimeError, KeyError, OverflowError,
                    AttributeError, NotImplementedError):  # fmt: skip
                # Not every change is possible in every file.
                continue
    return image.getvalue()


# Whatever it is


def kind_of(content: bytes) -> Mutation:
    """Mutation that knows the format of a seed."""
    if content.startswith(b"\x89HDF"):
        return hdf5
    if content.startswith(b"\x93NUMPY"):
        return npy
    if content.startswith(b"PK"):
        return npz
    if content.startswith(tuple(_UNPACK)):
        return compressed
    if content[257:262] == b"ustar":
        return tar
    start = content[:200].replace(b"\x00", b"").lstrip(b"\xff\xfe\xef\xbb\xbf \n")
    return xml if start.startswith(b"<") else text


def holds_hdf5(content: bytes) -> bool:
    """Whether the bytes of an HDF5 file stand among those of a file."""
    return b"\x89HDF\r\n" in content


def damaged(content: bytes, rng: Random, *, inner: bool = False, flips: bool = True) -> bytes:
    """Make one file out of another.

    Parameters
    ----------
    inner
        Whether it is part of an archive, where HDF5 is changed in a few ways only.
    flips
        Whether bytes of HDF5 may be changed, which can crash its library.
    """
    mutation = kind_of(content)
    if mutation is hdf5:
        return _damaged_hdf5(content, rng, flips=flips and not inner)
    of_bytes = BYTES if flips or not holds_hdf5(content) else (truncated,)
    content = (mutation if rng.random() < 0.65 else rng.choice(of_bytes))(content, rng)
    while rng.random() < 0.25:
        content = rng.choice(of_bytes)(content, rng)
    return content[: 4 * LARGEST]


def _damaged_hdf5(content: bytes, rng: Random, *, flips: bool) -> bytes:
    share = rng.random()
    if flips and share < 0.3:
        return rng.choice(BYTES)(content, rng)
    if share > 0.95:
        return truncated(content, rng)
    return hdf5(content, rng)


def case(seeds: Sequence[Seed], rng: Random, *, flips: bool = True) -> tuple[str, bytes]:
    """Damaged file, and the name of its seed."""
    seed = rng.choice(seeds)
    other = rng.choice(seeds)
    safe = flips or not (holds_hdf5(seed.content) or holds_hdf5(other.content))
    if rng.random() < 0.05 and safe:
        return f"{seed.name} + {other.name}", mixed(seed.content, other.content, rng)
    return seed.name, damaged(seed.content, rng, flips=flips)
