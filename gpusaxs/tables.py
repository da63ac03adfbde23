"""The three tables in which results live: samples, peaks and phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpusaxs.batch import FITTED_COLUMNS, SampleBatch, reflections
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels.status import FAILURES
from gpusaxs.metadata import FIELDS, META, MetadataField
from gpusaxs.numbers import NO_NUMBERS, Number, NumberColumns
from gpusaxs.phases import PHASES
from gpusaxs.sample import CurveStatus, FitStatus, Origin, Verdict

_TEXT = pa.dictionary(pa.int32(), pa.string())
_NUMBERS = pa.list_(pa.int32())


def _type_of(field: MetadataField) -> pa.DataType:
    if not field.is_text:
        return pa.float64()
    # No two curves are measured at the same time.
    return pa.string() if field.name == "time" else _TEXT


SAMPLES = pa.schema(
    [
        ("id", pa.string()),
        ("status", _TEXT),
        ("verdict", _TEXT),
        ("phase", _TEXT),
        ("lattice", pa.float64()),
        ("lattice_sigma", pa.float64()),
        ("score", pa.float64()),
        ("margin", pa.float64()),
        ("n_peaks", pa.int32()),
        ("n_bragg", pa.int32()),
        ("d_spacing", pa.float64()),
        ("reason", pa.string()),
        ("points", pa.int32()),
        ("q_min", pa.float64()),
        ("q_max", pa.float64()),
        ("source", _TEXT),
        ("frame", pa.int32()),
        ("format", _TEXT),
        ("q_unit", _TEXT),
        ("q_unit_from", _TEXT),
        *((f"{META}{name}", _type_of(field)) for name, field in FIELDS.items()),
    ]
)
"""One row a curve. lattice, its sigma and d_spacing (2 pi / q of the strongest Bragg line) in nm,
q in 1/nm; q_unit is the unit of the source. What the source says beside its numbers stands in
columns ``meta.NAME``, in the units of `gpusaxs.metadata.FIELDS`. Null where there is no answer.
Behind these stand the numbers that stages leave: see `samples_schema`."""

_FITTED = FITTED_COLUMNS | {"prominence": table.PROMINENCE, "value": table.VALUE}

PEAKS = pa.schema(
    [
        ("id", pa.string()),
        ("index", pa.int32()),
        *((name, pa.float64()) for name in _FITTED),
        ("bragg", pa.bool_()),
        ("status", _TEXT),
    ]
)
"""One row a peak, in the order in which they were found: see `gpusaxs.sample.Peak`."""

PHASE_ROWS = pa.schema(
    [
        ("id", pa.string()),
        ("phase", _TEXT),
        ("lattice", pa.float64()),
        ("lattice_sigma", pa.float64()),
        ("score", pa.float64()),
        ("matched", _NUMBERS),
        ("missing", _NUMBERS),
    ]
)
"""One row a phase of a curve: the one identified, or the candidates of an ambiguous curve, best
first. matched and missing name reflections by their n."""


def number_field(column: str, *, is_text: bool) -> pa.Field:
    """Return the field of a number in the table of samples."""
    return pa.field(column, _TEXT if is_text else pa.float64())


def samples_schema(numbers: NumberColumns) -> pa.Schema:
    """Columns of the table of samples with the numbers of stages: ``STAGE.NAME``."""
    fields = [
        number_field(f"{stage}.{number.name}", is_text=bool(number.words))
        for stage, found in numbers.items()
        for number in found
    ]
    return pa.schema([*SAMPLES, *fields])


@dataclass(frozen=True, slots=True)
class Tables:
    """samples, peaks and phases of some curves."""

    samples: pa.Table
    peaks: pa.Table
    phases: pa.Table

    @classmethod
    def concatenate(cls, parts: Sequence[Tables], numbers: NumberColumns = NO_NUMBERS) -> Tables:
        """Stack the tables of several blocks, in order; `numbers` are those of no block."""
        if not parts:
            samples = samples_schema(numbers).empty_table()
            return cls(samples, PEAKS.empty_table(), PHASE_ROWS.empty_table())
        return cls(
            pa.concat_tables([part.samples for part in parts]).unify_dictionaries(),
            pa.concat_tables([part.peaks for part in parts]).unify_dictionaries(),
            pa.concat_tables([part.phases for part in parts]).unify_dictionaries(),
        )


def tables_of(batch: SampleBatch, origins: Sequence[Origin]) -> Tables:
    """Return the tables of a processed batch; `origins` says where each curve came from."""
    host = {name: batch.backend.to_host(getattr(batch, name)) for name in _ARRAYS}
    numbers = {stage: batch.backend.to_host(found) for stage, found in batch.numbers.items()}
    failed = (host["status"] & FAILURES) != 0
    n_peaks = np.where(failed, 0, host["n_peaks"])
    n_phases = np.where(failed, 0, host["n_phases"])
    return Tables(
        _with_numbers(
            _samples(batch, host, failed, origins), batch.number_columns, numbers, failed
        ),
        _peaks(batch.ids, host["peaks"], n_peaks),
        _phases(batch.ids, host["phases"], n_phases),
    )


class Unread(NamedTuple):
    """A curve that could not be read, or a file none of whose curves could."""

    id: str
    source: str
    frame: int
    reason: str


def unread(curves: Sequence[Unread], numbers: NumberColumns = NO_NUMBERS) -> Tables:
    """Return the tables of curves that could not be read; `numbers` are those of the others."""
    same = {
        "status": CurveStatus.UNREADABLE.label,
        "verdict": Verdict.FAILED.value,
        "n_peaks": 0,
        "n_bragg": 0,
    }
    rows = [dict.fromkeys(SAMPLES.names) | same | curve._asdict() for curve in curves]
    samples = without_numbers(pa.Table.from_pylist(rows, schema=SAMPLES), numbers)
    return Tables(samples, PEAKS.empty_table(), PHASE_ROWS.empty_table())


def without_numbers(samples: pa.Table, numbers: NumberColumns) -> pa.Table:
    """Return rows of curves that have failed with columns for the numbers of the others."""
    for column in samples_schema(numbers):
        if column.name not in samples.column_names:
            samples = samples.append_column(column, pa.nulls(samples.num_rows, column.type))
    return samples


def _with_numbers(
    samples: pa.Table,
    columns: NumberColumns,
    numbers: Mapping[str, NDArray[np.float64]],
    failed: NDArray[np.bool_],
) -> pa.Table:
    for stage, found in columns.items():
        for place, number in enumerate(found):
            field = number_field(f"{stage}.{number.name}", is_text=bool(number.words))
            values = numbers[stage][:, place]
            samples = samples.append_column(field, _number(number, values, failed))
    return samples


def _number(number: Number, values: NDArray[np.float64], failed: NDArray[np.bool_]) -> pa.Array:
    unknown = failed | ~np.isfinite(values)
    if not number.words:
        return pa.array(values, mask=unknown)
    return _words(np.where(unknown, 0, values), list(number.words), unknown)


_ARRAYS = (
    "q", "start", "stop", "status", "peaks", "n_peaks", "phases", "n_phases", "verdict", "margin",
)  # fmt: skip
# In the order of the kernel's VERDICT_ codes.
_VERDICTS = (Verdict.NONE, Verdict.UNINDEXED, Verdict.AMBIGUOUS, Verdict.IDENTIFIED)


def _words(
    which: NDArray[np.int64], words: list[str], null: NDArray[np.bool_] | None = None
) -> pa.DictionaryArray:
    """Return ``words[which]`` as a column, null where `null` says so."""
    return pa.DictionaryArray.from_arrays(pa.array(which.astype(np.int32), mask=null), words)


def _column(values: Any, kind: pa.DataType) -> pa.Array:
    column = values if isinstance(values, pa.Array) else pa.array(values)
    return column if column.type == kind else column.cast(kind)


def _samples(
    batch: SampleBatch,
    host: dict[str, NDArray[Any]],
    failed: NDArray[np.bool_],
    origins: Sequence[Origin],
) -> pa.Table:
    curves = np.arange(len(batch))
    kind = np.where(failed, len(_VERDICTS), host["verdict"])
    identified = ~failed & (host["verdict"] == table.VERDICT_IDENTIFIED)
    best = host["phases"][:, 0, :]
    number = np.where(identified, best[:, table.PHASE], 0).astype(np.int64)
    used = np.arange(batch.max_peaks) < host["n_peaks"][:, np.newaxis]
    bragg = used & (host["peaks"][:, :, table.BRAGG] == 1.0)
    height = np.where(bragg, host["peaks"][:, :, table.HEIGHT], -np.inf)
    strongest = host["peaks"][curves, height.argmax(axis=1), table.Q]
    first, last = host["start"], host["stop"] - 1
    some = last >= first
    q_row = np.where(host["q"].shape[0] > 1, curves, 0)
    codes, which = np.unique(host["status"], return_inverse=True)
    statuses = [CurveStatus(int(code)) for code in codes]
    words = [status.explanation or None for status in statuses]
    reasons = [batch.reasons.get(row, words[kind]) for row, kind in enumerate(which)]

    def number_or_null(values: NDArray[Any], known: NDArray[np.bool_]) -> pa.Array:
        return pa.array(values, mask=~(known & np.isfinite(values)))

    columns = {
        "id": pa.array(batch.ids, pa.string()),
        "status": _words(which, [status.label for status in statuses]),
        "verdict": _words(kind, [*map(str, _VERDICTS), str(Verdict.FAILED)]),
        "phase": _words(number, [phase.name for phase in PHASES], ~identified),
        "lattice": number_or_null(best[:, table.LATTICE], identified),
        "lattice_sigma": number_or_null(best[:, table.LATTICE_SIGMA], identified),
        "score": number_or_null(best[:, table.SCORE], ~failed & (host["n_phases"] > 0)),
        "margin": number_or_null(host["margin"], ~failed),
        "n_peaks": np.where(failed, 0, host["n_peaks"]),
        "n_bragg": np.where(failed, 0, bragg.sum(axis=1)),
        "d_spacing": number_or_null(2.0 * np.pi / strongest, ~failed & bragg.any(axis=1)),
        "reason": pa.array(reasons, pa.string()),
        "points": np.maximum(last - first + 1, 0),
        "q_min": number_or_null(host["q"][q_row, np.minimum(first, last)], some),
        "q_max": number_or_null(host["q"][q_row, last], some),
        "source": [origin.source for origin in origins],
        "frame": np.array([origin.frame for origin in origins], np.int32),
        "format": [origin.format for origin in origins],
        "q_unit": [origin.q_unit for origin in origins],
        "q_unit_from": [origin.q_unit_from for origin in origins],
        **_metadata(origins),
    }
    arrays = [_column(columns[f.name], f.type) for f in SAMPLES]
    return pa.Table.from_arrays(arrays, schema=SAMPLES)


def _metadata(origins: Sequence[Origin]) -> dict[str, Any]:
    said = {name for origin in origins for name in origin.metadata}
    return {
        f"{META}{name}": [origin.metadata.get(name) for origin in origins]
        if name in said
        else pa.nulls(len(origins))
        for name in FIELDS
    }


ORIGIN = [
    "source",
    "frame",
    "q_unit",
    "q_unit_from",
    "format",
    *(f"{META}{name}" for name in FIELDS),
]
"""Columns of `SAMPLES` that say where a curve came from."""


def origin_of(row: Mapping[str, Any]) -> Origin:
    """Return where a curve came from, by its row of the table of samples."""
    said = {name: row[f"{META}{name}"] for name in FIELDS}
    return Origin(
        row["source"],
        row["frame"],
        row["q_unit"],
        row["q_unit_from"],
        row["format"],
        {name: value for name, value in said.items() if value is not None},
    )


def _peaks(ids: list[str], peaks: NDArray[np.float64], n_peaks: NDArray[np.int64]) -> pa.Table:
    curve, slot = np.nonzero(np.arange(peaks.shape[1]) < n_peaks[:, np.newaxis])
    lines = peaks[curve, slot]
    columns: dict[str, Any] = {
        "id": pa.array(np.array(ids, object)[curve], pa.string()),
        "index": lines[:, table.INDEX].astype(np.int32),
        **{name: lines[:, column] for name, column in _FITTED.items()},
        "bragg": lines[:, table.BRAGG] == 1.0,
        "status": _words(
            lines[:, table.STATUS].astype(np.int64), [status.label for status in FitStatus]
        ),
    }
    arrays = [_column(columns[f.name], f.type) for f in PEAKS]
    return pa.Table.from_arrays(arrays, schema=PEAKS)


def _phases(ids: list[str], phases: NDArray[np.float64], n_phases: NDArray[np.int64]) -> pa.Table:
    curve, rank = np.nonzero(np.arange(phases.shape[1]) < n_phases[:, np.newaxis])
    lines = phases[curve, rank]
    known = [PHASES[int(number)] for number in lines[:, table.PHASE]]

    def listed(column: int) -> pa.Array:
        return pa.array(
            [
                reflections(p.reflections, bits)
                for p, bits in zip(known, lines[:, column], strict=True)
            ],
            _NUMBERS,
        )

    columns: dict[str, Any] = {
        "id": pa.array(np.array(ids, object)[curve], pa.string()),
        "phase": pa.array([phase.name for phase in known], pa.string()),
        "lattice": lines[:, table.LATTICE],
        "lattice_sigma": lines[:, table.LATTICE_SIGMA],
        "score": lines[:, table.SCORE],
        "matched": listed(table.MATCHED),
        "missing": listed(table.MISSING),
    }
    arrays = [_column(columns[f.name], f.type) for f in PHASE_ROWS]
    return pa.Table.from_arrays(arrays, schema=PHASE_ROWS)
