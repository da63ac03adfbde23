"""Which points of a curve are kept."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.cut import cut
from hypothesis import given, settings
from hypothesis import strategies as st

from gpusaxs.repair import MIN_POINTS

Q = np.linspace(0.1, 3.0, 600)
DECAY = 100.0 * np.exp(-Q) + 5.0


def kept(
    run,
    q=Q,
    intensity=None,
    q_min=-np.inf,
    q_max=np.inf,
    skip_first=0,
    skip_last=0,
    trim_edges=False,
):
    """First point kept, end, and status."""
    start, stop, status = np.array([0]), np.array([q.size]), np.zeros(1, np.int64)
    values = np.ones_like(q) if intensity is None else intensity
    limits = (q_min, q_max, skip_first, skip_last)
    run(cut, q, values, start, stop, status, *limits, trim_edges, MIN_POINTS)
    return int(start[0]), int(stop[0]), int(status[0])


@settings(deadline=None, max_examples=200)
@given(
    st.floats(0.0, 1.5),
    st.floats(1.5, 4.0),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_the_points_kept_are_those_in_range_that_are_not_skipped(
    run, q_min, q_max, skip_first, skip_last
):
    start, stop, status = kept(run, Q, None, q_min, q_max, skip_first, skip_last)
    inside = (Q >= q_min) & (Q <= q_max)  # noqa: SIM300
    inside[:skip_first] = False
    inside[Q.size - skip_last :] = False
    if inside.sum() < MIN_POINTS:
        assert status == codes.TOO_FEW_POINTS
    else:
        assert (start, stop, status) == (*np.flatnonzero(inside)[[0, -1]] + [0, 1], 0)


def test_without_limits_all_points_stay(run):
    assert kept(run) == (0, Q.size, 0)


def test_ends_of_the_range_belong_to_it(run):
    start, stop, _ = kept(run, q_min=Q[10], q_max=Q[-10])
    assert (start, stop) == (10, Q.size - 9)


@pytest.mark.parametrize("limits", [{"q_min": 5.0}, {"q_max": 0.05}, {"skip_first": 600},
                                    {"skip_first": 400, "skip_last": 400},
                                    {"q_min": 2.0, "q_max": 1.0}])  # fmt: skip
def test_a_curve_that_would_lose_too_many_points_fails_and_keeps_them(run, limits):
    assert kept(run, **limits) == (0, Q.size, codes.TOO_FEW_POINTS)


def ramp(points, steps):
    """Shadow of a beamstop: from next to nothing to everything."""
    return np.concatenate([np.linspace(0.02, 1.0, steps), np.ones(points - steps)])


@pytest.mark.parametrize("noisy", [False, True])
def test_the_shadow_of_a_beamstop_is_cut_off(run, noisy):
    intensity = DECAY * ramp(Q.size, 20)
    if noisy:
        intensity += np.random.default_rng(1).normal(size=Q.size)
    start, stop, status = kept(run, intensity=intensity, trim_edges=True)
    assert status == codes.EDGES_TRIMMED
    assert 6 < start < 30
    assert stop == Q.size


def test_the_edge_of_the_detector_is_cut_off(run):
    intensity = DECAY * ramp(Q.size, 20)[::-1]
    start, stop, status = kept(run, intensity=intensity, trim_edges=True)
    assert status == codes.EDGES_TRIMMED
    assert start == 0
    assert Q.size - 30 < stop < Q.size - 6


def test_edges_stay_unless_asked_to_be_trimmed(run):
    assert kept(run, intensity=DECAY * ramp(Q.size, 20)) == (0, Q.size, 0)


@pytest.mark.parametrize(
    "intensity",
    [DECAY, Q**-4.0, np.exp(-((Q / 0.8) ** 2)) + 1e-3, np.ones_like(Q), 1.0 / (1.0 + Q**2)],
    ids=["exponential", "Porod", "Guinier", "flat", "Lorentzian"],
)
def test_a_smooth_decaying_curve_is_left_whole(run, intensity):
    assert kept(run, intensity=intensity, trim_edges=True) == (0, Q.size, 0)


def test_a_peak_near_the_end_is_no_edge(run):
    intensity = DECAY + 500.0 * np.exp(-(((Q - 0.3) / 0.02) ** 2))
    assert kept(run, intensity=intensity, trim_edges=True) == (0, Q.size, 0)


@pytest.mark.parametrize("seed", range(5))
def test_an_end_lost_in_the_noise_is_no_edge(run, seed):
    noise = np.random.default_rng(seed).normal(size=Q.size)
    intensity = 1.0 + noise
    intensity[-3:] = 0.0
    assert kept(run, intensity=intensity, trim_edges=True) == (0, Q.size, 0)


def test_a_shadow_ends_where_the_curve_first_comes_out_of_it(run):
    intensity = DECAY * ramp(Q.size, 10)
    intensity[30:33] = 0.0
    start, _, _ = kept(run, intensity=intensity, trim_edges=True)
    assert start < 16
