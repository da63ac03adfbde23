"""One curve as a person holds it, with what was found in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag, StrEnum
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gpusaxs.kernels import status as codes
from gpusaxs.metadata import Metadata
from gpusaxs.phases import bonnet_partner

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]


class CurveStatus(IntFlag):
    """What happened to a curve: remarks (results are good) and failures (there are none)."""

    OK = 0
    POINTS_DROPPED = codes.POINTS_DROPPED
    Q_REORDERED = codes.Q_REORDERED
    Q_MERGED = codes.Q_MERGED
    Q_UNIT_GUESSED = codes.Q_UNIT_GUESSED
    COLUMNS_GUESSED = codes.COLUMNS_GUESSED
    SIGMA_ESTIMATED = codes.SIGMA_ESTIMATED
    SIGMA_RESCALED = codes.SIGMA_RESCALED
    EDGES_TRIMMED = codes.EDGES_TRIMMED
    BACKGROUND_FAILED = codes.BACKGROUND_FAILED
    PEAKS_TRUNCATED = codes.PEAKS_TRUNCATED
    INSERTION_REFUSED = codes.INSERTION_REFUSED
    REGROUPED = codes.REGROUPED
    UNREADABLE = codes.UNREADABLE
    TOO_FEW_POINTS = codes.TOO_FEW_POINTS
    NO_SIGNAL = codes.NO_SIGNAL
    NO_SIGMA = codes.NO_SIGMA
    STAGE_FAILED = codes.STAGE_FAILED
    BLANK_MISMATCH = codes.BLANK_MISMATCH
    TIMED_OUT = codes.TIMED_OUT
    CANCELLED = codes.CANCELLED
    DROPPED = codes.DROPPED
    BLANK_UNSCALED = codes.BLANK_UNSCALED

    @property
    def failed(self) -> bool:
        """Whether the curve could not be processed to the end."""
        return bool(self & codes.FAILURES)

    @property
    def label(self) -> str:
        """The flags as they stand in the tables: ``"ok"`` or ``"sigma_rescaled edges_trimmed"``."""
        return " ".join(flag.name.lower() for flag in self if flag.name) or "ok"

    @classmethod
    def parse(cls, label: str) -> CurveStatus:
        """Read what `label` writes."""
        status = cls.OK
        for word in label.split():
            status |= cls[word.upper()]
        return status

    @property
    def explanation(self) -> str:
        """The flags as sentences for a person."""
        return "; ".join(EXPLANATIONS[flag] for flag in self)


EXPLANATIONS = {
    CurveStatus.POINTS_DROPPED: "points with NaN, infinite or non-positive q were dropped",
    CurveStatus.Q_REORDERED: "q was not increasing: the points were sorted",
    CurveStatus.Q_MERGED: "points with the same q were averaged",
    CurveStatus.Q_UNIT_GUESSED: "the unit of q was guessed from its numbers: check it",
    CurveStatus.COLUMNS_GUESSED: "the file does not name its columns: taken as q, intensity and "
    "sigma: check them",
    CurveStatus.SIGMA_ESTIMATED: "sigma is missing or zero: estimated from the curve's own noise",
    CurveStatus.SIGMA_RESCALED: "sigma disagrees with the curve's own noise: rescaled to it",
    CurveStatus.EDGES_TRIMMED: "points shadowed at the edges of the detector were cut",
    CurveStatus.BACKGROUND_FAILED: "the background could not be fitted and was not subtracted",
    CurveStatus.PEAKS_TRUNCATED: "more peaks than the table holds: the weakest are left out",
    CurveStatus.INSERTION_REFUSED: "an insertion policy ended the search for peaks",
    CurveStatus.REGROUPED: "handed out by regroup before the end of the pipeline",
    CurveStatus.UNREADABLE: "the file could not be read",
    CurveStatus.TOO_FEW_POINTS: "too few usable points",
    CurveStatus.NO_SIGNAL: "the intensity is zero or constant everywhere",
    CurveStatus.NO_SIGMA: "sigma is missing and the pipeline has no noise stage to estimate it",
    CurveStatus.STAGE_FAILED: "a stage raised an error",
    CurveStatus.BLANK_MISMATCH: "the blank does not cover the curve's q range",
    CurveStatus.TIMED_OUT: "a stage took longer than its timeout",
    CurveStatus.CANCELLED: "the run was cancelled before the curve was complete",
    CurveStatus.DROPPED: "dropped at a checkpoint",
    CurveStatus.BLANK_UNSCALED: "what the blank is to be scaled by is not known of the curve, or "
    "is not positive",
}


class PeakRemarks(IntFlag):
    """How a peak was found and fitted."""

    NONE = 0
    AT_EDGE = codes.PEAK_AT_EDGE
    SHOULDER = codes.PEAK_SHOULDER
    REFINED = codes.PEAK_REFINED

    @property
    def label(self) -> str:
        """The remarks as they stand in the tables, ``""`` without any."""
        return " ".join(remark.name.lower() for remark in self if remark.name)

    @classmethod
    def parse(cls, label: str) -> PeakRemarks:
        """Read what `label` writes."""
        remarks = cls.NONE
        for word in label.split():
            remarks |= cls[word.upper()]
        return remarks


class LineKind(IntEnum):
    """Whether a peak is a Bragg line, and why it is none."""

    NOT_JUDGED = codes.LINE_NOT_JUDGED
    BRAGG = codes.LINE_BRAGG
    NOT_FITTED = codes.LINE_NOT_FITTED
    FAINT = codes.LINE_FAINT
    BROAD = codes.LINE_BROAD
    AT_EDGE = codes.LINE_AT_EDGE
    SATELLITE = codes.LINE_SATELLITE
    LOBE = codes.LINE_LOBE
    ODD_WIDTH = codes.LINE_ODD_WIDTH
    INSTRUMENT = codes.LINE_INSTRUMENT

    @property
    def label(self) -> str:
        """The kind as it stands in the tables."""
        return self.name.lower()


class FitStatus(IntEnum):
    """How the fit of a peak ended."""

    CONVERGED = codes.FIT_CONVERGED
    BOUND_HIT = codes.FIT_BOUND_HIT
    SINGULAR = codes.FIT_SINGULAR
    TOO_FEW_POINTS = codes.FIT_TOO_FEW_POINTS
    NOT_CONVERGED = codes.FIT_NOT_CONVERGED
    SHAPE_AT_LIMIT = codes.FIT_SHAPE_AT_LIMIT

    @property
    def label(self) -> str:
        """The status as it stands in the tables."""
        return self.name.lower()


class Verdict(StrEnum):
    """What a curve turned out to be."""

    IDENTIFIED = "identified"
    AMBIGUOUS = "ambiguous"
    UNINDEXED = "unindexed"
    NONE = "none"
    FAILED = "failed"


class Origin(NamedTuple):
    """Where a curve came from.

    Parameters
    ----------
    source
        The file, or ``""`` for a curve from memory.
    frame
        Its place in a file of several curves.
    q_unit
        The unit in which the source gave q: ``"1/nm"`` or ``"1/angstrom"``.
    q_unit_from
        ``"argument"``, ``"metadata"`` or ``"guess"``.
    format
        The name of the reader.
    metadata
        What the source says beside its numbers: see `gpusaxs.metadata.FIELDS`.
    """

    source: str = ""
    frame: int = 0
    q_unit: str = "1/nm"
    q_unit_from: str = "argument"
    format: str = "memory"
    metadata: Metadata = MappingProxyType({})


FROM_MEMORY = Origin()
"""Origin of a curve that was in no file."""


@dataclass(frozen=True, slots=True)
class Peak:
    """A peak: where it was found, and what its fit says.

    ``index`` counts the points of the curve as it was given; ``value`` and ``prominence`` are in
    the intensity's unit, as seen by the search; q, its sigma and the FWHM are in 1/nm, the area
    in the intensity's unit times 1/nm. ``asymmetry`` is ln of the width above the centre over the
    width below it. Fit results are NaN until the peak is processed.
    """

    index: int
    value: float
    prominence: float
    q: float = np.nan
    q_sigma: float = np.nan
    fwhm: float = np.nan
    fwhm_sigma: float = np.nan
    height: float = np.nan
    height_sigma: float = np.nan
    area: float = np.nan
    area_sigma: float = np.nan
    eta: float = np.nan
    eta_sigma: float = np.nan
    level: float = np.nan
    slope: float = np.nan
    reduced_chi2: float = np.nan
    asymmetry: float = 0.0
    asymmetry_sigma: float = np.nan
    status: FitStatus | None = None
    remarks: PeakRemarks = PeakRemarks.NONE
    kind: LineKind = LineKind.NOT_JUDGED

    @property
    def bragg(self) -> bool:
        """Whether the peak is a Bragg line."""
        return self.kind is LineKind.BRAGG

    def profile(self, q: ArrayLike) -> FloatArray:
        """Pseudo-Voigt profile of the fitted peak, without its local background, on q in 1/nm.

        Where it is asymmetric, the halves below and above the centre have widths of their own.
        """
        x = 2.0 * (np.asarray(q, dtype=np.float64) - self.q) / self.fwhm
        if self.asymmetry:
            below = 2.0 / (1.0 + np.exp(self.asymmetry))
            x = np.where(x < 0.0, x / below, x / (2.0 - below))
        gaussian = np.exp2(-(x**2))
        return np.asarray(
            self.height * (self.eta / (1.0 + x**2) + (1.0 - self.eta) * gaussian), dtype=np.float64
        )


@dataclass(frozen=True, slots=True)
class PhaseMatch:
    """A phase that explains peaks of a curve.

    Phases with the same ``candidate`` coexist; 0 is the best answer. Where only some phases of an
    explanation are sure, these are candidate 0, and the whole explanations follow. ``lattice``
    and its sigma in nm, ``ratio`` of a lattice with two parameters c/a; ``offset`` of q in 1/nm,
    where the lines show one. ``score`` is a log Bayes factor against "all peaks are spurious" and
    ``probability`` that of all phases of the candidate being there. ``matched`` and ``missing``
    are the reflections' n (see `gpusaxs.phases`), and ``matched_q`` and ``missing_q`` say where
    they are expected, in 1/nm; ``unexplained`` are Bragg lines without a reflection in any phase
    of the candidate, by their `Peak.index`. ``lines_chi2`` is the reduced chi-squared of the lines
    about the lattice. NaN where there is no answer.
    """

    phase: str
    lattice: float
    lattice_sigma: float
    score: float
    matched: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    matched_q: tuple[float, ...] = ()
    missing_q: tuple[float, ...] = ()
    unexplained: tuple[int, ...] = ()
    candidate: int = 0
    probability: float = np.nan
    ratio: float = np.nan
    ratio_sigma: float = np.nan
    offset: float = np.nan
    offset_sigma: float = np.nan
    lines_chi2: float = np.nan

    @property
    def partner(self) -> tuple[str, float] | None:
        """See `gpusaxs.phases.bonnet_partner`."""
        return bonnet_partner(self.phase, self.lattice)


@dataclass(slots=True)
class FlowMetadata:
    """What travels with a sample through the stages."""

    sample_id: str
    processed_peaks: list[Peak] = field(default_factory=list)
    unprocessed_peaks: list[Peak] = field(default_factory=list)
    current_peak: Peak | None = None


@dataclass(slots=True)
class Sample:
    """One curve I(q).

    Parameters
    ----------
    id
        A name, unique in its batch.
    q : (points,) float64
        Scattering vector in 1/nm.
    intensity : (points,) float64
        In the curve's own unit.
    sigma : (points,) float64, optional
        Standard uncertainty of the intensity, in its unit.
    stage_num
        The stage of the pipeline at which the sample stands.
    metadata
        Its peaks, done and to do.
    numbers
        What stages found beside peaks and phases, by the names of the columns in the table of
        samples: ``numbers["guinier.rg"]``. NaN, or ``""`` for words, where there is no answer.
    """

    id: str
    q: FloatArray
    intensity: FloatArray
    sigma: FloatArray | None = None
    stage_num: int = 0
    metadata: FlowMetadata | None = None
    origin: Origin = FROM_MEMORY
    status: CurveStatus = CurveStatus.OK
    reason: str = ""
    verdict: Verdict | None = None
    margin: float = np.nan
    phases: tuple[PhaseMatch, ...] = ()
    measured_q: FloatArray | None = None
    measured_intensity: FloatArray | None = None
    background: FloatArray | None = None
    numbers: Mapping[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.q = np.ascontiguousarray(self.q, dtype=np.float64)
        self.intensity = np.ascontiguousarray(self.intensity, dtype=np.float64)
        if self.sigma is not None:
            self.sigma = np.ascontiguousarray(self.sigma, dtype=np.float64)
        points = self.intensity.shape
        if self.q.shape != points or (self.sigma is not None and self.sigma.shape != points):
            others = {"q": self.q.shape, "sigma": getattr(self.sigma, "shape", points)}
            name, got = next((name, shape) for name, shape in others.items() if shape != points)
            raise ValueError(
                f"Expected {name} of sample {self.id!r} with the shape of its intensity "
                f"{points}. Got {got}. Give one value a point."
            )
        if self.metadata is None:
            self.metadata = FlowMetadata(self.id)

    @property
    def best_phases(self) -> tuple[PhaseMatch, ...]:
        """The phases of the best answer: several where they coexist."""
        return tuple(match for match in self.phases if match.candidate == 0)

    @classmethod
    def from_object(cls, given: Any) -> Sample:
        """Take over a curve from any object that has its attributes under these names.

        Parameters
        ----------
        given
            With ``q_values`` (1/nm), ``intensity``, ``intensity_err`` (or None) and ``metadata``:
            a `FlowMetadata`, or anything with a ``sample_id``, which becomes the name.
        """
        metadata = given.metadata
        if isinstance(metadata, Mapping):
            name = metadata.get("sample_id")
        else:
            name = getattr(metadata, "sample_id", None)
        return cls(
            "sample" if name is None else str(name),
            given.q_values,
            given.intensity,
            given.intensity_err,
            metadata=metadata if isinstance(metadata, FlowMetadata) else None,
        )

    def to_object(self, kind: Callable[..., Any] = SimpleNamespace) -> Any:
        """Hand the curve over under the names that `from_object` knows.

        Parameters
        ----------
        kind
            Called with ``q_values``, ``intensity``, ``intensity_err`` and ``metadata``.
        """
        return kind(
            q_values=self.q,
            intensity=self.intensity,
            intensity_err=self.sigma,
            metadata=self.metadata,
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the curve, its peaks and its reflections: see `gpusaxs.plot`.

        Parameters
        ----------
        ax
            Takes the reduced curve alone; without it a new pyplot figure shows the measured
            curve as well.

        Returns
        -------
        Axes
            Those of the reduced curve.

        Raises
        ------
        GpusaxsError
            If matplotlib is missing.
        """
        from gpusaxs.plot import plot_on  # noqa: PLC0415

        return plot_on(self, ax)
