"""Many curves as padded arrays."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpusaxs.backends import Array, Backend, IndexArray
from gpusaxs.errors import StageTimeoutError
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels.curve_kernel import CurveKernel
from gpusaxs.kernels.restart_search import restart_search
from gpusaxs.kernels.status import FIRST_FAILURE
from gpusaxs.metadata import Metadata
from gpusaxs.numbers import Number
from gpusaxs.phases import PHASES, Numbered, Phase
from gpusaxs.repair import is_sound, repair, repair_rows
from gpusaxs.sample import (
    CurveStatus,
    FitStatus,
    FlowMetadata,
    LineKind,
    Peak,
    PeakRemarks,
    PhaseMatch,
    Sample,
    Verdict,
)

FloatArray = NDArray[np.float64]
CurveStates = dict[str, Array]
"""Everything that is known about some curves: arrays by the names of a batch's attributes."""

logger = logging.getLogger("gpusaxs")

MAX_PEAKS = 32
MAX_CANDIDATES = 16

_VERDICTS = {
    table.VERDICT_NONE: Verdict.NONE,
    table.VERDICT_UNINDEXED: Verdict.UNINDEXED,
    table.VERDICT_AMBIGUOUS: Verdict.AMBIGUOUS,
    table.VERDICT_IDENTIFIED: Verdict.IDENTIFIED,
}


