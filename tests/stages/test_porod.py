"""Power laws, Porod's constant, invariant and volume against integrals that are known."""

from __future__ import annotations

import numpy as np
import pytest
from freesas.containers import RG_RESULT
from freesas.invariants import calc_Porod
from gpusaxs.kernels import porod as columns
from scipy.integrate import quad
from scipy.optimize import curve_fit
from solution_curves import I0, Q, chain, drawn, globule, noise_of, sphere

import gpusaxs
from gpusaxs.errors import PipelineError
from gpusaxs.pipeline import Pipeline
from gpusaxs.stages.porod import Porod

POROD = Pipeline.from_document({"stages": ["guinier", "porod"]})
FLAT = 0.05
RG = 3.0
# K of `globule`, over I0.
CONSTANT = np.exp(-2.0) * 36.0 / RG**4


def found(q, intensity, sigma, *changes):
    """What both stages leave, by the names of the columns."""
    changed = POROD.with_settings(changes)
    result = gpusaxs.process(q, intensity, sigma, q_unit="1/nm", pipeline=changed, workers=1)
    table = result.samples
    return {
        name: table[name].to_pylist()
        if table.schema.field(name).type != "double"
        else table[name].to_numpy()
        for name in table.column_names
        if name.startswith(("guinier.", "porod."))
    }


def test_the_numbers_are_the_columns_of_the_kernel():
    names = [number.name for number in Porod.leaves]
    assert len(names) == columns.NUMBERS
    for name in names:
        assert getattr(columns, name.upper()) == names.index(name)
    assert Porod.leaves[columns.EXPONENT_RANGE].words[columns.NOT_STRAIGHT] == "not_straight"
    assert Porod.leaves[columns.LAW].words[columns.NOT_SEEN] == "not_seen"


def test_a_globule_has_the_constant_invariant_and_volume_of_its_integral():
    intensity = I0 * globule(Q, RG) + FLAT
    got = found(Q, intensity, noise_of(intensity, 0.001))
    whole, _ = quad(lambda q: q**2 * I0 * globule(q, RG), 0.0, np.sqrt(6.0) / RG)
    beyond = I0 * CONSTANT * RG / np.sqrt(6.0)
    np.testing.assert_allclose(got["porod.constant"], I0 * CONSTANT, rtol=1e-9)
    np.testing.assert_allclose(got["porod.background"], FLAT, rtol=1e-9)
    # Guinier's I0 holds the flat background as well.
    np.testing.assert_allclose(got["porod.invariant"], whole + beyond, rtol=1e-3)
    volume = 2.0 * np.pi**2 * I0 / (whole + beyond)
    np.testing.assert_allclose(got["porod.volume"], volume, rtol=2e-3)
    assert got["porod.law"] == ["found"]


def test_a_sphere_has_its_own_volume_though_its_form_factor_oscillates():
    radius = 3.0
    q = np.linspace(0.05, 10.0, 1500)
    intensity = I0 * sphere(q, radius) + FLAT
    got = found(q, intensity, noise_of(intensity, 0.002), "porod.q_max=10.0")
    volume = 4.0 / 3.0 * np.pi * radius**3
    np.testing.assert_allclose(got["porod.constant"], 4.5 * I0 / radius**4, rtol=0.08)
    np.testing.assert_allclose(got["porod.background"], FLAT, rtol=0.02)
    np.testing.assert_allclose(got["porod.invariant"], 2.0 * np.pi**2 * I0 / volume, rtol=0.01)
    np.testing.assert_allclose(got["porod.volume"], volume, rtol=0.015)
    assert got["porod.exponent_range"] == ["not_straight"]


def test_the_constant_is_the_weighted_fit_of_scipy():
    intensity = I0 * globule(Q, RG) + FLAT
    rows, errors = drawn(intensity, noise_of(intensity, 0.02), 1, seed=3)
    got = {name: values[0] for name, values in found(Q, rows, errors).items()}
    span = (got["porod.q_min"] <= Q) & (got["porod.q_max"] >= Q)
    assert span.sum() == got["porod.points"]
    values, covariance = curve_fit(
        lambda q, k, b: k / q**4 + b, Q[span], rows[0, span], (1.0, 0.0), errors[0, span],
        absolute_sigma=True, ftol=1e-14, xtol=1e-14,
    )  # fmt: skip
    np.testing.assert_allclose((got["porod.constant"], got["porod.background"]), values, rtol=1e-6)
    sigmas = (got["porod.constant_sigma"], got["porod.background_sigma"])
    np.testing.assert_allclose(sigmas, np.sqrt(np.diag(covariance)), rtol=1e-6)
    assert got["porod.q_min"] >= 3.0 / got["guinier.rg"] > got["porod.q_min"] - (Q[1] - Q[0])
    assert got["porod.q_max"] <= 8.0 / got["guinier.rg"] < got["porod.q_max"] + (Q[1] - Q[0])


