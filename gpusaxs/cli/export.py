"""`gpusaxs export`: the reduced curves of a run, for other programs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from gpusaxs.cli.options import BackendName, check_unit

_SECONDS_BETWEEN_LINES = 5.0


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
        BackendName | None,
        typer.Option(
            help="Where to compute curves that the run does not keep; by default as the run did."
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
    try:
        found = export_run(
            run,
            output,
            form,
            q_unit=q_unit,
            backend=backend,
            overwrite=overwrite,
            progress=_Lines(),
        )
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--q-unit") from error
    files = f"{found.files:,} file{'' if found.files == 1 else 's'}"
    typer.echo(f"{output}: {found.curves:,} reduced curves in {files}")
    if found.left_out:
        typer.echo(f"Left out, because they have failed: {found.left_out:,}", err=True)
    if not found.complete:
        typer.echo(
            "The run did not come to its end: the blocks that are complete were written.", err=True
        )


class _Lines:
    """Says now and then how far it is."""

    def __init__(self) -> None:
        self._said = time.perf_counter()

    def __call__(self, curves: int, of: int) -> None:
        now = time.perf_counter()
        if now - self._said > _SECONDS_BETWEEN_LINES:
            self._said = now
            typer.echo(f"{curves:,} of {of:,} curves", err=True)
