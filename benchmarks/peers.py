"""The stages of the standard pipeline written with SciPy, one curve at a time, without the phase.

What a careful script does: pybaselines' SNIP on the log-log-sqrt scale, `savgol_filter`, and
`find_peaks`, `curve_fit` and a subtraction in turn until no peak is left. Options that favour
the peer where there is a choice: sigma is taken as it is; the fits are unbounded, for which
`curve_fit` uses MINPACK, and give up early; the phase is left to the reader.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from pybaselines.smooth import snip
from scipy.optimize import curve_fit
from scipy.signal import find_peaks, peak_widths, savgol_coeffs, savgol_filter

from benchmarks.curves import Curves

FloatArray = NDArray[np.float64]

PROCESSES = 2
CURVES_A_TASK = 25

# The parameters of the standard pipeline.
MAX_HALF_WINDOW = 40
SMOOTH = 3
WINDOW, ORDER = 5, 2
HEIGHT_NOISE, PROMINENCE_NOISE = 3.0, 6.0
EXCLUSION = 0.6
SATELLITE, SATELLITE_REACH = 0.04, 3.0
FIT_WINDOW = 2.5
MAX_PEAKS = 32
MOST_EVALUATIONS = 400  # of a fit: a third of curve_fit's default; one in fifty would take more
_LN2 = math.log(2.0)
_WEIGHTS = savgol_coeffs(WINDOW, ORDER)


def pseudo_voigt(
    x: FloatArray, height: float, centre: float, fwhm: float, eta: float
) -> FloatArray:
    u2 = (2.0 * (x - centre) / fwhm) ** 2
    return height * (eta / (1.0 + u2) + (1.0 - eta) * np.exp(-_LN2 * u2))


def peak_on_line(
    x: FloatArray,
    height: float,
    centre: float,
    fwhm: float,
    eta: float,
    level: float,
    slope: float,
) -> FloatArray:
    return pseudo_voigt(x, height, centre, fwhm, eta) + level + slope * (x - x[0])


def background(intensity: FloatArray) -> FloatArray:
    """SNIP on the log-log-sqrt scale."""
    shift = min(0.0, intensity.min())
    scaled = np.log(np.log(np.sqrt(intensity - shift + 1.0) + 1.0) + 1.0)
    clipped, _ = snip(
        scaled, max_half_window=MAX_HALF_WINDOW, decreasing=True, smooth_half_window=SMOOTH
    )
    return (np.exp(np.exp(clipped) - 1.0) - 1.0) ** 2 - 1.0 + shift


def peaks_of_curve(q: FloatArray, intensity: FloatArray, sigma: FloatArray) -> FloatArray:
    """Fitted peaks, (peaks, 12): height, centre, FWHM, eta, level, slope, and their sigmas."""
    reduced = intensity - background(intensity)
    search = savgol_filter(reduced, WINDOW, ORDER)
    noise = np.sqrt(np.convolve(sigma**2, _WEIGHTS**2, mode="same"))
    step = q[1] - q[0]
    fitted: list[FloatArray] = []
    processed: list[tuple[float, float, float]] = []  # centre, FWHM, height
    while len(processed) < MAX_PEAKS:
        found, properties = find_peaks(
            search, height=HEIGHT_NOISE * noise, prominence=PROMINENCE_NOISE * noise
        )
        free = np.ones(found.size, bool)
        for centre, fwhm, height in processed:
            distance = np.abs(q[found] - centre)
            near = (distance < SATELLITE_REACH * fwhm) & (search[found] < SATELLITE * height)
            free &= ~near & (distance >= max(EXCLUSION * fwhm, 2.5 * step))
        if not free.any():
            break
        chosen = np.flatnonzero(free)[np.argmax(search[found[free]])]
        peak = found[chosen]
        prominence = properties["prominences"][chosen]
        bases = tuple(
            properties[name][chosen : chosen + 1]
            for name in ("prominences", "left_bases", "right_bases")
        )
        fwhm = step * max(peak_widths(search, [peak], prominence_data=bases)[0][0], 2.0)
        first, last = np.searchsorted(q, q[peak] + np.array([-1.0, 1.0]) * FIT_WINDOW * fwhm)
        first, last = max(0, min(first, peak - 4)), min(q.size, max(last, peak + 5))
        window = slice(first, last)
        start = (prominence, q[peak], fwhm, 0.5, search[peak] - prominence, 0.0)
        try:
            best, covariance = curve_fit(
                peak_on_line,
                q[window],
                reduced[window],
                start,
                sigma[window],
                absolute_sigma=True,
                maxfev=MOST_EVALUATIONS,
            )
        except (RuntimeError, TypeError):  # not converged; fewer points than parameters
            processed.append((q[peak], fwhm, search[peak]))
            continue
        height, centre, width, eta = best[:4]
        width = abs(width)
        sane = abs(centre - q[peak]) < 2.0 * fwhm and width < 4.0 * fwhm
        processed.append((centre, width, height) if sane else (q[peak], fwhm, search[peak]))
        if sane:
            fitted.append(np.concatenate([best, np.sqrt(np.abs(np.diag(covariance)))]))
            profile = pseudo_voigt(q, height, centre, width, eta)
            reduced = reduced - profile
            search = search - profile
    return np.array(fitted).reshape(-1, 12)


def peaks_of_some(curves: Curves) -> list[FloatArray]:
    """Fitted peaks of each curve: the work of one task."""
    with np.errstate(all="ignore"):
        return [
            peaks_of_curve(curves.q, *rows)
            for rows in zip(curves.intensity, curves.sigma, strict=True)
        ]


def _ready(curves: Curves) -> None:
    peaks_of_some(curves)


@contextmanager
def pool(curves: Curves, processes: int = PROCESSES) -> Iterator[ProcessPoolExecutor]:
    """Warm processes, of one thread each: SciPy is imported and has fitted a few curves."""
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _ready, (curves.first(5),)) as executor:
        # One task each, long enough that no process takes two.
        list(executor.map(peaks_of_some, [curves.first(CURVES_A_TASK)] * (2 * processes)))
        yield executor


def process(executor: ProcessPoolExecutor, curves: Curves) -> list[FloatArray]:
    """Fitted peaks of each curve, from all processes."""
    tasks = [
        Curves(
            curves.q,
            curves.intensity[first : first + CURVES_A_TASK],
            curves.sigma[first : first + CURVES_A_TASK],
        )
        for first in range(0, len(curves), CURVES_A_TASK)
    ]
    return [found for part in executor.map(peaks_of_some, tasks) for found in part]
