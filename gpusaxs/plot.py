"""Pictures of results: one curve, and the accuracy on simulated curves. Needs matplotlib."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gpusaxs.errors import GpusaxsError
from gpusaxs.labels import reflection_label, with_uncertainty
from gpusaxs.phases import PHASE_BY_NAME, PHASES
from gpusaxs.sample import Peak, PhaseMatch, Sample, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

_MEASURED = "#4d4d4d"
_BACKGROUND = "#d55e00"
_FIT = "#0072b2"
_ABSENT = "#b0b0b0"
# Reflections of phases that coexist.
_COEXISTING = ("k", "#0072b2", "#009e73")
_OUTCOMES = {
    "right": "#009e73",
    "lattice_off": "#56b4e9",
    "ambiguous": "#e0c45c",
    "unindexed": "#c9c9c9",
    "none": "#e8e8e8",
    "wrong": "#d55e00",
    "failed": "#000000",
}
_SIZE = (7.2, 5.8)  # inches
_LABEL_WIDTH = 0.032  # of the axes
_LABEL_ROWS = 2
_TICK_GAP = 0.09  # of the axes
_FAINTEST = 1e-5  # of the curve's top
_REACH = {True: 1.5, False: 0.8}  # FWHM to either side; of Bragg lines, of other peaks
_FIT_POINTS = 201

MOST_DRAWN = 50
"""Curves in one picture."""


def check_matplotlib() -> None:
    """Raise `GpusaxsError` with the remedy where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise GpusaxsError(
            "Plots need matplotlib, which is not installed. Install it with: "
            "pip install 'gpusaxs[plot]'"
        )


def plot_sample(sample: Sample, figure: Figure | None = None) -> Figure:
    """Draw a processed curve: as measured above, reduced and indexed below.

    Parameters
    ----------
    sample
        A curve of a result.
    figure
        Drawn into, or a new one that no window shows.

    Raises
    ------
    GpusaxsError
        If matplotlib is missing.
    """
    check_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415

    if figure is None:
        figure = Figure(figsize=_SIZE, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.0, 1.15))
    figure.suptitle(_title(sample), fontsize=11)
    plot_measured(sample, above)
    plot_reduced(sample, below)
    above.set_xlabel("")
    above.tick_params(labelbottom=False)
    return figure


