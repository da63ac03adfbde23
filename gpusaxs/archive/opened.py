"""Open a run directory again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpusaxs.api import Result
from gpusaxs.archive.companion import Companion
from gpusaxs.archive.directory import (
    Json,
    read_description,
    read_input_table,
    read_table,
)
from gpusaxs.archive.fingerprints import sha256
from gpusaxs.errors import RunDirectoryError
from gpusaxs.io import Source, read
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import (
    CurveStatus,
    FitStatus,
    FlowMetadata,
    LineKind,
    Peak,
    PeakRemarks,
    PhaseMatch,
    Sample,
    Verdict,
)
from gpusaxs.tables import origin_of


def open_run(path: str | Path) -> Result:
    """Open a run directory: the tables that `gpusaxs.process` gives, from disk.

    Of a run that did not come to its end, they hold the blocks that are complete.

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


@dataclass(frozen=True)
class _StoredCurves:
    """Curves of a run directory: kept reduced ones, else read and processed again."""

    path: Path
    description: Json
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
            origin=origin_of(row),
            status=CurveStatus.parse(row["status"]),
            verdict=Verdict(row["verdict"]),
            margin=float("nan") if row["margin"] is None else row["margin"],
            phases=tuple(phases),
            numbers={
                column: _number_or_word(row[column], known["is_text"])
                for column, known in self.description.get("numbers", {}).items()
            },
            measured_q=np.array(curve["q"]),
            measured_intensity=intensity + background,
            background=background,
        )

    def _again(self, row: dict[str, Any]) -> Sample:
        """Read and process the curve once more: the same numbers, as long as the file is."""
        path = row["source"]
        inputs = read_input_table(self.path).filter(pc.field("path") == path)
        [file] = inputs.to_pylist()
        if file["sha256"] is None:
            raise RunDirectoryError(
                f"The run {self.path} did not come to its end and says nothing of {path} yet. Go "
                "on with it with --resume."
            )
        if sha256(path) != file["sha256"]:
            raise RunDirectoryError(
                f"{path} is gone or has changed since the run. Process it again, or keep curves "
                "in the run with --save-curves."
            )
        several = row["id"] != file["id"]
        frames = range(row["frame"], row["frame"] + 1) if several else None
        [given] = read(Source(Path(path), file["id"]), self.description["q_unit"], frames)
        pipeline = Pipeline.from_document(self.description["pipeline"])
        pipeline.check_by_curve("the run keeps none. Process it again with --save-curves")
        companion = Companion.of_run(self.path, self.description)
        if companion is not None:
            companion.complete([given])
        return Runtime(self.description["backend"], 1, pipeline).run([given])[0]


def _number_or_word(value: float | str | None, is_text: bool) -> float | str:
    if value is None:
        return "" if is_text else float("nan")
    return value


def _peak(line: dict[str, Any]) -> Peak:
    words = ("id", "status", "remarks", "kind", "bragg")
    numbers = {name: value for name, value in line.items() if name not in words}
    return Peak(
        status=FitStatus[line["status"].upper()],
        remarks=PeakRemarks.parse(line["remarks"]),
        kind=LineKind[line["kind"].upper()],
        **numbers,
    )


def _phase(line: dict[str, Any]) -> PhaseMatch:
    kept: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else np.nan if value is None else value
        for name, value in line.items()
        if name not in ("id", "partner", "partner_lattice")
    }
    return PhaseMatch(**kept)
