"""The maximum of the dimensionless Kratky curve, and its level at high q."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels import kratky as columns
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from solution_curves import I0, Q, chain, drawn, globule, noise_of, sphere

import gpusaxs
from gpusaxs.pipeline import Pipeline
from gpusaxs.stages.kratky import Kratky

KRATKY = Pipeline.from_document({"stages": ["guinier", "kratky"]})


def found(q, intensity, sigma, *changes):
    """What both stages leave, by the names of the columns."""
    changed = KRATKY.with_settings(changes)
    result = gpusaxs.process(q, intensity, sigma, q_unit="1/nm", pipeline=changed, workers=1)
    table = result.samples
    return {
        name: table[name].to_pylist()
        if table.schema.field(name).type != "double"
        else table[name].to_numpy()
        for name in table.column_names
        if name.startswith(("guinier.", "kratky."))
    }


def test_the_numbers_are_the_columns_of_the_kernel():
    names = [number.name for number in Kratky.leaves]
    assert len(names) == columns.NUMBERS
    for name in names:
        assert getattr(columns, name.upper()) == names.index(name)
    assert Kratky.leaves[columns.MAXIMUM].words[columns.NO_MAXIMUM] == "no_maximum"


@pytest.mark.parametrize("rg", [1.5, 3.0, 6.0])
def test_a_globule_has_its_maximum_at_the_root_of_three(rg):
    intensity = I0 * np.exp(-((Q * rg) ** 2) / 3.0)
    got = found(Q, intensity, noise_of(intensity, 0.01))
    np.testing.assert_allclose(got["kratky.position"], np.sqrt(3.0), rtol=1e-6)
    np.testing.assert_allclose(got["kratky.height"], 3.0 / np.e, rtol=1e-6)


def test_a_sphere_has_the_maximum_of_its_form_factor():
    radius = 3.0
    got = found(Q, I0 * sphere(Q, radius), noise_of(I0 * sphere(Q, radius), 0.001))
    rg, i0 = got["guinier.rg"][0], got["guinier.i0"][0]

    def height(x):
        return float(x**2 * I0 * sphere(x / rg, radius) / i0)

    top = minimize_scalar(lambda x: -height(x), bounds=(1.0, 2.5), method="bounded")
    np.testing.assert_allclose(got["kratky.position"], top.x, rtol=2e-3)
    np.testing.assert_allclose(got["kratky.height"], height(top.x), rtol=2e-3)
    mean = quad(height, 4.0, 6.0)[0] / 2.0
    np.testing.assert_allclose(got["kratky.plateau"], mean, rtol=2e-2)


def test_a_chain_has_no_maximum_and_a_plateau_near_two():
    intensity = I0 * chain(Q, 5.0)
    got = found(Q, intensity, noise_of(intensity, 0.002))
    assert got["kratky.maximum"] == ["no_maximum"]
    assert np.isnan(got["kratky.position"]).all()
    assert 1.6 < got["kratky.plateau"][0] < 2.0


def test_errors_are_as_large_as_the_standard_uncertainties_say():
    rg = 3.0
    intensity = I0 * globule(Q, rg)
    rows = drawn(intensity, noise_of(intensity, 0.01), 3000, seed=7)
    exact = found(Q, intensity, rows[1][0])
    got = found(Q, *rows)
    for name in ("position", "height", "plateau"):
        pull = (got[f"kratky.{name}"] - exact[f"kratky.{name}"]) / got[f"kratky.{name}_sigma"]
        pull = pull[np.isfinite(pull)]
        assert pull.size > 2970, name
        assert abs(pull.mean()) < 0.15, name
        assert 0.93 < pull.std() < 1.07, name


def test_a_curve_without_rg_has_a_reason():
    got = found(Q, Q**-3.0, 0.01 * Q**-3.0)
    assert got["kratky.maximum"] == ["no_rg"]
    assert np.isnan(got["kratky.plateau"]).all()


def test_a_curve_that_ends_early_has_neither_maximum_nor_plateau():
    near = Q[Q < 0.6]
    intensity = I0 * globule(near, 3.0)
    got = found(near, intensity, noise_of(intensity, 0.005))
    assert got["kratky.maximum"] == ["too_few_points"]
    assert np.isnan(got["kratky.plateau"]).all()


def test_measured_proteins_are_told_by_their_shape(measured):
    """Myoglobin is a globule; SASDAW3 is long and flexible."""
    numbers = {}
    for name in ("SASDAH2", "SASDAW3"):
        [sample] = gpusaxs.read(measured / "plain" / f"{name}.dat", q_unit="1/nm")
        result = gpusaxs.process(
            sample.q, sample.intensity, sample.sigma, q_unit="1/nm", pipeline="solution"
        )
        numbers[name] = result[0].numbers
    assert numbers["SASDAH2"]["kratky.position"] == pytest.approx(np.sqrt(3.0), abs=0.1)
    assert numbers["SASDAH2"]["kratky.height"] == pytest.approx(3.0 / np.e, abs=0.06)
    assert numbers["SASDAH2"]["kratky.plateau"] < 0.5
    assert numbers["SASDAW3"]["kratky.position"] > 2.0
    assert numbers["SASDAW3"]["kratky.plateau"] > 0.8
