"""Fits of single peaks beside lmfit: the same points, model and weights."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from gpusaxs.kernels import peak_table as table
from lmfit.models import LinearModel, PseudoVoigtModel
from numpy.typing import NDArray

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Peak
from gpusaxs.stages.filter import Filter
from gpusaxs.stages.find_peak import FindPeak
from gpusaxs.stages.process_peak import ProcessPeak

FloatArray = NDArray[np.float64]

SEED = 51002
POINTS = 80
ROUNDS = 3
# Wider than the curves: every point of them is in the window.
_WINDOW = 20.0
# lmfit's names, and ours.
COMPARED = {
    "center": ("centre", table.Q, table.Q_SIGMA),
    "fwhm": ("FWHM", table.FWHM, table.FWHM_SIGMA),
    "amplitude": ("area", table.AREA, table.AREA_SIGMA),
    "fraction": ("Lorentzian share", table.ETA, table.ETA_SIGMA),
}
# Areas of profiles of height and FWHM one.
_LORENTZIAN = math.pi / 2.0
_GAUSSIAN = math.sqrt(math.pi / math.log(2.0)) / 2.0


class Peaks(NamedTuple):
    """Single peaks on straight lines: q (points,) in 1/nm, the rest (peaks, points)."""

    q: FloatArray
    intensity: FloatArray
    sigma: FloatArray


@dataclass(frozen=True)
class FitReport:
    """How fits agree, and what one takes.

    Attributes
    ----------
    peaks
        Peaks that both fitted with all points, the share inside its bounds.
    values
        Largest difference of a parameter in its standard uncertainty, by its name.
    uncertainties
        Largest relative difference of a standard uncertainty.
    ours, theirs
        Microseconds of processor time a fit.
    """

    peaks: int
    values: dict[str, float]
    uncertainties: dict[str, float]
    ours: float
    theirs: float


def single_peaks(number: int, seed: int = SEED) -> Peaks:
    """Draw pseudo-Voigt peaks of 1,000 counts and more, on nearly level lines."""
    rng = np.random.default_rng(seed)
    q = np.linspace(0.9, 1.1, POINTS)
    rows = []
    for _ in range(number):
        peak = Peak(
            0,
            0.0,
            0.0,
            q=rng.uniform(0.98, 1.02),
            fwhm=rng.uniform(0.025, 0.05),
            height=10.0 ** rng.uniform(3.0, 4.5),
            eta=rng.uniform(0.3, 0.7),
        )
        rows.append(peak.profile(q) + rng.uniform(50.0, 500.0))
    model = np.array(rows)
    sigma = np.sqrt(model)
    return Peaks(q, rng.normal(model, sigma), sigma)


def fitted_by_gpusaxs(peaks: Peaks) -> tuple[FloatArray, float]:
    """Rows of the table of peaks; the least microseconds a fit of some rounds, on one core."""
    ids = [str(number) for number in range(len(peaks.intensity))]
    backend = NumpyBackend(1)
    batch = SampleBatch.from_arrays(ids, *peaks, backend)
    fit = ProcessPeak(shape="pseudo_voigt", window=_WINDOW)
    first = Pipeline.of(
        [Filter(), FindPeak(), fit], insertion={"process_peak": {"policy": "never"}}
    )
    Runtime(backend, pipeline=first).run_on(batch)
    rows = np.arange(len(ids))
    before = batch.take(rows)
    seconds = []
    for _ in range(ROUNDS):
        batch.put(rows, before)
        began = time.process_time()
        fit.launch(batch, rows)
        seconds.append(time.process_time() - began)
    return batch.peaks[:, 0].copy(), 1e6 * min(seconds) / len(ids)


def fitted_by_lmfit(peaks: Peaks) -> tuple[list[dict[str, tuple[float, float]]], float]:
    """Value and standard uncertainty by lmfit's name; microseconds a fit."""
    model = PseudoVoigtModel() + LinearModel()
    profile, line = model.components
    found = []
    seconds = 0.0
    for intensity, sigma in zip(peaks.intensity, peaks.sigma, strict=True):
        start = profile.guess(intensity - intensity.min(), x=peaks.q)
        start += line.make_params(intercept=intensity.min(), slope=0.0)
        began = time.process_time()
        result = model.fit(intensity, start, x=peaks.q, weights=1.0 / sigma, scale_covar=False)
        seconds += time.process_time() - began
        found.append(
            {
                name: (result.params[name].value, result.params[name].stderr or math.nan)
                for name in COMPARED
            }
        )
    return found, 1e6 * seconds / len(found)


def used_all_points(peaks: Peaks, lines: FloatArray) -> NDArray[np.bool_]:
    """Whether chi-squared of each fit is that of the whole curve; (peaks,)."""
    same = []
    for line, intensity, sigma in zip(lines, peaks.intensity, peaks.sigma, strict=True):
        peak = Peak(
            0, 0.0, 0.0,
            q=line[table.Q], fwhm=line[table.FWHM], height=line[table.HEIGHT], eta=line[table.ETA],
        )  # fmt: skip
        model = peak.profile(peaks.q) + line[table.LEVEL]
        model += line[table.SLOPE] * (peaks.q - peak.q)
        chi2 = (((intensity - model) / sigma) ** 2).sum()
        same.append(abs(line[table.REDUCED_CHI2] * (POINTS - 6) / chi2 - 1.0) < 1e-6)
    return np.array(same)


def share_of_area(lines: FloatArray) -> FloatArray:
    """Rows with the Lorentzian's share of the area, as lmfit has it, for that of the height."""
    changed = lines.copy()
    share = lines[:, table.ETA]
    area = share * _LORENTZIAN + (1.0 - share) * _GAUSSIAN
    changed[:, table.ETA] = share * _LORENTZIAN / area
    changed[:, table.ETA_SIGMA] *= _LORENTZIAN * _GAUSSIAN / area**2
    return changed


def compare(number: int, seed: int = SEED) -> FitReport:
    """Fit all peaks with both."""
    peaks = single_peaks(number, seed)
    lines, ours = fitted_by_gpusaxs(peaks)
    found, theirs = fitted_by_lmfit(peaks)
    share = lines[:, table.ETA]
    both = used_all_points(peaks, lines) & (share > 0.01) & (share < 0.99)
    values, uncertainties = {}, {}
    for theirs_name, (name, value, sigma) in COMPARED.items():
        their_value, their_sigma = np.array([fit[theirs_name] for fit in found])[both].T
        own = share_of_area(lines[both])
        values[name] = float(np.max(abs(own[:, value] - their_value) / their_sigma))
        uncertainties[name] = float(np.max(abs(own[:, sigma] / their_sigma - 1.0)))
    return FitReport(int(both.sum()), values, uncertainties, ours, theirs)
