"""Process curves from memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from pyarrow import csv

from gpusaxs.batch import SampleBatch
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.events import EventBus
from gpusaxs.runtime.interceptors import Interceptor
from gpusaxs.runtime.parts import in_parts
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import CurveStatus, Origin, Sample
from gpusaxs.tables import Tables, tables_of
from gpusaxs.units import TO_INVERSE_NM, resolve_q_unit

FloatArray = NDArray[np.float64]


class Curves(Protocol):
    """Where the curves of a result can be seen again."""

    def sample(self, number: int) -> Sample:
        """Return a curve with everything that was found in it."""
        ...


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
    q: ArrayLike,
    intensity: ArrayLike,
    sigma: ArrayLike | None = None,
    *,
    q_unit: str | None = None,
    ids: Sequence[str] | None = None,
    pipeline: str | Path | Pipeline = "standard",
    settings: Iterable[str] = (),
    backend: str = "auto",
    workers: int | None = None,
    device_memory: int | str | None = None,
    events: EventBus | None = None,
    interceptors: Sequence[Interceptor] = (),
) -> Result:
    """Find the peaks and the phase of curves.

    Parameters
    ----------
    q : (points,) or (curves, points)
        Scattering vector.
    intensity, sigma : (points,) or (curves, points)
        Intensity and its standard uncertainty, in the curves' own units. Without sigma it is
        estimated from each curve's noise. NaN marks points that were not measured.
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
        See `gpusaxs.backends.get_backend`.
    events, interceptors
        See `gpusaxs.Runtime`.

    Returns
    -------
    Result
        q in 1/nm and lattice parameters in nm, whatever the unit of q was.

    Raises
    ------
    ValueError
        If the shapes do not fit or the unit is unknown.
    PipelineError, BackendError
        If there is no such pipeline, parameter or backend.

    Examples
    --------
    >>> import gpusaxs
    >>> curves = gpusaxs.simulate(3, seed=1, phases=["hexagonal"], counts=20000)
    >>> result = gpusaxs.process(curves.q, curves.intensity, curves.sigma, q_unit="1/nm")
    >>> len(result)
    3
    """
    source = _Arrays.of(q, intensity, sigma, q_unit, ids)
    chosen = pipeline if isinstance(pipeline, Pipeline) else Pipeline.load(pipeline)
    chosen = chosen.with_settings(settings)
    runtime = Runtime(
        backend,
        workers,
        chosen,
        events=events,
        interceptors=interceptors,
        device_memory=device_memory,
    )
    points = source.intensity.shape[1]
    per_block = max(1, runtime.backend.block_points // max(1, points))
    if chosen.joint:
        per_block = max(1, len(source.ids))

    def one_block(first: int) -> list[Tables]:
        return in_parts(
            runtime.backend,
            min(per_block, len(source.ids) - first),
            points,
            lambda part: source.batch(slice(first + part.start, first + part.stop), runtime),
            lambda batch, _: one_batch(batch),
            together=bool(chosen.joint),
        )

    def one_batch(batch: SampleBatch) -> Tables:
        runtime.run_on(batch, run)
        return tables_of(batch, [source.origin] * len(batch))

    # While one block is stacked or tabulated, the kernels of another fill the cores.
    with (
        runtime.new_run(samples=len(source.ids)) as run,
        ThreadPoolExecutor(runtime.backend.blocks_in_flight) as pool,
    ):
        blocks = list(pool.map(one_block, range(0, len(source.ids), per_block)))
    tables = Tables.concatenate([part for block in blocks for part in block], chosen.number_columns)
    again = Runtime(runtime.backend, pipeline=chosen)
    return Result(tables.samples, tables.peaks, tables.phases, _Recomputed(source, again))


@dataclass(frozen=True)
class _Arrays:
    """Curves as a user gives them, with q in 1/nm."""

    ids: list[str]
    q: FloatArray
    intensity: FloatArray
    sigma: FloatArray | None
    origin: Origin
    status: CurveStatus

    @classmethod
    def of(
        cls,
        q: ArrayLike,
        intensity: ArrayLike,
        sigma: ArrayLike | None,
        q_unit: str | None,
        ids: Sequence[str] | None,
    ) -> _Arrays:
        rows = np.atleast_2d(np.asarray(intensity, dtype=np.float64))
        if rows.ndim != 2:
            raise ValueError(
                f"Expected intensity as (points,) or (curves, points). Got {rows.ndim} dimensions."
            )
        raw_q = np.asarray(q, dtype=np.float64)
        if raw_q.shape not in (rows.shape, rows.shape[1:]):
            raise ValueError(
                f"Expected q as {rows.shape[1:]} or {rows.shape}, like the intensity. "
                f"Got {raw_q.shape}."
            )
        errors = None if sigma is None else np.atleast_2d(np.asarray(sigma, dtype=np.float64))
        if errors is not None and errors.shape != rows.shape:
            raise ValueError(
                f"Expected sigma as {rows.shape}, like the intensity. Got {errors.shape}."
            )
        names = [str(name) for name in (range(len(rows)) if ids is None else ids)]
        if len(names) != len(rows) or len(set(names)) != len(names):
            raise ValueError(f"Expected {len(rows)} different ids. Got {len(set(names))}.")
        unit, origin = resolve_q_unit(q_unit, None, raw_q)
        status = CurveStatus.Q_UNIT_GUESSED if origin == "guess" else CurveStatus.OK
        factor = TO_INVERSE_NM[unit]
        scaled = raw_q if factor == 1.0 else raw_q * factor
        return cls(names, scaled, rows, errors, Origin(q_unit=unit, q_unit_from=origin), status)

    def batch(self, part: slice, runtime: Runtime) -> SampleBatch:
        batch = SampleBatch.from_arrays(
            self.ids[part],
            self.q if self.q.ndim == 1 else self.q[part],
            self.intensity[part],
            None if self.sigma is None else self.sigma[part],
            runtime.backend,
        )
        if self.status:
            batch.set_status(np.arange(len(batch)), self.status)
        return batch

    def sample(self, number: int) -> Sample:
        return Sample(
            id=self.ids[number],
            q=self.q if self.q.ndim == 1 else self.q[number],
            intensity=self.intensity[number],
            sigma=None if self.sigma is None else self.sigma[number],
            origin=self.origin,
            status=self.status,
        )


@dataclass(frozen=True)
class _Recomputed:
    """Curves that are processed once more when they are looked at: the result is the same."""

    source: _Arrays
    runtime: Runtime

    def sample(self, number: int) -> Sample:
        if self.runtime.pipeline.joint:
            every = [self.source.sample(place) for place in range(len(self.source.ids))]
            return self.runtime.run(every)[number]
        return self.runtime.run([self.source.sample(number)])[0]
