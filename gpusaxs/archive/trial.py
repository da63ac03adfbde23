"""Process a sample of an archive, and measure what that takes."""

from __future__ import annotations

import math
import os
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc

from gpusaxs.archive.blocks import BlockDone, BlockProcessor
from gpusaxs.archive.directory import SCHEMAS, encoded, part_hashes
from gpusaxs.archive.plan import Block, Position
from gpusaxs.archive.reading import CurvesRead
from gpusaxs.archive.survey import Clock, Entries, Group
from gpusaxs.backends import BLOCK_POINTS
from gpusaxs.batch import POINT_ARRAYS, SampleBatch
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import CurveStatus, Sample, Verdict
from gpusaxs.tables import samples_schema

OBJECTS_A_CURVE = 2000
"""Python's objects around a curve, in bytes: samples, origins, ids."""

_SECONDS_WORTH_REPEATING = 0.5
_REPEATS = 3


@dataclass(slots=True)
class Cost:
    """What the sample of a group has taken.

    Parameters
    ----------
    group
        What was processed.
    seconds
        To process it, without what each block takes however small it is.
    tables, curves
        Bytes of the encoded tables, and of the reduced curves, without those of empty ones.
    """

    group: Group
    seconds: float = 0.0
    tables: float = 0.0
    curves: float = 0.0


class Trial:
    """Processes the sample, block by block, and measures what that takes.

    Attributes
    ----------
    costs
        By group.
    baseline
        Memory of the process with all that it has loaded, without curves, in bytes.
    seconds_a_block
        What a block takes however small it is.
    empty_tables, empty_curves
        Bytes of a block that has next to nothing in it: a row a table, no reduced curve.
    batch_point, read_point, curves_point, encoded_point
        Bytes of a point: in a batch, as it was read, in the table of reduced curves, and of the
        latter when it is encoded.
    a_curve
        Bytes of a curve beside its points.
    failed
        Curves that could not be processed, and why.
    """

    def __init__(
        self,
        runtime: Runtime,
        groups: Sequence[Group],
        place: Path,
        clock: Clock,
        *,
        save_curves: bool,
    ) -> None:
        self._clock = clock
        self._backend = runtime.backend
        self.costs: list[Cost] = []
        self.failed: list[tuple[str, str]] = []
        self.seconds_a_block = self._writing = 0.0
        self._written = 0
        self.batch_point = self.read_point = self.a_curve = 0.0
        self.curves_point = self.encoded_point = 0.0
        schemas = SCHEMAS | {"samples": samples_schema(runtime.pipeline.number_columns)}
        curves = schemas.pop("curves")
        self.empty_curves = len(encoded(curves.empty_table())) if save_curves else 0
        # Columns that are not empty have pages of their own.
        one_row = [pa.Table.from_pylist([{}], schema) for schema in schemas.values()]
        self.empty_tables = sum(len(encoded(table)) for table in one_row)
        with runtime.new_run() as run:
            self._processor = BlockProcessor(runtime, run, save_curves=save_curves)
            samples = [entry for group in groups for entry in samples_of(group.entries)]
            if samples:
                self._processor.compute(samples[:1])
            self.baseline = max(0, resident_bytes() - _bytes_of(samples))
            if samples:
                self.seconds_a_block, _ = self._timed(samples[:1])
            with _scratch_file(place) as self._scratch:
                self.costs = [self._cost(group) for group in groups]

    def _cost(self, group: Group) -> Cost:
        cost = Cost(group)
        for entries in _blocks(group.entries):
            tables, curves = self._processor.compute(entries)
            self._note_failures(tables.samples)
            seconds, done = self._timed(entries)
            # Where a block is small, what it takes at least hides what its curves take.
            cost.seconds += max(seconds - self.seconds_a_block, seconds / 4.0)
            self._note_writing(done)
            sizes = {name: len(content) for name, content in done.parts.items()}
            held = sum(rows.nbytes for rows in (tables.samples, tables.peaks, tables.phases))
            self._note_memory(samples_of(entries), held, curves, sizes.get("curves", 0))
            cost.curves += max(0, sizes.pop("curves", 0) - self.empty_curves)
            cost.tables += max(0, sum(sizes.values()) - self.empty_tables)
        return cost

    def _timed(self, entries: Entries) -> tuple[float, BlockDone]:
        """Process a block; the median of a few times where it is short."""
        read = CurvesRead(Block(0, Position(0, 0), Position(0, 0), (), 0), list(entries), [])
        spent: list[float] = []
        while True:
            began = self._clock()
            done = self._processor(read)
            spent.append(self._clock() - began)
            if len(spent) == _REPEATS or spent[0] > _SECONDS_WORTH_REPEATING:
                return statistics.median(spent), done

    def _note_failures(self, samples: pa.Table) -> None:
        failed = (pc.field("verdict") == Verdict.FAILED.value) & (
            pc.field("status") != CurveStatus.UNREADABLE.label
        )
        rows = samples.filter(failed).select(["id", "reason"]).to_pylist()
        self.failed += [(row["id"], row["reason"]) for row in rows]

    def _note_memory(
        self, samples: Sequence[Sample], tables: int, curves: pa.Table | None, encoded_curves: int
    ) -> None:
        if not samples:
            return
        batch = SampleBatch.from_samples(samples, self._backend)
        points = math.prod(batch.intensity.shape)
        of_points = sum(getattr(batch, name).nbytes for name in POINT_ARRAYS)
        of_curves = sum(getattr(held, "nbytes", 0) for held in vars(batch).values()) - of_points
        self.batch_point = max(self.batch_point, of_points / points)
        self.read_point = max(self.read_point, _bytes_of(samples) / points)
        beside = (of_curves + tables) / len(samples) + OBJECTS_A_CURVE
        self.a_curve = max(self.a_curve, beside)
        if curves is not None:
            self.curves_point = max(self.curves_point, curves.nbytes / points)
            self.encoded_point = max(self.encoded_point, encoded_curves / points)

    def _note_writing(self, done: BlockDone) -> None:
        began = self._clock()
        part_hashes(done.parts)
        for content in done.parts.values():
            if self._scratch is not None:
                self._scratch.write(content)
            self._written += len(content)
        self._writing += self._clock() - began

    @property
    def writing(self) -> float:
        """Seconds to write a byte of the tables."""
        return self._writing / max(self._written, 1)


def samples_of(entries: Entries) -> list[Sample]:
    """Return the curves that could be read."""
    return [entry for entry in entries if isinstance(entry, Sample)]


def _blocks(entries: Entries) -> Iterator[Entries]:
    """Cut the sample as a run would: a long curve must not pad all others to its length."""
    first = longest = 0
    for place, entry in enumerate(entries):
        points = entry.q.size if isinstance(entry, Sample) else 1
        if place > first and max(longest, points) * (place + 1 - first) > BLOCK_POINTS:
            yield entries[first:place]
            first, longest = place, 0
        longest = max(longest, points)
    if first < len(entries):
        yield entries[first:]


def _bytes_of(samples: Iterable[Sample]) -> int:
    """Bytes of the arrays of samples, a shared one counted once."""
    arrays = {
        id(array): array.nbytes
        for sample in samples
        for array in (sample.q, sample.intensity, sample.sigma)
        if array is not None
    }
    return sum(arrays.values())


@contextmanager
def _scratch_file(place: Path) -> Iterator[IO[bytes] | None]:
    """Open a file without a name, where one may be written: nothing of it stays."""
    try:
        file = tempfile.TemporaryFile(dir=place)  # noqa: SIM115 it is closed below
    except OSError:
        yield None
        return
    with file:
        yield file


def resident_bytes() -> int:
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
