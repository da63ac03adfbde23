"""What the pipeline makes of other backgrounds: ``python -m benchmarks.backgrounds``.

On simulated curves and hard negatives with seeds of their own, and on measured curves whose phase
is known, where a folder of them is given.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import gpusaxs
from benchmarks.run import table
from gpusaxs.api import Result
from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.io import read
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Sample, Verdict
from gpusaxs.simulate import Simulation, score, simulate
from gpusaxs.stages.background import Background

FloatArray = NDArray[np.float64]

COUNTS = (200.0, 2000.0, 20000.0)
BRAGG_SEED, NEGATIVES_SEED, TIME_SEED = 41001, 41002, 41003
METHODS: Mapping[str, Mapping[str, object]] = {
    "none": {"mode": "none"},
    "snip, 20 points": {"mode": "snip", "max_half_window": 20},
    "snip, 40 points (standard)": {"mode": "snip"},
    "snip, 80 points": {"mode": "snip", "max_half_window": 80},
    "snip, 40 points, no transform": {"mode": "snip", "transform": False},
    "arpls, lam 1e3": {"mode": "arpls", "lam": 1e3},
    "arpls, lam 1e4": {"mode": "arpls", "lam": 1e4},
    "arpls, lam 1e5 (its default)": {"mode": "arpls"},
    "arpls, lam 1e6": {"mode": "arpls", "lam": 1e6},
    "arpls, lam 1e5, no transform": {"mode": "arpls", "transform": False},
    "power_law": {"mode": "power_law"},
}
_CLEAR = 20.0
"""Signal to noise of the lines whose fits are compared with the truth."""
_NEAR = 0.3
"""Largest distance of a fitted centre from that of its line, in FWHM."""
_ROUNDS = 5
_TRUE_NAMES = {"Im3m": "Im-3m"}


@dataclass(frozen=True, slots=True)
class OnSimulated:
    """What the pipeline finds in simulated curves of one exposure.

    Parameters
    ----------
    decidable, right
        Curves with four visible lines or more that no other phase fits, and how many of them are
        named with their lattice parameter.
    few, few_right
        The same of those with fewer visible lines.
    curves, wrong
        All curves of a phase, and how many are named as another.
    negatives, named
        Curves without a phase, and how many are named.
    lattice_error
        Median relative error of the lattice parameter of those named rightly.
    height, width
        Median of fitted height, and FWHM, over the true one, less one; clear lines.
    height_scatter
        Half the range of the middle 68 % of fitted over true height.
    """

    decidable: int
    right: int
    few: int
    few_right: int
    curves: int
    wrong: int
    negatives: int
    named: int
    lattice_error: float
    height: float
    width: float
    height_scatter: float


@dataclass(frozen=True, slots=True)
class OnMeasured:
    """What the pipeline finds in measured curves: how many are named rightly, wrongly, at all.

    Parameters
    ----------
    hexagonal, cubic_and_lamellar, none
        Curves of the phase that are named so with their lattice parameter, or of no phase that
        have no name.
    wrong
        Curves with another name than their own.
    """

    hexagonal: str
    cubic_and_lamellar: str
    none: str
    wrong: int


def pipeline_with(settings: Mapping[str, object]) -> Pipeline:
    """Return the standard pipeline with another background."""
    standard = Pipeline.load("standard")
    stages = [
        Background(**settings) if stage.name == "background" else stage  # type: ignore[arg-type]
        for stage in standard.stages
    ]
    return standard.model_copy(update={"stages": tuple(stages)})


def on_simulated(
    settings: Mapping[str, object], bragg: Simulation, negatives: Simulation
) -> OnSimulated:
    """Process simulated curves with a background, and compare with the truth."""
    result, of_negatives = (_processed(drawn, settings) for drawn in (bragg, negatives))
    found = score(result.samples, bragg.truth)
    every = (found.main, found.few_lines)
    heights, widths = _clear_lines(result, bragg)
    low, middle, high = np.quantile(heights, [0.16, 0.5, 0.84]) if heights.size else [np.nan] * 3
    return OnSimulated(
        found.decidable.curves,
        found.decidable.right,
        found.few_lines.curves,
        found.few_lines.right,
        sum(tally.curves for tally in every),
        sum(tally.wrong for tally in every),
        negatives.truth.num_rows,
        score(of_negatives.samples, negatives.truth).negatives.wrong,
        _lattice_error(result, bragg),
        float(middle) - 1.0,
        float(np.median(widths)) - 1.0 if widths.size else np.nan,
        float(high - low) / 2.0,
    )


def _processed(drawn: Simulation, settings: Mapping[str, object]) -> Result:
    return gpusaxs.process(
        drawn.q, drawn.intensity, drawn.sigma, q_unit="1/nm", pipeline=pipeline_with(settings)
    )


def _lattice_error(result: Result, drawn: Simulation) -> float:
    columns = ("phase", "lattice")
    mine, true = (
        [rows[name].to_pylist() for name in columns] for rows in (result.samples, drawn.truth)
    )
    errors = [
        abs(lattice / true_lattice - 1.0)
        for phase, lattice, true_phase, true_lattice in zip(*mine, *true, strict=True)
        if phase is not None and phase == true_phase
    ]
    return float(np.median(errors)) if errors else np.nan


def _clear_lines(result: Result, drawn: Simulation) -> tuple[FloatArray, FloatArray]:
    """Fitted over true height and FWHM of the clear lines that a converged fit lies on."""
    ids = drawn.truth["id"].to_pylist()
    fits: dict[str, list[tuple[float, float, float]]] = {}
    columns = ("id", "q", "height", "fwhm", "status")
    for number, q, height, fwhm, status in zip(
        *(result.peaks[name].to_pylist() for name in columns), strict=True
    ):
        if status == "converged":
            fits.setdefault(ids[int(number)], []).append((q, height, fwhm))
    ratios = []
    for line in drawn.lines.to_pylist():
        near = fits.get(line["id"])
        if near is None or not line["visible"] or line["snr"] < _CLEAR:
            continue
        q, height, fwhm = min(near, key=lambda fit: abs(fit[0] - line["q"]))
        if abs(q - line["q"]) < _NEAR * line["fwhm"]:
            ratios.append((height / line["height"], fwhm / line["fwhm"]))
    both = np.array(ratios).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def on_measured(settings: Mapping[str, object], folder: Path) -> OnMeasured:
    """Process the measured curves of ``truth.csv`` in a folder, and compare with it."""
    with (folder / "truth.csv").open(newline="") as opened:
        truth = [row for row in csv.DictReader(opened) if row["phase"]]
    samples = [read(str(folder / row["file"]))[0] for row in truth]
    with Runtime("numpy", pipeline=pipeline_with(settings)) as runtime:
        done = runtime.run(samples)
    answers = [
        (_TRUE_NAMES.get(row["phase"], row["phase"]), *_named(row, sample))
        for row, sample in zip(truth, done, strict=True)
    ]

    def share(of: Sequence[bool]) -> str:
        return f"{sum(of)} of {len(of)}"

    known = [(true, name == true and near) for true, name, near in answers]
    return OnMeasured(
        share([right for true, right in known if true == "hexagonal"]),
        share([right for true, right in known if true not in ("hexagonal", "none")]),
        share([name is None for true, name, _ in answers if true == "none"]),
        sum(name not in (None, true) for true, name, _ in answers),
    )


def _named(row: Mapping[str, str], sample: Sample) -> tuple[str | None, bool]:
    """Name that a curve was given, and whether its lattice parameter is the true one."""
    if sample.verdict is not Verdict.IDENTIFIED:
        return None, False
    best = sample.phases[0]
    if not row["lattice_nm"]:
        return best.phase, True
    error = abs(best.lattice / float(row["lattice_nm"]) - 1.0)
    return best.phase, error <= float(row["relative_tolerance"])


def microseconds(settings: Mapping[str, object], drawn: Simulation) -> float:
    """Processor time of the background of one curve, on one core; the least of some rounds."""
    stage = Background(**settings)  # type: ignore[arg-type]
    ids = drawn.truth["id"].to_pylist()
    backend = NumpyBackend(1)
    spent = []
    for _ in range(_ROUNDS):
        batch = SampleBatch.from_arrays(ids, drawn.q, drawn.intensity, drawn.sigma, backend)
        rows = batch.live_rows()
        began = time.thread_time()
        stage.launch(batch, rows)
        spent.append(time.thread_time() - began)
    return 1e6 * min(spent) / len(ids)


def markdown(
    curves: int,
    negatives: int,
    measured: Path | None,
    methods: Mapping[str, Mapping[str, object]] = METHODS,
    counts: Sequence[float] = COUNTS,
) -> Iterator[str]:
    """Yield the tables: one an exposure, then measured curves and time."""
    for level in counts:
        drawn = (
            simulate(curves, seed=BRAGG_SEED, counts=level),
            simulate(negatives, seed=NEGATIVES_SEED, counts=level, negatives=1.0, hard=True),
        )
        found = {name: on_simulated(settings, *drawn) for name, settings in methods.items()}
        yield f"{level:,.0f} counts:\n\n" + _simulated_table(found)
    timed = simulate(min(curves, 500), seed=TIME_SEED, counts=counts[-1])
    times = {name: f"{microseconds(settings, timed):.1f}" for name, settings in methods.items()}
    heading: tuple[str, ...] = ("background", "us a curve")
    rows: list[tuple[str, ...]] = list(times.items())
    if measured is not None:
        heading = (*heading, "hexagonal named", "other phases named", "none unnamed", "wrong")
        answers = [on_measured(settings, measured) for settings in methods.values()]
        rows = [
            (*row, real.hexagonal, real.cubic_and_lamellar, real.none, str(real.wrong))
            for row, real in zip(rows, answers, strict=True)
        ]
    yield f"Time of {drawn[0].q.size:,} points on one core, and measured curves:\n\n" + table(
        heading, rows
    )


def _simulated_table(found: Mapping[str, OnSimulated]) -> str:
    heading = (
        "background", "right", "right, few lines", "wrong", "negatives named", "lattice error",
        "height", "its scatter", "FWHM",
    )  # fmt: skip
    rows = [
        (
            name,
            f"{one.right} of {one.decidable}",
            f"{one.few_right} of {one.few}",
            f"{one.wrong} of {one.curves}",
            f"{one.named} of {one.negatives}",
            f"{1e4 * one.lattice_error:.2f}e-4",
            f"{100.0 * one.height:+.1f} %",
            f"{100.0 * one.height_scatter:.1f} %",
            f"{100.0 * one.width:+.1f} %",
        )
        for name, one in found.items()
    ]
    return table(heading, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=int, default=1500, help="of a phase, an exposure")
    parser.add_argument("--negatives", type=int, default=1000, help="an exposure")
    parser.add_argument("--measured", type=Path, help="folder with measured curves and truth.csv")
    given = parser.parse_args()
    for part in markdown(given.curves, given.negatives, given.measured):
        print(part, end="\n\n", flush=True)


if __name__ == "__main__":
    main()
