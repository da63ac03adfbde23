"""The three tables in which results live: samples, peaks and phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gpusaxs.backends import IndexArray
from gpusaxs.batch import FITTED_COLUMNS, PHASE_NUMBERS, SampleBatch, bits_of, reflections
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels.status import FAILURES
from gpusaxs.metadata import FIELDS, META, MetadataField
from gpusaxs.numbers import NO_NUMBERS, Number, NumberColumns
from gpusaxs.phases import Numbered, bonnet_partner
from gpusaxs.sample import CurveStatus, FitStatus, LineKind, Origin, PeakRemarks, Verdict

_TEXT = pa.dictionary(pa.int32(), pa.string())
_NUMBERS = pa.list_(pa.int32())
_VALUES = pa.list_(pa.float64())


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
        ("probability", pa.float64()),
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
"""One row a curve. phase names all that are sure to coexist, as "Pn-3m + Im-3m"; lattice and its
sigma are those of the first, score and probability those of the best candidate. lattice, its sigma
and d_spacing (2 pi / q of the strongest Bragg line) in nm, q in 1/nm; q_unit is the unit of the
source. What the source says beside its numbers stands in columns ``meta.NAME``, in the units of
`gpusaxs.metadata.FIELDS`. Null where there is no answer. Behind
these stand the numbers that stages leave: see `samples_schema`."""

_FITTED = FITTED_COLUMNS | {"prominence": table.PROMINENCE, "value": table.VALUE}

PEAKS = pa.schema(
    [
        ("id", pa.string()),
        ("index", pa.int32()),
        *((name, pa.float64()) for name in _FITTED),
        ("bragg", pa.bool_()),
        ("kind", _TEXT),
        ("status", _TEXT),
        ("remarks", _TEXT),
    ]
)
"""One row a peak, in the order in which they were found: see `gpusaxs.sample.Peak`."""

PHASE_ROWS = pa.schema(
    [
        ("id", pa.string()),
        ("candidate", pa.int32()),
        ("phase", _TEXT),
        *((name, pa.float64()) for name in PHASE_NUMBERS),
        ("matched", _NUMBERS),
        ("matched_q", _VALUES),
        ("missing", _NUMBERS),
        ("missing_q", _VALUES),
        ("unexplained", _NUMBERS),
        ("partner", _TEXT),
        ("partner_lattice", pa.float64()),
    ]
)
"""One row a phase of a curve, the best candidate first; phases with the same candidate coexist.
Where a curve is identified, candidate 0 is what is named; others follow only where that is a part
of the best explanation: the candidates for the whole. See `gpusaxs.sample.PhaseMatch`; unexplained
counts as the peaks' index does, and partner is `gpusaxs.phases.bonnet_partner`."""


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
    host = _results(batch)
    numbers = {stage: batch.backend.to_host(found) for stage, found in batch.numbers.items()}
    failed = (host["status"] & FAILURES) != 0
    n_peaks = np.where(failed, 0, host["n_peaks"])
    n_phases = np.where(failed, 0, host["n_phases"])
    ids = pa.array(batch.ids, pa.string())
    return Tables(
        _with_numbers(
            _samples(batch, ids, host, failed, origins), batch.number_columns, numbers, failed
        ),
        _peaks(ids, host["peaks"], n_peaks),
        _phases(batch, ids, host, n_phases),
    )


