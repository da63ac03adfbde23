"""Small objects around each launch: what happens before, after, on an error, or instead of it."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from gpusaxs.backends import IndexArray
from gpusaxs.backends.supervision import limited_to
from gpusaxs.batch import SampleBatch
from gpusaxs.runtime.events import Event
from gpusaxs.stages.base import Requests, Stage

Proceed = Callable[[IndexArray], Requests]
"""Runs what an interceptor is around, over some of the launch's rows."""

logger = logging.getLogger("gpusaxs")


class StageLaunch(NamedTuple):
    """A stage that is about to run over rows of a batch.

    Parameters
    ----------
    emit
        Takes an event to the sinks of the runtime.
    pause
        Waits for some seconds, or until the run of these rows is cancelled, which it raises.
    """

    stage: Stage
    stage_num: int
    rows: IndexArray
    batch: SampleBatch
    emit: Callable[[Event], None]
    pause: Callable[[float], None]


class Interceptor:
    """Something around each launch; a subclass overrides what it needs.

    The first interceptor of a runtime is the outermost. What one raises fails the launch's rows,
    as if the stage had raised it.
    """

    def before(self, launch: StageLaunch) -> None:
        """Do something before the stage runs."""

    def after(self, launch: StageLaunch, requests: Requests) -> None:
        """Do something when the stage has run."""

    def error(self, launch: StageLaunch, error: Exception) -> None:
        """Do something when the stage has raised; the error goes on."""

    def around(self, launch: StageLaunch, proceed: Proceed) -> Requests:
        """Run the stage: override it to run it on fewer rows, again, or not at all."""
        self.before(launch)
        try:
            requests = proceed(launch.rows)
        except Exception as error:
            self.error(launch, error)
            raise
        self.after(launch, requests)
        return requests


def nested(interceptors: Sequence[Interceptor], launch: StageLaunch, rows: IndexArray) -> Requests:
    """Run some rows of a launch within interceptors, the first outermost."""
    if rows is not launch.rows:
        _check_whole(launch, rows)
        launch = launch._replace(rows=rows)
    if not interceptors:
        answer = launch.stage.launch(launch.batch, rows)
        return {name: np.asarray(asking, np.int64) for name, asking in answer.items()}
    return interceptors[0].around(launch, partial(nested, interceptors[1:], launch))


def _check_whole(launch: StageLaunch, rows: IndexArray) -> None:
    if launch.stage.joint and rows.size < launch.rows.size:
        raise ValueError(
            f"Expected all {launch.rows.size} curves of the launch at once: what the stage "
            f"{launch.stage.name!r} does to one hangs on the others. Got {rows.size}."
        )


def stage_names(stages: Collection[str]) -> frozenset[str]:
    """Return the names of the stages that an interceptor is for.

    Raises
    ------
    TypeError
        If one name is given in place of a list.
    """
    if isinstance(stages, str):
        raise TypeError(f"Expected a list of stages. Got {stages!r}. Write [{stages!r}].")
    return frozenset(stages)


class Timing(Interceptor):
    """Adds up, by stage, the seconds, launches and rows of what it is around.

    One object may serve several runtimes at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.launches: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()

    def around(self, launch: StageLaunch, proceed: Proceed) -> Requests:
        """See `Interceptor.around`."""
        began = time.perf_counter()
        try:
            return proceed(launch.rows)
        finally:
            name = launch.stage.name
            with self._lock:
                self.seconds[name] += time.perf_counter() - began
                self.launches[name] += 1
                self.rows[name] += launch.rows.size


class Logging(Interceptor):
    """Logs each launch, under the logger ``gpusaxs``.

    Parameters
    ----------
    level
        Of a launch that went well; one that raised is a warning.
    """

    def __init__(self, level: int = logging.DEBUG) -> None:
        self.level = level

    def after(self, launch: StageLaunch, requests: Requests) -> None:
        """See `Interceptor.after`."""
        asked = "".join(f"; {rows.size} ask for {name}" for name, rows in requests.items())
        logger.log(self.level, "%s over %d curves%s", launch.stage.name, launch.rows.size, asked)

    def error(self, launch: StageLaunch, error: Exception) -> None:
        """See `Interceptor.error`."""
        logger.warning("%s over %d curves: %s", launch.stage.name, launch.rows.size, error)


class Timeout(Interceptor):
    """Lets a launch's rows fail with the status ``timed_out`` where it takes too long.

    A launch is ended between chunks of curves (on a GPU: between kernels; on the host: between
    curves): Python has no safe way to stop code at any other place. One that ends late by itself
    has timed out as well.

    Parameters
    ----------
    seconds
        What a launch may take.
    stages
        Names of the stages that it is for; all where none are given.
    """

    def __init__(self, seconds: float, stages: Collection[str] = ()) -> None:
        if not seconds > 0:
            raise ValueError(f"Expected a timeout above 0 s. Got {seconds}.")
        self.seconds = seconds
        self.stages = stage_names(stages)

    def around(self, launch: StageLaunch, proceed: Proceed) -> Requests:
        """See `Interceptor.around`."""
        if self.stages and launch.stage.name not in self.stages:
            return proceed(launch.rows)
        with limited_to(self.seconds):
            return proceed(launch.rows)
