"""`gpusaxs process`: files in, a run directory out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from gpusaxs.runtime.events import EventBus

BackendName = Literal["auto", "numpy", "cuda"]
SOME_FAILED = 1


def process(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT", help="Files, folders (with all below them) and patterns."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="RUN", help="The run directory to make.")
    ],
    pipeline: Annotated[
        str, typer.Option(metavar="NAME|FILE.toml", help="A preset, or a pipeline of your own.")
    ] = "standard",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="STAGE.PARAMETER=VALUE", help="Change a parameter; repeatable."
        ),
    ] = None,
    q_unit: Annotated[
        str | None,
        typer.Option(metavar="UNIT", help="1/nm or 1/angstrom; else each file's own, or a guess."),
    ] = None,
    backend: Annotated[
        BackendName, typer.Option(help="Where to compute; auto takes a GPU where one works.")
    ] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads; by default one a core.")
    ] = None,
    save_curves: Annotated[
        bool, typer.Option("--save-curves", help="Keep the reduced curves in the run.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run that is there already.")
    ] = False,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the three tables there as CSV too."),
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first curve that fails.")
    ] = False,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json", help="Write a timeline for Perfetto or chrome://tracing."
        ),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(metavar="FILE.jsonl", help="Write what happens, an object a line."),
    ] = None,
) -> None:
    """Process every curve of files and folders into a run directory.

    Formats are recognised by content. Exits with 1 where some curves or files failed; the
    summary and the table samples hold their reasons.
    """
    from gpusaxs.archive.run import open_run, process_archive
    from gpusaxs.cli.progress import Progress
    from gpusaxs.cli.report import print_rate, print_summary
    from gpusaxs.pipeline import Pipeline
    from gpusaxs.units import check_q_unit

    if q_unit is not None:
        try:
            check_q_unit(q_unit)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--q-unit") from error
    chosen = Pipeline.load(pipeline).with_settings(settings or ())
    with Progress(chosen, backend, workers) as progress, _bus(trace, events) as bus:
        summary = process_archive(
            inputs,
            output,
            pipeline=chosen,
            q_unit=q_unit,
            backend=backend,
            workers=workers,
            save_curves=save_curves,
            overwrite=overwrite,
            progress=progress,
            on_failure="fail_fast" if fail_fast else "continue",
            events=bus,
        )
    result = open_run(output)
    print_summary(result.samples)
    print_rate(summary)
    if summary.stopped:
        typer.echo(f"Stopped: {summary.stopped}", err=True)
    if csv is not None:
        result.write_csv(csv)
        typer.echo(f"Tables as CSV: {csv}")
    if summary.failed:
        raise typer.Exit(SOME_FAILED)


@contextmanager
def _bus(trace: Path | None, events: Path | None) -> Iterator[EventBus | None]:
    """Open the files that were asked for as sinks; there is no bus without any."""
    from gpusaxs.runtime.events import EventBus, Sink
    from gpusaxs.runtime.sinks import JsonLines
    from gpusaxs.runtime.timeline import ChromeTrace

    sinks: list[Sink] = []
    if trace is not None:
        sinks.append(ChromeTrace(trace))
    if events is not None:
        sinks.append(JsonLines(events))
    if not sinks:
        yield None
        return
    with EventBus(sinks) as bus:
        yield bus
