"""Write the reduced curves of a run, with what was found in them, for other programs."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv

import gpusaxs
from gpusaxs.archive.directory import Json, read_description, read_records
from gpusaxs.archive.export_nxcansas import NXcanSASFile, Processing
from gpusaxs.archive.opened import open_run
from gpusaxs.archive.reduced import ReducedBlock, ReducedCurve, reduced_blocks
from gpusaxs.errors import OutputInTheWayError
from gpusaxs.metadata import FIELDS
from gpusaxs.tables import origin_of
from gpusaxs.units import TO_INVERSE_NM, QUnit, check_q_unit, find_q_unit

Format = Literal["nxcansas", "csv", "ascii"]

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf", ".nxs", ".nx5", ".he5")
"""A target of the format nxcansas that ends like this is one file of all curves."""

_LONGEST_NAME = 150
_UNSAFE = re.compile(r"[^\w.+=,@ -]")
_EXTENSION = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")
# Names that are devices on one system or another.
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
_CSV_COLUMNS = ("q", "intensity", "sigma", "background")


@dataclass(slots=True)
class Exported:
    """What was written.

    Attributes
    ----------
    curves
        Reduced curves.
    left_out
        Curves of the run that have failed, and so have no reduced curve.
    files
        How many files hold them.
    complete
        Whether the run had come to its end.
    """

    curves: int = 0
    left_out: int = 0
    files: int = 0
    complete: bool = True


class _Writer(Protocol):
    """Takes blocks, one after another."""

    files: int

    def write(self, block: ReducedBlock) -> None:
        """Write the curves of a block."""


def export_run(
    run: str | Path,
    target: str | Path,
    form: Format,
    *,
    q_unit: str | None = None,
    backend: str | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda curves, of: None,
) -> Exported:
    """Write the reduced curves of a run: the measured intensity minus the background.

    Parameters
    ----------
    target
        ``"ascii"`` and ``"nxcansas"`` make a folder with a file a curve, ``"nxcansas"`` one file
        with an entry a curve where the target ends as in `HDF5_SUFFIXES`, and ``"csv"`` a folder
        with samples.csv, peaks.csv, phases.csv and curves.csv. It is there whole or not at all.
    q_unit
        In which q is written; by default 1/angstrom in text, which programs take it for, and the
        exact 1/nm in NXcanSAS, which states it. csv has 1/nm, as the tables.
    backend
        Where curves that the run does not keep are computed again; by default that of the run.
    overwrite
        Whether an older file is replaced, or files are added to a folder that holds some; those
        of the same names are replaced.
    progress
        Called with the curves that are written, and those of the run.

    Raises
    ------
    RunDirectoryError
        If there is no run, it is damaged, or inputs that are needed have changed.
    OutputInTheWayError
        If something is at the target already.
    ValueError
        If the unit is none, or the format has another.
    """
    path, place = Path(run), Path(target)
    unit = _unit(form, q_unit)
    description = read_description(path)
    one_file = form == "nxcansas" and place.suffix.lower() in HDF5_SUFFIXES
    _check_way(place, one_file=one_file, overwrite=overwrite)
    of = sum(record.curves for record in read_records(path, description))
    found = Exported(complete=description["state"] == "complete")

    def write_all(writer: _Writer) -> None:
        for block in reduced_blocks(path, backend):
            writer.write(block)
            found.curves += block.curves.num_rows
            found.left_out += block.samples.num_rows - block.curves.num_rows
            progress(found.curves, of)
        found.files = writer.files

    if one_file:
        with NXcanSASFile(place, Processing.of(description), unit) as file:
            write_all(file)
        return found
    with _new_folder(place) as folder:
        if form == "csv":
            open_run(path).write_csv(folder)
            with _Csv(folder) as rows:
                write_all(rows)
        elif form == "ascii":
            write_all(_AsciiFiles(folder, description, unit))
        else:
            write_all(_NXcanSASFiles(folder, Processing.of(description), unit))
    return found


def _unit(form: Format, given: str | None) -> QUnit:
    if form not in ("nxcansas", "csv", "ascii"):
        raise ValueError(f"Expected the format nxcansas, csv or ascii. Got {form!r}.")
    if given is None:
        return "1/angstrom" if form == "ascii" else "1/nm"
    unit = check_q_unit(given)
    if form == "csv" and unit != "1/nm":
        raise ValueError(f"Expected csv with q in 1/nm, as in all tables. Got {given!r}.")
    return unit


def _check_way(place: Path, *, one_file: bool, overwrite: bool) -> None:
    if not os.path.lexists(place):
        return
    if place.is_dir() == one_file:
        raise OutputInTheWayError(
            f"{place} is {'a folder' if one_file else 'no folder'}. Give --output another place."
        )
    if not overwrite and (one_file or any(place.iterdir())):
        raise OutputInTheWayError(
            f"{place} {'exists' if one_file else 'holds files'} already. Give --output another "
            "place, or --overwrite to replace files."
        )


@contextmanager
def _new_folder(place: Path) -> Iterator[Path]:
    """Folder beside a place, whose files are put there at the end, or nowhere."""
    absolute = Path(os.path.abspath(place))
    absolute.parent.mkdir(parents=True, exist_ok=True)
    beside = absolute.with_name(f".{absolute.name}.{os.getpid()}.part")
    beside.mkdir()
    try:
        yield beside
        if not absolute.exists():
            beside.rename(absolute)
            return
        for file in beside.iterdir():
            os.replace(file, absolute / file.name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


class SafeNames:
    """Names of files for curves: one each, in no other folder, and valid on every system."""

    def __init__(self, suffix: str) -> None:
        self._suffix = suffix
        self._used: set[str] = set()
        self._tried: Counter[str] = Counter()

    def __call__(self, curve_id: str) -> str:
        """Return the name for an id such as ``"archive/a.dat#3"``: ``"archive_a_3.dat"``."""
        stem, mark, frame = curve_id.rpartition("#")
        if not (mark and frame.isdecimal()):
            stem, frame = curve_id, ""
        stem = _EXTENSION.sub("", stem) + (f"_{frame}" if frame else "")
        stem = _UNSAFE.sub("_", stem).strip(" .") or "curve"
        if _RESERVED.fullmatch(stem):
            stem = f"_{stem}"
        stem = stem.encode()[:_LONGEST_NAME].decode(errors="ignore").rstrip(" .")
        name = stem
        # Some systems take names that differ by case alone for the same.
        while name.casefold() in self._used:
            self._tried[stem] += 1
            name = f"{stem}_{self._tried[stem] + 1}"
        self._used.add(name.casefold())
        return name + self._suffix


class _NXcanSASFiles:
    """A file a curve."""

    def __init__(self, folder: Path, processing: Processing, unit: QUnit) -> None:
        self.files = 0
        self._folder = folder
        self._processing = processing
        self._unit = unit
        self._names = SafeNames(".h5")

    def write(self, block: ReducedBlock) -> None:
        """Write the curves of a block."""
        for curve in block:
            path = self._folder / self._names(curve.row["id"])
            with NXcanSASFile(path, self._processing, self._unit) as file:
                file.add(curve)
            self.files += 1


class _AsciiFiles:
    """A text file a curve: lines with ``#``, then q, intensity and sigma."""

    def __init__(self, folder: Path, description: Json, unit: QUnit) -> None:
        self.files = 0
        self._folder = folder
        self._pipeline = description["pipeline"]["name"]
        self._unit = unit
        self._names = SafeNames(".dat")

    def write(self, block: ReducedBlock) -> None:
        """Write the curves of a block."""
        for curve in block:
            path = self._folder / self._names(curve.row["id"])
            path.write_text(self._header(curve) + self._numbers(curve), "utf-8", newline="\n")
            self.files += 1

    def _header(self, curve: ReducedCurve) -> str:
        of_curve = "".join(f"# {line}\n" for line in _in_words(curve))
        fixed = (
            f"# gpusaxs {gpusaxs.__version__}, pipeline {self._pipeline}: measured intensity minus "
            f"background\n# q unit: {self._unit}\n# q intensity sigma\n"
        )
        # An id or a title may say something of a unit as well; the numbers are in this one.
        header = of_curve + fixed
        return header if find_q_unit(header) == self._unit else fixed

    def _numbers(self, curve: ReducedCurve) -> str:
        q = curve.q / TO_INVERSE_NM[self._unit]
        table = np.column_stack([q, curve.intensity, curve.sigma])
        return "%.16E %.16E %.16E\n" * len(q) % tuple(table.ravel().tolist())


