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

    Lamellar reflections are named by their order, those of HCP by hkl; all others by the ratio
    sqrt(n) in which their q stand, written as a whole number where it is one and the first
    reflection is 1.
    """
    lattice = PHASE_BY_NAME[phase].lattice
    if lattice == "lamellar":
        return str(n)
    if lattice == "hcp":
        return _HCP_INDICES[n - 1]
    root = isqrt(n)
    whole = root * root == n and PHASE_BY_NAME[phase].reflections[0] == 1
    return str(root) if whole else f"√{n}"


def reflection_q(phase: str, lattice: float, numbers: Sequence[int]) -> list[float]:
    """Where the reflections with the given n lie, in 1/nm; lattice parameter in nm."""
    known = PHASE_BY_NAME[phase]
    q = dict(zip(known.reflections, known.q(lattice), strict=True))
    return [float(q[n]) for n in numbers]


def assigned(
    q: Sequence[float], phase: str, lattice: float, matched: Sequence[int]
) -> dict[int, int]:
    """Which peak is which reflection: n by the peak's place.

    Parameters
    ----------
    q
        Centres of the peaks in 1/nm; NaN for one that can be no reflection.
    phase, lattice, matched
        A phase, its lattice parameter in nm, and n of the reflections that were found.
    """
    centres = np.asarray(q, dtype=np.float64)
    if not np.isfinite(centres).any():
        return {}
    return {
        int(np.nanargmin(np.abs(centres - expected))): n
        for n, expected in zip(matched, reflection_q(phase, lattice, matched), strict=True)
    }
