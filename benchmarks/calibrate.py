"""Fit the constants of `kernels/phase_verdict.py`: ``python -m benchmarks.calibrate``.

Curves of every phase, pairs and hard negatives are simulated at every exposure and processed; the
first candidate of each curve that has one is right where all its phases are there, each with its
lattice parameter. The logistic
map of its lead is fitted by maximum likelihood, with a floor of doubt for each class of answers.
Hexagonal and lamellar curves count more among answers from two lines: these name no other phase,
and where only two lines can be seen they are what is met.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.optimize import minimize

from benchmarks.known_answers import Group, candidates, groups, judged, lattices_of, processed
from gpusaxs.pipeline import Pipeline
from gpusaxs.sample import LineKind

SEED = 62000
CLASSES = ("two", "three", "four", "six", "several")
OF_TWO_LINES = ("hexagonal", "lamellar")
_WEIGHT_OF_TWO = 5.0
_REACH = 0.01  # of a reflection, relative: see `stages.phase.Phase.tolerance`

FloatArray = NDArray[np.float64]


def class_of(phases: list[dict[str, Any]], faint: FloatArray) -> int:
    """Place in `CLASSES` of an answer: by its phases, or by the reflections that are seen.

    A reflection whose line is a faint peak is matched, but not seen.
    """
    if len(phases) > 1:
        return 4
    expected = np.array(phases[0]["matched_q"])
    away = np.abs(faint / expected[:, np.newaxis] - 1.0)
    seen = int((away > _REACH).all(axis=1).sum())
    return 0 if seen < 3 else 1 if seen < 4 else 2 if seen < 6 else 3


def answers_of(group: Group) -> Iterator[tuple[float, int, bool, float]]:
    """Lead, class, whether it is right, and weight of the first candidate of each curve."""
    simulation = group.simulate()
    # All leads are wanted, also those that name nothing.
    pipeline = Pipeline.load("standard").with_settings(["phase.min_probability=1.0"])
    result = processed(simulation, pipeline)
    first: dict[str, list[dict[str, Any]]] = {}
    best = result.phases.filter(pc.equal(result.phases["candidate"], 0))
    given = candidates(best)
    for row in best.to_pylist():
        first.setdefault(row["id"], []).append(row)
    faint: dict[str, list[float]] = {}
    is_faint = pc.equal(result.peaks["kind"], LineKind.FAINT.label)
    for row in result.peaks.filter(is_faint).to_pylist():
        faint.setdefault(row["id"], []).append(row["q"])
    for true, said in zip(simulation.truth.to_pylist(), result.samples.to_pylist(), strict=True):
        phases = first.get(true["id"])
        if phases:
            answer, _ = judged(lattices_of(true), "identified", given[true["id"]])
            kind = class_of(phases, np.array(faint.get(true["id"], [])))
            weight = _WEIGHT_OF_TWO if kind == 0 and true["phase"] in OF_TWO_LINES else 1.0
            yield said["margin"], kind, answer in ("right", "partly"), weight


def fit(
    lead: FloatArray, kind: NDArray[np.int64], right: NDArray[np.bool_], weight: FloatArray
) -> FloatArray:
    """Offset, slope, and the floor of each class, by maximum likelihood; (2 + CLASSES,)."""

    def surprise(values: FloatArray) -> float:
        chance = (1.0 - values[2:][kind]) / (1.0 + np.exp(-(values[0] + values[1] * lead)))
        chance = np.clip(chance, 1e-9, 1.0 - 1e-9)
        return float(-(weight * np.where(right, np.log(chance), np.log1p(-chance))).sum())

    start = np.array([0.0, 0.8, 0.1, 0.05, 0.01, 0.01, 0.1])
    bounds = [(-3.0, 3.0), (0.1, 3.0), *[(1e-4, 0.5)] * len(CLASSES)]
    return np.asarray(minimize(surprise, start, bounds=bounds).x)


def main() -> None:
    """Fit and print."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.calibrate", description=__doc__)
    options.add_argument("--curves", type=int, default=100, help="curves a phase and exposure")
    options.add_argument("--seed", type=int, default=SEED, help="of the first group")
    asked = options.parse_args()
    rows = [row for group in groups(asked.curves, asked.seed) for row in answers_of(group)]
    lead, kind, right, weight = (np.array(column) for column in zip(*rows, strict=True))
    values = fit(lead, kind, right, weight)
    print(f"{lead.size} answers, {right.mean():.4f} of them right")
    print(f"_OFFSET = {values[0]:.3f}\n_SLOPE = {values[1]:.3f}")
    for name, floor in zip(CLASSES, values[2:], strict=True):
        print(f"_FLOOR_{name.upper()} = {floor:.4f}")


if __name__ == "__main__":
    main()
