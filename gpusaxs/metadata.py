"""What a file says of a curve beside its numbers: its sample, how long, how warm, and when."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

Metadata = Mapping[str, str | float]
"""Values by the names of `FIELDS`: text, or a number in the unit of its field."""

META = "meta."
"""How names of columns begin that hold metadata."""

LONGEST_TEXT = 500
"""Characters after which a text is cut: a title is no place for a file."""


@dataclass(frozen=True, slots=True)
class MetadataField:
    """Something that files say of a curve, a column ``meta.NAME`` of the table of samples.

    Parameters
    ----------
    unit
        Of a number; ``"1"`` where it has none, ``""`` for a text.
    """

    name: str
    unit: str
    meaning: str

    @property
    def is_text(self) -> bool:
        """Whether it holds words and not a number."""
        return self.unit == ""

    def with_unit(self, value: str) -> str:
        """A value in words, with the unit behind it where it has one."""
        return value if self.unit in ("", "1") else f"{value} {self.unit}"


FIELDS: Mapping[str, MetadataField] = {
    field.name: field
    for field in (
        MetadataField("title", "", "title of the measurement"),
        MetadataField("sample", "", "name of the sample"),
        MetadataField("exposure", "s", "time for which the sample was exposed"),
        MetadataField("transmission", "1", "share of the beam that passes the sample"),
        MetadataField("thickness", "mm", "of the sample, along the beam"),
        MetadataField("temperature", "°C", "of the sample"),
        MetadataField("concentration", "mg/ml", "of the solute"),
        MetadataField("time", "", "when it was measured, as in 2024-10-11T17:54:52"),
        MetadataField(
            "resolution", "1/nm", "FWHM of the resolution of q, as far as it is constant"
        ),
        MetadataField("relative_resolution", "1", "the same as a share of q, added in quadrature"),
    )
}

_SHARE = {
    "1": 1.0, "": 1.0, "none": 1.0, "dimensionless": 1.0, "unitless": 1.0, "%": 0.01,
    "percent": 0.01,
}  # fmt: skip
_FACTORS: dict[str, dict[str, float]] = {
    "exposure": {
        "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0,
        "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hour": 3600.0, "hours": 3600.0,
    },
    "transmission": _SHARE,
    "relative_resolution": _SHARE,
    "thickness": {
        "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "cm": 10.0, "centimeter": 10.0,
        "m": 1000.0, "meter": 1000.0, "metre": 1000.0, "um": 1e-3, "micron": 1e-3,
        "micrometer": 1e-3, "micrometre": 1e-3, "nm": 1e-6,
    },
    "concentration": {"mg/ml": 1.0, "g/l": 1.0, "mg/cm^3": 1.0, "kg/m^3": 1.0, "g/ml": 1e3},
}  # fmt: skip
# Degrees of each scale in one of ours, and what our zero is on it.
_TEMPERATURES = {
    **dict.fromkeys(("c", "°c", "degc", "deg c", "celsius", "degree celsius"), (1.0, 0.0)),
    **dict.fromkeys(("k", "kelvin"), (1.0, 273.15)),
    **dict.fromkeys(("f", "°f", "degf", "fahrenheit"), (1.8, 32.0)),
}
_TIMES = (
    "%Y:%m:%d %H:%M:%S", "%Y/%m/%d %H:%M:%S", "%a %b %d %H:%M:%S %Y", "%d-%b-%Y %H:%M:%S",
    "%a, %b %d, %Y %I:%M:%S %p", "%a, %b %d, %Y at %I:%M:%S %p", "%a %d-%b-%Y %H:%M",
    "%d %b %Y %H:%M:%S", "%d %B %Y %H:%M:%S",
)  # fmt: skip
_BLANKS = re.compile(r"\s+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def stated(name: str, value: object, unit: str | None = None) -> dict[str, str | float]:
    """What a file states for a field, as an entry of its metadata: ``metadata |= stated(...)``.

    Nothing comes of what is empty, not finite, no number, or in a unit that is unknown or not
    given: a column holds what files say and no guesses.

    Parameters
    ----------
    name
        One of `FIELDS`.
    value
        A text or a number, as it stands in the file.
    unit
        Unit that the file, or the definition of its format, gives to a number.
    """
    if value is None:
        return {}
    if FIELDS[name].is_text:
        text = _time(str(value)) if name == "time" else _words(value)
        return {name: text} if text else {}
    number = _number(value)
    if not math.isfinite(number):
        return {}
    converted = _converted(name, number, unit)
    return {} if converted is None else {name: converted}


def _words(value: object) -> str:
    text = _BLANKS.sub(" ", _CONTROL.sub(" ", str(value))).strip()
    return "" if text.lower() in ("none", "nan", "n/a", "unknown") else text[:LONGEST_TEXT]


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _converted(name: str, number: float, unit: str | None) -> float | None:
    """Number in the unit of its field."""
    spelled = "" if unit is None else _BLANKS.sub(" ", unit.strip().lower().replace("µ", "u"))
    if name == "temperature":
        scale = _TEMPERATURES.get(spelled)
        return None if scale is None else (number - scale[1]) / scale[0]
    if name == "resolution":
        # The command line reads `FIELDS` and shall not wait for NumPy.
        from gpusaxs.units import TO_INVERSE_NM, parse_q_unit  # noqa: PLC0415

        unit_of_q = parse_q_unit(spelled)
        return None if unit_of_q is None else number * TO_INVERSE_NM[unit_of_q]
    factor = _FACTORS[name].get(spelled)
    return None if factor is None else number * factor


def _time(text: str) -> str:
    """Time as ISO 8601 writes it, with its offset from UTC where the file gives one."""
    text = _words(text)
    try:
        return datetime.fromisoformat(text).isoformat(timespec="seconds")
    except ValueError:
        pass
    for form in _TIMES:
        try:
            return datetime.strptime(text, form).isoformat(timespec="seconds")
        except ValueError:
            continue
    return ""
