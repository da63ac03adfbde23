import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gpusaxs.repair import MIN_POINTS, is_sound, repair
from gpusaxs.sample import CurveStatus

Q = np.linspace(0.1, 2.0, 40)
INTENSITY = Q**-1.5
SIGMA = 0.1 * np.sqrt(INTENSITY)


def test_a_sound_curve_keeps_every_bit():
    *rows, status = repair(Q, INTENSITY, SIGMA)
    assert status is CurveStatus.OK
    for row, given_row in zip(rows, (Q, INTENSITY, SIGMA), strict=True):
        np.testing.assert_array_equal(row, given_row)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, -0.3])
def test_points_whose_q_is_no_number_above_zero_are_dropped(bad):
    q = Q.copy()
    q[[3, 17]] = bad
    kept, intensity, sigma, status = repair(q, INTENSITY, SIGMA)
    assert status is CurveStatus.POINTS_DROPPED
    stay = np.setdiff1d(np.arange(40), [3, 17])
    np.testing.assert_array_equal(kept, Q[stay])
    np.testing.assert_array_equal(intensity, INTENSITY[stay])
    np.testing.assert_array_equal(sigma, SIGMA[stay])


def test_points_whose_intensity_is_no_number_are_dropped():
    intensity = INTENSITY.copy()
    intensity[5] = np.nan
    kept, _, _, status = repair(Q, intensity, SIGMA)
    assert status is CurveStatus.POINTS_DROPPED
    np.testing.assert_array_equal(kept, np.delete(Q, 5))


def test_an_unknown_sigma_is_no_reason_to_drop_a_point():
    *_, sigma, status = repair(Q, INTENSITY, np.full(40, np.nan))
    assert status is CurveStatus.OK
    assert np.isnan(sigma).all()


def test_points_in_another_order_are_sorted():
    q, intensity, sigma, status = repair(Q[::-1], INTENSITY[::-1], SIGMA[::-1])
    assert status is CurveStatus.Q_REORDERED
    np.testing.assert_array_equal(q, Q)
    np.testing.assert_array_equal(intensity, INTENSITY)
    np.testing.assert_array_equal(sigma, SIGMA)


def test_points_of_the_same_q_are_averaged_and_their_sigma_falls():
    q, intensity, sigma, status = repair(
        np.repeat(Q, 2), np.repeat(INTENSITY, 2) + np.tile([-0.1, 0.1], 40), np.repeat(SIGMA, 2)
    )
    assert status is CurveStatus.Q_MERGED
    np.testing.assert_array_equal(q, Q)
    np.testing.assert_allclose(intensity, INTENSITY, rtol=1e-12)
    np.testing.assert_allclose(sigma, SIGMA / np.sqrt(2.0), rtol=1e-12)


@pytest.mark.parametrize("points", [0, 1, MIN_POINTS - 1])
def test_too_few_points_are_a_failure(points):
    *_, status = repair(Q[:points], INTENSITY[:points], SIGMA[:points])
    assert status is CurveStatus.TOO_FEW_POINTS


def test_points_that_are_dropped_do_not_count():
    intensity = INTENSITY.copy()
    intensity[MIN_POINTS - 1 :] = np.nan
    *_, status = repair(Q, intensity, SIGMA)
    assert status == CurveStatus.POINTS_DROPPED | CurveStatus.TOO_FEW_POINTS


@pytest.mark.parametrize("level", [0.0, 3.0])
def test_a_constant_curve_has_no_signal(level):
    *_, status = repair(Q, np.full(40, level), SIGMA)
    assert status is CurveStatus.NO_SIGNAL


numbers = st.floats(-2.0, 2.0).map(lambda x: round(x, 1)) | st.sampled_from(
    [np.nan, np.inf, -np.inf]
)
rows = st.integers(0, 60).flatmap(lambda n: arrays(np.float64, (3, n), elements=numbers))


@settings(deadline=None, max_examples=200)
@given(rows)
def test_whatever_is_given_q_is_sound_or_the_curve_has_failed(given_rows):
    q, intensity, sigma, status = repair(*given_rows)
    assert q.shape == intensity.shape == sigma.shape
    assert np.isfinite(intensity).all()
    assert status & CurveStatus.TOO_FEW_POINTS or is_sound(q)


@settings(deadline=None)
@given(rows)
def test_to_repair_twice_changes_nothing_more(given_rows):
    *once, first = repair(*given_rows)
    *twice, second = repair(*once)
    for row, again in zip(once, twice, strict=True):
        np.testing.assert_array_equal(row, again)
    failures = CurveStatus.TOO_FEW_POINTS | CurveStatus.NO_SIGNAL
    assert second == first & failures


@pytest.mark.parametrize(
    ("q", "sound"),
    [
        (Q, True),
        (Q[: MIN_POINTS - 1], False),
        (Q[::-1], False),
        (Q - 0.1, False),
        (np.append(Q, np.inf), False),
        (np.append(Q, np.nan), False),
        (np.append(Q, Q[-1]), False),
    ],
)
def test_q_is_sound_if_it_is_finite_positive_and_increasing(q, sound):
    assert is_sound(q) is sound
