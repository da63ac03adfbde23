"""How many of a program's answers are right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from typing import Any, Literal

import pyarrow as pa

VISIBLE = 4


@dataclass(frozen=True, slots=True)
class Tally:
    """Answers to one group of curves.

    Parameters
    ----------
    group
        Which curves.
    curves
        How many.
    right
        Identified as a phase that is there, its lattice parameter within the tolerance.
    lattice_off
        Identified as a phase that is there, with another lattice parameter.
    wrong
        Identified as a phase that is not there.
    ambiguous, unindexed, none, failed
        Other verdicts.
    """

    group: str
    curves: int = 0
    right: int = 0
    lattice_off: int = 0
    wrong: int = 0
    ambiguous: int = 0
    unindexed: int = 0
    none: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Answers to simulated curves, by group.

    ``main`` is about curves of one phase with four visible lines or more.
    """

    main: Tally
    decidable: Tally
    few_lines: Tally
    coexistence: Tally
    negatives: Tally

    def rows(self) -> list[tuple[Any, ...]]:
        """List the heading, and one row a group that has curves."""
        tallies = [getattr(self, field.name) for field in fields(self)]
        heading = tuple(field.name for field in fields(Tally))
        return [heading, *(astuple(tally) for tally in tallies if tally.curves)]

    def __str__(self) -> str:
        """Align the rows as a table of text."""
        rows = [[str(cell) for cell in row] for row in self.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(
                cell.rjust(width) if k else cell.ljust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        )


def score(
    result_samples: pa.Table,
    truth: pa.Table,
    lattice_tolerance: float = 0.003,
    by: Literal["row", "id"] = "row",
) -> Accuracy:
    """Compare a program's answers with the truth of a simulation.

    Parameters
    ----------
    result_samples
        One row a curve, with the columns ``id``, ``verdict``, ``phase`` (several that coexist are
        joined by " + "), ``lattice`` (of the first of these, nm).
    truth
        `Simulation.truth`, or some of its rows.
    lattice_tolerance
        Largest relative error of a right lattice parameter.
    by
        ``"row"``: row k of the one is the curve in row k of the other. ``"id"``: the curve with
        the same id.

    Returns
    -------
    Accuracy
        A curve of two phases counts as right when either of them is named with its lattice, and
        wrong when a phase is named that is not there.
        ``decidable`` leaves out of ``main`` the curves whose visible lines fit another phase as
        well.

    Raises
    ------
    ValueError
        If a curve of `truth` has no row in `result_samples`.
    """
    answers = _paired(result_samples, truth, by)
    pairs = [
        (row, _judge(answer, row, lattice_tolerance))
        for row, answer in zip(truth.to_pylist(), answers, strict=True)
    ]
    one = [pair for pair in pairs if pair[0]["kind"] == "bragg"]
    main = [pair for pair in one if pair[0]["visible"] >= VISIBLE]
    return Accuracy(
        _tally(f"one phase, {VISIBLE} lines or more", main),
        _tally("of these, decidable", (pair for pair in main if not pair[0]["also"])),
        _tally(
            f"one phase, under {VISIBLE} lines",
            (pair for pair in one if pair[0]["visible"] < VISIBLE),
        ),
        _tally("two phases", (pair for pair in pairs if pair[0]["kind"] == "coexistence")),
        _tally("no phase", (pair for pair in pairs if pair[0]["phase"] is None)),
    )


def _paired(result: pa.Table, truth: pa.Table, by: Literal["row", "id"]) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = result.select(["id", "verdict", "phase", "lattice"]).to_pylist()
    if by == "id":
        by_id = {answer["id"]: answer for answer in answers}
        wanted = truth.column("id").to_pylist()
        absent = [name for name in wanted if name not in by_id]
        if absent:
            raise ValueError(
                f"Expected an answer for every curve of the truth. Got none for {len(absent)}, "
                f"the first is {absent[0]!r}."
            )
        return [by_id[name] for name in wanted]
    if len(answers) != truth.num_rows:
        raise ValueError(
            f"Expected one answer a curve, {truth.num_rows}. Got {len(answers)}. Join them by "
            'id: score(..., by="id").'
        )
    return answers


def _judge(answer: dict[str, Any], row: dict[str, Any], tolerance: float) -> str:
    if answer["verdict"] != "identified":
        return str(answer["verdict"])
    lattices = {row[f"{prefix}phase"]: row[f"{prefix}lattice"] for prefix in ("", "second_")}
    named = answer["phase"].split(" + ")
    if not set(named) <= set(lattices):
        return "wrong"
    lattice = lattices[named[0]]
    return "right" if abs(answer["lattice"] - lattice) <= tolerance * lattice else "lattice_off"


def _tally(group: str, pairs: Iterable[tuple[dict[str, Any], str]]) -> Tally:
    verdicts = [verdict for _, verdict in pairs]
    names = [field.name for field in fields(Tally)][2:]
    return Tally(group, len(verdicts), *(verdicts.count(name) for name in names))
