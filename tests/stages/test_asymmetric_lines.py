"""Asymmetric lines through the stages that find and fit peaks."""

from __future__ import annotations

import numpy as np
import pytest

import gpusaxs
from gpusaxs.pipeline import Pipeline
from gpusaxs.simulate import simulate


def centres_off(settings: tuple[str, ...], asymmetric: float):
    """Errors of the centres of clear lines in FWHM, and the asymmetries fitted."""
    curves = simulate(
        100, seed=5, counts=5000.0, phases=["hexagonal"], perturbations={"asymmetric": asymmetric}
    )
    result = gpusaxs.process(
        curves.q,
        curves.intensity,
        curves.sigma,
        q_unit="1/nm",
        ids=curves.truth["id"].to_pylist(),
        pipeline=Pipeline.load("standard").with_settings(settings),
        backend="numpy",
    )
    peaks = result.peaks.select(["id", "q", "asymmetry", "asymmetry_sigma"]).to_pylist()
    off, asymmetry = [], []
    for line in curves.lines.to_pylist():
        near = [
            peak
            for peak in peaks
            if peak["id"] == line["id"] and abs(peak["q"] - line["q"]) < 0.4 * line["fwhm"]
        ]
        if line["snr"] > 100.0 and near:
            off.append((near[0]["q"] - line["q"]) / line["fwhm"])
            asymmetry.append(near[0]["asymmetry"])
    return np.abs(off), np.array(asymmetry)


def test_lines_of_asymmetric_curves_are_found_at_their_tops():
    off, asymmetry = centres_off((), 1.0)
    symmetric, none = centres_off(("process_peak.asymmetry=1e9",), 1.0)
    assert len(off) > 40
    assert (asymmetry != 0.0).mean() > 0.85
    assert not none.any()
    assert np.median(off) < 0.2 * np.median(symmetric)


def test_lines_of_symmetric_curves_stay_symmetric_and_as_good_as_they_were():
    off, asymmetry = centres_off((), 0.0)
    symmetric, _ = centres_off(("process_peak.asymmetry=1e9",), 0.0)
    assert (asymmetry != 0.0).mean() < 0.05
    np.testing.assert_allclose(off.mean(), symmetric.mean(), rtol=0.05)


@pytest.mark.parametrize("shape", ["gaussian", "lorentzian"])
def test_profiles_of_a_fixed_shape_are_symmetric(shape):
    _, asymmetry = centres_off((f"process_peak.shape={shape}",), 1.0)
    assert not asymmetry.any()


def test_each_line_has_an_asymmetry_of_its_own_where_that_is_the_shape():
    off, asymmetry = centres_off(("process_peak.shape=asymmetric",), 1.0)
    symmetric, _ = centres_off(("process_peak.asymmetry=1e9",), 1.0)
    assert asymmetry.all()
    assert np.median(off) < 0.25 * np.median(symmetric)
