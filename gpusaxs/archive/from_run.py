"""Process a run again with another pipeline: only what the change asks for."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gpusaxs.archive.blocks import BlockDone, BlockProcessor, in_order, sorted_rows
from gpusaxs.archive.companion import Companion
from gpusaxs.archive.directory import (
    DESCRIPTION,
    BlockRecord,
    Json,
    RunWriter,
    damaged_parts,
    read_description,
    read_inputs,
    read_part,
    read_records_with_files,
)
from gpusaxs.archive.fingerprints import Fingerprints
from gpusaxs.archive.plan import Block, BlockLimits, ListedFile, Planner
from gpusaxs.archive.reading import BlockReader, CurvesRead, read_frames
from gpusaxs.archive.reprocess import Again, plan_again, restore, starts_over
from gpusaxs.archive.run import BlockLine, OnProgress, Summary, begin
from gpusaxs.archive.settings import (
    changed_files,
    described_numbers,
    has_changed,
    stage_fingerprints,
    versions,
)
from gpusaxs.archive.stored_curves import batch_of_curves, curve_table, origins_of
from gpusaxs.archive.workpool import ExecutorName
from gpusaxs.batch import SampleBatch
from gpusaxs.errors import RunDirectoryError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.events import EventBus
from gpusaxs.runtime.run import Run
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Sample, Verdict
from gpusaxs.tables import SAMPLES, Tables, Unread, tables_of, without_numbers

_SHOWN = 10
_SAME = ("inputs", "q_unit", "metadata", "block_size", "limit")


def reprocess_run(
    run: str | Path,
    output: str | Path,
    pipeline: Pipeline,
    *,
    backend: str = "auto",
    workers: int | None = None,
    device_memory: int | str | None = None,
    save_curves: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    blocks_in_flight: int | None = None,
    executor: ExecutorName = "workpool",
    progress: OnProgress = lambda progress: None,
    explain: Callable[[str], None] = lambda words: None,
    events: EventBus | None = None,
) -> Summary:
    """Process the curves of a run with another pipeline into a run directory of its own.

    Stored curves and peaks are used as far as the change leaves them alone, so that only the
    stages after it are computed; the results are those of the whole pipeline on the input files.

    Parameters
    ----------
    run
        A run that came to its end.
    pipeline
        What is wanted now.
    explain
        Called with a sentence that says what has changed, what is taken from the run and what is
        computed.
    backend, workers, device_memory, save_curves, overwrite, resume, blocks_in_flight, executor
        See `gpusaxs.process_archive`.
    progress, events
        See `gpusaxs.process_archive`.

    Raises
    ------
    RunDirectoryError
        If the run is not complete, the pipeline is its own, or inputs are needed and have
        changed; or if something is in the way at `output`, such as the run itself.
    PipelineError
        If a stage needs all curves at once.
    """
    pipeline.check_by_curve("a run that is processed again takes them in part. Process the files")
    stored = _StoredRun.open(Path(run))
    _check_output(stored, Path(output))
    again = _plan(stored, pipeline)
    explain(again.explanation)
    companion = Companion.of_run(stored.path, stored.description)
    if not again.from_curves:
        _check_inputs(stored)
    with Runtime(backend, workers, pipeline, events=events, device_memory=device_memory) as runtime:
        asked: Json = {
            **{key: stored.description[key] for key in _SAME},
            "from_run": {"path": str(stored.path.resolve()), "sha256": stored.sha256},
            "pipeline": pipeline.document(),
            "stages": stage_fingerprints(pipeline),
            "numbers": described_numbers(pipeline),
            "backend": runtime.backend.name,
            "save_curves": save_curves,
            "versions": versions(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        writer = begin(
            Path(output),
            asked,
            stored.files,
            companion,
            overwrite=overwrite,
            resume=resume,
            by_files=False,
        )
        try:
            with Fingerprints(stored.files) as fingerprints, runtime.new_run() as current:
                reader = BlockReader(stored.files, stored.description["q_unit"], fingerprints)
                limit = stored.description["limit"]
                line = BlockLine(writer, runtime, current, progress, limit, fail_fast=False)
                return line.run(
                    stored.blocks(without=writer),
                    _StoredReader(stored, again, reader),
                    _StoredProcessor(
                        stored, again, runtime, current, companion, save_curves=save_curves
                    ),
                    executor,
                    blocks_in_flight,
                )
        finally:
            writer.close()


def pipeline_of(run: str | Path) -> Pipeline:
    """Return the pipeline that a run was made with.

    Raises
    ------
    RunDirectoryError
        If there is no run.
    """
    return Pipeline.from_document(read_description(Path(run))["pipeline"])


@dataclass(frozen=True)
class _StoredRun:
    """A complete run."""

    path: Path
    description: Json
    sha256: str
    records: dict[int, BlockRecord]
    files: Sequence[ListedFile]

    @classmethod
    def open(cls, path: Path) -> _StoredRun:
        description = read_description(path)
        if description["state"] != "complete":
            raise RunDirectoryError(
                f"The run {path} did not come to its end. Go on with it first: --resume."
            )
        records = {record.block: record for record in read_records_with_files(path)}
        digest = hashlib.sha256((path / DESCRIPTION).read_bytes()).hexdigest()
        return cls(path, description, digest, records, read_inputs(path))

    @property
    def has_curves(self) -> bool:
        return bool(self.description["save_curves"])

    def blocks(self, without: RunWriter) -> Iterator[Block]:
        """Yield the blocks, but for those that are written already."""
        for number, record in self.records.items():
            if number not in without.records:
                yield Block(number, record.start, record.stop, (), record.share)

    def planner(self) -> Planner:
        """Return what plans the same blocks from the input files."""
        done = {number: record.place for number, record in self.records.items()}
        return Planner(self.files, BlockLimits(self.description["block_size"]), done)


def _plan(stored: _StoredRun, pipeline: Pipeline) -> Again:
    old = Pipeline.from_document(stored.description["pipeline"])
    now = stage_fingerprints(pipeline)
    known: Json = stored.description["stages"]
    same = {stage.name for stage in old.stages} & {stage.name for stage in pipeline.stages}
    # A stage whose parameters differ has another fingerprint anyway: one that is asked for with
    # the old parameters tells whether its code, or a file that it reads, is still the same.
    before = stage_fingerprints(old)
    altered = [name for name in same if known.get(name) != before[name] or now[name] is None]
    again = plan_again(old, pipeline, stored.has_curves, altered)
    if again.changed is None:
        raise RunDirectoryError(
            f"The pipeline is that of the run {stored.path}: nothing would be computed. Change it "
            "with --set or --pipeline."
        )
    return again


def _check_output(stored: _StoredRun, output: Path) -> None:
    """Refuse to replace what is read, or a folder that it lies in."""
    if stored.path.resolve().is_relative_to(output.resolve()):
        raise RunDirectoryError(
            f"The run {stored.path} is read and cannot be replaced by {output}. Give --output "
            "another place."
        )


def _check_inputs(stored: _StoredRun) -> None:
    changed = changed_files(stored.path, stored.files, stored.records.values())
    if changed:
        shown = "\n  ".join(changed[:_SHOWN])
        more = f"\n  ... and {len(changed) - _SHOWN:,} more" if len(changed) > _SHOWN else ""
        raise RunDirectoryError(
            f"The curves have to be read again, and inputs of the run {stored.path} are not what "
            f"they were:\n  {shown}{more}\nProcess the files anew, or keep curves in the run with "
            "--save-curves."
        )


@dataclass(frozen=True, slots=True)
class _StoredBlock:
    """A block of a run as it is stored, with those of its curves that were read again.

    Parameters
    ----------
    read
        What is read from the input files: all, or those that start over.
    fresh
        The rows of samples that start over.
    """

    block: Block
    tables: Tables
    curves: pa.Table | None
    read: list[Sample | Unread]
    fresh: NDArray[np.bool_]


class _StoredReader:
    """Reads the tables of a block, and its curves from the files where the plan needs them."""

    def __init__(self, stored: _StoredRun, again: Again, reader: BlockReader) -> None:
        self._stored = stored
        self._again = again
        self._reader = reader
        self._planner = stored.planner()
        self._files = {file.path: number for number, file in enumerate(stored.files)}
        self._known = {
            file.file: file for record in stored.records.values() for file in record.files
        }

    def __call__(self, block: Block) -> _StoredBlock:
        """Read a block."""
        samples, peaks, phases = (
            self._part(name, block.number) for name in ("samples", "peaks", "phases")
        )
        fresh = starts_over(self._again, samples)
        curves = None
        if self._again.from_curves:
            curves = self._part("curves", block.number)
            read = [*self._some(samples.filter(pa.array(fresh)))]
        else:
            read = self._all(block).entries
        # What was given with the files is joined to them anew, and numbers are found anew.
        tables = Tables(samples.select(SAMPLES.names), peaks, phases)
        return _StoredBlock(block, tables, curves, read, fresh)

    def _part(self, name: str, block: int) -> pa.Table:
        """Read a part that is what was written, lest its damage go into the new run."""
        record = self._stored.records[block]
        wrong = damaged_parts(self._stored.path, replace(record, parts={name: record.parts[name]}))
        if wrong:
            raise RunDirectoryError(f"{wrong[0]}. Process its files anew.")
        return read_part(self._stored.path, name, block)

    def _all(self, block: Block) -> CurvesRead:
        return self._reader(self._planner.replay(block.number))

    def _some(self, samples: pa.Table) -> Iterator[Sample | Unread]:
        """Read the curves of rows of samples, one by one: they are few."""
        q_unit = self._stored.description["q_unit"]
        for row in samples.select(["id", "source", "frame"]).to_pylist():
            number = self._files[row["source"]]
            file = self._stored.files[number]
            if has_changed(file, self._known.get(number)):
                reason = f"has changed since the run {self._stored.path}"
                yield Unread(row["id"], file.path, row["frame"], reason)
                continue
            several = row["id"] != file.id
            frames = range(row["frame"], row["frame"] + 1) if several else None
            yield from read_frames(file, q_unit, frames)


class _StoredProcessor:
    """Runs what the plan asks for over the curves of a stored block."""

    def __init__(
        self,
        stored: _StoredRun,
        again: Again,
        runtime: Runtime,
        run: Run,
        companion: Companion | None,
        *,
        save_curves: bool,
    ) -> None:
        self._stored = stored
        self._again = again
        self._run = run
        self._save_curves = save_curves
        self._companion = companion
        self._whole = BlockProcessor(runtime, run, companion, save_curves=save_curves)
        self._backend = runtime.backend
        self._numbers = runtime.pipeline.number_columns
        self._part = (
            None
            if again.pipeline is None
            else Runtime(runtime.backend, pipeline=again.pipeline, events=runtime.settings.events)
        )

    def __call__(self, given: _StoredBlock) -> BlockDone:
        """Process a block."""
        samples = given.tables.samples
        ids = samples["id"].to_pylist()
        fresh = {name for name, starts in zip(ids, given.fresh.tolist(), strict=True) if starts}
        anew = [entry for entry in given.read if entry.id in fresh or isinstance(entry, Unread)]
        parts: list[tuple[Tables, pa.Table | None]] = []
        if anew:
            parts.append(self._whole.compute(anew))
        if given.curves is not None:
            failed = pc.equal(samples["verdict"].cast(pa.string()), Verdict.FAILED.value)
            kept = pc.and_(failed, pa.array(~given.fresh))
            parts.append((self._without_results(samples.filter(kept)), None))
        with self._backend.lane():
            again = self._of_files(given, fresh) if given.curves is None else self._of_curves(given)
        if again is not None:
            parts.append(again)
        tables = in_order(Tables.concatenate([tables for tables, _ in parts]), ids)
        reduced = [curves for _, curves in parts if curves is not None]
        curves = sorted_rows(pa.concat_tables(reduced), ids) if reduced else None
        unread = [entry for entry in given.read if isinstance(entry, Unread)]
        files = self._stored.records[given.block.number].files
        return self._whole.done(given.block, tables, curves, unread, files)

    def _of_curves(self, given: _StoredBlock) -> tuple[Tables, pa.Table | None] | None:
        assert given.curves is not None
        fresh = given.tables.samples["id"].filter(pa.array(given.fresh))
        curves = given.curves.filter(pc.invert(pc.is_in(given.curves["id"], fresh)))
        if curves.num_rows == 0:
            return None
        return self._run_part(
            batch_of_curves(given.tables.samples, curves, self._backend), given.tables
        )

    def _of_files(
        self, given: _StoredBlock, fresh: set[str]
    ) -> tuple[Tables, pa.Table | None] | None:
        samples = [
            entry for entry in given.read if isinstance(entry, Sample) and entry.id not in fresh
        ]
        if not samples:
            return None
        if self._companion is not None:
            self._companion.complete(samples)
        return self._run_part(SampleBatch.from_samples(samples, self._backend), given.tables)

    def _run_part(self, batch: SampleBatch, stored: Tables) -> tuple[Tables, pa.Table | None]:
        restore(self._again, batch, stored.samples, stored.peaks)
        if self._part is not None:
            self._part.run_on(batch, self._run)
        places = pc.index_in(pa.array(batch.ids), stored.samples["id"].combine_chunks())
        tables = tables_of(batch, origins_of(stored.samples.take(places)))
        return tables, curve_table(batch) if self._save_curves else None

    def _without_results(self, samples: pa.Table) -> Tables:
        """Return rows of curves that have failed: they have no peaks, phases or numbers."""
        none = Tables.concatenate([])
        return Tables(without_numbers(samples, self._numbers), none.peaks, none.phases)