class SampleBatch:
    """Curves of any lengths, stacked into (curves, points) arrays and padded with NaN.

    Every array has one row a curve; `q` may have one row for all. Arrays belong to `backend`.

    Parameters
    ----------
    ids
        Names of the curves.
    q : (curves, points) or (1, points) float64
        1/nm, strictly increasing up to each curve's end.
    intensity, sigma : (curves, points) float64
        In the curves' own units; sigma NaN where unknown. Both are taken over, not copied.
    stop : (curves,) int64
        Number of points of each curve.
    status : (curves,) int64
        `CurveStatus` of each curve.
    backend
        Owner of the arrays.

    Attributes
    ----------
    start, stop : (curves,) int64
        The points that take part; a cut moves them.
    background : (curves, points) float64
        What was subtracted from the measured intensity.
    residual, search, noise : (curves, points) float64
        The reduced curve less the peaks fitted so far; the same smoothed for the search; the
        standard uncertainty of the latter. They are copied from the curve when somebody first
        looks at them.
    peaks : (curves, max_peaks, PEAK_COLUMNS) float64
        Fitted peaks; `n_peaks` are in use.
    candidates : (curves, max_candidates, CANDIDATE_COLUMNS) float64
        Peaks found by the last search, the highest first; `n_candidates` are in use.
    phases : (curves, MAX_PHASES, PHASE_COLUMNS) float64
        Best phases; `n_phases` are in use. Their numbers count in `known`.
    known
        The phases that the phase stage knows.
    exposure : (curves,) float64; transmission : (curves,) float64
        In s, and as a share of the beam; NaN where the metadata do not say it.
    resolution : (curves,) float64; relative_resolution : (curves,) float64
        FWHM of the instrument's resolution in 1/nm, and as a share of q; NaN where the metadata do
        not say it.
    verdict : (curves,) int64; margin : (curves,) float64
        What the phase stage concluded, and its lead over the runner-up.
    numbers
        (curves, numbers) float64 by stage, NaN where there is no answer; `number_columns` says
        what they are.
    reasons
        Why a curve failed, by row, where the status alone does not say it.
    errors
        What a stage raised about a curve in the launch at work, by row.
    status_set
        Whether the host has set the status of any curve since this was last cleared; what kernels
        set does not count.
    """

    def __init__(
        self,
        ids: Sequence[str],
        q: FloatArray,
        intensity: FloatArray,
        sigma: FloatArray,
        stop: NDArray[np.int64],
        status: NDArray[np.int64],
        backend: Backend,
    ) -> None:
        curves, points = intensity.shape
        self.ids = list(ids)
        self.backend = backend
        self.q: Array = backend.to_device(q)
        self.intensity: Array = backend.to_device(intensity)
        self.sigma: Array = backend.to_device(sigma)
        self.start: Array = backend.to_device(np.zeros(curves, np.int64))
        self.stop: Array = backend.to_device(stop)
        self.status: Array = backend.to_device(status)
        self.stage_num = np.zeros(curves, np.int64)
        self.background: Array = self._filled((curves, points), 0.0)
        self._residual, self._search, self._noise = (
            backend.empty((curves, points)) for _ in range(3)
        )
        self._search_has_begun = False
        self.peaks: Array = self._filled((curves, MAX_PEAKS, table.PEAK_COLUMNS), np.nan)
        self.n_peaks: Array = self._filled((curves,), 0, np.int64)
        self.candidates: Array = self._filled(
            (curves, MAX_CANDIDATES, table.CANDIDATE_COLUMNS), np.nan
        )
        self.n_candidates: Array = self._filled((curves,), 0, np.int64)
        self.phases: Array = self._filled((curves, table.MAX_PHASES, table.PHASE_COLUMNS), np.nan)
        self.n_phases: Array = self._filled((curves,), 0, np.int64)
        self.known: tuple[Phase, ...] = PHASES
        self.verdict: Array = self._filled((curves,), table.VERDICT_NONE, np.int64)
        self.margin: Array = self._filled((curves,), np.nan)
        self.numbers: dict[str, Array] = {}
        self.number_columns: dict[str, tuple[Number, ...]] = {}
        self.exposure: Array = self._filled((curves,), np.nan)
        self.transmission: Array = self._filled((curves,), np.nan)
        self.resolution: Array = self._filled((curves,), np.nan)
        self.relative_resolution: Array = self._filled((curves,), np.nan)
        self.reasons: dict[int, str] = {}
        self.errors: dict[int, Exception] = {}
        self.status_set = False

    def set_metadata(self, metadata: Iterable[Metadata]) -> None:
        """Take from what is said of each curve the numbers that stages compute with."""
        said = [[of.get(name, np.nan) for name in MEASURED_NUMBERS] for of in metadata]
        numbers = np.array(said, np.float64).reshape(len(self), len(MEASURED_NUMBERS))
        for column, name in enumerate(MEASURED_NUMBERS):
            setattr(self, name, self.backend.to_device(numbers[:, column]))

    def _filled(self, shape: tuple[int, ...], value: float, dtype: Any = np.float64) -> Array:
        array = self.backend.empty(shape, dtype)
        array[...] = value
        return array

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def residual(self) -> Array:
        """The reduced curve less the peaks fitted so far."""
        self._begin_search()
        return self._residual

    @property
    def search(self) -> Array:
        """What is searched for peaks."""
        self._begin_search()
        return self._search

    @property
    def noise(self) -> Array:
        """The standard uncertainty of what is searched."""
        self._begin_search()
        return self._noise

    def _begin_search(self) -> None:
        if not self._search_has_begun:
            self._search_has_begun = True
            self._residual[...] = self.intensity
            self._search[...] = self.intensity
            self._noise[...] = self.sigma

    @property
    def max_peaks(self) -> int:
        """Fitted peaks that a curve can hold."""
        return int(self.peaks.shape[1])

    def number_table(self, stage: str, numbers: tuple[Number, ...]) -> Array:
        """Return the numbers that a stage leaves, in a table that is made where there is none.

        Returns
        -------
        (curves, numbers) float64
            NaN until something is written.
        """
        if stage not in self.numbers:
            self.number_columns[stage] = numbers
            self.numbers[stage] = self._filled((len(self), len(numbers)), np.nan)
        return self.numbers[stage]

    @classmethod
    def from_arrays(
        cls,
        ids: Sequence[str],
        q: Array,
        intensity: Array,
        sigma: Array | None,
        backend: Backend,
    ) -> SampleBatch:
        """Stack curves that are arrays already: on the host, or the backend's own.

        Parameters
        ----------
        q : (points,) or (curves, points) float64
            1/nm. One row for all is on the host.
        intensity, sigma : (curves, points)
            Copied, as float64.
        """
        on_host = isinstance(intensity, np.ndarray)
        xp, order = (np, "C") if on_host else (backend.xp, backend.order)
        rows = xp.array(intensity, dtype=np.float64, order=order)
        if sigma is None:
            errors = xp.full_like(rows, xp.nan)
        else:
            errors = _known(xp.array(sigma, dtype=np.float64, order=order))
        if q.ndim == 1 and _needs_no_repair(q, rows):
            return cls._with_one_q(ids, q, rows, errors, [0] * len(ids), backend)
        if not rows.shape[1]:
            nothing = [np.empty(0)] * len(ids)
            return cls._from_rows(ids, nothing, nothing, nothing, [0] * len(ids), backend)
        q_rows = xp.broadcast_to(xp.asarray(q, dtype=np.float64), rows.shape)
        return cls(ids, *repair_rows(xp, q_rows, rows, errors), backend)

    @classmethod
    def from_samples(cls, samples: Sequence[Sample], backend: Backend) -> SampleBatch:
        """Stack samples; their arrays are copied, their lengths may differ."""
        ids = [sample.id for sample in samples]
        flags = [int(sample.status) for sample in samples]
        q = samples[0].q
        batch = None
        if all(_is_same(sample.q, q) for sample in samples):
            intensity = np.stack([sample.intensity for sample in samples])
            if _needs_no_repair(q, intensity):
                sigma = _known(np.stack([_sigma(sample) for sample in samples]))
                batch = cls._with_one_q(ids, q, intensity, sigma, flags, backend)
        if batch is None:
            batch = cls._from_rows(
                ids,
                [sample.q for sample in samples],
                [sample.intensity for sample in samples],
                [_sigma(sample) for sample in samples],
                flags,
                backend,
            )
        batch.set_metadata(sample.origin.metadata for sample in samples)
        return batch

    @classmethod
    def _with_one_q(
        cls,
        ids: Sequence[str],
        q: FloatArray,
        intensity: FloatArray,
        sigma: FloatArray,
        flags: list[int],
        backend: Backend,
    ) -> SampleBatch:
        """Take over arrays of curves that share q and need no repair."""
        stop = np.full(len(ids), q.size, np.int64)
        status = np.array(flags, np.int64)
        return cls(ids, q[np.newaxis, :].copy(), intensity, sigma, stop, status, backend)

    @classmethod
    def _from_rows(
        cls,
        ids: Sequence[str],
        q: list[FloatArray],
        intensity: list[FloatArray],
        sigma: list[FloatArray],
        flags: list[int],
        backend: Backend,
    ) -> SampleBatch:
        curves = len(ids)
        points = max((row.size for row in q), default=1) or 1
        padded = [np.full((curves, points), np.nan) for _ in range(3)]
        stop = np.zeros(curves, np.int64)
        status = np.array(flags, np.int64)
        for i in range(curves):
            *rows, repaired = repair(q[i], intensity[i], _known(sigma[i].copy()))
            stop[i] = rows[0].size
            status[i] |= int(repaired)
            for target, row in zip(padded, rows, strict=True):
                target[i, : stop[i]] = row
        return cls(ids, padded[0], padded[1], padded[2], stop, status, backend)

    @classmethod
    def blank(cls, curves: int, points: int, backend: Backend) -> SampleBatch:
        """Return a batch with room for curves that `put` brings; each has a q of its own."""
        q, intensity, sigma = (np.full((curves, points), np.nan) for _ in range(3))
        stop, status = np.zeros(curves, np.int64), np.zeros(curves, np.int64)
        return cls([""] * curves, q, intensity, sigma, stop, status, backend)

    def take(self, rows: IndexArray) -> CurveStates:
        """Return a copy of everything that is known about some curves."""
        states = {name: getattr(self, name)[rows] for name in _STATE if name != "q"}
        shared = self.q.shape[0] == 1
        states["q"] = self.xp.repeat(self.q, rows.size, axis=0) if shared else self.q[rows]
        return states | {_NUMBERS + stage: found[rows] for stage, found in self.numbers.items()}

    def put(self, rows: IndexArray, states: CurveStates) -> None:
        """Let curves be what `take` returned: of this batch, or of one with no longer curves."""
        for stage, numbers in self.numbers.items():
            numbers[rows] = states.get(_NUMBERS + stage, np.nan)
        for name, values in states.items():
            if name.startswith(_NUMBERS):
                continue
            array = getattr(self, name)
            if name not in POINT_ARRAYS:
                array[rows] = values
            elif name != "q" or array.shape[0] > 1:
                points = values.shape[1]
                array[rows, :points] = values
                array[rows, points:] = 0.0 if name == "background" else np.nan
        self.status_set = True
        for row in rows.tolist() if self.reasons or self.errors else ():
            self.reasons.pop(row, None)
            self.errors.pop(row, None)

    @property
    def xp(self) -> Any:
        """The backend's array module."""
        return self.backend.xp

    def launch(self, kernel: CurveKernel, rows: IndexArray, *arguments: Any) -> None:
        """Run a kernel over the curves in `rows`: see `gpusaxs.backends.base.Backend.launch`."""
        self.backend.launch(kernel, rows, (self.start, self.stop), *arguments)

    def restart_search(self, rows: IndexArray) -> None:
        """Point the search for peaks at the reduced curve; whoever changes that calls this.

        As long as nobody has looked at the search there is nothing to do.
        """
        if not self._search_has_begun:
            return
        self.launch(
            restart_search,
            rows,
            self.intensity,
            self.sigma,
            self.residual,
            self.search,
            self.noise,
        )

    def replace_by_search(self, rows: IndexArray) -> None:
        """Let the smoothed curve and its noise take the place of the reduced curve and sigma."""
        self.launch(
            restart_search,
            rows,
            self.search,
            self.noise,
            self.residual,
            self.intensity,
            self.sigma,
        )

    def live_rows(self) -> IndexArray:
        """Curves that have not failed; (live,) int64."""
        return np.flatnonzero(self.alive(np.arange(len(self))))

    def alive(self, rows: IndexArray) -> NDArray[np.bool_]:
        """Which of some curves have not failed; (rows,) bool, on the host."""
        alive: NDArray[np.bool_] = self.backend.to_host(self.status).take(rows) < FIRST_FAILURE
        return alive

    def set_status(self, rows: IndexArray, flag: CurveStatus) -> None:
        """Add a flag to the status of curves."""
        self.status[rows] |= int(flag)
        self.status_set = True

    def fail(self, rows: Sequence[int] | IndexArray, stage: str, error: Exception) -> None:
        """Let curves take no further part because a stage raised."""
        late = isinstance(error, StageTimeoutError)
        logger.error("stage %s failed: %s", stage, error, exc_info=None if late else error)
        chosen = np.asarray(rows, np.int64)
        reason = f"stage {stage!r} raised {type(error).__name__}: {error}"
        self.end(chosen, CurveStatus.TIMED_OUT if late else CurveStatus.STAGE_FAILED, reason)
        self.errors |= dict.fromkeys(chosen.tolist(), error)

    def end(self, rows: IndexArray, flag: CurveStatus, reason: str) -> None:
        """Add a flag to the status of curves, and say why."""
        self.set_status(rows, flag)
        self.reasons |= dict.fromkeys(rows.tolist(), reason)

    def set_curve(self, row: int, sample: Sample) -> None:
        """Take over the intensity, sigma and background of a sample, point for point.

        Raises
        ------
        ValueError
            If the number of points differs from the curve's.
        """
        keep = slice(int(self.start[row]), int(self.stop[row]))
        expected = keep.stop - keep.start
        if sample.intensity.size != expected:
            raise ValueError(
                f"Expected {expected} points of sample {sample.id!r}. "
                f"Got {sample.intensity.size}. Use the cut stage to drop points."
            )
        self.intensity[row, keep] = self.backend.to_device(sample.intensity)
        if sample.sigma is not None:
            self.sigma[row, keep] = self.backend.to_device(sample.sigma)
        if sample.background is not None:
            self.background[row, keep] = self.backend.to_device(sample.background)

    def to_samples(self, rows: IndexArray | None = None) -> list[Sample]:
        """Return curves as samples, with all that was found in them."""
        some = slice(None) if rows is None else rows
        numbers = range(len(self)) if rows is None else rows.tolist()
        host = {
            name: self.backend.to_host(array if _is_shared(name, array) else array[some])
            for name, array in ((name, getattr(self, name)) for name in _RESULT_ARRAYS)
        }
        host |= {
            _NUMBERS + stage: self.backend.to_host(found[some])
            for stage, found in self.numbers.items()
        }
        codes = np.unique(host["status"]).tolist()
        statuses = {code: CurveStatus(code) for code in codes}
        failed = {code for code, status in statuses.items() if status.failed}
        phases = _phases(host, self.known)
        return [
            self._sample(row, place, host, phases[place], statuses[code], code in failed)
            for place, (row, code) in enumerate(zip(numbers, host["status"].tolist(), strict=True))
        ]

    def _sample(
        self,
        number: int,
        row: int,
        host: dict[str, NDArray[Any]],
        phases: tuple[PhaseMatch, ...],
        status: CurveStatus,
        failed: bool,
    ) -> Sample:
        """Return a curve by its number in the batch and its row in `host`."""
        keep = slice(int(host["start"][row]), int(host["stop"][row]))
        q = host["q"][0 if _is_shared("q", host["q"]) else row]
        rows = host["peaks"][row, : host["n_peaks"][row]]
        peaks = [_peak(line) for line in rows]
        found = [
            Peak(int(line[table.INDEX]), float(line[table.VALUE]), float(line[table.PROMINENCE]))
            for line in host["candidates"][row, : host["n_candidates"][row]]
        ]
        background = host["background"][row, keep].copy()
        intensity = host["intensity"][row, keep].copy()
        return Sample(
            id=self.ids[number],
            q=q[keep].copy(),
            intensity=intensity,
            sigma=host["sigma"][row, keep].copy(),
            stage_num=int(self.stage_num[number]),
            metadata=FlowMetadata(self.ids[number], peaks, found, found[0] if found else None),
            status=status,
            reason=self.reasons.get(number, status.explanation if failed else ""),
            verdict=Verdict.FAILED if failed else _VERDICTS[int(host["verdict"][row])],
            margin=float(host["margin"][row]),
            phases=phases,
            numbers={
                f"{stage}.{number.name}": number.told(value)
                for stage, numbers in self.number_columns.items()
                for number, value in zip(numbers, host[_NUMBERS + stage][row].tolist(), strict=True)
            },
            background=background,
        )


