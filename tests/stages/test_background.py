"""The background stage: what it takes away, and what it leaves."""

from __future__ import annotations

import numpy as np
import pytest

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.errors import PipelineError
from gpusaxs.io import read
from gpusaxs.io.nxcansas_writer import write_stack
from gpusaxs.sample import CurveStatus, Origin, Sample
from gpusaxs.stages.background import Background

Q = np.linspace(0.1, 3.0, 1000)
BASE = 3.0 * Q**-3 + 20.0


def batch_of(intensity, sigma):
    rows = np.atleast_2d(intensity)
    ids = [str(i) for i in range(len(rows))]
    return SampleBatch.from_arrays(
        ids, Q, rows, np.broadcast_to(sigma, rows.shape), NumpyBackend(1)
    )


def reduced(stage, intensity, sigma=None):
    batch = batch_of(intensity, 0.02 * BASE if sigma is None else sigma)
    stage.launch(batch, batch.live_rows())
    return batch


def with_peaks(fwhm, noise, seed=0):
    """A steep decay with five peaks of a width in points; intensity, and where no peak is."""
    rng = np.random.default_rng(seed)
    index = np.arange(Q.size)
    peaks = np.zeros(Q.size)
    for centre in (150, 350, 500, 660, 850):
        peaks += BASE[centre] * np.exp(-4.0 * np.log(2.0) * ((index - centre) / fwhm) ** 2)
    return BASE + peaks + noise * BASE * rng.normal(size=Q.size), peaks, peaks < 1e-3 * BASE


@pytest.mark.parametrize("mode", ["snip", "arpls", "power_law", "none"])
def test_background_and_what_is_left_add_up_and_the_search_starts_anew(mode):
    intensity, *_ = with_peaks(15, 0.02)
    batch = reduced(Background(mode=mode), intensity)
    np.testing.assert_allclose(batch.intensity + batch.background, [intensity], rtol=1e-12)
    np.testing.assert_array_equal(batch.search, batch.intensity)
    np.testing.assert_array_equal(batch.residual, batch.intensity)


@pytest.mark.parametrize(("fwhm", "loss"), [(5, 0.03), (15, 0.03), (30, 0.1)])
def test_snip_keeps_the_heights_of_peaks_up_to_thirty_points_wide(fwhm, loss):
    intensity, peaks, _ = with_peaks(fwhm, 0.005)
    left = reduced(Background(mode="snip"), intensity, 0.005 * BASE).intensity[0]
    for centre in (150, 350, 500, 660, 850):
        top = slice(centre - 1, centre + 2)
        np.testing.assert_allclose(left[top].mean(), peaks[top].mean(), rtol=loss)


def test_snip_lies_below_noisy_data_by_less_than_a_sigma_and_smoothing_limits_it():
    intensity, _, free = with_peaks(15, 0.03)
    sigma = 0.03 * BASE

    def bias(smooth):
        stage = Background(mode="snip", smooth=smooth)
        return ((reduced(stage, intensity, sigma).background[0] - BASE) / sigma)[free].mean()

    assert -1.0 < bias(Background().smooth) < 0.0
    assert bias(0) < bias(1) < bias(3)


def test_a_robust_power_law_is_the_background_under_peaks():
    intensity, _, free = with_peaks(15, 0.02)
    batch = reduced(Background(mode="power_law"), intensity)
    deviation = (batch.background[0] - BASE) / (0.02 * BASE)
    assert abs(deviation[free].mean()) < 0.2
    assert abs(deviation).max() < 1.0


def test_a_curve_that_no_power_law_fits_is_left_whole_and_says_so():
    intensity = 1.0 + np.exp(6.0 * Q)
    batch = reduced(
        Background(mode="power_law", with_constant=False, robust=False), intensity, intensity / 1e3
    )
    assert batch.status[0] & CurveStatus.BACKGROUND_FAILED
    np.testing.assert_array_equal(batch.intensity[0], intensity)


