"""`gpusaxs plot`: one curve of a run as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plot(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    curve: Annotated[str, typer.Argument(metavar="CURVE", help="Its id, or a unique part of it.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help=".png, .pdf or .svg."),
    ],
) -> None:
    """Plot a curve, its background, its peaks and its indexed reflections."""
    from gpusaxs.archive.opened import open_run
    from gpusaxs.cli.find import find_curve
    from gpusaxs.plot import plot_sample, save

    result = open_run(run)
    save(plot_sample(result[find_curve(result, curve)]), output)
    typer.echo(f"{output}")
