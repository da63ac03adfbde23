"""Curves of a result: as samples when one is looked at, and as arrays where they were kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gpusaxs.backends import Array, Backend
from gpusaxs.batch import SampleBatch
from gpusaxs.sample import Sample


class Curves(Protocol):
    """Where the curves of a result can be seen again."""

    def sample(self, number: int) -> Sample:
        """Return a curve with everything that was found in it."""
        ...


@dataclass(frozen=True)
class ReducedCurves:
    """Reduced curves as arrays of the backend: on a GPU they stay there.

    Attributes
    ----------
    q : (curves, points) float64
        1/nm.
    intensity, sigma, background : (curves, points) float64
        The intensity less what was subtracted, with its standard uncertainty; what was
        subtracted. All four are NaN at points that take no part: cut off, or not measured.
    """

    q: Array
    intensity: Array
    sigma: Array
    background: Array
    again: Curves = field(repr=False)

    @classmethod
    def empty(cls, curves: int, points: int, backend: Backend, again: Curves) -> ReducedCurves:
        """Return room for curves; `again` shows one with everything that was found in it."""
        q, intensity, sigma, background = (backend.empty((curves, points)) for _ in range(4))
        return cls(q, intensity, sigma, background, again)

    def take_over(self, batch: SampleBatch, first: int) -> None:
        """Copy the curves of a processed batch to where they belong, from `first` on."""
        xp, part = batch.xp, slice(first, first + len(batch))
        point = xp.arange(batch.intensity.shape[1])
        inside = (batch.start[:, None] <= point) & (point < batch.stop[:, None])
        for name in ("q", "intensity", "sigma", "background"):
            getattr(self, name)[part] = xp.where(inside, getattr(batch, name), np.nan)

    def sample(self, number: int) -> Sample:
        """See `Curves.sample`."""
        return self.again.sample(number)
