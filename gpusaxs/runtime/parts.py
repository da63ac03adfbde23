"""Curves in as many parts as the memory of a backend asks for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from gpusaxs.backends import Backend
from gpusaxs.batch import SampleBatch
from gpusaxs.errors import OutOfMemoryError

logger = logging.getLogger("gpusaxs")

T = TypeVar("T")


def in_parts(
    backend: Backend,
    curves: int,
    points: int,
    stack: Callable[[slice], SampleBatch],
    work: Callable[[SampleBatch, slice], T],
    *,
    together: bool = False,
) -> list[T]:
    """Stack curves and do something with them, each part in a lane of its own.

    A part has as many curves as the backend has memory for by its own account. Where there is no
    room for it after all, because others took it, the parts from there on have half as many.

    Parameters
    ----------
    curves
        How many there are.
    points
        Of the longest.
    stack
        Returns a batch of the curves in a slice; it may be called again for a part of them.
    work
        Done once with each part.
    together
        Whether the curves need each other: then they are one part.

    Raises
    ------
    OutOfMemoryError, MemoryError
        If there is no room for a part that cannot be halved.
    """
    most = None if together else backend.curves_at_once(points)
    at_once = curves if most is None else min(most, curves)
    done: list[T] = []
    first = 0
    while first < curves:
        part = slice(first, min(first + at_once, curves))
        with backend.lane():
            try:
                batch = stack(part)
            # Arrays of the caller's own library run out in its own words.
            except (OutOfMemoryError, MemoryError) as error:
                size = part.stop - part.start
                if together or size == 1:
                    raise
                at_once = -(-size // 2)
                logger.warning("%s; %d curves at once from now on", error, at_once)
                continue
            done.append(work(batch, part))
            # Or it would take its memory until the next one is there.
            del batch
        first = part.stop
    return done