def _in_words(curve: ReducedCurve) -> Iterable[str]:
    """Yield what is known of a curve, a line each."""
    row = curve.row
    yield f"curve: {_one_line(row['id'])}"
    for name, value in origin_of(row).metadata.items():
        yield f"{name}: {FIELDS[name].with_unit(_one_line(str(value)))}"
    yield f"verdict: {row['verdict']}"
    if row["phase"] is not None:
        yield f"phase: {row['phase']}"
    if row["lattice"] is not None:
        yield f"lattice: {row['lattice']:.6g} +- {row['lattice_sigma'] or np.nan:.2g} nm"


def _one_line(text: str) -> str:
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())


class _Csv:
    """curves.csv: a row a point."""

    def __init__(self, folder: Path) -> None:
        self.files = 4
        kinds = [("id", pa.string()), *((name, pa.float64()) for name in _CSV_COLUMNS)]
        self._schema = pa.schema(kinds)
        self._writer = pyarrow.csv.CSVWriter(folder / "curves.csv", self._schema)

    def __enter__(self) -> _Csv:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, block: ReducedBlock) -> None:
        """Write the curves of a block."""
        for part in block.curves.combine_chunks().to_batches():
            curve = pa.compute.list_parent_indices(part["q"])
            columns = [part["id"].take(curve), *(part[name].flatten() for name in _CSV_COLUMNS)]
            self._writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=self._schema))
