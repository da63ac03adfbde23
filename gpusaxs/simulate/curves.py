"""Simulated curves: the noise, the table of answers, and the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from gpusaxs.phases import PHASE_BY_NAME, PHASES, Phase
from gpusaxs.simulate.alternatives import sets_that_fit
from gpusaxs.simulate.bragg import COMMON_PERTURBATIONS, PERTURBATIONS, draw_bragg
from gpusaxs.simulate.detector import split_pixels
from gpusaxs.simulate.negatives import (
    HARD_NEGATIVES,
    TAME_NEGATIVES,
    draw_negative,
    phases_that_fit,
)
from gpusaxs.simulate.recipe import Recipe, log_uniform, signal_to_noise, visible_lines

FloatArray = NDArray[np.float64]

_PERTURBED = 0.2  # share of the hard curves that have one given common perturbation
TRUTH = pa.schema(
    [
        ("id", pa.string()),
        ("kind", pa.string()),
        ("phase", pa.string()),
        ("lattice", pa.float64()),
        ("visible", pa.int64()),
        ("also", pa.string()),
        ("second_phase", pa.string()),
        ("second_lattice", pa.float64()),
        ("second_visible", pa.int64()),
        ("perturbations", pa.string()),
        ("counts", pa.float64()),
    ]
)
LINES = pa.schema(
    [
        ("id", pa.string()),
        ("phase", pa.string()),
        ("n", pa.int64()),
        ("q", pa.float64()),
        ("fwhm", pa.float64()),
        ("height", pa.float64()),
        ("snr", pa.float64()),
        ("visible", pa.bool_()),
    ]
)


@dataclass(frozen=True, slots=True)
class Simulation:
    """Simulated curves and what is true of them.

    Parameters
    ----------
    q : (points,) float64
        In 1/nm, the same for all curves.
    intensity, sigma : (curves, points) float64
        In an arbitrary unit that differs from curve to curve.
    expected : (curves, points) float64
        The intensity without noise.
    truth
        One row a curve: ``id``; ``kind`` (``"bragg"``, ``"coexistence"`` or the negative's name);
        ``phase`` (null for a negative) and its ``lattice`` parameter in nm; ``visible``, its
        lines with an SNR above 6 (`recipe.signal_to_noise`) and no higher line within 0.8 FWHM;
        ``also``, the phases that these visible lines fit as well (`fit_as_well`, and for three
        false lines or more `negatives.phases_that_fit`, for two phases with three visible lines
        each `alternatives.sets_that_fit`); the same of the second phase of a coexistence;
        ``perturbations``; ``counts``.
    lines
        One row a line that lies in the curve, missing ones with height 0: ``id``, ``phase``
        (null for a line of no phase), ``n``, ``q`` and ``fwhm`` in 1/nm, ``height``, ``snr``,
        ``visible``.
    """

    q: FloatArray
    intensity: FloatArray
    sigma: FloatArray
    expected: FloatArray
    truth: pa.Table
    lines: pa.Table

    def write(self, folder: str | Path) -> Path:
        """Write ``curves.h5`` (NXcanSAS), ``truth.parquet`` and ``truth.csv``; returns the first.

        Parameters
        ----------
        folder
            Made where it does not exist.
        """
        from gpusaxs.io.nxcansas_writer import write_stack  # noqa: PLC0415

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "curves.h5"
        names = self.truth.column("id").to_pylist()
        title = "Simulated SAXS curves"
        write_stack(
            path, self.q, self.intensity, self.sigma, title=title, q_unit="1/nm", names=names
        )
        pyarrow.parquet.write_table(self.truth, folder / "truth.parquet")
        pyarrow.csv.write_csv(self.truth, folder / "truth.csv")
        return path


def simulate(
    curves: int,
    *,
    seed: int,
    phases: Sequence[str] | None = None,
    counts: float | tuple[float, float] = 2000.0,
    points: int = 1000,
    q_min: float = 0.1,
    q_max: float = 3.0,
    grid: Literal["linear", "log"] = "linear",
    negatives: float = 0.0,
    coexistence: float = 0.0,
    hard: bool = False,
    negative_kinds: Sequence[str] | None = None,
    perturbations: Sequence[str] | Mapping[str, float] | None = None,
) -> Simulation:
    """Draw SAXS curves with a known answer.

    Curve i depends on the seed, on i and on the other arguments, not on the number of curves;
    `counts` changes its noise alone.

    Parameters
    ----------
    curves
        How many.
    seed
        Not negative.
    phases
        Names in `gpusaxs.phases.PHASES` to draw from; all of them by default.
    counts
        Detector counts of the strongest line at its top, above the background; a pair is a range
        from which each curve draws, log-uniform. The background under that line is 0.05 to 5
        times as high. A curve without lines has as many counts as such a background at one
        point of the middle of its q range.
    points, q_min, q_max, grid
        The q grid, in 1/nm.
    negatives
        Share of the curves that have no phase.
    coexistence
        Share of the curves that have two.
    hard
        Negatives come from the hard kinds too, and each perturbation but ``first_two_missing``
        befalls one in five of the curves with a phase.
    negative_kinds
        Kinds of negatives to draw from instead (`TAME_NEGATIVES`, `HARD_NEGATIVES`).
    perturbations
        Names in `PERTURBATIONS`: all of these befall every curve with a phase instead. A mapping
        says which share of these curves each of its names befalls, one apart from another.

    Raises
    ------
    ValueError
        For a name or grid that does not exist, or shares that make no sense.
    """
    every_phase = _chosen(phases, tuple(phase.name for phase in PHASES), "phases")
    every_kind: tuple[str, ...] = TAME_NEGATIVES + HARD_NEGATIVES
    default_kinds = every_kind if hard else TAME_NEGATIVES
    kinds = _chosen(negative_kinds, every_kind, "negative_kinds", default_kinds)
    shares = None if perturbations is None else _shares(perturbations)
    if not (min(negatives, coexistence) >= 0.0 and negatives + coexistence <= 1.0):
        raise ValueError(
            "Expected negatives and coexistence, shares of the curves, with a sum of 1 at most. "
            f"Got {negatives} and {coexistence}."
        )
    if coexistence > 0.0 and len(every_phase) < 2:
        raise ValueError("Expected two phases or more for coexistence. Got one: name another.")
    if grid not in ("linear", "log"):
        raise ValueError(f"Expected grid 'linear' or 'log'. Got {grid!r}.")
    q = (np.geomspace if grid == "log" else np.linspace)(q_min, q_max, points)
    shape = (curves, points)
    intensity, sigma, expected = np.empty(shape), np.empty(shape), np.empty(shape)
    truth: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []
    drawn = tuple(PHASE_BY_NAME[name] for name in every_phase)
    for i in range(curves):
        rng = np.random.default_rng([seed, i, 0])
        share = rng.random()
        level = log_uniform(rng, *counts) if isinstance(counts, tuple) else counts
        befallen = rng.random(len(COMMON_PERTURBATIONS)) < _PERTURBED
        if share < negatives:
            recipe = draw_negative(rng, q, kinds[int(rng.integers(len(kinds)))])
        else:
            chosen = tuple(np.array(COMMON_PERTURBATIONS)[befallen].tolist()) if hard else ()
            if shares is not None:
                drawn_shares = np.random.default_rng([seed, i, 2]).random(shares.size)
                chosen = tuple(np.array(PERTURBATIONS)[drawn_shares < shares].tolist())
            recipe = draw_bragg(rng, q, drawn, share < negatives + coexistence, chosen)
        unit = log_uniform(rng, 1e-3, 1e3)
        noise = np.random.default_rng([seed, i, 1])
        profiles = recipe.lines.profiles(q)
        rows = _measure(noise, recipe, profiles, level)
        intensity[i], sigma[i], expected[i] = (unit / level * row for row in rows[:3])
        name = f"simulated_{i:06d}"
        found = _describe_lines(name, q, recipe, profiles, rows[3], unit)
        lines += found
        truth.append(_describe_curve(name, recipe, found, level))
    return Simulation(
        q,
        intensity,
        sigma,
        expected,
        pa.Table.from_pylist(truth, schema=TRUTH),
        pa.Table.from_pylist(lines, schema=LINES),
    )


def _chosen(
    names: Sequence[str] | None,
    known: tuple[str, ...],
    argument: str,
    default: tuple[str, ...] | None = None,
) -> tuple[str, ...]:
    if names is None:
        return known if default is None else default
    unknown = sorted(set(names) - set(known))
    if unknown or (not names and default != ()):
        raise ValueError(f"Expected {argument} out of {', '.join(known)}. Got {list(names)}.")
    return tuple(names)


def _shares(perturbations: Sequence[str] | Mapping[str, float]) -> FloatArray:
    """Share of the curves that each of `PERTURBATIONS` befalls; (perturbations,) float64."""
    _chosen(tuple(perturbations), PERTURBATIONS, "perturbations", ())
    if not isinstance(perturbations, Mapping):
        perturbations = dict.fromkeys(perturbations, 1.0)
    if not all(0.0 <= share <= 1.0 for share in perturbations.values()):
        raise ValueError(
            f"Expected the shares of perturbations from 0 to 1. Got {dict(perturbations)}."
        )
    return np.array([perturbations.get(name, 0.0) for name in PERTURBATIONS])


def _measure(
    rng: np.random.Generator, recipe: Recipe, profiles: FloatArray, counts: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Intensity, its sigma column, its expectation and its true variance, in counts; (points,)."""
    model = counts * recipe.model(profiles)
    area = np.broadcast_to(recipe.exposure, model.shape)
    detected = rng.poisson(model * area)
    intensity = detected / area
    variance = np.maximum(detected, 1.0) / area**2
    true_variance = np.maximum(model * area, 1.0) / area**2
    if recipe.blank is not None:
        blank = counts * recipe.blank * recipe.transmission
        detected = rng.poisson(blank * area)
        intensity = intensity - detected / area
        model = model - blank
        variance = variance + np.maximum(detected, 1.0) / area**2
        true_variance = true_variance + np.maximum(blank * area, 1.0) / area**2
    if recipe.splitting:
        intensity = split_pixels(intensity, recipe.splitting)
        model = split_pixels(model, recipe.splitting)
    return intensity, recipe.sigma_scale * np.sqrt(variance), model, true_variance / counts**2


def _describe_lines(
    name: str,
    q: FloatArray,
    recipe: Recipe,
    profiles: FloatArray,
    variance: FloatArray,
    unit: float,
) -> list[dict[str, Any]]:
    lines = recipe.lines
    snr = signal_to_noise(q, lines, profiles, variance, recipe.transmission)
    visible = visible_lines(lines, snr)
    inside = (lines.q > q[0]) & (lines.q < q[-1])
    return [
        {
            "id": name,
            "phase": recipe.phases[lines.phase[k]] if lines.phase[k] >= 0 else None,
            "n": int(lines.number[k]),
            "q": float(lines.q[k]),
            "fwhm": float(lines.fwhm[k]),
            "height": float(lines.height[k] * unit),
            "snr": float(snr[k]),
            "visible": bool(visible[k]),
        }
        for k in np.flatnonzero(inside)
    ]


def _describe_curve(
    name: str, recipe: Recipe, lines: list[dict[str, Any]], counts: float
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": name,
        "kind": recipe.kind,
        "visible": sum(line["visible"] for line in lines),  # of a negative: its false lines
        "perturbations": " ".join(recipe.perturbations),
        "counts": counts,
        "also": "",
    }
    for k, (phase, lattice) in enumerate(zip(recipe.phases, recipe.lattices, strict=True)):
        prefix = ("", "second_")[k]
        row |= {
            f"{prefix}phase": phase,
            f"{prefix}lattice": lattice,
            f"{prefix}visible": sum(line["visible"] for line in lines if line["phase"] == phase),
        }
    seen = [line["q"] for line in lines if line["visible"]]
    if not recipe.phases and len(seen) >= 3:
        row["also"] = " ".join(phases_that_fit(np.array(seen)))
    if recipe.kind == "bragg":
        numbers = [line["n"] for line in lines if line["visible"] and line["phase"]]
        row["also"] = " ".join(fit_as_well(PHASE_BY_NAME[recipe.phases[0]], numbers))
    if recipe.kind == "coexistence" and min(row["visible"], row["second_visible"]) >= 3:
        lattices = dict(zip(recipe.phases, recipe.lattices, strict=True))
        row["also"] = " ".join(sets_that_fit(_places(lines, lattices), lattices))
    return row


def _places(lines: list[dict[str, Any]], lattices: Mapping[str, float]) -> FloatArray:
    """Where the lattices put the lines that can be seen, in 1/nm, increasing; (lines,) float64."""
    places = [
        PHASE_BY_NAME[line["phase"]].q(lattices[line["phase"]])[
            PHASE_BY_NAME[line["phase"]].reflections.index(line["n"])
        ]
        for line in lines
        if line["visible"] and line["phase"]
    ]
    return np.sort(places)


def fit_as_well(phase: Phase, numbers: Sequence[int], tolerance: float = 0.002) -> list[str]:
    """Phases that the given reflections of a phase fit as well.

    A phase does when each reflection lies within `tolerance` (relative) of one of its own, and
    when no more of its lines are missing, up to the highest of these, than of the phase's own.
    The phase itself does when it fits with another lattice parameter.

    Parameters
    ----------
    phase
        The true one.
    numbers
        n of its reflections that can be seen.
    """
    seen = phase.positions[np.isin(phase.reflections, numbers)]
    if seen.size < 2:
        return []
    missing = np.count_nonzero(phase.positions <= seen[-1] * 1.001) - seen.size
    found = []
    for other in PHASES:
        scaled = other.positions * (seen[0] / other.positions[:, None])
        near = np.abs(scaled[:, None, :] / seen[:, None] - 1.0).min(axis=2) < tolerance
        lacking = np.count_nonzero(scaled <= seen[-1] * 1.001, axis=1) - seen.size
        fits = near.all(axis=1) & (lacking <= missing)
        if other is phase:
            fits &= phase.positions != seen[0]
        if fits.any():
            found.append(other.name)
    return found
