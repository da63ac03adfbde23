"""`gpusaxs convert`: many files in, one NXcanSAS file of stacks out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gpusaxs.cli.lines import ProgressLines, counted
from gpusaxs.cli.options import INPUT_HELP, FollowLinks, QUnitOption, check_unit

if TYPE_CHECKING:
    from gpusaxs.archive.convert import Converted

SOME_UNREAD = 1


def convert(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT", help=INPUT_HELP)],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.h5", help="The file to write.")
    ],
    q_unit: QUnitOption = None,
    dtype: Annotated[
        Literal["float64", "float32"],
        typer.Option(help="float64 keeps every bit; float32 halves the file."),
    ] = "float64",
    compression: Annotated[
        Literal["gzip", "bitshuffle", "blosc", "none"],
        typer.Option(help="gzip is read everywhere; bitshuffle and blosc are faster."),
    ] = "gzip",
    follow_links: FollowLinks = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there already.")
    ] = False,
) -> None:
    """Put the curves of files and folders into one chunked NXcanSAS file, which is read fast.

    Curves with the same q share a stack. What the files say of their curves is kept. Exits with 1
    where some curves cannot be read; the others are written.
    """
    from gpusaxs.archive.convert import convert as put_together

    check_unit(q_unit)
    lines, began = ProgressLines(), time.perf_counter()
    found = put_together(
        inputs,
        output,
        q_unit=q_unit,
        dtype=dtype,
        compression=None if compression == "none" else compression,
        follow_links=follow_links,
        overwrite=overwrite,
        progress=lambda share, curves: lines.say(f"{100.0 * share:.0f} %, {curves:,} curves"),
    )
    _print(found, output, time.perf_counter() - began)
    if found.unread:
        raise typer.Exit(SOME_UNREAD)


def _print(found: Converted, output: Path, seconds: float) -> None:
    from gpusaxs.archive.estimate import in_bytes
    from gpusaxs.sample import EXPLANATIONS

    if found.curves:
        typer.echo(
            f"{output}: {found.curves:,} curves in {counted(found.stacks, 'stack')}, "
            f"{in_bytes(output.stat().st_size)}, from {counted(found.files, 'file')} of "
            f"{in_bytes(found.size)} in {seconds:.1f} s"
        )
    else:
        typer.echo(f"No curve can be read: {output} was not written.", err=True)
    for remark, curves in found.remarks.items():
        typer.echo(f"{counted(curves, 'curve')}: {EXPLANATIONS[remark]}", err=True)
    if found.unread:
        typer.echo(f"Cannot be read: {len(found.unread):,}", err=True)
    for curve in found.unread:
        typer.echo(f"  {curve.id}: {curve.reason}", err=True)
