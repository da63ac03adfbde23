"""What the text around a table says of its curve, as entries of its metadata.

A number counts only with its unit: written beside it, part of its key, or fixed by the program
that writes the key. Where a footer says a thing twice and not the same, as after the subtraction
of a buffer, it is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from gpusaxs.metadata import stated

Said = dict[str, str | float]

_LONGEST_VALUE = 500
_LONGEST_HEADER = 4000

_NAMES = {
    "title": "title",
    "sample description": "title",
    "bio_description": "title",
    "label": "title",
    "sample": "sample",
    "sample name": "sample",
    "sample_name": "sample",
    "bio_sample_name": "sample",
    "exposure": "exposure",
    "exposure time": "exposure",
    "exposure_time": "exposure",
    "exposuretime": "exposure",
    "exposure time/frame": "exposure",
    "temperature": "temperature",
    "sample temperature": "temperature",
    "sample_temperature": "temperature",
    "transmission": "transmission",
    "sample transmission": "transmission",
    "sample_transmission": "transmission",
    "thickness": "thickness",
    "sample thickness": "thickness",
    "sample_thickness": "thickness",
    "concentration": "concentration",
    "sample concentration": "concentration",
    "date": "time",
    "timestamp (begin)": "time",
}
_TEXTS = ("title", "sample", "time")
# The first letter in both cases by itself: so a line that begins with another is left at once.
_KEYS = "|".join(
    f"[{name[0]}{name[0].upper()}](?i:{re.escape(name[1:])})"
    for name in sorted(_NAMES, key=len, reverse=True)
)
_BRACKETS = r"[ \t]*[(\[][ \t]*(?P<key_unit>[^\s()\[\]]{1,12})[ \t]*[)\]]"
# A line begins with the key; a colon, an equals sign or two blanks come behind it.
_LINE = re.compile(
    rf"\n[#;%!* \t]*+(?P<key>{_KEYS})(?:{_BRACKETS})?[ \t]*(?:[:=]|\t|[ ]{{2}})[ \t]*"
    r"(?P<value>[^\n]*)"
)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_WITH_UNIT = re.compile(
    rf"(?P<number>{_NUMBER.pattern})[ \t]*(?P<unit>[^\s\d;,.+-][^\s;,]{{0,9}})?[ \t]*(?:[;,].*)?$"
)
# EMBL: "Sample: DMPC_25_200  c= 1 mg/ml  Code: DMPC_25_200_water".
_EMBL_SAMPLE = re.compile(
    r"(?P<sample>.*?)\s+c=\s*(?P<number>[-+.\deE]+)\s*(?P<unit>mg/ml)\b(?:\s+Code\b.*)?"
)
# The EDF headers of the ESRF give lengths and times in SI units: P. Boesecke, J. Appl. Cryst. 40
# (2007) s423. Xenocs follows it for the wavelength, the distance and the exposure, and not for
# the thickness and the temperature, for which no unit is documented.
_EDF = "EDF_"
_NIST_LINE = re.compile(r"MON CNT.*TRANS\s+THICK.*\n[ \t]*(?P<values>[^\n]+)")
_NIST_PLACES = {"transmission": (4, "1"), "thickness": (5, "cm")}
_USANS_THICKNESS = re.compile(r"\bDs\s*=\s*(?P<number>[\d.eE+-]+)\s*(?P<unit>cm)\b")
_RKH = "2E16.6)"
_RKH_FIRST = re.compile(
    r"\s*(?:LOQ|SANS2D|LARMOR|ZOOM)\s+(?P<time>\w{3}\s+\d+-\w{3}-\d{4}\s+\d+:\d+)(?P<title>[^\n]*)"
    r"\n(?P<next>[^\n]*)"
)
_WORKSPACE = "Workspace:"
_RAW_HEADER = "### HEADER:"
_RAW_DATA = "### DATA:"
_AT_LINE_STARTS = re.compile(r"^[ \t]*#", re.MULTILINE)
# BioXTAS RAW: its concentration is in mg/ml; Exposure_time is Dectris' key, and Seconds is the
# counter of spec, both in seconds.
_RAW_KEYS: tuple[tuple[str, str, str, str | None], ...] = (
    ("concentration", "", "Conc", "mg/ml"),
    ("exposure", "imageHeader", "Exposure_time", "s"),
    ("exposure", "counters", "Seconds", "s"),
    ("time", "imageHeader", "Exposure_date", None),
    ("time", "counters", "date", None),
)


def metadata_of(header: str, footer: str) -> Said:
    """What the texts above and below a table say of its curve."""
    said: Said = {}
    if footer and not footer.isspace():
        said |= _said_in(footer)
    if header and not header.isspace():
        said |= _said_in(header)
    return said


def _said_in(text: str) -> Said:
    raw = text.find(_RAW_HEADER)
    if raw >= 0:
        return _of_json(text[raw + len(_RAW_HEADER) :].partition(_RAW_DATA)[0])
    said = _of_lines(text)
    if "CREATED:" in text:
        said |= _of_nist(text[:_LONGEST_HEADER])
    if _RKH in text:
        said |= _of_isis(text)
    return said


def _of_lines(text: str) -> Said:
    """What lines of a key and a value say."""
    said: Said = {}
    contradicted = set()
    for match in _LINE.finditer(f"\n{text}"):
        name = _NAMES[match["key"].lower()]
        for key, value in _of_line(name, match, text).items():
            if said.setdefault(key, value) != value:
                contradicted.add(key)
    return {key: value for key, value in said.items() if key not in contradicted}


def _of_line(name: str, match: re.Match[str], text: str) -> Said:
    value = match["value"][:_LONGEST_VALUE].strip()
    if name in _TEXTS:
        if match["key_unit"] is not None:
            return {}
        sample = _EMBL_SAMPLE.match(value) if name == "sample" else None
        if sample is not None:
            return stated("sample", sample["sample"]) | stated(
                "concentration", sample["number"], sample["unit"]
            )
        return stated(name, value)
    number = _WITH_UNIT.match(value)
    if number is None:
        return {}
    unit = match["key_unit"] or number["unit"]
    if match["key_unit"] and number["unit"]:
        return {}
    if name == "transmission":
        return _transmission(number["number"], unit)
    if unit is None and name == "exposure" and _EDF in text:
        unit = "s"
    return {} if unit is None else stated(name, number["number"], unit)


def _transmission(number: str, unit: str | None) -> Said:
    """Transmission, where it is a share of the beam and no other number of that name."""
    said = stated("transmission", number, unit)
    return {name: value for name, value in said.items() if 0.0 < float(value) <= 1.0}


def _of_nist(text: str) -> Said:
    """What the headers of NIST's and ANSTO's programs say: the thickness is in cm.

    The time at which the file was created is that of the reduction, and left out.
    """
    said: Said = {}
    thickness = _USANS_THICKNESS.search(text)
    if thickness is not None:
        said |= stated("thickness", thickness["number"], thickness["unit"])
    line = _NIST_LINE.search(text)
    cells = [] if line is None else line["values"].split()
    for name, (place, unit) in _NIST_PLACES.items():
        # The letter of the next column may follow without a blank.
        number = _NUMBER.match(cells[place]) if place < len(cells) else None
        if number is not None:
            said |= stated(name, number[0], unit)
    return said


def _of_isis(text: str) -> Said:
    """What the two first lines say above the tables of ISIS."""
    first = _RKH_FIRST.match(text)
    if first is None:
        return {}
    title = first["next"] if _WORKSPACE in first["title"] else first["title"]
    return stated("time", first["time"]) | stated("title", title)


def _of_json(text: str) -> Said:
    """What BioXTAS RAW says, in JSON behind or without signs of comment."""
    found = _json(text if "#" not in text else _AT_LINE_STARTS.sub("", text))
    said: Said = {}
    for name, group, key, unit in _RAW_KEYS:
        holder = found.get(group) if group else found
        value = holder.get(key) if isinstance(holder, dict) else None
        if name not in said and isinstance(value, str | int | float):
            said |= _of_value(name, value, unit)
    for key, value in _counters(found):
        match = _LINE.fullmatch(f"\n{key}: {value}")
        name = "" if match is None else _NAMES[match["key"].lower()]
        if match is not None and name not in _TEXTS and name not in said:
            said |= _of_line(name, match, "")
    return said


def _of_value(name: str, value: str | float, unit: str | None) -> Said:
    """What a value says whose unit is fixed, though it may be written behind it."""
    if unit is None or not isinstance(value, str):
        return stated(name, value, unit)
    match = _WITH_UNIT.match(value.strip())
    return {} if match is None else stated(name, match["number"], match["unit"] or unit)


def _counters(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    counters = found.get("counters")
    if isinstance(counters, dict):
        for key, value in counters.items():
            if isinstance(value, str | int | float) and "\n" not in str(value):
                yield key, str(value)


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
