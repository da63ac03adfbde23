"""The preset `classic` against the older program's recipe: its numbers, and pass by pass."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import classic_recipe
import numpy as np
import pytest
from gpusaxs.kernels import peak_table as table

import gpusaxs
from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.io import discover, read
from gpusaxs.pipeline import Pipeline
from gpusaxs.repair import repair
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import CurveStatus, FitStatus, Sample
from gpusaxs.simulate import simulate
from gpusaxs.stages.classic_peak import ClassicPeak

PAGE = (Path(__file__).parents[1] / "docs" / "classic.md").read_text("utf-8")
FWHM = 2.0 * np.sqrt(np.log(2.0))
CUBIC = "bragg/lipid_cubic_2.csv"
FIRST_PEAKS = [5, 192, 241, 289, 317]
# Heights that the recipe's thresholds are made for.
TOP = 30.0
COUNTS = (10.0, 200.0, 2000.0, 20000.0)


class Curve(NamedTuple):
    """q in 1/angstrom."""

    name: str
    q: np.ndarray
    intensity: np.ndarray
    sigma: np.ndarray


def processed(curves, settings=()):
    """Samples from the preset; q is given in 1/nm."""
    pipeline = Pipeline.load("classic").with_settings(settings)
    samples = [Sample(c.name, 10.0 * c.q, c.intensity, c.sigma) for c in curves]
    return Runtime("numpy", 1, pipeline).run(samples)


def indices(sample):
    """Points of the cut curve at which peaks were found, in the order of the passes."""
    return [peak.index - classic_recipe.CUT for peak in sample.metadata.processed_peaks]


@pytest.fixture(scope="module")
def cubic(measured):
    """The lipid curve as the older program reads it: without the first row, NaN and all."""
    rows = np.genfromtxt(measured / CUBIC, delimiter=",", skip_header=1)
    assert rows.shape == (499, 3)
    return Curve("cubic", *rows.T)


def test_the_recipe_gives_the_numbers_that_are_known_of_it(cubic):
    q, reduced, sigma, (a, b) = classic_recipe.reduced_curve(*cubic[1:])
    assert classic_recipe.found(reduced).tolist() == FIRST_PEAKS
    assert (f"{a:.4f}", f"{b:.4f}") == ("0.5557", "0.4049")
    passes = list(classic_recipe.passes(q, reduced, sigma))
    assert len(passes) == 11
    first = passes[0]
    assert [f"{x:.4g}" for x in (q[first.index], first.s, first.height)] == [
        "0.06181", "0.003151", "9.928",
    ]  # fmt: skip


def test_the_preset_gives_the_same_numbers_from_the_file(measured):
    path = measured / CUBIC
    [sample] = Runtime("numpy", 1, Pipeline.load("classic")).run(read(path, q_unit="1/angstrom"))
    peaks = sample.metadata.processed_peaks
    assert len(peaks) == 11
    assert indices(sample)[0] == 241
    first = peaks[0]
    assert [f"{x:.4g}" for x in (first.q / 10.0, first.fwhm / (10.0 * FWHM), first.height)] == [
        "0.06181", "0.003151", "9.928",
    ]  # fmt: skip
    # b q^-a in 1/nm: a is the same, b 10^a times what it is in 1/angstrom.
    slope, level = np.polyfit(np.log(sample.q), np.log(sample.background / 0.7), 1)
    factor = np.exp(level) * 10.0**slope
    assert (f"{-slope:.4f}", f"{factor:.4f}") == ("0.5557", "0.4049")
    assert not sample.metadata.unprocessed_peaks


def test_the_preset_gives_the_same_numbers_from_arrays(measured):
    rows = np.genfromtxt(measured / CUBIC, delimiter=",")
    result = gpusaxs.process(*rows.T, q_unit="1/angstrom", pipeline="classic")
    peaks = result.peaks.to_pydict()
    assert len(peaks["q"]) == 11
    assert f"{peaks['q'][0] / 10.0:.4g}" == "0.06181"
    assert f"{peaks['fwhm'][0] / (10.0 * FWHM):.4g}" == "0.003151"
    assert f"{peaks['height'][0]:.4g}" == "9.928"
    assert peaks["q_sigma"] == [None] * 11 or np.isnan(peaks["q_sigma"]).all()


def test_the_page_shows_the_passes_as_they_are(measured):
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")][:5]
        for line in PAGE.splitlines()
        if re.match(r"\| \d+ \|", line)
    ]
    [sample] = Runtime("numpy", 1, Pipeline.load("classic")).run(
        read(measured / CUBIC, q_unit="1/angstrom")
    )
    peaks = sample.metadata.processed_peaks
    assert rows == [
        [f"{number}", f"{k}", f"{peak.q:.4f}", f"{peak.fwhm:.3f}", f"{peak.height:.2f}"]
        for number, (k, peak) in enumerate(zip(indices(sample), peaks, strict=True), 1)
    ]
    assert sample.phases[0].phase == "Ia-3d"
    assert f"{sample.phases[0].lattice:.1f} nm" in PAGE


def test_the_first_search_finds_the_peaks_that_are_known(measured):
    pipeline = Pipeline.load("classic")
    none = Pipeline.of(pipeline.stages, insertion={"classic_peak": {"policy": "never"}})
    [sample] = Runtime("numpy", 1, none).run(read(measured / CUBIC, q_unit="1/angstrom"))
    found = [peak.index - classic_recipe.CUT for peak in sample.metadata.unprocessed_peaks]
    assert sorted(found) == FIRST_PEAKS


@pytest.fixture(scope="module")
def measured_curves(measured):
    """Every kind of measured curve that has a sigma of its own."""
    sources = discover([measured / "bragg", measured / "plain"])
    few = [s for s in sources if "otab" not in s.id] + [s for s in sources if "otab" in s.id][::6]
    curves = []
    for source in few:
        for sample in read(source):
            if sample.sigma is None or not (sample.sigma > 0).all():
                continue
            q, intensity, sigma, _ = repair(sample.q, sample.intensity, sample.sigma)
            curves.append(Curve(source.id, q / 10.0, intensity, sigma))
    return curves


@pytest.fixture(scope="module")
def simulated_curves():
    """Bragg curves of all exposures, scaled to the heights that the recipe was made for."""
    curves = []
    for counts in COUNTS:
        drawn = simulate(5, seed=51001, counts=counts)
        for i, (intensity, sigma) in enumerate(zip(drawn.intensity, drawn.sigma, strict=True)):
            scale = TOP / intensity[classic_recipe.CUT :].max()
            name = f"{counts} {i}"
            curves.append(Curve(name, drawn.q / 10.0, scale * intensity, scale * sigma))
    return curves


def fitted_alone(q, sigma, passes):
    """Fit the peak of every pass of the recipe, each in the curve that the recipe has before it."""
    ids = [str(number) for number in range(len(passes))]
    before = np.array([one.before for one in passes])
    batch = SampleBatch.from_arrays(
        ids, 10.0 * q, before, np.tile(sigma, (len(passes), 1)), NumpyBackend(1)
    )
    batch.candidates[:, 0, table.INDEX] = [one.index for one in passes]
    batch.n_candidates[:] = 1
    rows = np.arange(len(passes))
    [(asked, left)] = ClassicPeak().launch(batch, rows).items()
    assert (asked, left.tolist()) == ("find_peak", rows.tolist())
    lines = batch.peaks[:, 0]
    return lines[:, table.FWHM] / (10.0 * FWHM), lines[:, table.HEIGHT], batch.search


@pytest.mark.parametrize("curves", ["measured_curves", "simulated_curves"])
def test_every_pass_is_that_of_the_recipe(curves, request):
    curves = request.getfixturevalue(curves)
    number = 0
    for curve, sample in zip(curves, processed(curves), strict=True):
        q, reduced, sigma, _ = classic_recipe.reduced_curve(*curve[1:])
        passes = list(classic_recipe.passes(q, reduced, sigma))
        number += len(passes)
        assert indices(sample) == [one.index for one in passes], curve.name
        phase = classic_recipe.phase_of([q[one.index] for one in passes])
        assert (sample.phases[0].phase if sample.phases else None) == phase, curve.name
        if not passes:
            continue
        s, height, after = fitted_alone(q, sigma, passes)
        # A window of three points or fewer is met exactly, by searches that see nothing of the
        # last digits of s.
        step = np.diff(q).min()
        tight = np.array([one.parabola_s > 3.0 * step for one in passes])
        expected = np.array([one.s for one in passes])
        np.testing.assert_array_less(abs(s / expected - 1.0), np.where(tight, 1e-4, 1e-3))
        np.testing.assert_allclose(height, [one.height for one in passes], rtol=1e-4)
        for mine, one in zip(after, passes, strict=True):
            np.testing.assert_allclose(mine, one.after, atol=3e-4 * one.height)
    assert number > 4 * len(curves)


def test_a_unit_of_q_changes_nothing(measured):
    rows = np.genfromtxt(measured / CUBIC, delimiter=",")
    angstrom = gpusaxs.process(*rows.T, q_unit="1/angstrom", pipeline="classic").peaks
    nm = gpusaxs.process(
        10.0 * rows[:, 0], rows[:, 1], rows[:, 2], q_unit="1/nm", pipeline="classic"
    ).peaks
    assert angstrom["index"].equals(nm["index"])
    np.testing.assert_allclose(angstrom["height"], nm["height"], rtol=1e-9)


def test_a_curve_without_sigma_is_fitted_with_the_noise_that_it_shows(simulated_curves):
    curve = simulated_curves[-1]._replace(sigma=None)
    [sample] = processed([curve])
    assert sample.status & CurveStatus.SIGMA_ESTIMATED
    assert len(sample.metadata.processed_peaks) > 3


def test_sigma_is_not_touched(simulated_curves):
    for curve, sample in zip(simulated_curves, processed(simulated_curves), strict=True):
        np.testing.assert_array_equal(sample.sigma, curve.sigma[classic_recipe.CUT :])


def test_a_fit_that_fails_ends_the_search_of_its_curve_alone(simulated_curves):
    curve = simulated_curves[-1]
    spike = curve.intensity.copy()
    # The top of a parabola that is narrower than the grid.
    spike[298:302] = 30.0 * spike.max() * (1.0 - np.array([-2.0, -1.0, 0.0, 1.0]) ** 2 / 0.6**2)
    failing = curve._replace(name="spike", intensity=spike)
    settings = ["filter.window=1", "background.mode=none"]
    alone, other = processed([failing, curve], settings)
    [peak] = alone.metadata.processed_peaks
    assert peak.status is FitStatus.TOO_FEW_POINTS
    assert len(other.metadata.processed_peaks) > 3


def test_a_batch_gives_the_bits_of_each_curve_alone(simulated_curves):
    together = processed(simulated_curves)
    for curve, one in zip(simulated_curves[::3], together[::3], strict=True):
        [alone] = processed([curve])
        assert repr(alone.metadata.processed_peaks) == repr(one.metadata.processed_peaks)
        assert repr(alone.phases) == repr(one.phases)
        np.testing.assert_array_equal(alone.intensity, one.intensity)


def test_the_order_of_stages_is_the_recipes():
    names = list(Pipeline.load("classic").numbers)
    assert names == [
        "cut", "noise", "filter", "background", "find_peak", "classic_peak", "classic_phase",
    ]  # fmt: skip
