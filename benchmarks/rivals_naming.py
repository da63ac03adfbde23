"""Phases named by an ordinary script, by the older program's recipe and by gpusaxs."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import ratio_script
from benchmarks.ratio_script import NOTHING, Answer
from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.io import read
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Sample, Verdict
from gpusaxs.simulate import HARD_NEGATIVES, TAME_NEGATIVES, simulate

FloatArray = NDArray[np.float64]

SEED = 51001
COUNTS = (200.0, 2000.0, 20000.0)
VISIBLE = 4
LATTICE_TOLERANCE = 0.003
MEASURED = Path(__file__).parents[2] / "shared" / "data"
_NAMES = {"Im3m": "Im-3m"}
# The recipe's thresholds were made for intensities of about this at the highest point.
_CLASSIC_TOP = 30.0
_CLASSIC_CUT = 100


class Known(NamedTuple):
    """A curve with its answer: a phase, a lattice parameter in nm and how well that is known."""

    sample: Sample
    phase: str | None
    lattice: float
    tolerance: float


class Group(NamedTuple):
    """Curves that are counted together."""

    name: str
    curves: list[Known]


@dataclass(frozen=True)
class Score:
    """What a tool says of a group of curves.

    Attributes
    ----------
    right
        The phase, with its lattice parameter within the tolerance; of curves without a phase,
        none named.
    off
        The phase, with another lattice parameter.
    wrong
        Another phase, or one where there is none.
    unnamed
        No phase where there is one.
    lattice_error
        Median relative error of the lattice parameter where the phase is right; NaN for none.
    milliseconds
        Processor time a curve.
    """

    tool: str
    group: str
    curves: int
    right: int
    off: int
    wrong: int
    unnamed: int
    lattice_error: float
    milliseconds: float


def simulated_groups(curves: int, seed: int = SEED) -> list[Group]:
    """Curves of one phase with four visible lines or more by their counts; and negatives."""
    groups = []
    for counts in COUNTS:
        drawn = simulate(curves, seed=seed, counts=counts)
        known = [
            Known(Sample(row["id"], drawn.q, i, s), row["phase"], row["lattice"], LATTICE_TOLERANCE)
            for row, i, s in zip(drawn.truth.to_pylist(), drawn.intensity, drawn.sigma, strict=True)
            if row["visible"] >= VISIBLE
        ]
        groups.append(Group(f"simulated, {counts:,.0f} counts", known))
    drawn = simulate(
        curves,
        seed=seed,
        counts=(COUNTS[0], COUNTS[-1]),
        negatives=1.0,
        negative_kinds=TAME_NEGATIVES + HARD_NEGATIVES,
    )
    negatives = [
        Known(Sample(row["id"], drawn.q, i, s), None, math.nan, math.nan)
        for row, i, s in zip(drawn.truth.to_pylist(), drawn.intensity, drawn.sigma, strict=True)
    ]
    groups.append(Group("simulated, no phase", negatives))
    return groups


def measured_groups(folder: Path = MEASURED) -> list[Group]:
    """The measured curves with a known answer, with a phase and without; none where they are not.

    Curves whose second line does not stand out count as what they are all the same.
    """
    if not folder.is_dir():
        return []
    with open(folder / "truth.csv", newline="") as opened:
        rows = [row for row in csv.DictReader(opened) if row["phase"]]
    known = [_measured(folder, row) for row in rows]
    return [
        Group("measured, a phase", [one for one in known if one.phase is not None]),
        Group("measured, no phase", [one for one in known if one.phase is None]),
    ]


def _measured(folder: Path, row: dict[str, str]) -> Known:
    sample = read(folder / row["file"])[0]
    if row["phase"] == "none":
        return Known(sample, None, math.nan, math.nan)
    phase = _NAMES.get(row["phase"], row["phase"])
    if not row["lattice_nm"]:
        return Known(sample, phase, math.nan, math.inf)
    return Known(sample, phase, float(row["lattice_nm"]), float(row["relative_tolerance"]))


def scored(tool: str, group: Group, answers: Sequence[Answer], seconds: float) -> Score:
    """Count the answers."""
    right = off = wrong = unnamed = 0
    errors = []
    for known, found in zip(group.curves, answers, strict=True):
        if found.phase != known.phase:
            wrong += found.phase is not None
            unnamed += found.phase is None
        elif known.phase is None:
            right += 1
        else:
            error = abs(found.lattice / known.lattice - 1.0)
            near = math.isnan(error) or error <= known.tolerance
            right += near
            off += not near
            errors.append(error)
    return Score(
        tool,
        group.name,
        len(answers),
        right,
        off,
        wrong,
        unnamed,
        float(np.nanmedian(errors)) if errors else math.nan,
        1e3 * seconds / len(answers),
    )


def by_script(group: Group, each: Callable[..., Iterable[Any]]) -> Score:
    """Let the script answer; `each` as `ratio_script.answers` has it."""
    curves = [_sound(known.sample) for known in group.curves]
    return scored("SciPy and ratios", group, *ratio_script.answers(curves, each))


def by_preset(name: str, group: Group, prepared: Callable[[Sample], Sample]) -> Score:
    """Let a preset answer, on one core; the least processor time of two rounds."""
    runtime = Runtime(NumpyBackend(1), pipeline=Pipeline.load(name))
    samples = [prepared(known.sample) for known in group.curves]
    rounds = []
    for _ in range(2):
        began = time.process_time()
        done = runtime.run(samples)
        rounds.append(time.process_time() - began)
    return scored(name, group, [_answer(sample) for sample in done], min(rounds))


def _answer(sample: Sample) -> Answer:
    if sample.verdict is not Verdict.IDENTIFIED:
        return NOTHING
    together = [match.phase for match in sample.phases if match.candidate == 0]
    return Answer(" + ".join(together), sample.phases[0].lattice)


def as_it_is(sample: Sample) -> Sample:
    """Return the curve."""
    return sample


def for_classic(sample: Sample) -> Sample:
    """Return the curve scaled to the intensities that the recipe's thresholds were made for."""
    scale = _CLASSIC_TOP / np.nanmax(sample.intensity[_CLASSIC_CUT:])
    sigma = None if sample.sigma is None else scale * sample.sigma
    return Sample(sample.id, sample.q, scale * sample.intensity, sigma)


def _sound(sample: Sample) -> tuple[FloatArray, FloatArray]:
    good = np.isfinite(sample.q) & np.isfinite(sample.intensity) & (sample.q > 0)
    return sample.q[good], sample.intensity[good]


def compare(groups: Sequence[Group], each: Callable[..., Iterable[Any]] = map) -> list[Score]:
    """Let all three answer all curves; `each` as `ratio_script.answers` has it."""
    scores = []
    for group in groups:
        scores.append(by_script(group, each))
        scores.append(by_preset("classic", group, for_classic))
        scores.append(by_preset("standard", group, as_it_is))
    return scores
