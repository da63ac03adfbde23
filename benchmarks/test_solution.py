"""Guinier fits by gpusaxs and by freesas: the same answers, in less time."""

import numpy as np
import pytest
from freesas.autorg import autoRg

import gpusaxs
from benchmarks.solution import STAGES, globules, ours, theirs


@pytest.mark.filterwarnings("ignore")
def test_gpusaxs_finds_the_rg_that_freesas_finds():
    q, intensity, sigma = globules(20)
    result = gpusaxs.process(q, intensity, sigma, q_unit="1/nm", pipeline="solution", workers=1)
    mine = result.samples["guinier.rg"].to_numpy()
    other = [autoRg(np.column_stack([q, *both])).Rg for both in zip(intensity, sigma, strict=True)]
    assert np.isfinite(mine).all()
    np.testing.assert_allclose(mine, other, rtol=0.02)


@pytest.mark.filterwarnings("ignore")
def test_a_guinier_fit_takes_less_time_than_in_freesas():
    spent = ours(200, rounds=2)
    assert {*STAGES, "tables", "tables with numbers"} <= set(spent)
    assert spent["guinier"] < theirs(5, rounds=2)["autoRg"]
