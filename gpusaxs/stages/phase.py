"""Name the phase and its lattice parameter."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gpusaxs import phases as known_phases
from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.kernels.bragg_lines import LIMITS
from gpusaxs.kernels.index_phase import MAX_KNOWN_PHASES, index_phase
from gpusaxs.phases import BONNET, PHASE_BY_NAME, PHASES, Numbered
from gpusaxs.stages.base import NO_REQUESTS, Part, Requests, Stage, parameter

# Reflections of any phase that a base line is tried as; a lamellar stack can start anywhere.
_TRIED = {"lamellar": 12}
_TRIED_DEFAULT = 6
# Orders of a stack that are broader over their distance are lobes of a form factor.
_BROADEST = {"lamellar": 0.25}
_TWO_LINES_SUFFICE = ("lamellar", "hexagonal")


class PhaseDefinition(BaseModel):
    """A phase of the user's own, by the ratios of its q or by its space group."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="As it stands in the results.")
    ratios: tuple[float, ...] = Field((), description="q of the reflections, in any unit.")
    space_group: str = Field("", description="Hermann-Mauguin symbol (needs gemmi).")
    log_prior: float = Field(
        0.0, description="ln of how often it is met, relative to the common phases."
    )

    @model_validator(mode="after")
    def _one_way(self) -> PhaseDefinition:
        if bool(self.ratios) == bool(self.space_group):
            raise ValueError(f"expected either ratios or space_group for phase {self.name!r}")
        _ = self.phase
        return self

    @cached_property
    def phase(self) -> known_phases.Phase:
        """The phase that is defined."""
        if self.ratios:
            return known_phases.by_ratios(self.name, self.ratios, self.log_prior)
        try:
            return known_phases.by_space_group(self.name, self.space_group, self.log_prior)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"expected gemmi, which knows space groups, for phase {self.name!r}; install "
                "gpusaxs[symmetry]"
            ) from error


class Phase(Stage):
    """Name the phase whose reflections explain the peaks, or say why none can be named.

    Peaks that look like Bragg lines are matched one to one with the reflections of each phase;
    the match is scored as a log Bayes factor against "all peaks are spurious", in which missing
    reflections count, and those are looked for where they are expected. Where clear lines stay
    unexplained, up to three phases may coexist. The verdict is `identified` only where the
    probability of being right, which follows from the lead over all rivals, is high enough.
    """

    reads: ClassVar[frozenset[Part]] = frozenset({"curve", "noise", "peaks"})
    may_write: ClassVar[frozenset[Part]] = frozenset({"phases"})

    phases: tuple[str, ...] = parameter(
        tuple(phase.name for phase in PHASES), "Phases that may be named."
    )
    define: tuple[PhaseDefinition, ...] = parameter((), "Further ones, defined here.")
    instrument_lines: tuple[tuple[float, float], ...] = parameter(
        (), "Windows of q in which lines are the instrument's.", unit="1/nm"
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
    min_score: float = parameter(
        9.0, "Log Bayes factor that lines of no phase reach by chance: a rival of every answer."
    )
    min_probability: float = parameter(
        0.75, "Probability of being right that an answer needs.", ge=0.0, le=1.0
    )
    min_margin: float = parameter(
        0.5, "Lead in log Bayes factor over all rivals that an answer needs.", ge=0.0
    )

    @model_validator(mode="after")
    def _known(self) -> Phase:
        if not all(low < high for low, high in self.instrument_lines):
            raise ValueError(
                "expected instrument_lines as windows of q, lower end first; got "
                f"{[list(window) for window in self.instrument_lines]}"
            )
        unknown = [name for name in self.phases if name not in PHASE_BY_NAME]
        if unknown:
            raise ValueError(f"expected phases out of {', '.join(PHASE_BY_NAME)}; got {unknown}")
        names = [phase.name for phase in self.known]
        if not 1 <= len(names) <= MAX_KNOWN_PHASES or len(set(names)) < len(names):
            raise ValueError(
                f"expected 1 to {MAX_KNOWN_PHASES} phases of different names; got {names}"
            )
        return self

    @cached_property
    def known(self) -> tuple[known_phases.Phase, ...]:
        """The phases that may be named; their number is what a batch keeps of them."""
        return (
            *(PHASE_BY_NAME[name] for name in self.phases),
            *(definition.phase for definition in self.define),
        )

    @cached_property
    def _tables(self) -> tuple[Any, ...]:
        """The kernel's tables, from planes to limits in the order of its arguments."""
        known = self.known
        ratios = [phase.ratio_range or (np.nan, np.nan) for phase in known]
        bonnet = np.array([BONNET.get(phase.name, np.nan) for phase in known])
        related = bonnet / bonnet[:, np.newaxis]
        np.fill_diagonal(related, np.nan)
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
            Numbered.of(known).planes,
            np.array([phase.positions.size for phase in known], np.int64),
            np.array([_TRIED.get(phase.lattice, _TRIED_DEFAULT) for phase in known], np.int64),
            np.array([phase.lattice in _TWO_LINES_SUFFICE for phase in known]),
            np.array([_BROADEST.get(phase.lattice, np.inf) for phase in known]),
            np.array([phase.log_prior for phase in known]),
            related,
            np.array(ratios),
            np.array(self.instrument_lines or [(np.nan, np.nan)]),
            limits,
        )

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Index the peaks of each curve."""
        batch.known = self.known
        batch.launch(
            index_phase,
            rows,
            batch.q,
            batch.intensity,
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
