"""Name the phase as an older program did."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from pydantic import field_validator

from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.kernels.classic_phase import classic_phase
from gpusaxs.phases import PHASE_BY_NAME, PHASES, Numbered, Phase
from gpusaxs.stages.base import NO_REQUESTS, Part, Requests, Stage, parameter

_SINGLE = PHASE_BY_NAME["lamellar"]
_COMPARABLE = tuple(phase.name for phase in PHASES if phase is not _SINGLE)


class ClassicPhase(Stage):
    """Name the phase whose ratios are most like those of the peaks; one alone is lamellar.

    The recipe of an older program, with its faults: see docs/classic.md. Every peak counts as a
    line and is paired with the reflection of its rank; the phase with the largest sum of
    1 / abs(reference - observed) is named, which stands as the score, however unlike it is.
    Ratios equal to the last bit count as 2^-52 apart. The lattice parameter follows from the
    lowest peak.
    """

    reads: ClassVar[frozenset[Part]] = frozenset({"peaks"})
    may_write: ClassVar[frozenset[Part]] = frozenset({"phases"})

    phases: tuple[str, ...] = parameter(
        ("Pn-3m", "Im-3m", "Ia-3d"), "Phases that two peaks and more are compared with."
    )

    @field_validator("phases")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or not set(names) <= set(_COMPARABLE):
            raise ValueError(f"expected phases out of {', '.join(_COMPARABLE)}; got {names}")
        return names

    @cached_property
    def known(self) -> tuple[Phase, ...]:
        """The phases that may be named, that of a single peak first."""
        return (_SINGLE, *(PHASE_BY_NAME[name] for name in self.phases))

    @cached_property
    def _tables(self) -> tuple[Any, ...]:
        """The kernel's `reflections` and `counts`."""
        counts = np.array([len(phase.reflections) for phase in self.known], np.int64)
        return np.sqrt(Numbered.of(self.known).planes.sum(axis=2)), counts

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Name the phase of each curve."""
        batch.known = self.known
        batch.launch(
            classic_phase,
            rows,
            batch.peaks,
            batch.n_peaks,
            *self._tables,
            batch.phases,
            batch.n_phases,
            batch.verdict,
            batch.margin,
        )
        return NO_REQUESTS
