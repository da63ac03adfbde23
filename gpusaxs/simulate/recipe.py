"""What one simulated curve is made of: sharp lines, a smooth background, a detector."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

VISIBLE_SNR = 6.0
BLENDED = 0.8
_WINDOW = 2.5


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """One number between `low` and `high`, its logarithm uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


@dataclass(slots=True)
class Lines:
    """Pseudo-Voigt lines of one curve.

    Parameters
    ----------
    q, fwhm : (lines,) float64
        Centre and full width at half maximum in 1/nm.
    height : (lines,) float64
        At the centre; zero for a line that is missing.
    eta
        Lorentzian share of the profile, the same for all lines.
    asymmetry
        ln of the width above the centre over the width below it.
    phase : (lines,) int64
        0 for the first phase, 1 for the second, -1 for a line of no phase.
    number : (lines,) int64
        The reflection's n (see `gpusaxs.phases`), 0 for a line of no phase.
    """

    q: FloatArray
    fwhm: FloatArray
    height: FloatArray
    eta: float = 0.5
    asymmetry: float = 0.0
    phase: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    number: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if not self.phase.size:
            self.phase = np.full(self.q.size, -1, dtype=np.int64)
        if not self.number.size:
            self.number = np.zeros(self.q.size, dtype=np.int64)

    def profiles(self, q: FloatArray) -> FloatArray:
        """Profile of each line with height one on q in 1/nm; (lines, points).

        The halves below and above the centre have widths of their own whose mean is the FWHM.
        """
        x = 2.0 * (q - self.q[:, None]) / self.fwhm[:, None]
        if self.asymmetry:
            below = 2.0 / (1.0 + np.exp(self.asymmetry))
            x = np.where(x < 0.0, x / below, x / (2.0 - below))
        square = x**2
        gaussian = np.exp2(-np.minimum(square, 1000.0))
        return np.asarray(self.eta / (1.0 + square) + (1.0 - self.eta) * gaussian)

    def joined(self, other: Lines) -> Lines:
        """Join the other lines to these, with the profile of these."""
        return Lines(
            np.concatenate([self.q, other.q]),
            np.concatenate([self.fwhm, other.fwhm]),
            np.concatenate([self.height, other.height]),
            self.eta,
            self.asymmetry,
            np.concatenate([self.phase, other.phase]),
            np.concatenate([self.number, other.number]),
        )


def no_lines() -> Lines:
    """Lines of a curve that has none."""
    return Lines(np.empty(0), np.empty(0), np.empty(0))


@dataclass(slots=True)
class Recipe:
    """One curve before its noise is drawn; intensities in units of the strongest line's height.

    Parameters
    ----------
    lines
        Its sharp lines.
    background : (points,) float64
        Everything smooth.
    kind
        ``"bragg"``, ``"coexistence"`` or the name of the negative.
    phases, lattices
        Names and lattice parameters (nm), none for a negative.
    perturbations
        What makes it hard.
    transmission : (points,) float64
        Share of the scattered intensity that the detector sees.
    exposure : (points,) float64
        Detector area that contributes to a point, one for the usual point.
    blank : (points,) float64, optional
        Measured separately and subtracted.
    sigma_scale
        The sigma column is this many times the true one.
    splitting
        Share of a point's counts that pixel splitting gives to each of its two neighbours: the
        noise of neighbouring points is correlated, and smaller than its sigma.
    """

    lines: Lines
    background: FloatArray
    kind: str
    phases: tuple[str, ...] = ()
    lattices: tuple[float, ...] = ()
    perturbations: tuple[str, ...] = ()
    transmission: FloatArray | float = 1.0
    exposure: FloatArray | float = 1.0
    blank: FloatArray | None = None
    sigma_scale: float = 1.0
    splitting: float = 0.0

    def model(self, profiles: FloatArray) -> FloatArray:
        """Intensity without noise, before a blank is subtracted; (points,)."""
        lines = self.lines.height @ profiles if self.lines.q.size else 0.0
        return np.asarray(self.transmission * (self.background + lines))


def signal_to_noise(
    q: FloatArray, lines: Lines, profiles: FloatArray, variance: FloatArray, transmission: ArrayLike
) -> FloatArray:
    """Height of each line over the best possible uncertainty of that height; (lines,) float64.

    The uncertainty (the Cramer-Rao bound) is that of a fit within 2.5 FWHM in which the heights
    of the overlapping lines and a straight background are free and all else is known. It is zero
    for a line whose centre lies less than one FWHM inside the curve.

    Parameters
    ----------
    q : (points,) float64
        In 1/nm, increasing.
    lines, profiles
        The lines and their profiles on q.
    variance : (points,) float64
        Of the intensity, in the heights' unit squared.
    transmission : (points,) float64 or float
        Share of the intensity that the detector sees.
    """
    found = np.zeros(lines.q.size)
    transmission = np.broadcast_to(np.asarray(transmission, dtype=np.float64), q.shape)
    inside = (lines.q > q[0] + lines.fwhm) & (lines.q < q[-1] - lines.fwhm) & (lines.height > 0.0)
    for k in np.flatnonzero(inside):
        reach = _WINDOW * lines.fwhm[k]
        start, stop = np.searchsorted(q, (lines.q[k] - reach, lines.q[k] + reach))
        others = np.flatnonzero((np.abs(lines.q - lines.q[k]) < reach) & (lines.height > 0.0))
        others = others[others != k]
        seen = transmission[start:stop]
        columns = np.vstack(
            [
                profiles[k, start:stop] * seen,
                profiles[others, start:stop] * seen,
                np.ones(stop - start),
                (q[start:stop] - lines.q[k]) / reach,
            ]
        )
        weighted = columns / np.sqrt(variance[start:stop])
        if weighted.shape[1] <= weighted.shape[0]:
            continue
        information = weighted @ weighted.T
        first = np.zeros(len(columns))
        first[0] = 1.0
        scale = np.sqrt(np.diag(information)) + 1e-300
        normal = information / np.outer(scale, scale)
        normal[np.diag_indices(len(columns))] += 1e-10
        spread = np.linalg.solve(normal, first)[0] / scale[0] ** 2
        found[k] = lines.height[k] / np.sqrt(max(spread, 1e-300))
    return found


def visible_lines(lines: Lines, snr: FloatArray) -> NDArray[np.bool_]:
    """Whether a line can be seen: SNR above 6, and no higher line within 0.8 FWHM; (lines,)."""
    near = np.abs(lines.q[:, None] - lines.q) < BLENDED * lines.fwhm[:, None]
    higher = lines.height[None, :] > lines.height[:, None]
    return np.asarray((snr > VISIBLE_SNR) & ~(near & higher).any(axis=1))
