"""Process files into a run directory, and open one again."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import gpusaxs
from gpusaxs.api import Result
from gpusaxs.archive.directory import RunWriter, read_description, read_table
from gpusaxs.batch import BLOCK_POINTS, SampleBatch
from gpusaxs.errors import ReadError, RunDirectoryError
from gpusaxs.io import Source, discover, read
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.events import EventBus
from gpusaxs.runtime.interceptors import Interceptor
from gpusaxs.runtime.run import Run
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import (
    CurveStatus,
    FitStatus,
    FlowMetadata,
    Origin,
    Peak,
    PhaseMatch,
    Sample,
    Verdict,
)
from gpusaxs.tables import Tables, tables_of, unread
from gpusaxs.units import check_q_unit

Progress = Callable[[int, int, int], None]
"""Called with the files done, all files, and the curves done."""


@dataclass(slots=True)
class Summary:
    """What a run came to.

    Parameters
    ----------
    verdicts
        Number of curves by verdict.
    unreadable
        Files that could not be read, each with its reason.
    seconds
        From the first file to the last part written.
    stopped
        Why the run ended before all files were read, if it did.
    """

    path: Path
    verdicts: dict[str, int] = field(default_factory=dict)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    stopped: str = ""

    @property
    def curves(self) -> int:
        """Number of curves, failed ones and unreadable files included."""
        return sum(self.verdicts.values())

    @property
    def failed(self) -> int:
        """Number of curves that failed, unreadable files included."""
        return self.verdicts.get(Verdict.FAILED, 0)


def process_archive(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    pipeline: Pipeline | None = None,
    q_unit: str | None = None,
    backend: str = "auto",
    workers: int | None = None,
    save_curves: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda done, files, curves: None,
    on_failure: Literal["continue", "fail_fast"] = "continue",
    events: EventBus | None = None,
    interceptors: Sequence[Interceptor] = (),
) -> Summary:
    """Process every curve of files, folders and globs into a run directory.

    Parameters
    ----------
    inputs
        Files, folders (with all below them) and globs; what lies in `output` is left out.
    output
        The run directory to make.
    q_unit
        Unit of q in all inputs; None takes what each file says.
    save_curves
        Whether the reduced curves are kept in the run directory.
    overwrite
        Whether a run at `output` may be replaced.
    progress
        Called before the first file is read, and after each block.
    on_failure, events, interceptors
        See `gpusaxs.Runtime`. A run that fails fast ends with the block in which a curve failed;
        what was complete stays, and `Summary.stopped` says why.

    Raises
    ------
    FileNotFoundError
        If an input does not exist.
    RunDirectoryError
        If something is in the way at `output`.
    ValueError
        If the unit is unknown.
    BackendError
        If the backend is not available.
    """
    unit = None if q_unit is None else check_q_unit(q_unit)
    chosen = pipeline or Pipeline.load("standard")
    runtime = Runtime(
        backend, workers, chosen, on_failure=on_failure, events=events, interceptors=interceptors
    )
    sources = _outside(Path(output), discover(inputs))
    writer = RunWriter(Path(output), overwrite=overwrite)
    description: dict[str, Any] = {
        "state": "running",
        "inputs": [str(entry) for entry in inputs],
        "pipeline": chosen.document(),
        "q_unit": unit,
        "backend": runtime.backend.name,
        "versions": versions(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    writer.describe(description)
    summary = Summary(Path(output))
    progress(0, len(sources), 0)
    began = time.perf_counter()
    files: list[dict[str, Any]] = []
    with runtime.new_run() as run:
        for block in _blocks(sources, unit, files):
            tables, curves = _process(block, runtime, run, save_curves)
            writer.write(tables, curves)
            _count(summary, tables, block, run, fail_fast=on_failure == "fail_fast")
            progress(len(files), len(sources), summary.curves)
            if run.stopped:
                break
    summary.seconds, summary.stopped = time.perf_counter() - began, run.stopped
    description |= {"state": "complete", "files": files, "seconds": round(summary.seconds, 3)}
    if run.stopped:
        description |= {"state": "stopped", "reason": run.stopped}
    writer.describe(description)
    return summary


def open_run(path: str | Path) -> Result:
    """Open a run directory: the tables that `gpusaxs.process` gives, from disk.

    Raises
    ------
    RunDirectoryError
        If there is no run at `path`, or it is damaged.
    """
    folder = Path(path)
    description = read_description(folder)
    samples, peaks, phases = (read_table(folder, name) for name in ("samples", "peaks", "phases"))
    stored = _StoredCurves(folder, description, samples, peaks, phases)
    return Result(samples, peaks, phases, stored)


def versions() -> dict[str, str]:
    """Versions of gpusaxs and of what its numbers depend on."""
    packages = ("numpy", "scipy", "numba", "pydantic", "pyarrow", "h5py")
    return {
        "gpusaxs": gpusaxs.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


@dataclass(slots=True)
class _Block:
    """Curves that are processed together, and the files between them that cannot be read."""

    entries: list[Sample | Tables] = field(default_factory=list)
    curves: int = 0
    longest: int = 0

    def has_room(self, sample: Sample) -> bool:
        longest = max(self.longest, sample.q.size)
        return self.curves == 0 or longest * (self.curves + 1) <= BLOCK_POINTS

    def add(self, entry: Sample | Tables) -> None:
        self.entries.append(entry)
        if isinstance(entry, Sample):
            self.curves += 1
            self.longest = max(self.longest, entry.q.size)


def _blocks(
    sources: Sequence[Source], q_unit: str | None, files: list[dict[str, Any]]
) -> Iterator[_Block]:
    """Read files into blocks in order; note each file that was read in `files`."""
    block = _Block()
    for source in sources:
        for entry in _read(source, q_unit):
            if isinstance(entry, Sample) and not block.has_room(entry):
                yield block
                block = _Block()
            block.add(entry)
        files.append(_identity(source))
    if block.entries:
        yield block


def _outside(output: Path, sources: Sequence[Source]) -> list[Source]:
    """Leave out the files of an earlier run in the place of this one."""
    place = output.resolve()
    kept = [source for source in sources if place not in source.path.resolve().parents]
    if not kept:
        raise RunDirectoryError(
            f"All inputs lie in the run directory {output} itself. Give --output another place."
        )
    return kept


def _read(source: Source, q_unit: str | None) -> Sequence[Sample | Tables]:
    try:
        return read(source, q_unit)
    except ReadError as error:
        return [unread(source.id, str(source.path), str(error))]


def _identity(source: Source) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": source.id, "path": str(Path(source.path).resolve())}
    try:
        with open(source.path, "rb") as opened:
            digest = hashlib.file_digest(opened, "sha256")
            entry |= {"size": opened.tell(), "sha256": digest.hexdigest()}
    except OSError as error:
        entry["error"] = str(error)
    return entry


def _process(
    block: _Block, runtime: Runtime, run: Run, save_curves: bool
) -> tuple[Tables, list[Sample] | None]:
    samples = [entry for entry in block.entries if isinstance(entry, Sample)]
    unreadable = [entry for entry in block.entries if isinstance(entry, Tables)]
    curves: list[Sample] | None = [] if save_curves else None
    parts = []
    if samples:
        batch = SampleBatch.from_samples(samples, runtime.backend)
        runtime.run_on(batch, run)
        parts.append(tables_of(batch, [sample.origin for sample in samples]))
        if save_curves:
            curves = batch.to_samples(batch.live_rows())
    tables = Tables.concatenate(parts + unreadable)
    return (_in_order(tables, block) if unreadable else tables), curves


def _in_order(tables: Tables, block: _Block) -> Tables:
    """Put the rows of unreadable files back between those of the curves."""
    ids = [
        entry.id if isinstance(entry, Sample) else entry.samples["id"][0].as_py()
        for entry in block.entries
    ]
    return Tables(
        tables.samples.take(pc.index_in(pa.array(ids), tables.samples["id"].combine_chunks())),
        tables.peaks,
        tables.phases,
    )


def _count(summary: Summary, tables: Tables, block: _Block, run: Run, *, fail_fast: bool) -> None:
    for entry in tables.samples["verdict"].value_counts():
        name = entry["values"].as_py()
        summary.verdicts[name] = summary.verdicts.get(name, 0) + entry["counts"].as_py()
    for entry in block.entries:
        if isinstance(entry, Tables):
            row = entry.samples.to_pylist()[0]
            summary.unreadable.append((row["id"], row["reason"]))
            run.unreadable(row["id"], row["reason"], fatal=fail_fast)


@dataclass(frozen=True)
class _StoredCurves:
    """Curves of a run directory: kept reduced ones, else read and processed again."""

    path: Path
    description: dict[str, Any]
    samples: pa.Table
    peaks: pa.Table
    phases: pa.Table

    def sample(self, number: int) -> Sample:
        row = self.samples.slice(number, 1).to_pylist()[0]
        if row["verdict"] == Verdict.FAILED:
            raise RunDirectoryError(f"Curve {row['id']} has failed: {row['reason']}.")
        if (self.path / "curves").is_dir():
            return self._kept(row)
        return self._again(row)

    def _kept(self, row: dict[str, Any]) -> Sample:
        mine = pc.field("id") == row["id"]
        [curve] = read_table(self.path, "curves", mine).to_pylist()
        intensity, background = np.array(curve["intensity"]), np.array(curve["background"])
        peaks = [_peak(line) for line in self.peaks.filter(mine).to_pylist()]
        phases = [_phase(line) for line in self.phases.filter(mine).to_pylist()]
        return Sample(
            id=row["id"],
            q=curve["q"],
            intensity=intensity,
            sigma=curve["sigma"],
            metadata=FlowMetadata(row["id"], peaks),
            origin=_origin(row),
            status=CurveStatus.parse(row["status"]),
            verdict=Verdict(row["verdict"]),
            margin=float("nan") if row["margin"] is None else row["margin"],
            phases=tuple(phases),
            measured_q=np.array(curve["q"]),
            measured_intensity=intensity + background,
            background=background,
        )

    def _again(self, row: dict[str, Any]) -> Sample:
        """Read and process the curve once more: the same numbers, as long as the file is."""
        entry = next(
            (
                file
                for file in self.description.get("files", [])
                if row["id"] in (file["id"], f"{file['id']}#{row['frame']}")
            ),
            None,
        )
        if entry is None:
            raise RunDirectoryError(
                f"The run {self.path} did not come to its end and says nothing of the file of "
                f"{row['id']}. Process it again, or keep curves with --save-curves."
            )
        source = Source(Path(entry["path"]), entry["id"])
        if _identity(source).get("sha256") != entry["sha256"]:
            raise RunDirectoryError(
                f"{source.path} is gone or has changed since the run. Process it again, or keep "
                "curves in the run with --save-curves."
            )
        samples = read(source, self.description["q_unit"])
        [given] = [sample for sample in samples if sample.id == row["id"]]
        pipeline = Pipeline.from_document(self.description["pipeline"])
        return Runtime(self.description["backend"], 1, pipeline).run([given])[0]


def _origin(row: dict[str, Any]) -> Origin:
    return Origin(row["source"], row["frame"], row["q_unit"], row["q_unit_from"], row["format"])


def _peak(line: dict[str, Any]) -> Peak:
    kept = {name: value for name, value in line.items() if name not in ("id", "status")}
    return Peak(status=FitStatus[line["status"].upper()], **kept)


def _phase(line: dict[str, Any]) -> PhaseMatch:
    kept = {name: value for name, value in line.items() if name != "id"}
    return PhaseMatch(**kept | {key: tuple(kept[key]) for key in ("matched", "missing")})