def _results(batch: SampleBatch) -> dict[str, NDArray[Any]]:
    """Return what the tables are made of; of the peaks those in use, of q the two ends."""
    to_host = batch.backend.to_host
    host = {name: to_host(getattr(batch, name)) for name in _ARRAYS}
    host["peaks"] = to_host(batch.peaks[:, : host["n_peaks"].max(initial=1)])
    first, last = host["start"], host["stop"] - 1
    row = np.arange(len(batch)) if batch.q.shape[0] > 1 else np.zeros(len(batch), np.int64)
    host["q_min"] = to_host(batch.q[row, np.minimum(first, last)])
    host["q_max"] = to_host(batch.q[row, last])
    return host


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
    "start", "stop", "status", "n_peaks", "phases", "n_phases", "verdict", "margin",
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
    ids: pa.Array,
    host: dict[str, NDArray[Any]],
    failed: NDArray[np.bool_],
    origins: Sequence[Origin],
) -> pa.Table:
    curves = np.arange(len(batch))
    kind = np.where(failed, len(_VERDICTS), host["verdict"])
    identified = ~failed & (host["verdict"] == table.VERDICT_IDENTIFIED)
    best = host["phases"][:, 0, :]
    used = np.arange(host["peaks"].shape[1]) < host["n_peaks"][:, np.newaxis]
    bragg = used & (host["peaks"][:, :, table.BRAGG] == 1.0)
    height = np.where(bragg, host["peaks"][:, :, table.HEIGHT], -np.inf)
    strongest = host["peaks"][curves, height.argmax(axis=1), table.Q]
    first, last = host["start"], host["stop"] - 1
    some = last >= first
    codes, which = np.unique(host["status"], return_inverse=True)
    statuses = [CurveStatus(int(code)) for code in codes]
    words = [status.explanation or None for status in statuses]
    reasons = pa.array(words, pa.string()).take(pa.array(which))
    if batch.reasons:
        told = [batch.reasons.get(row) for row in range(len(batch))]
        reasons = pc.coalesce(pa.array(told, pa.string()), reasons)
    # Many curves come from one place: what is said of it is told once.
    places = dict(zip(map(id, origins), origins, strict=True))
    number = dict(zip(places, range(len(places)), strict=True))
    from_place = pa.array([number[place] for place in map(id, origins)], pa.int64())

    def number_or_null(values: NDArray[Any], known: NDArray[np.bool_]) -> pa.Array:
        return pa.array(values, mask=~(known & np.isfinite(values)))

    columns = {
        "id": ids,
        "status": _words(which, [status.label for status in statuses]),
        "verdict": _words(kind, [*map(str, _VERDICTS), str(Verdict.FAILED)]),
        "phase": _named(batch, host, identified),
        "lattice": number_or_null(best[:, table.LATTICE], identified),
        "lattice_sigma": number_or_null(best[:, table.LATTICE_SIGMA], identified),
        "score": number_or_null(best[:, table.SCORE], ~failed & (host["n_phases"] > 0)),
        "probability": number_or_null(best[:, table.PROBABILITY], ~failed & (host["n_phases"] > 0)),
        "margin": number_or_null(host["margin"], ~failed),
        "n_peaks": np.where(failed, 0, host["n_peaks"]),
        "n_bragg": np.where(failed, 0, bragg.sum(axis=1)),
        "d_spacing": number_or_null(2.0 * np.pi / strongest, ~failed & bragg.any(axis=1)),
        "reason": reasons,
        "points": np.maximum(last - first + 1, 0),
        "q_min": number_or_null(host["q_min"], some),
        "q_max": number_or_null(host["q_max"], some),
        **{
            name: _column(said, SAMPLES.field(name).type).take(from_place)
            for name, said in _told(list(places.values())).items()
        },
    }
    arrays = [_column(columns[f.name], f.type) for f in SAMPLES]
    return pa.Table.from_arrays(arrays, schema=SAMPLES)


def _named(
    batch: SampleBatch, host: dict[str, NDArray[Any]], identified: NDArray[np.bool_]
) -> pa.Array:
    """Return the names of the phases that each identified curve has, as one word."""
    in_use = np.arange(table.MAX_PHASES) < host["n_phases"][:, np.newaxis]
    together = in_use & (host["phases"][:, :, table.CANDIDATE] == 0.0)
    numbers = np.where(together, host["phases"][:, :, table.PHASE], -1.0).astype(np.int64)
    # One number a set, in the order of the sets: rows are sorted ten times as slowly.
    base = (len(batch.known) + 1) ** np.arange(table.MAX_PHASES)[::-1]
    _, first, which = np.unique((numbers + 1) @ base, return_index=True, return_inverse=True)
    sets = numbers[first]
    words = [" + ".join(batch.known[k].name for k in members if k >= 0) for members in sets]
    return _words(which, words, ~identified)


