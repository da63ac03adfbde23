"""What lines of several commands have in common."""

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


def counted(number: int, noun: str) -> str:
    """Return a number of things in words, as in ``"1 file"`` or ``"2,000 files"``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
