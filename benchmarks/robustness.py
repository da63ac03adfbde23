"""Whether verdicts hold when nothing has changed: ``python -m benchmarks.robustness``.

Each curve is given once more in ways that leave what it shows as it was: another unit of q, another
scale of the intensity, three points fewer at an end, a smoothing window of the next length, and
other grids. These hold the same photons in other bins: a point is shared out over four narrower
bins, and these are put together again by fives (a coarser grid) or threes (a finer one). To share
out a point of variance s^2, normal numbers of variance 4 s^2 are drawn whose mean is made the
point's own intensity: this is the one way that leaves the noise of all bins independent and as
large as it has to be. Interpolation would leave it correlated, and smaller than it says.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gpusaxs
from benchmarks.accuracy import add_outputs, parser
from benchmarks.known_answers import NEGATIVES, PAIRS, Group, candidates, groups
from benchmarks.markdown import table
from gpusaxs.backends.numpy import available_cores
from gpusaxs.io import read
from gpusaxs.pipeline import Pipeline

FloatArray = NDArray[np.float64]

GOAL = 0.005
MEASURED = Path(__file__).parents[2] / "shared" / "data"

_PARTS = 4
_FOURTH_DIFFERENCE = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / np.sqrt(70.0)


@dataclass(frozen=True)
class Curves:
    """q (points,), intensity and sigma (curves, points)."""

    q: FloatArray
    intensity: FloatArray
    sigma: FloatArray
    q_unit: str = "1/nm"


@dataclass(frozen=True)
class Variant:
    """One way to give the same curves again.

    Attributes
    ----------
    name
        Says what has changed.
    change
        Makes other arrays of the curves.
    settings
        That differ from those of the pipeline.
    """

    name: str
    change: Callable[[Curves], Curves]
    settings: tuple[str, ...] = ()


def unchanged(curves: Curves) -> Curves:
    """Leave the arrays as they are."""
    return curves


def scaled(factor: float) -> Callable[[Curves], Curves]:
    """Multiply the intensity."""
    return lambda curves: Curves(curves.q, factor * curves.intensity, factor * curves.sigma)


def in_inverse_angstrom(curves: Curves) -> Curves:
    """Give q in another unit."""
    return Curves(curves.q / 10.0, curves.intensity, curves.sigma, "1/angstrom")


def real_noise(curves: Curves) -> FloatArray:
    """Sigma times what the fourth differences say that it is off by; (curves, points)."""
    size = np.apply_along_axis(np.convolve, 1, curves.intensity, _FOURTH_DIFFERENCE, "valid")
    ratio = np.median(np.abs(size) / curves.sigma[:, 2:-2], axis=1) / 0.6745
    return np.asarray(ratio[:, np.newaxis] * curves.sigma)


def resampled(together: int) -> Callable[[Curves], Curves]:
    """Share each point out over four bins, and put `together` as many of these as are asked."""

    def change(curves: Curves) -> Curves:
        count, points = curves.intensity.shape
        noise = 2.0 * real_noise(curves)[:, :, np.newaxis]
        drawn = np.random.default_rng(points).standard_normal((count, points, _PARTS))
        drawn -= drawn.mean(axis=2, keepdims=True)
        bins = (curves.intensity[:, :, np.newaxis] + noise * drawn).reshape(count, -1)
        place = np.arange(points * _PARTS) / _PARTS - 0.5 * (1.0 - 1.0 / _PARTS)
        q = np.interp(place, np.arange(points), curves.q)
        variance = _PARTS * np.repeat(curves.sigma, _PARTS, axis=1) ** 2
        # The outermost bins lie beyond the first and the last point.
        inside = slice(_PARTS // 2, _PARTS // 2 + (points - 1) * _PARTS // together * together)

        def merged(values: FloatArray) -> FloatArray:
            kept = values[..., inside]
            return np.asarray(kept.reshape(*kept.shape[:-1], -1, together).mean(axis=-1))

        return Curves(merged(q), merged(bins), np.sqrt(merged(variance) / together))

    return change


VARIANTS = (
    Variant("a coarser grid: 4/5 of the points", resampled(5)),
    Variant("a finer grid: 4/3 of the points", resampled(3)),
    Variant("intensity times 1e6", scaled(1e6)),
    Variant("intensity times 1e-6", scaled(1e-6)),
    Variant("q in 1/angstrom", in_inverse_angstrom),
    Variant("three points less at low q", unchanged, ("cut.skip_first=3",)),
    Variant("three points less at high q", unchanged, ("cut.skip_last=3",)),
    Variant("a window of 9 points for 7", unchanged, ("filter.window=9",)),
    Variant("a window of 5 points for 7", unchanged, ("filter.window=5",)),
)


@dataclass(frozen=True)
class Said:
    """What is said of a curve: the verdict, the phases named, and the margin."""

    verdict: str
    phases: frozenset[str]
    margin: float | None


def said_of(curves: Curves, pipeline: Pipeline) -> list[Said]:
    """Process curves."""
    result = gpusaxs.process(
        curves.q,
        curves.intensity,
        curves.sigma,
        q_unit=curves.q_unit,
        pipeline=pipeline,
        backend="numpy",
        workers=1,
    )
    given = candidates(result.phases)
    samples = result.samples.select(["id", "verdict", "margin"]).to_pylist()
    return [
        Said(
            row["verdict"],
            frozenset(given[row["id"]][0]) if row["verdict"] == "identified" else frozenset(),
            row["margin"],
        )
        for row in samples
    ]


@dataclass(frozen=True)
class Change:
    """A curve of which something else is said.

    Attributes
    ----------
    curves, curve
        Which set, and which curve of it.
    variant
        What had changed.
    before, after
        What was said, and what is.
    """

    curves: str
    curve: str
    variant: str
    before: Said
    after: Said

    @property
    def is_of_names(self) -> bool:
        """Whether something else is named, or something is named that was not, or no more."""
        return self.before.phases != self.after.phases


def changes(name: str, ids: Sequence[str], curves: Curves, pipeline: Pipeline) -> Iterator[Change]:
    """Find the curves of which a variant changes the verdict."""
    before = said_of(curves, pipeline)
    for variant in VARIANTS:
        after = said_of(variant.change(curves), pipeline.with_settings(variant.settings))
        for curve, old, new in zip(ids, before, after, strict=True):
            if (old.verdict, old.phases) != (new.verdict, new.phases):
                yield Change(name, curve, variant.name, old, new)


def of_group(group: Group, pipeline: Pipeline) -> list[Change]:
    """Find them in a group of simulated curves."""
    simulation = group.simulate()
    curves = Curves(simulation.q, simulation.intensity, simulation.sigma)
    ids = [f"{group.name} {group.counts:g} seed {group.seed} row {k}" for k in range(group.curves)]
    return list(changes(_set_of(group), ids, curves, pipeline))


def _set_of(group: Group) -> str:
    return group.name if group.name in (PAIRS, NEGATIVES) else f"at {group.counts:,.0f} counts"


def measured_curves() -> Iterator[tuple[str, Curves]]:
    """Read the measured curves that have a known answer, without what is no number."""
    with open(MEASURED / "truth.csv", newline="", encoding="utf-8") as opened:
        names = [row["file"] for row in csv.DictReader(opened)]
    for name in names:
        [sample] = read(MEASURED / name)
        if sample.sigma is None:
            continue
        sound = np.isfinite(sample.intensity) & np.isfinite(sample.sigma) & (sample.sigma > 0.0)
        rows = sample.intensity[sound][np.newaxis], sample.sigma[sound][np.newaxis]
        yield name, Curves(sample.q[sound], *rows)


def of_measured(pipeline: Pipeline) -> tuple[int, list[Change]]:
    """Find them in the measured curves; how many there are, and which change."""
    number, found = 0, []
    for name, curves in measured_curves():
        number += 1
        found += changes("measured", [name], curves, pipeline)
    return number, found


def measure(
    chosen: Sequence[Group], pipeline: Pipeline, workers: int | None
) -> tuple[dict[str, int], list[Change]]:
    """Count the curves of each set, and find those of which something else is said."""
    sizes: dict[str, int] = {}
    for group in sorted(chosen, key=lambda group: (PAIRS, NEGATIVES).count(group.name)):
        sizes[_set_of(group)] = sizes.get(_set_of(group), 0) + group.curves
    found: list[Change] = []
    if MEASURED.is_dir():
        sizes["measured"], found = of_measured(pipeline)
    count = min(workers or available_cores(), len(chosen))
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
        for some in pool.map(of_group, chosen, [pipeline] * len(chosen)):
            found += some
    return sizes, found


def summary(sizes: dict[str, int], found: Iterable[Change]) -> list[tuple[str, ...]]:
    """Return rows of the table: shares of each set with another verdict, and with other names."""
    found = list(found)
    rows = []
    for variant in VARIANTS:
        cells = [variant.name]
        for name, size in sizes.items():
            own = [one for one in found if one.variant == variant.name and one.curves == name]
            names = sum(one.is_of_names for one in own)
            cells.append(f"{100.0 * len(own) / size:.2f} ({100.0 * names / size:.2f})")
        rows.append(tuple(cells))
    return rows


def summary_table(sizes: dict[str, int], found: Iterable[Change]) -> str:
    """Return the shares of all sets and variants."""
    head = ("verdicts that change, in per cent", *(f"{n:,} {name}" for name, n in sizes.items()))
    brackets = "In brackets: other phases are named than before, or none, or some where none were."
    return f"{table(head, summary(sizes, found))}\n\n{brackets}\n"


def changes_table(found: Iterable[Change]) -> str:
    """Return what changes, a row each."""

    def words(said: Said) -> str:
        named = " + ".join(sorted(said.phases)) or said.verdict
        return named if said.margin is None else f"{named} ({said.margin:.2f})"

    rows = [(one.curve, one.variant, words(one.before), words(one.after)) for one in found]
    return table(("curve", "variant", "before (margin)", "after (margin)"), rows)


def document(sizes: dict[str, int], found: Iterable[Change]) -> dict[str, Any]:
    """Return everything as plain numbers and words."""
    rows = [asdict(one) for one in found]
    for row in rows:
        for when in ("before", "after"):
            row[when]["phases"] = sorted(row[when]["phases"])
    return {"curves": sizes, "changes": rows}


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, "python -m benchmarks.robustness")
    options.set_defaults(curves=100)
    add_outputs(options)
    asked = options.parse_args()
    pipeline = Pipeline.load(asked.pipeline).with_settings(asked.settings)
    sizes, found = measure(groups(asked.curves, asked.seed), pipeline, asked.workers)
    if asked.json:
        text = json.dumps(document(sizes, found), indent=1) + "\n"
        asked.json.write_text(text, encoding="utf-8")
    print(summary_table(sizes, found))
    if not asked.markdown:
        print(changes_table(found))


if __name__ == "__main__":
    main()
