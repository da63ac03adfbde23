"""`gpusaxs series`: peaks and phases along a series of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpusaxs.cli.options import FromName

if TYPE_CHECKING:
    from gpusaxs.series import Series

MOST_SHOWN = 200


def series(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")],
    along: Annotated[
        str | None,
        typer.Argument(
            metavar="COLUMN",
            help="What the series run along: temperature, time, another column of the samples, or "
            "order. Without it the series that the run has is shown.",
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="What tells one series from another.")
    ] = None,
    from_name: FromName = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the tables there as CSV too.")
    ] = None,
) -> None:
    """Track peaks and phases from curve to curve, and report where the phases change.

    What is found is kept in RUN/series, in the place of what was tracked before.
    """
    from gpusaxs.archive.tracked import open_series, track_run

    if along is None:
        if by is not None or from_name is not None:
            raise typer.BadParameter("Expected what the series run along.", param_hint="COLUMN")
        found = open_series(run)
    else:
        found = track_run(run, along, by, from_name=from_name)
    print_series(found)
    if csv is not None:
        found.write_csv(csv)
        typer.echo(f"Tables as CSV: {csv}")


def print_series(series: Series) -> None:
    """Print the branches of the phases and the transitions."""
    from gpusaxs.cli.lines import counted

    words = f"{counted(series.curves.num_rows, 'curve')} along {series.along.label}"
    if series.by is not None:
        words += f", {len(series.names):,} series by {series.by.label}"
    if series.left_out:
        words += f"; {counted(series.left_out, 'curve')} left out, without a value of these"
    typer.echo(words)
    lines = sum(kind == "peak" for kind in series.branches["kind"].to_pylist())
    typer.echo(
        f"{counted(series.peaks.num_rows, 'Bragg peak')} in {lines:,} "
        f"{'branch' if lines == 1 else 'branches'}"
    )
    typer.echo()
    _print_phases(series)
    _print_transitions(series)


def _print_phases(series: Series) -> None:
    from gpusaxs.coordinates import in_words

    rows = [
        (
            row["phase"],
            in_words(row["series"]),
            in_words(row["begin"]),
            in_words(row["end"]),
            f"{row['curves']:,}",
            f"{row['missed']:,}",
            f"{row['first']:#.4g}",
            f"{row['last']:#.4g}",
        )
        for row in series.branches.to_pylist()
        if row["kind"] == "phase"
    ]
    heading = ("from", "to", "curves", "undecided", "lattice/nm first", "last")
    _print_rows(series, "phase", heading, rows, "No phase was identified.")


def _print_transitions(series: Series) -> None:
    from gpusaxs.coordinates import in_words
    from gpusaxs.series import together

    rows = [
        (
            f"{together(row['phases_lower'])} to {together(row['phases_upper'])}",
            in_words(row["series"]),
            in_words(row["lower"]),
            in_words(row["upper"]),
            f"{row['undecided']:,}",
            f"{row['curves_lower']:,}",
            f"{row['curves_upper']:,}",
        )
        for row in series.transitions.to_pylist()
    ]
    heading = ("between", "and", "undecided", "curves before", "behind")
    _print_rows(series, "transition", heading, rows, "No transition was found.")


def _print_rows(
    series: Series,
    first: str,
    heading: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    nothing: str,
) -> None:
    from gpusaxs.cli.report import print_table

    if not rows:
        typer.echo(nothing)
        return
    if series.by is None:
        rows = [(row[0], *row[2:]) for row in rows]
        print_table((first, *heading), rows[:MOST_SHOWN])
    else:
        print_table((first, series.by.name, *heading), rows[:MOST_SHOWN])
    if len(rows) > MOST_SHOWN:
        typer.echo(f"... and {len(rows) - MOST_SHOWN:,} more: see the tables in RUN/series\n")
