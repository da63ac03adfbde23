"""Whether two backends come to the same answers, and why not where they do not.

Decisions (the peaks, their remarks, the phases, the verdict) are compared one by one, numbers to
`RELATIVE`. What differs is explained where the CPU alone does not keep it either when the last
bits of its input change: then it hangs on how sums are rounded, and both answers are right.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
from gpusaxs.kernels import peak_table as table

from gpusaxs.backends import Backend
from gpusaxs.batch import SampleBatch
from gpusaxs.io import read
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Sample
from gpusaxs.simulate import simulate

RELATIVE = 1e-9
LAST_BITS = 8
"""Times 2^-53: the largest share of themselves by which intensity and sigma are changed."""
CHANGED = 64
"""How often they are, for curves whose answers differ."""
SPREADS = 10.0
"""How many times as far as the largest of these changes another way of rounding may lead."""

# The recipe's thresholds, at the heights of the curves here.
CLASSIC = (
    "cut.skip_first=20",
    "find_peak.height=0.01",
    "find_peak.prominence=0.01",
    "classic_peak.min_height=0.001",
)
STANDARD = Pipeline.load("standard")
PRESETS = {
    "standard": STANDARD,
    "precise": Pipeline.load("precise"),
    "classic": Pipeline.load("classic").with_settings(CLASSIC),
    "solution": Pipeline.load("solution"),
}
VARIANTS = {
    "power law and moving average": STANDARD.with_settings(
        [
            "background.mode=power_law",
            "filter.method=moving_average",
            "find_peak.prominence_noise=30.0",
            "process_peak.scale_uncertainties=true",
        ]
    ),
    "arpls and the median in place of the curve": STANDARD.with_settings(
        ["background.mode=arpls", "filter.method=median", "filter.replace=true"]
    ),
    "widths and distances": STANDARD.with_settings(
        [
            "find_peak.width=1.0",
            "find_peak.distance=3.0",
            "find_peak.shoulder_noise=6.0",
            "process_peak.shape=gaussian",
        ]
    ),
}
REFINED = Pipeline.load("precise").with_settings(
    ["process_peak.shape=lorentzian", "refine.shape=best", "refine.likelihood=poisson"]
)
PIPELINES = PRESETS | VARIANTS | {"refined": REFINED}
RUNS = [
    *product(("random", "hard", "odd", "measured"), PRESETS),
    *product(("several lengths",), VARIANTS),
    ("two lengths", "refined"),
    ("solutions", "solution"),
]
"""Kinds of curves, each with the name of a pipeline that they are sent through."""

Outcome = dict[str, np.ndarray]
"""What was computed of some curves: tables by name, one row a curve."""

_PEAK_DECISIONS = [table.INDEX, table.STATUS, table.REMARKS, table.BRAGG]
_PHASE_DECISIONS = [
    table.PHASE, table.CANDIDATE, table.MATCHED, table.MISSING, table.UNEXPLAINED,
]  # fmt: skip
DECISIONS = (
    "start", "stop", "status", "n_peaks", "n_candidates", "which peaks", "verdict", "which phases",
)  # fmt: skip
ROWS = ("intensity", "sigma", "background", "residual", "search", "noise")
LEFT_OVER = ("residual", "search")
"""What is left of the reduced curve, to which their accuracy is relative."""
NUMBERS = (*ROWS, "peaks", "phases", "margin", "numbers of stages")


def random_curves(count: int, points: int) -> list[Sample]:
    """Curves of all phases, few counts and many; every fourth without sigma."""
    drawn = simulate(count, seed=31, counts=(10.0, 20000.0), points=points)
    return [
        Sample(f"random {i}", drawn.q, drawn.intensity[i], None if i % 4 == 3 else drawn.sigma[i])
        for i in range(count)
    ]


def hard_curves(count: int, points: int) -> list[Sample]:
    """Negatives of all kinds, pairs, and curves with all that can befall one."""
    drawn = simulate(
        count, seed=32, counts=(50.0, 20000.0), points=points, negatives=0.5, coexistence=0.25,
        hard=True,
    )  # fmt: skip
    return [Sample(f"hard {i}", drawn.q, drawn.intensity[i], drawn.sigma[i]) for i in range(count)]


def odd_curves(points: int) -> list[Sample]:
    """Curves that are hardly any: tiny, with holes, without a scale, with a sigma that is wrong."""
    drawn = simulate(1, seed=33, phases=["hexagonal"], counts=20000.0, points=points)
    q, intensity, sigma = drawn.q, drawn.intensity[0], drawn.sigma[0]
    rng = np.random.default_rng(34)
    holes = np.where(rng.random(points) < 0.3, np.nan, intensity)
    one = np.zeros(points)
    one[points // 2] = 100.0
    curves = {
        "one point": (q[:1], intensity[:1], sigma[:1]),
        "fifteen points": (q[:15], intensity[:15], sigma[:15]),
        "sixteen points": (q[:16], intensity[:16], sigma[:16]),
        "holes": (q, holes, sigma),
        "nothing": (q, np.full(points, np.nan), sigma),
        "level": (q, np.ones(points), sigma),
        "one point stands out": (q, one, np.ones(points)),
        "below zero": (q, intensity - intensity.max(), sigma),
        "large": (q, 1e12 * intensity, 1e12 * sigma),
        "small": (q, 1e-12 * intensity, 1e-12 * sigma),
        "sigma too small": (q, intensity, 0.05 * sigma),
        "sigma too large": (q, intensity, 20.0 * sigma),
        "sigma is zero": (q, intensity, np.zeros(points)),
        "the same q": (np.repeat(q[::2], 2)[:points], intensity, sigma),
    }
    return [Sample(name, *rows) for name, rows in curves.items()]


def curves_of_several_lengths() -> list[Sample]:
    """A few curves; one has no sigma, one starts in the shadow of a beamstop."""
    lengths = (250, 200, 250, 230, 249)
    phases = ["hexagonal", "Ia-3d", "lamellar"]
    curves = simulate(
        len(lengths), seed=5, phases=phases, counts=20000.0, points=250, q_min=0.3, q_max=1.5
    )
    samples = [
        Sample(str(i), curves.q[:n], curves.intensity[i, :n], curves.sigma[i, :n])
        for i, n in enumerate(lengths)
    ]
    samples[1].sigma = None
    samples[3].intensity[:4] *= 0.01
    return samples


def solutions() -> list[Sample]:
    """Particles in solution: globules, a sphere, a power law; one stands behind a beamstop."""
    q = np.linspace(0.05, 4.0, 120)
    shapes = [
        np.exp(-((q * 2.0) ** 2) / 3.0),
        1.0 / (1.0 + (q * 1.5) ** 2 / 6.0) ** 2,
        (3.0 * (np.sin(2.0 * q) - 2.0 * q * np.cos(2.0 * q)) / (2.0 * q) ** 3) ** 2,
        1e-3 * q**-3.0,
    ]
    shapes[1][:4] *= [0.01, 0.1, 0.4, 0.8]
    rng = np.random.default_rng(8)
    samples = []
    for number, shape in enumerate(shapes):
        n = 120 - 7 * number
        intensity = (100.0 * shape + 0.1)[:n]
        sigma = 0.05 * np.sqrt(intensity)
        noisy = intensity + sigma * rng.standard_normal(n)
        samples.append(Sample(f"solution{number}", q[:n], noisy, sigma))
    return samples


def measured_curves(folder: Path, every: int = 1) -> list[Sample]:
    """The measured curves with known answers, or every so many of them."""
    with open(folder / "truth.csv", newline="") as opened:
        files = [row["file"] for row in csv.DictReader(opened)]
    return [read(folder / file)[0] for file in files[::every]]


def thinned(sample: Sample, points: int) -> Sample:
    """A curve with so many of its points at most."""
    every = slice(None, None, -(-sample.q.size // points))
    sigma = None if sample.sigma is None else sample.sigma[every]
    return Sample(sample.id, sample.q[every], sample.intensity[every], sigma)


def few_curves(measured: Path) -> dict[str, list[Sample]]:
    """A few curves of each kind, as small as the simulator needs them."""
    kinds = _of_any_number()
    kinds |= {"random": random_curves(4, 120), "hard": hard_curves(5, 120), "odd": odd_curves(120)}
    if measured.is_dir():
        kinds["measured"] = [thinned(one, 120) for one in measured_curves(measured, 24)]
    return kinds


def many_curves(measured: Path) -> dict[str, list[Sample]]:
    """Curves of each kind as they come, for a card."""
    kinds = _of_any_number()
    kinds |= {
        "random": random_curves(300, 1000),
        "hard": hard_curves(600, 1000),
        "odd": odd_curves(1000),
    }
    if measured.is_dir():
        kinds["measured"] = measured_curves(measured)
    return kinds


def _of_any_number() -> dict[str, list[Sample]]:
    lengths = curves_of_several_lengths()
    return {"several lengths": lengths, "two lengths": lengths[:2], "solutions": solutions()}


def outcome(samples: list[Sample], pipeline: Pipeline, backend: Backend) -> Outcome:
    """Run a pipeline over curves and return all that came out."""
    batch = SampleBatch.from_samples(samples, backend)
    Runtime(backend, pipeline=pipeline).run_on(batch)

    def of(name: str) -> np.ndarray:
        return backend.to_host(getattr(batch, name))

    found = {name: of(name) for name in DECISIONS + NUMBERS if hasattr(batch, name)}
    peaks, phases = found["peaks"], found["phases"]
    # What lies behind those in use is what was there before.
    peaks[np.arange(peaks.shape[1]) >= found["n_peaks"][:, None]] = np.nan
    phases[np.arange(phases.shape[1]) >= of("n_phases")[:, None]] = np.nan
    point = np.arange(found["intensity"].shape[1])
    outside = (point < found["start"][:, None]) | (point >= found["stop"][:, None])
    for name in ROWS:
        found[name][outside] = np.nan
    found["which peaks"] = peaks[..., _PEAK_DECISIONS]
    found["which phases"] = phases[..., _PHASE_DECISIONS]
    tables = [backend.to_host(numbers) for numbers in batch.numbers.values()]
    found["numbers of stages"] = np.concatenate([np.empty((len(samples), 0)), *tables], axis=1)
    return {name: values.reshape(len(samples), -1) for name, values in found.items()}


def with_other_last_bits(samples: list[Sample], seed: int) -> list[Sample]:
    """The same curves, but for the last bits of intensity and sigma."""
    rng = np.random.default_rng(seed)

    def changed(row: np.ndarray) -> np.ndarray:
        return row * (1.0 + rng.integers(-LAST_BITS, LAST_BITS + 1, row.size) * 2.0**-53)

    return [
        Sample(s.id, s.q, changed(s.intensity), None if s.sigma is None else changed(s.sigma))
        for s in samples
    ]


@dataclass
class Report:
    """How far two outcomes agree.

    Attributes
    ----------
    curves, numbers
        How many were compared.
    moved
        Numbers that differ by more than `RELATIVE`, but by no more than on the CPU with other last
        bits in the input; by the array they are in.
    flips
        Curves with another decision that the CPU does not keep either; by the decision.
    unexplained
        What is left, in words.
    """

    curves: int = 0
    numbers: int = 0
    moved: Counter[str] = field(default_factory=Counter)
    flips: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.curves} curves, {self.numbers} numbers. Other last bits of the input move as "
            f"far: {dict(self.moved)}; they flip: {dict(self.flips)}. "
            f"Unexplained: {self.unexplained or 'nothing'}"
        )


def _decided_alike(one: Outcome, other: Outcome, name: str) -> np.ndarray:
    """Which curves have the same decision in two outcomes, (curves,) bool."""
    a, b = one[name], other[name]
    return ((a == b) | (np.isnan(a) & np.isnan(b))).all(axis=1)


def _distance(one: Outcome, other: Outcome, name: str) -> np.ndarray:
    """How far the numbers of two outcomes are apart, (curves, numbers); a lost one infinitely."""
    a, b = one[name], other[name]
    with np.errstate(invalid="ignore"):
        apart = np.where(a == b, 0.0, np.abs(a - b))
    apart[np.isnan(a) & np.isnan(b)] = 0.0
    return np.where(np.isnan(apart), np.inf, apart)


def _rows(one: Outcome, rows: np.ndarray, like: Outcome) -> Outcome:
    """Some curves of an outcome, without the padding that `like` has not."""
    return {name: values[rows][:, : like[name].shape[1]] for name, values in one.items()}


def compare(
    samples: list[Sample],
    found: Outcome,
    expected: Outcome,
    again: Callable[[list[Sample]], Outcome],
) -> Report:
    """Compare what two backends have found; `again` computes curves as `expected` was.

    Of a curve with another decision no numbers are compared, and of its decisions the first.
    """
    report = Report(len(samples))
    far = {}
    for name in NUMBERS:
        known = np.abs(expected[name])
        if name in LEFT_OVER:
            known = np.maximum(known, np.abs(expected["intensity"]))
        far[name] = _distance(found, expected, name) > RELATIVE * np.nan_to_num(known)
        report.numbers += int(np.isfinite(known).sum())
    differs = ~np.all([_decided_alike(found, expected, name) for name in DECISIONS], axis=0)
    rows = np.flatnonzero(differs | np.any([far[n].any(axis=1) for n in NUMBERS], axis=0))
    if rows.size == 0:
        return report
    some = [samples[row] for row in rows]
    others = [again(with_other_last_bits(some, seed)) for seed in range(CHANGED)]
    found, expected, far = (_rows(one, rows, others[0]) for one in (found, expected, far))
    alike = np.ones(rows.size, bool)
    for name in DECISIONS:
        same = _decided_alike(found, expected, name)
        kept = np.all([_decided_alike(other, expected, name) for other in others], axis=0)
        report.flips[name] += int((alike & ~same & ~kept).sum())
        report.unexplained += [
            f"{some[i].id}: {name}" for i in np.flatnonzero(alike & ~same & kept)
        ]
        alike &= same
    for name in NUMBERS:
        apart = _distance(found, expected, name)
        reach = SPREADS * np.max([_distance(other, expected, name) for other in others], axis=0)
        off = far[name] & alike[:, None]
        wrong = off & (apart > reach)
        report.moved[name] += int((off & ~wrong).sum())
        report.unexplained += [
            f"{some[i].id}: {wrong[i].sum()} of {name}" for i in np.flatnonzero(wrong.any(axis=1))
        ]
    report.moved, report.flips = +report.moved, +report.flips  # without those that are none
    return report
