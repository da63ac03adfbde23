"""canSAS1D in XML, versions 1.0 and 1.1: every SASdata of every SASentry is a curve.

Names are compared without their namespace, because programs spell it in several ways. A document
type, entities and whatever else would make a parser fetch or unfold something is refused. Times
are not taken over: the one in SASprocess is that of the processing and not of the measurement.
"""

from __future__ import annotations

import math
import os
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, XMLParser
from numpy.typing import NDArray

from gpusaxs.errors import ReadError
from gpusaxs.io.curves import Curves, Extent, FileIdentity, check_frames, to_samples
from gpusaxs.io.text import read_content
from gpusaxs.metadata import Metadata, stated
from gpusaxs.sample import Sample
from gpusaxs.units import parse_q_unit

FloatArray = NDArray[np.float64]

NAME = "cansas_xml"

MOST_CURVES = 100_000
MOST_NAMES = 10_000
MOST_LEVELS = 200
_BLOCK = 2**20
_DECLARATION = 4096
_LONGEST_SHOWN = 50

_BLANKS_AND_MARK = b" \t\r\n\xef\xbb\xbf"
_UTF_16 = {
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"<\x00": "utf-16-le",
    b"\x00<": "utf-16-be",
}
_PROLOG = re.compile(r"(?:\ufeff|\s++|<\?.*?\?>|<!--.*?-->)*+", re.DOTALL)
_ROOT = re.compile(r"<(?:[\w.-]+:)?SASroot(?=[\s/>])|<!DOCTYPE\s+(?:[\w.-]+:)?SASroot\b")
# What the first bytes leave open: a part of the prolog, or of a name, that goes on behind them.
_CUT = re.compile(r"\Z|<\?|<!--|<!?[\w.:-]*\Z|<!DOCTYPE\s[^\s>\[]*\Z")
# The parser takes any encoding that Python has; at this one Python warns.
_ESCAPED = re.compile(rb"<\?xml[^>]*encoding\s*=\s*[\"']unicode[._-]*escape", re.IGNORECASE)

_COLUMNS = ("Q", "I", "Idev", "Qdev")
_OF_A_SAMPLE = ("ID", "thickness", "transmission", "temperature")
_CHILDREN: dict[str, tuple[str, ...]] = {
    "": ("SASroot",),
    "SASroot": ("SASentry",),
    "SASentry": ("Title", "SASdata", "SASsample", "Sesans"),
    "SASdata": ("Idata",),
    "Idata": (*_COLUMNS, "Qx", "Qy"),
    "SASsample": _OF_A_SAMPLE,
}
_TEXTS = frozenset((*_COLUMNS, *_OF_A_SAMPLE, "Title"))
_OTHER = "other"


def matches(head: bytes) -> bool:
    """Whether the first element is a SASroot, or may be one behind a long prolog."""
    # Every file is asked: nearly all of them end here.
    if not head.lstrip(_BLANKS_AND_MARK).startswith(b"<") and head[:2] not in _UTF_16:
        return False
    text = head.decode(_UTF_16.get(head[:2], "latin-1"), errors="replace")
    start = text.removeprefix("\xef\xbb\xbf")
    behind = start[_prolog_length(start) :]
    return bool(_ROOT.match(behind) or _CUT.match(behind))


def read(
    path: Path, curve_id: str, q_unit: str | None = None, frames: range | None = None
) -> list[Sample]:
    """Curves of a canSAS1D file, in the order in which they stand in it.

    A SASdata without any Idata is no curve. A value that is missing or no number is NaN.
    """
    held = _parsed(path)
    wanted = range(len(held)) if frames is None else frames
    check_frames(wanted, len(held))
    curves = []
    for number in wanted:
        try:
            curves.append(held[number].curves(q_unit))
        except ReadError as error:
            where = f" (in its curve #{number})" if len(held) > 1 else ""
            raise ReadError(f"{error}{where}") from error
    return to_samples(curves, FileIdentity(path, curve_id, NAME, q_unit), wanted.start, len(held))


