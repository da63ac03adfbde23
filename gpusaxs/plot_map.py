"""Phase maps of series, as matplotlib figures; needs the extra `plot`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpusaxs.coordinates import in_words
from gpusaxs.errors import GpusaxsError
from gpusaxs.phases import PHASES
from gpusaxs.plot import check_matplotlib, label_q, written
from gpusaxs.sample import Sample, Verdict
from gpusaxs.series import Series

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]
Line = dict[str, Any]

MOST_ROWS = 1000
"""Curves in one image."""

_POINTS = 800
# Phases in the order of `PHASES`, light and dark by turns, told apart without red and green too.
_COLORS = (
    "#0072b2", "#d55e00", "#56b4e9", "#009e73", "#cc79a7", "#e69f00", "#6a3d9a", "#8c564b",
    "#b2df8a", "#f0e442", "#1b9e9e", "#a50f15",
)  # fmt: skip
_OTHER_COLORS = ("#444444", "#888888", "#bbbbbb")
_UNDECIDED = "#8a8a8a"
_MARKS = {
    Verdict.NONE: "o",
    Verdict.UNINDEXED: "x",
    Verdict.AMBIGUOUS: "$?$",
    Verdict.FAILED: "_",
}
_MEANINGS = {
    Verdict.NONE: "no Bragg line",
    Verdict.UNINDEXED: "unindexed",
    Verdict.AMBIGUOUS: "ambiguous",
    Verdict.FAILED: "failed",
}
_SHADES = {
    Verdict.NONE: "#ffffff",
    Verdict.UNINDEXED: "#c4c4c4",
    Verdict.AMBIGUOUS: "#8a8a8a",
    Verdict.FAILED: "#000000",
}
_EDGE = "#8a8a8a"
_TRANSITION = "#000000"
_BETWEEN = "#e3b85a"
_TRACK = "#ff3b30"
_CELLS = 12  # in which a row of the strip is divided among one, two, three or four phases
_ROUNDING = 1e-6
_FAR = 6.0  # steps of the median length: between what lies further apart there is nothing
_NOISE = 3.0  # sigma up to which the scale of reduced curves is linear
_FAINTEST = 1e-5  # of the strongest intensity


def plot_map(series: Series, curves: Sequence[Sample] = ()) -> Figure:
    """Draw the phase map of series: of several one against the other, of one with its curves.

    Several series are marks, coloured by phase, of their names against the coordinate. One alone
    is drawn upwards along its coordinate: an image of its curves with the tracked peaks, a strip
    of its phases, and their lattice parameters.

    Parameters
    ----------
    series
        Of one, see `gpusaxs.series.Series.only`, curves can be drawn.
    curves
        Curves of one series, reduced or as measured, for the image; without any there is none.

    Raises
    ------
    GpusaxsError
        If matplotlib is missing.
    """
    check_matplotlib()
    return _one(series, curves) if len(series.names) == 1 else _several(series)


def _one(series: Series, curves: Sequence[Sample]) -> Figure:
    """Draw one series upwards along its coordinate."""
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.patches import Patch  # noqa: PLC0415

    # What is drawn of a series, with its share of the width.
    panels = {"image": 3.2} if curves else {}
    panels |= {"strip": 0.16}
    if series.phases.num_rows:
        panels |= {"lattice": 1.5}
    figure = Figure(figsize=(1.6 + 1.8 * sum(panels.values()), 5.6), layout="constrained")
    made = figure.subplots(
        1, len(panels), sharey=True, squeeze=False, width_ratios=[*panels.values()]
    )
    axes = dict(zip(panels, made[0], strict=True))
    lines = series.curves.to_pylist()
    bounds = _bounds(np.array([line["coordinate"] for line in lines]))
    if curves:
        _draw_image(axes["image"], series, curves)
        _draw_tracks(axes["image"], series)
    _draw_strip(axes["strip"], lines, bounds)
    if "lattice" in axes:
        _draw_lattices(axes["lattice"], series)
    _draw_transitions([ax for panel, ax in axes.items() if panel != "strip"], series)
    first = made[0, 0]
    first.set_ylabel(series.along.label)
    first.set_ylim(min(low for low, _ in bounds.values()), max(high for _, high in bounds.values()))
    phases = dict.fromkeys(phase for _, phases in _kinds(lines) for phase in phases)
    colors = {written(phase): _color(phase) for phase in phases}
    colors |= {_MEANINGS[kind[0]]: _SHADES[kind[0]] for kind in _kinds(lines) if not kind[1]}
    if series.transitions.num_rows and len(axes) > 1:
        colors["transition"] = _BETWEEN
    _draw_legend(
        figure, [Patch(fc=color, ec=_EDGE, lw=0.5, label=name) for name, color in colors.items()]
    )
    if series.by is not None:
        first.set_title(f"{series.by.label}: {in_words(series.names[0])}", fontsize=11, loc="left")
    return figure


def _several(series: Series) -> Figure:
    """Draw several series, their names across and their coordinate upwards."""
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.lines import Line2D  # noqa: PLC0415

    assert series.by is not None
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    ax = figure.subplots()
    names = series.names
    place = {name: name if isinstance(name, float) else at for at, name in enumerate(names)}
    for row in series.transitions.to_pylist():
        across = [place[row["series"]]] * 2
        ax.plot(across, [row["lower"], row["upper"]], "-", color=_TRANSITION, lw=1.0, zorder=1)
    lines = series.curves.to_pylist()
    handles = []
    for kind in _kinds(lines):
        mine = [line for line in lines if _kind(line) == kind]
        across = [place[line["series"]] for line in mine]
        handles += ax.plot(across, [line["coordinate"] for line in mine], **_mark(kind), zorder=2)
    if series.transitions.num_rows:
        handles.append(Line2D([], [], color=_TRANSITION, lw=1.0, label="transition"))
    if not isinstance(names[0], float):
        ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
    ax.set_xlabel(series.by.label)
    ax.set_ylabel(series.along.label)
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(0.05)
    _draw_legend(figure, handles)
    return figure


Kind = tuple[Verdict, tuple[str, ...]]


def _kind(line: Line) -> Kind:
    """What a curve is drawn as: its verdict and its phases."""
    return Verdict(line["verdict"]), tuple(line["phases"] or ())


def _color(phase: str) -> str:
    number = next((at for at, known in enumerate(PHASES) if known.name == phase), None)
    if number is None:
        return _OTHER_COLORS[sum(phase.encode()) % len(_OTHER_COLORS)]
    return _COLORS[number % len(_COLORS)]


def _mark(kind: Kind) -> dict[str, Any]:
    """How a curve is marked: filled with the colours of up to three phases, or by its verdict."""
    verdict, phases = kind
    name = " + ".join(map(written, phases)) or _MEANINGS[verdict]
    mark: dict[str, Any] = {"ls": "none", "ms": 7.0, "label": name}
    if not phases:
        return mark | {"marker": _MARKS[verdict], "color": _UNDECIDED, "mfc": "none"}
    mark |= {"marker": "o", "mec": "white", "mew": 0.5, "mfc": _color(phases[0])}
    if len(phases) > 1:
        mark |= {"fillstyle": "left", "markerfacecoloralt": _color(phases[1])}
    if len(phases) > 2:
        mark |= {"mec": _color(phases[2]), "mew": 2.0}
    return mark


def _kinds(lines: Sequence[Line]) -> list[Kind]:
    """What there is to explain, as it appears along the series; phases come before verdicts."""
    return sorted(dict.fromkeys(map(_kind, lines)), key=lambda kind: not kind[1])


def _draw_legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Draw what the marks and colours mean, above all else."""
    figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False, fontsize=8)


