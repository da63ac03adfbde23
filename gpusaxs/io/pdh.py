"""Anton Paar's ``.pdh``: five header lines, q I sigma, and an XML trailer.

The first line is a title, the third declares the number of points, the fourth ends with the
wavelength. The trailer of SAXSquant states the unit of the x axis, and parameters of the
measurement with their units; older files state none.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpusaxs.errors import ReadError
from gpusaxs.io.curves import Curves, FileIdentity, to_samples
from gpusaxs.io.numeric_block import plain_table
from gpusaxs.io.text import decode, decode_around, read_content
from gpusaxs.metadata import stated
from gpusaxs.sample import Sample
from gpusaxs.units import QUnit, parse_q_unit

FloatArray = NDArray[np.float64]

NAME = "pdh"

HEADER_LINES = 5

# Possessive, or a row of digits would be cut into numbers in every possible way.
_NUMBER = r"[-+]?\d++\.?+\d*+(?:[eE][-+]?\d++)?+"
_HEADER = re.compile(
    rf"(?P<title>.*)\n.*\n[ \t]*(?P<points>\d+)(?:[ \t]+-?\d+){{7}}[ \t]*\n"
    rf"(?:[ \t]*{_NUMBER}){{4}}[ \t]+(?P<wavelength>{_NUMBER})[ \t]*\n"
)
_LINES_LOOKED_AT = 4
_COMMAS = (b",", b";")
_ROW = re.compile(r"[ \t]*(?:[-+.\d]|nan)", re.IGNORECASE)
_X_AXIS = re.compile(r'<column\s+key=["\s]*X["\s]*>(.*?)</column>', re.DOTALL)
_UNIT = re.compile(r'key=["\s]*unit["\s]*>([^<]*)<')
_VALUE = re.compile(r'key=["\s]*value["\s]*>([^<]*)<')
_PARAMETERS = {
    "exposure": '<parameter key="Exposure"',
    "temperature": '<parameter key="Temperature"',
    "concentration": '<parameter key="Concentration"',
}
_UNITS = {"g*l^-1": "g/l", "mg*ml^-1": "mg/ml", "m_s": "ms"}


def matches(head: bytes) -> bool:
    """Whether the header has eight whole numbers in its third line and five in its fourth."""
    if b"\x00" in head:
        return False
    # To decode more than is looked at, or at all, would cost time with every text file.
    first, *rest = head.split(b"\n", _LINES_LOOKED_AT)
    behind = len(rest[-1]) if len(rest) == _LINES_LOOKED_AT else 0
    if len(rest) > 1 and b"." in rest[1] and b"\r" not in head[: len(first) + len(rest[0]) + 2]:
        return False
    return _HEADER.match(decode(head[: len(head) - behind])) is not None


def read(
    path: Path, curve_id: str, q_unit: str | None = None, content: bytes | None = None
) -> list[Sample]:
    """Curve of a ``.pdh`` file, with as many points as it declares."""
    if content is None:
        content = read_content(path, "a .pdh file")
    header, rows, trailer = _parts(content)
    if rows.shape[1] not in (2, 3):
        raise ReadError(f"has {rows.shape[1]} columns: expected q, intensity and sigma")
    columns = np.ascontiguousarray(rows.T)
    curve = Curves(
        q=columns[0],
        intensity=columns[1:2],
        sigma=columns[2:3] if len(columns) == 3 else None,
        stated_q_unit=None if q_unit else _stated_unit(trailer),
        likely_q_unit=_unit_of_wavelength(float(header["wavelength"])),
        metadata=_metadata(header, trailer),
    )
    return to_samples([curve], FileIdentity(path, curve_id, NAME, q_unit))


def _parts(content: bytes) -> tuple[re.Match[str], FloatArray, str]:
    """Header, rows as they stand in the file, and the text that may state the unit."""
    parts = _plain_parts(content)
    if parts is not None:
        return parts
    text = decode(content)
    header = _HEADER.match(text)
    if header is None:
        raise ReadError("has a damaged .pdh header")
    points = int(header["points"])
    lines = text.split("\n")
    _check_points(points, lines)
    try:
        rows = np.loadtxt(lines[HEADER_LINES : HEADER_LINES + points], ndmin=2, comments=None)
    except ValueError as error:
        raise ReadError(f"has a row that cannot be read: {error}") from error
    return header, rows, text


def _plain_parts(content: bytes) -> tuple[re.Match[str], FloatArray, str] | None:
    """Do the same for an intact file without anything out of the ordinary, None for others."""
    table = plain_table(content, HEADER_LINES)
    if table is None or any(content.find(sign, table.start, table.stop) >= 0 for sign in _COMMAS):
        return None
    text, trailer = decode_around(content, table.start, table.stop)
    header = _HEADER.match(text)
    if (
        header is None
        or int(header["points"]) != len(table.values)
        or text.count("\n") != HEADER_LINES
        or "<" in text
        or _ROW.match(trailer)
    ):
        return None
    return header, table.values, trailer


def _check_points(declared: int, lines: list[str]) -> None:
    held = 0
    for line in lines[HEADER_LINES:]:
        if not _ROW.match(line):
            break
        held += 1
    if declared == 0:
        raise ReadError("declares 0 points in its header: there is no curve in it")
    if held < declared:
        raise ReadError(f"declares {declared} points but holds {held}: it is cut off or damaged")
    if held > declared:
        raise ReadError(f"declares {declared} points but holds {held}: correct its third line")


def _stated_unit(text: str) -> str | None:
    """Unit of the x axis in the trailer, None where there is none."""
    axis = _X_AXIS.search(text)
    unit = None if axis is None else _UNIT.search(axis[1])
    if unit is None:
        return None
    if parse_q_unit(unit[1]) is None:
        raise ReadError(f"gives its x axis in {unit[1]!r}: expected q in 1/nm or 1/angstrom")
    return unit[1]


def _metadata(header: re.Match[str], text: str) -> dict[str, str | float]:
    """Title, and the parameters of the trailer that have a value and a unit."""
    said = stated("title", header["title"])
    for name, key in _PARAMETERS.items():
        start = text.find(key)
        if start < 0:
            continue
        parameter = text[start : text.find("</parameter>", start)]
        value, unit = _VALUE.search(parameter), _UNIT.search(parameter)
        # A concentration of zero is what the program writes where none was entered.
        if value is None or unit is None or (name == "concentration" and _is_zero(value[1])):
            continue
        said |= stated(name, value[1], _UNITS.get(unit[1], unit[1]))
    return said


def _is_zero(text: str) -> bool:
    return not text.strip(" +-0.,")


def _unit_of_wavelength(wavelength: float) -> QUnit | None:
    """Unit that fits the header's wavelength: X-rays of 4 to 25 keV and a bit beyond."""
    if 0.01 < wavelength < 0.3:
        return "1/nm"
    return "1/angstrom" if 0.5 < wavelength < 3.0 else None
