"""What the stages make of their parameters, good and bad ones."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels import find_peaks as kernel
from pydantic import ValidationError

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.errors import PipelineError
from gpusaxs.sample import CurveStatus
from gpusaxs.stages import stage_type
from gpusaxs.stages.background import Background
from gpusaxs.stages.cut import Cut
from gpusaxs.stages.filter import Filter
from gpusaxs.stages.find_peak import FindPeak
from gpusaxs.stages.noise import Noise
from gpusaxs.stages.phase import Phase
from gpusaxs.stages.process_peak import ProcessPeak

Q = np.linspace(0.1, 3.0, 400)
ROWS = np.arange(2)


@pytest.fixture
def batch():
    model = 100.0 / Q + 200.0 * np.exp(-(((Q - 1.0) / 0.02) ** 2))
    intensity = np.random.default_rng(1).normal(model, np.sqrt(model), (2, 400))
    sigma = np.tile(np.sqrt(model), (2, 1))
    return SampleBatch.from_arrays(["a", "b"], Q, intensity, sigma, NumpyBackend(1))


@pytest.mark.parametrize(
    ("stage", "wrong", "message"),
    [
        ("filter", {"window": 6}, r"odd window, which has a middle; got 6; use 7"),
        ("filter", {"window": 0}, r"greater than or equal to 1"),
        ("filter", {"window": 5, "order": 5}, r"order below the window of 5 points; got 5"),
        ("filter", {"method": "gauss"}, r"'savgol', 'moving_average', 'median', 'boxcar' or"),
        ("background", {"mode": "linear"}, r"'arpls', 'power_law', 'blank', 'common' or 'none'"),
        ("background", {"mode": "blank"}, r"expected blank_file"),
        (
            "background",
            {"mode": "blank", "blank_file": "a.dat"},
            r"expected factor, scale_by, or window_q_min and window_q_max",
        ),
        (
            "background",
            {"mode": "blank", "blank_file": "a.dat", "scale_by": "exposure", "window_q_max": 1.0},
            r"expected one way to scale the blank; got scale_by 'exposure' and a q window",
        ),
        ("background", {"max_half_window": 0}, r"greater than or equal to 1"),
        ("background", {"share": 0.0}, r"greater than 0"),
        ("cut", {"q_min": -1.0}, r"greater than or equal to 0"),
        ("cut", {"skip_first": 1.5}, r"integer"),
        ("noise", {"tolerance": 1.0}, r"greater than 1"),
        ("noise", {"block": 4}, r"greater than or equal to 16"),
        ("find_peak", {"distance": 0.5}, r"greater than or equal to 1"),
        ("find_peak", {"height": "high"}, r"valid number"),
        ("process_peak", {"shape": "voigt"}, r"'pseudo_voigt' or 'asymmetric'"),
        ("process_peak", {"window": 0.1}, r"greater than 0.5"),
        ("phase", {"phases": ("lamellar", "gyroid")}, r"expected phases out of lamellar, hexag"),
        ("phase", {"tolerance": 0.5}, r"less than or equal to 0.013"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_refused_with_what_is_right(stage, wrong, message):
    with pytest.raises(ValidationError, match=message):
        stage_type(stage)(**wrong)


def test_the_order_does_not_matter_where_no_polynomial_is_fitted():
    assert Filter(method="median", window=1, order=2).window == 1


@pytest.mark.parametrize(
    ("interval", "limits"),
    [
        (None, (-np.inf, np.inf)),
        (2.0, (2.0, np.inf)),
        ((1.0, 3.0), (1.0, 3.0)),
        ((None, 3.0), (-np.inf, 3.0)),
        ([1.0, None], (1.0, np.inf)),
    ],
)
def test_a_condition_is_nothing_a_lowest_value_or_both(interval, limits):
    conditions = FindPeak(prominence=interval)._conditions
    assert tuple(conditions[kernel.PROMINENCE]) == limits


def test_conditions_stand_in_the_rows_of_their_names():
    names = ("plateau_size", "height", "threshold", "distance", "prominence", "width",
             "height_noise", "prominence_noise")  # fmt: skip
    values = {name: 10.0 + i for i, name in enumerate(names)}
    conditions = FindPeak(**values)._conditions
    for name in names:
        assert conditions[getattr(kernel, name.upper()), 0] == values[name]


def test_limits_of_the_phase_stage_stand_in_the_places_of_their_names():
    from gpusaxs.kernels import bragg_lines

    stage = Phase(min_score=7.5, tolerance=0.004, satellite=0.07)
    limits = stage._tables[-1]
    assert limits.size == bragg_lines.LIMITS
    for name in Phase.model_fields:
        place = getattr(bragg_lines, name.upper(), None)
        if isinstance(place, int):
            assert limits[place] == getattr(stage, name), name


def test_a_cut_moves_start_and_stop(batch):
    Cut(q_min=0.5, q_max=2.0).launch(batch, ROWS)
    for sample in batch.to_samples():
        assert 0.5 <= sample.q[0] < 0.51
        assert 1.99 < sample.q[-1] <= 2.0


def test_only_the_rows_of_a_launch_are_changed(batch):
    before = batch.intensity.copy()
    Background().launch(batch, np.array([1]))
    np.testing.assert_array_equal(batch.intensity[0], before[0])
    assert (batch.intensity[1] != before[1]).any()


def test_what_a_background_takes_away_is_kept(batch):
    before = batch.intensity.copy()
    for mode in ("snip", "arpls", "power_law"):
        Background(mode=mode).launch(batch, ROWS)
        np.testing.assert_allclose(batch.intensity + batch.background, before, rtol=1e-12)
        np.testing.assert_array_equal(batch.search, batch.intensity)


def test_no_background_changes_no_bit(batch):
    before = batch.intensity.copy()
    Background(mode="none").launch(batch, ROWS)
    np.testing.assert_array_equal(batch.intensity, before)


def test_a_blank_is_read_from_its_file(batch, tmp_path):
    path = tmp_path / "blank.dat"
    np.savetxt(path, np.stack([Q, 50.0 / Q, 1.0 / Q], axis=1), header="q/nm^-1 I sigma")
    before = batch.intensity.copy()
    stage = Background(mode="blank", blank_file=str(path), factor=2.0)
    stage.launch(batch, ROWS)
    np.testing.assert_allclose(batch.intensity, before - 100.0 / Q, rtol=1e-6, atol=1e-6)


def test_a_blank_that_is_not_there_is_an_error_that_names_it(batch, tmp_path):
    stage = Background(mode="blank", blank_file=str(tmp_path / "no.dat"), factor=1.0)
    with pytest.raises(PipelineError, match=r"Cannot read the blank .*no\.dat"):
        stage.launch(batch, ROWS)


def test_a_blank_that_is_no_curve_is_an_error_that_says_why(batch, tmp_path):
    path = tmp_path / "flat.dat"
    np.savetxt(path, np.stack([Q, np.ones_like(Q), np.ones_like(Q)], axis=1))
    stage = Background(mode="blank", blank_file=str(path), factor=1.0)
    with pytest.raises(PipelineError, match="is no curve: the intensity is zero or constant"):
        stage.launch(batch, ROWS)


@pytest.mark.parametrize("method", ["savgol", "moving_average", "median"])
def test_a_filter_smooths_the_search_and_leaves_the_curve(batch, method):
    before = batch.intensity.copy()
    Filter(method=method, window=7).launch(batch, ROWS)
    np.testing.assert_array_equal(batch.intensity, before)
    assert abs(np.diff(batch.search)).mean() < 0.7 * abs(np.diff(before)).mean()


def test_a_filter_replaces_the_curve_if_asked_to(batch):
    Filter(window=7, replace=True).launch(batch, ROWS)
    np.testing.assert_array_equal(batch.intensity, batch.search)
    np.testing.assert_array_equal(batch.residual, batch.search)


def test_no_filter_searches_the_curve_itself(batch):
    Filter(method="none", noise_block=0).launch(batch, ROWS)
    np.testing.assert_array_equal(batch.search, batch.intensity)
    np.testing.assert_array_equal(batch.noise, batch.sigma)


def test_noise_says_in_the_status_what_it_did(batch):
    batch.sigma[0] *= 10.0
    batch.sigma[1] = np.nan
    Noise().launch(batch, ROWS)
    flags = [CurveStatus(int(status)) for status in batch.status]
    assert flags == [CurveStatus.SIGMA_RESCALED, CurveStatus.SIGMA_ESTIMATED]
    np.testing.assert_array_equal(batch.noise, batch.sigma)


def test_a_peak_is_found_fitted_and_not_found_again(batch):
    Background().launch(batch, ROWS)
    Filter().launch(batch, ROWS)
    search, fit = FindPeak(height_noise=8.0, prominence_noise=12.0), ProcessPeak()
    [(asked, rows)] = search.launch(batch, ROWS).items()
    assert (asked, rows.tolist()) == ("process_peak", [0, 1])
    [(asked, rows)] = fit.launch(batch, rows).items()
    assert (asked, rows.tolist()) == ("find_peak", [0, 1])
    assert not search.launch(batch, ROWS)["process_peak"].size
    for sample in batch.to_samples():
        [peak] = sample.metadata.processed_peaks
        assert abs(peak.q - 1.0) < 4.0 * peak.q_sigma
        assert not sample.metadata.unprocessed_peaks


@pytest.mark.parametrize("shape", ["gaussian", "lorentzian", "pseudo_voigt"])
def test_a_peak_has_the_shape_asked_for(batch, shape):
    Filter().launch(batch, ROWS)
    FindPeak().launch(batch, ROWS)
    ProcessPeak(shape=shape).launch(batch, ROWS)
    [peak] = batch.to_samples()[0].metadata.processed_peaks
    expected = {"gaussian": 0.0, "lorentzian": 1.0}.get(shape, peak.eta)
    assert peak.eta == expected


def test_an_unknown_phase_is_not_named(batch):
    Phase(phases=("lamellar",)).launch(batch, ROWS)
    assert [sample.phases for sample in batch.to_samples()] == [(), ()]
