"""Bragg curves: reflections of one phase or two, and what a beamline does to them."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from gpusaxs.phases import PHASE_BY_NAME, Phase
from gpusaxs.simulate import detector
from gpusaxs.simulate.background import draw_background, sphere_amplitude
from gpusaxs.simulate.recipe import Lines, Recipe, log_uniform

FloatArray = NDArray[np.float64]

COMMON_PERTURBATIONS = (
    "asymmetric",
    "offset",
    "first_missing",
    "satellites",
    "subtracted",
    "edges",
    "step",
    "beamstop",
    "wrong_sigma",
    "correlated",
)
PERTURBATIONS = (*COMMON_PERTURBATIONS, "first_two_missing")
BONNET = 1.279  # a(Im-3m) / a(Pn-3m) of two surfaces that bend into each other
_POINTS_A_FWHM = 3.0
_WIDEST = 0.035
_LINES_IN_WINDOW = 4
# Multiplicity times |structure factor|^2 of two spheres a cell, in the order of the reflections.
_HCP_WEIGHTS = (6.0, 8.0, 36.0, 12.0, 24.0, 36.0, 6.0, 48.0, 36.0, 8.0)


@cache
def multiplicities(phase: Phase) -> FloatArray:
    """How many lattice planes share each reflection of the phase; (reflections,) float64."""
    n = np.array(phase.reflections)
    top = int(np.sqrt(n.max())) + 1
    index = range(-top, top + 1)
    match phase.lattice:
        case "hcp":
            return np.array(_HCP_WEIGHTS)
        case "lamellar":
            return np.full(n.size, 2.0)
        case "hexagonal":
            span = range(-2 * top, 2 * top + 1)
            norms = [h * h + h * k + k * k for h, k in product(span, repeat=2)]
        case "square":
            norms = [h * h + k * k for h, k in product(index, repeat=2)]
        case _:
            norms = [h * h + k * k + m * m for h, k, m in product(index, repeat=3)]
    return np.asarray(np.bincount(norms)[n], dtype=np.float64)


def spacing(q: FloatArray, at: float) -> float:
    """Distance of neighbouring points of the grid q near `at`, both in 1/nm."""
    k = int(np.clip(np.searchsorted(q, at), 1, q.size - 1))
    return float(q[k] - q[k - 1])


def draw_first_q(rng: np.random.Generator, q: FloatArray, phase: Phase) -> float:
    """Position of the first reflection (1/nm), log-uniform, with four or more in the window."""
    ratios = phase.positions / phase.positions[0]
    high = 0.95 * q[-1] / ratios[_LINES_IN_WINDOW - 1]
    low = max(1.3 * q[0], _POINTS_A_FWHM * spacing(q, q[0]) / _WIDEST)
    return log_uniform(rng, min(low, 0.8 * high), high)


def draw_widths(rng: np.random.Generator, q: FloatArray, first_q: float) -> tuple[float, float]:
    """Instrument's FWHM (1/nm) and strain's FWHM / q: the two parts of a line's width."""
    narrowest = max(_POINTS_A_FWHM * spacing(q, first_q), 0.004 * first_q)
    instrument = log_uniform(rng, narrowest, max(1.2 * narrowest, _WIDEST * first_q))
    return instrument, log_uniform(rng, 0.001, 0.012)


def widths_at(q: FloatArray, centres: FloatArray, widths: tuple[float, float]) -> FloatArray:
    """FWHM (1/nm) of lines at `centres`: instrument, strain and bins of the grid in quadrature."""
    instrument, strain = widths
    bins = np.gradient(q)[np.clip(np.searchsorted(q, centres), 0, q.size - 1)]
    return np.asarray(
        np.sqrt(instrument**2 + (strain * centres) ** 2 + (_POINTS_A_FWHM * bins) ** 2)
    )


