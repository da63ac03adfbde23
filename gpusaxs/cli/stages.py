"""`gpusaxs stages`: what a pipeline can be made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gpusaxs.stages.base import Stage

_BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def stages(
    name: Annotated[str | None, typer.Argument(help="A stage; all of them by default.")] = None,
) -> None:
    """List the stages, or the parameters of one with unit, default, bounds and meaning."""
    from gpusaxs.stages import stage_type, stage_types

    if name is None:
        for known, kind in stage_types().items():
            typer.echo(f"{known:14s} {_first_line(kind)}")
    else:
        _print_parameters(stage_type(name))


def _print_parameters(kind: type[Stage]) -> None:
    from gpusaxs.cli.report import print_table

    typer.echo(f"{_first_line(kind)}\n")
    rows = []
    for parameter, field in kind.model_fields.items():
        extra = field.json_schema_extra
        unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
        meaning = field.description or ""
        rows.append((parameter, unit, _written(field.default), _bounds(field), meaning))
    print_table(("parameter", "unit", "default", "values", "meaning"), rows, left=5)
    if kind.leaves:
        found = [
            (number.name, number.unit, " | ".join(number.words), number.meaning)
            for number in kind.leaves
        ]
        print_table(("number", "unit", "words", "meaning"), found, left=4)


def _first_line(kind: type[Stage]) -> str:
    return (kind.__doc__ or "").strip().split("\n\n")[0].replace("\n    ", " ")


def _written(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"{len(value)} names" if value else "none"
    return str(value)


def _bounds(field: Any) -> str:
    """Return the values that a field takes: its bounds, or the words it knows."""
    from typing import Literal, get_args, get_origin

    if get_origin(field.annotation) is Literal:
        return " | ".join(map(str, get_args(field.annotation)))
    if field.annotation is bool:
        return "true | false"
    found = [
        f"{sign} {getattr(mark, name):g}"
        for mark in field.metadata
        for name, sign in _BOUNDS.items()
        if getattr(mark, name, None) is not None
    ]
    return ", ".join(found)
