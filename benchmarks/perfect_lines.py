"""What the phase makes of perfect lines: ``python -m benchmarks.perfect_lines [--curves N]``.

In the place of the peaks that were found it gets all visible lines and no others, each where it is
but for the least noise that a fit can have. What is not named rightly then is beyond search and
fits: it is not in the lines, or the phase stage does not see it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from gpusaxs.kernels import peak_table as table

from benchmarks import accuracy
from benchmarks.known_answers import NEGATIVES, answers, groups
from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.pipeline import Pipeline
from gpusaxs.simulate import Simulation
from gpusaxs.stages.base import NO_REQUESTS, Requests, Stage

_SEED = 1
_CENTRE_OF_GAUSSIAN = 1.0 / np.sqrt(4.0 * np.log(2.0))
"""Least uncertainty of a Gaussian's centre, over that of its height relative to it times its FWHM;
see the Fisher information of a line that is sampled densely."""


class PerfectLines(Stage):
    """Puts the lines that are there in the place of the peaks."""

    lines: Mapping[str, Sequence[Mapping[str, Any]]]

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Write the table of peaks; on the CPU alone."""
        noise = np.random.default_rng(_SEED)
        q = np.broadcast_to(batch.q, batch.intensity.shape)
        for row in rows:
            seen = self.lines.get(batch.ids[row], ())[: batch.max_peaks]
            batch.peaks[row] = np.nan
            batch.n_peaks[row] = len(seen)
            for peak, line in zip(batch.peaks[row], seen, strict=False):
                relative = 1.0 / line["snr"]
                sigma = _CENTRE_OF_GAUSSIAN * line["fwhm"] * relative
                peak[[table.STATUS, table.REMARKS, table.LEVEL, table.SLOPE]] = 0.0
                peak[table.REDUCED_CHI2] = 1.0
                peak[table.INDEX] = np.searchsorted(q[row], line["q"])
                peak[table.Q], peak[table.Q_SIGMA] = line["q"] + sigma * noise.normal(), sigma
                for value, known, of in (
                    (table.FWHM, line["fwhm"], table.FWHM_SIGMA),
                    (table.HEIGHT, line["height"], table.HEIGHT_SIGMA),
                    (table.AREA, line["height"] * line["fwhm"], table.AREA_SIGMA),
                ):
                    peak[value], peak[of] = known, known * relative
                peak[[table.VALUE, table.PROMINENCE]] = line["height"]
                peak[table.ETA], peak[table.ETA_SIGMA] = 0.5, 0.1
                peak[table.ASYMMETRY] = 0.0
        return NO_REQUESTS


def with_perfect_lines(pipeline: Pipeline, simulation: Simulation) -> Pipeline:
    """Return a pipeline whose last stage, the phase, gets the visible lines of a simulation."""
    visible: dict[str, list[dict[str, Any]]] = {}
    for line in simulation.lines.to_pylist():
        if line["visible"]:
            visible.setdefault(line["id"], []).append(line)
    *others, phase = pipeline.stages
    return Pipeline.of([*others, PerfectLines(lines=visible), phase])


def measure(
    curves: int, seed: int, pipeline: Pipeline, workers: int | None = None
) -> accuracy.Answers:
    """Answers to the bright groups with phases."""
    chosen = [
        group
        for group in groups(curves, seed)
        if group.name != NEGATIVES and group.counts >= accuracy.LEAST_COUNTS
    ]
    return accuracy.Answers(
        pa.concat_tables(answers(chosen, pipeline, workers, with_perfect_lines))
    )


def goal_table(found: accuracy.Answers) -> str:
    """Return `accuracy.goal_table` without the negatives, which have no lines."""
    rows = [goal for goal in accuracy.goals(found) if "negatives" not in goal.what]
    return accuracy.goal_table(rows)


def main() -> None:
    """Measure and print."""
    options = accuracy.parser(__doc__, "python -m benchmarks.perfect_lines")
    options.set_defaults(curves=200)
    asked = options.parse_args()
    pipeline = Pipeline.load(asked.pipeline).with_settings(asked.settings)
    print(goal_table(measure(asked.curves, asked.seed, pipeline, asked.workers)))


if __name__ == "__main__":
    main()
