"""Measure gpusaxs beside SciPy: ``python -m benchmarks.run [--curves N] [--markdown]``."""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

from benchmarks import peers
from benchmarks.archive import measure_archives
from benchmarks.curves import COUNTS, LINES, seven_line_curves
from benchmarks.formats import ROUNDS as FORMAT_ROUNDS
from benchmarks.formats import measure_formats
from benchmarks.gpu import GpuReport, Sizes, section
from benchmarks.gpu import measure as measure_gpu
from benchmarks.markdown import table
from benchmarks.measure import Report, measure
from benchmarks.test_limits import memory_ratio

ARCHIVE_ROUNDS = 2

# What stage a kernel belongs to, where its name does not say it.
_STAGE = {
    "snip": "background",
    "savgol": "filter",
    "noise_level": "filter",
    "index_phase": "phase",
    "restart_search": "copies between stages",
}


def stage_shares(report: Report) -> dict[str, float]:
    """Share of the time of each stage, the largest first; what no kernel takes comes last."""
    shares: dict[str, float] = {}
    for kernel, share in report.shares.items():
        stage = _STAGE.get(kernel, kernel)
        shares[stage] = shares.get(stage, 0.0) + share
    rest = shares.pop("all else")
    ordered = dict(sorted(shares.items(), key=lambda item: -item[1]))
    return ordered | {"all else (scheduling, copies, tables)": rest}


def markdown(report: Report, gpu: GpuReport) -> str:
    """Return all numbers as a page."""
    versions = ", ".join(f"{name} {number}" for name, number in report.machine.versions.items())
    rates = table(
        ("what runs", "curves/s", "peaks a curve"),
        [
            ("gpusaxs, standard pipeline", f"{report.phase_rate:,.0f}", f"{report.peaks:.1f}"),
            ("gpusaxs without the phase", f"{report.rate:,.0f}", f"{report.peaks:.1f}"),
            (
                f"SciPy in {peers.PROCESSES} processes, without the phase",
                f"{report.peers_rate:,.0f}",
                f"{report.peers_peaks:.1f}",
            ),
        ],
    )
    shares = table(
        ("stage", "share of the time"),
        [(name, f"{100.0 * share:.1f} %") for name, share in stage_shares(report).items()],
    )
    kernels = table(
        ("one core, microseconds a curve", "kernel", "SciPy in a loop", "ratio"),
        [
            (name, f"{ours:.2f}", f"{theirs:.1f}", f"{theirs / ours:.0f}")
            for name, (ours, theirs) in report.kernels.items()
        ],
    )
    runtime = "\n\n".join(report.runtime.lines())
    archives = "\n\n".join(report.archives.lines())
    formats = "\n\n".join(report.formats.lines())
    return f"""# Speed

Measured on {report.machine.date} on {report.machine.cores} cores of an {report.machine.processor} \
(Python {report.machine.python}; {versions}). Again with `python -m benchmarks.run --markdown`.

From arrays in memory: {report.curves:,} simulated curves of {report.points:,} points and any \
phase with {LINES} visible lines, {COUNTS:,.0f} counts at the top of the strongest; the peers \
process the first {report.peers_curves:,} of them. Both are warm and take turns; the best of \
{report.rounds} rounds.

{rates}

The standard pipeline is **{report.ratio:.0f} times** as fast as the peers, which leave the phase \
out. They do its other stages one curve at a time as a careful script does: SNIP of pybaselines, \
`savgol_filter`, and `find_peaks`, `curve_fit` and a subtraction in turn until no peak is left \
(`benchmarks/peers.py`).

## Where the time goes

On one core, with the phase:

{shares}

## Kernels beside SciPy

{kernels}

savgol: smoothing and the propagation of sigma. find_peak: the first search of a curve.

## Memory

20,000 curves of 1,000 points in `gpusaxs.process`: **{report.memory:.2f} times** the arrays \
given, these included, at the peak.

## The runtime

{runtime}

## Archives

Each a process of its own, the best of {ARCHIVE_ROUNDS} rounds in turns with the same curves in \
memory (`python -m benchmarks.archive`).

{archives}

## Formats

Warm, from the page cache, the best of {FORMAT_ROUNDS} rounds (`python -m benchmarks.formats`).

{formats}

{section(gpu)}"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--curves", type=int, default=20000, help="curves for gpusaxs")
    parser.add_argument("--peers-curves", type=int, default=500, help="curves for the peers")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    parser.add_argument("--archive-curves", type=int, default=200_000, help="curves of a stack")
    parser.add_argument("--files", type=int, default=20_000, help="text files")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument(
        "--markdown", action="store_true", help="print nothing but the content of RESULTS.md"
    )
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    if not asked.markdown:
        print(f"Simulating {asked.curves:,} curves and measuring, which takes twenty minutes ...")
    curves = seven_line_curves(asked.curves)
    report = measure(
        curves,
        min(asked.peers_curves, asked.curves),
        asked.rounds,
        memory_ratio,
        lambda: measure_archives(asked.archive_curves, asked.files, ARCHIVE_ROUNDS),
        lambda: measure_formats(asked.curves, asked.files),
    )
    gpu = measure_gpu(Sizes())
    print(markdown(report, gpu), end="" if asked.markdown else "\n")
    if asked.json:
        numbers = report.document() | {"gpu": gpu.document()}
        asked.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
