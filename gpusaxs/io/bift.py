"""BioXTAS RAW's ``.ift``: P(r), then the data with the fit to them, then the fit extrapolated.

The last table is the longest and holds no data, so the one below ``Q  I(Q)  Error  Fit`` is read.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from gpusaxs.errors import ReadError
from gpusaxs.io.curves import Curves, FileIdentity, to_samples
from gpusaxs.io.numeric_block import find_block
from gpusaxs.io.text import decode, read_content
from gpusaxs.sample import Sample

NAME = "bift"

_START = b"# BIFT"
_LABELS = re.compile(r"^#[ \t]*Q[ \t]+I\(Q\)[ \t]+Error[ \t]+Fit[ \t]*\n", re.MULTILINE)
_COLUMNS = 4


def matches(head: bytes) -> bool:
    """Whether the file begins with RAW's word for the method."""
    return head.startswith(_START)


def read(
    path: Path, curve_id: str, q_unit: str | None = None, content: bytes | None = None
) -> list[Sample]:
    """Curve that the transform was made of."""
    if content is None:
        content = read_content(path, "an .ift file")
    text = decode(content)
    labels = _LABELS.search(text)
    if labels is None:
        raise ReadError("is a BIFT file without its table of data: expected Q, I(Q), Error, Fit")
    table, _, _ = text[labels.end() :].partition("#")
    columns = np.ascontiguousarray(find_block(table).values.T)
    if len(columns) != _COLUMNS:
        raise ReadError(f"has {len(columns)} columns of data: expected Q, I(Q), Error and Fit")
    curve = Curves(q=columns[0], intensity=columns[1:2], sigma=columns[2:3])
    return to_samples([curve], FileIdentity(path, curve_id, NAME, q_unit))
