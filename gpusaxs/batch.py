"""Many curves as padded arrays."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpusaxs.backends import Array, Backend, IndexArray
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels.curve_kernel import CurveKernel
from gpusaxs.kernels.restart_search import restart_search
from gpusaxs.phases import PHASES
from gpusaxs.repair import is_sound, repair
from gpusaxs.sample import (
    CurveStatus,
    FitStatus,
    FlowMetadata,
    Peak,
    PhaseMatch,
    Sample,
    Verdict,
)

FloatArray = NDArray[np.float64]

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
        standard uncertainty of the latter.
    peaks : (curves, max_peaks, PEAK_COLUMNS) float64
        Fitted peaks; `n_peaks` are in use.
    candidates : (curves, max_candidates, CANDIDATE_COLUMNS) float64
        Peaks found by the last search, the highest first; `n_candidates` are in use.
    phases : (curves, MAX_PHASES, PHASE_COLUMNS) float64
        Best phases; `n_phases` are in use.
    verdict : (curves,) int64; margin : (curves,) float64
        What the phase stage concluded, and its lead over the runner-up.
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
        self.residual: Array = backend.to_device(intensity.copy())
        self.search: Array = backend.to_device(intensity.copy())
        self.noise: Array = backend.to_device(sigma.copy())
        self.peaks: Array = self._filled((curves, MAX_PEAKS, table.PEAK_COLUMNS), np.nan)
        self.n_peaks: Array = self._filled((curves,), 0, np.int64)
        self.candidates: Array = self._filled(
            (curves, MAX_CANDIDATES, table.CANDIDATE_COLUMNS), np.nan
        )
        self.n_candidates: Array = self._filled((curves,), 0, np.int64)
        self.phases: Array = self._filled((curves, table.MAX_PHASES, table.PHASE_COLUMNS), np.nan)
        self.n_phases: Array = self._filled((curves,), 0, np.int64)
        self.verdict: Array = self._filled((curves,), table.VERDICT_NONE, np.int64)
        self.margin: Array = self._filled((curves,), np.nan)
        self.reasons: dict[int, str] = {}

    def _filled(self, shape: tuple[int, ...], value: float, dtype: Any = np.float64) -> Array:
        array = self.backend.empty(shape, dtype)
        array[...] = value
        return array

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def max_peaks(self) -> int:
        """Fitted peaks that a curve can hold."""
        return int(self.peaks.shape[1])

    @classmethod
    def from_arrays(
        cls,
        ids: Sequence[str],
        q: FloatArray,
        intensity: FloatArray,
        sigma: FloatArray | None,
        backend: Backend,
    ) -> SampleBatch:
        """Stack curves that are arrays already.

        Parameters
        ----------
        q : (points,) or (curves, points) float64
            1/nm.
        intensity, sigma : (curves, points) float64
            Copied.
        """
        if sigma is None:
            sigma = np.full_like(intensity, np.nan)
        shared = q.ndim == 1
        if shared and is_sound(q):
            # A sum is finite only if every term is.
            finite = np.isfinite(intensity.sum(axis=1))
            if finite.all() and (intensity.max(axis=1) > intensity.min(axis=1)).all():
                return cls(
                    ids,
                    q[np.newaxis, :].copy(),
                    np.array(intensity, dtype=np.float64, order="C"),
                    _known(sigma),
                    np.full(len(ids), q.size, np.int64),
                    np.zeros(len(ids), np.int64),
                    backend,
                )
        rows = [q if shared else q[i] for i in range(len(ids))]
        return cls._from_rows(ids, rows, list(intensity), list(sigma), [0] * len(ids), backend)

    @classmethod
    def from_samples(cls, samples: Sequence[Sample], backend: Backend) -> SampleBatch:
        """Stack samples; their arrays are copied, their lengths may differ."""
        ids = [sample.id for sample in samples]
        flags = [int(sample.status) for sample in samples]
        first = samples[0].q
        if all(sample.q is first for sample in samples) and not any(flags):
            intensity = np.stack([sample.intensity for sample in samples])
            sigma = np.stack([_sigma(sample) for sample in samples])
            return cls.from_arrays(ids, first, intensity, sigma, backend)
        return cls._from_rows(
            ids,
            [sample.q for sample in samples],
            [sample.intensity for sample in samples],
            [_sigma(sample) for sample in samples],
            flags,
            backend,
        )

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
            *rows, repaired = repair(q[i], intensity[i], _known(sigma[i]))
            stop[i] = rows[0].size
            status[i] |= int(repaired)
            for target, row in zip(padded, rows, strict=True):
                target[i, : stop[i]] = row
        return cls(ids, padded[0], padded[1], padded[2], stop, status, backend)

    def launch(self, kernel: CurveKernel, rows: IndexArray, *arguments: Any) -> None:
        """Run a kernel over the curves in `rows`: see `gpusaxs.backends.base.Backend.launch`."""
        self.backend.launch(kernel, rows, (self.start, self.stop), *arguments)

    def restart_search(self, rows: IndexArray) -> None:
        """Point the search for peaks at the reduced curve; whoever changes that calls this."""
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
        status = self.backend.to_host(self.status)
        return np.flatnonzero((status & _FAILURES) == 0)

    def set_status(self, rows: IndexArray, flag: CurveStatus) -> None:
        """Add a flag to the status of curves."""
        self.status[rows] |= int(flag)

    def fail(self, rows: Sequence[int] | IndexArray, stage: str, error: Exception) -> None:
        """Let curves take no further part because a stage raised."""
        logger.error("stage %s failed", stage, exc_info=error)
        chosen = np.asarray(rows, np.int64)
        self.set_status(chosen, CurveStatus.STAGE_FAILED)
        for row in chosen:
            self.reasons[int(row)] = f"stage {stage!r} raised {type(error).__name__}: {error}"

    def set_curve(self, row: int, sample: Sample) -> None:
        """Take over the intensity and sigma of a sample, point for point.

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

    def to_samples(self, rows: IndexArray | None = None) -> list[Sample]:
        """Return curves as samples, with all that was found in them."""
        host = {name: self.backend.to_host(getattr(self, name)) for name in _RESULT_ARRAYS}
        chosen = range(len(self)) if rows is None else rows
        return [self._sample(int(row), host) for row in chosen]

    def _sample(self, row: int, host: dict[str, NDArray[Any]]) -> Sample:
        keep = slice(int(host["start"][row]), int(host["stop"][row]))
        status = CurveStatus(int(host["status"][row]))
        q = host["q"][row if host["q"].shape[0] > 1 else 0]
        peaks = [_peak(line) for line in host["peaks"][row, : host["n_peaks"][row]]]
        found = [
            Peak(int(line[table.INDEX]), float(line[table.VALUE]), float(line[table.PROMINENCE]))
            for line in host["candidates"][row, : host["n_candidates"][row]]
        ]
        background = host["background"][row, keep].copy()
        intensity = host["intensity"][row, keep].copy()
        return Sample(
            id=self.ids[row],
            q=q[keep].copy(),
            intensity=intensity,
            sigma=host["sigma"][row, keep].copy(),
            stage_num=int(self.stage_num[row]),
            metadata=FlowMetadata(self.ids[row], peaks, found, found[0] if found else None),
            status=status,
            reason=self.reasons.get(row, status.explanation if status.failed else ""),
            verdict=Verdict.FAILED if status.failed else _VERDICTS[int(host["verdict"][row])],
            margin=float(host["margin"][row]),
            phases=tuple(_phase(line) for line in host["phases"][row, : host["n_phases"][row]]),
            background=background,
        )


