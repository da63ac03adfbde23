"""The older program's comparison of ratios against the same written with NumPy."""

from __future__ import annotations

import classic_recipe
import numpy as np
import pytest
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import status as codes
from pydantic import ValidationError

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.sample import Verdict
from gpusaxs.stages.classic_phase import ClassicPhase


def named(*curves, statuses=None):
    """Samples whose peaks lie at the positions given for each."""
    q = np.linspace(0.1, 3.0, 50)
    intensity = np.tile(1.0 + q, (len(curves), 1))
    ids = [str(i) for i in range(len(curves))]
    batch = SampleBatch.from_arrays(ids, q, intensity, intensity, NumpyBackend(1))
    batch.peaks[:, :, [table.INDEX, table.REMARKS]] = 5.0, 0.0
    for row, positions in enumerate(curves):
        batch.n_peaks[row] = len(positions)
        batch.peaks[row, : len(positions), table.Q] = positions
        batch.peaks[row, : len(positions), table.STATUS] = (
            codes.FIT_CONVERGED if statuses is None else statuses
        )
    ClassicPhase().launch(batch, np.arange(len(curves)))
    return batch.to_samples()


def test_the_phase_is_that_of_the_recipe():
    rng = np.random.default_rng(51020)
    curves = [rng.uniform(0.2, 2.0, rng.integers(0, 30)) for _ in range(300)]
    samples = named(*curves)
    for positions, sample in zip(curves, samples, strict=True):
        phase = sample.phases[0].phase if sample.phases else None
        assert phase == classic_recipe.phase_of(list(positions))
    assert {s.phases[0].phase for s in samples if s.phases} == {
        "Pn-3m", "Im-3m", "Ia-3d", "lamellar",
    }  # fmt: skip


@pytest.mark.parametrize("name", classic_recipe.RATIOS)
def test_a_lattice_without_a_missing_line_is_named_with_its_parameter(name):
    lattice = 12.5
    lines = 2.0 * np.pi * np.sqrt(classic_recipe.RATIOS[name][:6]) / lattice
    rng = np.random.default_rng(1)
    [sample] = named(rng.permutation(lines))
    assert sample.verdict is Verdict.IDENTIFIED
    [match] = sample.phases
    assert match.phase == name
    assert match.lattice == pytest.approx(lattice)
    assert match.matched == tuple(classic_recipe.RATIOS[name][:6])
    assert match.missing == ()
    assert np.isnan(match.lattice_sigma)
    assert np.isnan(sample.margin)


def test_the_score_is_the_sum_over_the_ratios():
    positions = [0.5, 0.9, 0.62]
    [sample] = named(positions)
    squares = np.sqrt(classic_recipe.RATIOS[sample.phases[0].phase])
    distances = np.abs(squares[1:3] / squares[0] - np.array([0.62, 0.9]) / 0.5)
    assert sample.phases[0].score == pytest.approx((1.0 / distances).sum())


def test_an_exact_ratio_is_no_division_by_zero():
    [sample] = named([0.5, 0.6, 0.8, 1.0])
    assert sample.phases[0].phase == "Im-3m"
    assert np.isfinite(sample.phases[0].score)
    assert sample.phases[0].score > 1e15


def test_one_peak_is_lamellar_and_none_is_no_phase():
    one, none = named([0.8], [])
    assert (one.verdict, one.phases[0].phase) == (Verdict.IDENTIFIED, "lamellar")
    assert one.phases[0].lattice == pytest.approx(2.0 * np.pi / 0.8)
    assert np.isnan(one.phases[0].score)
    assert (none.verdict, none.phases) == (Verdict.NONE, ())


def test_a_peak_whose_fit_failed_is_no_line():
    statuses = [codes.FIT_CONVERGED, codes.FIT_TOO_FEW_POINTS]
    [sample] = named([0.8, 0.4], statuses=statuses)
    assert sample.phases[0].phase == "lamellar"
    assert [peak.bragg for peak in sample.metadata.processed_peaks] == [True, False]


@pytest.mark.parametrize("names", [(), ("lamellar",), ("Im-3m", "gyroid"), ("tetragonal",)])
def test_phases_that_cannot_be_compared_are_refused(names):
    with pytest.raises(ValidationError, match=r"expected phases out of hexagonal, square"):
        ClassicPhase(phases=names)
