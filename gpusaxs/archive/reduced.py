"""The reduced curves of a run directory, one after another, with what was found in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpusaxs.archive.companion import Companion
from gpusaxs.archive.directory import Json, read_description, read_inputs, read_part, read_records
from gpusaxs.archive.fingerprints import Fingerprints
from gpusaxs.archive.plan import BlockLimits, Planner
from gpusaxs.archive.reading import BlockReader
from gpusaxs.archive.settings import changed_files
from gpusaxs.archive.stored_curves import CURVES, curve_table
from gpusaxs.batch import SampleBatch
from gpusaxs.errors import RunDirectoryError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Sample

FloatArray = NDArray[np.float64]
Line = dict[str, Any]

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class ReducedCurve:
    """A curve as after the last stage that changed it.

    Parameters
    ----------
    row
        Its row of the table of samples.
    q : (points,) float64
        In 1/nm.
    intensity, sigma, background : (points,) float64
        intensity is the measured one minus the background.
    peaks, phases
        Its rows of these tables.
    """

    row: Line
    q: FloatArray
    intensity: FloatArray
    sigma: FloatArray
    background: FloatArray
    peaks: list[Line]
    phases: list[Line]


@dataclass(frozen=True, slots=True)
class ReducedBlock:
    """The parts of a block, and its reduced curves: those that have not failed."""

    samples: pa.Table
    peaks: pa.Table
    phases: pa.Table
    curves: pa.Table

    def __iter__(self) -> Iterator[ReducedCurve]:
        """Yield its curves in order."""
        rows = {row["id"]: row for row in self.samples.to_pylist()}
        peaks, phases = _by_curve(self.peaks), _by_curve(self.phases)
        ids: list[str] = self.curves["id"].to_pylist()
        columns = [_rows(self.curves, name) for name in ("q", "intensity", "sigma", "background")]
        arrays = zip(*columns, strict=True)
        for name, (q, intensity, sigma, background) in zip(ids, arrays, strict=True):
            yield ReducedCurve(
                rows[name], q, intensity, sigma, background, peaks[name], phases[name]
            )


def reduced_blocks(run: str | Path, backend: str | None = None) -> Iterator[ReducedBlock]:
    """Yield the blocks of a run in order, one in memory at a time.

    Curves that the run keeps are read; else they are read from its inputs and processed again.

    Parameters
    ----------
    backend
        By default the one of the run.

    Raises
    ------
    RunDirectoryError
        If there is no run, it is damaged, or inputs that are needed have changed.
    """
    path = Path(run)
    description = read_description(path)
    if description["save_curves"]:
        for record in read_records(path, description):
            yield _with_curves(path, record.block, read_part(path, "curves", record.block))
    else:
        yield from _again(path, description, backend)


def _again(path: Path, description: Json, backend: str | None) -> Iterator[ReducedBlock]:
    """Yield blocks whose curves are processed again."""
    records = read_records(path, description)
    files = read_inputs(path)
    changed = changed_files(path, files, records)
    if changed:
        listed = "\n  ".join(changed[:_SHOWN])
        raise RunDirectoryError(
            f"The run keeps no curves, and of its inputs {len(changed):,} are gone or have changed:"
            f"\n  {listed}\nProcess them again, or keep curves in the run with --save-curves."
        )
    done = {record.block: record.place for record in records}
    companion = Companion.of_run(path, description)
    planner = Planner(files, BlockLimits(description["block_size"]), done)
    pipeline = Pipeline.from_document(description["pipeline"])
    with (
        Runtime(backend or description["backend"], None, pipeline) as runtime,
        runtime.new_run() as current,
        Fingerprints(files) as fingerprints,
    ):
        reader = BlockReader(files, description["q_unit"], fingerprints)
        for record in records:
            read = reader(planner.replay(record.block))
            samples = [entry for entry in read.entries if isinstance(entry, Sample)]
            curves = CURVES.empty_table()
            if samples:
                if companion is not None:
                    companion.complete(samples)
                with runtime.backend.lane():
                    batch = SampleBatch.from_samples(samples, runtime.backend)
                    runtime.run_on(batch, current)
                    curves = curve_table(batch)
            yield _with_curves(path, record.block, curves)


def _with_curves(path: Path, block: int, curves: pa.Table) -> ReducedBlock:
    samples, peaks, phases = (
        read_part(path, name, block) for name in ("samples", "peaks", "phases")
    )
    return ReducedBlock(samples, peaks, phases, curves)


def _by_curve(rows: pa.Table) -> defaultdict[str, list[Line]]:
    found: defaultdict[str, list[Line]] = defaultdict(list)
    for line in rows.to_pylist():
        found[line["id"]].append(line)
    return found


def _rows(curves: pa.Table, name: str) -> Iterator[FloatArray]:
    """Yield the values of each curve."""
    for chunk in curves[name].chunks:
        values = chunk.values.to_numpy()
        ends = chunk.offsets.to_numpy()
        for start, stop in pairwise(ends.tolist()):
            yield values[start:stop]
