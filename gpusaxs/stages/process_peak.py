"""Fit the current peak and take it away."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.kernels import profile_fit
from gpusaxs.kernels.process_peak import process_peak
from gpusaxs.stages.base import Part, Requests, Stage, parameter

_SHAPES = {
    "gaussian": profile_fit.GAUSSIAN,
    "lorentzian": profile_fit.LORENTZIAN,
    "pseudo_voigt": profile_fit.PSEUDO_VOIGT,
    "asymmetric": profile_fit.ASYMMETRIC,
}


class ProcessPeak(Stage):
    """Fit the highest peak that the search has found, subtract it, and ask for another search.

    Where the lines of a curve so far show an asymmetry, the profiles have it: an instrument slants
    them all alike. Those that were fitted before that was sure are fitted again.

    Weighted least squares of the profile on a straight line, on the points that were measured;
    the smoothed curve only says where. The peak joins `processed_peaks`, with the status of its
    fit, whatever that is.
    """

    may_request: ClassVar[tuple[str, ...]] = ("find_peak",)
    on_request: ClassVar[bool] = True
    reads: ClassVar[frozenset[Part]] = frozenset({"curve", "noise", "search", "peaks"})
    may_write: ClassVar[frozenset[Part]] = frozenset({"search", "peaks"})

    shape: Literal["gaussian", "lorentzian", "pseudo_voigt", "asymmetric"] = parameter(
        "pseudo_voigt",
        "Profile of a peak; asymmetric is a pseudo-Voigt with an asymmetry of its own, always.",
    )
    window: float = parameter(
        2.5,
        "Half the width of the fit's window; narrower ones cannot tell height from background.",
        unit="FWHM",
        gt=0.5,
        le=20.0,
    )
    scale_uncertainties: bool = parameter(
        False, "Whether uncertainties are multiplied by sqrt(reduced chi-squared)."
    )
    asymmetry: float | None = parameter(
        3.0,
        "Significance of the asymmetry that the lines of a curve show together, from which on "
        "pseudo-Voigts have it; None for symmetric ones.",
        unit="sigma",
        ge=0.0,
    )

    @property
    def _demand(self) -> float:
        """Asymmetry over its uncertainty from which on it is free."""
        if self.shape == "asymmetric":
            return 0.0
        if self.shape != "pseudo_voigt" or self.asymmetry is None:
            return math.inf
        return self.asymmetry

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Fit one peak of each curve."""
        batch.launch(
            process_peak,
            rows,
            batch.q,
            batch.residual,
            batch.sigma,
            batch.search,
            batch.noise,
            batch.candidates,
            batch.peaks,
            batch.n_peaks,
            batch.start,
            _SHAPES[self.shape],
            self.window,
            self.scale_uncertainties,
            self._demand,
        )
        return {"find_peak": rows}
