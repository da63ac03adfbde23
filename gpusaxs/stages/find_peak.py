"""Find the next peak."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.kernels import find_peaks as kernel
from gpusaxs.stages.base import Part, Requests, Stage, parameter

NonNegative = Annotated[float, Field(ge=0.0)]
Interval = float | tuple[float | None, float | None] | None


class FindPeak(Stage):
    """Find the peaks that were not processed yet, and ask for the highest to be processed.

    The conditions are those of `scipy.signal.find_peaks`: None, the lowest value, or the lowest
    and the highest, of which either may be None. Beside them stand thresholds in units of the
    local noise. A maximum that a processed peak explains is no peak, nor does it count against
    others, unless `again` says so; of equally high ones closer than `distance` the last stays.
    Peaks that a search has found take turns, the highest first; the curve is searched again where
    none of them is left.
    """

    reads: ClassVar[frozenset[Part]] = frozenset({"curve", "noise", "search", "peaks"})
    may_write: ClassVar[frozenset[Part]] = frozenset({"search", "peaks"})

    height: Interval = parameter(None, "Height of a peak.", unit="intensity")
    threshold: Interval = parameter(None, "Height over the nearest points.", unit="intensity")
    distance: float | None = parameter(
        None, "Least distance of neighbours, the higher first.", unit="points", ge=1.0
    )
    prominence: Interval = parameter(None, "Prominence of a peak.", unit="intensity")
    width: Interval = parameter(None, "Width of a peak.", unit="points")
    plateau_size: Interval = parameter(None, "Length of a flat top.", unit="points")
    wlen: float | None = parameter(
        None, "Window in which the prominence is taken.", unit="points", gt=1.0
    )
    rel_height: float = parameter(0.5, "Share of the prominence at which the width is.", ge=0.0)
    height_noise: float | None = parameter(3.0, "Height of a peak.", unit="noise", ge=0.0)
    prominence_noise: float | None = parameter(6.0, "Prominence of a peak.", unit="noise", ge=0.0)
    growth: float | None = parameter(
        2.0,
        "A peak's prominence ends where it grows by less than this factor from one distance to "
        "its double, so that a line does not take the hump with it on which it stands; None for "
        "SciPy's prominence.",
        gt=1.0,
    )
    exclusion: float = parameter(
        0.6, "No second peak this close to a processed one.", unit="FWHM", ge=0.0
    )
    satellite: float = parameter(
        0.04, "No peak below this share of a processed one's height near it.", ge=0.0
    )
    satellite_reach: float = parameter(3.0, "How near that is.", unit="FWHM", ge=0.0)
    again: bool = parameter(
        False, "Whether a maximum that a processed peak explains is found all the same."
    )
    asks_for: str = parameter("process_peak", "Stage that is asked to process the highest peak.")
    shoulder_noise: float | None = parameter(
        None,
        "Second difference, at the width of the peak beside it, of a shoulder that has no maximum "
        "of its own; None looks for no shoulders.",
        unit="noise",
        ge=0.0,
    )
    shoulder_share: float = parameter(
        0.08, "No shoulder below this share of the height of a peak near it.", ge=0.0
    )
    resolution: NonNegative | Literal["data"] = parameter(
        0.0,
        "FWHM of the instrument's resolution: nothing that looks narrower by far is a peak; "
        "'data' for that which the metadata of each curve tell.",
        unit="1/nm",
    )
    relative_resolution: float = parameter(
        0.0, "The same as a share of q; both add in quadrature.", unit="FWHM / q", ge=0.0
    )

    @property
    def targets(self) -> tuple[str, ...]:
        """See `Stage.targets`."""
        return (self.asks_for,)

    @field_validator("height", "threshold", "prominence", "width", "plateau_size")
    @classmethod
    def _in_order(cls, interval: Interval) -> Interval:
        low, high = _limits(interval)
        if not low <= high:
            raise ValueError(
                f"expected the lowest value before the highest; got {low} and {high}; "
                "use one number for the lowest alone"
            )
        return interval

    @cached_property
    def _conditions(self) -> NDArray[np.float64]:
        """The kernel's array of conditions; (CONDITIONS, 2)."""
        conditions = np.empty((kernel.CONDITIONS, 2))
        conditions[kernel.PLATEAU_SIZE] = _limits(self.plateau_size)
        conditions[kernel.HEIGHT] = _limits(self.height)
        conditions[kernel.THRESHOLD] = _limits(self.threshold)
        conditions[kernel.DISTANCE] = _limits(self.distance)
        conditions[kernel.PROMINENCE] = _limits(self.prominence)
        conditions[kernel.WIDTH] = _limits(self.width)
        conditions[kernel.HEIGHT_NOISE] = _limits(self.height_noise)
        conditions[kernel.PROMINENCE_NOISE] = _limits(self.prominence_noise)
        resolution = math.nan if self.resolution == "data" else self.resolution
        conditions[kernel.RESOLUTION] = _limits(resolution)
        conditions[kernel.RELATIVE_RESOLUTION] = _limits(self.relative_resolution)
        return conditions

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Search each curve; those with a peak left ask for it to be processed."""
        batch.launch(
            kernel.find_peak,
            rows,
            batch.q,
            batch.search,
            batch.noise,
            batch.residual,
            batch.sigma,
            batch.start,
            self._conditions,
            -1 if self.wlen is None else math.ceil(self.wlen),
            self.rel_height,
            0.0 if self.growth is None else self.growth,
            self.exclusion,
            self.satellite,
            self.satellite_reach,
            self.again,
            math.inf if self.shoulder_noise is None else self.shoulder_noise,
            self.shoulder_share,
            batch.resolution,
            batch.relative_resolution,
            batch.peaks,
            batch.n_peaks,
            batch.candidates,
            batch.n_candidates,
            batch.status,
        )
        left = batch.backend.to_host(batch.n_candidates)[rows] > 0
        return {self.asks_for: rows[left]}


def _limits(interval: Interval) -> tuple[float, float]:
    """Lowest and highest value that an interval accepts."""
    low, high = interval if isinstance(interval, tuple) else (interval, None)
    return (-math.inf if low is None else low, math.inf if high is None else high)