_FAILURES = sum(int(flag) for flag in CurveStatus if flag.failed)
_RESULT_ARRAYS = (
    "q", "intensity", "sigma", "background", "start", "stop", "status",
    "peaks", "n_peaks", "candidates", "n_candidates",
    "phases", "n_phases", "verdict", "margin",
)  # fmt: skip


def _sigma(sample: Sample) -> FloatArray:
    return np.full_like(sample.intensity, np.nan) if sample.sigma is None else sample.sigma


def _known(sigma: FloatArray) -> FloatArray:
    """Return a copy of sigma with NaN wherever it says nothing: zero, negative or infinite."""
    if (sigma > 0).all() and np.isfinite(sigma.sum()):
        return np.array(sigma, dtype=np.float64, order="C")
    return np.where(np.isfinite(sigma) & (sigma > 0), sigma, np.nan)


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
}
"""The fields of `Peak` that a fit fills, and their columns in the table of peaks."""


def _peak(line: FloatArray) -> Peak:
    fitted = {name: float(line[column]) for name, column in FITTED_COLUMNS.items()}
    return Peak(
        index=int(line[table.INDEX]),
        value=float(line[table.VALUE]),
        prominence=float(line[table.PROMINENCE]),
        status=FitStatus(int(line[table.STATUS])),
        bragg=bool(line[table.BRAGG] == 1.0),
        **fitted,
    )


def _phase(line: FloatArray) -> PhaseMatch:
    phase = PHASES[int(line[table.PHASE])]
    return PhaseMatch(
        phase.name,
        float(line[table.LATTICE]),
        float(line[table.LATTICE_SIGMA]),
        float(line[table.SCORE]),
        reflections(phase.reflections, line[table.MATCHED]),
        reflections(phase.reflections, line[table.MISSING]),
    )


def reflections(allowed: tuple[int, ...], bits: float) -> tuple[int, ...]:
    """Return the reflections whose bit is set in a phase table's MATCHED or MISSING."""
    mask = int(bits)
    return tuple(n for k, n in enumerate(allowed) if mask >> k & 1)
