"""The lists of reflections against the space groups of gemmi."""

from __future__ import annotations

from itertools import product

import gemmi
import numpy as np
import pytest

from gpusaxs.phases import PHASE_BY_NAME, PHASES, Phase

SPACE_GROUPS = {
    "Pn-3m": "P n -3 m:2",
    "Im-3m": "I m -3 m",
    "Ia-3d": "I a -3 d",
    "Fd-3m": "F d -3 m:2",
    "Pm-3n": "P m -3 n",
    "Fm-3m": "F m -3 m",
    "Pm-3m": "P m -3 m",
    "I4132": "I 41 3 2",
}


def allowed(space_group: str, number, highest: float, planar: bool = False) -> list[float]:
    """`number` of each reflection that the space group does not extinguish, up to the highest."""
    found = gemmi.find_spacegroup_by_name(space_group)
    assert found.xhm() == space_group
    operations = found.operations()
    reach = range(-9, 10)
    numbers = {
        number(h, k, m)
        for h, k, m in product(reach, reach, (0,) if planar else reach)
        if not operations.is_systematically_absent([h, k, m])
    }
    return sorted(n for n in numbers if 0 < n <= highest)


def squares(h, k, m):
    return h * h + k * k + m * m


def test_every_cubic_phase_has_a_space_group_here():
    assert set(SPACE_GROUPS) == {phase.name for phase in PHASES if phase.lattice == "cubic"}


@pytest.mark.parametrize("name", SPACE_GROUPS)
def test_a_cubic_phase_has_the_reflections_of_its_space_group(name):
    reflections = PHASE_BY_NAME[name].reflections
    assert list(reflections) == allowed(SPACE_GROUPS[name], squares, max(reflections))


def test_the_hexagonal_phase_has_the_reflections_of_p6mm():
    reflections = PHASE_BY_NAME["hexagonal"].reflections
    number = lambda h, k, _: h * h + h * k + k * k  # noqa: E731
    found = allowed("P 6/m m m", number, max(reflections), planar=True)
    assert list(reflections) == found


def test_the_square_phase_has_the_reflections_of_p4mm():
    reflections = PHASE_BY_NAME["square"].reflections
    assert list(reflections) == allowed("P 4/m m m", squares, max(reflections), planar=True)


def test_hexagonal_close_packing_has_the_ratios_of_the_ideal_axes():
    phase = PHASE_BY_NAME["HCP"]
    c = np.sqrt(8.0 / 3.0)

    def ratio(h, k, m):
        squared = 4.0 / 3.0 * (h * h + h * k + k * k) + (m / c) ** 2
        return round(float(np.sqrt(squared / (4.0 / 3.0))), 9)

    ratios = phase.positions / phase.positions[0]
    expected = allowed("P 63/m m c", ratio, ratios.max() + 1e-3)
    np.testing.assert_allclose(ratios, expected, atol=1e-4)


def test_the_orders_of_a_lamellar_stack_are_the_whole_numbers():
    assert PHASE_BY_NAME["lamellar"].reflections == tuple(range(1, 13))


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.name)
def test_reflections_come_lowest_q_first_and_once(phase):
    assert (np.diff(phase.positions) > 0).all()
    assert len(phase.positions) == len(phase.reflections)


@pytest.mark.parametrize(
    ("name", "lattice", "first"),
    [
        ("lamellar", 6.0, 2.0 * np.pi / 6.0),
        ("hexagonal", 6.0, 4.0 * np.pi / (np.sqrt(3.0) * 6.0)),
        ("square", 6.0, 2.0 * np.pi / 6.0),
        ("Ia-3d", 10.0, 2.0 * np.pi * np.sqrt(6.0) / 10.0),
        ("HCP", 10.0, 4.0 * np.pi / (np.sqrt(3.0) * 10.0)),
    ],
)
def test_the_first_reflection_lies_where_the_textbook_says(name, lattice, first):
    np.testing.assert_allclose(PHASE_BY_NAME[name].q(lattice)[0], first, rtol=1e-12)


def test_an_unknown_lattice_is_an_error_that_names_it():
    with pytest.raises(ValueError, match=r"'oblique' of phase 'odd'"):
        _ = Phase("odd", "oblique", (1, 2)).positions
