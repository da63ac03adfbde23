"""The run directory: `run.json`, and Parquet parts of samples, peaks, phases and curves."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from gpusaxs.errors import RunDirectoryError
from gpusaxs.sample import Sample
from gpusaxs.tables import PEAKS, PHASE_ROWS, SAMPLES, Tables

DESCRIPTION = "run.json"
_ROW = pa.list_(pa.float64())
CURVES = pa.schema(
    [
        ("id", pa.string()),
        ("q", _ROW),
        ("intensity", _ROW),
        ("sigma", _ROW),
        ("background", _ROW),
    ]
)
"""One row a reduced curve: q in 1/nm, the rest in the curve's own unit. intensity is what is
left of the measured one after the background."""

SCHEMAS = {"samples": SAMPLES, "peaks": PEAKS, "phases": PHASE_ROWS, "curves": CURVES}


class RunWriter:
    """Writes a run directory, one part a block; a part is there whole or not at all.

    Raises
    ------
    RunDirectoryError
        If something is in the way: a run without `overwrite`, or a folder that is no run.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        if path.exists():
            _make_way(path, overwrite)
        self.path = path
        self._blocks = 0
        try:
            for name in ("samples", "peaks", "phases"):
                (path / name).mkdir(parents=True)
        except OSError as error:
            raise RunDirectoryError(f"Cannot make the run directory {path}: {error}") from error

    def describe(self, description: Mapping[str, Any]) -> None:
        """Write `run.json`."""
        text = json.dumps(description, indent=2, sort_keys=True) + "\n"
        _put(self.path / DESCRIPTION, lambda aside: aside.write_text(text, "utf-8"))

    def write(self, tables: Tables, curves: list[Sample] | None = None) -> None:
        """Write the tables of a block, and its reduced curves if there are any."""
        parts = {"samples": tables.samples, "peaks": tables.peaks, "phases": tables.phases}
        if curves is not None:
            (self.path / "curves").mkdir(exist_ok=True)
            parts["curves"] = curve_table(curves)
        for name, rows in parts.items():
            part = self.path / name / f"part-{self._blocks:06d}.parquet"
            _put(part, lambda aside, rows=rows: pq.write_table(rows, aside, compression="zstd"))
        self._blocks += 1


def curve_table(samples: list[Sample]) -> pa.Table:
    """Return reduced curves as a table of `CURVES`."""
    columns = {
        "id": [sample.id for sample in samples],
        **{
            name: [getattr(sample, name) for sample in samples]
            for name in ("q", "intensity", "sigma", "background")
        },
    }
    return pa.Table.from_pydict(columns, schema=CURVES)


def read_description(path: Path) -> dict[str, Any]:
    """Read `run.json`.

    Raises
    ------
    RunDirectoryError
        If the folder is no run directory.
    """
    try:
        found: dict[str, Any] = json.loads((path / DESCRIPTION).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirectoryError(
            f"Expected a run directory with a {DESCRIPTION} at {path}. Got: {error}. "
            "Make one with: gpusaxs process INPUT --output RUN"
        ) from error
    return found


def read_table(path: Path, name: str, where: ds.Expression | None = None) -> pa.Table:
    """Read all parts of a table of a run directory, in order; or the rows that meet `where`.

    Raises
    ------
    RunDirectoryError
        If a part is missing or damaged.
    """
    parts = sorted((path / name).glob("part-*.parquet"))
    try:
        return ds.dataset(parts, schema=SCHEMAS[name], format="parquet").to_table(filter=where)
    except (OSError, pa.ArrowException) as error:
        raise RunDirectoryError(f"Cannot read the table {name} of {path}: {error}") from error


def _put(target: Path, write: Any) -> None:
    """Write a file beside its place and rename it into place."""
    aside = target.with_name(f".{target.name}.part")
    write(aside)
    os.replace(aside, target)


def _make_way(path: Path, overwrite: bool) -> None:
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()
        return
    if not (path / DESCRIPTION).is_file():
        raise RunDirectoryError(
            f"{path} exists and is no run directory. Give --output another place."
        )
    if not overwrite:
        raise RunDirectoryError(
            f"{path} holds a run already. Give --output another place, or --overwrite to replace "
            "the run."
        )
    shutil.rmtree(path)
