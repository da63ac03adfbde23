"""Radius of gyration and I0: known particles, measured proteins, and curves that have none."""

from __future__ import annotations

import numpy as np
import pytest
from freesas.autorg import autoRg
from gpusaxs.kernels import guinier as columns
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit
from solution_curves import I0, Q, chain, drawn, globule, noise_of, sphere

import gpusaxs
from gpusaxs.pipeline import Pipeline
from gpusaxs.stages.guinier import Guinier

NOISE_AND_GUINIER = Pipeline.from_document({"stages": ["noise", "guinier"]})
GUINIER = Pipeline.from_document({"stages": ["guinier"]})


def found(q, intensity, sigma, pipeline=GUINIER, **changes):
    """What the stage leaves, by the names of its numbers; each (curves,), or a list of words."""
    changed = pipeline.with_settings(f"guinier.{key}={value}" for key, value in changes.items())
    result = gpusaxs.process(q, intensity, sigma, q_unit="1/nm", pipeline=changed, workers=1)
    table = result.samples
    return {
        name.removeprefix("guinier."): table[name].to_pylist()
        if table.schema.field(name).type != "double"
        else table[name].to_numpy()
        for name in table.column_names
        if name.startswith("guinier.")
    }


def one(q, intensity, relative=0.005, seed=0, **changes):
    """The same of one curve with noise, as single values."""
    sigma = noise_of(np.abs(intensity), relative)
    rows = drawn(intensity, sigma, 1, seed)
    return {name: values[0] for name, values in found(q, *rows, **changes).items()}


def test_the_numbers_are_the_columns_of_the_kernel():
    names = [number.name for number in Guinier.leaves]
    assert len(names) == columns.NUMBERS
    for name in names:
        assert getattr(columns, name.upper()) == names.index(name)
    words = Guinier.leaves[columns.RANGE].words
    assert words[columns.UPTURN] == "upturn"
    assert words[columns.BEYOND] == "beyond_lowest_q"
    assert len(words) == columns.BEYOND + 1


@settings(deadline=None)
@given(st.floats(1.0, 8.0), st.floats(-6.0, 6.0))
def test_a_curve_that_is_guiniers_law_gives_its_rg_and_i0(rg, power):
    scale = 10.0**power
    intensity = scale * I0 * globule(Q, rg)
    got = found(Q, intensity, scale * noise_of(intensity / scale, 0.01))
    assert got["range"] == ["found"]
    np.testing.assert_allclose(got["rg"], rg, rtol=1e-9)
    np.testing.assert_allclose(got["i0"], scale * I0, rtol=1e-9)


def test_the_fit_is_that_of_scipy_on_the_points_of_the_range():
    sigma = noise_of(I0 * sphere(Q, 3.0), 0.03)
    rows, errors = drawn(I0 * sphere(Q, 3.0), sigma, 1, seed=1)
    got = {name: values[0] for name, values in found(Q, rows, errors).items()}
    span = slice(int(got["first"]), int(got["last"]) + 1)
    values, covariance = curve_fit(
        lambda q, i0, rg: i0 * np.exp(-((q * rg) ** 2) / 3.0),
        Q[span],
        rows[0, span],
        (I0, 2.3),
        sigma[span],
        absolute_sigma=True,
        ftol=1e-14,
        xtol=1e-14,
    )
    np.testing.assert_allclose((got["i0"], got["rg"]), values, rtol=1e-7)
    expected = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((got["i0_sigma"], got["rg_sigma"]), expected, rtol=1e-5)
    correlation = covariance[0, 1] / np.prod(expected)
    np.testing.assert_allclose(got["correlation"], correlation, rtol=1e-5)
    assert (got["q_min"], got["q_max"]) == (Q[span.start], Q[span.stop - 1])
    assert got["points"] == span.stop - span.start
    assert got["q_max_rg"] == got["q_max"] * got["rg"]


def test_uncertainties_can_grow_with_what_the_fit_leaves():
    plain = one(Q, I0 * sphere(Q, 3.0), relative=0.0005)
    scaled = one(Q, I0 * sphere(Q, 3.0), relative=0.0005, scale_uncertainties="true")
    assert plain["reduced_chi2"] > 2.0
    factor = np.sqrt(plain["reduced_chi2"])
    assert scaled["rg_sigma"] == pytest.approx(factor * plain["rg_sigma"], rel=1e-12)
    assert scaled["rg"] == plain["rg"]


@pytest.mark.parametrize("relative", [0.003, 0.03])
@pytest.mark.parametrize("rg", [2.0, 5.0])
def test_errors_are_as_large_as_the_standard_uncertainties_say(rg, relative):
    intensity = I0 * globule(Q, rg)
    rows = drawn(intensity, noise_of(intensity, relative), 3000, seed=2)
    got = found(Q, *rows)
    assert got["range"].count("found") > 2990
    for name, truth in (("rg", rg), ("i0", I0)):
        pull = (got[name] - truth) / got[f"{name}_sigma"]
        pull = pull[np.isfinite(pull)]
        assert abs(pull.mean()) < 0.1, name
        assert 0.95 < pull.std() < 1.05, name


def test_the_range_ends_where_q_rg_is_at_its_limit():
    for limit in (1.0, 1.3):
        got = one(Q, I0 * sphere(Q, 3.0), max_q_rg=limit)
        assert limit - 1.5 * got["rg"] * (Q[1] - Q[0]) < got["q_max_rg"] <= limit


