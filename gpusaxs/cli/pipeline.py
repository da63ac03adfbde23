"""`gpusaxs pipeline`: check a pipeline's TOML, and its schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

pipeline = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check pipelines.")


@pipeline.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="The pipeline.")],
) -> None:
    """Say whether a pipeline holds, and what is in it."""
    from gpusaxs.pipeline import Pipeline

    found = Pipeline.load(file)
    typer.echo(f"{file} holds: {' > '.join(stage.name for stage in found.stages)}")


@pipeline.command()
def schema() -> None:
    """Write the JSON Schema of a pipeline's TOML."""
    import json

    from gpusaxs.pipeline import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))
