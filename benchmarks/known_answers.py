"""The fixed set of simulated curves, and what a pipeline answers to each of them."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

import gpusaxs
from gpusaxs.backends.numpy import available_cores
from gpusaxs.phases import PHASES
from gpusaxs.pipeline import Pipeline
from gpusaxs.simulate import HARD_NEGATIVES, Simulation, simulate

DEVELOPMENT_SEED = 71000
"""For whoever works on the stages. The published numbers have a seed that nobody tunes on."""

EXPOSURES = (10.0, 200.0, 2000.0, 20000.0)
SHARES = {
    "asymmetric": 0.2,
    "offset": 0.2,
    "wrong_sigma": 0.2,
    "first_missing": 0.1,
    "first_two_missing": 0.05,
}
"""Which share of the curves with a phase each perturbation befalls, one apart from another."""

PAIRS = "pairs"
NEGATIVES = "negatives"
_NEGATIVES_A_PHASE = 5.0
SAME_LATTICE = 0.01
"""A right phase whose lattice parameter is further off (relative) was indexed wrongly."""

_FOUND = 0.3  # a peak this close to a line, in FWHM, is that line

ANSWERS = pa.schema(
    [
        ("group", pa.string()),
        ("seed", pa.int64()),
        ("row", pa.int64()),
        ("kind", pa.string()),
        ("truth", pa.string()),
        ("counts", pa.float64()),
        ("perturbations", pa.string()),
        ("visible", pa.int64()),
        ("also", pa.string()),
        ("answer", pa.string()),
        ("verdict", pa.string()),
        ("named", pa.string()),
        ("lattice_error", pa.float64()),
        ("margin", pa.float64()),
        ("probability", pa.float64()),
        ("found", pa.int64()),
        ("bragg", pa.int64()),
        ("spurious", pa.int64()),
        ("refused", pa.string()),
    ]
)
"""One row a curve. ``truth``: its phases, joined by " + " and in the order of the alphabet;
empty for a negative. ``visible``: lines of the phase that can be seen, for a pair the fewer of its
two phases. ``answer``: one of `KINDS_OF_ANSWER`. ``named``: the phases identified, or the
candidates of an ambiguous curve, set apart by "; ". ``lattice_error``: relative, with its sign,
the larger one of a pair; where the phases named are those that are there. ``found``, ``bragg``:
visible lines with a peak within 0.3 FWHM, and with one that was taken for a Bragg line;
``spurious``: peaks taken for Bragg lines where there is no line; ``refused``: what the peaks at
other visible lines were taken for (`gpusaxs.sample.LineKind`)."""

KINDS_OF_ANSWER = (
    "right",
    "misindexed",
    "partly",
    "wrong",
    "ambiguous with",
    "ambiguous without",
    "unindexed",
    "none",
    "failed",
)
"""``right``: identified as what is there, each lattice within `SAME_LATTICE`; ``misindexed``: with
another lattice; ``partly``: one phase of a pair is named, with its lattice, and none that is not
there; ``wrong``: a phase is named that is not there; ``ambiguous``: with the truth among the
candidates or without."""


@dataclass(frozen=True)
class Group:
    """Curves of one kind at one exposure.

    Attributes
    ----------
    name
        A phase, `PAIRS` or `NEGATIVES`.
    counts
        Of the strongest line at its top.
    curves, seed
        How many, and from which seed.
    """

    name: str
    counts: float
    curves: int
    seed: int

    def simulate(self) -> Simulation:
        """Draw the curves."""
        if self.name == NEGATIVES:
            return simulate(
                self.curves,
                seed=self.seed,
                counts=self.counts,
                negatives=1.0,
                negative_kinds=HARD_NEGATIVES,
            )
        pairs = self.name == PAIRS
        return simulate(
            self.curves,
            seed=self.seed,
            counts=self.counts,
            phases=None if pairs else [self.name],
            coexistence=1.0 if pairs else 0.0,
            perturbations=SHARES,
        )


def groups(curves: int = 1000, seed: int = DEVELOPMENT_SEED) -> list[Group]:
    """Return the set: `curves` a phase and exposure, as many pairs, five times as many negatives.

    Group k has the seed `seed` + k. The negatives are shared out over the exposures.
    """
    names = [*(phase.name for phase in PHASES), PAIRS, NEGATIVES]
    drawn = [(counts, name) for counts in EXPOSURES for name in names]
    negatives = round(_NEGATIVES_A_PHASE * curves / len(EXPOSURES))
    return [
        Group(name, counts, negatives if name == NEGATIVES else curves, seed + k)
        for k, (counts, name) in enumerate(drawn)
    ]


Prepared = Callable[[Pipeline, Simulation], Pipeline]
"""What makes a pipeline ready for the curves of a group."""


def as_it_is(pipeline: Pipeline, _: Simulation) -> Pipeline:
    """Leave a pipeline as it is."""
    return pipeline


def answers(
    chosen: Sequence[Group],
    pipeline: Pipeline,
    workers: int | None = None,
    prepared: Prepared = as_it_is,
) -> Iterator[pa.Table]:
    """Simulate groups and process them, in processes of their own; a table of `ANSWERS` each."""
    # Whoever compiles first keeps the kernels for all.
    processed(Group(PHASES[0].name, EXPOSURES[-1], 1, 0).simulate(), pipeline)
    count = min(workers or available_cores(), len(chosen))
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
        same = len(chosen)
        yield from pool.map(_answers_of, chosen, [pipeline] * same, [prepared] * same)


def processed(simulation: Simulation, pipeline: Pipeline) -> gpusaxs.Result:
    """Process the curves of a simulation, under their names in the truth, on one core."""
    return gpusaxs.process(
        simulation.q,
        simulation.intensity,
        simulation.sigma,
        q_unit="1/nm",
        ids=simulation.truth["id"].to_pylist(),
        pipeline=pipeline,
        backend="numpy",
        workers=1,
    )


def _answers_of(group: Group, pipeline: Pipeline, prepared: Prepared) -> pa.Table:
    simulation = group.simulate()
    return judge(simulation, processed(simulation, prepared(pipeline, simulation)), group)


def judge(simulation: Simulation, result: gpusaxs.Result, group: Group) -> pa.Table:
    """Compare what was found in the curves of a group with what is there."""
    given_to = candidates(result.phases)
    seen = _lines_seen(simulation, result)
    samples = result.samples.to_pylist()
    rows = []
    for number, (true, said) in enumerate(zip(simulation.truth.to_pylist(), samples, strict=True)):
        lattices = lattices_of(true)
        verdict = said["verdict"]
        given = given_to.get(true["id"], [])
        if verdict == "identified":
            given = given[:1]
        answer, error = judged(lattices, verdict, given)
        fewest = [true["visible"]] + ([true["second_visible"]] if len(lattices) == 2 else [])
        found, bragg, spurious, refused = seen[number]
        rows.append(
            {
                "group": group.name,
                "seed": group.seed,
                "row": number,
                "kind": true["kind"],
                "truth": " + ".join(sorted(lattices)),
                "counts": true["counts"],
                "perturbations": true["perturbations"],
                "visible": min(fewest),
                "also": true["also"],
                "answer": answer,
                "verdict": verdict,
                "named": "; ".join(" + ".join(sorted(one)) for one in given),
                "lattice_error": error,
                "margin": said["margin"],
                "probability": said["probability"],
                "found": found,
                "bragg": bragg,
                "spurious": spurious,
                "refused": refused,
            }
        )
    return pa.Table.from_pylist(rows, schema=ANSWERS)


def lattices_of(true: dict[str, Any]) -> dict[str, float]:
    """Return the lattice parameter of each phase that a row of the truth has."""
    return {
        true[f"{prefix}phase"]: true[f"{prefix}lattice"]
        for prefix in ("", "second_")
        if true[f"{prefix}phase"] is not None
    }


def candidates(phases: pa.Table) -> dict[str, list[dict[str, float]]]:
    """Return the answers to each curve, best first; one is the lattice of each of its phases."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for row in phases.select(["id", "candidate", "phase", "lattice"]).to_pylist():
        answer = found.setdefault(row["id"], {}).setdefault(row["candidate"], {})
        answer[row["phase"]] = row["lattice"]
    return {name: [answers[k] for k in sorted(answers)] for name, answers in found.items()}