def _bounds(coordinates: FloatArray) -> dict[float, tuple[float, float]]:
    """Where the row of each coordinate begins and ends: half way to the next, if that is near."""
    values = np.unique(coordinates)
    between = np.diff(values) if values.size > 1 else np.array([1.0])
    usual = float(np.median(between))
    half = np.where(between <= _FAR * usual, 0.5 * between, usual)
    first, last = np.minimum(half[[0, -1]], 0.5 * usual)
    below, above = np.append(first, half), np.append(half, last)
    return {
        value: (value - low, value + high)
        for value, low, high in zip(values.tolist(), below.tolist(), above.tolist(), strict=False)
    }


def _draw_image(ax: Axes, series: Series, curves: Sequence[Sample]) -> None:
    """Draw curves as the rows of an image; of several with one coordinate the first."""
    from matplotlib.colors import AsinhNorm, LogNorm, Normalize  # noqa: PLC0415
    from matplotlib.ticker import AsinhLocator, LogLocator, NullFormatter  # noqa: PLC0415

    lines = series.curves.to_pylist()
    coordinate = {line["id"]: line["coordinate"] for line in lines}
    rows: dict[float, Sample] = {}
    for curve in curves:
        rows.setdefault(coordinate[curve.id], curve)
    bounds = _bounds(np.array(list(rows)))
    q = np.geomspace(*_reach(list(rows.values())), _POINTS)
    reduced = all(curve.background is not None for curve in rows.values())
    values = np.array([_on(q, rows[value]) for value in bounds])
    seen = values[np.isfinite(values) & (values > 0.0)]
    norm: Normalize
    ticks = None
    if not seen.size:
        norm = Normalize()
    elif reduced:
        top = float(np.quantile(seen, 0.999))
        sigmas = [np.median(curve.sigma) for curve in rows.values() if curve.sigma is not None]
        sigma = float(np.median(sigmas)) if sigmas else 0.0
        noise = max(_NOISE * sigma, _FAINTEST * top)
        norm, ticks = AsinhNorm(noise, vmin=0.0, vmax=top), AsinhLocator(noise, numticks=5)
    else:
        low, top = np.quantile(seen, (0.02, 0.999)).tolist()
        norm = LogNorm(max(low, _FAINTEST * top), top, clip=True)
    edges, values = _stacked(bounds, values)
    step = np.sqrt(q[1] / q[0])
    q_edges = np.append(q / step, q[-1] * step)
    mesh = ax.pcolormesh(q_edges, edges, values, norm=norm, cmap="Greys", rasterized=True)
    ax.figure.colorbar(
        mesh,
        ax=ax,
        location="bottom",
        ticks=ticks,
        shrink=0.6,
        aspect=40,
        label=f"{'reduced' if reduced else 'measured'} intensity (a.u.)",
    )
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    label_q(ax)