def plot_curves(samples: Sequence[Sample], title: str) -> Figure:
    """Draw curves as they were read, at most `MOST_DRAWN` of them from all over the list.

    Raises
    ------
    GpusaxsError
        If matplotlib is missing.
    """
    check_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    ax = figure.subplots()
    step = -(-len(samples) // MOST_DRAWN)
    drawn = samples[::step]
    for sample in drawn:
        ax.plot(sample.q, _positive(sample.intensity), ".-", ms=2.2, lw=0.6, label=sample.id)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylabel("intensity (a.u.)")
    label_q(ax)
    if 1 < len(drawn) <= 8:
        ax.legend(frameon=False, fontsize=8)
    figure.suptitle(title if step == 1 else f"{title}: every {step}th curve", fontsize=11)
    return figure


def plot_on(sample: Sample, ax: Axes | None) -> Axes:
    """Draw the reduced curve into `ax`, or the curve into a new pyplot figure."""
    check_matplotlib()
    if ax is None:
        from matplotlib import pyplot  # noqa: PLC0415

        figure = plot_sample(sample, pyplot.figure(figsize=_SIZE, layout="constrained"))
        return figure.axes[1]
    plot_reduced(sample, ax)
    return ax


def plot_measured(sample: Sample, ax: Axes) -> None:
    """Draw the measured curve, its background, and the fitted Bragg lines on it."""
    q, intensity = _measured(sample)
    ax.plot(q, _positive(intensity), ".", color=_MEASURED, ms=2.2, alpha=0.7, label="measured")
    if sample.background is not None and np.any(sample.background):
        ax.plot(sample.q, _positive(sample.background), "--", color=_BACKGROUND, lw=1.3)
        ax.lines[-1].set_label("background")
        for fit in _fits(sample):
            if fit.bragg:
                model = fit.model + np.interp(fit.q, sample.q, sample.background)
                ax.plot(fit.q, _positive(model), color=_FIT, lw=1.3)
                ax.lines[-1].set_label("" if _labelled(ax, "fitted lines") else "fitted lines")
    ax.set_yscale("log")
    seen = intensity[(intensity > 0) & (q >= sample.q[0]) & (q <= sample.q[-1])]
    if seen.size:
        top = float(np.max(seen))
        ax.set_ylim(max(0.5 * float(np.quantile(seen, 0.05)), _FAINTEST * top), 2.0 * top)
    ax.set_xlim(sample.q[0], sample.q[-1])
    ax.set_ylabel("intensity (a.u.)")
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    label_q(ax)


def plot_reduced(sample: Sample, ax: Axes) -> None:
    """Draw the reduced curve, its fitted peaks, and the reflections of the best phase.

    Bragg lines are filled; peaks that are none are grey. The scale is that of the square root,
    so that weak lines show beside strong ones, and linear where the curve is lost in noise. It
    ends above the highest Bragg line.
    """
    q = sample.q
    ax.plot(q, sample.intensity, ".", color=_MEASURED, ms=2.2, alpha=0.7)
    fits = _fits(sample)
    for fit in fits:
        if fit.bragg:
            ax.fill_between(fit.q, fit.base, fit.model, color=_FIT, alpha=0.22, lw=0)
        color, width = (_FIT, 1.3) if fit.bragg else (_ABSENT, 1.0)
        ax.plot(fit.q, fit.model, color=color, lw=width, zorder=3 if fit.bragg else 2)
    lines = [float(np.max(fit.model)) for fit in fits if fit.bragg]
    top = max(lines) if lines else float(np.quantile(sample.intensity, 0.998))
    low = min(0.0, float(np.quantile(sample.intensity, 0.005)))
    if top > 0:
        noise = _noise(sample, top)
        ax.set_yscale("function", functions=(partial(_root, noise), partial(_square, noise)))
        ax.set_ylim(max(low, -0.1 * top), 1.25 * top)
        ax.set_yticks(_ticks(noise, top))
        ax.minorticks_off()
    ax.set_xlim(q[0], q[-1])
    ax.axhline(0.0, color="k", lw=0.5)
    ax.set_ylabel("reduced intensity (a.u.), √ scale")
    label_q(ax)
    for match, color in zip(sample.best_phases, _COEXISTING, strict=False):
        _draw_reflections(match, ax, color)


def plot_accuracy(samples: pa.Table, truth: pa.Table) -> Figure:
    """Draw, for each phase, what became of the simulated curves with enough visible lines.

    Parameters
    ----------
    samples
        The table of a result, row by row that of `truth`.
    truth
        See `gpusaxs.simulate.Simulation`.

    Raises
    ------
    GpusaxsError
        If matplotlib is missing.
    """
    check_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415

    tallies = _tallies(samples, truth)
    figure = Figure(figsize=(7.2, 0.32 * len(tallies) + 1.5), layout="constrained")
    ax = figure.subplots()
    names = list(tallies)[::-1]
    left = np.zeros(len(names))
    for outcome, color in _OUTCOMES.items():
        share = np.array([100.0 * tallies[name][outcome] for name in names])
        if share.any():
            ax.barh(names, share, left=left, color=color, label=outcome.replace("_", " "))
            left += share
    ax.set_xlim(0, 100)
    ax.set_xlabel("curves with four or more visible lines (%); in brackets: their number")
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(_OUTCOMES), frameon=False, fontsize=8)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the path's suffix.

    Raises
    ------
    GpusaxsError
        If there is no such format.
    """
    known = figure.canvas.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in known:
        raise GpusaxsError(
            f"Expected a file name that ends with .{', .'.join(sorted(known))}. Got {str(path)!r}."
        )
    figure.savefig(path, dpi=200)


def _title(sample: Sample) -> str:
    match sample.verdict:
        case Verdict.IDENTIFIED:
            answer = " + ".join(_with_lattice(match) for match in sample.best_phases)
        case Verdict.AMBIGUOUS:
            together: dict[int, list[str]] = {}
            for match in sample.phases:
                together.setdefault(match.candidate, []).append(written(match.phase))
            answer = "ambiguous: " + " or ".join(map(" + ".join, together.values()))
        case Verdict.UNINDEXED:
            lines = [peak for peak in _fitted(sample) if peak.bragg]
            answer = "peaks without a phase"
            if lines:
                strongest = max(lines, key=lambda peak: peak.height)
                answer += f", strongest at $d$ = {2.0 * np.pi / strongest.q:.4g} nm"
        case Verdict.NONE:
            answer = "none: no Bragg peak"
        case Verdict.FAILED:
            answer = f"failed: {sample.reason}"
        case _:
            answer = "not processed"
    return f"{sample.id.replace('$', chr(92) + '$')}\n{answer}"


def _with_lattice(match: PhaseMatch) -> str:
    symbol = "d" if match.phase == "lamellar" else "a"
    value = with_uncertainty(match.lattice, match.lattice_sigma)
    return f"{written(match.phase)}, ${symbol}$ = {value} nm"


def _measured(sample: Sample) -> tuple[FloatArray, FloatArray]:
    if sample.measured_q is not None and sample.measured_intensity is not None:
        return sample.measured_q, sample.measured_intensity
    background = 0.0 if sample.background is None else sample.background
    return sample.q, sample.intensity + background


def _fitted(sample: Sample) -> list[Peak]:
    peaks = sample.metadata.processed_peaks if sample.metadata else []
    return [peak for peak in peaks if np.isfinite(peak.height) and peak.fwhm > 0]


@dataclass(frozen=True, slots=True)
class _Fit:
    """What was fitted to the reduced curve around a peak: (points,) each."""

    q: FloatArray
    base: FloatArray
    model: FloatArray
    bragg: bool


def _fits(sample: Sample) -> list[_Fit]:
    """Each fit where it holds: on its local background and on the peaks fitted before it."""
    found: list[_Fit] = []
    peaks = _fitted(sample)
    for place, peak in enumerate(peaks):
        reach = _REACH[peak.bragg] * peak.fwhm
        q = np.linspace(
            max(sample.q[0], peak.q - reach), min(sample.q[-1], peak.q + reach), _FIT_POINTS
        )
        base = np.zeros_like(q)
        if np.isfinite(peak.level) and np.isfinite(peak.slope):
            base += peak.level + peak.slope * (q - peak.q)
        for earlier in peaks[:place]:
            base += earlier.profile(q)
        found.append(_Fit(q, base, base + peak.profile(q), peak.bragg))
    return found


def _labelled(ax: Axes, label: str) -> bool:
    return label in ax.get_legend_handles_labels()[1]


def _positive(row: FloatArray) -> FloatArray:
    return np.where(row > 0, row, np.nan)


def _noise(sample: Sample, top: float) -> float:
    """Intensity under which the scale of the reduced curve is linear."""
    sigma = np.nan if sample.sigma is None else float(np.nanmedian(sample.sigma))
    return 4.0 * sigma if np.isfinite(sigma) and sigma > 0 else _FAINTEST * top


def _root(noise: float, value: FloatArray) -> FloatArray:
    size = np.sqrt(np.abs(value) + noise) - np.sqrt(noise)
    return np.asarray(np.sign(value) * size)


def _square(noise: float, value: FloatArray) -> FloatArray:
    size = np.square(np.abs(value) + np.sqrt(noise)) - noise
    return np.asarray(np.sign(value) * size)


def _ticks(noise: float, top: float) -> list[float]:
    """Round numbers down from the top, as far apart as their labels need."""
    whole = _root(noise, np.array(top))
    decade = np.floor(np.log10(top))
    ticks: list[float] = []
    for power in (decade, decade - 1, decade - 2, decade - 3):
        for digit in (5.0, 2.0, 1.0):
            value = float(digit * 10.0**power)
            place = _root(noise, np.array(value)) / whole
            above = _root(noise, np.array(ticks[-1])) / whole if ticks else np.inf
            if value <= 1.1 * top and above - place > _TICK_GAP and place > _TICK_GAP:
                ticks.append(value)
    return [*ticks, 0.0]


def written(phase: str) -> str:
    """Write a space group in italics, with its bar and its screw axis; other names as they are."""
    known = PHASE_BY_NAME.get(phase)
    if known is None or known.lattice != "cubic":
        return phase
    return f"${phase.replace('-3', chr(92) + 'bar{3}').replace('41', '4_1')}$"


def label_q(ax: Axes) -> None:
    """Label the axis of q, and leave the frame open."""
    ax.set_xlabel("$q$ (nm$^{-1}$)")
    ax.spines[["top", "right"]].set_visible(False)


def _draw_reflections(match: PhaseMatch, ax: Axes, found: str) -> None:
    """Draw a tick at each reflection, labelled above the axes; those not found are grey."""
    left, right = ax.get_xlim()
    numbers = [*match.matched, *match.missing]
    places = [*match.matched_q, *match.missing_q]
    free_from = [-np.inf] * _LABEL_ROWS
    for q, n in sorted(zip(places, numbers, strict=True)):
        if not left <= q <= right:
            continue
        color = found if n in match.matched else _ABSENT
        across = ax.get_xaxis_transform()
        ax.plot([q, q], [0.955, 1.0], color=color, lw=1.4, transform=across, clip_on=False)
        ax.plot([q, q], [0.0, 0.955], ":", color=color, lw=0.6, transform=across, zorder=0)
        for row, free in enumerate(free_from):
            if q >= free:
                free_from[row] = q + _LABEL_WIDTH * (right - left)
                ax.annotate(
                    reflection_label(match.phase, n),
                    (q, 1.0),
                    xycoords=across,
                    xytext=(0, 2 + 9 * row),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                    color=color,
                )
                break


def _tallies(samples: pa.Table, truth: pa.Table) -> dict[str, dict[str, float]]:
    """Share of each outcome among the curves of each phase."""
    from gpusaxs.simulate import score  # noqa: PLC0415

    shares = {}
    for phase in PHASES:
        mine = pc.fill_null(pc.equal(truth["phase"], phase.name), False)
        tally = score(samples.filter(mine), truth.filter(mine)).main
        if tally.curves:
            shares[f"{phase.name} ({tally.curves})"] = {
                outcome: getattr(tally, outcome) / tally.curves for outcome in _OUTCOMES
            }
    return shares
