"""What a detector and its data reduction do to a curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpusaxs.simulate.recipe import log_uniform

FloatArray = NDArray[np.float64]


def edges(rng: np.random.Generator, q: FloatArray) -> FloatArray:
    """Transmission that falls to about zero at one end or both, over 10 to 20 points; (points,)."""
    seen = np.ones(q.size)
    index = np.arange(q.size)
    ends = int(rng.integers(1, 4))
    for at_start in (True, False):
        shadow = rng.uniform(0.005, 0.05) * q.size
        ramp = rng.uniform(10.0, 20.0)
        leak = log_uniform(rng, 1e-3, 2e-2)
        away = index - shadow if at_start else q.size - 1 - index - shadow
        slope = np.clip(away / ramp, 0.0, 1.0)
        slope = slope**2 * (3.0 - 2.0 * slope)
        if ends & (1 if at_start else 2):
            seen *= leak + (1.0 - leak) * slope
    return seen


def step(rng: np.random.Generator, q: FloatArray) -> FloatArray:
    """Transmission with a step inside, at the edge of a module or of a shadow; (points,).

    From two modules that differ by a few per cent to a shadow that takes nearly all; at half of
    the steps a few points beside it are too bright.
    """
    index = np.arange(q.size)
    at = rng.uniform(0.1, 0.9) * q.size
    ramp = rng.uniform(1.0, 12.0)
    behind = 1.0 - log_uniform(rng, 0.03, 0.95)
    seen = behind + (1.0 - behind) / (1.0 + np.exp(np.clip((index - at) / ramp * 4.0, -50, 50)))
    if rng.random() < 0.3:
        seen = seen[::-1].copy()
        at = q.size - 1 - at
    if rng.random() < 0.5:
        seen *= 1.0 + rng.uniform(0.02, 0.3) * np.exp(
            -(((index - at) / rng.uniform(1.0, 4.0)) ** 2)
        )
    return np.asarray(seen)


def split_pixels(row: FloatArray, share: float) -> FloatArray:
    """Give a share of each point to either neighbour; (points,) float64."""
    padded = np.pad(row, 1, mode="edge")
    return np.asarray(share * (padded[:-2] + padded[2:]) + (1.0 - 2.0 * share) * row)


def beamstop(rng: np.random.Generator, q: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Exposure and flare at low q beside the beamstop; (points,) each.

    Few pixels contribute to these points, and stray scattering varies between them by more than
    counting says.
    """
    index = np.arange(q.size)
    reach = rng.uniform(0.02, 0.08) * q.size
    fade = np.exp(-index / (0.4 * reach))
    exposure = np.exp(np.log(log_uniform(rng, 2e-3, 0.1)) * fade)
    flare = np.exp(rng.uniform(0.2, 1.2) * fade * rng.standard_normal(q.size))
    return exposure, flare


def sigma_scale(rng: np.random.Generator) -> float:
    """Factor of a wrong sigma column: 1.5 to 3 too large in two of three, else too small."""
    factor = rng.uniform(1.5, 3.0)
    return float(factor if rng.random() < 2.0 / 3.0 else 1.0 / factor)
