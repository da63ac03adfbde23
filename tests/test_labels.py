import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpusaxs.labels import assigned, reflection_label, with_uncertainty
from gpusaxs.phases import ON_REQUEST, PHASES


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


@pytest.mark.parametrize("phase", [*PHASES, *ON_REQUEST], ids=lambda phase: phase.name)
def test_every_reflection_of_every_phase_has_a_name(phase):
    names = [reflection_label(phase.name, n) for n in phase.reflections]
    assert len(set(names)) == len(names)


def test_reflections_of_two_axes_are_named_by_their_indices_and_those_of_a_users_phase_by_n():
    assert reflection_label("rectangular", 1) == "01"
    assert reflection_label("tetragonal", 1) == "001"
    assert reflection_label("tetragonal", 112) == "112"
    assert reflection_label("of my own", 3) == "3"


def test_a_peak_is_the_reflection_that_lies_next_to_it():
    q = [0.7, 0.4001, math.nan, 0.6929]
    assert assigned(q, (1, 3), (0.4, 0.4 * math.sqrt(3.0))) == {1: 1, 3: 3}
    assert assigned([], (), ()) == {}
    assert assigned([math.nan], (1,), (0.4,)) == {}
