"""Whether uncertainties and probabilities mean what they say: ``python -m benchmarks.calibration``.

Pulls: curves without a flaw are drawn once and their noise many times. What a fit of a line is off
by over its sigma is then split in two: the scatter about the mean of that line's fits is what
sigma stands for; the distance of that mean from the truth is a bias (a background that is not
straight under the line), which no covariance knows of.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import gpusaxs
from benchmarks.accuracy import Answers, Chosen, parser
from benchmarks.known_answers import EXPOSURES, answers, groups
from benchmarks.markdown import table
from gpusaxs.pipeline import Pipeline
from gpusaxs.simulate import Simulation, simulate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FloatArray = NDArray[np.float64]

APART = 3.0
"""Lines whose neighbours and ends of the curve are further away, in FWHM, are measured."""

OFTEN = 0.95
"""Share of the noises in which a line has to be found: else the luckier half alone would be."""

SNR_EDGES = (6.0, 12.0, 30.0, 100.0, np.inf)
QUANTITIES = ("q", "fwhm", "height")
EDGES = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
"""Of the bins of a reliability diagram."""

_NEAR = 0.5  # a peak this close to a line, in FWHM, is a fit of it


@dataclass(frozen=True)
class Pulls:
    """Errors over sigma of one quantity, of some lines or curves.

    Attributes
    ----------
    what
        The quantity and which lines.
    lines, fits
        How many different ones, and how many fits of them with different noise.
    robust, plain
        Standard deviation of the scatter over sigma: 1.4826 times the median of its size, and the
        usual one.
    beyond
        Share of the fits whose scatter is more than 3 sigma.
    bias
        Median over the lines of the size of (mean of the fits - truth) over the median sigma.
    total
        Standard deviation of (fit - truth) over sigma, robust.
    """

    what: str
    lines: int
    fits: int
    robust: float
    plain: float
    beyond: float
    bias: float
    total: float


@dataclass(frozen=True)
class Fits:
    """Fits of one line, or lattice parameters of one curve, with different noise.

    Attributes
    ----------
    value, sigma : (fits,) float64
    truth
        What they should be.
    snr
        Of the line; of the strongest line for a lattice parameter.
    """

    value: FloatArray
    sigma: FloatArray
    truth: float
    snr: float

    def known(self) -> Fits:
        """Return those that have an uncertainty."""
        good = np.isfinite(self.sigma) & (self.sigma > 0.0)
        return Fits(self.value[good], self.sigma[good], self.truth, self.snr)


def with_noise(simulation: Simulation, noises: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Draw the noise of flawless curves anew.

    Returns
    -------
    intensity, sigma : (curves * noises, points) float64
        Curve by curve, in the unit that each curve has.
    """
    # The strongest line has `counts` at its top.
    tops = [max(line["height"] for line in lines) for lines in _lines_of_each(simulation)]
    unit = (np.array(tops) / simulation.truth["counts"].to_numpy()).repeat(noises)[:, np.newaxis]
    model = simulation.expected.repeat(noises, axis=0) / unit
    counts = np.random.default_rng(seed).poisson(model)
    return unit * counts, unit * np.sqrt(np.maximum(counts, 1.0))


def fits_of(
    simulation: Simulation, noises: int, seed: int, pipeline: Pipeline
) -> dict[str, list[Fits]]:
    """Process each curve with many noises; the fits of its separate lines, and its lattice."""
    intensity, sigma = with_noise(simulation, noises, seed)
    result = gpusaxs.process(
        simulation.q, intensity, sigma, q_unit="1/nm", pipeline=pipeline, backend="numpy"
    )
    found: dict[str, list[Fits]] = {name: [] for name in (*QUANTITIES, "lattice")}
    peaks = {
        name: np.asarray(result.peaks[name].to_numpy(zero_copy_only=False), float)
        for name in ("q", *(f"{name}_sigma" for name in QUANTITIES), *QUANTITIES[1:])
    }
    owner = np.array(result.peaks["id"].to_pylist(), dtype=np.int64)
    for place, lines in enumerate(_lines_of_each(simulation)):
        own = owner // noises == place
        for line in _separate(lines, simulation.q):
            near = own & (np.abs(peaks["q"] - line["q"]) < _NEAR * line["fwhm"])
            near &= np.isfinite(peaks["q_sigma"]) & (peaks["q_sigma"] > 0.0)
            # The first fit of a line is the line; what is found beside it later is what it left.
            _, first = np.unique(owner[near], return_index=True)
            if first.size < OFTEN * noises:
                continue
            for name in QUANTITIES:
                value, error = peaks[name][near][first], peaks[f"{name}_sigma"][near][first]
                found[name].append(Fits(value, error, line[name], line["snr"]))
    _add_lattices(simulation, result, noises, found["lattice"])
    return found


def _lines_of_each(simulation: Simulation) -> Iterator[list[dict[str, Any]]]:
    lines = simulation.lines.to_pylist()
    for name in simulation.truth["id"].to_pylist():
        yield [line for line in lines if line["id"] == name and line["height"] > 0.0]