def extent(path: Path) -> Extent:
    """How many curves the file holds, and the points of the longest.

    A file of a single SASdata is not parsed: whether it can be read shows itself when it is read.
    """
    content = _content(path)
    # The tags of a SASdata with points name it twice, in every encoding that has the letters of
    # ASCII. A comment may name it too: then the file is parsed.
    if content.count(b"SASdata") == 2:
        return Extent(1, max(1, content.count(b"<Idata") or content.count(b":Idata") // 2))
    held = _parsed(path)
    return Extent(len(held), max(data.points for data in held), together=len(held))


@dataclass(slots=True, eq=False)
class _Entry:
    """What a SASentry says of all its curves."""

    name: str
    title: str | None = None
    samples: list[Mapping[str, str | float]] = field(default_factory=list)
    is_spin_echo: bool = False


@dataclass(slots=True, eq=False)
class _Data:
    """A SASdata: its columns, one number for each row, and the units that they are given in."""

    entry: _Entry
    name: str
    columns: dict[str, array[float]] = field(
        default_factory=lambda: {name: array("d") for name in _COLUMNS}
    )
    units: dict[str, dict[str, None]] = field(
        default_factory=lambda: {name: {} for name in _COLUMNS}
    )
    damage: str | None = None
    metadata: Metadata = field(default_factory=dict)

    @property
    def points(self) -> int:
        """Rows of the columns."""
        return len(self.columns["Q"])

    def append(self, row: Mapping[str, float]) -> None:
        """Take over the numbers of an Idata."""
        for name, column in self.columns.items():
            column.append(row.get(name, math.nan))

    def curves(self, q_unit: str | None) -> Curves:
        """Curve as a group of its own; ReadError where it is none, or could be read wrongly."""
        if self.entry.is_spin_echo:
            raise ReadError("holds spin-echo data over the spin-echo length: expected I over q")
        if self.damage is not None:
            raise ReadError(self.damage)
        stated_unit = _unit_of_q(list(self.units["Q"]), q_unit)
        q, intensity = self._numbers("Q"), self._numbers("I")
        sigma = np.array(self.columns["Idev"])
        _check_units_of_intensity(list(self.units["I"]), list(self.units["Idev"]))
        return Curves(
            q=q,
            intensity=intensity[np.newaxis],
            sigma=None if np.isnan(sigma).all() else sigma[np.newaxis],
            q_sigma=self._q_sigma(),
            stated_q_unit=stated_unit,
            metadata=self.metadata,
        )

    def _q_sigma(self) -> FloatArray | None:
        """Deviations of q, None where they are not known to be in the unit of q."""
        of_q, of_deviation = (
            {parse_q_unit(unit) or unit for unit in self.units[name]} for name in ("Q", "Qdev")
        )
        return np.array(self.columns["Qdev"]) if of_deviation == of_q else None

    def _numbers(self, name: str) -> FloatArray:
        values = np.array(self.columns[name])
        if np.isnan(values).all():
            raise ReadError(f"holds no number as {name} in any of its {self.points} points")
        return values


class _Target:
    """What the parser hands the elements to: it keeps the curves and nothing else."""

    def __init__(self) -> None:
        self.curves: list[_Data] = []
        self._path = [""]
        self._names: dict[str, str] = {}
        self._text: list[str] = []
        self._attributes: Mapping[str, str] = {}
        self._entry = _Entry("")
        self._data = _Data(self._entry, "")
        self._row: dict[str, float] = {}
        self._sample: dict[str, str | float] = {}

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """Begin an element."""
        parent = self._path[-1]
        name = self._names.get(tag) or self._named(tag)
        if parent in _TEXTS:
            # So that the digits before and behind a child never become one number.
            self._text.append(" ")
        if name not in _CHILDREN.get(parent, ()):
            if not parent:
                raise ReadError(
                    f"is an XML file that begins with {name[:_LONGEST_SHOWN]!r}, but not canSAS1D: "
                    "save the curve as text, NXcanSAS or canSAS1D instead"
                )
            name = _OTHER
        self._path.append(name)
        if len(self._path) > MOST_LEVELS:
            raise ReadError(f"nests more than {MOST_LEVELS} elements: expected canSAS1D")
        if name in _TEXTS:
            self._text, self._attributes = [], attributes
        elif name != _OTHER:
            self._begin(name, attributes)

    def data(self, text: str) -> None:
        """Take over a piece of text."""
        if self._path[-1] in _TEXTS:
            self._text.append(text)

    def end(self, _tag: str) -> None:
        """End an element."""
        name = self._path.pop()
        if name in _COLUMNS:
            self._end_value(name)
        elif name == "Idata":
            self._data.append(self._row)
        elif name == "SASdata":
            self._end_data()
        elif name == "SASsample":
            self._entry.samples.append(self._sample)
        elif name == "Title" and self._entry.title is None:
            self._entry.title = "".join(self._text)
        elif name in _OF_A_SAMPLE:
            self._end_of_sample(name)

    def close(self) -> list[_Data]:
        """Curves of the whole file."""
        return self.curves

    def _named(self, tag: str) -> str:
        """Name of an element without its namespace."""
        if len(self._names) >= MOST_NAMES:
            raise ReadError(f"holds more than {MOST_NAMES:,} kinds of elements: expected canSAS1D")
        return self._names.setdefault(tag, tag.rpartition("}")[2])

    def _begin(self, name: str, attributes: Mapping[str, str]) -> None:
        if name == "Idata":
            self._row = {}
        elif name == "SASentry":
            self._entry = _Entry(attributes.get("name", ""))
        elif name == "SASdata":
            self._data = _Data(self._entry, attributes.get("name", ""))
        elif name == "SASsample":
            self._sample = dict(stated("sample", attributes.get("name")))
        elif name == "Sesans":
            self._entry.is_spin_echo = True
        elif name in ("Qx", "Qy"):
            self._data.damage = (
                "holds a two-dimensional image I(Qx, Qy): integrate it to a curve first"
            )

    def _end_value(self, name: str) -> None:
        number = _number("".join(self._text))
        if name in self._row:
            self._data.damage = f"holds a point with several {name}: expected one in each Idata"
        elif not (name in ("Idev", "Qdev") and math.isnan(number)):
            self._data.units[name].setdefault(_unit(self._attributes))
        self._row[name] = number

    def _end_data(self) -> None:
        if self._data.points == 0:
            return
        self.curves.append(self._data)
        if len(self.curves) > MOST_CURVES:
            raise ReadError(f"holds more than {MOST_CURVES:,} curves: split it into several files")

    def _end_of_sample(self, name: str) -> None:
        field_name = "sample" if name == "ID" else name
        value = stated(field_name, "".join(self._text), self._attributes.get("unit"))
        self._sample = {**value, **self._sample}


def _prolog_length(text: str) -> int:
    """Length of all that may stand before the first element."""
    match = _PROLOG.match(text)
    return 0 if match is None else match.end()


def _content(path: Path) -> bytes:
    return read_content(path, "an XML file")


def _parsed(path: Path) -> Sequence[_Data]:
    """Curves of a file, of which none is read as samples yet."""
    state = os.stat(path)
    return _parsed_in(path, state.st_ino, state.st_size, state.st_mtime_ns)


# One slice after another of a file of many curves would parse it again and again.
@lru_cache(maxsize=2)
def _parsed_in(path: Path, *_state: int) -> Sequence[_Data]:
    """Curves of a file as long as its inode, size and time of change are the same."""
    held = _parse(_content(path))
    if not held:
        raise ReadError(
            "is canSAS1D XML without a curve: expected a SASdata with Idata in a SASentry"
        )
    titles = Counter((data.entry.title or "").strip() for data in held)
    for data in held:
        data.metadata = _metadata(data, titles)
    return held


def _parse(content: bytes) -> list[_Data]:
    if _ESCAPED.search(content[:_DECLARATION].replace(b"\x00", b"")):
        raise ReadError("is damaged XML: it says that its text is a literal of Python")
    parser = XMLParser(target=_Target(), forbid_dtd=True)
    try:
        for start in range(0, len(content), _BLOCK):
            parser.feed(content[start : start + _BLOCK])
        held: list[_Data] = parser.close()
    except DefusedXmlException as error:
        raise ReadError(
            "declares a document type or entities (a DTD), which could make a reader unfold or "
            "fetch other content: remove the <!DOCTYPE ...>, canSAS1D needs none"
        ) from error
    except (ParseError, LookupError, ValueError) as error:
        raise ReadError(f"is damaged XML: {error}") from error
    return held


def _metadata(data: _Data, titles: Mapping[str, int]) -> Metadata:
    """What a file says of a curve; curves with one title get the names of their elements too."""
    title = (data.entry.title or "").strip()
    name = data.name.strip() or data.entry.name.strip()
    if titles[title] > 1 and name != title:
        title = " / ".join(part for part in (title, name) if part)
    said: dict[str, str | float] = dict(stated("title", title))
    # Of several samples in an entry nothing tells which one a curve is of.
    return said | dict(data.entry.samples[0]) if len(data.entry.samples) == 1 else said


def _number(text: str) -> float:
    """Read a number as XML spells it, NaN where it is none."""
    try:
        # Python takes 1_000 for a number.
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def _unit(attributes: Mapping[str, str]) -> str:
    """Give the unit of a value, empty where none is given; SasView once wrote ``name|unit``."""
    return attributes.get("unit", "").rpartition("|")[2].strip()


def _unit_of_q(units: Sequence[str], q_unit: str | None) -> str | None:
    """Unit in which all rows give q, None where none of them names one or the caller does."""
    named = [unit for unit in units if unit]
    kinds = {parse_q_unit(unit) or unit: unit for unit in reversed(named)}
    if len(kinds) > 1:
        raise ReadError(f"gives q in {_listed(kinds.values())}: expected one unit in all rows")
    if q_unit is not None or not named:
        return None
    if parse_q_unit(named[0]) is None:
        raise ReadError(
            f"gives q in {_listed(named)}: expected 1/nm, 1/angstrom or 1/m; say which one it is"
        )
    if "" in units:
        raise ReadError(
            f"gives q in {_listed(kinds.values())} in some rows and without a unit in others: "
            "expected one unit in all rows; say which one it is"
        )
    return named[0]


def _check_units_of_intensity(of_intensity: Sequence[str], of_sigma: Sequence[str]) -> None:
    """Refuse intensities in several units, and a sigma that is not in theirs."""
    intensity, sigma = (_without_spelling(units) for units in (of_intensity, of_sigma))
    if len(intensity) > 1:
        raise ReadError(f"gives I in {_listed(intensity.values())}: expected one unit in all rows")
    if not sigma.keys() <= intensity.keys():
        raise ReadError(
            f"gives I in {_listed(intensity.values())} but Idev in {_listed(sigma.values())}: "
            "expected both in one unit; correct Idev or leave it out"
        )


def _without_spelling(units: Sequence[str]) -> dict[str, str]:
    """Units that are given, by what they are without differences of case and blanks."""
    return {"".join(unit.lower().split()): unit for unit in reversed(units) if unit}


def _listed(units: Iterable[str]) -> str:
    """Two units for a message; of more no one would wish to read."""
    first = sorted(units)[:2]
    return " and in ".join(repr(unit[:_LONGEST_SHOWN]) for unit in first) or "no unit"
