"""Remove what is not the sample's peaks."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import model_validator

from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.errors import PipelineError, ReadError
from gpusaxs.kernels.arpls import arpls
from gpusaxs.kernels.blank import blank
from gpusaxs.kernels.power_law import power_law
from gpusaxs.kernels.snip import snip
from gpusaxs.stages.base import NO_REQUESTS, Part, Requests, Stage, parameter


class Background(Stage):
    """Subtract a background: clipped from the curve, fitted to it, or measured."""

    reads: ClassVar[frozenset[Part]] = frozenset({"curve"})
    may_write: ClassVar[frozenset[Part]] = frozenset({"curve"})

    mode: Literal["snip", "arpls", "power_law", "blank", "none"] = parameter(
        "snip", "Where the background comes from."
    )
    max_half_window: int = parameter(
        40, "Widest half window of the clipping (snip).", unit="points", ge=1, le=10000
    )
    decreasing: bool = parameter(True, "Whether the windows go from wide to narrow (snip).")
    smooth: int = parameter(
        3, "Half window of the mean before clipping (snip).", unit="points", ge=0, le=100
    )
    transform: bool = parameter(
        True, "Whether to work on the log-log-sqrt scale of the counts (snip, arpls)."
    )
    lam: float = parameter(
        1e5,
        "Stiffness: what is shorter than 2 pi lam^(1/4) points is no background (arpls).",
        gt=0.0,
        le=1e12,
    )
    max_iter: int = parameter(50, "How often the weights change at most (arpls).", ge=0, le=1000)
    tol: float = parameter(
        1e-3, "Relative change of the weights at which they have settled (arpls).", gt=0.0, lt=1.0
    )
    with_constant: bool = parameter(True, "Whether b q^-a has a constant beside it (power_law).")
    robust: bool = parameter(True, "Whether points far above the fit lose weight (power_law).")
    share: float = parameter(1.0, "Share of the fit that is subtracted (power_law).", gt=0.0)
    blank_file: str | None = parameter(None, "File of the measured curve (blank).")
    factor: float | None = parameter(
        None, "What the blank is multiplied by; None takes the ratio over the q window (blank)."
    )
    window_q_min: float | None = parameter(
        None, "Lowest q of the window for the ratio (blank).", unit="1/nm", ge=0.0
    )
    window_q_max: float | None = parameter(
        None, "Highest q of the window for the ratio (blank).", unit="1/nm", gt=0.0
    )

    @model_validator(mode="after")
    def _blank_is_given(self) -> Background:
        if self.mode == "blank":
            if self.blank_file is None:
                raise ValueError("expected blank_file, the measured blank, for mode 'blank'")
            if self.factor is None and (self.window_q_min is None or self.window_q_max is None):
                raise ValueError(
                    "expected factor, or window_q_min and window_q_max to scale the blank by"
                )
        return self

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Subtract the background of each curve."""
        match self.mode:
            case "snip":
                batch.launch(
                    snip,
                    rows,
                    batch.intensity,
                    batch.sigma,
                    batch.background,
                    self.max_half_window,
                    self.decreasing,
                    self.smooth,
                    self.transform,
                )
            case "arpls":
                batch.launch(
                    arpls,
                    rows,
                    batch.intensity,
                    batch.sigma,
                    batch.background,
                    batch.status,
                    self.lam,
                    self.max_iter,
                    self.tol,
                    self.transform,
                )
            case "power_law":
                batch.launch(
                    power_law,
                    rows,
                    batch.q,
                    batch.intensity,
                    batch.sigma,
                    batch.background,
                    batch.status,
                    self.with_constant,
                    self.robust,
                    self.share,
                )
            case "blank":
                batch.launch(
                    blank,
                    rows,
                    batch.q,
                    batch.intensity,
                    batch.sigma,
                    batch.background,
                    batch.status,
                    *self._blank,
                    np.nan if self.factor is None else self.factor,
                    self.window_q_min or 0.0,
                    self.window_q_max or np.inf,
                )
            case "none":
                return NO_REQUESTS
        batch.restart_search(rows)
        return NO_REQUESTS

    def fingerprint(self) -> str | None:
        """See `Stage.fingerprint`: the blank belongs to it, whatever its file is called."""
        own = super().fingerprint()
        if own is None or self.mode != "blank":
            return own
        digest = hashlib.sha256(own.encode())
        for array in self._blank:
            digest.update(array.tobytes())
        return digest.hexdigest()

    @cached_property
    def _blank(self) -> tuple[Any, Any, Any]:
        """q, intensity and sigma of the blank, repaired."""
        from gpusaxs.io import read  # noqa: PLC0415 no stage but this one reads a file
        from gpusaxs.repair import repair  # noqa: PLC0415

        assert self.blank_file is not None
        try:
            [sample, *others] = read(self.blank_file)
        except ReadError as error:
            raise PipelineError(f"Cannot read the blank {self.blank_file}: {error}") from error
        if others:
            raise PipelineError(
                f"Expected one curve in the blank {self.blank_file}. Got {1 + len(others)}."
            )
        sigma = np.zeros_like(sample.q) if sample.sigma is None else np.nan_to_num(sample.sigma)
        q, intensity, sigma, status = repair(sample.q, sample.intensity, sigma)
        if status.failed:
            raise PipelineError(f"The blank {self.blank_file} is no curve: {status.explanation}.")
        return q, intensity, sigma
