"""The unit of q: read from text, or guessed from the numbers."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

_LONGEST_KEPT = 2000

QUnit = Literal["1/nm", "1/angstrom", "1/m"]
QUnitSource = Literal["argument", "metadata", "guess"]

TO_INVERSE_NM: dict[str, float] = {"1/nm": 1.0, "1/angstrom": 10.0, "1/m": 1e-9}

LARGEST_Q_IN_INVERSE_ANGSTROM = 1.9
"""A curve that reaches beyond this number is guessed to be in 1/nm.

In 1/angstrom it would resolve distances under 0.33 nm, which is wide-angle scattering. Measured
curves of known unit end at 0.003 to 1.07 1/angstrom, one merged with wide angles at 1.64, and at
2.3 to 7.5 1/nm; the threshold is the geometric mean of the gap. A curve in 1/nm that ends below
it (a very long camera) is guessed wrong, as is one in 1/angstrom that ends beyond it.
"""

_LENGTH = r"(n_?m|nanomet(?:er|re)s?|a{1,2}ngstr(?:oe|o)ms?|ang\.?|a{1,2}|m(?:et(?:er|re)s?)?)"
# Possessive blanks, or a long row of them would be shared out in every possible way.
_INVERSE = (
    rf"(?:1\s*/\s*{_LENGTH}|{_LENGTH}\s*+(?:(?:\*\*|\^)\s*+)?(?:\(\s*+)?-\s*1\)?"
    rf"|(?:inverse|reciprocal|per(?!\s*a\b))[\s_-]*{_LENGTH})(?![a-z0-9])"
)
_AFTER_NAME = r"(?:[\s_.-]*(?:values?|axis|units?))*"
_BETWEEN = r"[\s_()\[\]/,:|='<>-]*"
# Accents go, so that Å and ö become letters; all the hyphens and minus signs become one.
_PLAIN_SIGNS = dict.fromkeys(range(0x300, 0x370)) | dict.fromkeys(
    (0x2212, *range(0x2010, 0x2016)), "-"
)
_UNIT = re.compile(rf"[\s(\[]*(?:q{_BETWEEN})?{_INVERSE}[\s)\]]*")
# ATSAS writes "angular-unit: nanometer" for 1/nm; "q*Angstroem" labels a column without a unit.
# One of four letters comes first, and what is before it second: so most of a text is passed over
# in the quickest way that there is.
_STATED = re.compile(
    rf"[qsma](?<![a-z0-9].)(?:"
    rf"(?:(?<=q)|(?<=s)cattering[\s_-]*vector|(?<=m)omentum[\s_-]*transfer"
    rf"|(?<=a)ngular(?=[\s_.-]*unit)){_AFTER_NAME}{_BETWEEN}{_INVERSE}"
    rf"|(?<=a)ngular[\s_-]*units?\s*[:=]\s*{_LENGTH}(?![a-z0-9])"
    rf"|(?<=q)\s*\*\s*{_LENGTH}(?![a-z0-9]))"
)
_TEX = re.compile(r"\\(?:mathrm|text|rm)\b")
_NO_SIGNS = str.maketrans("", "", '${}\\"')
_FILE_NAME = re.compile(r"\S{0,300}[/\\]\S{0,100}\.[a-z]\w{1,4}(?!\w)")


def parse_q_unit(text: str) -> QUnit | None:
    """Unit of q that a text such as ``"1/A"``, ``"Å⁻¹"`` or ``"q_nm^-1"`` spells.

    Returns
    -------
    ``"1/nm"``, ``"1/angstrom"`` or ``"1/m"``; None where the text is none of them.
    """
    match = _UNIT.fullmatch(_plain(text))
    return None if match is None else _named(match)


def find_q_unit(text: str) -> QUnit | None:
    """Unit that a header states for q, as in ``"# q(1/A) I err"``.

    Returns None where nothing is stated, and where two statements disagree.
    """
    # The files of a folder mostly have one header.
    return _find_q_unit(text) if len(text) > _LONGEST_KEPT else _find_in_short(text)


def _find_q_unit(text: str) -> QUnit | None:
    plain = _plain(text)
    found = {
        _named(match)
        for match in _STATED.finditer(plain)
        if not _in_file_name(plain, match.start())
    }
    return found.pop() if len(found) == 1 else None


def _in_file_name(text: str, place: int) -> bool:
    """Whether a place is in the path of a file, whose name states nothing."""
    begin = max(text.rfind(sign, 0, place) for sign in " \t\n") + 1
    return _FILE_NAME.match(text, begin) is not None


_find_in_short = lru_cache(64)(_find_q_unit)


def guess_q_unit(q: ArrayLike) -> QUnit:
    """Unit of q guessed from its largest number, see `LARGEST_Q_IN_INVERSE_ANGSTROM`.

    A q without any finite number is left as it is: ``"1/nm"``.
    """
    values = np.asarray(q, dtype=np.float64)
    finite = values[np.isfinite(values)]
    if finite.size == 0 or finite.max() > LARGEST_Q_IN_INVERSE_ANGSTROM:
        return "1/nm"
    return "1/angstrom"


def resolve_q_unit(
    explicit: str | None, from_metadata: str | None, q: ArrayLike
) -> tuple[QUnit, QUnitSource]:
    """Unit of q, and who said so: the caller, else the file, else a guess from the numbers.

    Raises
    ------
    ValueError
        If the caller's unit is not a unit of q.
    """
    if explicit is not None:
        return check_q_unit(explicit), "argument"
    stated = None if from_metadata is None else parse_q_unit(from_metadata)
    if stated is not None:
        return stated, "metadata"
    return guess_q_unit(q), "guess"


def check_q_unit(text: str) -> QUnit:
    """Unit of q that a caller gives, as one of the three names; ValueError for anything else."""
    unit = parse_q_unit(text)
    if unit is None:
        raise ValueError(
            f"Expected a unit of q: '1/nm', '1/angstrom' or '1/m'. Got {text!r}. "
            "Name one of them, or give none to take it from the file."
        )
    return unit


def _plain(text: str) -> str:
    """Lower case, without TeX, accents, quotes and typographic minus signs."""
    if "\\" in text:
        text = _TEX.sub("", text)
    text = text.translate(_NO_SIGNS)
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text).translate(_PLAIN_SIGNS)
    return text.lower()


def _named(match: re.Match[str]) -> QUnit:
    length = next(group for group in match.groups() if group is not None)
    if length.startswith("n"):
        return "1/nm"
    return "1/m" if length.startswith("m") else "1/angstrom"