def _separate(lines: Sequence[dict[str, Any]], q: FloatArray) -> Iterator[dict[str, Any]]:
    for line in lines:
        away = [abs(other["q"] - line["q"]) for other in lines if other is not line]
        nearest = min([*away, line["q"] - q[0], q[-1] - line["q"]])
        if line["snr"] > SNR_EDGES[0] and nearest > APART * line["fwhm"]:
            yield line


def _add_lattices(
    simulation: Simulation, result: gpusaxs.Result, noises: int, found: list[Fits]
) -> None:
    samples = result.samples.select(["verdict", "phase", "lattice", "lattice_sigma"]).to_pylist()
    best = [
        max((line["snr"] for line in lines), default=0.0) for lines in _lines_of_each(simulation)
    ]
    for place, true in enumerate(simulation.truth.to_pylist()):
        own = samples[place * noises : (place + 1) * noises]
        named = [row for row in own if row["phase"] == true["phase"]]
        if len(named) >= OFTEN * noises:
            value = np.array([row["lattice"] for row in named])
            error = np.array([row["lattice_sigma"] for row in named])
            found.append(Fits(value, error, true["lattice"], best[place]))


def pulls(what: str, fits: Sequence[Fits]) -> Pulls:
    """Summarise fits of different lines; one that knows no sigma says nothing."""
    fits = [one.known() for one in fits]
    scatter = np.concatenate(
        [
            (one.value - one.value.mean())
            / one.sigma
            * np.sqrt(one.value.size / (one.value.size - 1))
            for one in fits
        ]
    )
    total = np.concatenate([(one.value - one.truth) / one.sigma for one in fits])
    bias = [abs(one.value.mean() - one.truth) / np.median(one.sigma) for one in fits]
    return Pulls(
        what,
        len(fits),
        scatter.size,
        float(1.4826 * np.median(np.abs(scatter))),
        float(scatter.std()),
        float((np.abs(scatter) > 3.0).mean()),
        float(np.median(bias)),
        float(1.4826 * np.median(np.abs(total))),
    )


def measure_pulls(
    recipes: int, noises: int, seed: int, pipeline: Pipeline
) -> tuple[list[Pulls], list[Pulls]]:
    """Pulls of each quantity by the SNR of the line, and by exposure."""
    by_exposure: dict[float, dict[str, list[Fits]]] = {}
    for counts in EXPOSURES[1:]:
        curves = simulate(recipes, seed=seed, counts=counts, perturbations=())
        by_exposure[counts] = fits_of(curves, noises, seed, pipeline)
    by_snr, by_counts = [], []
    for name in (*QUANTITIES, "lattice"):
        fits = [one for of in by_exposure.values() for one in of[name]]
        for low, high in itertools.pairwise(SNR_EDGES):
            some = [one for one in fits if low <= one.snr < high]
            if some:
                words = f"{low:.0f} to {high:.0f}" if np.isfinite(high) else f"over {low:.0f}"
                by_snr.append(pulls(f"{name}, SNR {words}", some))
        for counts, of in by_exposure.items():
            if of[name]:
                by_counts.append(pulls(f"{name}, {counts:,.0f} counts", of[name]))
    return by_snr, by_counts


@dataclass(frozen=True)
class Bin:
    """Curves whose verdict is said to be about equally sure.

    Attributes
    ----------
    low, high
        Ends of the bin.
    curves
        How many.
    said, right
        Mean probability, and the share whose phases are all there, each with its lattice parameter.
    error
        Standard uncertainty of that share.
    complete
        Share in which there is no other phase besides.
    """

    low: float
    high: float
    curves: int
    said: float
    right: float
    error: float
    complete: float


def reliability(found: Answers, chosen: Chosen) -> list[Bin]:
    """Compare the probabilities of identified curves with how many are right.

    A probability is that of all phases that are named; it does not say that there is no other.
    """
    said = found["probability"].astype(float)
    known = chosen & (found["verdict"] == "identified") & np.isfinite(said)
    complete = found["answer"] == "right"
    right = complete | (found["answer"] == "partly")
    bins = []
    for low, high in itertools.pairwise(EDGES):
        inside = known & (said >= low) & ((said < high) | (high == EDGES[-1]))
        number = int(inside.sum())
        if number:
            share = float(right[inside].mean())
            # One right and one wrong more: no share is known for sure from few curves.
            smooth = (number * share + 1.0) / (number + 2.0)
            error = float(np.sqrt(smooth * (1.0 - smooth) / number))
            mean, alone = float(said[inside].mean()), float(complete[inside].mean())
            bins.append(Bin(low, high, number, mean, share, error, alone))
    return bins


def departure(bins: Sequence[Bin]) -> float:
    """Mean distance of what is said from what is right, weighted by the curves of the bins."""
    weights = [one.curves for one in bins]
    return float(np.average([abs(one.said - one.right) for one in bins], weights=weights))


