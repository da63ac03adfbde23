"""Other tools on the same curves: ``python -m benchmarks.rivals [--curves N] [--markdown]``."""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from typing import Any

from benchmarks import rivals_baselines, rivals_fits, rivals_naming
from benchmarks.markdown import table
from benchmarks.measure import Machine, machine
from benchmarks.peers import PROCESSES
from benchmarks.ratio_script import MOST_LEFT_OVER, MOST_MISSING, PROMINENCE
from benchmarks.rivals_baselines import BaselineScore
from benchmarks.rivals_fits import FitReport
from benchmarks.rivals_naming import Group, Score


@dataclass(frozen=True)
class RivalsReport:
    """All numbers."""

    machine: Machine
    drawn: int
    naming: list[Score]
    fits: FitReport
    baseline_curves: int
    baselines: list[BaselineScore]


def measure(
    groups: Sequence[Group],
    drawn: int,
    fits: int,
    baselines: int,
    each: Callable[..., Iterable[Any]] = map,
) -> RivalsReport:
    """Compare everything; `drawn` is how many curves of each simulated group were drawn.

    `each` runs the script: `map`, or that of an executor of processes.
    """
    return RivalsReport(
        machine(),
        drawn,
        rivals_naming.compare(groups, each),
        rivals_fits.compare(fits),
        baselines,
        rivals_baselines.compare(baselines),
    )


def _percent(value: float, digits: int = 1) -> str:
    return "" if math.isnan(value) else f"{100.0 * value:.{digits}f} %"


def naming_table(scores: Sequence[Score]) -> str:
    """All answers, a line a tool and group."""
    head = (
        "curves",
        "tool",
        "right",
        "lattice off",
        "wrong",
        "not named",
        "lattice error",
        "ms a curve",
    )
    rows = [
        (
            f"{one.group} ({one.curves})" if one.tool == scores[0].tool else "",
            one.tool,
            str(one.right),
            str(one.off),
            str(one.wrong),
            str(one.unnamed),
            _percent(one.lattice_error, 3),
            f"{one.milliseconds:.2f}",
        )
        for one in scores
    ]
    return table(head, rows)


def baseline_table(scores: Sequence[BaselineScore]) -> str:
    """Errors and times of the baselines."""
    head = ("baseline", "under a line", "worst tenth", "between lines", "us a curve")
    rows = [
        (
            one.tool,
            _percent(one.under_lines),
            _percent(one.worst_tenth),
            f"{one.between:.2f} sigma",
            f"{one.microseconds:,.0f}",
        )
        for one in scores
    ]
    return table(head, rows)


def fits_table(report: FitReport) -> str:
    """How fits agree."""
    head = ("parameter", "difference / uncertainty", "difference of uncertainties")
    rows = [
        (name, f"{value:.1e}", f"{report.uncertainties[name]:.1e}")
        for name, value in report.values.items()
    ]
    return table(head, rows)


def markdown(report: RivalsReport) -> str:
    """Return all numbers as a page."""
    fits = report.fits
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("gpusaxs", "scipy", "lmfit", "pybaselines")
    )
    return f"""# Beside other tools

Measured on {report.machine.date} on an {report.machine.processor} (Python \
{report.machine.python}; {versions}). Times are processor time on one core; where other work runs \
on the machine at the same time they come out up to a third longer. Again with \
`python -m benchmarks.rivals --markdown`.

## Naming the phase

- **SciPy and ratios** (`benchmarks/ratio_script.py`) is an ordinary careful script: SNIP, \
`savgol_filter`, `find_peaks` with a prominence of {100 * PROMINENCE:.0f} % of the highest point, \
and the phase whose ratios match the positions within 1 %, with at most {MOST_LEFT_OVER} peaks \
left over and {MOST_MISSING} reflections missing. These three numbers are the best on other \
simulated curves.
- **classic** is the recipe of an older program ([classic.md](classic.md)). Each curve is scaled \
to a highest point of 30, because its thresholds are in the intensity's own unit; it knows four \
phases and names every curve that has a peak.
- **standard** is the default of gpusaxs.

Of {report.drawn:,} curves drawn for each group of simulated ones, of all twelve phases, those \
with four visible lines and more count (seed {rivals_naming.SEED}); the curves without a phase \
are tame and hard negatives of 200 to 20,000 counts. Right means the phase with its lattice \
parameter within 0.3 % (measured: within what is known of it), or no phase where there is none. \
The lattice error is the median where the phase is right. Of most of the measured curves with a \
phase only one line stands out, which names none.

{naming_table(report.naming)}

Simulated by this package, so as good as its simulator is. The recipe's first hundred points are \
cut, whatever they hold.

## Fits

{fits.peaks:,} simulated pseudo-Voigt peaks on a line, {rivals_fits.POINTS} points each, fitted \
with the same points, weights and model by gpusaxs and by lmfit (`PseudoVoigtModel + LinearModel`, \
`scale_covar=False`). The largest differences:

{fits_table(fits)}

A fit takes **{fits.ours:.1f} us**, lmfit's {fits.theirs:,.0f} us: {fits.theirs / fits.ours:,.0f} \
times as long.

## Baselines

{report.baseline_curves:,} simulated curves of 1,000 points and any phase, 2,000 counts at the \
top of the strongest line, whose background is known (seed {rivals_baselines.SEED}). The error at \
the top of a line is given over the line's height, as median and as the ninth decile; between the \
lines as median over sigma. pybaselines works on the log-log-sqrt scale too, arpls with the \
stiffness that was best on other curves.

{baseline_table(report.baselines)}
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals", description=__doc__)
    parser.add_argument("--curves", type=int, default=600, help="curves drawn for each group")
    parser.add_argument("--fits", type=int, default=500, help="peaks that are fitted")
    parser.add_argument("--baselines", type=int, default=300, help="curves for the baselines")
    parser.add_argument(
        "--markdown", action="store_true", help="print nothing but the content of docs/peers.md"
    )
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    if not asked.markdown:
        print("Simulating curves and comparing, which takes a minute or two ...")
    groups = rivals_naming.simulated_groups(asked.curves) + rivals_naming.measured_groups()
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as executor:
        report = measure(groups, asked.curves, asked.fits, asked.baselines, executor.map)
    print(markdown(report), end="" if asked.markdown else "\n")


if __name__ == "__main__":
    main()
