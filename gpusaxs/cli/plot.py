"""`gpusaxs plot`: one curve of a run, or the map of its series, as a picture."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpusaxs.cli.options import FromName

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class View(StrEnum):
    """What is drawn of a curve."""

    CURVE = "curve"
    GUINIER = "guinier"
    KRATKY = "kratky"


def plot(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help=".png, .pdf or .svg."),
    ],
    view: Annotated[
        View,
        typer.Option(help="The curve, Guinier's plot, or the dimensionless Kratky curve."),
    ] = View.CURVE,
    curve: Annotated[
        str | None,
        typer.Argument(metavar="CURVE", help="Its id, or a unique part of it."),
    ] = None,
    phase_map: Annotated[
        bool,
        typer.Option(
            "--map", help="Instead of a curve: the phase map of the series that the run has."
        ),
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --map: one of several series, with its curves."),
    ] = None,
    along: Annotated[
        str | None,
        typer.Option(
            "--series", metavar="COLUMN", help="With --map: other series than those that it has."
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option("--series-by", metavar="COLUMN", help="With --series.")
    ] = None,
    from_name: FromName = None,
    without_curves: Annotated[
        bool,
        typer.Option("--without-curves", help="With --map: no image, which needs the curves."),
    ] = False,
) -> None:
    """Plot a curve, its background, its peaks and its indexed reflections; or a phase map."""
    from gpusaxs.archive.opened import open_run
    from gpusaxs.cli.find import find_curve
    from gpusaxs.plot import plot_sample, save
    from gpusaxs.plot_solution import plot_guinier, plot_kratky

    if phase_map == (curve is not None):
        raise typer.BadParameter("Expected either CURVE or --map.", param_hint="CURVE")
    if not phase_map and (only or along or by or from_name or without_curves):
        raise typer.BadParameter("Expected --map with the options of a map.", param_hint="--map")
    if phase_map and view is not View.CURVE:
        raise typer.BadParameter(
            "Expected --view with a CURVE, not with --map.", param_hint="--view"
        )
    if along is None and (by or from_name):
        raise typer.BadParameter("Expected what the series run along.", param_hint="--series")
    if curve is not None:
        result = open_run(run)
        draw = {View.CURVE: plot_sample, View.GUINIER: plot_guinier, View.KRATKY: plot_kratky}[view]
        figure = draw(result[find_curve(result, curve)])
    else:
        figure = _map(run, along, by, from_name, only, with_curves=not without_curves)
    save(figure, output)
    typer.echo(f"{output}")


def _map(
    run: Path,
    along: str | None,
    by: str | None,
    from_name: str | None,
    only: str | None,
    *,
    with_curves: bool,
) -> Figure:
    from gpusaxs.archive.opened import open_run
    from gpusaxs.archive.tracked import curves_to_draw, open_series
    from gpusaxs.plot import check_matplotlib
    from gpusaxs.plot_map import MOST_ROWS, plot_map
    from gpusaxs.tracking import track

    check_matplotlib()
    if along is None:
        series = open_series(run)
    else:
        series = track(open_run(run), along, by, from_name=from_name)
    if only is not None:
        series = series.only(only)
    if len(series.names) > 1 or not with_curves:
        return plot_map(series)
    ids = series.curves["id"].to_pylist()
    step = -(-len(ids) // MOST_ROWS)
    return plot_map(series, curves_to_draw(run, ids[::step]))