def test_errors_are_as_large_as_the_standard_uncertainties_say():
    intensity = I0 * globule(Q, RG) + FLAT
    rows = drawn(intensity, noise_of(intensity, 0.01), 2000, seed=4)
    exact = found(Q, intensity, rows[1][0])
    got = found(Q, *rows)
    for name in ("constant", "background", "invariant", "volume"):
        pull = (got[f"porod.{name}"] - exact[f"porod.{name}"]) / got[f"porod.{name}_sigma"]
        pull = pull[np.isfinite(pull)]
        assert pull.size > 1900, name
        assert abs(np.mean(pull)) < 0.15, name
        assert 0.9 < np.std(pull) < 1.1, name


def test_without_options_the_volume_is_that_of_freesas():
    intensity = I0 * globule(Q, RG)
    sigma = noise_of(intensity, 0.01)
    plain = ("porod.subtract_background=false", "porod.extrapolate_high=false", "porod.q_max=99.0")
    got = {name: values[0] for name, values in found(Q, intensity, sigma, *plain).items()}
    first, last = int(got["guinier.first"]), int(got["guinier.last"])
    fit = RG_RESULT(
        got["guinier.rg"], got["guinier.rg_sigma"], got["guinier.i0"], got["guinier.i0_sigma"],
        first, last, 1.0, 0.0,
    )  # fmt: skip
    expected = calc_Porod(np.c_[Q, intensity, sigma], fit)
    assert got["porod.volume"] == pytest.approx(expected, rel=1e-5)
    assert np.isnan(got["porod.background"])


@pytest.mark.parametrize("exponent", [1.0, 2.5, 4.0])
def test_a_power_law_has_its_exponent_without_any_guinier_range(exponent):
    intensity = Q**-exponent
    sigma = 0.02 * intensity
    rows = drawn(intensity, sigma, 500, seed=5)
    got = found(Q, *rows)
    assert set(got["porod.exponent_range"]) == {"found"}
    pull = (got["porod.exponent"] - exponent) / got["porod.exponent_sigma"]
    assert abs(pull.mean()) < 0.15
    assert 0.93 < pull.std() < 1.07
    assert np.isnan(got["porod.invariant"]).all()


def test_a_chain_has_the_exponent_two():
    intensity = I0 * chain(Q, 6.0)
    got = found(Q, intensity, noise_of(intensity, 0.01))
    assert got["porod.exponent"][0] == pytest.approx(2.0, abs=0.12)


def test_a_given_range_is_taken():
    intensity = I0 * globule(Q, RG)
    got = found(Q, intensity, 0.01 * intensity, "porod.q_min=2.0", "porod.q_max=4.0")
    assert got["porod.q_min"][0] == Q[Q >= 2.0][0]
    assert got["porod.q_max"][0] == Q[Q <= 4.0][-1]
    assert got["porod.exponent"][0] == pytest.approx(4.0, abs=1e-6)
    assert got["porod.exponent_q_min"][0] >= got["porod.q_min"][0]


def test_a_curve_that_ends_before_the_porod_range_has_a_reason():
    near = Q[Q < 0.9]
    intensity = I0 * globule(near, RG)
    got = found(near, intensity, noise_of(intensity, 0.01))
    assert got["guinier.range"] == ["found"]
    assert got["porod.exponent_range"] == got["porod.law"] == ["too_few_points"]
    assert np.isnan(got["porod.volume"]).all()


def test_a_flat_end_shows_no_law():
    intensity = I0 * np.exp(-((Q * RG) ** 2) / 3.0) + 5.0
    rows = drawn(intensity, noise_of(intensity, 0.02), 1, seed=6)
    got = found(Q, *rows, "porod.q_min=3.0", "porod.q_max=5.0")
    assert got["porod.law"] == ["not_seen"]
    assert np.isnan(got["porod.invariant"]).all()
    assert got["porod.exponent_range"] == ["not_straight"]


def test_it_needs_the_numbers_of_guinier_before_it():
    for stages in (["porod"], ["porod", "guinier"]):
        with pytest.raises(
            PipelineError, match="'guinier' before 'porod', which reads its numbers"
        ):
            Pipeline.from_document({"stages": stages})
