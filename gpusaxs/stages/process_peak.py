"""Fit the current peak and take it away."""

from __future__ import annotations

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
}


class ProcessPeak(Stage):
    """Fit the highest peak that the search has found, subtract it, and ask for another search.

    Weighted least squares of the profile on a straight line, on the points that were measured;
    the smoothed curve only says where. The peak joins `processed_peaks`, with the status of its
    fit, whatever that is.
    """

    may_request: ClassVar[tuple[str, ...]] = ("find_peak",)
    on_request: ClassVar[bool] = True
    reads: ClassVar[frozenset[Part]] = frozenset({"curve", "noise", "search", "peaks"})
    may_write: ClassVar[frozenset[Part]] = frozenset({"search", "peaks"})

    shape: Literal["gaussian", "lorentzian", "pseudo_voigt"] = parameter(
        "pseudo_voigt", "Profile of a peak."
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
        )
        return {"find_peak": rows}
