"""Process the curves of a block, and encode what was found as parts of a run directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpusaxs.archive.companion import Companion
from gpusaxs.archive.directory import encoded
from gpusaxs.archive.fingerprints import ReadFile
from gpusaxs.archive.plan import Block
from gpusaxs.archive.reading import CurvesRead
from gpusaxs.archive.stored_curves import CURVES, curve_table
from gpusaxs.batch import SampleBatch
from gpusaxs.runtime.parts import in_parts
from gpusaxs.runtime.run import Run
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Sample
from gpusaxs.tables import Tables, Unread, tables_of, unread


@dataclass(frozen=True, slots=True)
class BlockDone:
    """What was found in a block, ready to be written.

    Parameters
    ----------
    curves
        Rows of `samples`.
    verdicts
        Curves by verdict.
    parts
        A Parquet file by the name of its table.
    unread
        Curves that could not be read.
    files
        Input files that were read to their end.
    """

    block: Block
    curves: int
    verdicts: dict[str, int]
    parts: dict[str, pa.Buffer]
    unread: list[Unread]
    files: list[ReadFile]


class BlockProcessor:
    """Runs the pipeline over the curves of a block, from any thread.

    Parameters
    ----------
    companion
        Metadata that were given with the files.
    save_curves
        Whether the reduced curves are kept.
    """

    def __init__(
        self, runtime: Runtime, run: Run, companion: Companion | None = None, *, save_curves: bool
    ) -> None:
        self._runtime = runtime
        self._run = run
        self._companion = companion
        self._save_curves = save_curves

    def __call__(self, read: CurvesRead) -> BlockDone:
        """Process a block."""
        tables, curves = self.compute(read.entries)
        problems = [entry for entry in read.entries if isinstance(entry, Unread)]
        return self.done(read.block, tables, curves, problems, read.files)

    def done(
        self,
        block: Block,
        tables: Tables,
        curves: pa.Table | None,
        problems: list[Unread],
        files: list[ReadFile],
    ) -> BlockDone:
        """Encode what was found in a block."""
        parts = {
            "samples": self.described(tables.samples),
            "peaks": tables.peaks,
            "phases": tables.phases,
        }
        if self._save_curves:
            parts["curves"] = CURVES.empty_table() if curves is None else curves
        counts = tables.samples["verdict"].value_counts().to_pylist()
        return BlockDone(
            block,
            tables.samples.num_rows,
            {entry["values"]: entry["counts"] for entry in counts},
            {name: encoded(rows) for name, rows in parts.items()},
            problems,
            files,
        )

    def described(self, samples: pa.Table) -> pa.Table:
        """Return a table of samples with the metadata that were given with the files."""
        return samples if self._companion is None else self._companion.joined(samples)

    def compute(self, entries: Sequence[Sample | Unread]) -> tuple[Tables, pa.Table | None]:
        """Return the tables of some curves in order, and the reduced curves if they are kept."""
        samples = [entry for entry in entries if isinstance(entry, Sample)]
        problems = [entry for entry in entries if isinstance(entry, Unread)]
        curves = None
        parts = []
        if samples:
            if self._companion is not None:
                self._companion.complete(samples)
            done = in_parts(
                self._runtime.backend,
                len(samples),
                max(sample.q.size for sample in samples),
                lambda part: SampleBatch.from_samples(samples[part], self._runtime.backend),
                lambda batch, part: self._processed(batch, samples[part]),
                together=bool(self._runtime.pipeline.joint),
            )
            parts += [found for found, _ in done]
            reduced = [rows for _, rows in done if rows is not None]
            curves = pa.concat_tables(reduced) if reduced else None
        if problems:
            parts.append(unread(problems, self._runtime.pipeline.number_columns))
        tables = Tables.concatenate(parts, self._runtime.pipeline.number_columns)
        if samples and problems:
            tables = in_order(tables, [entry.id for entry in entries])
        return tables, curves

    def _processed(
        self, batch: SampleBatch, samples: Sequence[Sample]
    ) -> tuple[Tables, pa.Table | None]:
        """Run the pipeline over a batch of samples."""
        self._runtime.run_on(batch, self._run)
        tables = tables_of(batch, [sample.origin for sample in samples])
        return tables, curve_table(batch) if self._save_curves else None


def in_order(tables: Tables, ids: Sequence[str]) -> Tables:
    """Return tables with the rows of each curve in the order of the ids."""
    return Tables(
        sorted_rows(tables.samples, ids),
        sorted_rows(tables.peaks, ids),
        sorted_rows(tables.phases, ids),
    )


def sorted_rows(rows: pa.Table, ids: Sequence[str]) -> pa.Table:
    """Return the rows of a table in the order of the ids; those of one curve stay in theirs."""
    places = pc.index_in(rows["id"].combine_chunks(), pa.array(ids, pa.string()))
    return rows.take(np.argsort(places.to_numpy(), kind="stable"))
