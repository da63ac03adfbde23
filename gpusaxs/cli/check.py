"""`gpusaxs check`: what an archive holds and what it will take, before a long run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpusaxs.cli.lines import counted
from gpusaxs.cli.options import (
    INPUT_HELP,
    Backend,
    BlocksInFlight,
    BlockSize,
    QUnitOption,
    Settings,
    Workers,
    check_unit,
)

if TYPE_CHECKING:
    from gpusaxs.archive.estimate import Estimate, Kind

PROBLEMS = 1
_SHOWN = 20
_UNIT_FROM = {"argument": "--q-unit", "metadata": "the file", "guess": "a guess"}


def check(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help=INPUT_HELP),
    ],
    pipeline: Annotated[
        str, typer.Option(metavar="NAME|FILE.toml", help="A preset, or a pipeline of your own.")
    ] = "standard",
    settings: Settings = None,
    q_unit: QUnitOption = None,
    backend: Backend = "auto",
    workers: Workers = None,
    save_curves: Annotated[
        bool, typer.Option("--save-curves", help="Count the reduced curves in.")
    ] = False,
    block_size: BlockSize = None,
    blocks_in_flight: BlocksInFlight = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="RUN", help="The run directory to be; by default here."
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option(min=1, metavar="CURVES", help="Most curves to read and process.")
    ] = 500,
) -> None:
    """Say what files and folders hold, and what processing them will take; make nothing.

    Curves are counted; the rest is measured on a sample from all over the archive. Give the same
    options as to process. Exits with 1 where there are problems: something in the sample cannot
    be read or processed, or the disk or the memory is too small.
    """
    from gpusaxs.archive.estimate import estimate
    from gpusaxs.cli.progress import compile_kernels
    from gpusaxs.pipeline import Pipeline

    check_unit(q_unit)
    chosen = Pipeline.load(pipeline).with_settings(settings or ())

    def tell(step: str) -> None:
        if step == "computing":
            compile_kernels(backend, workers, chosen)

    found = estimate(
        inputs,
        chosen,
        q_unit=q_unit,
        backend=backend,
        workers=workers,
        save_curves=save_curves,
        block_size=block_size,
        blocks_in_flight=blocks_in_flight,
        output=output,
        sample=sample,
        on_step=tell,
    )
    typer.echo(f"Pipeline: {' > '.join(stage.name for stage in chosen.stages)}")
    _print(found)
    if not found.all_well:
        raise typer.Exit(PROBLEMS)


def _print(found: Estimate) -> None:
    from gpusaxs.archive.estimate import in_bytes
    from gpusaxs.cli.report import print_table

    typer.echo(
        f"Inputs: {counted(found.files, 'file')}, {counted(found.curves, 'curve')}, "
        f"{in_bytes(found.size)}; of them read: {counted(found.sample, 'curve')}"
    )
    typer.echo()
    if found.kinds:
        columns = ("format", "unit of q", "says", "sigma", "curves read", "points", "q (1/nm)")
        print_table(columns, map(_kind, found.kinds), left=4)
    steps = ", ".join(f"{name} {_time(part)}" for name, part in found.seconds_by_step.items())
    saved = f" (curves {in_bytes(found.curves_disk)})" if found.curves_disk else ""
    free = "?" if math.isnan(found.memory_free) else in_bytes(found.memory_free)
    print_table(
        ("it takes", "about", "there is"),
        [
            ("time", _time(found.seconds), ""),
            ("memory, at most", in_bytes(found.memory), free),
            (f"disk at {found.place}", in_bytes(found.disk) + saved, in_bytes(found.disk_free)),
        ],
    )
    typer.echo(f"Seconds of work, beside each other: {steps}")
    for heading, lines in (
        ("Cannot be read", _with_reasons(found.unreadable)),
        ("Cannot be processed", _with_reasons(found.failed)),
        ("Remarks", found.remarks),
        ("Problems", found.problems),
    ):
        if lines:
            typer.echo(f"{heading}:")
            for line in _first(lines):
                typer.echo(f"  {line}")
    if found.all_well:
        typer.echo("All is well.")


def _kind(kind: Kind) -> tuple[str, ...]:
    shortest, longest = kind.points
    return (
        kind.format,
        kind.q_unit,
        _UNIT_FROM[kind.q_unit_from],
        "yes" if kind.has_sigma else "no",
        f"{kind.curves:,}",
        f"{shortest:,}" if shortest == longest else f"{shortest:,} - {longest:,}",
        f"{kind.q_range[0]:.4g} - {kind.q_range[1]:.4g}",
    )


def _with_reasons(curves: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{name}: {reason}" for name, reason in curves]


def _first(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:_SHOWN]
    if len(lines) > _SHOWN:
        yield f"... and {len(lines) - _SHOWN:,} more"


def _time(seconds: float) -> str:
    """Return a time for people: tenths of a second where it is short."""
    return f"{seconds:.1f} s" if seconds < 60.0 else str(timedelta(seconds=round(seconds)))