@pytest.mark.parametrize("robust", [True, False])
def test_the_power_law_of_the_lipid_curve_is_the_one_that_scipy_finds(measured, robust):
    q, intensity, sigma = np.loadtxt(
        measured / "bragg/lipid_cubic_2.csv", delimiter=",", skiprows=1
    )[100:].T
    intensity = np.convolve(intensity, np.ones(10) / 10, "same")
    batch = SampleBatch.from_arrays(
        ["lipid"], q, intensity[np.newaxis], sigma[np.newaxis], NumpyBackend(1)
    )
    stage = Background(mode="power_law", with_constant=False, robust=robust)
    stage.launch(batch, batch.live_rows())
    exponent, factor = np.polyfit(np.log(q), np.log(batch.background[0]), 1)
    if not robust:
        np.testing.assert_allclose([-exponent, np.exp(factor)], [0.5557, 0.4049], atol=1e-4)
    # The background lies under the peaks, not through them.
    assert (np.median(batch.intensity) < 0.1 * intensity.max()).all()


@pytest.fixture
def blank_file(tmp_path):
    path = tmp_path / "blank.dat"
    grid = np.linspace(0.05, 3.5, 700)
    np.savetxt(path, np.column_stack([grid, 2.0 / grid + 1.0, np.full(700, 0.01)]))
    return path


def test_a_blank_is_read_once_scaled_by_the_window_and_its_sigma_propagated(blank_file):
    stage = Background(mode="blank", blank_file=str(blank_file), window_q_min=2.5, window_q_max=3.0)
    intensity = 3.0 * (2.0 / Q + 1.0) + 50.0 * np.exp(-(((Q - 1.0) / 0.02) ** 2))
    batch = reduced(stage, intensity, 0.02)
    far = abs(Q - 1.0) > 0.2
    np.testing.assert_allclose(batch.intensity[0][far], 0.0, atol=5e-2)
    assert (batch.sigma > 0.02).all()
    assert (batch.sigma < np.hypot(0.02, 0.031)).all()
    blank_file.unlink()
    reduced(stage, intensity, 0.02)


EXPOSURE_AND_TRANSMISSION = {
    "mode": "blank",
    "scale_by": "exposure_and_transmission",
    "blank_exposure": 2.0,
    "blank_transmission": 0.8,
}


def sample_that_says(**metadata):
    return Sample("a", Q, 100.0 + Q, np.ones(Q.size), origin=Origin(metadata=metadata))


@pytest.mark.parametrize(
    ("scale_by", "factor", "expected"),
    [
        ("exposure", None, 10.0 / 2.0),
        ("transmission", None, 0.6 / 0.8),
        ("exposure_and_transmission", None, 10.0 / 2.0 * 0.6 / 0.8),
        ("exposure", 0.5, 0.5 * 10.0 / 2.0),
    ],
)
def test_a_blank_is_scaled_by_the_ratio_of_what_the_metadata_say(
    blank_file, scale_by, factor, expected
):
    given = {**EXPOSURE_AND_TRANSMISSION, "blank_file": str(blank_file), "scale_by": scale_by}
    curve = sample_that_says(exposure=10.0, transmission=0.6)
    batch = SampleBatch.from_samples([curve], NumpyBackend(1))
    Background(**given, factor=factor).launch(batch, batch.live_rows())
    grid, intensity, _ = np.loadtxt(blank_file).T
    base = expected * np.interp(Q, grid, intensity)
    np.testing.assert_allclose(batch.background[0], base, rtol=1e-12)
    # Points of the blank are independent: an interpolated one is known better than these.
    assert (batch.sigma[0] > np.hypot(1.0, 0.7 * expected * 0.01)).all()
    assert (batch.sigma[0] <= np.hypot(1.0, 1.000001 * expected * 0.01)).all()


