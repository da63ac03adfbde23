"""Guinier, Porod and Kratky beside freesas, processor time: ``python -m benchmarks.solution``."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
from freesas.autorg import auto_gpa, auto_guinier, autoRg
from freesas.invariants import calc_Porod
from numpy.typing import NDArray

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.pipeline import Pipeline
from gpusaxs.sample import Origin
from gpusaxs.tables import tables_of

FloatArray = NDArray[np.float64]

POINTS = 1000
STAGES = ("guinier", "porod", "kratky")


def globules(curves: int, seed: int = 0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Particles with Rg of 1.5 to 6 nm: q in 1/nm, intensity and sigma (curves, points)."""
    rng = np.random.default_rng(seed)
    q = np.linspace(0.05, 5.0, POINTS)
    rg = rng.uniform(1.5, 6.0, (curves, 1))
    u = (q * rg) ** 2
    porod = np.exp(-2.0) * 36.0 / u**2
    intensity = 100.0 * np.where(u < 6.0, np.exp(-u / 3.0), porod) + 0.05
    sigma = 0.1 * np.sqrt(intensity)
    return q, intensity + sigma * rng.standard_normal(intensity.shape), sigma


def ours(curves: int, rounds: int) -> dict[str, float]:
    """Processor time of each stage, in microseconds a curve; the least of the rounds."""
    q, intensity, sigma = globules(curves)
    ids = [str(number) for number in range(curves)]
    rows = np.arange(curves)
    stages = Pipeline.load("solution").stages
    spent: dict[str, float] = {}
    backend = NumpyBackend(1)
    for _ in range(rounds + 1):  # the first compiles, or loads what is compiled
        batch = SampleBatch.from_arrays(ids, q, intensity, sigma.copy(), backend)
        for stage in stages:
            seconds = _seconds(lambda: stage.launch(batch, rows))  # noqa: B023
            spent[stage.name] = min(spent.get(stage.name, np.inf), seconds)
        origins = [Origin()] * curves
        with_numbers = _seconds(lambda: tables_of(batch, origins))  # noqa: B023
        numbers, batch.numbers = batch.numbers, {}
        columns, batch.number_columns = batch.number_columns, {}
        without = _seconds(lambda: tables_of(batch, origins))  # noqa: B023
        batch.numbers, batch.number_columns = numbers, columns
        spent["tables"] = min(spent.get("tables", np.inf), without)
        spent["tables with numbers"] = min(spent.get("tables with numbers", np.inf), with_numbers)
    return {name: 1e6 * seconds / curves for name, seconds in spent.items()}


def theirs(curves: int, rounds: int) -> dict[str, float]:
    """Processor time of each function of freesas in a loop, in microseconds a curve."""
    q, intensity, sigma = globules(curves)
    given = [np.column_stack([q, *both]) for both in zip(intensity, sigma, strict=True)]
    fits = [autoRg(one) for one in given]
    functions: dict[str, Callable[[], object]] = {
        "autoRg": lambda: [autoRg(one) for one in given],
        "auto_gpa": lambda: [auto_gpa(one) for one in given],
        "auto_guinier": lambda: [auto_guinier(one) for one in given],
        "calc_Porod": lambda: [calc_Porod(*both) for both in zip(given, fits, strict=True)],
    }
    return {
        name: 1e6 * min(_seconds(run) for _ in range(rounds)) / curves
        for name, run in functions.items()
    }


def _seconds(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def lines(curves: int, peers_curves: int, rounds: int) -> list[str]:
    """Return the numbers as a Markdown table."""
    found = {f"gpusaxs, {name}": spent for name, spent in ours(curves, rounds).items()}
    found |= {f"freesas, {name}": spent for name, spent in theirs(peers_curves, rounds).items()}
    rows = [f"| {name} | {spent:,.1f} |" for name, spent in found.items()]
    return [f"| {POINTS:,} points, one core | microseconds a curve |", "| --- | ---: |", *rows]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.solution", description=__doc__)
    parser.add_argument("--curves", type=int, default=2000, help="curves for gpusaxs")
    parser.add_argument("--peers-curves", type=int, default=20, help="curves for freesas")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    print("\n".join(lines(asked.curves, asked.peers_curves, asked.rounds)))


if __name__ == "__main__":
    main()
