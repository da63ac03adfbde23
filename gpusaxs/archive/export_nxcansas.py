"""Reduced curves as NXcanSAS: an entry each, with the processing and what was found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa

from gpusaxs.archive.directory import Json
from gpusaxs.archive.reduced import Line, ReducedBlock, ReducedCurve
from gpusaxs.io.nxcansas_entry import NewFile, begin_data, begin_entry, put_metadata, put_text
from gpusaxs.tables import PEAKS, PHASE_ROWS, origin_of
from gpusaxs.units import TO_INVERSE_NM, QUnit

DESCRIPTION = "measured intensity minus background; SASdata/background is what was subtracted"

_TEXT = h5py.string_dtype()
_Q = "1/nm"
_UNITS = {
    "q": _Q, "q_sigma": _Q, "fwhm": _Q, "fwhm_sigma": _Q, "lattice": "nm", "lattice_sigma": "nm",
    "d_spacing": "nm", "partner_lattice": "nm", "offset": _Q, "offset_sigma": _Q,
}  # fmt: skip
_ANSWER = (
    "verdict", "phase", "lattice", "lattice_sigma", "d_spacing", "score", "probability", "margin",
    "status",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Processing:
    """What was done to the curves of a run.

    Parameters
    ----------
    version
        Of gpusaxs.
    date
        When the run began.
    pipeline
        Its stages and all their parameters, as JSON.
    numbers
        What the numbers are that stages left, by the names of their columns.
    """

    version: str
    date: str
    pipeline: str
    numbers: Mapping[str, Json]

    @classmethod
    def of(cls, description: Json) -> Processing:
        """Take it from what `run.json` says."""
        document = json.dumps(description["pipeline"], indent=2, sort_keys=True)
        numbers = description.get("numbers", {})
        return cls(description["versions"]["gpusaxs"], description["started"], document, numbers)


class NXcanSASFile(NewFile):
    """Writes a file with an entry a curve; there whole or not at all. A context manager.

    Parameters
    ----------
    q_unit
        In which q is written: the values are exact in 1/nm.

    Attributes
    ----------
    files
        One.
    """

    def __init__(self, path: Path, processing: Processing, q_unit: QUnit) -> None:
        self.files = 1
        super().__init__(path)
        self._processing = processing
        self._q_unit = q_unit
        self._process: h5py.Group | None = None
        self._curves = 0

    def write(self, block: ReducedBlock) -> None:
        """Write the curves of a block."""
        for curve in block:
            self.add(curve)

    def add(self, curve: ReducedCurve) -> None:
        """Write a curve as the next entry."""
        self._curves += 1
        row = curve.row
        entry = begin_entry(self.file, f"sasentry{self._curves:06d}", row["id"])
        put_metadata(entry, {"title": row["id"], **origin_of(row).metadata})
        self._put_curve(entry, curve)
        self._put_process(entry)
        _put_answer(entry, row)
        _put_numbers(entry, row, self._processing.numbers)
        _put_table(entry, "peaks", curve.peaks, PEAKS)
        _put_table(entry, "phases", curve.phases, PHASE_ROWS)
        self.check()

    def _put_curve(self, entry: h5py.Group, curve: ReducedCurve) -> None:
        data = begin_data(entry, ["Q"])
        q = data.create_dataset("Q", data=curve.q / TO_INVERSE_NM[self._q_unit])
        q.attrs["units"] = self._q_unit
        intensity = data.create_dataset("I", data=curve.intensity)
        intensity.attrs.update({"units": "arbitrary", "uncertainties": "Idev"})
        for name, values in (("Idev", curve.sigma), ("background", curve.background)):
            data.create_dataset(name, data=values).attrs["units"] = "arbitrary"

    def _put_process(self, entry: h5py.Group) -> None:
        """Say what was done: the same group for all entries, by hard links."""
        if self._process is not None:
            entry["sasprocess"] = self._process
            return
        done = self._processing
        group = entry.create_group("sasprocess")
        group.attrs.update({"NX_class": "NXprocess", "canSAS_class": "SASprocess"})
        for name, text in (
            ("name", "gpusaxs"),
            ("program", "gpusaxs"),
            ("version", done.version),
            ("date", done.date),
            ("description", DESCRIPTION),
        ):
            put_text(group, name, text)
        note = group.create_group("pipeline")
        note.attrs["NX_class"] = "NXnote"
        put_text(note, "type", "application/json")
        put_text(note, "description", "the stages of the pipeline, and all their parameters")
        put_text(note, "data", done.pipeline)
        self._process = group


def _put_answer(entry: h5py.Group, row: Mapping[str, Any]) -> None:
    """Write what the curve turned out to be."""
    group = _collection(entry, "answer")
    for name in _ANSWER:
        value = row[name]
        if isinstance(value, str):
            put_text(group, name, value)
        elif value is not None:
            _with_unit(group.create_dataset(name, data=float(value)), name)


def _put_numbers(entry: h5py.Group, row: Mapping[str, Any], numbers: Mapping[str, Json]) -> None:
    """Write what stages found beside peaks and phases, as ``STAGE.NAME``."""
    known = {column: row[column] for column in numbers if row[column] is not None}
    if not known:
        return
    group = _collection(entry, "numbers")
    for column, value in known.items():
        if isinstance(value, str):
            put_text(group, column, value)
        else:
            dataset = group.create_dataset(column, data=float(value))
            if numbers[column]["unit"]:
                dataset.attrs["units"] = numbers[column]["unit"]


def _put_table(entry: h5py.Group, name: str, rows: Sequence[Line], schema: pa.Schema) -> None:
    """Write rows as a collection of columns; lists of reflections as words."""
    if not rows:
        return
    group = _collection(entry, name)
    for column in schema:
        if column.name == "id":
            continue
        values = [row[column.name] for row in rows]
        if pa.types.is_list(column.type):
            values = [" ".join(map(str, value)) for value in values]
            group.create_dataset(column.name, data=values, dtype=_TEXT)
        elif pa.types.is_dictionary(column.type):
            words = ["" if value is None else value for value in values]
            group.create_dataset(column.name, data=words, dtype=_TEXT)
        else:
            kind = column.type.to_pandas_dtype()
            dataset = group.create_dataset(column.name, data=np.array(values, kind))
            _with_unit(dataset, column.name)


def _with_unit(dataset: h5py.Dataset, name: str) -> None:
    if name in _UNITS:
        dataset.attrs["units"] = _UNITS[name]


def _collection(entry: h5py.Group, name: str) -> h5py.Group:
    group = entry.create_group(name)
    group.attrs["NX_class"] = "NXcollection"
    return group
