"""Curves without a phase: the tame ones, and those that fool a peak finder."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from gpusaxs.phases import PHASES
from gpusaxs.simulate import detector
from gpusaxs.simulate.background import draw_background, globule, spheres, teubner_strey
from gpusaxs.simulate.bragg import diffuse_foot, draw_widths, satellites, widths_at
from gpusaxs.simulate.recipe import Lines, Recipe, log_uniform, no_lines

FloatArray = NDArray[np.float64]

TAME_NEGATIVES = ("spheres", "hump", "protein", "flat")
HARD_NEGATIVES = (
    "monodisperse_spheres",
    "single_line",
    "satellites",
    "split_ring",
    "two_lines",
    "random_lines",
    "edges",
    "step",
    "beamstop",
    "wrong_sigma",
    "correlated",
)
TOLERANCE = 0.01
_SHIFTS = np.linspace(-TOLERANCE, TOLERANCE, 9)


def phases_that_fit(lines: FloatArray, tolerance: float = TOLERANCE) -> list[str]:
    """Phases that explain all lines (at `lines`, 1/nm), so that naming one would be no mistake.

    The lowest line is one of its first three reflections, every line lies within `tolerance`
    (relative) of a reflection of its own, and half or more of the reflections from the lowest to
    the highest line are there.
    """
    lines = np.sort(lines)
    found = []
    for phase in PHASES:
        for k in range(3):
            expected = phase.positions / phase.positions[k]
            ratios = lines[:, None] / lines[0] * (1.0 + _SHIFTS)
            nearest = np.abs(ratios[:, :, None] / expected - 1.0)
            order = nearest.argmin(axis=2)
            close = (nearest.min(axis=2) < tolerance).all(axis=0)
            distinct = (np.diff(order, axis=0) > 0).all(axis=0)
            spanned = order[-1] - order[0] + 1
            if (close & distinct & (2 * lines.size >= spanned)).any():
                found.append(phase.name)
                break
    return found


@cache
def pair_ratios() -> FloatArray:
    """Ratios of any of the first ten reflections to one of the first two, of all phases, sorted."""
    ratios = [phase.positions[:10] / phase.positions[k] for phase in PHASES for k in range(2)]
    return np.unique(np.concatenate(ratios))


def draw_free_ratio(rng: np.random.Generator) -> float:
    """Ratio of two lines, 1.05 to 2.8, that no phase has within 1 %."""
    while True:
        ratio = log_uniform(rng, 1.05, 2.8)
        if np.abs(ratio / pair_ratios() - 1.0).min() > TOLERANCE:
            return ratio


def draw_free_lines(rng: np.random.Generator, low: float, high: float, count: int) -> FloatArray:
    """Sorted positions between `low` and `high` that no phase explains, 3 % apart or more."""
    while True:
        q = np.sort(np.exp(rng.uniform(np.log(low), np.log(high), count)))
        if np.diff(np.log(q)).min() > 0.03 and not phases_that_fit(q):
            return q


def draw_smooth(rng: np.random.Generator, q: FloatArray, kind: str) -> FloatArray:
    """Curve of a tame negative, or of monodisperse spheres; (points,) float64, any scale."""
    span = q[-1] / q[0]
    match kind:
        case "spheres":
            curve = spheres(q, log_uniform(rng, 6.0, 60.0) / q[-1], rng.uniform(0.08, 0.25))
        case "monodisperse_spheres":
            curve = spheres(q, log_uniform(rng, 15.0, 150.0) / q[-1], rng.uniform(0.005, 0.03))
        case "hump":
            peak = q[0] * span ** rng.uniform(0.3, 0.75)
            curve = teubner_strey(q, peak, rng.uniform(0.2, 0.8) * peak)
            curve = curve + log_uniform(rng, 0.01, 0.5) * (q / peak) ** -rng.uniform(2.0, 4.0)
        case "protein":
            radius = log_uniform(rng, 2.0, 15.0) / q[-1] * 2.0
            curve = globule(q, radius, rng.uniform(2.0, 4.0))
            lobe = q[-1] * rng.uniform(0.4, 0.8)
            curve = curve * (1.0 + rng.uniform(0.0, 0.5) * teubner_strey(q, lobe, 0.5 * lobe))
        case _:
            curve = np.ones(q.size)
    if kind == "flat":
        return curve
    reference = np.interp(q[0] * np.sqrt(span), q, curve)
    return np.asarray(curve + log_uniform(rng, 1e-3, 0.3) * reference)


def draw_no_phase_lines(rng: np.random.Generator, q: FloatArray, kind: str) -> Lines:
    """Lines of no phase; the strongest has height one."""
    span = q[-1] / q[0]
    if kind == "random_lines":
        count = int(rng.integers(4, 9))
        centres = draw_free_lines(rng, q[0] * span**0.3, 0.95 * q[-1], count)
    elif kind == "two_lines":
        ratio = draw_free_ratio(rng)
        low = q[0] * span**0.25
        first = log_uniform(rng, low, max(1.05 * low, 0.95 * q[-1] / ratio))
        centres = np.array([first, first * ratio])
    else:
        centres = np.array([q[0] * span ** rng.uniform(0.25, 0.9)])
    widths = draw_widths(rng, q, float(centres[0]))
    heights = np.exp(rng.uniform(np.log(0.3), 0.0, centres.size))
    if kind == "two_lines":
        heights[1:] *= log_uniform(rng, 0.1, 1.0)
    eta = rng.uniform(0.0, 1.0)
    lines = Lines(centres, widths_at(q, centres, widths), heights / heights.max(), eta)
    if kind == "split_ring":
        away = rng.uniform(0.9, 3.0) * lines.fwhm
        lines = lines.joined(
            Lines(lines.q + away, lines.fwhm * rng.uniform(0.8, 1.2), rng.uniform(0.1, 0.9, 1))
        )
    elif kind == "satellites":
        while True:
            extra = satellites(rng, float(centres[0]), float(lines.fwhm[0]))
            if extra.q.size < 2 or not phases_that_fit(np.append(extra.q, centres)):
                break
        lines = lines.joined(extra)
    return lines


def draw_negative(rng: np.random.Generator, q: FloatArray, kind: str) -> Recipe:
    """One curve of a kind without a phase."""
    # The satellites of a weak line drown in its background.
    ratio = log_uniform(rng, 5.0, 200.0) if kind == "satellites" else log_uniform(rng, 0.2, 20.0)
    if kind in ("single_line", "satellites", "split_ring", "two_lines", "random_lines"):
        lines = draw_no_phase_lines(rng, q, kind)
        background = draw_background(rng, q, float(lines.q[0])) / ratio
        if rng.random() < 0.4:
            background = background + diffuse_foot(rng, q, float(lines.q[0]), float(lines.fwhm[0]))
        return Recipe(lines, background, kind)
    smooth = kind if kind in (*TAME_NEGATIVES, "monodisperse_spheres") else None
    base = smooth or TAME_NEGATIVES[int(rng.integers(len(TAME_NEGATIVES)))]
    curve = draw_smooth(rng, q, base)
    reference = q[0] * (q[-1] / q[0]) ** rng.uniform(0.3, 0.7)
    recipe = Recipe(no_lines(), curve / np.interp(reference, q, curve) / ratio, kind)
    match kind:
        case "edges":
            recipe.transmission = detector.edges(rng, q)
        case "step":
            recipe.transmission = detector.step(rng, q)
        case "beamstop":
            recipe.exposure, flare = detector.beamstop(rng, q)
            recipe.background = recipe.background * flare
        case "wrong_sigma":
            recipe.sigma_scale = detector.sigma_scale(rng)
        case "correlated":
            recipe.splitting = rng.uniform(0.1, 0.28)
    return recipe
