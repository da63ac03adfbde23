"""Process curves from memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from gpusaxs.backends import Array, Backend
from gpusaxs.backends.foreign import backend_for, common_device, device_of, host_array
from gpusaxs.batch import SampleBatch
from gpusaxs.pipeline import Pipeline
from gpusaxs.reduced_curves import Curves, ReducedCurves
from gpusaxs.runtime.events import EventBus
from gpusaxs.runtime.interceptors import Interceptor
from gpusaxs.runtime.parts import in_parts
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.runtime.service import remember
from gpusaxs.sample import CurveStatus, Origin, Sample
from gpusaxs.tables import Tables, tables_of
from gpusaxs.units import TO_INVERSE_NM, resolve_q_unit

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """What was found in some curves.

    Attributes
    ----------
    samples
        One row a curve: id, status, verdict, phase, lattice, lattice_sigma, score, margin,
        n_peaks and where the curve came from (`gpusaxs.tables.SAMPLES`).
    peaks
        One row a peak (`gpusaxs.tables.PEAKS`).
    phases
        One row a phase of a curve (`gpusaxs.tables.PHASE_ROWS`).
    curves
        Where the curves can be seen again; `ReducedCurves` where they were kept.
    """

    samples: pa.Table
    peaks: pa.Table
    phases: pa.Table
    curves: Curves = field(repr=False)

    def __len__(self) -> int:
        return int(self.samples.num_rows)

    def __getitem__(self, key: int | str) -> Sample:
        """Return one curve, by its place or its id, as a `Sample`.

        Raises
        ------
        IndexError, KeyError
            If there is no such curve.
        """
        number = self._number(key) if isinstance(key, str) else int(key)
        if not -len(self) <= number < len(self):
            raise IndexError(f"Expected a curve from 0 to {len(self) - 1}. Got {number}.")
        return self.curves.sample(number % len(self))

    def __iter__(self) -> Iterator[Sample]:
        return (self[number] for number in range(len(self)))

    def _number(self, curve_id: str) -> int:
        place = self.samples["id"].index(curve_id).as_py()
        if place < 0:
            raise KeyError(f"There is no curve {curve_id!r} among {len(self)} curves.")
        return int(place)

    def write_csv(self, folder: str | Path) -> None:
        """Write samples.csv, peaks.csv and phases.csv into a folder."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for name in ("samples", "peaks", "phases"):
            csv.write_csv(_flat(getattr(self, name)), target / f"{name}.csv")


def _flat(rows: pa.Table) -> pa.Table:
    """Return a table with lists written as words, as CSV needs."""
    for place, column in enumerate(rows.schema):
        if pa.types.is_list(column.type):
            words = [" ".join(map(str, entry)) for entry in rows[column.name].to_pylist()]
            rows = rows.set_column(place, column.name, pa.array(words, pa.string()))
    return rows