def _reach(curves: Sequence[Sample]) -> tuple[float, float]:
    """Least and largest q at which a curve has a usable point."""
    q = np.concatenate(
        [curve.q[np.isfinite(curve.intensity) & (curve.q > 0.0)] for curve in curves]
    )
    if not q.size:
        raise GpusaxsError("The curves have no point that can be drawn.")
    return float(q.min()), float(q.max())


def _on(q: FloatArray, curve: Sample) -> FloatArray:
    """Intensity of a curve on other q, NaN where it has none."""
    usable = np.isfinite(curve.intensity) & (curve.q > 0.0)
    if not usable.any():
        return np.full(q.size, np.nan)
    order = np.argsort(curve.q[usable])
    return np.interp(
        q, curve.q[usable][order], curve.intensity[usable][order], left=np.nan, right=np.nan
    )


def _stacked(
    bounds: dict[float, tuple[float, float]], rows: FloatArray
) -> tuple[list[float], FloatArray]:
    """Edges of the rows of an image, and the rows with NaN in between where nothing was measured.

    Parameters
    ----------
    rows : (coordinates, points) or (coordinates, points, 4) float64
        Intensities or colours.
    """
    edges: list[float] = []
    stacked: list[FloatArray] = []
    for row, (low, high) in zip(rows, bounds.values(), strict=True):
        if not edges:
            edges.append(low)
        elif low - edges[-1] > _ROUNDING * (high - low):
            edges.append(low)
            stacked.append(np.full_like(row, np.nan))
        edges.append(high)
        stacked.append(row)
    return edges, np.array(stacked)


def _draw_tracks(ax: Axes, series: Series) -> None:
    """Draw the branches of the peaks as one line, broken between them."""
    pieces = [
        np.column_stack([lines["q"].to_numpy(), lines["coordinate"].to_numpy()])
        for lines in _branches(series.peaks)
    ]
    broken = [part for piece in pieces for part in (piece, np.full((1, 2), np.nan))]
    if broken:
        ax.plot(*np.concatenate(broken).T, ".-", color=_TRACK, lw=0.8, ms=2.2)


def _branches(rows: pa.Table) -> list[pa.Table]:
    """Rows of each branch."""
    order = rows.sort_by("branch")
    starts = np.flatnonzero(np.diff(order["branch"].to_numpy(), prepend=-1))
    bounds = pairwise([*starts.tolist(), rows.num_rows])
    return [order.slice(start, stop - start) for start, stop in bounds]


def _draw_strip(ax: Axes, lines: Sequence[Line], bounds: dict[float, tuple[float, float]]) -> None:
    """Draw the phases of each curve side by side, or the shade of its verdict.

    Of several curves with one coordinate it is the first that is drawn, as in the image.
    """
    from matplotlib.colors import to_rgba_array  # noqa: PLC0415

    rows: dict[float, FloatArray] = {}
    for line in lines:
        verdict, phases = _kind(line)
        colors = to_rgba_array([_color(phase) for phase in phases] or [_SHADES[verdict]])
        share = np.arange(_CELLS) * len(colors) // _CELLS
        rows.setdefault(line["coordinate"], colors[share])
    edges, values = _stacked(bounds, np.array([rows[value] for value in bounds]))
    ax.pcolormesh(np.linspace(0.0, 1.0, _CELLS + 1), edges, np.nan_to_num(values), rasterized=True)
    ax.set_xticks([])
    ax.tick_params(left=False)


def _draw_lattices(ax: Axes, series: Series) -> None:
    for lines in _branches(series.phases):
        lattice, sigma, coordinate = (
            lines[name].to_numpy() for name in ("lattice", "lattice_sigma", "coordinate")
        )
        color = _color(lines["phase"][0].as_py())
        ax.errorbar(lattice, coordinate, xerr=sigma, fmt=".-", color=color, lw=0.9, ms=4.0)
    ax.set_xlabel("lattice parameter (nm)")
    ax.spines[["top", "right"]].set_visible(False)
    ax.margins(x=0.1)


def _draw_transitions(axes: Sequence[Axes], series: Series) -> None:
    """Shade the interval of each transition."""
    for row in series.transitions.to_pylist():
        for ax in axes:
            # Over the image and under the lines.
            ax.axhspan(row["lower"], row["upper"], color=_BETWEEN, alpha=0.4, lw=0, zorder=1.5)
