"""Pictures of particles in solution: Guinier's plot and the dimensionless Kratky curve."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gpusaxs.errors import GpusaxsError
from gpusaxs.labels import with_uncertainty
from gpusaxs.plot import check_matplotlib
from gpusaxs.sample import Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

_POINTS = "#4d4d4d"
_LEFT_OUT = "#b0b0b0"
_FIT = "#0072b2"
_GLOBULE = "#d55e00"
_SIZE = (7.2, 5.8)  # inches
_REACH = 2.0  # of the range's highest q
_LAST_Q_RG = 8.0


def plot_guinier(sample: Sample) -> Figure:
    """Draw ln I over q² about the Guinier range, and what the line leaves, in sigmas.

    Raises
    ------
    GpusaxsError
        If matplotlib is missing, or the curve has no Guinier range.
    """
    numbers = _numbers(sample)
    figure = _figure(sample, numbers)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.0, 1.0))
    assert sample.sigma is not None
    model = numbers["i0"] * np.exp(-((sample.q * numbers["rg"]) ** 2) / 3.0)
    inside = (sample.q >= numbers["q_min"]) & (sample.q <= numbers["q_max"])
    near = sample.q <= _REACH * numbers["q_max"]
    for chosen, color in ((near & ~inside, _LEFT_OUT), (inside, _POINTS)):
        above.errorbar(
            sample.q[chosen] ** 2,
            sample.intensity[chosen],
            sample.sigma[chosen],
            fmt=".",
            ms=3.0,
            lw=0.6,
            color=color,
        )
    above.plot(sample.q[near] ** 2, model[near], "--", color=_FIT, lw=1.0)
    above.plot(sample.q[inside] ** 2, model[inside], color=_FIT, lw=1.5)
    above.set_yscale("log")
    above.set_ylim(0.5 * float(model[near][-1]), 1.3 * float(numbers["i0"]))
    above.set_ylabel("intensity (a.u.)")
    below.plot(
        sample.q[inside] ** 2,
        ((sample.intensity - model) / sample.sigma)[inside],
        ".",
        color=_POINTS,
        ms=3.0,
    )
    below.axhline(0.0, color="k", lw=0.5)
    below.set_ylabel("residual (σ)")
    below.set_xlabel("$q^2$ (nm$^{-2}$)")
    _tidy(above, below)
    return figure


def plot_kratky(sample: Sample) -> Figure:
    """Draw (q Rg)² I / I0 over q Rg, with the curve of a globule for comparison.

    Raises
    ------
    GpusaxsError
        If matplotlib is missing, or the curve has no Guinier range.
    """
    numbers = _numbers(sample)
    figure = _figure(sample, numbers)
    ax = figure.subplots()
    x = sample.q * numbers["rg"]
    shown = x <= _LAST_Q_RG
    assert sample.sigma is not None
    scale = x**2 / numbers["i0"]
    ax.errorbar(
        x[shown],
        (scale * sample.intensity)[shown],
        (scale * sample.sigma)[shown],
        fmt=".",
        ms=3.0,
        lw=0.6,
        color=_POINTS,
    )
    globule = np.linspace(0.0, _LAST_Q_RG, 200)
    ax.plot(globule, globule**2 * np.exp(-(globule**2) / 3.0), "--", color=_GLOBULE, lw=1.0)
    ax.plot(math.sqrt(3.0), 3.0 / math.e, "+", color=_GLOBULE, ms=10.0)
    ax.set_ylim(-0.1, max(2.2, 1.2 * float(np.quantile((scale * sample.intensity)[shown], 0.9))))
    ax.set_xlabel("$q R_g$")
    ax.set_ylabel("$(q R_g)^2 I / I_0$")
    _tidy(ax)
    return figure


def _numbers(sample: Sample) -> dict[str, float]:
    """What the Guinier stage found."""
    found = {
        name.removeprefix("guinier."): value
        for name, value in sample.numbers.items()
        if name.startswith("guinier.") and not isinstance(value, str)
    }
    if math.isnan(found.get("rg", math.nan)):
        reason = sample.numbers.get("guinier.range", "the pipeline has no guinier stage")
        raise GpusaxsError(
            f"Expected a curve with a Guinier range. Got {sample.id}: {reason}. Process it with "
            "--pipeline solution, or draw it without --view."
        )
    return found


def _figure(sample: Sample, numbers: dict[str, float]) -> Figure:
    check_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=_SIZE, layout="constrained")
    rg = with_uncertainty(numbers["rg"], numbers["rg_sigma"])
    title = sample.id.replace("$", chr(92) + "$")
    figure.suptitle(
        f"{title}\n$R_g$ = {rg} nm, $q R_g$ = {numbers['q_min_rg']:.2f} to "
        f"{numbers['q_max_rg']:.2f}",
        fontsize=11,
    )
    return figure


def _tidy(*axes: Axes) -> None:
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