MEASURED_NUMBERS = ("exposure", "transmission", "resolution", "relative_resolution")
"""The fields of `gpusaxs.metadata.FIELDS` that a batch knows of its curves."""
POINT_ARRAYS = ("q", "intensity", "sigma", "background", "residual", "search", "noise")
# What the names of tables of numbers begin with among the states of curves.
_NUMBERS = "numbers."
_STATE = (
    *POINT_ARRAYS, "start", "stop", "status", "stage_num", "peaks", "n_peaks",
    "candidates", "n_candidates", "phases", "n_phases", "verdict", "margin", *MEASURED_NUMBERS,
)  # fmt: skip
_RESULT_ARRAYS = (
    "q", "intensity", "sigma", "background", "start", "stop", "status",
    "peaks", "n_peaks", "candidates", "n_candidates",
    "phases", "n_phases", "verdict", "margin",
)  # fmt: skip


def _is_shared(name: str, array: Array) -> bool:
    return name == "q" and array.shape[0] == 1


def _sigma(sample: Sample) -> FloatArray:
    return np.full_like(sample.intensity, np.nan) if sample.sigma is None else sample.sigma


def _is_same(q: FloatArray, other: FloatArray) -> bool:
    return q is other or np.array_equal(q, other)


def _needs_no_repair(q: FloatArray, intensity: FloatArray) -> bool:
    """Whether curves on one q are sound, every one."""
    # A sum is finite only if every term is.
    if not (is_sound(q) and bool(np.isfinite(intensity.sum(axis=1)).all())):
        return False
    # Curves whose ends differ are not flat; few are left.
    left = intensity[intensity[:, 0] == intensity[:, -1]]
    return bool((left.max(axis=1) > left.min(axis=1)).all())


