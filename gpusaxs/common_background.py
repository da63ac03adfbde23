"""What the curves of a series have in common, taken as their background."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from gpusaxs.backends import Array, IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.sample import CurveStatus

FloatArray = NDArray[np.float64]

LEAST_CURVES = 5
LEAST_WINDOW = 10
"""Points of the q window that scales the curves, at least."""

# Grids that differ by less than this share of their smallest step are the same.
_SAME_Q = 1e-3


def subtract_common(
    batch: SampleBatch, rows: IndexArray, level: float, window: tuple[float, float] | None
) -> None:
    """Subtract what the curves have in common, and propagate its sigma.

    At each q it is a low quantile of the intensities, each over the scale of its curve: lines
    that move or come and go lie above it, and what stays in all curves is taken away, Bragg lines
    included. Noise makes a low quantile lie below the middle of the curves; it is raised by as
    many sigmas as it would be if all differences were noise (G. Blom 1958, for few curves). What
    is subtracted does not hang on the order of the curves.

    The range is cut to the points that more than half of the curves have.

    Parameters
    ----------
    level
        The quantile: the share of the curves that may be free of lines anywhere, and must be.
    window
        Lowest and highest q, in 1/nm, of a range without lines. The scale of a curve is the median
        there of its ratio to the median curve; without a window it is 1.

    Raises
    ------
    ValueError
        If there are fewer than `LEAST_CURVES` curves, their q differ, or the window has fewer than
        `LEAST_WINDOW` points.
    """
    if rows.size < LEAST_CURVES:
        raise ValueError(
            f"Expected a series of at least {LEAST_CURVES} curves for a common background. "
            f"Got {rows.size}."
        )
    part = _common_range(batch, rows)
    q = _common_q(batch, rows, part)
    scale = np.ones(rows.size)
    if window is not None:
        scale = _scales(batch, rows, part, (q >= window[0]) & (q <= window[1]))
        unscaled = rows[~(scale > 0.0)]
        reason = "its ratio to the other curves of the series over the q window is not positive"
        batch.end(unscaled, CurveStatus.BLANK_UNSCALED, reason)
        rows, scale = rows[scale > 0.0], scale[scale > 0.0]
        if rows.size < LEAST_CURVES:
            return
    _subtract(batch, rows, part, level, scale)


def _common_range(batch: SampleBatch, rows: IndexArray) -> slice:
    """Points that more than half of the curves have, in the order of the arrays."""
    start, stop = (batch.backend.to_host(ends)[rows] for ends in (batch.start, batch.stop))
    if start.max() >= stop.min():
        raise ValueError(
            "Expected curves of a series with a q range in common. Got curves without. Take the "
            "one that was cut too short out of the series, or cut all of them by q."
        )
    half = rows.size // 2
    return slice(int(np.sort(start)[half]), int(np.sort(stop)[rows.size - 1 - half]))


def _common_q(batch: SampleBatch, rows: IndexArray, part: slice) -> FloatArray:
    """The q of all curves, in 1/nm; of the points that each of them has."""
    q = batch.backend.to_host(batch.q)
    inside = batch.backend.to_host(_inside(batch, rows, part))
    own = np.broadcast_to(q if q.shape[0] == 1 else q[rows], (rows.size, q.shape[1]))[:, part]
    low: FloatArray = np.where(inside, own, np.inf).min(axis=0)
    high = np.where(inside, own, -np.inf).max(axis=0)
    if (high - low).max() > _SAME_Q * np.diff(low).min(initial=np.inf):
        raise ValueError(
            "Expected curves of a series with the same q, point by point. Got others: curves of "
            "different grids cannot share a background."
        )
    return low


def _inside(batch: SampleBatch, rows: IndexArray, part: slice) -> Array:
    """Which points of a range take part; (rows, points) bool."""
    point = batch.xp.arange(part.start, part.stop)
    start, stop = batch.start[rows][:, None], batch.stop[rows][:, None]
    return (start <= point) & (point < stop)


def _scales(
    batch: SampleBatch, rows: IndexArray, part: slice, window: NDArray[np.bool_]
) -> FloatArray:
    """Median ratio of each curve to the median curve over the window; NaN where there is none."""
    if window.sum() < LEAST_WINDOW:
        raise ValueError(
            f"Expected a q window of at least {LEAST_WINDOW} points that the series has. "
            f"Got {window.sum()}. Widen background.window_q_min and background.window_q_max."
        )
    columns = part.start + np.flatnonzero(window)
    inside = batch.backend.to_host(_inside(batch, rows, part))[:, window]
    # Few numbers, and medians of them: the host has them all.
    intensity = batch.backend.to_host(batch.intensity[rows][:, columns])
    reference = np.nanmedian(np.where(inside, intensity, np.nan), axis=0)
    usable = inside & (reference > 0.0)
    scale = np.full(rows.size, np.nan)
    for row in np.flatnonzero(usable.sum(axis=1) >= LEAST_WINDOW):
        some = usable[row]
        scale[row] = np.median(intensity[row, some] / reference[some])
    return scale


def _subtract(
    batch: SampleBatch, rows: IndexArray, part: slice, level: float, scale: FloatArray
) -> None:
    xp, to_device = batch.xp, batch.backend.to_device
    inside = _inside(batch, rows, part)
    count = batch.backend.to_host(inside.sum(axis=0))
    factor = to_device(scale)[:, None]
    intensity, sigma = batch.intensity[rows, part], batch.sigma[rows, part]
    values = xp.where(inside, intensity / factor, xp.inf)
    scatter = _quantile(xp, xp.where(inside, sigma / factor, xp.inf), count, 0.5)
    # Where the quantile of so many numbers lies among those of a normal variable.
    raised = -ndtri((level * (count - 1) + 0.625) / (count + 0.25))
    common = _quantile(xp, values, count, level) + to_device(raised) * scatter
    density = np.exp(-0.5 * ndtri(level) ** 2) / np.sqrt(2.0 * np.pi)
    spread = to_device(np.sqrt(level * (1.0 - level) / count) / density) * scatter
    base = factor * common
    batch.intensity[rows, part] = xp.where(inside, intensity - base, intensity)
    batch.background[rows, part] += xp.where(inside, base, 0.0)
    batch.sigma[rows, part] = xp.where(inside, xp.hypot(sigma, factor * spread), sigma)
    batch.start[rows] = xp.maximum(batch.start[rows], part.start)
    batch.stop[rows] = xp.minimum(batch.stop[rows], part.stop)


def _quantile(xp: Any, values: Array, count: NDArray[np.int64], level: float) -> Array:
    """Quantile of each column, of the `count` numbers in it that are not infinite."""
    ordered = xp.sort(values, axis=0)
    place = level * (count - 1)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, count - 1)
    share = xp.asarray(place - below)
    columns = xp.arange(values.shape[1])
    low, high = (ordered[xp.asarray(index), columns] for index in (below, above))
    return (1.0 - share) * low + share * high
