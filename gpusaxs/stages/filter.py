"""Smooth a curve."""

from __future__ import annotations

from functools import cache
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator
from scipy.signal import savgol_coeffs

from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.kernels.boxcar import boxcar
from gpusaxs.kernels.median import moving_median
from gpusaxs.kernels.moving_average import moving_average
from gpusaxs.kernels.noise import noise_level
from gpusaxs.kernels.savgol import savgol
from gpusaxs.stages.base import NO_REQUESTS, Part, Requests, Stage, parameter

FloatArray = NDArray[np.float64]


class Filter(Stage):
    """Smooth the curve in which peaks are searched, or the curve itself.

    Fits see the measured points unless `replace` is set; then the smoothed curve and its
    propagated sigma take their place.
    """

    reads: ClassVar[frozenset[Part]] = frozenset({"curve"})
    may_write: ClassVar[frozenset[Part]] = frozenset({"curve", "noise", "search"})

    method: Literal["savgol", "moving_average", "median", "boxcar", "none"] = parameter(
        "savgol",
        "How to smooth; boxcar is NumPy's convolution, with zeros beyond the ends and sigma as it "
        "is.",
    )
    window: int = parameter(
        5, "Length of the window, odd but for boxcar.", unit="points", ge=1, le=501
    )
    order: int = parameter(2, "Order of the polynomial (savgol).", ge=0, le=9)
    replace: bool = parameter(
        False, "Whether the smoothed curve takes the place of the measured one, fits included."
    )
    noise_block: int = parameter(
        64,
        "Length over which the noise of the search is levelled: a peak is judged by the noise "
        "about it, not by its own; 0 keeps it point by point.",
        unit="points",
        ge=0,
    )

    @model_validator(mode="after")
    def _window_fits(self) -> Filter:
        if self.window % 2 == 0 and self.method != "boxcar":
            raise ValueError(
                f"expected an odd window, which has a middle; got {self.window}; "
                f"use {self.window + 1}"
            )
        if self.method == "savgol" and self.order >= self.window:
            raise ValueError(
                f"expected an order below the window of {self.window} points; got {self.order}; "
                f"use at most {self.window - 1}"
            )
        return self

    @property
    def writes(self) -> frozenset[Part]:
        """See `Stage.writes`: the curve itself only where it is replaced."""
        return self.may_write if self.replace else self.may_write - {"curve"}

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Smooth each curve."""
        into = (batch.search, batch.noise)
        match self.method:
            case "savgol":
                tables = savgol_tables(self.window, self.order)
                batch.launch(savgol, rows, batch.intensity, batch.sigma, *tables, *into)
            case "moving_average":
                batch.launch(moving_average, rows, batch.intensity, batch.sigma, self.window, *into)
            case "median":
                batch.launch(moving_median, rows, batch.intensity, batch.sigma, self.window, *into)
            case "boxcar":
                batch.launch(boxcar, rows, batch.intensity, batch.sigma, self.window, *into)
            case "none":
                batch.restart_search(rows)
        if self.replace and self.method != "none":
            batch.replace_by_search(rows)
        if self.noise_block:
            batch.launch(noise_level, rows, batch.noise, batch.start, self.noise_block)
        return NO_REQUESTS


@cache
def savgol_tables(window: int, order: int) -> tuple[FloatArray, FloatArray]:
    """Weights of a Savitzky-Golay filter: (window,) inside, (window // 2, window) at the start.

    A row of the second projects the first window onto polynomials and takes the point of the
    row; an orthogonal basis keeps it accurate for any order.
    """
    inside = savgol_coeffs(window, order)[::-1]
    powers = np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, window), order)
    basis, _ = np.linalg.qr(powers)
    edges = basis[: window // 2] @ basis.T
    return np.ascontiguousarray(inside, dtype=np.float64), np.ascontiguousarray(edges)
