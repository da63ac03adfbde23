"""What the standard pipeline costs at least on a GPU: ``python -m benchmarks.least_cost``.

The bytes that each stage must move and the operations it does are counted, on curves with six
peaks, by running its kernels in plain Python (`benchmarks.counted`); a card's bandwidths and rate
make times of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from benchmarks.curves import Curves, curves_with_peaks
from benchmarks.markdown import table

PEAKS = 6
SOME = 32


@dataclass(frozen=True)
class Card:
    """What a GPU can do.

    Attributes
    ----------
    name
        Of the card, and where the numbers are from.
    copy
        Bytes a second that a copy within its memory reads and writes.
    upload
        Bytes a second from pinned memory of the host.
    flops
        Operations of float64 a second, a fused product and sum counted as two.
    """

    name: str
    copy: float
    upload: float
    flops: float


H200 = Card("NVIDIA H200 as its data sheet has it", 4.8e12, 64e9, 34e12)


@dataclass(frozen=True)
class StageCost:
    """What a stage does to one curve, all its launches together.

    Attributes
    ----------
    launches
        Of its kernels.
    moved, asked
        Bytes: those that have to be moved, and all that the code reads and writes.
    flops
        Operations of float64.
    steps, paced
        Operations and accesses, and as many as a warp of curves waits for: see `Count`.
    """

    launches: float
    moved: float
    asked: float
    flops: float
    steps: float
    paced: float

    def seconds(self, card: Card) -> float:
        """Least time on a card: that of its memory or that of its arithmetic."""
        return max(self.moved / card.copy, self.flops / card.flops)

    def uncached_seconds(self, card: Card) -> float:
        """Time of its memory where no cache serves any of what the code asks for."""
        return self.asked / card.copy

    @property
    def busy(self) -> float:
        """Share of a warp's lanes that are at work at most, curves in the order they come."""
        return self.steps / self.paced

    def limit(self, card: Card) -> str:
        """What the least time is spent with."""
        moving = self.moved / card.copy > self.flops / card.flops
        return "memory" if moving else "arithmetic"


Costs = Mapping[str, StageCost]
"""By stage, in the order of the pipeline."""


def least_costs(curves: Curves) -> Costs:
    """Count what each stage does to a curve, on average over these."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "curves.npz"
        np.savez(path, q=curves.q, intensity=curves.intensity, sigma=curves.sigma)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.counted", str(path)],
            env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return {
        stage: StageCost(**{name: number / len(curves) for name, number in counts.items()})
        for stage, counts in json.loads(done.stdout).items()
    }


def total(costs: Costs) -> StageCost:
    """What all stages do together."""
    parts = costs.values()
    names = [field.name for field in fields(StageCost)]
    return StageCost(*(sum(getattr(part, name) for part in parts) for name in names))


def rows(costs: Costs, card: Card) -> list[tuple[str, ...]]:
    """Return a row of `HEAD` for each stage, and one for all."""
    least = sum(cost.seconds(card) for cost in costs.values())
    lines = [(stage, cost, cost.seconds(card), cost.limit(card)) for stage, cost in costs.items()]
    return [
        (
            stage,
            f"{cost.launches:.1f}",
            f"{cost.moved / 1e3:.1f}",
            f"{cost.asked / 1e3:.0f}",
            f"{cost.flops / 1e3:.1f}",
            f"{1e9 * seconds:.1f}",
            limit,
            f"{1e9 * cost.uncached_seconds(card):.0f}",
            f"{100.0 * cost.busy:.0f} %",
        )
        for stage, cost, seconds, limit in [*lines, ("all", total(costs), least, "")]
    ]


HEAD = (
    "a curve", "launches", "kB to move", "kB asked for", "kflop", "least ns", "limited by",
    "uncached ns", "lanes busy",
)  # fmt: skip


def page(costs: Costs, card: Card, points: int) -> str:
    """Return the costs as a part of a page."""
    curve = 2 * 8 * points
    least = sum(cost.seconds(card) for cost in costs.values())
    return f"""{table(HEAD, rows(costs, card))}

To move: what a launch reads before it writes it, and what it writes, each number once, float64; \
scratch and what all curves share are left out. Asked for: every read and write of the code, \
scratch included, which registers and caches have to serve. Operations are counted as the kernels \
do them: a sum, product, quotient, root or comparison is one, a call of `exp` or `log` 25. Least: \
the longer of the two at {card.copy / 1e12:.1f} TB/s and {card.flops / 1e12:.0f} TFLOP/s \
({card.name}), stage after stage: {1e-6 / least:.1f} million curves/s. Uncached: if all that is \
asked for went through the card's memory, in whole lines: \
{1e-6 / total(costs).uncached_seconds(card):.1f} million curves/s. Lanes busy: share of a \
warp's lanes that still have something to do, at most, with curves of any width in a warp.

A curve of {points:,} points with its sigma is {curve / 1e3:.0f} kB: from the host it takes at \
least {1e9 * curve / card.upload:.0f} ns at {card.upload / 1e9:.0f} GB/s, \
{1e-6 * card.upload / curve:.1f} million curves/s.
"""


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.least_cost", description=__doc__)
    parser.add_argument("--points", type=int, default=1000, help="of a curve")
    parser.add_argument("--peaks", type=int, default=PEAKS, help="of a curve")
    parser.add_argument("--curves", type=int, default=SOME, help="that are counted")
    asked = parser.parse_args()
    curves = curves_with_peaks(asked.peaks, asked.curves, asked.curves, asked.points)
    print(page(least_costs(curves), H200, asked.points), end="")


if __name__ == "__main__":
    main()
