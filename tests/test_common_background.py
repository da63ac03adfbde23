"""The background that the curves of a series have in common."""

from __future__ import annotations

import numpy as np
import pytest

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.common_background import LEAST_CURVES, LEAST_WINDOW
from gpusaxs.sample import CurveStatus
from gpusaxs.stages.background import Background

CURVES = 41
Q = np.linspace(0.1, 3.0, 400)
BASE = 10.0 * Q**-2 + 200.0
SCALES = np.linspace(0.7, 1.4, CURVES)
WINDOW = {"window_q_min": 2.4, "window_q_max": 3.0}
CENTRES = np.linspace(0.6, 2.0, CURVES)


def lines(height=1500.0):
    """A line that moves along the series; (curves, points)."""
    return height * np.exp(-(((Q - CENTRES[:, None]) / 0.03) ** 2))


def measured(model, seed=1):
    rng = np.random.default_rng(seed)
    return rng.poisson(model).astype(float), np.sqrt(model)


def batch_of(intensity, sigma, q=Q):
    ids = [str(i) for i in range(len(intensity))]
    return SampleBatch.from_arrays(ids, q, intensity, sigma, NumpyBackend(1))


def reduced(intensity, sigma, **parameters):
    batch = batch_of(intensity, sigma)
    Background(mode="common", **parameters).launch(batch, batch.live_rows())
    return batch


@pytest.mark.parametrize("level", [0.1, 0.25, 0.5])
def test_it_is_what_stays_while_a_line_moves_and_the_beam_fades(level):
    intensity, sigma = measured(SCALES[:, None] * (BASE + lines()))
    batch = reduced(intensity, sigma, level=level, **WINDOW)
    expected = SCALES[:, None] * BASE
    deviation = (batch.background - expected) / np.sqrt(expected)
    assert abs(deviation).max() < 1.2
    assert abs(deviation.mean()) < 0.15
    np.testing.assert_array_equal(batch.search, batch.intensity)
    np.testing.assert_allclose(batch.intensity + batch.background, intensity, rtol=1e-12)
    for row, centre in enumerate(CENTRES):
        top = batch.intensity[row, abs(Q - centre) < 0.006].mean()
        assert top == pytest.approx(1500.0 * SCALES[row], rel=0.15)


def test_its_sigma_is_how_far_it_is_from_the_truth():
    expected = np.tile(BASE, (CURVES, 1))
    deviations, claimed = [], []
    for seed in range(30):
        intensity, sigma = measured(expected, seed)
        batch = reduced(intensity, sigma)
        deviations.append(batch.background - expected)
        claimed.append(np.sqrt(batch.sigma**2 - sigma**2))
    ratio = np.std(deviations) / np.sqrt(np.mean(np.square(claimed)))
    assert 0.85 < ratio < 1.15
    assert abs(np.mean(deviations)) < 0.2 * np.std(deviations)


@pytest.mark.parametrize("curves", [LEAST_CURVES, 8, 20])
@pytest.mark.parametrize("level", [0.1, 0.25])
def test_a_low_level_of_noise_is_raised_to_its_middle_however_few_curves(curves, level):
    rng = np.random.default_rng(7)
    q = np.linspace(1.0, 2.0, 20000)
    intensity = 100.0 + rng.normal(size=(curves, q.size))
    batch = batch_of(intensity, np.ones_like(intensity), q)
    Background(mode="common", level=level).launch(batch, batch.live_rows())
    assert abs(batch.background[0].mean() - 100.0) < 0.05


def test_a_line_that_stays_in_most_curves_is_taken_for_background():
    still = 1500.0 * np.exp(-(((Q - 1.0) / 0.03) ** 2))
    share = np.arange(CURVES) < 0.6 * CURVES
    sigma = np.sqrt(np.broadcast_to(BASE + still, (CURVES, Q.size)))
    top = abs(Q - 1.0).argmin()
    rows = BASE + still * share[:, None]
    assert reduced(rows, sigma).background[0, top] < 1.3 * BASE[top]
    assert reduced(rows, sigma, level=0.5).background[0, top] > BASE[top] + 0.9 * still[top]


