"""Baselines beside pybaselines, under simulated curves whose background is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from pybaselines import Baseline

from benchmarks import peers
from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.phases import PHASES
from gpusaxs.simulate.bragg import draw_bragg
from gpusaxs.stages.background import Background

FloatArray = NDArray[np.float64]

SEED = 51003
COUNTS = 2000.0
POINTS = 1000
ROUNDS = 3
# Lines lower than this share of the strongest are no measure of a background.
_LEAST_LINE = 0.02
# Points this many FWHM from every line have none.
_CLEAR = 4.0
# Best of 1e3, 1e4 ... 1e8 by the median error under lines, on other curves (seed 51000).
_ARPLS_LAM = 1e6
_SEVERAL_MODES = ("snip", "arpls", "power_law")


class Curve(NamedTuple):
    """A curve in counts; its background; the points of lines, their heights; where no line is."""

    intensity: FloatArray
    sigma: FloatArray
    background: FloatArray
    tops: NDArray[np.intp]
    heights: FloatArray
    clear: NDArray[np.bool_]


@dataclass(frozen=True)
class BaselineScore:
    """How near a baseline comes, and what it takes.

    Attributes
    ----------
    under_lines, worst_tenth
        Median, and ninth decile, of the error at the top of a line over the line's height.
    between
        Median of the error over sigma where no line is.
    microseconds
        Processor time a curve, on one core.
    """

    tool: str
    under_lines: float
    worst_tenth: float
    between: float
    microseconds: float


def q_grid() -> FloatArray:
    """The q of all curves in 1/nm."""
    return np.linspace(0.1, 3.0, POINTS)


def drawn_curves(number: int, seed: int = SEED) -> list[Curve]:
    """Draw curves of any phase, at 2,000 counts at the top of the strongest line."""
    q = q_grid()
    curves = []
    for i in range(number):
        rng = np.random.default_rng([seed, i])
        recipe = draw_bragg(rng, q, PHASES, False, ())
        lines = recipe.lines
        model = recipe.model(lines.profiles(q))
        background = recipe.transmission * recipe.background
        counted = rng.poisson(COUNTS * model)
        shown = (lines.q > q[0]) & (lines.q < q[-1]) & (lines.height > _LEAST_LINE)
        distance = abs(q[:, np.newaxis] - lines.q) / lines.fwhm
        curves.append(
            Curve(
                counted.astype(np.float64),
                np.sqrt(np.maximum(counted, 1.0)),
                COUNTS * background,
                np.searchsorted(q, lines.q[shown]),
                COUNTS * lines.height[shown],
                (distance > _CLEAR).all(axis=1),
            )
        )
    return curves


def scored(tool: str, curves: list[Curve], baselines: FloatArray, seconds: float) -> BaselineScore:
    """Compare baselines with the backgrounds."""
    under, between = [], []
    for curve, baseline in zip(curves, baselines, strict=True):
        error = abs(baseline - curve.background)
        under.append(error[curve.tops] / curve.heights)
        between.append((error / curve.sigma)[curve.clear])
    at_lines, elsewhere = np.concatenate(under), np.concatenate(between)
    return BaselineScore(
        tool,
        float(np.median(at_lines)),
        float(np.quantile(at_lines, 0.9)),
        float(np.median(elsewhere)),
        1e6 * seconds / len(curves),
    )


def by_gpusaxs(mode: str, curves: list[Curve]) -> tuple[FloatArray, float]:
    """Backgrounds of a mode of the stage, and the least processor time of some rounds."""
    stage = Background(mode=mode)
    rows = np.arange(len(curves))
    seconds = []
    for _ in range(ROUNDS):
        batch = SampleBatch.from_arrays(
            [str(row) for row in rows],
            q_grid(),
            np.array([curve.intensity for curve in curves]),
            np.array([curve.sigma for curve in curves]),
            NumpyBackend(1),
        )
        began = time.process_time()
        stage.launch(batch, rows)
        seconds.append(time.process_time() - began)
    return batch.background, min(seconds)


def by_pybaselines(
    method: Callable[[FloatArray], FloatArray], curves: list[Curve]
) -> tuple[FloatArray, float]:
    """Baselines of a method, one curve at a time, and the processor time."""
    method(curves[0].intensity)
    began = time.process_time()
    found = np.array([method(curve.intensity) for curve in curves])
    return found, time.process_time() - began


def arpls(intensity: FloatArray, lam: float = _ARPLS_LAM) -> FloatArray:
    """Penalised least squares (S.-J. Baek et al. 2015) on the scale on which SNIP clips.

    On the intensity itself it would not follow the decay at low q.
    """
    scaled = np.log(np.log(np.sqrt(intensity + 1.0) + 1.0) + 1.0)
    fitted, _ = Baseline(q_grid()).arpls(scaled, lam=lam)
    return (np.exp(np.exp(fitted) - 1.0) - 1.0) ** 2 - 1.0


def compare(number: int, seed: int = SEED) -> list[BaselineScore]:
    """Let every tool draw the baseline of every curve."""
    curves = drawn_curves(number, seed)
    known = get_args(Background.model_fields["mode"].annotation)
    scores = []
    for mode in (mode for mode in _SEVERAL_MODES if mode in known):
        own, seconds = by_gpusaxs(mode, curves)
        scores.append(scored(f"gpusaxs, {mode}", curves, own, seconds))
    for name, method in (("snip", peers.background), ("arpls", arpls)):
        theirs, seconds = by_pybaselines(method, curves)
        scores.append(scored(f"pybaselines, {name}", curves, theirs, seconds))
    return scores
