"""Options that several commands have, with the same words."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

BackendName = Literal["auto", "numpy", "cuda"]
ExecutorName = Literal["workpool", "serial"]

INPUT_HELP = "Files, folders (with all below them) and patterns."

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="STAGE.PARAMETER=VALUE", help="Change a parameter; repeatable."),
]
QUnitOption = Annotated[
    str | None,
    typer.Option(metavar="UNIT", help="1/nm, 1/angstrom or 1/m; else each file's own, or a guess."),
]
FollowLinks = Annotated[
    bool,
    typer.Option("--follow-links", help="Let HDF5 files take their numbers from other files."),
]
Backend = Annotated[
    BackendName, typer.Option(help="Where to compute; auto takes a GPU where one works.")
]
Workers = Annotated[int | None, typer.Option(min=1, help="Threads; by default one a core.")]
BlockSize = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="CURVES", help="Curves of a block; by default some tens of MB of them."
    ),
]
BlocksInFlight = Annotated[
    int | None,
    typer.Option(min=1, metavar="BLOCKS", help="Blocks that are in memory at once."),
]
Executor = Annotated[
    ExecutorName,
    typer.Option(help="serial does one block after another; the results are the same."),
]
FromName = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN",
        help="Columns out of the curves' names, by a regular expression: 'T(?P<temperature>\\d+)'.",
    ),
]


def check_unit(q_unit: str | None) -> None:
    """Refuse a unit of q that is none."""
    from gpusaxs.units import check_q_unit

    if q_unit is not None:
        try:
            check_q_unit(q_unit)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--q-unit") from error