def test_the_order_of_the_curves_changes_no_bit():
    intensity, sigma = measured(SCALES[:, None] * (BASE + lines()))
    order = np.random.default_rng(3).permutation(CURVES)
    once = reduced(intensity, sigma, **WINDOW)
    again = reduced(intensity[order], sigma[order], **WINDOW)
    for name in ("intensity", "background", "sigma"):
        np.testing.assert_array_equal(getattr(again, name), getattr(once, name)[order])


def test_other_curves_of_the_batch_are_left_alone():
    intensity, sigma = measured(SCALES[:, None] * BASE)
    batch = batch_of(intensity, sigma)
    rows = np.arange(0, CURVES, 2)
    Background(mode="common").launch(batch, rows)
    others = np.setdiff1d(np.arange(CURVES), rows)
    np.testing.assert_array_equal(batch.intensity[others], intensity[others])
    alone = reduced(intensity[rows], sigma[rows])
    np.testing.assert_array_equal(batch.intensity[rows], alone.intensity)


def test_curves_cut_differently_keep_the_range_that_more_than_half_of_them_have():
    intensity, sigma = measured(SCALES[:, None] * BASE)
    batch = batch_of(intensity, sigma)
    batch.start[:10], batch.start[20], batch.stop[0] = 5, 50, 390
    batch.start[25:] = 3
    Background(mode="common", **WINDOW).launch(batch, batch.live_rows())
    assert batch.start[[0, 15, 20, 30]].tolist() == [5, 3, 50, 3]
    assert batch.stop[[0, 15]].tolist() == [390, 400]
    for sample in batch.to_samples():
        assert np.isfinite([sample.intensity, sample.sigma, sample.background]).all()
        assert abs(sample.intensity.mean()) < 0.1 * sample.background.mean()


def test_curves_that_share_no_range_or_no_q_or_are_few_are_refused():
    intensity, sigma = measured(SCALES[:, None] * BASE)
    stage = Background(mode="common", **WINDOW)
    apart = batch_of(intensity, sigma)
    apart.start[0], apart.stop[1] = 200, 200
    with pytest.raises(ValueError, match="q range in common"):
        stage.launch(apart, apart.live_rows())
    other_q = np.tile(Q, (CURVES, 1))
    other_q[7] += 1e-3
    with pytest.raises(ValueError, match="same q, point by point"):
        stage.launch(batch_of(intensity, sigma, other_q), np.arange(CURVES))
    with pytest.raises(ValueError, match=f"at least {LEAST_CURVES} curves .* Got 4"):
        stage.launch(batch_of(intensity, sigma), np.arange(4))
    few = Background(mode="common", window_q_min=2.98)
    with pytest.raises(ValueError, match=f"at least {LEAST_WINDOW} points"):
        few.launch(batch_of(intensity, sigma), np.arange(CURVES))


def test_q_read_from_other_digits_is_the_same():
    intensity, sigma = measured(SCALES[:, None] * BASE)
    digits = np.tile(Q, (CURVES, 1))
    digits[::2] = np.round(digits[::2], 7)
    batch = batch_of(intensity, sigma, digits)
    Background(mode="common", **WINDOW).launch(batch, batch.live_rows())
    np.testing.assert_array_equal(batch.intensity, reduced(intensity, sigma, **WINDOW).intensity)


def test_a_curve_without_intensity_in_the_window_fails_alone():
    model = SCALES[:, None] * BASE
    intensity, sigma = measured(model)
    intensity[4] = -intensity[4]
    batch = reduced(intensity, sigma, **WINDOW)
    assert batch.status[4] & CurveStatus.BLANK_UNSCALED
    assert "over the q window is not positive" in batch.reasons[4]
    np.testing.assert_array_equal(batch.intensity[4], intensity[4])
    rest = np.delete(np.arange(CURVES), 4)
    assert not batch.status[rest].any()
    deviation = (batch.background - model) / np.sqrt(model)
    assert abs(deviation[rest]).max() < 1.2


def test_a_common_background_is_kept_by_no_name():
    assert Background(mode="common").fingerprint() is None
    assert Background().fingerprint() is not None