def diagrams(found: Answers) -> dict[str, list[Bin]]:
    """Return the reliability of verdicts on all curves, and on parts of them."""
    everything = np.ones(len(found["kind"]), dtype=bool)
    parts = {
        "all curves": everything,
        "one phase and negatives": ~found.pairs,
        "pairs": found.pairs,
        **{f"all, {counts:,.0f} counts": found["counts"] == counts for counts in EXPOSURES},
    }
    found_bins = {name: reliability(found, chosen) for name, chosen in parts.items()}
    return {name: bins for name, bins in found_bins.items() if bins}


def draw(bins: Mapping[str, Sequence[Bin]], path: Path) -> None:
    """Draw the reliability diagram of all curves: what is said against what is right."""
    import matplotlib as mpl  # noqa: PLC0415 the numbers need no plots
    from matplotlib.figure import Figure  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "gpusaxs"
    mpl.rcParams["svg.fonttype"] = "none"
    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    _draw_bins(above, bins)
    everything = next(iter(bins.values()))
    middle = [0.5 * (one.low + one.high) for one in everything]
    width = [one.high - one.low for one in everything]
    below.bar(middle, [one.curves for one in everything], width, color="#7f7f7f", alpha=0.6)
    below.set_yscale("log")
    below.set_ylim(bottom=1.0)
    below.minorticks_off()
    below.set_ylabel("curves")
    below.set_xlabel("probability said")
    figure.savefig(path)


def _draw_bins(ax: Axes, bins: Mapping[str, Sequence[Bin]]) -> None:
    ax.plot([0.0, 1.0], [0.0, 1.0], color="#999999", linewidth=1)
    colours = ("#4878a8", "#d1793b", "#6a9f58")
    for (name, of), colour in zip(list(bins.items())[:3], colours, strict=False):
        said, right = [one.said for one in of], [one.right for one in of]
        error = [one.error for one in of]
        ax.errorbar(said, right, error, fmt="o-", color=colour, label=name, markersize=4, capsize=2)
    ax.set_ylabel("share that is right")
    ax.legend(frameon=False, fontsize=8)


def pull_table(first: str, rows: Sequence[Pulls]) -> str:
    """Return a table of pulls."""
    head = ("lines", "fits", "robust SD", "SD", "beyond 3", "bias", "total")
    return table(
        (first, *head),
        [
            (
                one.what,
                f"{one.lines:,}",
                f"{one.fits:,}",
                f"{one.robust:.3f}",
                f"{one.plain:.3f}",
                f"{100.0 * one.beyond:.2f} %",
                f"{one.bias:.2f}",
                f"{one.total:.2f}",
            )
            for one in rows
        ],
    )


def bin_table(bins: Sequence[Bin]) -> str:
    """Return a table of a reliability diagram."""
    return table(
        ("probability", "curves", "said", "right", "and no other"),
        [
            (
                f"{one.low:g} to {one.high:g}",
                f"{one.curves:,}",
                f"{100.0 * one.said:.1f} %",
                f"{100.0 * one.right:.1f} +- {100.0 * one.error:.1f} %",
                f"{100.0 * one.complete:.1f} %",
            )
            for one in bins
        ],
    )


def parts(
    by_snr: Sequence[Pulls], by_counts: Sequence[Pulls], bins: Mapping[str, list[Bin]]
) -> dict[str, str]:
    """Return all tables by their names in docs/accuracy.md."""
    probabilities = [
        f"{name.capitalize()}:\n\n{bin_table(of)}\n\nMean departure {100.0 * departure(of):.1f} %."
        for name, of in bins.items()
    ]
    return {
        "pulls by snr": pull_table("quantity", by_snr),
        "pulls by exposure": pull_table("quantity", by_counts),
        "probabilities": "\n\n".join(probabilities) or "This pipeline gives no probabilities.",
    }


def options() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = parser(
        "Whether uncertainties and probabilities mean what they say.",
        "python -m benchmarks.calibration",
    )
    made.add_argument("--recipes", type=int, default=60, help="curves whose noise is drawn anew")
    made.add_argument("--noises", type=int, default=50, help="how often")
    made.add_argument("--json", type=Path, help="write the numbers to this file")
    made.add_argument("--picture", type=Path, help="draw the reliability diagram")
    return made


def main() -> None:
    """Measure and print."""
    asked = options().parse_args()
    pipeline = Pipeline.load(asked.pipeline).with_settings(asked.settings)
    by_snr, by_counts = measure_pulls(asked.recipes, asked.noises, asked.seed, pipeline)
    rows = (
        answers(groups(asked.curves, asked.seed), pipeline, asked.workers) if asked.curves else ()
    )
    tables = list(rows)
    bins = diagrams(Answers(pa.concat_tables(tables))) if tables else {}
    if asked.json:
        document = {
            "pulls": [asdict(one) for one in (*by_snr, *by_counts)],
            "reliability": {name: [asdict(one) for one in of] for name, of in bins.items()},
        }
        asked.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if asked.picture and bins:
        draw(bins, asked.picture)
    made = parts(by_snr, by_counts, bins)
    print("\n\n".join(f"### {name}\n\n{part}" for name, part in made.items()))


if __name__ == "__main__":
    main()
