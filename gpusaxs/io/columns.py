"""Which column of a table holds what, by the line above it and by the customs of programs.

Words above a table are free text in most files. So a line counts as its labels only where it has
exactly as many of them as there are columns, and is heeded only where one of them names q and one
the intensity, or where the first names another axis.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from gpusaxs.errors import ReadError


@dataclass(frozen=True, slots=True)
class Columns:
    """Places of the columns of a curve.

    Parameters
    ----------
    q_sigma
        Of the standard deviation of q.
    guessed
        Nothing says so: the columns are taken in the usual order.
    refusal
        What the table holds instead of a curve, where the file says so.
    labelled
        Whether a label of the columns says so: then a unit that the caller gives for q changes
        nothing, as it may be meant for other files of a folder.
    """

    q: int
    intensity: int
    sigma: int | None
    guessed: bool = False
    refusal: str = ""
    labelled: bool = False
    q_sigma: int | None = None


_TWO = Columns(0, 1, None)
_USUAL = Columns(0, 1, 2)
_GUESSED = Columns(0, 1, 2, guessed=True)
_WITH_Q_SIGMA = Columns(0, 1, 2, q_sigma=3)

_COMMENT_SIGNS = "#;%!* \t\"'"
_SEPARATORS = tuple(re.compile(sign) for sign in (r"[\t,;|]", r"\t+", r"\s*\|\s*|\s{2,}", r"\s+"))
# Ends a word; a digit or a sign may follow it.
_END = r"(?![^\W\d_])"
_I = r"i(?:nt(?:ensity)?)?(?:\s*\(q\))?"
_GAP = r"[ _.-]*"
# What a label names is told by its beginning. The kinds are asked in this order, so "sigma_q" is
# that of q before it could be the intensity's. What calls itself a resolution may be any width.
_PATTERNS: dict[str, tuple[str, ...]] = {
    "component": (rf"q[ _]?(?:[xyz]|par|perp){_END}", rf"q(?:ip|oop|[xyz]gi){_END}"),
    "square": (r"q\s*(?:\^|\*\*)\s*[234]", rf"q[23²³]{_END}"),
    "logarithm": (rf"(?:log|ln|arcsinh|asinh|sqrt)[\d_ ]*\(?[\d+ ]*[qs]{_END}",),
    "transformed": (
        rf"(?:log|ln)[\d_ ]*\(?\s*i(?:nt.*)?{_END}",
        r"i\s*(?:\(q\))?\s*[*·×]\s*\(?q",
        rf"q\s*(?:\^|\*\*)?\s*[24²]?\s*[*·×]\s*i{_END}",
        r"kratky",
    ),
    # Not dQ/Q.
    "q_sigma": (
        rf"(?:sig(?:ma)?|err(?:or)?|std(?:{_GAP}dev)?|dev|d|σ){_GAP}q{_END}(?!.*(?:/\s*q|%))",
        rf"q{_GAP}(?:d?dev|err(?:or)?|sig(?:ma)?|std){_END}(?!.*(?:/\s*q|%))",
    ),
    "resolution": (
        rf"(?:sig(?:ma)?|err(?:or)?|std|dev|delta|d|σ|δ){_GAP}q",
        rf"q{_GAP}(?:d?dev|err|sig|res|unc|std|width)",
        r"resol|fwhm",
    ),
    "sigma": (
        rf"{_I}{_GAP}(?:dev|err|sig|unc|std)",
        rf"(?:d|delta|δ|σ)[ _.-]?i{_END}",
        rf"sig|err|dev|std|e\.?s\.?d|uncert|(?:unc|s\.?d\.?){_END}",
        r"σ|±|\+/?-",
    ),
    "model": (
        rf"(?:{_I}{_GAP})?(?:fit|model|calc|theo|sim|reg|bac?kg?|bg|buffer|solvent)",
        rf"(?:{_I}{_GAP})?(?:vac|excl|shell)",
        r"resid|weight|diff(?!raction)|j reg",
    ),
    "intensity": (
        rf"(?:i|iq|int|counts|j exp){_END}",
        rf"i[ _.-]?(?:exp|obs|meas|abs|corr|sub|mean|av)[a-z]*{_END}",
        r"(?:exp[a-z.]*[ _.-]?)?intens",
    ),
    "q": (
        rf"(?:q|s[ _]?exp){_END}",
        r"q[ _-]?(?:val|axis|unit|nm|inv)",
        r"scattering[ _-]*vector|momentum[ _-]*transfer",
    ),
    "angle": (
        r"(?:2|two)[ _-]*(?:th|θ)|tth|theta|θ",
        r"(?:scattering|diffraction)?[ _-]*angle",
    ),
    "azimuth": (rf"(?:chi|phi|psi){_END}", r"azimuth"),
    "radius": (rf"r(?:adi(?:us|al).*)?{_END}", r"pixel|channel|position"),
    "spacing": (rf"d{_END}", r"d[ _-]?spac"),
    "time": (rf"(?:t|time|frame){_END}",),
    "energy": (r"(?:photon[ _-]?)?energy|wavelength|lambda|λ",),
    "distribution": (r"(?:p|gamma)\s*\(\s*r\s*\)",),
}
_KINDS = tuple(
    (kind, re.compile("|".join(patterns), re.IGNORECASE)) for kind, patterns in _PATTERNS.items()
)
_AXES = {
    "angle": "the scattering angle: convert the angle to q first (in pyFAI: unit='q_nm^-1')",
    "azimuth": "the azimuth: integrate to q instead (in pyFAI: unit='q_nm^-1')",
    "radius": "the place on the detector or a radius: convert it to q first (in pyFAI: "
    "unit='q_nm^-1')",
    "spacing": "the spacing d: convert it to q = 2 pi / d first",
    "time": "time: expected q there",
    "energy": "the energy or the wavelength: expected q there",
    "logarithm": "a function of q: give q itself (in pyFAI: unit='q_nm^-1')",
    "square": "a power of q: give q itself",
    "component": "a component of q: integrate to the length of q first (in pyFAI: unit='q_nm^-1')",
}
_DISTANCES = "gives a function of distance, such as P(r): expected intensity over q"
_TRANSFORMED = "gives a transformed intensity, such as I q^2 or ln I: expected the intensity itself"
_ANGLE_ANYWHERE = re.compile(
    r"^[ \t#;%!\"]*(?:2[\s_-]*th|2\s*θ|two[\s_-]*theta)", re.IGNORECASE | re.MULTILINE
)
# NIST and ANSTO: "The 6 columns are | Q (1/A) | I(Q) (1/cm) | ...|".
_COLUMNS_ARE = " columns are"
_SENTENCE = re.compile(r"the (\d+) columns are\s*[:|]?(.*)", re.IGNORECASE)
# COLETTE and Mantid's SaveRKH, for LOQ and SANS2D at ISIS: q, I, sigma, and in the last of four
# columns the standard deviation of q that Mantid computes.
_RKH = re.compile(r"3\s*\(F12\.5,\s*2E16\.6\)")
# NIST's program for the ultra-small angles of BT5: q, I, sigma and thrice the slit's -dQv.
_USANS = "COR FILES:"
# What the programs of ATSAS write above a fit: CRYSOL, SASREF, DAMMIN, GASBOR and others.
_FIT_LINE = re.compile(r"\bDro:|\bChi\^2|\bDisCog:|\bLos:")
# CRYSOL without data: q and the intensities of the whole, in vacuo, of the excluded volume and of
# the shell.
_THEORY_LINE = re.compile(r"Dif/Atom/Shape/Bord|\bDro:(?!.*Chi\^2)")
# The order of the columns in ATSAS' .fit and .fir: q, I, fit; q, I, sigma, fit; and OLIGOMER's
# q, I, fit, sigma, difference.
_FITS = {2: _TWO, 3: _TWO, 4: _USUAL, 5: Columns(0, 1, 3)}
_FIT_SUFFIXES = (".fit", ".fir")
_PLAIN_COUNT = 3
_LONGEST_LINE = 2000


def columns_of(count: int, header: str, suffix: str = "") -> Columns:
    """Places of the columns of a table.

    Parameters
    ----------
    count
        How many columns there are: two or more.
    header
        The text above the table.
    suffix
        Of the file, such as ``".fit"``: heeded where the text says nothing.

    Raises
    ------
    ReadError
        If the text declares another number of columns.
    """
    text = header.rstrip()
    if not text and suffix not in _ODD_SUFFIXES:
        return _by_custom(count, "", "")
    # A row that is damaged may follow on the sentence that names the columns.
    place = text.rfind(_COLUMNS_ARE)
    line = text[text.rfind("\n", 0, place if place >= 0 else None) + 1 :]
    line = line.partition("\n")[0][:_LONGEST_LINE]
    if line.strip().isdigit():
        # FIT2D gives a title, a label of either axis and the count of the points.
        line = "\t".join(label.strip() for label in text.rsplit("\n", 3)[-3:-1])[:_LONGEST_LINE]
        columns = _by_line(count, line, suffix, below=False)
    else:
        columns = _by_line(count, line, suffix)
    if columns.guessed and text.startswith(_USANS):
        columns = _USUAL
    if columns.labelled:
        return columns
    if "Qx" in text and "Qy" in text and not _names_q(line, count):
        return replace(columns, refusal=f"gives intensity over {_AXES['component']}")
    if not _names_q(line, count) and _ANGLE_ANYWHERE.search(header):
        columns = replace(columns, refusal=f"gives intensity over {_AXES['angle']}")
    return columns


_ODD_SUFFIXES = frozenset((*_FIT_SUFFIXES, ".int"))


@lru_cache(256)
def _by_line(count: int, line: str, suffix: str, below: bool = True) -> Columns:
    """Places by the last line of the header; the files of a folder mostly have the same."""
    kinds = _kinds(line, count)
    if kinds:
        columns = _labelled(kinds)
        if columns is not None:
            return columns
    return _by_custom(count, line if below else "", suffix)


@lru_cache(256)
def _names_q(line: str, count: int) -> bool:
    return "q" in _kinds(line, count)


def _by_custom(count: int, line: str, suffix: str) -> Columns:
    """Places by what a program is known to write, else in the usual order."""
    if count > _PLAIN_COUNT + 1 and (_THEORY_LINE.search(line) or suffix == ".int"):
        return _TWO
    if (suffix in _FIT_SUFFIXES or _FIT_LINE.search(line)) and count in _FITS:
        return _FITS[count]
    if _RKH.search(line):
        if count == _PLAIN_COUNT + 1:
            return _WITH_Q_SIGMA
        return _USUAL if count >= _PLAIN_COUNT else _TWO
    if count < _PLAIN_COUNT:
        return _TWO
    return _USUAL if count == _PLAIN_COUNT else _GUESSED


def _labelled(kinds: tuple[str, ...]) -> Columns | None:
    """Places by labels, None where they do not name a curve."""
    if kinds.count("q") == 1 and kinds.count("intensity") == 1:
        q, intensity = kinds.index("q"), kinds.index("intensity")
        q_sigma = kinds.index("q_sigma") if "q_sigma" in kinds else None
        if "sigma" in kinds:
            return Columns(q, intensity, kinds.index("sigma"), q_sigma=q_sigma)
        if len(kinds) == _PLAIN_COUNT and "" in kinds:
            return Columns(q, intensity, kinds.index(""), guessed=True)
        return Columns(q, intensity, None, q_sigma=q_sigma)
    return _refused(kinds)


def _refused(kinds: tuple[str, ...]) -> Columns | None:
    """Refusal of a table whose labels name something that is no curve."""
    refusal = ""
    if "q" in kinds:
        if "transformed" in kinds and "intensity" not in kinds:
            refusal = _TRANSFORMED
    elif "distribution" in kinds:
        refusal = _DISTANCES
    elif kinds[0] in _AXES and ("intensity" in kinds or "transformed" in kinds):
        refusal = f"gives intensity over {_AXES[kinds[0]]}"
    if not refusal:
        return None
    return replace(_by_custom(len(kinds), "", ""), refusal=refusal, labelled=True)


def _kinds(line: str, count: int) -> tuple[str, ...]:
    """What each label of a line names, ``""`` for what is unknown; nothing if it has no labels."""
    labels = _labels(line, count)
    if not labels or _is_alphabet(labels):
        return ()
    return tuple(_kind(label) for label in labels)


def _kind(label: str) -> str:
    for kind, pattern in _KINDS:
        if pattern.match(label):
            return kind
    return ""


def _labels(line: str, count: int) -> list[str]:
    """Labels in a line, if they are as many as the columns."""
    sentence = _SENTENCE.search(line)
    if sentence and int(sentence[1]) != count:
        raise ReadError(
            f"says that it has {sentence[1]} columns, but its longest table has {count}: "
            "it is damaged"
        )
    line = (sentence[2] if sentence else line).strip(_COMMENT_SIGNS + "|")
    for separator in _SEPARATORS:
        labels = [label.strip(_COMMENT_SIGNS) for label in separator.split(line)]
        if len(labels) > count and labels[-1].startswith("Chi^2"):
            labels.pop()
        if len(labels) == count:
            return labels
    return []


def _is_alphabet(labels: list[str]) -> bool:
    """Whether labels are those of a spreadsheet: letters that follow each other."""
    return all(len(label) == 1 for label in labels) and all(
        ord(second) - ord(first) == 1 for first, second in pairwise(labels)
    )