def _known(sigma: FloatArray) -> FloatArray:
    """Return sigma with NaN, in place, wherever it says nothing: zero, negative or infinite."""
    if sigma.size and not (sigma.min() > 0 and np.isfinite(sigma.sum())):
        sigma[~(np.isfinite(sigma) & (sigma > 0))] = np.nan
    return sigma


FITTED_COLUMNS = {
    "q": table.Q,
    "q_sigma": table.Q_SIGMA,
    "fwhm": table.FWHM,
    "fwhm_sigma": table.FWHM_SIGMA,
    "height": table.HEIGHT,
    "height_sigma": table.HEIGHT_SIGMA,
    "area": table.AREA,
    "area_sigma": table.AREA_SIGMA,
    "eta": table.ETA,
    "eta_sigma": table.ETA_SIGMA,
    "level": table.LEVEL,
    "slope": table.SLOPE,
    "reduced_chi2": table.REDUCED_CHI2,
    "asymmetry": table.ASYMMETRY,
    "asymmetry_sigma": table.ASYMMETRY_SIGMA,
}
"""The fields of `Peak` that a fit fills, and their columns in the table of peaks."""


PHASE_NUMBERS = {
    "lattice": table.LATTICE,
    "lattice_sigma": table.LATTICE_SIGMA,
    "ratio": table.RATIO,
    "ratio_sigma": table.RATIO_SIGMA,
    "offset": table.OFFSET,
    "offset_sigma": table.OFFSET_SIGMA,
    "score": table.SCORE,
    "probability": table.PROBABILITY,
    "lines_chi2": table.LINES_CHI2,
}
"""The fields of `PhaseMatch` that are one number, and their columns in the table of phases."""


