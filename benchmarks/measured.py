"""What is said of the measured curves: ``python -m benchmarks.measured [--plots FOLDER]``.

They lie in ``../shared/data`` beside the project. The patterns of the Gould group are the logarithm
of an intensity between two unknown limits, on a grid that nobody knows for sure: they are taken as
they are, without a sigma, and their phase alone is compared.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.markdown import table
from gpusaxs.io import read
from gpusaxs.phases import PHASE_BY_NAME
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Peak, Sample, Verdict

FOLDER = Path(__file__).parents[2] / "shared" / "data"
CLEAR = 20.0
"""Significance of the second line from which a hexagonal curve has to be named."""

_NAMES = {"Im3m": "Im-3m"}
_GOULD_Q = np.linspace(0.1, 4.3, 200)


@dataclass(frozen=True)
class Answer:
    """What is said of a measured curve.

    Attributes
    ----------
    file
        Where it is, and the row of it.
    expected, second_line_snr
        Its phase, and the significance of its second line; None where the truth says nothing.
    verdict, named
        The verdict, and the phases identified.
    lattice, error
        Lattice parameter (nm) and its distance from the true one, relative; that which the
        strongest line alone gives as the first of the phase expected, where nothing is named.
    margin
        Lead of the verdict.
    judgement
        ``"right"``, ``"first line"`` (not named, but the first line is right), ``"not named"``,
        ``"wrong"``, or ``""`` where the truth says nothing.
    lines
        The Bragg lines, over the lowest of them.
    others
        Peaks that were not taken for Bragg lines, likewise, and what they were taken for.
    """

    file: str
    expected: str | None
    second_line_snr: float | None
    verdict: str
    named: str
    lattice: float | None
    error: float | None
    margin: float | None
    judgement: str
    lines: tuple[float, ...]
    others: tuple[str, ...]


def named(sample: Sample) -> tuple[str, ...]:
    """Return the phases identified."""
    if sample.verdict is not Verdict.IDENTIFIED:
        return ()
    return tuple(match.phase for match in sample.best_phases)


def bragg_lines(sample: Sample) -> list[Peak]:
    """Return the peaks taken for Bragg lines, lowest q first."""
    assert sample.metadata is not None
    return sorted((p for p in sample.metadata.processed_peaks if p.bragg), key=lambda p: p.q)


def answer(
    file: str,
    sample: Sample,
    expected: str | None,
    lattice: float | None = None,
    tolerance: float = 0.0,
    second_line_snr: float | None = None,
) -> Answer:
    """Compare what is said of a curve with what is true.

    Parameters
    ----------
    file, second_line_snr
        See `Answer`.
    sample
        Processed.
    expected
        A phase, ``"none"``, or None.
    lattice, tolerance
        Its lattice parameter (nm) and how far that of the answer may be off, relative.
    """
    phases = named(sample)
    lines = bragg_lines(sample)
    value = sample.phases[0].lattice if phases else None
    if value is None and lines and expected in PHASE_BY_NAME:
        strongest = max(lines, key=lambda line: line.height)
        value = float(2.0 * np.pi * PHASE_BY_NAME[expected].positions[0] / strongest.q)
    error = value / lattice - 1.0 if value and lattice else None
    near = error is None or abs(error) <= tolerance
    if expected is None:
        judgement = ""
    elif phases:
        judgement = "right" if phases == (expected,) and near else "wrong"
    elif expected == "none":
        judgement = "right"
    else:
        first = sample.verdict is Verdict.UNINDEXED and error is not None and near
        judgement = "first line" if first else "not named"
    assert sample.metadata is not None
    lowest = lines[0].q if lines else np.nan
    fitted = [p for p in sample.metadata.processed_peaks if np.isfinite(p.q)]
    rest = sorted((p for p in fitted if not p.bragg), key=lambda p: p.q)
    return Answer(
        file,
        expected,
        second_line_snr,
        str(sample.verdict),
        " + ".join(phases),
        value,
        error,
        None if np.isnan(sample.margin) else float(sample.margin),
        judgement,
        tuple(float(line.q / lowest) for line in lines),
        tuple(f"{p.q / lowest:.3f} {p.kind.label}" for p in rest),
    )


def known_curves(pipeline: Pipeline) -> Iterator[tuple[Answer, Sample]]:
    """Process the curves of truth.csv."""
    with open(FOLDER / "truth.csv", newline="", encoding="utf-8") as opened:
        truth = list(csv.DictReader(opened))
    samples = Runtime("numpy", pipeline=pipeline).run([read(FOLDER / r["file"])[0] for r in truth])
    for row, sample in zip(truth, samples, strict=True):
        yield (
            answer(
                row["file"],
                sample,
                _NAMES.get(row["phase"], row["phase"]) or None,
                float(row["lattice_nm"]) if row["lattice_nm"] else None,
                float(row["relative_tolerance"] or 0.0),
                float(row["second_line_snr"]) if row["second_line_snr"] else None,
            ),
            sample,
        )


def gould_curves(pipeline: Pipeline) -> Iterator[tuple[Answer, Sample]]:
    """Process the patterns of the Gould group."""
    for phase in ("hexagonal", "lamellar"):
        rows = np.load(FOLDER / "phase_only" / f"gould_{phase}.npy")
        names = [f"gould_{phase} {number}" for number in range(len(rows))]
        given = [Sample(name, _GOULD_Q, row) for name, row in zip(names, rows, strict=True)]
        for name, sample in zip(names, Runtime("numpy", pipeline=pipeline).run(given), strict=True):
            yield answer(name, sample, phase), sample


def summary(answers: Sequence[Answer]) -> list[tuple[str, ...]]:
    """Return rows of the table of judgements."""

    def of(words: str, chosen: Iterable[Answer]) -> tuple[str, ...]:
        kinds = [one.judgement for one in chosen]
        counted = (kinds.count(kind) for kind in ("right", "first line", "not named", "wrong"))
        return (words, str(len(kinds)), *map(str, counted))

    measured = [one for one in answers if not one.file.startswith("gould")]
    hexagonal = [one for one in measured if one.expected == "hexagonal"]
    clear = [one for one in hexagonal if (one.second_line_snr or 0.0) >= CLEAR]
    faint = [one for one in hexagonal if one not in clear]
    return [
        of("no Bragg line", (one for one in measured if one.expected == "none")),
        of(f"hexagonal, second line {CLEAR:.0f} and more", clear),
        of("hexagonal, second line fainter", faint),
        of(
            "lamellar and cubic", (one for one in measured if one.expected in ("lamellar", "Im-3m"))
        ),
        of("Gould hexagonal", (one for one in answers if one.file.startswith("gould_hexagonal"))),
        of("Gould lamellar", (one for one in answers if one.file.startswith("gould_lamellar"))),
    ]


def parts(answers: Sequence[Answer]) -> dict[str, str]:
    """Return all tables by their names in docs/accuracy.md."""

    def cells(one: Answer) -> tuple[str, ...]:
        return (
            one.file,
            one.expected or "",
            "" if one.second_line_snr is None else f"{one.second_line_snr:.0f}",
            one.named or one.verdict,
            "" if one.lattice is None else f"{one.lattice:.4f}",
            "" if one.error is None else f"{100.0 * one.error:+.2f} %",
            "" if one.margin is None else f"{one.margin:.1f}",
            one.judgement,
            " ".join(f"{ratio:.3f}" for ratio in one.lines),
        )

    head = ("curve", "truth", "line 2", "said", "lattice (nm)", "off by", "margin", "", "lines")
    kinds = ("curves", "right", "first line", "not named", "wrong")
    return {
        "measured": table(("measured", *kinds), summary(answers)),
        "measured curves": table(head, [cells(one) for one in answers]),
    }


def save_plots(folder: Path, found: Iterable[tuple[Answer, Sample]]) -> list[Path]:
    """Draw the clear hexagonal curves that are not named hexagonal, and all named wrongly."""
    from gpusaxs.plot import plot_sample, save  # noqa: PLC0415 the numbers need no plots

    folder.mkdir(parents=True, exist_ok=True)
    saved = []
    for one, sample in found:
        clear = (one.second_line_snr or 0.0) >= CLEAR
        if one.judgement == "wrong" or (clear and one.judgement != "right"):
            saved.append(folder / f"{Path(one.file).stem.replace(' ', '_')}.png")
            save(plot_sample(sample), saved[-1])
    return saved


def main() -> None:
    """Process and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.measured", description=__doc__)
    parser.add_argument("--pipeline", default="standard", help="a preset or a TOML file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="STAGE.PARAMETER=VALUE", dest="settings"
    )
    parser.add_argument("--json", type=Path, help="write the answers to this file")
    parser.add_argument("--plots", type=Path, help="a folder for pictures of what went wrong")
    asked = parser.parse_args()
    pipeline = Pipeline.load(asked.pipeline).with_settings(asked.settings)
    found = [*known_curves(pipeline), *gould_curves(pipeline)]
    answers = [one for one, _ in found]
    if asked.json:
        text = json.dumps([asdict(one) for one in answers], indent=1) + "\n"
        asked.json.write_text(text, encoding="utf-8")
    print(*parts(answers).values(), sep="\n\n")
    if asked.plots:
        print("", *save_plots(asked.plots, found), sep="\n")


if __name__ == "__main__":
    main()
