"""Make a measured curve fit to compute with, or say why it cannot be."""

from __future__ import annotations

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
