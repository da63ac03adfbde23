"""The tasks of `benchmarks.backend_rates` as SciPy does them in processes, and cupyx on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import scipy.signal
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from benchmarks.backend_rates import HEIGHT, ORDER, PROMINENCE, WINDOW, Fits
from benchmarks.curves import FloatArray

_REPEATED = 5


def rate(
    executor: ProcessPoolExecutor, processes: int, work: Callable[..., float], *arrays: Any
) -> float:
    """Curves a second of all processes at the same time, each with its share of some curves.

    `work` returns the seconds that it took, so that what brings the arrays there does not count.
    """
    shares = np.array_split(np.arange(len(arrays[0])), processes)
    tasks = [executor.submit(work, *(array[share] for array in arrays)) for share in shares]
    return sum(
        share.size / task.result() for share, task in zip(shares, tasks, strict=True) if share.size
    )


def seconds_of_searches(values: FloatArray) -> float:
    """Time of `scipy.signal.find_peaks` in a loop."""
    began = time.perf_counter()
    for curve in values:
        scipy.signal.find_peaks(curve, height=HEIGHT, prominence=PROMINENCE)
    return time.perf_counter() - began


def seconds_of_smoothing(intensity: FloatArray) -> float:
    """Time of `scipy.signal.savgol_filter` over a stacked array; the best of a few."""

    def once() -> float:
        began = time.perf_counter()
        scipy.signal.savgol_filter(intensity, WINDOW, ORDER, axis=-1)
        return time.perf_counter() - began

    return min(once() for _ in range(_REPEATED))


def gaussian_on_line(
    x: FloatArray, height: float, centre: float, fwhm: float, level: float, slope: float
) -> FloatArray:
    u = 2.0 * (x - centre) / fwhm
    profile: FloatArray = height * np.exp2(-u * u) + level + slope * x
    return profile


def seconds_of_fits(counts: FloatArray, sigma: FloatArray) -> float:
    """Time of `scipy.optimize.curve_fit` in a loop: weighted, with its covariance."""
    x: NDArray[np.float64] = np.arange(counts.shape[1]) - 0.5 * (counts.shape[1] - 1)
    began = time.perf_counter()
    for values, errors in zip(counts, sigma, strict=True):
        low, high = values.min(), values.max()
        start = (high - low, x[values.argmax()], 8.0, low, 0.0)
        curve_fit(gaussian_on_line, x, values, start, errors, absolute_sigma=True)
    return time.perf_counter() - began


def fits_of_scipy(executor: ProcessPoolExecutor, processes: int, fits: Fits) -> float:
    """Fits a second of SciPy in processes."""
    return rate(executor, processes, seconds_of_fits, fits.curves.intensity, fits.curves.sigma)


def searches_of_cupyx(values: FloatArray) -> float:
    """Curves a second of `cupyx.scipy.signal.find_peaks` in a loop over curves on the GPU."""
    import cupy  # noqa: PLC0415
    import cupyx.scipy.signal  # noqa: PLC0415

    device = cupy.asarray(values)
    find_peaks = cupyx.scipy.signal.find_peaks
    find_peaks(device[0], height=HEIGHT, prominence=PROMINENCE)  # compiles
    cupy.cuda.Device().synchronize()
    began = time.perf_counter()
    for curve in device:
        find_peaks(curve, height=HEIGHT, prominence=PROMINENCE)
    cupy.cuda.Device().synchronize()
    return len(values) / (time.perf_counter() - began)


def smoothing_of_cupyx(intensity: FloatArray) -> float:
    """Curves a second of `cupyx.scipy.signal.savgol_filter` over the stacked array on the GPU."""
    import cupy  # noqa: PLC0415
    import cupyx.scipy.signal  # noqa: PLC0415

    device = cupy.asarray(intensity)

    def once() -> float:
        cupy.cuda.Device().synchronize()
        began = time.perf_counter()
        cupyx.scipy.signal.savgol_filter(device, WINDOW, ORDER, axis=-1)
        cupy.cuda.Device().synchronize()
        return time.perf_counter() - began

    once()
    return len(intensity) / min(once() for _ in range(_REPEATED))
