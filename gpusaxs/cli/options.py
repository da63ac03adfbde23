"""Options that several commands have, with the same words."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

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


def known_backend(name: str | None) -> str | None:
    """Refuse the name of no backend; whether it is available is seen when it is made."""
    from gpusaxs.backends import check_backend
    from gpusaxs.errors import BackendError

    try:
        if name is not None:
            check_backend(name)
    except BackendError as error:
        raise typer.BadParameter(str(error)) from error
    return name


def _device_memory(size: str) -> str:
    """Refuse what is no amount of memory."""
    from gpusaxs.backends.memory_size import bytes_of

    try:
        bytes_of(size)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return size


Backend = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        callback=known_backend,
        help="Where to compute: numpy, cuda, cuda:1, cuda:0,1 or cuda:all; auto takes a GPU where "
        "one works.",
    ),
]
DeviceMemory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        parser=_device_memory,
        help="What may be taken of each GPU, such as 20GB; by default what is free.",
    ),
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