def test_curves_that_do_not_say_what_the_blank_is_scaled_by_fail_alone_with_the_reason(blank_file):
    samples = [
        sample_that_says(exposure=10.0),
        sample_that_says(exposure=10.0, transmission=0.6),
        sample_that_says(transmission=0.6),
        sample_that_says(),
    ]
    batch = SampleBatch.from_samples(samples, NumpyBackend(1))
    stage = Background(**EXPOSURE_AND_TRANSMISSION, blank_file=str(blank_file))
    stage.launch(batch, batch.live_rows())
    done = batch.to_samples()
    assert [s.status.label for s in done] == ["blank_unscaled", "ok", *["blank_unscaled"] * 2]
    for sample, missing in zip(done, ("transmission", "", "exposure", "exposure"), strict=True):
        assert (f"the {missing} of the curve is not known" in sample.reason) == bool(missing)
        assert (sample.intensity == 100.0 + Q).all() == bool(missing)


def test_what_the_file_of_a_blank_says_scales_it_and_belongs_to_its_fingerprint(tmp_path):
    def stage(exposure):
        path = tmp_path / "blank.h5"
        write_stack(
            path, Q, 1.0 / Q[np.newaxis], None, title="blank",
            metadata=[{"exposure": exposure}],
        )  # fmt: skip
        return Background(mode="blank", blank_file=str(path), scale_by="exposure")

    batch = SampleBatch.from_samples([sample_that_says(exposure=10.0)], NumpyBackend(1))
    stage(4.0).launch(batch, batch.live_rows())
    np.testing.assert_allclose(batch.background[0], 2.5 / Q, rtol=1e-12)
    assert stage(4.0).fingerprint() == stage(4.0).fingerprint() != stage(5.0).fingerprint()


def test_a_blank_that_does_not_say_what_it_is_scaled_by_is_an_error(blank_file):
    stage = Background(mode="blank", blank_file=str(blank_file), scale_by="transmission")
    with pytest.raises(PipelineError, match=r"Give background\.blank_transmission"):
        reduced(stage, BASE)


def test_a_blank_that_does_not_cover_the_curve_fails_it(tmp_path):
    path = tmp_path / "short.dat"
    grid = np.linspace(0.5, 2.0, 100)
    np.savetxt(path, np.column_stack([grid, 1.0 / grid, np.full(100, 0.01)]))
    batch = reduced(Background(mode="blank", blank_file=str(path), factor=1.0), BASE)
    assert batch.status[0] & CurveStatus.BLANK_MISMATCH
    np.testing.assert_array_equal(batch.intensity[0], BASE)


def test_a_blank_on_the_curves_own_grid_with_fewer_digits_covers_it(tmp_path):
    path = tmp_path / "rounded.dat"
    np.savetxt(path, np.column_stack([Q, BASE, 0.01 * BASE]), fmt="%.3g")
    batch = reduced(Background(mode="blank", blank_file=str(path), factor=1.0), BASE)
    assert not batch.status[0] & CurveStatus.BLANK_MISMATCH


def test_a_missing_blank_is_named(tmp_path):
    stage = Background(mode="blank", blank_file=str(tmp_path / "no.dat"), factor=1.0)
    with pytest.raises(PipelineError, match=r"no\.dat"):
        reduced(stage, BASE)


def test_the_solvent_of_a_silica_sample_is_subtracted(measured):
    folder = measured / "background/stober_b"
    blank = folder / "03734_D5-T2_Ethanol_background_1_000.dat"
    [sample] = read(str(folder / "03747_A12-T2_dd0c2d6b-3300-485f-a910-3edbad96b555_000.dat"))
    batch = SampleBatch.from_samples([sample], NumpyBackend(1))
    before = batch.intensity.copy()
    Background(mode="blank", blank_file=str(blank), factor=1.0).launch(batch, batch.live_rows())
    assert batch.status[0] & CurveStatus.BLANK_MISMATCH == 0
    np.testing.assert_allclose(batch.intensity + batch.background, before, rtol=1e-9, atol=1e-12)
