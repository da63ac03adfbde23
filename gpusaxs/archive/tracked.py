"""A run's series: tracked, kept in the run directory, and the curves for a picture of it."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gpusaxs.archive.directory import (
    Json,
    encoded,
    put,
    read_description,
    read_input_table,
    read_records,
    read_table,
)
from gpusaxs.archive.fingerprints import sha256
from gpusaxs.archive.opened import open_run
from gpusaxs.archive.plan import ListedFile
from gpusaxs.archive.reading import read_frames
from gpusaxs.coordinates import Coordinate
from gpusaxs.errors import RunDirectoryError
from gpusaxs.sample import Sample, Verdict
from gpusaxs.series import SCHEMAS, Series
from gpusaxs.tracking import track

FOLDER = "series"
"""Where a run directory keeps its series."""

DEFINITION = "series.json"

_LISTED = ("id", "path", "size", "mtime_ns")
_NEAR = 64


def track_run(
    run: str | Path, along: str, by: str | None = None, *, from_name: str | None = None
) -> Series:
    """Track the series of a run, and keep what comes of it in the run directory.

    It is there instead of what was tracked before. The tables of the run stay as they are, and so
    do their hashes.

    Parameters
    ----------
    along, by, from_name
        See `gpusaxs.track`.

    Raises
    ------
    RunDirectoryError
        If there is no run, or it did not come to its end.
    GpusaxsError
        If there is no such column, or the pattern fits no name.
    """
    path = Path(run)
    if read_description(path)["state"] != "complete":
        raise RunDirectoryError(
            f"The run {path} did not come to its end: its series would end anywhere. Go on with "
            "it with --resume."
        )
    series = track(open_run(path), along, by, from_name=from_name)
    folder = path / FOLDER
    folder.mkdir(exist_ok=True)
    # What has a definition is whole.
    (folder / DEFINITION).unlink(missing_ok=True)
    for name in SCHEMAS:
        put(folder / f"{name}.parquet", encoded(getattr(series, name)))
    definition: Json = {
        "along": asdict(series.along),
        "by": None if series.by is None else asdict(series.by),
        "from_name": from_name,
        "left_out": series.left_out,
        "of": _fingerprint(path),
    }
    put(folder / DEFINITION, (json.dumps(definition, indent=2, sort_keys=True) + "\n").encode())
    return series


def open_series(run: str | Path) -> Series:
    """Open the series that was tracked last in a run.

    Raises
    ------
    RunDirectoryError
        If there is none, it is damaged, or the run is not what it was when it was tracked.
    """
    path = Path(run)
    folder = path / FOLDER
    fingerprint = _fingerprint(path)
    remedy = f"Track one with: gpusaxs series {path} COLUMN"
    if not (folder / DEFINITION).is_file():
        raise RunDirectoryError(f"Expected a series in the run {path}. Got none. {remedy}")
    try:
        definition: Json = json.loads((folder / DEFINITION).read_text("utf-8"))
        tables = {name: pq.read_table(folder / f"{name}.parquet") for name in SCHEMAS}
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RunDirectoryError(f"Cannot read the series of {path}: {error}. {remedy}") from error
    if definition["of"] != fingerprint:
        raise RunDirectoryError(
            f"The run {path} is not what it was when its series was tracked. {remedy}"
        )
    by = definition["by"]
    return Series(
        Coordinate(**definition["along"]),
        None if by is None else Coordinate(**by),
        **tables,
        left_out=definition["left_out"],
    )


def _fingerprint(path: Path) -> str:
    """Hash of the parts of the tables of which a series is made."""
    records = read_records(path, read_description(path))
    parts = [
        record.parts.get(name, "") for record in records for name in ("samples", "peaks", "phases")
    ]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def curves_to_draw(run: str | Path, ids: Sequence[str]) -> list[Sample]:
    """Return curves of a run in the order of their ids: reduced if it keeps them, else as measured.

    Curves that have failed are left out. A measured curve has no ``background``.

    Raises
    ------
    RunDirectoryError
        If an input is needed and is gone or has changed.
    """
    path = Path(run)
    wanted = pc.field("id").isin(pa.array(ids, pa.string()))
    if read_description(path)["save_curves"]:
        rows = read_table(path, "curves", wanted).to_pylist()
        found = [
            Sample(
                row["id"],
                np.array(row["q"]),
                np.array(row["intensity"]),
                np.array(row["sigma"]),
                background=np.array(row["background"]),
            )
            for row in rows
        ]
    else:
        found = _measured(path, read_table(path, "samples", wanted))
    place = {curve_id: number for number, curve_id in enumerate(ids)}
    return sorted(found, key=lambda sample: place[sample.id])


def _measured(path: Path, samples: pa.Table) -> list[Sample]:
    """Read curves from the inputs of a run, each file once."""
    description = read_description(path)
    usable = samples.filter(pc.field("verdict") != Verdict.FAILED.value)
    frames = defaultdict(list)
    for row in usable.select(["id", "source", "frame"]).to_pylist():
        frames[row["source"]].append((row["frame"], row["id"]))
    inputs = read_input_table(path).filter(pc.field("path").isin(list(frames)))
    known = {file["path"]: file for file in inputs.to_pylist()}
    changed = [source for source in frames if sha256(source) != known[source]["sha256"]]
    if changed:
        raise RunDirectoryError(
            f"{len(changed):,} inputs of {path} are gone or have changed since the run, the first "
            f"is {changed[0]}. Process them again, keep curves in the run with --save-curves, or "
            "draw the map with --without-curves."
        )
    found = []
    for source, curves in frames.items():
        file = ListedFile(**{name: known[source][name] for name in _LISTED})
        wanted = {curve_id for _, curve_id in curves}
        numbers = None if wanted == {file.id} else np.array(sorted(frame for frame, _ in curves))
        for piece in _pieces(numbers):
            read = read_frames(file, description["q_unit"], piece)
            found += [entry for entry in read if isinstance(entry, Sample) and entry.id in wanted]
    return found


def _pieces(frames: NDArray[np.int64] | None) -> list[range | None]:
    """Parts of a file in which no wanted frame is far from the next; None for a whole file."""
    if frames is None:
        return [None]
    parts = np.split(frames, np.flatnonzero(np.diff(frames) > _NEAR) + 1)
    return [range(int(part[0]), int(part[-1]) + 1) for part in parts]