def _told(origins: Sequence[Origin]) -> dict[str, list[Any]]:
    """Return what is said of places where curves come from, as columns."""
    own = ("source", "frame", "format", "q_unit", "q_unit_from")
    return {name: [getattr(origin, name) for origin in origins] for name in own} | {
        f"{META}{name}": [origin.metadata.get(name) for origin in origins] for name in FIELDS
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


def _peaks(ids: pa.Array, peaks: NDArray[np.float64], n_peaks: NDArray[np.int64]) -> pa.Table:
    curve, slot = np.nonzero(np.arange(peaks.shape[1]) < n_peaks[:, np.newaxis])
    # A column of its own each: Arrow takes them as they are.
    found = np.ascontiguousarray(peaks[curve, slot].T)
    remarks = found[table.REMARKS].astype(np.int64)
    occurs = np.bincount(remarks) > 0
    columns: dict[str, Any] = {
        "id": ids.take(pa.array(curve)),
        "index": found[table.INDEX].astype(np.int32),
        **{name: found[column] for name, column in _FITTED.items()},
        "bragg": found[table.BRAGG] == LineKind.BRAGG,
        "kind": _words(found[table.BRAGG], [kind.label for kind in LineKind]),
        "status": _words(found[table.STATUS], [status.label for status in FitStatus]),
        "remarks": _words(
            (np.cumsum(occurs) - 1)[remarks],
            [PeakRemarks(int(code)).label for code in np.flatnonzero(occurs)],
        ),
    }
    arrays = [_column(columns[f.name], f.type) for f in PEAKS]
    return pa.Table.from_arrays(arrays, schema=PEAKS)


def _phases(
    batch: SampleBatch, ids: pa.Array, host: dict[str, NDArray[Any]], n_phases: IndexArray
) -> pa.Table:
    curve, rank = np.nonzero(np.arange(table.MAX_PHASES) < n_phases[:, np.newaxis])
    lines = host["phases"][curve, rank]
    which = lines[:, table.PHASE].astype(np.int64)
    numbered = Numbered.of(batch.known)
    matched = reflections(numbered, lines, table.MATCHED)
    missing = reflections(numbered, lines, table.MISSING)
    unexplained = bits_of(lines[:, table.UNEXPLAINED], host["peaks"].shape[1])
    others = host["peaks"][curve, :, table.INDEX][unexplained]
    partners = [bonnet_partner(phase.name, 1.0) for phase in batch.known]
    words = [partner[0] if partner else "" for partner in partners]
    scale = np.array([partner[1] if partner else np.nan for partner in partners])
    columns: dict[str, Any] = {
        "id": ids.take(pa.array(curve)),
        "candidate": lines[:, table.CANDIDATE].astype(np.int32),
        "phase": _words(which, [phase.name for phase in batch.known]),
        **{name: _or_null(lines[:, column]) for name, column in PHASE_NUMBERS.items()},
        "matched": _lists(matched.counts, matched.n, _NUMBERS),
        "matched_q": _lists(matched.counts, matched.q, _VALUES),
        "missing": _lists(missing.counts, missing.n, _NUMBERS),
        "missing_q": _lists(missing.counts, missing.q, _VALUES),
        "unexplained": _lists(unexplained.sum(axis=1), others, _NUMBERS),
        "partner": _words(which, words, np.isnan(scale)[which]),
        "partner_lattice": _or_null(lines[:, table.LATTICE] * scale[which]),
    }
    arrays = [_column(columns[f.name], f.type) for f in PHASE_ROWS]
    return pa.Table.from_arrays(arrays, schema=PHASE_ROWS)


def _or_null(values: NDArray[np.float64]) -> pa.Array:
    """Return numbers as a column, null where they are not finite."""
    return pa.array(values, mask=~np.isfinite(values))


def _lists(counts: NDArray[np.int64], values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    """Return values as a column of lists, `counts` of them a row."""
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values).cast(kind.value_type))
