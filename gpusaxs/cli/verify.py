"""`gpusaxs verify`: compute a run again and compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpusaxs.cli.options import Executor, Workers, known_backend

if TYPE_CHECKING:
    from gpusaxs.archive.verify import Verification

DIFFERENT = 1
_SHOWN = 20


def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    sample: Annotated[
        str, typer.Option(metavar="SHARE", help="Blocks to compute again, as 1% or 0.01.")
    ] = "100%",
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest relative difference that is none.")
    ] = 1e-6,
    executor: Executor = "workpool",
    backend: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", callback=known_backend, help="Where to compute; by default as the run."
        ),
    ] = None,
    workers: Workers = None,
) -> None:
    """Check that a run is whole, compute it again from its inputs, and list what differs.

    Exits with 1 where parts are damaged, inputs have changed, or a number differs by more than
    the tolerance.
    """
    from gpusaxs.archive.verify import verify_run

    found = verify_run(
        run,
        sample=_share(sample),
        tolerance=tolerance,
        backend=backend,
        workers=workers,
        executor=executor,
    )
    _print(run, found)
    if not found.all_well:
        raise typer.Exit(DIFFERENT)


def _share(text: str) -> float:
    """Read a share: ``"1%"`` or ``"0.01"``."""
    try:
        share = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        share = 0.0
    if not 0.0 < share <= 1.0:
        raise typer.BadParameter(
            f"Expected a share such as 1% or 0.01. Got {text!r}.", param_hint="--sample"
        )
    return share


def _print(run: Path, found: Verification) -> None:
    typer.echo(
        f"{run}: {found.curves:,} curves in {found.blocks:,} blocks; computed again: "
        f"{found.curves_compared:,} curves in {found.blocks_compared:,} blocks"
    )
    for heading, lines in (
        ("Damaged in the run directory", found.damaged),
        ("Inputs that have changed", found.changed),
        ("Could not be computed again", found.failures),
        ("Since the run", found.remarks),
    ):
        if lines:
            typer.echo(f"{heading}:")
            for line in lines[:_SHOWN]:
                typer.echo(f"  {line}")
            if len(lines) > _SHOWN:
                typer.echo(f"  ... and {len(lines) - _SHOWN:,} more")
    _print_differences(found)
    if found.all_well:
        typer.echo("All is as it was.")


def _print_differences(found: Verification) -> None:
    from gpusaxs.cli.report import print_table

    comparison = found.comparison
    if not comparison.columns:
        return
    typer.echo()
    rows = []
    for (table, column), summary in sorted(comparison.columns.items()):
        largest = summary.largest
        assert largest is not None
        rows.append(
            (
                f"{table}.{column}",
                largest.id,
                f"{summary.differ:,}",
                f"{summary.beyond:,}",
                f"{largest.size:.2g}",
                f"{largest.stored}",
                f"{largest.again}",
            )
        )
    print_table(
        ("column", "largest in", "differ", "beyond", "difference", "stored", "again"), rows, left=2
    )
    typer.echo(
        f"{comparison.beyond:,} numbers differ by more than {comparison.tolerance:g} of the larger."
    )
