"""Fit all peaks of a curve again, those that overlap together."""

from __future__ import annotations

from typing import ClassVar, Literal

from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.kernels import profile_fit
from gpusaxs.kernels import refine as kernel
from gpusaxs.stages.base import NO_REQUESTS, Part, Requests, Stage, parameter

_SHAPES = {
    "gaussian": profile_fit.GAUSSIAN,
    "lorentzian": profile_fit.LORENTZIAN,
    "pseudo_voigt": profile_fit.PSEUDO_VOIGT,
    "asymmetric": profile_fit.ASYMMETRIC,
    "best": kernel.BEST,
}


class Refine(Stage):
    """Fit all peaks of a curve again: jointly where they overlap, each on the curve less the rest.

    Peaks whose windows touch make a group, of up to five: one fit of all of them on one straight
    line, with one eta. An asymmetry is one for the whole curve, and taken only where the curve
    shows it. A peak that its neighbours explain is dropped.
    """

    reads: ClassVar[frozenset[Part]] = frozenset({"curve", "peaks"})
    may_write: ClassVar[frozenset[Part]] = frozenset({"search", "peaks"})

    shape: Literal["gaussian", "lorentzian", "pseudo_voigt", "asymmetric", "best"] = parameter(
        "asymmetric", "Profile of a peak; best is by the Bayesian information criterion."
    )
    window: float = parameter(
        2.5, "Half the width of a peak's window.", unit="FWHM", gt=0.5, le=20.0
    )
    likelihood: Literal["normal", "poisson"] = parameter(
        "normal", "Least squares with sigma, or the likelihood of the counts behind it."
    )
    scale_uncertainties: bool = parameter(
        False, "Whether uncertainties are multiplied by sqrt(reduced chi-squared)."
    )

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Fit the peaks of each curve."""
        batch.launch(
            kernel.refine,
            rows,
            batch.q,
            batch.intensity,
            batch.sigma,
            batch.background,
            batch.residual,
            batch.peaks,
            batch.n_peaks,
            _SHAPES[self.shape],
            self.window,
            self.likelihood == "poisson",
            self.scale_uncertainties,
        )
        return NO_REQUESTS