def form_factor(rng: np.random.Generator, q: FloatArray, scale: float) -> FloatArray:
    """|F(q)|^2 of what sits on the lattice; (points,) float64. It may have zeros.

    Spheres, shells and bilayers have a size of 0.7 to 2.4 over `scale` (1/nm).
    """
    shape = int(rng.integers(0, 4))
    size = rng.uniform(0.7, 2.4) / scale
    if shape == 0:
        amplitude = sphere_amplitude(size * q)
    elif shape == 1:
        inner = rng.uniform(0.6, 0.9)
        contrast = rng.uniform(0.3, 1.0) * inner**3
        amplitude = sphere_amplitude(size * q) - contrast * sphere_amplitude(inner * size * q)
    elif shape == 2:
        head = rng.uniform(0.1, 0.3) * size
        tail = rng.uniform(0.2, 0.6) * size
        chains = rng.uniform(0.3, 1.5)
        amplitude = np.cos(size * q) * np.exp(-((q * head) ** 2) / 2.0)
        amplitude = amplitude - chains * np.exp(-((q * tail) ** 2) / 2.0)
    else:
        return np.ones_like(q)
    # Disorder fills the zeros of F a little.
    return np.asarray(amplitude**2 + 0.01 * amplitude[0] ** 2)


def draw_lines(
    rng: np.random.Generator,
    q: FloatArray,
    phase: Phase,
    first_q: float,
    widths: tuple[float, float],
    certain: int = 2,
) -> Lines:
    """Reflections of a phase; the strongest has height one.

    Integrated intensities are multiplicity x |F|^2 x Lorentz factor q^-2 x Debye-Waller factor
    (e^-0.2 to e^-4 at the sixth line) x a lognormal number for the structure inside the cell;
    beyond the first `certain` lines one in twelve is absent.
    """
    centres = first_q * phase.positions / phase.positions[0]
    kept = centres < q[-1] + 5.0 * widths[0]
    centres = centres[kept]
    ratios = centres / first_q
    fwhm = widths_at(q, centres, widths) * rng.lognormal(0.0, 0.03, centres.size)
    all_ratios = phase.positions / phase.positions[0]
    decay = log_uniform(rng, 0.2, 4.0) / (all_ratios[5] ** 2 - 1.0)
    areas = (
        multiplicities(phase)[kept]
        * form_factor(rng, centres, first_q * all_ratios[3] / 1.6)
        * np.exp(-decay * (ratios**2 - 1.0))
        / ratios**2
        * rng.lognormal(0.0, rng.uniform(0.3, 0.9), centres.size)
    )
    absent = rng.random(centres.size) < 1.0 / 12.0
    absent[:certain] = False
    heights = np.where(absent, 0.0, areas / fwhm)
    inside = centres < q[-1] - fwhm
    return Lines(
        centres,
        fwhm,
        heights / heights[inside].max(),
        eta=rng.uniform(0.0, 1.0),
        phase=np.zeros(centres.size, dtype=np.int64),
        number=np.array(phase.reflections, dtype=np.int64)[kept],
    )


def diffuse_foot(rng: np.random.Generator, q: FloatArray, centre: float, fwhm: float) -> FloatArray:
    """Broad Lorentzian under the strongest line: thermal diffuse scattering; (points,) float64."""
    height = log_uniform(rng, 0.003, 0.05)
    width = fwhm * rng.uniform(5.0, 15.0)
    return np.asarray(height / (1.0 + (2.0 * (q - centre) / width) ** 2))


def satellites(rng: np.random.Generator, centre: float, fwhm: float) -> Lines:
    """One to three parasitic lines beside a line of height one, 0.5 to 5 % as high."""
    count = int(rng.integers(1, 4))
    below = rng.random(count) < 0.8
    away = np.where(below, -rng.uniform(0.04, 0.2, count), rng.uniform(0.04, 0.15, count))
    heights = np.exp(rng.uniform(np.log(0.005), np.log(0.05), count))
    return Lines(centre * (1.0 + away), fwhm * rng.uniform(1.0, 2.5, count), heights)


def draw_pair(rng: np.random.Generator, phases: tuple[Phase, ...]) -> tuple[Phase, Phase]:
    """Two different phases; two in five times Pn-3m with Im-3m where both may be drawn."""
    names = [phase.name for phase in phases]
    bonnet = rng.random() < 0.4 and {"Pn-3m", "Im-3m"} <= set(names)
    first, second = rng.choice(len(phases), 2, replace=False)
    if bonnet:
        return PHASE_BY_NAME["Pn-3m"], PHASE_BY_NAME["Im-3m"]
    return phases[first], phases[second]


