"""Make a measured curve fit to compute with, or say why it cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpusaxs.sample import CurveStatus

FloatArray = NDArray[np.float64]

MIN_POINTS = 16


def is_sound(q: FloatArray) -> bool:
    """Whether q is finite, positive and strictly increasing."""
    return bool(
        q.size >= MIN_POINTS and np.isfinite(q).all() and q[0] > 0 and (np.diff(q) > 0).all()
    )


def repair(
    q: FloatArray, intensity: FloatArray, sigma: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, CurveStatus]:
    """Drop points that are no measurement, sort by q, average points of the same q.

    Parameters
    ----------
    q, intensity, sigma : (points,) float64
        sigma is NaN where it is unknown.

    Returns
    -------
    q, intensity, sigma : (kept,) float64
        q is positive and strictly increasing.
    status
        What was done, or why the curve cannot be used.
    """
    status = CurveStatus.OK
    good = np.isfinite(q) & np.isfinite(intensity) & (q > 0)
    if not good.all():
        status |= CurveStatus.POINTS_DROPPED
        q, intensity, sigma = q[good], intensity[good], sigma[good]
    if (np.diff(q) < 0).any():
        status |= CurveStatus.Q_REORDERED
        order = np.argsort(q, kind="stable")
        q, intensity, sigma = q[order], intensity[order], sigma[order]
    if (np.diff(q) == 0).any():
        status |= CurveStatus.Q_MERGED
        q, intensity, sigma = _merge(q, intensity, sigma)
    if q.size < MIN_POINTS:
        status |= CurveStatus.TOO_FEW_POINTS
    elif np.ptp(intensity) == 0:
        status |= CurveStatus.NO_SIGNAL
    return q, intensity, sigma, status


def _merge(
    q: FloatArray, intensity: FloatArray, sigma: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Average the points of each q; their sigma falls with the square root of their number."""
    unique, group, count = np.unique(q, return_inverse=True, return_counts=True)
    mean = np.bincount(group, intensity) / count
    spread = np.sqrt(np.bincount(group, sigma**2)) / count
    return unique, mean, spread


def repair_rows(xp: Any, q: Any, intensity: Any, sigma: Any) -> tuple[Any, Any, Any, Any, Any]:
    """`repair` for many curves at once, with the same bits, where their arrays are.

    Only curves in which points have the same q pass through the host, to be averaged there.

    Parameters
    ----------
    xp
        The module of the arrays, numpy or cupy.
    q, intensity, sigma : (curves, points) float64
        sigma is NaN where it is unknown.

    Returns
    -------
    q, intensity, sigma : (curves, points) float64
        Padded with NaN behind what is kept.
    stop, status : (curves,) int64
        How many points are kept; `CurveStatus` of each curve.
    """
    good = xp.isfinite(q) & xp.isfinite(intensity) & (q > 0)
    stop = good.sum(axis=1)
    order = xp.argsort(xp.where(good, q, xp.inf), axis=1, kind="stable")
    kept = xp.arange(q.shape[1]) < stop[:, None]
    given = (q, intensity, sigma)
    rows = [xp.where(kept, xp.take_along_axis(one, order, axis=1), xp.nan) for one in given]
    turned = ((order[:, 1:] < order[:, :-1]) & kept[:, 1:]).any(axis=1)
    highest = xp.where(kept, rows[1], -xp.inf).max(axis=1)
    lowest = xp.where(kept, rows[1], xp.inf).min(axis=1)
    few = stop < MIN_POINTS
    status = (
        (stop < q.shape[1]) * int(CurveStatus.POINTS_DROPPED)
        | turned * int(CurveStatus.Q_REORDERED)
        | few * int(CurveStatus.TOO_FEW_POINTS)
        | (~few & (highest == lowest)) * int(CurveStatus.NO_SIGNAL)
    )
    to_host = np.asarray if xp is np else xp.asnumpy
    same = (xp.diff(rows[0], axis=1) == 0).any(axis=1)
    for curve in np.flatnonzero(to_host(same)).tolist():
        *merged, flags = repair(*(to_host(one[curve]) for one in given))
        stop[curve], status[curve] = merged[0].size, int(flags)
        for row, values in zip(rows, merged, strict=True):
            row[curve, : values.size] = xp.asarray(values)
            row[curve, values.size :] = xp.nan
    return rows[0], rows[1], rows[2], stop, status
