"""`gpusaxs inspect`: what files hold, without processing them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpusaxs.cli.options import FollowLinks, QUnitOption, check_unit

if TYPE_CHECKING:
    from gpusaxs.io.inspection import Inspection

CANNOT_READ = 1
_SHOWN = 10
_UNIT_FROM = {
    "argument": "from --q-unit",
    "metadata": "stated in the file",
    "guess": "a guess from the numbers: give --q-unit where you know it",
}


def inspect(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Files, folders and patterns.")
    ],
    q_unit: QUnitOption = None,
    follow_links: FollowLinks = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Draw the curves, a PNG a file, into a folder."),
    ] = None,
) -> None:
    """Say what files hold: format, curves, q and its unit, uncertainties, metadata, problems.

    Exits with 1 where a file cannot be read as a curve.
    """
    from gpusaxs.errors import ReadError
    from gpusaxs.io.discover import discover
    from gpusaxs.io.inspection import inspect as look

    check_unit(q_unit)
    if plot is not None:
        plot.mkdir(parents=True, exist_ok=True)
    unreadable = 0
    for source in discover(files):
        typer.echo(f"{source.path}")
        try:
            found = look(source.path, q_unit, follow_links=follow_links)
        except ReadError as error:
            unreadable += 1
            _line("cannot be read", str(error))
            continue
        _print(found)
        unreadable += len(found.unreadable)
        if plot is not None:
            from gpusaxs.plot import plot_curves, save

            picture = plot / f"{source.id.replace('/', '_')}.png"
            save(plot_curves(found.samples, source.id), picture)
            _line("picture", str(picture))
    if unreadable:
        raise typer.Exit(CANNOT_READ)


def _print(found: Inspection) -> None:
    from gpusaxs.metadata import FIELDS
    from gpusaxs.sample import EXPLANATIONS, CurveStatus

    read = len(found.samples)
    looked_at = read + len(found.unreadable)
    seen = "" if looked_at == found.curves else f"; the first {looked_at:,} were looked at"
    shortest, longest = found.points
    low, high = found.q_range
    _line("format", ", ".join(found.formats))
    _line("curves", f"{found.curves:,}{seen}")
    _line("points", f"{shortest:,}" if shortest == longest else f"{shortest:,} to {longest:,}")
    _line("q", f"{low:.4g} to {high:.4g} nm⁻¹")
    for unit, said_by in found.units:
        _line("unit of q", f"{unit}, {_UNIT_FROM[said_by]}")
    _line("sigma", {0: "no", read: "yes"}.get(found.with_sigma, f"{found.with_sigma} of {read}"))
    for name, value in found.metadata.items():
        shown = value if isinstance(value, str) else FIELDS[name].with_unit(f"{value:g}")
        others = "; others differ" if name in found.varying else ""
        _line(name, f"{shown}{others}")
    for flag, count in found.remarks.items():
        if flag == CurveStatus.Q_UNIT_GUESSED:
            continue  # The unit's own line has said so.
        curves = "" if read == 1 else f" ({count:,} of {read:,} curves)"
        _line("cannot use" if flag.failed else "remark", f"{EXPLANATIONS[flag]}{curves}")
    for frame, reason in list(found.unreadable.items())[:_SHOWN]:
        _line("cannot be read", f"#{frame}: {reason}")
    if len(found.unreadable) > _SHOWN:
        _line("", f"... and {len(found.unreadable) - _SHOWN:,} more")


def _line(name: str, words: str) -> None:
    typer.echo(f"  {name:14s} {words}")