def _peak(line: FloatArray) -> Peak:
    fitted = {name: float(line[column]) for name, column in FITTED_COLUMNS.items()}
    return Peak(
        index=int(line[table.INDEX]),
        value=float(line[table.VALUE]),
        prominence=float(line[table.PROMINENCE]),
        status=FitStatus(int(line[table.STATUS])),
        remarks=PeakRemarks(int(line[table.REMARKS])),
        kind=LineKind(int(line[table.BRAGG])),
        **fitted,
    )


class Reflections(NamedTuple):
    """Some reflections of some phases, those of one phase after those of the one before.

    Parameters
    ----------
    counts : (phases,) int64
        How many of each phase.
    n : (reflections,) int64
    q : (reflections,) float64
        Where they are expected, in 1/nm.
    """

    counts: NDArray[np.int64]
    n: NDArray[np.int64]
    q: FloatArray


def reflections(numbered: Numbered, lines: FloatArray, bits: int) -> Reflections:
    """Return the reflections whose bit is set in a column of the table of phases.

    Parameters
    ----------
    numbered
        The phases that the table's numbers mean.
    lines : (phases, PHASE_COLUMNS) float64
        Rows of the table.
    bits
        The column: MATCHED or MISSING of `gpusaxs.kernels.peak_table`.
    """
    which = lines[:, table.PHASE].astype(np.int64)
    chosen = bits_of(lines[:, bits], numbered.reflections.shape[1])
    row, place = np.nonzero(chosen)
    ratio = np.nan_to_num(lines[row, table.RATIO], nan=1.0)
    along, across = numbered.planes[which[row], place].T
    s = np.sqrt(along + across / ratio**2)
    offset = np.nan_to_num(lines[row, table.OFFSET])
    q = 2.0 * np.pi * s / lines[row, table.LATTICE] + offset
    return Reflections(chosen.sum(axis=1), numbered.reflections[which[row], place], q)


