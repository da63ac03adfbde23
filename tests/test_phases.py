"""The lists of reflections against the space groups of gemmi."""

from __future__ import annotations

from itertools import product

import gemmi
import numpy as np
import pytest

from gpusaxs.phases import (
    ON_REQUEST,
    PHASE_BY_NAME,
    PHASES,
    Numbered,
    Phase,
    bonnet_partner,
    by_ratios,
    by_space_group,
)

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


TWO_AXES = {"tetragonal": "P 4/m m m", "HCP with free axes": "P 63/m m c"}


@pytest.mark.parametrize("name", TWO_AXES)
@pytest.mark.parametrize("ratio", [1.45, 1.63, 1.85])
def test_the_reflections_of_two_axes_are_those_of_the_space_group(name, ratio):
    phase = PHASE_BY_NAME[name]
    cell = gemmi.UnitCell(10.0, 10.0, 10.0 * ratio, 90.0, 90.0, 120.0 if "HCP" in name else 90.0)
    group = gemmi.find_spacegroup_by_name(TWO_AXES[name])
    planes = gemmi.make_miller_array(cell, group, 10.0 / 2.2)
    present = [hkl for hkl in planes if not group.operations().is_systematically_absent(hkl)]
    expected = np.unique(np.round([2.0 * np.pi / cell.calculate_d(hkl) for hkl in present], 9))
    mine = np.sort(phase.q(10.0, ratio))
    count = np.count_nonzero(expected < mine[-1])
    assert count >= 5
    np.testing.assert_allclose(mine[:5], expected[:5], rtol=1e-8)


def test_a_rectangle_has_its_sides_and_its_diagonal():
    a, b = 9.0, 5.4
    q = dict(zip(PHASE_BY_NAME["rectangular"].reflections,
                 PHASE_BY_NAME["rectangular"].q(a, b / a), strict=True))  # fmt: skip
    np.testing.assert_allclose(q[10], 2.0 * np.pi / a)
    np.testing.assert_allclose(q[1], 2.0 * np.pi / b)
    np.testing.assert_allclose(q[11], 2.0 * np.pi * np.hypot(1.0 / a, 1.0 / b))


def test_a_centred_rectangle_of_the_right_sides_is_hexagonal():
    q = PHASE_BY_NAME["centred rectangular"].q(np.sqrt(3.0) * 6.0, 1.0 / np.sqrt(3.0))
    np.testing.assert_allclose(np.unique(np.round(q, 9))[:4], PHASE_BY_NAME["hexagonal"].q(6.0)[:4])


@pytest.mark.parametrize("name", SPACE_GROUPS)
def test_a_space_group_makes_the_list_of_its_phase(name):
    made = by_space_group("mine", SPACE_GROUPS[name])
    known = PHASE_BY_NAME[name].reflections
    assert made.lattice == "cubic"
    assert made.reflections[: len(known)] == known[: len(made.reflections)]


def test_a_space_group_with_two_axes_leaves_their_ratio_free():
    made = by_space_group("mine", "P 63/m m c")
    assert made.ratio_range is not None
    assert {100, 2, 101}.issubset(made.reflections)
    assert 1 not in made.reflections


def test_ratios_make_a_phase_whose_lattice_parameter_is_the_first_spacing():
    phase = by_ratios("mine", [2.0, 3.0, 5.0])
    np.testing.assert_allclose(phase.q(4.0), 2.0 * np.pi / 4.0 * np.array([1.0, 1.5, 2.5]))


@pytest.mark.parametrize("ratios", [[1.0], [1.0, 1.0], [2.0, 1.0], [-1.0, 1.0], range(1, 22)])
def test_ratios_that_make_no_list_are_an_error(ratios):
    with pytest.raises(ValueError, match=r"increasing positive ratios for phase 'mine'"):
        by_ratios("mine", ratios)


@pytest.mark.parametrize("symbol", ["P n n a", "no such group"])
def test_a_space_group_that_cannot_be_used_is_an_error_that_names_it(symbol):
    with pytest.raises(ValueError, match=symbol):
        by_space_group("mine", symbol)


def test_phases_as_arrays_have_a_row_each():
    some = (PHASE_BY_NAME["Pn-3m"], *ON_REQUEST)
    numbered = Numbered.of(some)
    for phase, n, planes in zip(some, numbered.reflections, numbered.planes, strict=True):
        count = len(phase.reflections)
        assert tuple(n[:count]) == phase.reflections
        np.testing.assert_array_equal(planes[:count], phase.planes)
        assert not n[count:].any()
        assert not planes[count:].any()


def test_the_bonnet_partner_has_the_ratio_of_the_minimal_surfaces():
    assert bonnet_partner("Pn-3m", 10.0) == ("Im-3m", pytest.approx(12.79))
    assert bonnet_partner("Im-3m", 12.79) == ("Pn-3m", pytest.approx(10.0))
    assert bonnet_partner("Ia-3d", 15.76) == ("Pn-3m", pytest.approx(10.0))
    assert bonnet_partner("lamellar", 6.0) is None