def draw_second(
    rng: np.random.Generator,
    q: FloatArray,
    pair: tuple[Phase, Phase],
    first_q: float,
    widths: tuple[float, float],
) -> tuple[Lines, float]:
    """Lines of the second phase of a pair, 0.2 to 1 times as strong, and its lattice parameter.

    Pn-3m and Im-3m have lattice parameters in the Bonnet ratio, within about 1 %; elsewhere the
    first reflections are within a factor of 1.4 of each other.
    """
    scales = [2.0 * np.pi * phase.positions[0] for phase in pair]
    if (pair[0].name, pair[1].name) == ("Pn-3m", "Im-3m"):
        lattice = scales[0] / first_q * BONNET * rng.normal(1.0, 0.01)
    else:
        lattice = scales[1] / max(first_q * log_uniform(rng, 0.7, 1.4), 1.2 * q[0])
    instrument, strain = widths
    second_widths = instrument * rng.uniform(0.9, 1.2), strain * rng.uniform(0.7, 1.4)
    lines = draw_lines(rng, q, pair[1], scales[1] / lattice, second_widths)
    lines.phase[:] = 1
    lines.height *= log_uniform(rng, 0.2, 1.0)
    return lines, float(lattice)


def draw_bragg(
    rng: np.random.Generator,
    q: FloatArray,
    phases: tuple[Phase, ...],
    coexisting: bool,
    perturbations: tuple[str, ...],
) -> Recipe:
    """One curve with the reflections of one of `phases`, or of two of them."""
    if coexisting:
        pair: tuple[Phase, ...] = draw_pair(rng, phases)
    else:
        pair = (phases[int(rng.integers(len(phases)))],)
    first_q = draw_first_q(rng, q, pair[0])
    widths = draw_widths(rng, q, first_q)
    missing = 2 if "first_two_missing" in perturbations else int("first_missing" in perturbations)
    lines = draw_lines(rng, q, pair[0], first_q, widths, certain=max(2, missing + 1))
    lattices = [float(2.0 * np.pi * pair[0].positions[0] / first_q)]
    if len(pair) == 2:
        second, lattice = draw_second(rng, q, (pair[0], pair[1]), first_q, widths)
        lines = lines.joined(second)
        lattices.append(lattice)
    lines.height[:missing] = 0.0
    inside = (lines.q > q[0]) & (lines.q < q[-1] - lines.fwhm)
    strongest = int(np.argmax(np.where(inside, lines.height, 0.0)))
    lines.height /= lines.height[strongest]
    centre, fwhm = float(lines.q[strongest]), float(lines.fwhm[strongest])
    background = draw_background(rng, q, centre) / log_uniform(rng, 0.2, 20.0)
    if rng.random() < 0.4:
        background = background + diffuse_foot(rng, q, centre, fwhm)
    kind = "coexistence" if coexisting else "bragg"
    names = tuple(phase.name for phase in pair)
    recipe = Recipe(lines, background, kind, names, tuple(lattices), perturbations)
    perturb(rng, q, recipe, strongest)
    return recipe


def perturb(rng: np.random.Generator, q: FloatArray, recipe: Recipe, strongest: int) -> None:
    """Do to a curve, in place, what its `perturbations` say."""
    lines = recipe.lines
    for name in recipe.perturbations:
        match name:
            case "asymmetric":
                lines.asymmetry = float(rng.choice([-1.0, 1.0]) * rng.uniform(0.2, 0.7))
            case "offset":
                shift = rng.choice([-1.0, 1.0]) * rng.uniform(0.0005, 0.003) * lines.q.min()
                lines.q = lines.q + shift
            case "satellites":
                extra = satellites(rng, lines.q[strongest], lines.fwhm[strongest])
                recipe.lines = lines = lines.joined(extra)
            case "subtracted":
                recipe.blank = rng.uniform(0.3, 0.95) * recipe.background
            case "edges":
                recipe.transmission = recipe.transmission * detector.edges(rng, q)
            case "step":
                recipe.transmission = recipe.transmission * detector.step(rng, q)
            case "beamstop":
                recipe.exposure, flare = detector.beamstop(rng, q)
                recipe.background = recipe.background * flare
            case "wrong_sigma":
                recipe.sigma_scale = detector.sigma_scale(rng)
            case "correlated":
                recipe.splitting = rng.uniform(0.1, 0.28)
