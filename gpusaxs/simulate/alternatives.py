"""Which other phases the lines of two coexisting ones fit as well."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gpusaxs.phases import PHASE_BY_NAME, PHASES

FloatArray = NDArray[np.float64]

TOLERANCE = 0.002
_FIRST = 12
_LEAST_OWN = 2


def sets_that_fit(
    seen: FloatArray, lattices: Mapping[str, float], tolerance: float = TOLERANCE
) -> list[str]:
    """Phases, and pairs of them, that explain all lines with no more missing than the true pair.

    What is missing is counted for each phase up to the highest line that it explains.

    Parameters
    ----------
    seen : (lines,) float64
        q of the lines that can be seen, in 1/nm, increasing.
    lattices
        Lattice parameter of each of the two phases that are there, in nm.
    tolerance
        Largest distance of a line from a reflection, relative.

    Returns
    -------
    list of str
        In the order of the alphabet, the names of a pair joined by ``"+"``; the true one is not
        among them.
    """
    truth = frozenset(lattices)
    allowed = 0
    for name, lattice in lattices.items():
        positions = PHASE_BY_NAME[name].positions
        allowed += _explained(seen, positions, 2.0 * np.pi / lattice, tolerance)[2]
    found: set[frozenset[str]] = set()
    for phase in PHASES:
        for base in phase.positions[:_FIRST]:
            near, rank, _ = _explained(seen, phase.positions, seen[0] / base, tolerance)
            if near.sum() < _LEAST_OWN:
                continue
            s = phase.positions[rank[near]]
            beta = float((seen[near] @ s) / (s @ s))
            near, _, missing = _explained(seen, phase.positions, beta, tolerance)
            if near.sum() < _LEAST_OWN or missing > allowed:
                continue
            if near.all():
                found.add(frozenset([phase.name]))
                continue
            found |= {
                frozenset([phase.name, second])
                for second in _seconds(seen, near, phase.name, allowed - missing, tolerance)
            }
    return sorted("+".join(sorted(one)) for one in found - {truth})


def _explained(
    seen: FloatArray, positions: FloatArray, beta: float, tolerance: float
) -> tuple[NDArray[np.bool_], NDArray[np.int64], int]:
    """Which lines a lattice explains, their nearest reflections, and how many are missing."""
    rank = np.abs(positions * beta - seen[:, np.newaxis]).argmin(axis=1)
    near = np.abs(positions[rank] * beta / seen - 1.0) < tolerance
    ranks = set(rank[near].tolist())
    return near, rank, max(ranks) + 1 - len(ranks) if ranks else 0


def _seconds(
    seen: FloatArray, first: NDArray[np.bool_], but: str, allowed: int, tolerance: float
) -> list[str]:
    """Phases that explain all lines that the first one leaves, two or more of them."""
    rest = np.flatnonzero(~first)
    if rest.size < _LEAST_OWN:
        return []
    names = []
    for phase in PHASES:
        for base in phase.positions[:_FIRST] if phase.name != but else ():
            near, _, missing = _explained(seen, phase.positions, seen[rest[0]] / base, tolerance)
            own = (first & ~near).sum()
            if near[rest].all() and own >= _LEAST_OWN and missing <= allowed:
                names.append(phase.name)
                break
    return names
