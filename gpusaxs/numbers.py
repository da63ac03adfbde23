"""Numbers of a curve that stages leave in the results, beside its peaks and phases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Number:
    """A number of a curve: the column ``STAGE.NAME`` of the table of samples.

    Parameters
    ----------
    name
        Its standard uncertainty, where it has one, is a number of its own: ``NAME_sigma``.
    unit
        ``""`` for a number without one.
    meaning
        One line.
    words
        What the number means where it is a code: it counts these words from 0, and people see
        the word.
    """

    name: str
    unit: str
    meaning: str
    words: tuple[str, ...] = ()

    def told(self, value: float) -> float | str:
        """Return the number, or the word that it stands for: ``""`` where there is no answer."""
        if not self.words:
            return value
        return "" if math.isnan(value) else self.words[int(value)]


NumberColumns = Mapping[str, tuple[Number, ...]]
"""The numbers of stages in the order of their columns, by the names of the stages."""

NO_NUMBERS: NumberColumns = MappingProxyType({})
