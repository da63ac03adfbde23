import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpusaxs.labels import assigned, reflection_label, reflection_q, with_uncertainty
from gpusaxs.phases import PHASES


@pytest.mark.parametrize(
    ("value", "sigma", "text"),
    [
        (14.4683, 0.031, "14.47(3)"),
        (14.4683, 0.013, "14.468(13)"),
        (14.4683, 0.0198, "14.47(2)"),
        (14.4683, 0.00096, "14.4683(10)"),
        (14.4683, 2.4, "14(2)"),
        (1234.5, 31.0, "1230(30)"),
        (1234.5, 150.0, "1230(150)"),
        (-0.0123, 0.004, "-0.012(4)"),
        (14.4683, math.nan, "14.47"),
        (14.4683, 0.0, "14.47"),
        (14.4683, None, "14.47"),
        (math.nan, 0.1, "-"),
    ],
)
def test_the_uncertainty_stands_in_the_last_digits(value, sigma, text):
    assert with_uncertainty(value, sigma) == text


@given(
    st.floats(-1e6, 1e6),
    st.floats(1e-9, 1e5),
)
def test_what_is_written_is_the_value_within_a_part_of_its_uncertainty(value, sigma):
    text, _, digits = with_uncertainty(value, sigma).rstrip(")").partition("(")
    decimals = len(text.partition(".")[2])
    assert float(text) == pytest.approx(value, abs=0.26 * sigma)
    assert int(digits) * 10.0**-decimals == pytest.approx(sigma, rel=0.26)


def test_reflections_bear_the_names_that_people_use():
    assert [reflection_label("lamellar", n) for n in (1, 2, 3)] == ["1", "2", "3"]
    assert [reflection_label("hexagonal", n) for n in (1, 3, 4, 7)] == ["1", "√3", "2", "√7"]
    assert [reflection_label("Im-3m", n) for n in (2, 4, 6)] == ["√2", "√4", "√6"]
    assert [reflection_label("HCP", n) for n in (1, 2, 3)] == ["100", "002", "101"]


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.name)
def test_every_reflection_of_every_phase_has_a_name_and_a_place(phase):
    names = [reflection_label(phase.name, n) for n in phase.reflections]
    assert len(set(names)) == len(names)
    np.testing.assert_array_equal(reflection_q(phase.name, 12.0, phase.reflections), phase.q(12.0))


def test_a_peak_is_the_reflection_that_lies_next_to_it():
    q = [0.7, 0.4001, math.nan, 0.6929]
    lattice = 4.0 * math.pi / (math.sqrt(3.0) * 0.4)
    assert assigned(q, "hexagonal", lattice, (1, 3)) == {1: 1, 3: 3}
    assert assigned([], "hexagonal", lattice, ()) == {}
    assert assigned([math.nan], "hexagonal", lattice, (1,)) == {}
