"""Process files into a run directory."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pyarrow.compute as pc

from gpusaxs.archive.blocks import BlockDone, BlockProcessor
from gpusaxs.archive.companion import Companion
from gpusaxs.archive.directory import BlockRecord, RunWriter, part_hashes, read_table
from gpusaxs.archive.fingerprints import Fingerprints, stat
from gpusaxs.archive.plan import Block, BlockLimits, ListedFile, Planner
from gpusaxs.archive.reading import BlockReader
from gpusaxs.archive.settings import check_same, described_numbers, stage_fingerprints, versions
from gpusaxs.archive.workpool import ExecutorName, Outcome, Step, StopBlocks, execute
from gpusaxs.errors import RunDirectoryError
from gpusaxs.io import find_files
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.events import EventBus
from gpusaxs.runtime.interceptors import Interceptor
from gpusaxs.runtime.run import Run
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import CurveStatus, Verdict
from gpusaxs.units import check_q_unit

Json = dict[str, Any]

BESIDE_COMPUTING = 1
"""Workers beside those that compute: while these keep all cores busy, one reads and writes."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come.

    Parameters
    ----------
    blocks, curves
        Done, those of an earlier part of the run included.
    curves_now
        Those since this process took the run up.
    share
        Of the whole, from 0 to 1, by the bytes of the inputs.
    share_before
        What it was when this process took the run up.
    seconds
        Since then.
    busy
        Share of the workers' time by what they did; ``"waiting"`` is the rest.
    """

    blocks: int = 0
    curves: int = 0
    curves_now: int = 0
    share: float = 0.0
    share_before: float = 0.0
    seconds: float = 0.0
    busy: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Curves a second."""
        return self.curves_now / self.seconds if self.seconds > 0.0 else 0.0

    @property
    def seconds_left(self) -> float:
        """Seconds to the end at this rate; NaN while nobody knows."""
        done = self.share - self.share_before
        return (1.0 - self.share) * self.seconds / done if done > 0.0 else math.nan


OnProgress = Callable[[Progress], None]


@dataclass(slots=True)
class Summary:
    """What a run came to.

    Parameters
    ----------
    verdicts
        Number of curves by verdict.
    seconds
        From the first file to the last part written, in this process.
    stopped
        Why the run ended before all blocks were written, if it did.
    blocks_failed
        Blocks that are missing because something in gpusaxs, or a step of a user, raised: what
        was raised.
    changed
        Input files that were changed since the run began, before they were read to their end.
    progress
        Where it ended.
    """

    path: Path
    verdicts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    stopped: str = ""
    blocks_failed: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    progress: Progress = field(default_factory=Progress)

    @property
    def curves(self) -> int:
        """Number of curves, failed ones and unreadable files included."""
        return self.verdicts.total()

    @property
    def failed(self) -> int:
        """Number of curves that failed, unreadable files included."""
        return self.verdicts.get(Verdict.FAILED, 0)

    @property
    def all_well(self) -> bool:
        """Whether every curve of every file was processed to the end."""
        return not (self.failed or self.stopped or self.changed)

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """Curves and files that could not be read, each with its reason."""
        where = pc.field("status") == CurveStatus.UNREADABLE.label
        rows = read_table(self.path, "samples", where, ["id", "reason"])
        return [(row["id"], row["reason"]) for row in rows.to_pylist()]


