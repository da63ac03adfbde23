"""Power law at high q, Porod's constant, invariant and volume."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.kernels.porod import NUMBERS, SETTINGS, porod
from gpusaxs.numbers import Number
from gpusaxs.stages.base import NO_REQUESTS, Part, Requests, Stage, parameter
from gpusaxs.stages.guinier import Guinier


class Porod(Stage):
    """Fit a power law and K / q⁴ + B at high q, and take the invariant and the volume from it.

    The invariant is the integral of q² (I - B): below the Guinier range by Guinier's law, beyond
    the last point by K / q⁴. The volume is 2 π² I0 over it, for particles of one density.
    """

    reads: ClassVar[frozenset[Part]] = frozenset({"curve", "numbers"})
    may_write: ClassVar[frozenset[Part]] = frozenset({"numbers"})
    needs: ClassVar[tuple[str, ...]] = ("guinier",)
    # In the order of the kernel's columns.
    leaves: ClassVar[tuple[Number, ...]] = (
        Number("exponent", "", "p of the power law q^-p"),
        Number("exponent_sigma", "", "standard uncertainty of exponent"),
        Number("exponent_q_min", "1/nm", "lowest q of the power law"),
        Number("exponent_q_max", "1/nm", "highest q of the power law"),
        Number("exponent_reduced_chi2", "", "chi-squared of the power law over its freedom"),
        Number(
            "exponent_range",
            "",
            "whether there is a power law, or what speaks against it",
            ("found", "too_few_points", "not_straight", "uncertain"),
        ),
        Number("constant", "", "Porod's constant K, in the curve's own unit over nm^4"),
        Number("constant_sigma", "", "standard uncertainty of constant"),
        Number("background", "", "flat background B, in the curve's own unit"),
        Number("background_sigma", "", "standard uncertainty of background"),
        Number("q_min", "1/nm", "lowest q of the fit of K and B"),
        Number("q_max", "1/nm", "highest q of the fit of K and B, and of the integral"),
        Number("points", "", "points of the fit of K and B"),
        Number("reduced_chi2", "", "chi-squared of K and B over its degrees of freedom"),
        Number("invariant", "", "integral of q^2 (I - B), in the curve's own unit over nm^3"),
        Number("invariant_sigma", "", "standard uncertainty of invariant"),
        Number("volume", "nm^3", "Porod volume of a particle"),
        Number("volume_sigma", "nm^3", "standard uncertainty of volume"),
        Number(
            "law",
            "",
            "whether Porod's law is seen, or why not: without it no invariant",
            ("found", "too_few_points", "no_range", "not_seen"),
        ),
    )

    q_min: float | None = parameter(
        None, "Lowest q of the fits; min_q_rg over Rg if not given.", unit="1/nm", gt=0.0
    )
    q_max: float | None = parameter(
        None,
        "Highest q of the fits and the integral; max_q_rg over Rg if not given.",
        unit="1/nm",
        gt=0.0,
    )
    min_q_rg: float = parameter(3.0, "Lowest q of the fits, times Rg.", gt=0.0)
    max_q_rg: float = parameter(8.0, "Highest q of the fits and the integral, times Rg.", gt=0.0)
    min_span: float = parameter(
        1.5, "Highest over lowest q that a power law must hold for.", gt=1.0
    )
    max_bend: float = parameter(
        0.3, "Change of the exponent over the range of a power law that is none.", ge=0.0
    )
    max_scatter: float = parameter(
        0.1,
        "Scatter about a power law that is none, as a share of the intensity, beside the noise: "
        "oscillations.",
        ge=0.0,
    )
    min_fall: float = parameter(
        2.0,
        "Ratio by which a power law must fall over its range: a flat background does not.",
        ge=1.0,
    )
    min_points: int = parameter(10, "Points that a fit needs.", unit="points", ge=5)
    max_sigma: float = parameter(
        0.3, "Standard uncertainty of the exponent above which there is no answer.", gt=0.0
    )
    subtract_background: bool = parameter(
        True, "Whether B is fitted, and left out of the integral."
    )
    extrapolate_low: bool = parameter(
        True, "Whether the integral goes on to q = 0; else it begins at the first point."
    )
    extrapolate_high: bool = parameter(
        True, "Whether the integral goes on beyond the last point; else it ends there."
    )

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Fit and integrate each curve."""
        numbers = self.numbers_in(batch)
        assert numbers.shape[1] == NUMBERS
        batch.launch(
            porod,
            rows,
            batch.q,
            batch.intensity,
            batch.sigma,
            batch.number_table("guinier", Guinier.leaves),
            self._settings,
            numbers,
        )
        return NO_REQUESTS

    @property
    def _settings(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        settings = np.array(
            [
                np.nan if self.q_min is None else self.q_min,
                np.nan if self.q_max is None else self.q_max,
                self.min_q_rg,
                self.max_q_rg,
                self.min_span,
                self.max_bend,
                self.min_points,
                self.max_sigma,
                self.subtract_background,
                self.extrapolate_low,
                self.extrapolate_high,
                self.max_scatter,
                self.min_fall,
            ],
            np.float64,
        )
        assert settings.size == SETTINGS
        return settings