def test_form_factors_bias_rg_as_the_literature_says():
    """Per cent of Rg at q Rg = 1.3: spheres too large, chains too small."""
    ball = one(Q, I0 * sphere(Q, 3.0), relative=1e-4)
    assert 1.01 < ball["rg"] / (3.0 * np.sqrt(0.6)) < 1.025
    assert -0.012 < ball["curvature"] < -0.006
    coil = one(Q, I0 * chain(Q, 4.0), relative=1e-3)
    assert 0.92 < coil["rg"] / 4.0 < 0.96
    assert 0.02 < coil["curvature"] < 0.045


def test_a_beamstops_shadow_is_left_out():
    intensity = I0 * globule(Q, 3.0)
    intensity[:6] *= [0.01, 0.05, 0.2, 0.5, 0.7, 0.9]
    got = one(Q, intensity)
    assert got["range"] == "found"
    assert 6 <= got["first"] <= 9
    assert abs(got["rg"] - 3.0) < 4.0 * got["rg_sigma"]


@pytest.mark.parametrize("factor", [0.86, 1.14])
@pytest.mark.parametrize("seed", range(4))
def test_a_first_point_that_is_a_little_off_is_left_out(factor, seed):
    """It changes neither the curvature nor chi-squared by much."""
    intensity = I0 * globule(Q, 3.0)
    sigma = noise_of(intensity, 0.02)
    rows, errors = drawn(intensity, sigma, 1, seed)
    rows[0, 0] = factor * intensity[0]
    got = found(Q, rows, errors)
    assert got["range"] == ["found"]
    assert 1 <= got["first"][0] <= 3


def test_parasitic_scattering_of_a_few_points_is_left_out():
    intensity = I0 * globule(Q, 3.0)
    intensity[:4] *= [30.0, 8.0, 2.0, 1.2]
    got = one(Q, intensity)
    assert got["range"] == "found"
    assert 4 <= got["first"] <= 7
    assert abs(got["rg"] - 3.0) < 4.0 * got["rg_sigma"]


BAD = {
    "aggregates": (I0 * (globule(Q, 3.0) + 0.3 * globule(Q, 15.0)), "upturn"),
    "a power law": (0.1 * Q**-3.0, "beyond_lowest_q"),
    "a flat curve": (np.full(Q.size, 10.0), None),
    "a rising curve": (10.0 + 5.0 * Q, "no_decay"),
    "a correlation peak": (I0 * np.exp(-(((Q - 1.5) / 0.5) ** 2)) + 1.0, "no_decay"),
    "repulsion": (I0 * globule(Q, 2.0) * (1.0 - 0.7 * np.exp(-((Q / 0.35) ** 2))), "downturn"),
    "a peak in the range": (
        I0 * globule(Q, 2.0) * (1.0 + np.exp(-(((Q - 0.4) / 0.02) ** 2))),
        None,
    ),
    "noise alone": (np.zeros(Q.size), None),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_curve_without_guinier_range_has_a_reason_and_no_rg(case, seed):
    intensity, reason = BAD[case]
    got = one(Q, intensity, seed=seed)
    assert got["range"] != "found"
    assert reason in (None, got["range"])
    assert all(np.isnan(value) for name, value in got.items() if name != "range")


def test_a_curve_of_few_points_has_a_reason():
    few = Q[:40]
    assert one(few, I0 * globule(few, 3.0), min_points=40)["range"] != "too_few_points"
    assert one(few, I0 * globule(few, 3.0), min_points=41)["range"] == "too_few_points"


def test_a_small_slope_is_no_particle():
    intensity = I0 * np.exp(-((Q * 0.08) ** 2) / 3.0)
    assert one(Q, intensity, relative=1e-4)["range"] == "no_decay"
    assert one(Q, intensity, relative=1e-4, min_last_q_rg=0.3)["range"] == "found"


PROTEINS = ("SASDAH2", "SASDAJ6", "SASDAQ2", "SASDAW3")


@pytest.mark.parametrize("name", PROTEINS)
def test_measured_proteins_agree_with_freesas(measured, name):
    [sample] = gpusaxs.read(measured / "plain" / f"{name}.dat", q_unit="1/nm")
    got = found(sample.q, sample.intensity, sample.sigma, NOISE_AND_GUINIER)
    table = np.ascontiguousarray(np.c_[sample.q, sample.intensity, sample.sigma])
    other = autoRg(table)
    assert got["range"] == ["found"]
    assert abs(got["rg"][0] / other.Rg - 1.0) < 0.012
    assert abs(got["i0"][0] / other.I0 - 1.0) < 0.012


def test_measured_solutions_without_a_range_are_refused(measured):
    """Frames with their buffer, a repulsive solution, micelles with a correlation peak."""
    paths = [
        *sorted((measured / "series" / "bsa").glob("*.dat")),
        *sorted((measured / "plain" / "otab").glob("*.pdh")),
        *sorted((measured / "bragg" / "otab").glob("*.pdh")),
        measured / "plain" / "SASDAC2.dat",
        measured / "bragg" / "agbh_pilatus1m.dat",
    ]
    named = []
    for path in paths:
        for sample in gpusaxs.read(path, q_unit="1/nm"):
            got = found(sample.q, sample.intensity, sample.sigma, NOISE_AND_GUINIER)
            named += [path.name] if got["range"] == ["found"] else []
    assert not named