def judged(
    truth: dict[str, float], verdict: str, given: Sequence[dict[str, float]]
) -> tuple[str, float | None]:
    """Return the kind of answer, and the largest relative error of a lattice parameter."""
    if verdict == "ambiguous":
        among = any(set(one) <= set(truth) for one in given)
        return ("ambiguous with" if among else "ambiguous without"), None
    if verdict != "identified":
        return verdict, None
    [named] = given
    if not set(named) <= set(truth):
        return "wrong", None
    error = max((named[phase] / truth[phase] - 1.0 for phase in named), key=abs)
    if abs(error) > SAME_LATTICE:
        return "misindexed", error
    return ("partly" if set(named) < set(truth) else "right"), error


def _lines_seen(simulation: Simulation, result: gpusaxs.Result) -> list[tuple[int, int, int, str]]:
    """Return the last four columns of `ANSWERS`."""
    lines = _of_each_curve(simulation, simulation.lines, ("q", "fwhm", "height", "visible"))
    peaks = _of_each_curve(simulation, result.peaks, ("q", "bragg", "kind"))
    seen = []
    for (q, fwhm, height, visible), (centres, called, kind) in zip(lines, peaks, strict=True):
        away = np.abs(centres[:, np.newaxis] - q)
        near = (away < _FOUND * fwhm) & visible
        beside = ((away < fwhm) & (height > 0.0)).any(axis=1)
        taken = near[called].any(axis=0)
        refused = kind[(near & ~taken).any(axis=1)]
        seen.append(
            (
                int(near.any(axis=0).sum()),
                int(taken.sum()),
                int((called & ~beside).sum()),
                " ".join(sorted(refused)),
            )
        )
    return seen


def _of_each_curve(
    simulation: Simulation, table: pa.Table, columns: Iterable[str]
) -> list[list[np.ndarray]]:
    """Split columns of a table, whose rows are in the order of the curves, by curve."""
    number = {name: k for k, name in enumerate(simulation.truth["id"].to_pylist())}
    owner = np.array([number[name] for name in table["id"].to_pylist()], dtype=np.int64)
    ends = np.searchsorted(owner, np.arange(len(number) + 1))
    values = [table[name].to_numpy(zero_copy_only=False) for name in columns]
    return [[column[a:b] for column in values] for a, b in itertools.pairwise(ends)]
