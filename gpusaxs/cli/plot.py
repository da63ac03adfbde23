"""`gpusaxs plot`: one curve of a run as a picture."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class View(StrEnum):
    """What is drawn of a curve."""

    CURVE = "curve"
    GUINIER = "guinier"
    KRATKY = "kratky"


def plot(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    curve: Annotated[str, typer.Argument(metavar="CURVE", help="Its id, or a unique part of it.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help=".png, .pdf or .svg."),
    ],
    view: Annotated[
        View,
        typer.Option(help="The curve, Guinier's plot, or the dimensionless Kratky curve."),
    ] = View.CURVE,
) -> None:
    """Plot a curve, its background, its peaks and its indexed reflections."""
    from gpusaxs.archive.opened import open_run
    from gpusaxs.cli.find import find_curve
    from gpusaxs.plot import plot_sample, save
    from gpusaxs.plot_solution import plot_guinier, plot_kratky

    result = open_run(run)
    draw = {View.CURVE: plot_sample, View.GUINIER: plot_guinier, View.KRATKY: plot_kratky}[view]
    save(draw(result[find_curve(result, curve)]), output)
    typer.echo(f"{output}")
