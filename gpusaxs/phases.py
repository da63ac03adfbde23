"""The phases that gpusaxs can name, and where their reflections lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_HEXAGONAL_SCALE = 2.0 / np.sqrt(3.0)
# q/q1 of hexagonal close packing at the ideal c/a; q1 is the 100 reflection.
_HCP_RATIOS = (1.0, 1.0607, 1.1319, 1.4577, 1.7321, 1.8792, 2.0, 2.031, 2.0691, 2.1213)


@dataclass(frozen=True)
class Phase:
    """A lattice symmetry and its allowed reflections.

    Parameters
    ----------
    name
        As it stands in every result.
    lattice
        ``"lamellar"``, ``"hexagonal"``, ``"square"``, ``"cubic"`` or ``"hcp"``: how a
        reflection's number gives its q.
    reflections
        h^2+k^2+l^2 of the allowed reflections (cubic, square), h^2+hk+k^2 (hexagonal), the
        order (lamellar), or the rank (hcp), lowest q first.
    log_prior
        ln of how often the phase is met, relative to the common ones.
    """

    name: str
    lattice: str
    reflections: tuple[int, ...]
    log_prior: float = 0.0

    @cached_property
    def positions(self) -> FloatArray:
        """``s`` of each reflection, so that q = 2 pi s / lattice parameter; (reflections,)."""
        n = np.array(self.reflections, dtype=np.float64)
        match self.lattice:
            case "lamellar":
                return n
            case "hexagonal":
                return np.asarray(_HEXAGONAL_SCALE * np.sqrt(n))
            case "hcp":
                return np.asarray(_HEXAGONAL_SCALE * np.array(_HCP_RATIOS))
            case "square" | "cubic":
                return np.asarray(np.sqrt(n))
        raise ValueError(f"Unknown lattice {self.lattice!r} of phase {self.name!r}.")

    def q(self, lattice_parameter: float) -> FloatArray:
        """Scattering vectors of the reflections in 1/nm, lattice parameter in nm."""
        return np.asarray(2.0 * np.pi * self.positions / lattice_parameter)


PHASES: tuple[Phase, ...] = (
    Phase("lamellar", "lamellar", tuple(range(1, 13))),
    Phase("hexagonal", "hexagonal", (1, 3, 4, 7, 9, 12, 13, 16, 19, 21, 25, 27, 28)),
    Phase("square", "square", (1, 2, 4, 5, 8, 9, 10, 13, 16, 17, 18, 20), log_prior=-0.2),
    Phase(
        "Pn-3m",
        "cubic",
        (2, 3, 4, 6, 8, 9, 10, 11, 12, 14, 16, 17, 18, 19, 20, 21, 22, 24, 26, 27),
    ),
    Phase("Im-3m", "cubic", (2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 30, 32)),
    Phase("Ia-3d", "cubic", (6, 8, 14, 16, 20, 22, 24, 26, 30, 32, 38, 40, 42)),
    Phase("Fd-3m", "cubic", (3, 8, 11, 12, 16, 19, 24, 27, 32, 35, 36, 40), log_prior=-0.2),
    Phase(
        "Pm-3n",
        "cubic",
        (2, 4, 5, 6, 8, 10, 12, 13, 14, 16, 17, 18, 20, 21, 22, 24, 25, 26),
        log_prior=-0.2,
    ),
    Phase("Fm-3m", "cubic", (3, 4, 8, 11, 12, 16, 19, 20, 24, 27, 32, 35, 36, 40), log_prior=-0.2),
    Phase("Pm-3m", "cubic", (1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 16), log_prior=-0.2),
    Phase("I4132", "cubic", (2, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26), log_prior=-0.6),
    Phase("HCP", "hcp", tuple(range(1, len(_HCP_RATIOS) + 1)), log_prior=-0.2),
)

PHASE_BY_NAME = {phase.name: phase for phase in PHASES}
