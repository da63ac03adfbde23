"""GNOM's ``.out``, versions 4 and 5: a report with the data, the fit to them, and P(r).

The data are the rows of five numbers below ``S  J EXP  ERROR  J REG  I REG``. Rows of two are the
fit, extrapolated to q = 0; the table of P(r) is no curve.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from gpusaxs.errors import ReadError
from gpusaxs.io.curves import Curves, FileIdentity, to_samples
from gpusaxs.io.text import decode, read_content
from gpusaxs.sample import Sample

NAME = "gnom"

_SIGN = b"G N O M  "
_WITHIN = 256
_LABELS = re.compile(r"^[ \t]*S[ \t]+J EXP[ \t]+ERROR[ \t]+J REG[ \t]+I REG[ \t]*\n", re.MULTILINE)
_DATA_CELLS = 5
_FIT_CELLS = 2


def matches(head: bytes) -> bool:
    """Whether the file begins as GNOM's reports do."""
    return head.find(_SIGN, 0, _WITHIN) >= 0


def read(
    path: Path, curve_id: str, q_unit: str | None = None, content: bytes | None = None
) -> list[Sample]:
    """Curve that GNOM was given."""
    if content is None:
        content = read_content(path, "a report of GNOM")
    text = decode(content)
    labels = list(_LABELS.finditer(text))
    if not labels:
        raise ReadError("is a report of GNOM without its table of data: expected S, J EXP, ERROR")
    if len(labels) > 1:
        raise ReadError(f"is {len(labels)} reports of GNOM in one: split it into several files")
    rows = _data_rows(text[labels[0].end() :])
    if not rows:
        raise ReadError("is a report of GNOM with a fit alone: it holds no data")
    columns = np.array(rows).T.copy()
    curve = Curves(q=columns[0], intensity=columns[1:2], sigma=columns[2:3])
    return to_samples([curve], FileIdentity(path, curve_id, NAME, q_unit))


def _data_rows(text: str) -> list[tuple[float, float, float]]:
    """Return q, intensity and sigma of each row of data; the first other line ends the table."""
    rows = []
    for line in text.split("\n"):
        cells = line.split()
        if not cells:
            continue
        if math.isnan(_number(cells[0])) or len(cells) not in (_FIT_CELLS, _DATA_CELLS):
            break
        if len(cells) == _DATA_CELLS:
            rows.append((_number(cells[0]), _number(cells[1]), _number(cells[2])))
    return rows


def _number(cell: str) -> float:
    """Number of a cell, NaN where stars or words fill it."""
    try:
        return float(cell)
    except ValueError:
        return math.nan
