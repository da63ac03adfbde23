"""What a run shows while it works."""

from __future__ import annotations

import math
import sys
import time
from datetime import timedelta
from types import TracebackType

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from gpusaxs.archive.run import Progress
from gpusaxs.io.numeric_block import find_plain_block
from gpusaxs.kernels import cache
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Sample

SECONDS_BETWEEN_LINES = 5.0
SECONDS_WORTH_A_WORD = 3.0


class ProgressDisplay:
    """A bar on a terminal, a line now and then elsewhere: how far, how fast, and with what.

    It writes to standard error. Before the first block it has the kernels compiled, or loaded, so
    that the rate is that of the work.

    Parameters
    ----------
    pipeline, backend, workers
        What will run.
    """

    def __init__(self, pipeline: Pipeline, backend: str, workers: int | None) -> None:
        self._work = (backend, workers, pipeline)
        self._bar: Bar | None = None
        self._said: float | None = None

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """See `gpusaxs.archive.run.process_archive`."""
        now = time.perf_counter()
        if self._said is None:
            compile_kernels(*self._work)
            self._said = time.perf_counter()
            if sys.stderr.isatty():
                self._bar = _bar()
        if self._bar is not None:
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=progress.share, words=in_words(progress))
        elif now - self._said > SECONDS_BETWEEN_LINES:
            self._said = now
            typer.echo(f"{100.0 * progress.share:.0f} %, {in_words(progress)}", err=True)


def in_words(progress: Progress) -> str:
    """Return how far a run has come, how fast it goes, and what takes the time."""
    words = [f"{progress.blocks:,} blocks", f"{progress.curves:,} curves"]
    if progress.curves_now:
        words += [f"{progress.rate:,.0f} curves/s"]
    if not math.isnan(progress.seconds_left):
        words += [f"{timedelta(seconds=round(progress.seconds_left))} left"]
    return ", ".join(words) + time_in_words(progress)


def time_in_words(progress: Progress) -> str:
    """Return the share of the workers' time by what they did."""
    if not progress.curves_now:
        return ""
    return "; " + ", ".join(f"{name} {100.0 * part:.0f} %" for name, part in progress.busy.items())


def _bar() -> Bar:
    bar = Bar(
        BarColumn(20),
        TaskProgressColumn(),
        TextColumn("{task.fields[words]}"),
        console=Console(stderr=True),
    )
    bar.add_task("", total=1.0, words="")
    bar.start()
    return bar


def compile_kernels(backend: str, workers: int | None, pipeline: Pipeline) -> None:
    """Load or compile the kernels of a pipeline, and that which reads text.

    It says so where none are kept from earlier.
    """
    folder = cache.folder()
    kept = "for this time alone" if folder is None else f"once, and kept in {folder}"
    none_kept = folder is None or not any(folder.iterdir())
    if none_kept:
        typer.echo(f"Compiling kernels {kept}: up to half a minute ...", err=True)
    began = time.perf_counter()
    # One curve is no series.
    stages = tuple(stage for stage in pipeline.stages if not stage.joint)
    alone = pipeline.model_copy(update={"stages": stages, "checkpoints": ()})
    if stages:
        Runtime(backend, workers, alone).run([_three_lines()])
    find_plain_block(b"0.1 1.0\n0.2 2.0\n")
    seconds = time.perf_counter() - began
    if none_kept:
        typer.echo(f"Compiled in {seconds:.0f} s.", err=True)
    elif seconds > SECONDS_WORTH_A_WORD:
        typer.echo(f"Compiled more kernels, {kept}: {seconds:.0f} s.", err=True)


def _three_lines() -> Sample:
    """Make a lamellar curve, so that every kernel has something to do."""
    q = np.linspace(0.1, 3.0, 500)
    lines = sum(1000.0 / n * np.exp2(-(((q - 0.9 * n) / 0.015) ** 2)) for n in (1, 2, 3))
    intensity = 10.0 + 5.0 / q**2 + lines
    noise = np.random.default_rng(0).standard_normal(q.size)
    sigma = 0.1 * np.sqrt(intensity)
    return Sample("lamellar", q, intensity + sigma * noise, sigma)
