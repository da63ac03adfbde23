"""Name the phase and its lattice parameter."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from pydantic import field_validator

from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.kernels.bragg_lines import LIMITS
from gpusaxs.kernels.index_phase import index_phase
from gpusaxs.phases import PHASE_BY_NAME, PHASES
from gpusaxs.stages.base import NO_REQUESTS, Part, Requests, Stage, parameter

# Reflections of any phase that a base line is tried as; a lamellar stack can start anywhere.
_TRIED = {"lamellar": 12}
_TRIED_DEFAULT = 6
# Orders of a stack that are broader over their distance are lobes of a form factor.
_BROADEST = {"lamellar": 0.25}
# Lattice parameter of the second over that of the first, of minimal surfaces that bend into each
# other (S.T. Hyde 1989).
_BONNET = {("Pn-3m", "Im-3m"): 1.279, ("Pn-3m", "Ia-3d"): 1.576}
_TWO_LINES_SUFFICE = ("lamellar", "hexagonal")


class Phase(Stage):
    """Name the phase whose reflections explain the peaks, or say why none can be named.

    Peaks that look like Bragg lines are matched one to one with the reflections of each phase;
    the match is scored as a log Bayes factor against "all peaks are spurious", in which missing
    reflections count, and those are looked for where they are expected. Where clear lines stay
    unexplained, up to three phases may coexist. The verdict is `identified` only where the
    probability of being right, which follows from the lead over all rivals, is high enough.
    """

    reads: ClassVar[frozenset[Part]] = frozenset({"curve", "noise", "search", "peaks"})
    may_write: ClassVar[frozenset[Part]] = frozenset({"phases"})

    phases: tuple[str, ...] = parameter(
        tuple(phase.name for phase in PHASES), "Phases that may be named."
    )
    max_relative_width: float = parameter(
        0.14, "FWHM over q above which a peak is a hump.", gt=0.0, le=1.0
    )
    min_significance: float = parameter(
        4.0, "Height of a Bragg line over its standard uncertainty.", ge=0.0
    )
    satellite: float = parameter(
        0.03, "Share of the strongest line's height under which a lower one is a satellite.", ge=0.0
    )
    width_spread: float = parameter(
        3.0, "Largest ratio of a line's FWHM to the median one, either way.", gt=1.0
    )
    tolerance: float = parameter(
        0.01, "Largest distance of a line from its reflection, over q.", gt=0.0, le=0.013
    )
    tolerance_sigmas: float = parameter(
        4.0, "The same in standard uncertainties of the line's centre.", gt=0.0
    )
    centre_by_fwhm: float = parameter(
        0.03, "Uncertainty of a centre that no fit knows of: asymmetry.", unit="FWHM", ge=0.0
    )
    centre_by_q: float = parameter(
        0.002, "Uncertainty of a centre that no fit knows of: the q scale, over q.", ge=0.0
    )
    detection: float = parameter(
        6.0, "Height at which a reflection would have been seen, in units of the noise.", gt=0.0
    )
    expected_significance: float = parameter(
        4.5,
        "Height over its standard uncertainty of a reflection seen only where it is expected.",
        gt=0.0,
    )
    chance_score: float = parameter(6.0, "Log Bayes factor that lines of no phase reach by chance.")
    min_probability: float = parameter(
        0.75, "Probability of being right that an answer needs.", ge=0.0, le=1.0
    )
    min_margin: float = parameter(
        0.5, "Lead in log Bayes factor over all rivals that an answer needs.", ge=0.0
    )

    @field_validator("phases")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in PHASE_BY_NAME:
                raise ValueError(f"expected phases out of {', '.join(PHASE_BY_NAME)}")
        return names

    @cached_property
    def _tables(self) -> tuple[Any, ...]:
        """The kernel's tables, from positions to limits in the order of its arguments."""
        width = max(phase.positions.size for phase in PHASES)
        positions = np.full((len(PHASES), width), np.inf)
        for row, phase in zip(positions, PHASES, strict=True):
            row[: phase.positions.size] = phase.positions
        related = np.full((len(PHASES), len(PHASES)), np.nan)
        names = [phase.name for phase in PHASES]
        for (first, second), ratio in _BONNET.items():
            related[names.index(first), names.index(second)] = ratio
            related[names.index(second), names.index(first)] = 1.0 / ratio
        limits = np.array(
            [
                self.max_relative_width,
                self.min_significance,
                self.satellite,
                self.width_spread,
                self.tolerance,
                self.tolerance_sigmas,
                self.centre_by_fwhm,
                self.centre_by_q,
                self.detection,
                self.expected_significance,
                self.min_score,
                self.min_probability,
                self.min_margin,
            ]
        )
        assert limits.size == LIMITS
        return (
            positions,
            np.array([phase.positions.size for phase in PHASES], np.int64),
            np.array([_TRIED.get(phase.name, _TRIED_DEFAULT) for phase in PHASES], np.int64),
            np.array([phase.name in _TWO_LINES_SUFFICE for phase in PHASES]),
            np.array([_BROADEST.get(phase.name, np.inf) for phase in PHASES]),
            np.array(
                [phase.log_prior if phase.name in self.phases else -np.inf for phase in PHASES]
            ),
            related,
            limits,
        )

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Index the peaks of each curve."""
        batch.launch(
            index_phase,
            rows,
            batch.q,
            batch.residual,
            batch.sigma,
            batch.noise,
            batch.peaks,
            batch.n_peaks,
            *self._tables,
            batch.phases,
            batch.n_phases,
            batch.verdict,
            batch.margin,
        )
        return NO_REQUESTS
