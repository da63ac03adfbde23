"""Small curves and stages that tests of the runtime share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from pydantic import ConfigDict

from gpusaxs.sample import Sample
from gpusaxs.simulate import simulate
from gpusaxs.stages.base import NO_REQUESTS, Stage

Q = np.linspace(0.1, 1.0, 32)


def plain_samples(count: int, prefix: str = "") -> list[Sample]:
    """Curves of noise, each its own."""
    intensity = np.random.default_rng(1).normal(10.0, 1.0, (count, Q.size))
    return [Sample(f"{prefix}{i}", Q, row) for i, row in enumerate(intensity)]


def bragg_samples(count: int, seed: int = 5, points: int = 300) -> list[Sample]:
    """Simulated curves with lines, of which the standard pipeline finds some."""
    curves = simulate(count, seed=seed, points=points, counts=(500.0, 50000.0))
    rows = zip(curves.intensity, curves.sigma, strict=True)
    return [Sample(str(i), curves.q, *row) for i, row in enumerate(rows)]


class Does(Stage):
    """A stage that calls a function with its batch and rows, and returns what that returns."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    label: str
    does: Callable[[Any, Any], Any] = lambda batch, rows: NO_REQUESTS
    asks_for: tuple[str, ...] = ()

    @property
    def name(self):
        return self.label

    @property
    def targets(self):
        return self.asks_for

    def fingerprint(self):
        return None

    def launch(self, batch, rows):
        requests = self.does(batch, rows)
        return NO_REQUESTS if requests is None else requests


class Gate(Stage):
    """A stage that waits until it is opened, and counts its launches and rows."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    opened: threading.Event
    entered: threading.Event
    launches: list[int]

    WAITS: ClassVar[float] = 20.0

    @classmethod
    def closed(cls):
        return cls(opened=threading.Event(), entered=threading.Event(), launches=[])

    @property
    def name(self):
        return "gate"

    def launch(self, batch, rows):
        self.launches.append(rows.size)
        self.entered.set()
        assert self.opened.wait(self.WAITS), "nobody has opened the gate"
        return NO_REQUESTS


def result_bits(sample: Sample) -> tuple[Any, ...]:
    """All that was found in a sample; NaN equals NaN, and no digit is lost."""
    return (
        sample.id, int(sample.status), sample.reason, sample.stage_num,
        sample.intensity.tobytes(), sample.sigma.tobytes(), sample.background.tobytes(),
        repr(sample.metadata), repr(sample.phases), sample.verdict, repr(sample.margin),
    )  # fmt: skip
