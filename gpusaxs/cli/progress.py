"""What a run shows while it works."""

from __future__ import annotations

import sys
import time
from types import TracebackType

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from gpusaxs.kernels import cache
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Sample

SECONDS_BETWEEN_LINES = 5.0
SECONDS_WORTH_A_WORD = 3.0


class Progress:
    """A bar with files done and curves/s on a terminal; a line now and then elsewhere.

    It writes to standard error. Before the first file it has the kernels compiled, or loaded, so
    that the rate is that of the work.

    Parameters
    ----------
    pipeline, backend, workers
        What will run.
    """

    def __init__(self, pipeline: Pipeline, backend: str, workers: int | None) -> None:
        self._work = (backend, workers, pipeline)
        self._bar: Bar | None = None
        self._began = self._said = 0.0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, files: int, curves: int) -> None:
        """See `gpusaxs.archive.run.Progress`."""
        if not self._began:
            compile_kernels(*self._work)
            self._began = self._said = time.perf_counter()
            if sys.stderr.isatty():
                self._bar = _bar(files)
        seconds = time.perf_counter() - self._began
        rate = f"{curves / seconds:,.0f} curves/s" if curves else ""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, rate=rate)
        elif seconds - (self._said - self._began) > SECONDS_BETWEEN_LINES:
            self._said = time.perf_counter()
            typer.echo(f"{done:,} of {files:,} files, {curves:,} curves, {rate}", err=True)


def _bar(files: int) -> Bar:
    bar = Bar(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    bar.add_task("", total=files, rate="")
    bar.start()
    return bar


def compile_kernels(backend: str, workers: int | None, pipeline: Pipeline) -> None:
    """Load or compile the kernels of a pipeline; say so where none are kept from earlier."""
    folder = cache.folder()
    kept = "for this time alone" if folder is None else f"once, and kept in {folder}"
    none_kept = folder is None or not any(folder.iterdir())
    if none_kept:
        typer.echo(f"Compiling kernels {kept}: up to half a minute ...", err=True)
    began = time.perf_counter()
    Runtime(backend, workers, pipeline).run([_three_lines()])
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
