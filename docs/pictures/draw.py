"""Draw the pictures of the pages in docs: ``python docs/pictures/draw.py``."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from gpusaxs.archive.workpool import Outcome, Step, Workpool
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.flow import Flow

HERE = Path(__file__).parent
COLOURS = ["#4878a8", "#d1793b", "#6a9f58", "#9a6fb0", "#b8860b", "#7f7f7f"]
STAGES = ("cut", "find_peak", "process_peak", "phase")
PEAKS = (1, 3, 0, 2, 1, 3)
"""How often each curve asks for process_peak."""


def box(ax: Axes, x: float, y: float, width: float, text: str, colour: str, **style: float) -> None:
    """Draw a rounded box with a text in its middle."""
    height = style.pop("height", 0.62)
    patch = FancyBboxPatch(
        (x - width / 2, y - height / 2), width, height,
        boxstyle="round,pad=0,rounding_size=0.08", facecolor=colour, edgecolor="none", **style,
    )  # fmt: skip
    ax.add_patch(patch)
    ax.text(x, y, text, ha="center", va="center", color="white", fontsize=8)


@dataclass
class Drawn:
    """A launch; rows that have come to a checkpoint; or a checkpoint that lets its rows go."""

    stage: str
    rows: list[int]
    kind: Literal["launch", "held", "released"] = "launch"


def happened(checkpoint: str | None, late_after: int | None) -> list[list[Drawn]]:
    """Return what happens to six curves, a list for each launch; three may come late."""
    standard = Pipeline.load("standard")
    kept = tuple(stage for stage in standard.stages if stage.name in STAGES)
    flow = Flow(Pipeline(stages=kept, checkpoints=(checkpoint,) if checkpoint else ()))
    left = np.array(PEAKS)
    first = left.size if late_after is None else left.size // 2
    flow.enter(np.arange(first), more=late_after is not None)
    done: list[list[Drawn]] = []
    while True:
        if late_after == len(done):
            flow.enter(np.arange(first, left.size))
        ready = flow.ready_checkpoint()
        if ready is not None:
            done.append([Drawn(checkpoint or "", ready.rows.tolist(), "released")])
            flow.release(ready, ready.rows)
        launch = flow.next_launch()
        if launch is None:
            return done
        now = [Drawn(launch.stage, launch.rows.tolist())]
        requests = {}
        if launch.stage == "find_peak":
            asking = launch.rows[left[launch.rows] > 0]
            left[asking] -= 1
            requests = {"process_peak": asking}
            idle = np.setdiff1d(launch.rows, asking).tolist()
            if checkpoint and idle:
                now.append(Drawn(checkpoint, idle, "held"))
        elif launch.stage == "process_peak":
            requests = {"find_peak": launch.rows}
        flow.settle(launch, np.ones(launch.rows.size, bool), requests)
        done.append(now)


def draw_launches(path: Path, checkpoint: str | None, late_after: int | None) -> None:
    """Draw the launches of six curves against the stages."""
    found = happened(checkpoint, late_after)
    figure = Figure(figsize=(9, 2.9), layout="constrained")
    ax = figure.subplots()
    number, ticks = 0, {}
    for place, drawn in enumerate(found):
        for what in drawn:
            y = STAGES.index(what.stage)
            names = "".join("ABCDEF"[row] for row in what.rows)
            if what.kind == "released":
                ax.axvline(place, color="#333333", linestyle=":", linewidth=1.2)
                ax.text(place - 0.1, 0.0, "all are\nhere", fontsize=8, ha="right")
            elif what.kind == "held":
                ax.text(place, y, f"({names})", ha="center", va="center", color=COLOURS[y])
            else:
                number += 1
                ticks[place] = str(number)
                box(ax, place, y, 0.86, names, COLOURS[y])
    if late_after is not None:
        ax.text(late_after, -0.75, "D, E, F come", ha="center", fontsize=8)
    ax.set_xlim(-0.7, len(found) - 0.3)
    ax.set_ylim(len(STAGES) - 0.4, -1.0)
    marks = [f"{n} {name}" + (" ◆" if name == checkpoint else "") for n, name in enumerate(STAGES)]
    ax.set_yticks(range(len(STAGES)), marks)
    ax.set_xticks(list(ticks), list(ticks.values()))
    ax.set_xlabel("launch")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    figure.savefig(path)


def draw_interceptors(path: Path) -> None:
    """Draw interceptors as shells around a stage."""
    figure = Figure(figsize=(9, 2.9), layout="constrained")
    ax = figure.subplots()
    shells = ("Timing", "Retry", "ResultCache", "your own")
    for depth, name in enumerate(shells):
        width, height = 9.2 - 1.7 * depth, 2.7 - 0.5 * depth
        patch = FancyBboxPatch(
            (-width / 2, -height / 2), width, height,
            boxstyle="round,pad=0,rounding_size=0.12", facecolor=COLOURS[depth] + "22",
            edgecolor=COLOURS[depth], linewidth=1.4,
        )  # fmt: skip
        ax.add_patch(patch)
        ax.text(-width / 2 + 0.12, height / 2 - 0.1, name, va="top", fontsize=9,
                color=COLOURS[depth])  # fmt: skip
    box(ax, 0, 0, 1.7, "stage.launch", COLOURS[5], height=0.55)
    arrow = {"arrowstyle": "->", "color": "#333333", "linewidth": 1.3}
    ax.annotate("", (-0.9, -0.12), (-5.9, -0.12), arrowprops=arrow)
    ax.annotate("", (5.9, -0.12), (0.9, -0.12), arrowprops=arrow)
    ax.text(-5.9, 0.0, "rows", fontsize=9, ha="left")
    ax.text(5.9, 0.0, "requests", fontsize=9, ha="right")
    ax.set_xlim(-6.1, 6.1)
    ax.set_ylim(-1.5, 1.5)
    ax.axis("off")
    figure.savefig(path)


def draw_workpool(path: Path) -> None:
    """Draw which worker does what with which block, from a run of steps that sleep."""
    seconds = {"reading": 0.10, "computing": 0.35, "writing": 0.05}
    drawn: list[tuple[str, str, int, float]] = []
    began = time.perf_counter()

    def step(name: str, **how: Any) -> Step:
        def work(block: int) -> int:
            start = time.perf_counter() - began
            time.sleep(seconds[name])
            drawn.append((threading.current_thread().name, name, block, start))
            return block

        return Step(name, work, **how)

    steps = (step("reading", at_once=1), step("computing", at_once=2), step("writing",
             needs_serial=True))  # fmt: skip
    Workpool(steps, workers=3, in_flight=4).run(iter(range(8)), Outcome())
    figure = Figure(figsize=(9, 2.0), layout="constrained")
    ax = figure.subplots()
    workers = sorted({worker for worker, *_ in drawn})
    for worker, name, block, start in drawn:
        y, colour = workers.index(worker), COLOURS[list(seconds).index(name)]
        box(ax, start + seconds[name] / 2, y, 0.97 * seconds[name], str(block), colour)
    for place, name in enumerate(seconds):
        ax.text(0.02 + 0.2 * place, -0.75, name, color=COLOURS[place], fontsize=9)
    ax.set_xlim(-0.02, max(start for *_, start in drawn) + 0.1)
    ax.set_ylim(len(workers) - 0.5, -1.0)
    ax.set_yticks(range(len(workers)), [f"worker {n}" for n in range(len(workers))])
    ax.set_xticks([])
    ax.set_xlabel("time")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    figure.savefig(path)


if __name__ == "__main__":
    mpl.rcParams["svg.hashsalt"] = "gpusaxs"
    mpl.rcParams["svg.fonttype"] = "none"
    draw_launches(HERE / "scheduling.svg", None, None)
    draw_launches(HERE / "checkpoint.svg", "phase", 4)
    draw_interceptors(HERE / "interceptors.svg")
    draw_workpool(HERE / "workpool.svg")