def bits_of(masks: FloatArray, count: int) -> NDArray[np.bool_]:
    """Whether each of the lowest `count` bits is set; masks : (rows,), NaN has none."""
    whole = np.nan_to_num(masks).astype("<i8")[:, np.newaxis]
    bits = np.unpackbits(whole.view(np.uint8), axis=1, count=count, bitorder="little")
    return bits.astype(np.bool_)


def _phases(host: dict[str, NDArray[Any]], known: Sequence[Phase]) -> list[tuple[PhaseMatch, ...]]:
    """Return the phases of each curve; `known` are those that the tables number."""
    curve, rank = np.nonzero(np.arange(table.MAX_PHASES) < host["n_phases"][:, np.newaxis])
    lines = host["phases"][curve, rank]
    numbered = Numbered.of(known)
    lists = [
        _parts(values, kind.counts)
        for kind in (reflections(numbered, lines, bits) for bits in (table.MATCHED, table.MISSING))
        for values in (kind.n, kind.q)
    ]
    indices = host["peaks"][curve, :, table.INDEX]
    left = bits_of(lines[:, table.UNEXPLAINED], indices.shape[1])
    unexplained = _parts(indices[left].astype(np.int64), left.sum(axis=1))
    found: list[list[PhaseMatch]] = [[] for _ in host["n_phases"]]
    for row, line, matched, matched_q, missing, missing_q, others in zip(
        curve.tolist(), lines.tolist(), *lists, unexplained, strict=True
    ):
        found[row].append(
            PhaseMatch(
                phase=known[int(line[table.PHASE])].name,
                matched=matched,
                matched_q=matched_q,
                missing=missing,
                missing_q=missing_q,
                unexplained=others,
                candidate=int(line[table.CANDIDATE]),
                **{name: line[column] for name, column in PHASE_NUMBERS.items()},
            )
        )
    return [tuple(matches) for matches in found]


def _parts(values: NDArray[Any], counts: NDArray[np.int64]) -> list[tuple[Any, ...]]:
    """Cut values into parts of so many each."""
    flat = values.tolist()
    return [tuple(flat[first:last]) for first, last in pairwise([0, *np.cumsum(counts).tolist()])]