def process(
    q: Any,
    intensity: Any,
    sigma: Any = None,
    *,
    q_unit: str | None = None,
    ids: Sequence[str] | None = None,
    pipeline: str | Path | Pipeline = "standard",
    settings: Iterable[str] = (),
    backend: str | Backend = "auto",
    workers: int | None = None,
    device_memory: int | str | None = None,
    events: EventBus | None = None,
    interceptors: Sequence[Interceptor] = (),
    keep_curves: bool = False,
) -> Result:
    """Find the peaks and the phase of curves.

    Parameters
    ----------
    q : (points,) or (curves, points)
        Scattering vector.
    intensity, sigma : (points,) or (curves, points)
        Intensity and its standard uncertainty, in the curves' own units. Without sigma it is
        estimated from each curve's noise. NaN marks points that were not measured. Arrays of
        other libraries are taken by DLPack or ``__cuda_array_interface__``; what is on a GPU
        stays there (``docs/device_arrays.md``).
    q_unit
        ``"1/nm"``, ``"1/angstrom"`` or ``"1/m"``; guessed from the numbers if None, with a remark
        in the status.
    ids
        Names of the curves; by default their numbers.
    pipeline
        A pipeline, the name of a preset, or a TOML file.
    settings
        Changes to it, as ``"find_peak.prominence_noise=5"``.
    backend, workers, device_memory
        See `gpusaxs.backends.get_backend`. ``"auto"`` and ``"cuda"`` take the GPU on which the
        arrays are.
    events, interceptors
        See `gpusaxs.Runtime`.
    keep_curves
        Whether ``result.curves`` has the reduced curves as arrays of the backend: `ReducedCurves`.

    Returns
    -------
    Result
        q in 1/nm and lattice parameters in nm, whatever the unit of q was.

    Raises
    ------
    ValueError
        If the shapes do not fit or the unit is unknown.
    PipelineError, BackendError
        If there is no such pipeline, parameter or backend, or if the arrays are not where the
        backend is.

    Examples
    --------
    >>> import gpusaxs
    >>> curves = gpusaxs.simulate(3, seed=1, phases=["hexagonal"], counts=20000)
    >>> result = gpusaxs.process(curves.q, curves.intensity, curves.sigma, q_unit="1/nm")
    >>> len(result)
    3
    """
    chosen = pipeline if isinstance(pipeline, Pipeline) else Pipeline.load(pipeline)
    chosen = chosen.with_settings(settings)
    if isinstance(backend, str):
        backend = backend_for(backend, common_device(q, intensity, sigma))
    runtime = Runtime(
        backend,
        workers,
        chosen,
        events=events,
        interceptors=interceptors,
        device_memory=device_memory,
    )
    source = _Arrays.of(q, intensity, sigma, q_unit, ids, runtime.backend)
    curves, points = len(source.ids), max(1, source.intensity.shape[1])
    per_block = max(1, runtime.backend.block_points // points)
    if chosen.joint:
        per_block = max(1, curves)
    again = _Recomputed(source, Runtime(runtime.backend, pipeline=chosen))
    kept = ReducedCurves.empty(curves, points, runtime.backend, again) if keep_curves else None

    def one_block(first: int) -> list[Tables]:
        return in_parts(
            runtime.backend,
            min(per_block, curves - first),
            points,
            lambda part: source.batch(slice(first + part.start, first + part.stop)),
            lambda batch, part: one_batch(batch, first + part.start),
            together=bool(chosen.joint),
        )

    def one_batch(batch: SampleBatch, first: int) -> Tables:
        runtime.run_on(batch, run)
        if kept is not None:
            kept.take_over(batch, first)
        # Reading the tables back waits for all that was launched before.
        return tables_of(batch, [source.origin] * len(batch))

    # While one block is stacked or tabulated, the kernels of another fill the cores.
    with (
        runtime.new_run(samples=curves) as run,
        ThreadPoolExecutor(runtime.backend.blocks_in_flight) as pool,
    ):
        blocks = list(pool.map(one_block, range(0, curves, per_block)))
    tables = Tables.concatenate([part for block in blocks for part in block], chosen.number_columns)
    return Result(tables.samples, tables.peaks, tables.phases, kept or again)


@dataclass(frozen=True)
class _Arrays:
    """Curves as a user gives them, on the host or on the backend's device."""

    ids: list[str]
    q: Array
    intensity: Array
    sigma: Array | None
    origin: Origin
    status: CurveStatus
    backend: Backend

    @classmethod
    def of(
        cls,
        q: Any,
        intensity: Any,
        sigma: Any,
        q_unit: str | None,
        ids: Sequence[str] | None,
        backend: Backend,
    ) -> _Arrays:
        rows = _as_table(_taken("intensity", intensity, backend))
        if rows.ndim != 2:
            raise ValueError(
                f"Expected intensity as (points,) or (curves, points). Got {rows.ndim} dimensions."
            )
        raw_q = _taken("q", q, backend)
        if raw_q.shape not in (rows.shape, rows.shape[1:]):
            raise ValueError(
                f"Expected q as {rows.shape[1:]} or {rows.shape}, like the intensity. "
                f"Got {raw_q.shape}."
            )
        errors = None if sigma is None else _as_table(_taken("sigma", sigma, backend))
        if errors is not None and errors.shape != rows.shape:
            raise ValueError(
                f"Expected sigma as {rows.shape}, like the intensity. Got {errors.shape}."
            )
        names = [str(name) for name in (range(len(rows)) if ids is None else ids)]
        if len(names) != len(rows) or len(set(names)) != len(names):
            raise ValueError(f"Expected {len(rows)} different ids. Got {len(set(names))}.")
        if raw_q.ndim == 1 and not isinstance(raw_q, np.ndarray):
            raw_q = _on_host(raw_q, backend)
        unit, origin = resolve_q_unit(q_unit, None, () if q_unit else _highest(raw_q, backend))
        status = CurveStatus.Q_UNIT_GUESSED if origin == "guess" else CurveStatus.OK
        known = Origin(q_unit=unit, q_unit_from=origin)
        return cls(names, raw_q, rows, errors, known, status, backend)

    def _q(self, part: slice | int) -> Array:
        """Return q in 1/nm: of some curves, or the one of all."""
        rows = self.q if self.q.ndim == 1 else self.q[part]
        factor = TO_INVERSE_NM[self.origin.q_unit]
        return rows if factor == 1.0 else rows.astype(np.float64) * factor

    def batch(self, part: slice) -> SampleBatch:
        batch = SampleBatch.from_arrays(
            self.ids[part],
            self._q(part),
            self.intensity[part],
            None if self.sigma is None else self.sigma[part],
            self.backend,
        )
        if self.status:
            batch.set_status(np.arange(len(batch)), self.status)
        return batch

    def sample(self, number: int) -> Sample:
        return Sample(
            id=self.ids[number],
            q=_on_host(self._q(number), self.backend),
            intensity=_on_host(self.intensity[number], self.backend),
            sigma=None if self.sigma is None else _on_host(self.sigma[number], self.backend),
            origin=self.origin,
            status=self.status,
        )


def _taken(name: str, array: Any, backend: Backend) -> Array:
    """Return an array as float64 on the host, or as it is on the backend's device."""
    if device_of(array) is None:
        return host_array(array)
    mine = backend.adopt(array)
    if mine.dtype.kind not in "fiu":
        raise ValueError(f"Expected real numbers for {name}. Got {mine.dtype}.")
    return mine


def _on_host(row: Array, backend: Backend) -> FloatArray:
    return host_array(row if isinstance(row, np.ndarray) else backend.to_host(row))


def _as_table(rows: Array) -> Array:
    return rows.reshape(1, -1) if rows.ndim < 2 else rows


def _highest(q: Array, backend: Backend) -> NDArray[Any]:
    """Return the numbers of q that can decide which unit is guessed; of many, the highest."""
    if isinstance(q, np.ndarray):
        return q
    xp = backend.xp
    with backend.lane(q):
        return backend.to_host(xp.where(xp.isfinite(q), q, -xp.inf).max(axis=1))


@dataclass(frozen=True)
class _Recomputed:
    """Curves that are processed once more when they are looked at: the result is the same."""

    source: _Arrays
    runtime: Runtime

    def sample(self, number: int) -> Sample:
        joint = self.runtime.pipeline.joint
        with self.runtime.backend.lane():
            batch = self.source.batch(slice(None) if joint else slice(number, number + 1))
            self.runtime.run_on(batch)
            [sample] = batch.to_samples(np.array([number if joint else 0]))
            remember(sample, self.source.sample(number))
        return sample
