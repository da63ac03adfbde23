"""The phases that gpusaxs can name, and where their reflections lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MAX_REFLECTIONS = 20
"""Reflections of a phase that are looked for at most; the lowest of them."""

_HEXAGONAL = 4.0 / 3.0
# q/q1 of hexagonal close packing at the ideal c/a; q1 is the 100 reflection.
_HCP_RATIOS = (1.0, 1.0607, 1.1319, 1.4577, 1.7321, 1.8792, 2.0, 2.031, 2.0691, 2.1213)
BONNET = {"Pn-3m": 1.0, "Im-3m": 1.279, "Ia-3d": 1.576}
"""Lattice parameters of the bicontinuous phases over that of Pn-3m, for surfaces of one curvature
(S.T. Hyde 1989)."""
_PARTNERS = {"Pn-3m": "Im-3m", "Im-3m": "Pn-3m", "Ia-3d": "Pn-3m"}


@dataclass(frozen=True)
class Phase:
    """A lattice symmetry and its allowed reflections.

    Parameters
    ----------
    name
        As it stands in every result.
    lattice
        How a reflection's number gives its q: ``"lamellar"``, ``"hexagonal"``, ``"square"``,
        ``"cubic"``, ``"hcp"`` (the ideal c/a), ``"rectangular"``, ``"tetragonal"``,
        ``"hexagonal 3D"`` (these three with a free ratio of the axes), or ``"ratios"``.
    reflections
        The order (lamellar); h^2+hk+k^2 (hexagonal); h^2+k^2+l^2 (square, cubic); the rank (hcp,
        ratios); hk or hkl as one number, 102 for 1 0 2 (lattices with two axes). Lowest q first
        where that does not hang on the ratio of the axes.
    log_prior
        ln of how often the phase is met, relative to the common ones.
    ratios
        q of each reflection over the lattice's 2 pi / lattice parameter (ratios).
    ratio_range
        Lowest and highest c/a that is thought possible (b/a where rectangular); None for a
        lattice with one parameter.
    """

    name: str
    lattice: str
    reflections: tuple[int, ...]
    log_prior: float = 0.0
    ratios: tuple[float, ...] = ()
    ratio_range: tuple[float, float] | None = None

    @cached_property
    def planes(self) -> FloatArray:
        """U and W of each reflection; (reflections, 2).

        q = 2 pi s / a with s^2 = U + W / ratio^2, a the lattice parameter and ratio that of the
        axes; W is zero for a lattice with one parameter.
        """
        n = np.array(self.reflections, dtype=np.float64)
        h, k, m = np.array(self.reflections) // np.array([[100], [10], [1]]) % 10
        across = np.zeros_like(n)
        match self.lattice:
            case "lamellar":
                along = n**2
            case "hexagonal":
                along = _HEXAGONAL * n
            case "square" | "cubic":
                along = n
            case "hcp":
                along = _HEXAGONAL * np.array(_HCP_RATIOS) ** 2
            case "ratios":
                along = np.array(self.ratios) ** 2
            case "rectangular":
                along, across = 1.0 * k**2, 1.0 * m**2
            case "tetragonal":
                along, across = 1.0 * (h**2 + k**2), 1.0 * m**2
            case "hexagonal 3D":
                along, across = _HEXAGONAL * (h**2 + h * k + k**2), 1.0 * m**2
            case _:
                raise ValueError(f"Unknown lattice {self.lattice!r} of phase {self.name!r}.")
        return np.stack([along, across], axis=1)

    @cached_property
    def positions(self) -> FloatArray:
        """``s`` of each reflection where both axes are equal: q = 2 pi s / a; (reflections,)."""
        return np.asarray(np.sqrt(self.planes.sum(axis=1)))

    def q(self, lattice_parameter: float, ratio: float = 1.0) -> FloatArray:
        """Scattering vectors of the reflections in 1/nm, lattice parameter in nm."""
        along, across = self.planes.T
        return np.asarray(2.0 * np.pi * np.sqrt(along + across / ratio**2) / lattice_parameter)


def by_ratios(name: str, ratios: Sequence[float], log_prior: float = 0.0) -> Phase:
    """Define a phase by the ratios of its q; its lattice parameter is the d of the first.

    Raises
    ------
    ValueError
        If there are fewer than two, more than `MAX_REFLECTIONS`, or they do not increase.
    """
    given = np.array(ratios, dtype=np.float64)
    if not 2 <= given.size <= MAX_REFLECTIONS or given[0] <= 0.0 or (np.diff(given) <= 0.0).any():
        raise ValueError(
            f"Expected 2 to {MAX_REFLECTIONS} increasing positive ratios for phase {name!r}. "
            f"Got {list(ratios)}."
        )
    rank = tuple(range(1, given.size + 1))
    return Phase(name, "ratios", rank, log_prior, ratios=tuple((given / given[0]).tolist()))


def by_space_group(name: str, space_group: str, log_prior: float = 0.0) -> Phase:
    """Define a phase by its space group, with the reflections that it does not extinguish.

    Parameters
    ----------
    space_group
        Hermann-Mauguin symbol, as `gemmi` knows it: cubic, tetragonal, trigonal or hexagonal.

    Raises
    ------
    ModuleNotFoundError
        If `gemmi` is missing.
    ValueError
        If there is no such space group, or it has more than two lattice parameters.
    """
    import gemmi  # noqa: PLC0415 an extra

    found = gemmi.find_spacegroup_by_name(space_group)
    if found is None:
        raise ValueError(
            f"Expected the symbol of a space group for phase {name!r}, such as 'P n -3 m'. "
            f"Got {space_group!r}."
        )
    system = found.crystal_system_str()
    operations = found.operations()

    def number(h: int, k: int, m: int) -> tuple[float, int]:
        """Where the reflection comes in the list (at equal axes), and what it is called."""
        match system:
            case "cubic":
                return h * h + k * k + m * m, h * h + k * k + m * m
            case "tetragonal":
                return h * h + k * k + m * m, 100 * max(h, k) + 10 * min(h, k) + m
            case "trigonal" | "hexagonal":
                place = _HEXAGONAL * (h * h + h * k + k * k) + m * m
                return place, 100 * max(h, k) + 10 * min(h, k) + m
        raise ValueError(
            f"Expected a space group with one or two lattice parameters for phase {name!r}: cubic, "
            f"tetragonal, trigonal or hexagonal. Got {space_group!r}, which is {system}."
        )

    # One digit for each index; a reflection that another sign of an index allows is allowed.
    reach = range(7)
    allowed = {
        number(h, k, m)
        for h, k, m in product(reach, reach, reach)
        if (h, k, m) != (0, 0, 0)
        and not all(
            operations.is_systematically_absent([sign_h * h, sign_k * k, m])
            for sign_h, sign_k in product((1, -1), repeat=2)
        )
    }
    reflections = tuple(called for _, called in sorted(allowed)[:MAX_REFLECTIONS])
    if system == "cubic":
        return Phase(name, "cubic", reflections, log_prior)
    lattice = "tetragonal" if system == "tetragonal" else "hexagonal 3D"
    return Phase(name, lattice, reflections, log_prior, ratio_range=(0.4, 2.5))


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
"""The phases that are looked for by default."""

ON_REQUEST: tuple[Phase, ...] = (
    Phase(
        "rectangular",
        "rectangular",
        (10, 1, 11, 20, 21, 2, 12, 22, 30, 31, 13, 3, 32, 23),
        log_prior=-1.0,
        ratio_range=(0.3, 1.0),
    ),
    Phase(
        "centred rectangular",
        "rectangular",
        (11, 20, 2, 31, 22, 13, 40, 33, 4, 42, 24),
        log_prior=-1.0,
        ratio_range=(0.3, 1.0),
    ),
    Phase(
        "tetragonal",
        "tetragonal",
        (1, 100, 101, 110, 111, 2, 102, 200, 112, 201, 210, 211, 202, 212, 220, 3),
        log_prior=-1.0,
        ratio_range=(0.4, 2.5),
    ),
    Phase(
        "HCP with free axes",
        "hexagonal 3D",
        (100, 2, 101, 102, 110, 103, 200, 112, 201, 4, 202),
        log_prior=-1.0,
        ratio_range=(1.4, 1.9),
    ),
)
"""Phases with a free ratio of the axes, which fit almost anything: looked for when asked for."""

PHASE_BY_NAME = {phase.name: phase for phase in (*PHASES, *ON_REQUEST)}


def bonnet_partner(phase: str, lattice: float) -> tuple[str, float] | None:
    """Return the bicontinuous phase into which a surface of this one bends, and its lattice.

    The lattice parameters of Pn-3m, Im-3m and Ia-3d on surfaces of the same curvature are as
    1 : 1.279 : 1.576 (S.T. Hyde 1989); of Pn-3m that is Im-3m, of the others Pn-3m.

    Returns
    -------
    (str, float) or None
        Its name and lattice parameter in nm; None for a phase of another kind.
    """
    if phase not in BONNET:
        return None
    partner = _PARTNERS[phase]
    return partner, lattice * BONNET[partner] / BONNET[phase]


class Numbered(NamedTuple):
    """Some phases as arrays, a row each, padded with zeros: see `Phase`.

    Parameters
    ----------
    reflections : (phases, reflections) int64
    planes : (phases, reflections, 2) float64
    """

    reflections: NDArray[np.int64]
    planes: FloatArray

    @classmethod
    def of(cls, phases: Sequence[Phase]) -> Numbered:
        """Stack the lists of some phases."""
        width = max(len(phase.reflections) for phase in phases)
        reflections = np.zeros((len(phases), width), np.int64)
        planes = np.zeros((len(phases), width, 2))
        for row, phase in enumerate(phases):
            count = len(phase.reflections)
            reflections[row, :count] = phase.reflections
            planes[row, :count] = phase.planes
        return cls(reflections, planes)
