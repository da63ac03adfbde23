"""Radius of gyration and intensity at zero angle."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.kernels.guinier import LIMITS, NUMBERS, guinier
from gpusaxs.numbers import Number
from gpusaxs.stages.base import NO_REQUESTS, Part, Requests, Stage, parameter


class Guinier(Stage):
    """Find the Guinier range and fit I0 exp(-(q Rg)² / 3) in it, or say why there is none.

    The range begins at the lowest q from which ln I against q² is a straight line, and ends
    where q Rg reaches its limit. An upturn, a downturn or a peak leaves the curve without Rg.
    """

    reads: ClassVar[frozenset[Part]] = frozenset({"curve"})
    may_write: ClassVar[frozenset[Part]] = frozenset({"numbers"})
    # In the order of the kernel's columns.
    leaves: ClassVar[tuple[Number, ...]] = (
        Number("rg", "nm", "radius of gyration"),
        Number("rg_sigma", "nm", "standard uncertainty of rg"),
        Number("i0", "", "intensity at zero angle, in the curve's own unit"),
        Number("i0_sigma", "", "standard uncertainty of i0"),
        Number("correlation", "", "correlation of rg and i0"),
        Number("first", "", "first point of the range, counted in the curve as it was given"),
        Number("last", "", "last point of the range"),
        Number("points", "", "points of the range"),
        Number("q_min", "1/nm", "lowest q of the range"),
        Number("q_max", "1/nm", "highest q of the range"),
        Number("q_min_rg", "", "q_min times rg"),
        Number("q_max_rg", "", "q_max times rg"),
        Number("reduced_chi2", "", "chi-squared of the fit over its degrees of freedom"),
        Number("curvature", "", "coefficient of (q rg)^4 in ln I: -0.008 for a sphere"),
        Number("curvature_sigma", "", "standard uncertainty of curvature"),
        Number(
            "range",
            "",
            "whether there is a Guinier range, or what speaks against it",
            (
                "found",
                "too_few_points",
                "no_decay",
                "upturn",
                "downturn",
                "not_straight",
                "uncertain",
                "beyond_lowest_q",
            ),
        ),
    )

    max_q_rg: float = parameter(1.3, "Where the range ends: highest q times Rg.", gt=0.0, le=3.0)
    max_first_q_rg: float = parameter(
        1.0, "Highest q times Rg at which the range may begin.", gt=0.0, le=3.0
    )
    min_points: int = parameter(10, "Points that the range needs.", unit="points", ge=5)
    max_upturn: float = parameter(
        0.05,
        "Coefficient of (q Rg)^4 in ln I above which the curve turns up: aggregates. A chain has "
        "0.028.",
        ge=0.0,
    )
    max_downturn: float = parameter(
        0.03,
        "The same downwards: repulsion, or a peak. A hollow sphere has 0.011.",
        ge=0.0,
    )
    max_relative_sigma: float = parameter(
        0.1, "Standard uncertainty of Rg over Rg above which there is no answer.", gt=0.0
    )
    max_reduced_chi2: float = parameter(
        4.0, "Reduced chi-squared of a parabola above which the range holds a peak.", gt=0.0
    )
    min_significance: float = parameter(
        2.0, "Standard uncertainties by which a turn must exceed its limit.", ge=0.0
    )
    max_points_above: int = parameter(
        5,
        "Points before the range that may lie above it: parasitic scattering at the beamstop.",
        unit="points",
        ge=0,
    )
    max_below: float = parameter(
        0.5,
        "Points before the range that may lie below it, as a share of its own: a shadow.",
        ge=0.0,
    )
    min_last_q_rg: float = parameter(
        0.5, "Highest q times Rg that the range must reach: less could be any background.", ge=0.0
    )
    scale_uncertainties: bool = parameter(
        False, "Whether uncertainties grow with the root of a reduced chi-squared above one."
    )

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Fit each curve."""
        numbers = self.numbers_in(batch)
        assert numbers.shape[1] == NUMBERS
        batch.launch(
            guinier,
            rows,
            batch.q,
            batch.intensity,
            batch.sigma,
            batch.start,
            self._limits,
            self.scale_uncertainties,
            numbers,
        )
        return NO_REQUESTS

    @property
    def _limits(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        limits = np.array(
            [
                self.max_q_rg,
                self.max_first_q_rg,
                self.min_points,
                self.max_upturn,
                self.max_downturn,
                self.max_relative_sigma,
                self.max_reduced_chi2,
                self.min_significance,
                self.max_points_above,
                self.max_below,
                self.min_last_q_rg,
            ],
            np.float64,
        )
        assert limits.size == LIMITS
        return limits
