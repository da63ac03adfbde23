"""Compute a run again from its inputs, and compare with what it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from gpusaxs.archive.blocks import BlockProcessor
from gpusaxs.archive.companion import Companion
from gpusaxs.archive.compare import Comparison
from gpusaxs.archive.directory import (
    DESCRIPTION,
    INPUTS,
    BlockRecord,
    Json,
    damaged_parts,
    read_description,
    read_inputs,
    read_part,
    read_records,
)
from gpusaxs.archive.fingerprints import Fingerprints, sha256
from gpusaxs.archive.plan import Block, BlockLimits, ListedFile, Planner, Position
from gpusaxs.archive.reading import BlockReader, CurvesRead
from gpusaxs.archive.settings import changed_files, stage_fingerprints, versions
from gpusaxs.archive.workpool import ExecutorName, Outcome, Step, execute
from gpusaxs.errors import RunDirectoryError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.tables import Tables

TOLERANCE = 1e-6
"""Largest difference over the larger number: on the machine and versions of the run there is
none at all; other processors and versions round differently in the last digits of a fit."""

_SEED = 0


@dataclass(slots=True)
class Verification:
    """What was found out about a run.

    Attributes
    ----------
    damaged
        Parts of the run directory that are not what was written, a sentence each.
    changed
        Inputs of the chosen blocks that are not what they were, or cannot be read as they were.
    remarks
        What may explain differences: other versions or code than those of the run.
    blocks, curves
        In the run.
    blocks_compared, curves_compared
        Of these, the ones that were computed again.
    failures
        Blocks that could not be computed again, a sentence each.
    comparison
        What differs.
    """

    comparison: Comparison
    blocks: int = 0
    curves: int = 0
    blocks_compared: int = 0
    curves_compared: int = 0
    damaged: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def all_well(self) -> bool:
        """Whether the run is whole and, as far as it was computed again, right."""
        return not (self.damaged or self.changed or self.failures or self.comparison.beyond)


@dataclass(frozen=True, slots=True)
class _Again:
    """A block that was computed again."""

    block: Block
    tables: Tables
    curves: pa.Table | None


def verify_run(
    run: str | Path,
    *,
    sample: float = 1.0,
    tolerance: float = TOLERANCE,
    backend: str | None = None,
    workers: int | None = None,
    executor: ExecutorName = "workpool",
    progress: Callable[[int, int], None] = lambda done, blocks: None,
) -> Verification:
    """Check the parts of a run by their hashes, compute it again, and compare.

    Parameters
    ----------
    run
        A run directory; of one that did not come to its end, what is complete is verified.
    sample
        Share of the blocks that are computed again, at least one; the same ones each time.
    tolerance
        Largest difference, over the larger of two numbers, that is none.
    backend
        By default the one of the run.
    executor
        See `gpusaxs.process_archive`.
    progress
        Called with the blocks compared, and all that will be.

    Raises
    ------
    RunDirectoryError
        If there is no run.
    ValueError
        If the sample is no share.
    """
    if not 0.0 < sample <= 1.0:
        raise ValueError(f"Expected a share of the blocks, above 0 and up to 1. Got {sample}.")
    path = Path(run)
    description = read_description(path)
    records = read_records(path, description)
    found = Verification(
        Comparison(tolerance), len(records), sum(record.curves for record in records)
    )
    whole = _check_parts(path, description, records, found)
    try:
        files = read_inputs(path)
        companion = Companion.of_run(path, description)
    except RunDirectoryError as error:
        found.damaged.append(str(error))
        return found
    missing = _missing_blocks(description, records, len(files))
    if missing:
        found.damaged.append(f"{path / DESCRIPTION}: {missing}")
        return found
    chosen = _with_same_inputs(_chosen(whole, sample), path, files, found)
    pipeline = Pipeline.from_document(description["pipeline"])
    _remark(description, pipeline, found)
    done = {record.block: record.place for record in records}
    planner = Planner(files, BlockLimits(description["block_size"]), done)
    with (
        Runtime(backend or description["backend"], workers, pipeline) as runtime,
        runtime.new_run() as current,
        Fingerprints(files) as fingerprints,
    ):
        reader = BlockReader(files, description["q_unit"], fingerprints)
        processor = BlockProcessor(
            runtime, current, companion, save_curves=description["save_curves"]
        )

        def read(record: BlockRecord) -> CurvesRead:
            return reader(planner.replay(record.block))

        def compute(block: CurvesRead) -> _Again:
            tables, curves = processor.compute(block.entries)
            described = replace(tables, samples=processor.described(tables.samples))
            return _Again(block.block, described, curves)

        def compare(again: _Again) -> None:
            _compare(path, again, found)
            progress(found.blocks_compared, len(chosen))

        steps = (
            Step("reading", read),
            Step("computing", compute, at_once=runtime.backend.blocks_in_flight),
            Step("comparing", compare, needs_serial=True),
        )
        outcome = Outcome()
        at_once = runtime.backend.blocks_in_flight
        progress(0, len(chosen))
        execute(executor, iter(chosen), steps, outcome, workers=at_once + 1, in_flight=at_once + 2)
    found.failures = [
        f"block {chosen[failure.block].block}, {failure.step}: {failure.error}"
        for failure in outcome.failures
    ]
    if outcome.stopped is not None:
        found.failures.append(str(outcome.stopped))
    return found


def _check_parts(
    path: Path, description: Json, records: Sequence[BlockRecord], found: Verification
) -> list[BlockRecord]:
    """Note what is damaged; return the blocks whose parts are whole."""
    known = description.get("inputs_sha256")
    if known is not None and sha256(str(path / INPUTS)) != known:
        found.damaged.append(f"{path / INPUTS}: is not what was written")
    whole = []
    for record in records:
        wrong = damaged_parts(path, record)
        found.damaged += wrong
        if not wrong:
            whole.append(record)
    return whole


def _missing_blocks(description: Json, records: Sequence[BlockRecord], files: int) -> str:
    """Say which curves of a run that came to its end are in none of its blocks."""
    if any(record.file_numbers.stop > files for record in records):
        return f"has blocks of more files than the {files} that are listed"
    if description["state"] != "complete":
        return ""
    place = Position(0, 0)
    for record in records:
        if record.start != place:
            return f"block {record.block} does not begin where the one before it ends"
        place = record.stop
    limit, curves = description["limit"], sum(record.curves for record in records)
    if place != Position(files, 0) and (limit is None or curves < limit):
        return "the last block does not end with the last file"
    return ""


def _chosen(records: Sequence[BlockRecord], sample: float) -> list[BlockRecord]:
    """Return a share of the blocks, drawn from all over the run."""
    number = min(len(records), max(1, round(sample * len(records))))
    drawn = np.random.default_rng(_SEED).choice(len(records), number, replace=False)
    return [records[place] for place in sorted(drawn.tolist())]


def _with_same_inputs(
    records: Sequence[BlockRecord], path: Path, files: Sequence[ListedFile], found: Verification
) -> list[BlockRecord]:
    """Note inputs that have changed; return the blocks that can be computed from what they were."""
    changed = set(changed_files(path, files, records))
    found.changed = [f"{name}: is not what it was" for name in sorted(changed)]
    return [
        record
        for record in records
        if not any(files[number].path in changed for number in record.file_numbers)
    ]


def _remark(description: Json, pipeline: Pipeline, found: Verification) -> None:
    """Say what is another version, or other code, than the run was made with."""
    now = versions()
    for name, version in description["versions"].items():
        if now.get(name) != version:
            found.remarks.append(f"{name} was {version}, is {now.get(name)}")
    stages = stage_fingerprints(pipeline)
    other = [name for name, known in description["stages"].items() if stages.get(name) != known]
    if other:
        found.remarks.append(
            f"the code, or a file that is read, is another one for: {', '.join(other)}"
        )


def _compare(path: Path, again: _Again, found: Verification) -> None:
    block = again.block.number
    tables = {
        "samples": again.tables.samples,
        "peaks": again.tables.peaks,
        "phases": again.tables.phases,
    }
    if again.curves is not None:
        tables["curves"] = again.curves
    for name, rows in tables.items():
        found.comparison.add(name, read_part(path, name, block), rows)
    found.blocks_compared += 1
    found.curves_compared += again.tables.samples.num_rows