def process_archive(
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    pipeline: Pipeline | None = None,
    q_unit: str | None = None,
    metadata: str | Path | None = None,
    backend: str = "auto",
    workers: int | None = None,
    device_memory: int | str | None = None,
    save_curves: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    limit: int | None = None,
    block_size: int | None = None,
    blocks_in_flight: int | None = None,
    executor: ExecutorName = "workpool",
    progress: OnProgress = lambda progress: None,
    on_failure: Literal["continue", "fail_fast"] = "continue",
    events: EventBus | None = None,
    interceptors: Sequence[Interceptor] = (),
) -> Summary:
    """Process every curve of files, folders and globs into a run directory.

    Files are read, processed and written block by block, so an archive may be larger than memory.
    A run that was killed, or stopped for want of room, goes on with `resume`; its tables are then
    those of a run that was not.

    Parameters
    ----------
    inputs
        Files, folders (with all below them) and globs; what lies in `output` is left out.
    output
        The run directory to make.
    q_unit
        Unit of q in all inputs; None takes what each file says.
    metadata
        A table of text with a column ``file`` and others, which become columns ``meta.NAME`` of
        the samples: see `gpusaxs.archive.companion.Companion.read`.
    backend, workers, device_memory
        See `gpusaxs.backends.get_backend`.
    save_curves
        Whether the reduced curves are kept in the run directory.
    overwrite
        Whether a run at `output` may be replaced.
    resume
        Whether a run at `output` that did not come to its end goes on; where there is none, one
        is begun.
    limit
        Curves after which the run ends; what lies behind them is not read.
    block_size
        Curves of a block; by default as many as have a million points.
    blocks_in_flight
        Blocks that are in memory at once.
    executor
        ``"workpool"`` reads, processes and writes at the same time, ``"serial"`` one block after
        another in this thread. What they write is the same.
    progress
        Called when the run begins, and after each block.
    on_failure, events, interceptors
        See `gpusaxs.Runtime`. A run that fails fast is serial and ends with the block in which a
        curve failed; what was complete stays, and `Summary.stopped` says why.

    Raises
    ------
    FileNotFoundError
        If an input does not exist.
    RunDirectoryError
        If something is in the way at `output`, or a run cannot go on because what is asked for,
        or an input, is not what it was: the message says what differs.
    ValueError
        If the unit is unknown, or a number is below 1.
    ReadError
        If the metadata cannot be read, or do not fit the files.
    BackendError
        If the backend is not available.
    PipelineError
        If a stage needs all curves at once, and they are more than a block.
    """
    unit = None if q_unit is None else check_q_unit(q_unit)
    for name, number in (("limit", limit), ("block size", block_size)):
        if number is not None and number < 1:
            raise ValueError(f"Expected a {name} of at least 1 curve. Got {number}.")
    chosen = pipeline or Pipeline.load("standard")
    companion = None if metadata is None else Companion.read(metadata)
    with Runtime(
        backend,
        workers,
        chosen,
        on_failure=on_failure,
        events=events,
        interceptors=interceptors,
        device_memory=device_memory,
    ) as runtime:
        files = listing(inputs, Path(output))
        if companion is not None:
            companion.check(files)
        if chosen.joint:
            _check_one_block(chosen, Planner(files, BlockLimits(block_size), limit=limit))
        asked: Json = {
            "inputs": [str(entry) for entry in inputs],
            "pipeline": chosen.document(),
            "stages": stage_fingerprints(chosen),
            "numbers": described_numbers(chosen),
            "q_unit": unit,
            "metadata": None if companion is None else companion.description,
            "backend": runtime.backend.name,
            "save_curves": save_curves,
            "block_size": block_size,
            "limit": limit,
            "versions": versions(),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
        writer = begin(Path(output), asked, files, companion, overwrite=overwrite, resume=resume)
        try:
            with Fingerprints(writer.files) as fingerprints, runtime.new_run() as run:
                done = {number: record.place for number, record in writer.records.items()}
                planner = Planner(writer.files, BlockLimits(block_size), done, limit)
                return BlockLine(
                    writer, runtime, run, progress, limit, fail_fast=on_failure == "fail_fast"
                ).run(
                    planner.blocks(),
                    BlockReader(writer.files, unit, fingerprints),
                    BlockProcessor(runtime, run, companion, save_curves=save_curves),
                    executor,
                    blocks_in_flight,
                )
        finally:
            writer.close()


def _check_one_block(pipeline: Pipeline, planner: Planner) -> None:
    """Refuse to cut a series of which a stage needs all curves at once."""
    first, *others = islice(planner.blocks(), 2)
    if others:
        pipeline.check_by_curve(
            f"these are more than a block, which has {first.curves:,}. Give --block-size as many "
            "as the series has, if memory holds them"
        )


def listing(inputs: Sequence[str | Path], output: Path) -> list[ListedFile]:
    """List the files that inputs name, without those of a run in the place of the output.

    Raises
    ------
    FileNotFoundError
        If an input does not exist.
    RunDirectoryError
        If nothing is left.
    """
    place = f"{os.path.abspath(output)}{os.sep}"
    files = [
        ListedFile(found.id, found.absolute, *stat(found.absolute))
        for found in find_files(inputs)
        if not found.absolute.startswith(place)
    ]
    if not files:
        raise RunDirectoryError(
            f"All inputs lie in the run directory {output} itself. Give --output another place."
        )
    return files


def begin(
    output: Path,
    asked: Json,
    files: Sequence[ListedFile],
    companion: Companion | None = None,
    *,
    overwrite: bool,
    resume: bool,
    by_files: bool = True,
) -> RunWriter:
    """Begin a run, or take up one that is to go on.

    Parameters
    ----------
    by_files
        Whether the run is made of the files: then they must be what they were.
    """
    if not (resume and RunWriter.holds_a_run(output)):
        return RunWriter.create(output, asked, files, companion, overwrite=overwrite)
    writer = RunWriter.resume(output)
    try:
        if writer.files:
            check_same(writer, asked, files if by_files else None)
            return writer
    except RunDirectoryError:
        writer.close()
        raise
    # It was killed before it had written the listing: nothing of it is worth keeping.
    writer.close()
    return RunWriter.create(output, asked, files, companion, overwrite=True)


class BlockLine:
    """Takes blocks through reading, computing and writing, and keeps account of them."""

    def __init__(
        self,
        writer: RunWriter,
        runtime: Runtime,
        run: Run,
        on_progress: OnProgress,
        limit: int | None,
        *,
        fail_fast: bool,
    ) -> None:
        self._writer = writer
        self._backend = runtime.backend
        self._run = run
        self._on_progress = on_progress
        self._limit = limit
        self._fail_fast = fail_fast
        self._bytes = max(1, sum(max(0, file.size) for file in writer.files))
        records = writer.records.values()
        self._done_bytes = sum(record.share for record in records)
        self._curves_before = sum(record.curves for record in records)
        self._outcome = Outcome()
        self._taken: list[int] = []
        self._summary = Summary(writer.path)
        for record in records:
            self._summary.verdicts.update(record.verdicts)
        self._share_before = self._share()
        self._began = time.perf_counter()

    def run(
        self,
        blocks: Iterator[Block],
        reader: Callable[[Any], Any],
        processor: Callable[[Any], BlockDone],
        executor: ExecutorName,
        blocks_in_flight: int | None,
    ) -> Summary:
        """Take all blocks to their end and return what became of them."""
        at_once = self._backend.blocks_in_flight
        steps = (
            # Two readers at once would wait for the interpreter's lock, or HDF5's, and wake
            # each other for nothing: one is fast enough for two cores and more.
            Step("reading", reader, at_once=1),
            Step("computing", processor, at_once=at_once),
            Step("writing", self._write, needs_serial=True),
        )
        workers = at_once + BESIDE_COMPUTING
        in_flight = workers + 1 if blocks_in_flight is None else blocks_in_flight
        self._began = time.perf_counter()
        try:
            self._tell()
            execute(
                "serial" if self._fail_fast else executor,
                self._noted(blocks),
                steps,
                self._outcome,
                workers=min(workers, in_flight),
                in_flight=in_flight,
            )
        except KeyboardInterrupt:
            self._stop("interrupted")
            raise
        return self._end()

    def _noted(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """Note which block is taken as which: a run that goes on leaves some out."""
        for block in blocks:
            self._taken.append(block.number)
            yield block

    def _write(self, done: BlockDone) -> None:
        """Put a block in place: the one step that has an order."""
        record = BlockRecord(
            block=done.block.number,
            start=done.block.start,
            stop=done.block.stop,
            curves=done.curves,
            share=done.block.share,
            verdicts=done.verdicts,
            parts=part_hashes(done.parts),
            files=done.files,
        )
        try:
            self._writer.write(record, done.parts)
        except OSError as error:
            raise StopBlocks(f"cannot write to {self._writer.path}: {error}") from error
        for entry in done.unread:
            self._run.unreadable(entry.id, entry.reason, fatal=self._fail_fast)
        self._summary.verdicts.update(done.verdicts)
        self._done_bytes += done.block.share
        self._tell()
        if self._run.stopped:
            raise StopBlocks(self._run.stopped)

    def _end(self) -> Summary:
        summary, outcome = self._summary, self._outcome
        summary.seconds = time.perf_counter() - self._began
        summary.blocks_failed = [
            f"block {self._taken[failure.block]}, {failure.step}: {type(failure.error).__name__}: "
            f"{failure.error}"
            for failure in outcome.failures
        ]
        summary.changed = [
            self._writer.files[file.file].path
            for record in self._writer.records.values()
            for file in record.files
            if file.changed
        ]
        summary.progress = self._progress()
        if outcome.stopped is not None:
            self._stop(str(outcome.stopped))
        elif summary.blocks_failed:
            first, *others = summary.blocks_failed
            more = f", and {len(others)} blocks more" if others else ""
            self._stop(f"{first}{more}")
        elif not self._writer.complete:
            try:
                self._writer.finish(seconds=round(summary.seconds, 3))
            except OSError as error:
                self._stop(f"cannot write to {self._writer.path}: {error}")
        return summary

    def _stop(self, reason: str) -> None:
        self._summary.stopped = reason
        try:
            self._writer.stop(reason)
        except OSError:
            # Where nothing can be written, the description says "running" as that of a run that
            # was killed does; the reason is in the summary.
            return

    def _share(self) -> float:
        share = self._done_bytes / self._bytes
        if self._limit is not None:
            share = max(share, self._summary.curves / self._limit)
        return min(share, 1.0)

    def _progress(self) -> Progress:
        seconds = time.perf_counter() - self._began
        available = max(seconds * self._outcome.workers, 1e-9)
        busy = {name: spent / available for name, spent in self._outcome.busy.items()}
        curves = self._summary.curves
        return Progress(
            blocks=len(self._writer.records),
            curves=curves,
            curves_now=curves - self._curves_before,
            share=self._share(),
            share_before=self._share_before,
            seconds=seconds,
            busy=busy | {"waiting": max(0.0, 1.0 - sum(busy.values()))},
        )

    def _tell(self) -> None:
        self._on_progress(self._progress())
