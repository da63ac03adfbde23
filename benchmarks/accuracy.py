"""How often the answers are right: ``python -m benchmarks.accuracy [--curves N] [--seed S]``."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from benchmarks.known_answers import (
    DEVELOPMENT_SEED,
    EXPOSURES,
    KINDS_OF_ANSWER,
    NEGATIVES,
    PAIRS,
    SHARES,
    answers,
    groups,
)
from benchmarks.markdown import table
from gpusaxs.phases import PHASES
from gpusaxs.pipeline import Pipeline
from gpusaxs.simulate import HARD_NEGATIVES

Chosen = NDArray[np.bool_]

CLOSE, NEAR = 0.001, 0.003
"""Relative errors of a lattice parameter up to which an answer is counted apart."""

LEAST_COUNTS = 200.0
"""The goals hold from this exposure on."""

ENOUGH_LINES = 4


@dataclass(frozen=True)
class Count:
    """Answers to some curves.

    Attributes
    ----------
    what
        Which curves.
    curves
        How many.
    close, near
        Of the right ones, those with a lattice parameter within `CLOSE` and within `NEAR`.
    kinds
        How many of each of `KINDS_OF_ANSWER`.
    """

    what: str
    curves: int
    close: int
    near: int
    kinds: dict[str, int]

    def share(self, *kinds: str) -> float:
        """Share of the curves that have one of these kinds of answer."""
        return sum(self.kinds[kind] for kind in kinds) / max(1, self.curves)


class Answers:
    """Columns of a table of `benchmarks.known_answers.ANSWERS`, and how to choose rows of it."""

    def __init__(self, rows: pa.Table) -> None:
        self._columns = {
            name: rows[name].to_numpy(zero_copy_only=False) for name in rows.column_names
        }
        error = np.abs(self["lattice_error"].astype(float))
        right = self["answer"] == "right"
        self._close = right & (error <= CLOSE)
        self._near = right & (error <= NEAR)
        self.one_phase: Chosen = self["kind"] == "bragg"
        self.pairs: Chosen = self["group"] == PAIRS
        self.negatives: Chosen = self["group"] == NEGATIVES
        self.bright: Chosen = self["counts"] >= LEAST_COUNTS
        self.decidable: Chosen = self["also"] == ""

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name]

    def befallen(self, *names: str) -> Chosen:
        """Curves that one of these perturbations befell."""
        wanted = set(names)
        return np.array([not wanted.isdisjoint(row.split()) for row in self["perturbations"]])

    def lines(self, number: int) -> Chosen:
        """Curves with so many visible lines; `ENOUGH_LINES` or more, and all under three, are one.

        Parameters
        ----------
        number
            2, 3 or 4.
        """
        return np.asarray(np.clip(self["visible"], 2, ENOUGH_LINES) == number)

    def count(self, what: str, chosen: Chosen) -> Count:
        """Count the answers to the curves chosen."""
        kinds = Counter(self["answer"][chosen].tolist())
        return Count(
            what,
            int(chosen.sum()),
            int((chosen & self._close).sum()),
            int((chosen & self._near).sum()),
            {kind: kinds[kind] for kind in KINDS_OF_ANSWER},
        )


LINES = {4: "four or more", 3: "three", 2: "fewer"}


def one_phase(found: Answers) -> list[Count]:
    """Count curves of one phase by exposure and number of visible lines, all and decidable."""
    rows = []
    for number, words in LINES.items():
        for counts in EXPOSURES:
            chosen = found.one_phase & found.lines(number) & (found["counts"] == counts)
            rows.append(found.count(f"{words}, {counts:,.0f} counts, all", chosen))
            rows.append(
                found.count(f"{words}, {counts:,.0f} counts, decidable", chosen & found.decidable)
            )
    return rows


def by_phase(found: Answers) -> dict[str, list[Count]]:
    """Count decidable curves with enough visible lines, of each phase by exposure."""
    chosen = found.one_phase & found.lines(ENOUGH_LINES) & found.decidable
    return {
        phase.name: [
            found.count(
                f"{phase.name}, {counts:,.0f}",
                chosen & (found["group"] == phase.name) & (found["counts"] == counts),
            )
            for counts in EXPOSURES
        ]
        for phase in PHASES
    }


def by_perturbation(found: Answers) -> list[Count]:
    """Count decidable bright curves with enough visible lines, by what befell them."""
    chosen = found.one_phase & found.lines(ENOUGH_LINES) & found.decidable & found.bright
    perturbed = found.befallen(*SHARES)
    return [
        found.count("none of these", chosen & ~perturbed),
        *(found.count(name, chosen & found.befallen(name)) for name in SHARES),
    ]


def pairs(found: Answers) -> list[Count]:
    """Count pairs by exposure: all, those with three visible lines of each, and decidable ones."""
    clear = found["visible"] >= 3
    parts = (
        ("all", found.pairs),
        ("three lines of each", clear),
        ("three lines of each, decidable", clear & found.decidable),
    )
    rows = []
    for words, seen in parts:
        for counts in EXPOSURES:
            chosen = found.pairs & seen & (found["counts"] == counts)
            rows.append(found.count(f"{counts:,.0f} counts, {words}", chosen))
    return rows


def negatives(found: Answers) -> dict[str, list[Count]]:
    """Count negatives of each kind by exposure."""
    return {
        kind: [
            found.count(
                f"{kind}, {counts:,.0f}", (found["kind"] == kind) & (found["counts"] == counts)
            )
            for counts in EXPOSURES
        ]
        for kind in HARD_NEGATIVES
    }


@dataclass(frozen=True)
class Goal:
    """What is to be reached, and what is.

    Attributes
    ----------
    what
        A share of some curves, all at `LEAST_COUNTS` and more.
    bound
        The least share, or the largest.
    is_least
        Which of the two `bound` is.
    reached
        The share of all, of those that can be decided, and of these without an asymmetric profile
        and an offset of q; one number where there is no such difference.
    """

    what: str
    bound: float
    is_least: bool
    reached: tuple[float, ...]


def goals(found: Answers) -> list[Goal]:
    """Compare what is reached with what is to be."""
    straight = found.decidable & ~found.befallen("asymmetric", "offset")
    bright = found.one_phase & found.bright

    def counted(chosen: Chosen) -> list[Count]:
        return [found.count("", chosen & part) for part in (chosen, found.decidable, straight)]

    def close(chosen: Chosen) -> tuple[float, ...]:
        return tuple(one.close / max(1, one.curves) for one in counted(chosen))

    def shares(chosen: Chosen, *kinds: str) -> tuple[float, ...]:
        return tuple(one.share(*kinds) for one in counted(chosen))

    four, three = bright & found.lines(ENOUGH_LINES), bright & found.lines(3)
    both = found.count("", found.pairs & found.bright)
    clear = found.pairs & found.bright & (found["visible"] >= 3)
    named = found.count("", found.negatives)
    return [
        Goal("four lines or more: right, lattice within 0.1 %", 0.99, True, close(four)),
        Goal("four lines or more: right", 0.99, True, shares(four, "right")),
        Goal("three lines: right, lattice within 0.1 %", 0.97, True, close(three)),
        Goal("three lines: right", 0.97, True, shares(three, "right")),
        Goal(
            "three lines or more: named wrongly, misindexed included",
            0.002,
            False,
            shares(four | three, "wrong", "misindexed"),
        ),
        Goal("pairs: both named", 0.92, True, (both.share("right", "misindexed"),)),
        Goal("pairs: named wrongly", 0.02, False, (both.share("wrong"),)),
        Goal(
            "pairs, three lines of each: both named",
            0.92,
            True,
            shares(clear, "right", "misindexed"),
        ),
        Goal("pairs, three lines of each: named wrongly", 0.02, False, shares(clear, "wrong")),
        Goal("hard negatives, all exposures: named", 0.001, False, (named.share("wrong"),)),
    ]


def confusion(found: Answers) -> dict[float, dict[str, dict[str, int]]]:
    """Count answers by exposure, by what is there, and by what is said.

    Curves of one phase are those with three visible lines or more; a group of all pairs and one of
    all negatives come last.
    """
    said = np.where(found["verdict"] == "identified", found["named"], found["verdict"])
    several = np.array([" + " in one for one in said])
    said = np.where(several, "several", said)
    seen = ~found.one_phase | (found["visible"] >= 3)
    return {
        counts: {
            name: dict(
                Counter(
                    said[seen & (found["group"] == name) & (found["counts"] == counts)].tolist()
                )
            )
            for name in [*(phase.name for phase in PHASES), PAIRS, NEGATIVES]
        }
        for counts in EXPOSURES
    }


def failures(found: Answers, most: int = 40) -> list[tuple[str, str, int]]:
    """Return what is said instead of the truth and how often, bright decidable curves alone."""
    chosen = found.bright & found.decidable & (found["answer"] != "right")
    chosen &= (
        (found.one_phase & (found["visible"] >= 3))
        | found.pairs
        | (found.negatives & (found["answer"] == "wrong"))
    )
    rows = zip(
        np.where(found.negatives, found["kind"], found["truth"])[chosen].tolist(),
        found["answer"][chosen].tolist(),
        found["named"][chosen].tolist(),
        strict=True,
    )
    counted = Counter((truth, f"{answer} {named}".strip()) for truth, answer, named in rows)
    return [(truth, said, number) for (truth, said), number in counted.most_common(most)]


def reasons(found: Answers) -> dict[str, dict[str, int]]:
    """Count bright decidable curves with three lines or more, by their answer and by their peaks.

    A curve counts where the first of these is true of it: visible lines have no peak; have one
    that was not taken for a Bragg line; peaks were taken for one where there is no line.
    """
    chosen = found.one_phase & found.bright & found.decidable & (found["visible"] >= 3)
    look = np.select(
        [
            found["found"] < found["visible"],
            found["bragg"] < found["visible"],
            found["spurious"] > 0,
        ],
        ["lines not found", "lines not taken for such", "false lines"],
        "all lines and no others",
    )
    return {
        kind: dict(Counter(look[chosen & (found["answer"] == kind)].tolist()))
        for kind in KINDS_OF_ANSWER
    }


def percent(part: float, whole: float) -> str:
    """Return a share in per cent, a dash where there is nothing to share."""
    return f"{100.0 * part / whole:.1f}" if whole else "-"


_HEAD = (
    "curves",
    "within 0.1 %",
    "within 0.3 %",
    "right",
    "misindexed",
    "wrong",
    "ambiguous with",
    "ambiguous without",
    "unindexed",
    "none",
)


def count_row(one: Count) -> tuple[str, ...]:
    """Return a row of the tables of curves with one phase, in per cent."""
    kinds = [one.kinds[kind] for kind in ("right", *_HEAD[4:])]
    return (
        one.what,
        f"{one.curves:,}",
        *(percent(number, one.curves) for number in (one.close, one.near, *kinds)),
    )


def count_table(first: str, rows: Iterable[Count]) -> str:
    """Return a table of curves with one phase."""
    return table((first, *_HEAD), [count_row(one) for one in rows])


def pair_table(rows: Iterable[Count]) -> str:
    """Return the table of pairs."""
    others = ("partly", "wrong", "ambiguous with", "ambiguous without", "unindexed", "none")
    return table(
        ("pairs", "curves", "both", "both, lattices within 0.3 %", "one of them", *others[1:]),
        [
            (
                one.what,
                f"{one.curves:,}",
                percent(one.kinds["right"] + one.kinds["misindexed"], one.curves),
                percent(one.near, one.curves),
                *(percent(one.kinds[kind], one.curves) for kind in others),
            )
            for one in rows
        ],
    )


def exposure_table(first: str, rows: Mapping[str, Sequence[Count]], *kinds: str) -> str:
    """Return a table of what has a row and the exposures, with a share of each of the kinds."""
    return table(
        (first, *(f"{counts:,.0f} counts" for counts in EXPOSURES)),
        [
            (
                name,
                *(
                    " / ".join(percent(one.kinds[kind], one.curves) for kind in kinds)
                    for one in of_name
                ),
            )
            for name, of_name in rows.items()
        ],
    )


def confusion_table(rows: Mapping[str, Mapping[str, int]]) -> str:
    """Return the confusion matrix of one exposure."""
    said = [*(phase.name for phase in PHASES), "several", "ambiguous", "unindexed", "none"]
    return table(
        ("there is", *said),
        [
            (name, *(str(of_name.get(word, 0) or "") for word in said))
            for name, of_name in rows.items()
        ],
    )


def goal_table(rows: Iterable[Goal]) -> str:
    """Return what is reached beside what is to be."""

    def cells(goal: Goal) -> tuple[str, ...]:
        reached = [f"{100.0 * share:.2f} %" for share in goal.reached]
        bound = f"{'at least' if goal.is_least else 'at most'} {100.0 * goal.bound:g} %"
        return (goal.what, bound, *reached, *["" for _ in range(3 - len(reached))])

    return table(
        ("at 200 counts and more", "goal", "all", "decidable", "of these, straight"),
        [cells(goal) for goal in rows],
    )


def parts(found: Answers) -> dict[str, str]:
    """Return all tables by their names in docs/accuracy.md."""
    return {
        "goals": goal_table(goals(found)),
        "one phase": count_table("visible lines", one_phase(found)),
        "by phase": exposure_table("right / wrong", by_phase(found), "right", "wrong"),
        "by perturbation": count_table("perturbation", by_perturbation(found)),
        "pairs": pair_table(pairs(found)),
        "negatives": exposure_table("named", negatives(found), "wrong"),
        "confusion": "\n\n".join(
            f"At {counts:,.0f} counts:\n\n{confusion_table(rows)}"
            for counts, rows in confusion(found).items()
        ),
    }


def document(found: Answers) -> dict[str, Any]:
    """Return all numbers as plain numbers and words."""
    return {
        "goals": [asdict(one) for one in goals(found)],
        "one_phase": [asdict(one) for one in one_phase(found)],
        "by_phase": {name: [asdict(one) for one in of] for name, of in by_phase(found).items()},
        "by_perturbation": [asdict(one) for one in by_perturbation(found)],
        "pairs": [asdict(one) for one in pairs(found)],
        "negatives": {name: [asdict(one) for one in of] for name, of in negatives(found).items()},
        "confusion": {f"{counts:g}": rows for counts, rows in confusion(found).items()},
        "failures": failures(found),
    }


def parser(description: str | None, prog: str) -> argparse.ArgumentParser:
    """Return a parser of what the benchmarks of answers have in common."""
    made = argparse.ArgumentParser(prog=prog, description=description)
    made.add_argument("--curves", type=int, default=1000, help="curves a phase and exposure")
    made.add_argument("--seed", type=int, default=DEVELOPMENT_SEED, help="of the first group")
    made.add_argument("--pipeline", default="standard", help="a preset or a TOML file")
    made.add_argument(
        "--set", action="append", default=[], metavar="STAGE.PARAMETER=VALUE", dest="settings"
    )
    made.add_argument("--workers", type=int, help="processes; as many as cores by default")
    return made


def add_outputs(options: argparse.ArgumentParser) -> None:
    """Let the numbers be written to a file, and all tables be printed."""
    options.add_argument("--json", type=Path, help="write the numbers to this file")
    options.add_argument("--markdown", action="store_true", help="print tables and nothing else")


def main() -> None:
    """Measure and print."""
    options = parser(__doc__, "python -m benchmarks.accuracy")
    add_outputs(options)
    options.add_argument(
        "--answers", type=Path, help="write a row a curve to this Parquet file: what went wrong"
    )
    asked = options.parse_args()
    pipeline = Pipeline.load(asked.pipeline).with_settings(asked.settings)
    began = time.perf_counter()
    rows = pa.concat_tables(answers(groups(asked.curves, asked.seed), pipeline, asked.workers))
    found = Answers(rows)
    if asked.answers:
        pyarrow.parquet.write_table(rows, asked.answers)
    if asked.json:
        asked.json.write_text(json.dumps(document(found), indent=1) + "\n", encoding="utf-8")
    if asked.markdown:
        print("\n\n".join(f"### {name}\n\n{part}" for name, part in parts(found).items()))
        return
    print(f"{rows.num_rows:,} curves in {time.perf_counter() - began:.0f} s\n")
    print(goal_table(goals(found)), "", count_table("visible lines", one_phase(found)), sep="\n")
    print("", pair_table(pairs(found)), "", sep="\n")
    print(count_table("perturbation", by_perturbation(found)), "", sep="\n")
    print(
        table(("there is", "is called", "curves"), [(a, b, str(n)) for a, b, n in failures(found)])
    )


if __name__ == "__main__":
    main()
