"""Remove what is not the sample's peaks."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import model_validator

from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.common_background import subtract_common
from gpusaxs.errors import PipelineError, ReadError
from gpusaxs.kernels.arpls import arpls
from gpusaxs.kernels.blank import blank
from gpusaxs.kernels.power_law import power_law
from gpusaxs.kernels.snip import snip
from gpusaxs.sample import CurveStatus, Sample
from gpusaxs.stages.base import NO_REQUESTS, Part, Requests, Stage, parameter


class Background(Stage):
    """Subtract a background: drawn from the curve, measured, or common to a series."""

    reads: ClassVar[frozenset[Part]] = frozenset({"curve"})
    may_write: ClassVar[frozenset[Part]] = frozenset({"curve"})

    mode: Literal["snip", "arpls", "power_law", "blank", "common", "none"] = parameter(
        "snip", "Where the background comes from."
    )
    max_half_window: int = parameter(
        40, "Widest half window of the clipping (snip).", unit="points", ge=1, le=10000
    )
    decreasing: bool = parameter(True, "Whether the windows go from wide to narrow (snip).")
    thin_above: int = parameter(
        8,
        "Of the half windows above this, every other one is left out (snip).",
        unit="points",
        ge=1,
    )
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
        None,
        "What the blank is multiplied by, beside scale_by; None is 1 with scale_by, else the ratio "
        "over the q window (blank).",
        gt=0.0,
    )
    scale_by: Literal["nothing", "exposure", "transmission", "exposure_and_transmission"] = (
        parameter(
            "nothing",
            "What the metadata say of curve and blank, whose ratio scales the blank (blank).",
        )
    )
    blank_exposure: float | None = parameter(
        None, "Exposure of the blank; None takes what its file says (blank).", unit="s", gt=0.0
    )
    blank_transmission: float | None = parameter(
        None, "Transmission of the blank; None takes what its file says (blank).", gt=0.0
    )
    window_q_min: float | None = parameter(
        None, "Lowest q of the window for the ratio (blank, common).", unit="1/nm", ge=0.0
    )
    window_q_max: float | None = parameter(
        None, "Highest q of the window for the ratio (blank, common).", unit="1/nm", gt=0.0
    )
    level: float = parameter(
        0.25,
        "Share of the curves of a series that have no line at a q, at least, whatever the q "
        "(common).",
        gt=0.0,
        le=0.5,
    )

    @model_validator(mode="after")
    def _blank_is_given(self) -> Background:
        if self.mode == "blank":
            if self.blank_file is None:
                raise ValueError("expected blank_file, the measured blank, for mode 'blank'")
            window = (self.window_q_min, self.window_q_max)
            if self.factor is None and self.scale_by == "nothing" and None in window:
                raise ValueError(
                    "expected factor, scale_by, or window_q_min and window_q_max to scale the "
                    "blank by"
                )
            if self.scale_by != "nothing" and window != (None, None):
                raise ValueError(
                    f"expected one way to scale the blank; got scale_by {self.scale_by!r} and a "
                    "q window"
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
                    self.thin_above,
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
                self._subtract_blank(batch, rows)
            case "common":
                subtract_common(batch, rows, self.level, self._window)
            case "none":
                return NO_REQUESTS
        batch.restart_search(rows)
        return NO_REQUESTS

    @property
    def joint(self) -> bool:
        """See `Stage.joint`: what curves have in common hangs on all of them."""
        return self.mode == "common"

    @property
    def _window(self) -> tuple[float, float] | None:
        """The q window; None where neither end is given."""
        if self.window_q_min is None and self.window_q_max is None:
            return None
        return (
            0.0 if self.window_q_min is None else self.window_q_min,
            np.inf if self.window_q_max is None else self.window_q_max,
        )

    @property
    def _scaled_by(self) -> tuple[str, ...]:
        """Fields of the metadata whose ratio scales the blank."""
        return () if self.scale_by == "nothing" else tuple(self.scale_by.split("_and_"))

    def _subtract_blank(self, batch: SampleBatch, rows: IndexArray) -> None:
        factor = np.full(len(batch), self.factor or 1.0)
        for name in self._scaled_by:
            said = batch.backend.to_host(getattr(batch, name))
            factor *= said / self._said_of_blank[name]
            known = said[rows] > 0.0
            reason = f"the {name} of the curve is not known: the blank cannot be scaled by it"
            batch.end(rows[~known], CurveStatus.BLANK_UNSCALED, reason)
            rows = rows[known]
        batch.launch(
            blank,
            rows,
            batch.q,
            batch.intensity,
            batch.sigma,
            batch.background,
            batch.status,
            *self._blank,
            batch.backend.to_device(factor),
            self.factor is None and not self._scaled_by,
            *(self._window or (0.0, np.inf)),
        )

    def fingerprint(self) -> str | None:
        """See `Stage.fingerprint`: the blank belongs to it, whatever its file is called.

        What is common to a series belongs to all its curves: there is none, and nothing is kept.
        """
        if self.joint:
            return None
        own = super().fingerprint()
        if own is None or self.mode != "blank":
            return own
        digest = hashlib.sha256(own.encode())
        for array in self._blank:
            digest.update(array.tobytes())
        digest.update(json.dumps(self._said_of_blank).encode())
        return digest.hexdigest()

    @cached_property
    def _blank_sample(self) -> Sample:
        """The blank as its file has it."""
        from gpusaxs.io import read  # noqa: PLC0415 no stage but this one reads a file

        assert self.blank_file is not None
        try:
            [sample, *others] = read(self.blank_file)
        except ReadError as error:
            raise PipelineError(f"Cannot read the blank {self.blank_file}: {error}") from error
        if others:
            raise PipelineError(
                f"Expected one curve in the blank {self.blank_file}. Got {1 + len(others)}."
            )
        return sample

    @cached_property
    def _blank(self) -> tuple[Any, Any, Any]:
        """q, intensity and sigma of the blank, repaired."""
        from gpusaxs.repair import repair  # noqa: PLC0415

        sample = self._blank_sample
        sigma = np.zeros_like(sample.q) if sample.sigma is None else np.nan_to_num(sample.sigma)
        q, intensity, sigma, status = repair(sample.q, sample.intensity, sigma)
        if status.failed:
            raise PipelineError(f"The blank {self.blank_file} is no curve: {status.explanation}.")
        return q, intensity, sigma

    @cached_property
    def _said_of_blank(self) -> dict[str, float]:
        """Exposure and transmission of the blank, as far as they scale it."""
        given = {"exposure": self.blank_exposure, "transmission": self.blank_transmission}
        metadata = self._blank_sample.origin.metadata
        said: dict[str, float] = {}
        for name in self._scaled_by:
            value = given[name] or metadata.get(name)
            if isinstance(value, float) and value > 0.0:
                said[name] = value
            else:
                raise PipelineError(
                    f"Expected the {name} of the blank in {self.blank_file}, to scale it by. Got "
                    f"{value}. Give background.blank_{name}, or a factor."
                )
        return said
