"""`gpusaxs demo`: an archive of known answers, processed and judged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gpusaxs.api import Result
    from gpusaxs.simulate import Simulation

_NEGATIVES = 0.1


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where to.")
    ] = Path("demo"),
    curves: Annotated[int, typer.Option(min=1, help="Curves to simulate.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same curves.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier demo in that folder.")
    ] = False,
) -> None:
    """Simulate an archive of mixed phases, process it, and compare with the truth."""
    from gpusaxs.archive.opened import open_run
    from gpusaxs.archive.run import process_archive
    from gpusaxs.cli.progress import ProgressDisplay
    from gpusaxs.cli.report import print_ending, print_summary
    from gpusaxs.pipeline import Pipeline
    from gpusaxs.simulate import score, simulate

    if output.exists() and any(output.iterdir()) and not overwrite:
        raise typer.BadParameter(
            f"{output} is not empty. Give another folder, or --overwrite.", param_hint="--output"
        )
    typer.echo(f"Simulating {curves:,} curves, one in ten without a phase ...", err=True)
    simulation = simulate(curves, seed=seed, negatives=_NEGATIVES)
    archive = simulation.write(output)
    pipeline = Pipeline.load("standard")
    with ProgressDisplay(pipeline, "auto", None) as progress:
        summary = process_archive(
            [archive], output / "run", pipeline=pipeline, overwrite=True, progress=progress
        )
    result = open_run(output / "run")
    print_summary(result.samples)
    typer.echo("Against the truth (right: phase, and lattice parameter within 0.3 %):")
    typer.echo(f"{score(result.samples, simulation.truth)}\n")
    print_ending(summary)
    _draw(result, simulation, output)


def _draw(result: Result, simulation: Simulation, output: Path) -> None:
    from gpusaxs.plot import check_matplotlib, plot_accuracy, plot_sample, save

    check_matplotlib()
    save(plot_accuracy(result.samples, simulation.truth), output / "accuracy.png")
    typer.echo(f"Figures: {output / 'accuracy.png'}")
    number = _most_lines(result)
    if number is not None:
        save(plot_sample(result[number]), output / "curve.png")
        typer.echo(f"         {output / 'curve.png'}")


def _most_lines(result: Result) -> int | None:
    """Place of the identified curve with most Bragg lines."""
    lines = [
        row["n_bragg"] if row["verdict"] == "identified" else -1
        for row in result.samples.select(["verdict", "n_bragg"]).to_pylist()
    ]
    return lines.index(max(lines)) if max(lines) >= 0 else None
