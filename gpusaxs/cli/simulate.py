"""`gpusaxs simulate`: curves with a known answer, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def simulate(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where to.")],
    curves: Annotated[int, typer.Option(min=1, help="How many.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same curves.")] = 0,
    phases: Annotated[
        list[str] | None,
        typer.Option("--phase", metavar="PHASE", help="Draw from this one; repeatable."),
    ] = None,
    counts: Annotated[
        float, typer.Option(min=1.0, help="Counts of the strongest line at its top.")
    ] = 2000.0,
    points: Annotated[int, typer.Option(min=16, help="Points of a curve.")] = 1000,
    grid: Annotated[Literal["linear", "log"], typer.Option(help="Spacing of q.")] = "linear",
    negatives: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of curves without a phase.")
    ] = 0.0,
    coexistence: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of curves with two phases.")
    ] = 0.0,
    hard: Annotated[
        bool, typer.Option("--hard", help="With the flaws and false lines of real curves.")
    ] = False,
) -> None:
    """Simulate curves of known phase: curves.h5 (NXcanSAS), truth.parquet and truth.csv."""
    from gpusaxs.simulate import simulate as draw

    try:
        simulation = draw(
            curves,
            seed=seed,
            phases=phases,
            counts=counts,
            points=points,
            grid=grid,
            negatives=negatives,
            coexistence=coexistence,
            hard=hard,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    path = simulation.write(output)
    typer.echo(f"{curves:,} curves: {path}; their answers: {path.with_name('truth.csv')}")
