"""`gpusaxs process`: files in, a run directory out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpusaxs.cli.options import (
    INPUT_HELP,
    Backend,
    BlocksInFlight,
    BlockSize,
    DeviceMemory,
    Executor,
    FromName,
    QUnitOption,
    Settings,
    Workers,
    check_unit,
)

if TYPE_CHECKING:
    from gpusaxs.pipeline import Pipeline
    from gpusaxs.runtime.events import EventBus

SOME_FAILED = 1
# As shells have it: 128 and the number of the signal.
INTERRUPTED = 130


def process(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="RUN", help="The run directory to make.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT...", help=INPUT_HELP),
    ] = None,
    from_run: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Instead of files: process the curves of a run again, and of the stages only "
            "those that a change of the pipeline concerns.",
        ),
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.toml",
            help="A preset, or a pipeline of your own; by default standard, or that of --from-run.",
        ),
    ] = None,
    settings: Settings = None,
    q_unit: QUnitOption = None,
    metadata: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE.csv",
            help="What is known of the files: a column file, the others go into the table samples.",
        ),
    ] = None,
    backend: Backend = "auto",
    workers: Workers = None,
    device_memory: DeviceMemory = None,
    save_curves: Annotated[
        bool, typer.Option("--save-curves", help="Keep the reduced curves in the run.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a run that is there already.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run that is there, if there is one."),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="CURVES", help="End after so many curves."),
    ] = None,
    block_size: BlockSize = None,
    blocks_in_flight: BlocksInFlight = None,
    executor: Executor = "workpool",
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the three tables there as CSV too."),
    ] = None,
    along: Annotated[
        str | None,
        typer.Option(
            "--series",
            metavar="COLUMN",
            help="Track peaks and phases along a series: by temperature, time, another column of "
            "the samples, or order. See gpusaxs series.",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--series-by", metavar="COLUMN", help="With --series: what tells one from another."
        ),
    ] = None,
    from_name: FromName = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first curve that fails; serial.")
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

    Formats are recognised by content. Exits with 1 where some curves or files failed, or the run
    stopped before its end; the summary and the table samples hold the reasons.
    """
    from gpusaxs.archive.from_run import pipeline_of, reprocess_run
    from gpusaxs.archive.opened import open_run
    from gpusaxs.archive.run import process_archive
    from gpusaxs.archive.tracked import track_run
    from gpusaxs.cli.progress import ProgressDisplay
    from gpusaxs.cli.report import print_ending, print_run
    from gpusaxs.cli.series import print_series
    from gpusaxs.pipeline import Pipeline

    if resume and overwrite:
        raise typer.BadParameter("Expected one of --resume and --overwrite.", param_hint="--resume")
    _check_options(inputs, from_run, q_unit, metadata, block_size, limit, fail_fast=fail_fast)
    if pipeline is None and from_run is not None:
        chosen = pipeline_of(from_run)
    else:
        chosen = Pipeline.load(pipeline or "standard")
    chosen = chosen.with_settings(settings or ())
    _check_series(along, by, from_name, chosen, from_run, metadata)
    with (
        _told_how_to_go_on(output),
        ProgressDisplay(chosen, backend, workers) as progress,
        _bus(trace, events) as bus,
    ):
        if from_run is not None:
            summary = reprocess_run(
                from_run,
                output,
                chosen,
                backend=backend,
                workers=workers,
                device_memory=device_memory,
                save_curves=save_curves,
                overwrite=overwrite,
                resume=resume,
                blocks_in_flight=blocks_in_flight,
                executor=executor,
                progress=progress,
                explain=lambda words: typer.echo(f"{from_run}: {words}", err=True),
                events=bus,
            )
        else:
            summary = process_archive(
                inputs or [],
                output,
                pipeline=chosen,
                q_unit=q_unit,
                metadata=metadata,
                backend=backend,
                workers=workers,
                device_memory=device_memory,
                save_curves=save_curves,
                overwrite=overwrite,
                resume=resume,
                limit=limit,
                block_size=block_size,
                blocks_in_flight=blocks_in_flight,
                executor=executor,
                progress=progress,
                on_failure="fail_fast" if fail_fast else "continue",
                events=bus,
            )
    print_run(output)
    print_ending(summary)
    if csv is not None:
        open_run(output).write_csv(csv)
        typer.echo(f"Tables as CSV: {csv}")
    if along is not None and not summary.stopped:
        print_series(track_run(output, along, by, from_name=from_name))
    if not summary.all_well:
        raise typer.Exit(SOME_FAILED)


@contextmanager
def _told_how_to_go_on(output: Path) -> Iterator[None]:
    """Say how an interrupted run goes on."""
    try:
        yield
    except KeyboardInterrupt as error:
        typer.echo(f"Interrupted. The same command with --resume goes on with {output}.", err=True)
        raise typer.Exit(INTERRUPTED) from error


def _check_options(
    inputs: list[str] | None,
    from_run: Path | None,
    q_unit: str | None,
    metadata: Path | None,
    block_size: int | None,
    limit: int | None,
    *,
    fail_fast: bool,
) -> None:
    """Refuse options that do not go together, and a unit that is none."""
    if bool(inputs) == (from_run is not None):
        raise typer.BadParameter("Expected either INPUT or --from-run.", param_hint="INPUT")
    if from_run is not None:
        given = {
            "--q-unit": q_unit,
            "--metadata": metadata,
            "--block-size": block_size,
            "--limit": limit,
            "--fail-fast": fail_fast or None,
        }
        for name, value in given.items():
            if value is not None:
                raise typer.BadParameter(
                    "A run that is processed again keeps its curves and blocks. Leave it out.",
                    param_hint=name,
                )
    check_unit(q_unit)


def _check_series(
    along: str | None,
    by: str | None,
    from_name: str | None,
    pipeline: Pipeline,
    from_run: Path | None,
    metadata: Path | None,
) -> None:
    """Refuse, before anything is computed, a series along what will be no column."""
    from gpusaxs.archive.companion import Companion
    from gpusaxs.archive.directory import read_description
    from gpusaxs.tables import samples_schema
    from gpusaxs.tracking import columns

    if along is None:
        if by is not None or from_name is not None:
            raise typer.BadParameter("Expected what the series run along.", param_hint="--series")
        return
    samples = samples_schema(pipeline.number_columns).empty_table()
    companion = None
    if metadata is not None:
        companion = Companion.read(metadata)
    elif from_run is not None:
        companion = Companion.of_run(from_run, read_description(from_run))
    if companion is not None:
        samples = companion.joined(samples)
    columns(samples, along, by, from_name)


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
