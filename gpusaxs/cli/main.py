"""The command `gpusaxs`: its commands and how it ends.

Nothing heavy is imported here or at the top of a command's file: ``gpusaxs --help`` is quick.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gpusaxs import GpusaxsError, __version__
from gpusaxs.cli.check import check
from gpusaxs.cli.convert import convert
from gpusaxs.cli.demo import demo
from gpusaxs.cli.export import export
from gpusaxs.cli.info import info
from gpusaxs.cli.inspect import inspect
from gpusaxs.cli.pipeline import pipeline
from gpusaxs.cli.plot import plot
from gpusaxs.cli.process import process
from gpusaxs.cli.series import series
from gpusaxs.cli.show import show
from gpusaxs.cli.simulate import simulate
from gpusaxs.cli.stages import stages
from gpusaxs.cli.verify import verify

WRONG_COMMAND = 2


class Commands(TyperGroup):
    """Commands that end with a message and exit code 2 where they cannot do what was asked."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except (GpusaxsError, OSError) as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(WRONG_COMMAND) from error


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gpusaxs {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Find the peaks, phases and lattice parameters of SAXS curves.

    Exit codes: 0 all done; 1 some curves or files failed and the rest is done, or a run stopped
    early; 2 nothing was done because the command itself was wrong.
    """


for command in (
    process,
    check,
    inspect,
    verify,
    show,
    plot,
    series,
    export,
    convert,
    stages,
    info,
    simulate,
    demo,
):
    app.command()(command)
app.add_typer(pipeline, name="pipeline")


def main() -> None:
    """Run the command line."""
    app()
