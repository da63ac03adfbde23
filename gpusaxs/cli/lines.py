"""Lines that say now and then how far a command is."""

from __future__ import annotations

import time

import typer

SECONDS_BETWEEN_LINES = 5.0


class ProgressLines:
    """Prints what it is told to standard error, but not more often than every few seconds."""

    def __init__(self) -> None:
        self._said = time.perf_counter()

    def say(self, words: str) -> None:
        """Print a line, if the last one is old enough."""
        now = time.perf_counter()
        if now - self._said > SECONDS_BETWEEN_LINES:
            self._said = now
            typer.echo(words, err=True)
