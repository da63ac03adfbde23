"""`gpusaxs export`: the reduced curves of a run, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gpusaxs.cli.lines import ProgressLines, counted
from gpusaxs.cli.options import check_unit, known_backend


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="TARGET", help="A folder; or FILE.h5, with nxcansas."
        ),
    ],
    form: Annotated[
        Literal["nxcansas", "csv", "ascii"],
        typer.Option("--format", help="ascii has three columns, for ATSAS and BioXTAS RAW."),
    ] = "nxcansas",
    q_unit: Annotated[
        str | None,
        typer.Option(
            metavar="UNIT",
            help="1/nm, 1/angstrom or 1/m; by default 1/angstrom in ascii, else 1/nm.",
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            callback=known_backend,
            help="Where to compute curves that the run does not keep; by default as the run did.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there already.")
    ] = False,
) -> None:
    """Write the reduced curves of a run: measured intensity minus background, with uncertainties.

    ascii and nxcansas make a folder with a file a curve, nxcansas to FILE.h5 one file with an
    entry a curve, csv a folder with samples.csv, peaks.csv, phases.csv and curves.csv. Curves that
    have failed are left out.
    """
    from gpusaxs.archive.export import export_run

    check_unit(q_unit)
    lines = ProgressLines()
    try:
        found = export_run(
            run,
            output,
            form,
            q_unit=q_unit,
            backend=backend,
            overwrite=overwrite,
            progress=lambda curves, of: lines.say(f"{curves:,} of {of:,} curves"),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--q-unit") from error
    files = counted(found.files, "file")
    typer.echo(f"{output}: {found.curves:,} reduced curves in {files}")
    if found.left_out:
        typer.echo(f"Left out, because they have failed: {found.left_out:,}", err=True)
    if not found.complete:
        typer.echo(
            "The run did not come to its end: the blocks that are complete were written.", err=True
        )
