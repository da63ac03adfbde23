"""How results are written for people: values with uncertainties, and names of reflections."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import isqrt

import numpy as np

from gpusaxs.phases import PHASE_BY_NAME

_HCP_INDICES = ("100", "002", "101", "102", "110", "103", "200", "112", "201", "004")


def with_uncertainty(value: float, sigma: float | None) -> str:
    """Write a value with its standard uncertainty in its last digits, as ``14.47(3)``.

    The uncertainty has two digits where the first of them is a one. Without a usable sigma, four
    digits of the value; a dash for a value that is not known.
    """
    if not math.isfinite(value):
        return "-"
    if sigma is None or not (math.isfinite(sigma) and sigma > 0.0):
        return f"{value:.4g}"
    exponent = math.floor(math.log10(sigma))
    if round(sigma / 10.0**exponent, 1) < 2.0:
        exponent -= 1
    digits = round(sigma / 10.0**exponent)
    if exponent >= 0:
        return f"{round(value, -exponent):.0f}({digits * 10**exponent})"
    return f"{value:.{-exponent}f}({digits})"


def reflection_label(phase: str, n: int) -> str:
    """Name a reflection of a phase by its n: its order, its ratio such as ``√6``, or its indices.

    Lamellar reflections are named by their order, those of lattices with two axes and of HCP by
    hkl; those of a phase of the user's own by their n; all others by the ratio sqrt(n) in which
    their q stand, written as a whole number where it is one and the first reflection is 1.
    """
    known = PHASE_BY_NAME.get(phase)
    if known is None or known.lattice == "lamellar":
        return str(n)
    if known.lattice == "hcp":
        return _HCP_INDICES[n - 1]
    if known.ratio_range is not None:
        return f"{n:02d}" if known.lattice == "rectangular" else f"{n:03d}"
    root = isqrt(n)
    whole = root * root == n and known.reflections[0] == 1
    return str(root) if whole else f"√{n}"


def assigned(
    q: Sequence[float], matched: Sequence[int], matched_q: Sequence[float]
) -> dict[int, int]:
    """Which peak is which reflection: n by the peak's place.

    Parameters
    ----------
    q
        Centres of the peaks in 1/nm; NaN for one that can be no reflection.
    matched, matched_q
        n of the reflections of a phase that were found, and where they are expected in 1/nm.
    """
    centres = np.asarray(q, dtype=np.float64)
    if not np.isfinite(centres).any():
        return {}
    return {
        int(np.nanargmin(np.abs(centres - expected))): n
        for n, expected in zip(matched, matched_q, strict=True)
    }
