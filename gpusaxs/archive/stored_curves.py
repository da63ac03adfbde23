"""Reduced curves and peaks as a run directory keeps them, and batches made of them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gpusaxs.backends import Backend
from gpusaxs.batch import FITTED_COLUMNS, MEASURED_NUMBERS, SampleBatch
from gpusaxs.errors import RunDirectoryError
from gpusaxs.kernels import peak_table as table
from gpusaxs.metadata import META
from gpusaxs.sample import CurveStatus, FitStatus, LineKind, Origin, PeakRemarks
from gpusaxs.tables import ORIGIN, origin_of

_ROW = pa.list_(pa.float64())
_ROWS = ("q", "intensity", "sigma", "background")

CURVES = pa.schema(
    [("id", pa.string()), ("first", pa.int32()), *((name, _ROW) for name in _ROWS)],
)
"""One row a reduced curve: q in 1/nm, the rest in the curve's own unit. intensity is what is
left of the measured one after the background. first is the number of the first kept point in the
curve as it was given: `gpusaxs.sample.Peak.index` counts from there as well."""

_PEAK_COLUMNS = {
    "index": table.INDEX,
    **FITTED_COLUMNS,
    "prominence": table.PROMINENCE,
    "value": table.VALUE,
}


def curve_table(batch: SampleBatch) -> pa.Table:
    """Return the reduced curves of a batch, those that have not failed, as a table of `CURVES`."""
    to_host = batch.backend.to_host
    start, stop = to_host(batch.start), to_host(batch.stop)
    rows = batch.live_rows()
    alive = np.zeros(len(batch), np.bool_)
    alive[rows] = True
    kept = _within(start, stop, batch.intensity.shape[1]) & alive[:, np.newaxis]
    ends = np.cumsum((stop - start)[rows])
    offsets = pa.array(np.concatenate([[0], ends]), pa.int32())

    def lists(name: str) -> pa.ListArray:
        array = to_host(getattr(batch, name))
        # One row of q may stand for all curves.
        values = np.broadcast_to(array, kept.shape)[kept]
        return pa.ListArray.from_arrays(offsets, values)

    ids = [batch.ids[row] for row in rows.tolist()]
    columns = [
        pa.array(ids, pa.string()),
        pa.array(start[rows], pa.int32()),
        *(lists(name) for name in _ROWS),
    ]
    return pa.Table.from_arrays(columns, schema=CURVES)


def batch_of_curves(samples: pa.Table, curves: pa.Table, backend: Backend) -> SampleBatch:
    """Return a batch in which each curve stands as after the last stage that changed it.

    The search for peaks has not begun. A curve has its old place in its row, so peaks found in it
    have the same index; points that were cut away are NaN.

    Parameters
    ----------
    samples
        Rows of the table of samples, with those of the curves among them; they have the status.
    curves
        Rows of `CURVES`; the batch has their order.

    Raises
    ------
    RunDirectoryError
        If the tables do not belong together.
    """
    ids = curves["id"].to_pylist()
    start = curves["first"].to_numpy().astype(np.int64)
    lengths = _lengths(curves, "q")
    for name in _ROWS[1:]:
        if not np.array_equal(_lengths(curves, name), lengths):
            raise RunDirectoryError(
                f"Expected as many values of {name} as of q for every stored curve. Got others: "
                "the run is damaged. Process it again."
            )
    stop = start + lengths
    kept = _within(start, stop, int(stop.max(initial=1)))

    def padded(name: str, padding: float) -> NDArray[np.float64]:
        rows = np.full(kept.shape, padding)
        rows[kept] = pc.list_flatten(curves[name]).to_numpy()
        return rows

    q, intensity, sigma = (padded(name, np.nan) for name in ("q", "intensity", "sigma"))
    batch = SampleBatch(ids, q, intensity, sigma, stop, stored_status(samples, ids), backend)
    batch.start = backend.to_device(start)
    batch.background = backend.to_device(padded("background", 0.0))
    for name in MEASURED_NUMBERS:
        said = pc.fill_null(_of_curves(samples, f"{META}{name}", ids), np.nan)
        setattr(batch, name, backend.to_device(said.to_numpy()))
    return batch


def put_peaks(batch: SampleBatch, samples: pa.Table, peaks: pa.Table) -> None:
    """Let the curves of a batch have the peaks that are stored of them, in their order.

    Parameters
    ----------
    samples, peaks
        Tables with the rows of the batch's curves among them.

    Raises
    ------
    RunDirectoryError
        If the tables do not belong together.
    """
    found = _places(peaks["id"], pa.array(batch.ids, pa.string()))
    lines = np.flatnonzero(found >= 0)
    lines = lines[np.argsort(found[lines], kind="stable")]
    rows = found[lines]
    n_peaks = np.bincount(rows, minlength=len(batch))
    stored = _of_curves(samples, "n_peaks", batch.ids).to_numpy()
    if not np.array_equal(n_peaks, stored) or n_peaks.max(initial=0) > batch.max_peaks:
        raise RunDirectoryError(
            f"Expected as many peaks of each curve as the table of samples says, at most "
            f"{batch.max_peaks}. Got others: the run is damaged. Process it again."
        )
    slots = np.arange(rows.size) - (np.cumsum(n_peaks) - n_peaks)[rows]
    filled = np.full((len(batch), batch.max_peaks, table.PEAK_COLUMNS), np.nan)
    for name, column in _PEAK_COLUMNS.items():
        filled[rows, slots, column] = peaks[name].to_numpy()[lines]
    status = _translated(peaks["status"], lambda word: FitStatus[word.upper()])
    filled[rows, slots, table.STATUS] = status[lines]
    remarks = _translated(peaks["remarks"], PeakRemarks.parse)
    filled[rows, slots, table.REMARKS] = remarks[lines]
    kind = _translated(peaks["kind"], lambda word: LineKind[word.upper()])
    filled[rows, slots, table.BRAGG] = kind[lines]
    batch.peaks = batch.backend.to_device(filled)
    batch.n_peaks = batch.backend.to_device(n_peaks.astype(np.int64))


def stored_status(samples: pa.Table, ids: Sequence[str] | None = None) -> NDArray[np.int64]:
    """Return the `CurveStatus` of some curves, or of every row of the table of samples.

    Raises
    ------
    RunDirectoryError
        If a curve is not in the table.
    """
    labels = samples["status"] if ids is None else _of_curves(samples, "status", ids)
    return _translated(labels, CurveStatus.parse)


def origins_of(samples: pa.Table) -> list[Origin]:
    """Return where the curves of a table of samples came from."""
    return [origin_of(row) for row in samples.select(ORIGIN).to_pylist()]


def _within(start: NDArray[np.int64], stop: NDArray[np.int64], points: int) -> NDArray[np.bool_]:
    """Which points of padded rows take part; (curves, points)."""
    point = np.arange(points)
    return (start[:, np.newaxis] <= point) & (point < stop[:, np.newaxis])


def _lengths(curves: pa.Table, name: str) -> NDArray[np.int64]:
    lengths: NDArray[np.int64] = pc.list_value_length(curves[name]).to_numpy().astype(np.int64)
    return lengths


def _places(ids: pa.ChunkedArray, among: pa.Array) -> NDArray[np.int64]:
    """Place of each id among others; -1 where it is not there."""
    places: NDArray[np.int64] = pc.fill_null(pc.index_in(ids, among), -1).to_numpy()
    return places.astype(np.int64)


def _of_curves(samples: pa.Table, column: str, ids: Sequence[str]) -> pa.ChunkedArray:
    """Return what the table of samples says of some curves, in their order."""
    known = samples["id"].combine_chunks()
    places = _places(pa.chunked_array([pa.array(ids, pa.string())]), known)
    if (places < 0).any():
        unknown = ids[int(np.argmin(places))]
        raise RunDirectoryError(
            f"Expected the curve {unknown} in the table of samples. Got none: the run is damaged. "
            "Process it again."
        )
    return samples[column].take(pa.array(places))


def _translated(words: pa.ChunkedArray, meaning: Callable[[str], int]) -> NDArray[np.int64]:
    """Return a column of few different words as the numbers that they mean."""
    text = words.cast(pa.string())
    different = pc.unique(text)
    numbers = np.array([int(meaning(word)) for word in different.to_pylist()], np.int64)
    return numbers[_places(text, different)]
