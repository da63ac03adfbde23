"""What a run came to, in words and small tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from gpusaxs.archive.directory import read_description, read_table
from gpusaxs.archive.run import Summary
from gpusaxs.cli.progress import time_in_words
from gpusaxs.metadata import META
from gpusaxs.sample import EXPLANATIONS, CurveStatus, Verdict

FAILURES_SHOWN = 200
_SUMMARY_COLUMNS = ("verdict", "phase", "lattice", "status", "id", "reason")
_NARROWEST, _WIDEST = 100, 10_000


def print_summary(samples: pa.Table) -> None:
    """Print the verdicts, the phases, the remarks and the failures of a table of samples."""
    _print_verdicts(samples)
    _print_phases(samples)
    _print_words(samples)
    _print_remarks(samples)
    _print_failures(samples)


def print_run(path: Path) -> None:
    """Print the summary of a run directory, of which no more is read than that needs."""
    numbers = read_description(path).get("numbers", {})
    words = [column for column, number in numbers.items() if number["is_text"]]
    print_summary(read_table(path, "samples", columns=[*_SUMMARY_COLUMNS, *words]))


def print_ending(summary: Summary) -> None:
    """Print where a run is, how fast it went, and why it is not complete if it is not."""
    progress = summary.progress
    words = f"{progress.curves_now:,} curves in {summary.seconds:.1f} s"
    if progress.curves_now:
        words += f", {progress.rate:,.0f} curves/s{time_in_words(progress)}"
    if progress.curves > progress.curves_now:
        words += f"; {progress.curves - progress.curves_now:,} were there already"
    typer.echo(f"Run: {summary.path} ({words})")
    for problem in summary.blocks_failed:
        typer.echo(f"Not written: {problem}", err=True)
    for path in summary.changed:
        typer.echo(f"Changed while the run was at work, process it again: {path}", err=True)
    if summary.stopped:
        typer.echo(f"Stopped: {summary.stopped}", err=True)
        typer.echo("The same command with --resume goes on with it.", err=True)


def print_table(heading: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> None:
    """Print a table; all but the first `left` columns are aligned to the right.

    On a terminal the last column is wrapped where there is no room for it.
    """
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for place, name in enumerate(heading):
        table.add_column(name, justify="left" if place < left else "right")
        table.columns[place].no_wrap = place < len(heading) - 1
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        wide = console.options.update_width(_WIDEST)
        console.width = max(_NARROWEST, Measurement.get(console, wide, table).maximum)
    console.print(table)
    typer.echo()


def _print_verdicts(samples: pa.Table) -> None:
    counts = _counts(samples["verdict"])
    rows = [(verdict.value, f"{counts.get(verdict.value, 0):,}") for verdict in Verdict]
    print_table(("verdict", "curves"), [*rows, ("all", f"{samples.num_rows:,}")])


def _print_phases(samples: pa.Table) -> None:
    counts = _counts(samples["phase"].drop_null())
    if not counts:
        return
    rows = []
    for phase, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        lattice = samples.filter(pc.field("phase") == phase)["lattice"]
        spread = pc.quantile(lattice, [0.0, 0.5, 1.0]).to_pylist()
        rows.append((phase, f"{count:,}", *(f"{value:.3f}" for value in spread)))
    print_table(("phase", "curves", "lattice/nm min", "median", "max"), rows)


def _print_words(samples: pa.Table) -> None:
    """Print how often a stage found what, for each of its numbers that has words."""
    rows = [
        (column.name, word, f"{count:,}")
        for column in samples.schema
        if "." in column.name
        and not column.name.startswith(META)
        and pa.types.is_dictionary(column.type)
        for word, count in sorted(
            _counts(samples[column.name].drop_null()).items(), key=lambda item: -item[1]
        )
    ]
    if rows:
        print_table(("number", "is", "curves"), rows, left=2)


def _print_remarks(samples: pa.Table) -> None:
    counts = dict.fromkeys(EXPLANATIONS, 0)
    for label, count in _counts(samples["status"]).items():
        for flag in CurveStatus.parse(label):
            counts[flag] += count
    remarks = [(flag, count) for flag, count in counts.items() if count and not flag.failed]
    if remarks:
        typer.echo("Remarks:")
        for flag, count in remarks:
            typer.echo(f"  {count:,} {_curves(count)}: {EXPLANATIONS[flag]}")
        typer.echo()


def _print_failures(samples: pa.Table) -> None:
    failed = samples.filter(pc.field("verdict") == Verdict.FAILED.value)
    if failed.num_rows == 0:
        return
    typer.echo(f"Failed, {failed.num_rows:,}:")
    for row in failed.select(["id", "reason"]).slice(0, FAILURES_SHOWN).to_pylist():
        typer.echo(f"  {row['id']}: {row['reason']}")
    if failed.num_rows > FAILURES_SHOWN:
        typer.echo(f"  ... and {failed.num_rows - FAILURES_SHOWN:,} more: see the table samples")
    typer.echo()


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    return {
        entry["values"].as_py(): entry["counts"].as_py()
        for entry in column.cast(pa.string()).value_counts()
    }


def _curves(count: int) -> str:
    return "curve" if count == 1 else "curves"
