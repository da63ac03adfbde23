"""The comparison with other tools runs, and says what it should: small sizes of it."""

import warnings

import numpy as np
import pytest

from benchmarks import ratio_script, rivals, rivals_baselines, rivals_fits, rivals_naming
from gpusaxs.phases import PHASE_BY_NAME

DRAWN = 12


@pytest.fixture(scope="module")
def groups():
    return rivals_naming.simulated_groups(DRAWN)[-2:]


@pytest.fixture(scope="module")
def report(groups):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return rivals.measure(groups, DRAWN, fits=30, baselines=8)


def of(report, tool):
    return [score for score in report.naming if score.tool == tool]


def test_every_tool_answers_every_curve(report, groups):
    assert len(report.naming) == 3 * len(groups)
    for score in report.naming:
        assert score.right + score.off + score.wrong + score.unnamed == score.curves > 5
        assert score.milliseconds > 0.0


def test_gpusaxs_names_more_curves_rightly_and_fewer_wrongly(report):
    script, classic, standard = (
        of(report, tool) for tool in ("SciPy and ratios", "classic", "standard")
    )
    for mine, other, old in zip(standard, script, classic, strict=True):
        assert mine.right >= other.right
        assert mine.right > old.right
        assert mine.wrong <= min(other.wrong, old.wrong)


def test_fits_are_those_of_lmfit(report):
    assert report.fits.peaks > 25
    assert max(report.fits.values.values()) < 0.01
    assert max(report.fits.uncertainties.values()) < 0.01
    assert report.fits.ours < report.fits.theirs


def test_baselines_of_gpusaxs_come_as_near_as_those_of_pybaselines(report):
    errors = {score.tool: score for score in report.baselines}
    own, other = errors["gpusaxs, snip"], errors["pybaselines, snip"]
    assert own.under_lines < 1.2 * other.under_lines
    assert own.microseconds < other.microseconds


def test_the_page_has_every_number(report):
    page = rivals.markdown(report)
    assert page.count("standard") > 2
    for score in report.baselines:
        assert score.tool in page
    assert "nan" not in page


def test_the_script_names_a_lattice_that_it_sees():
    phase = PHASE_BY_NAME["Ia-3d"]
    answer = ratio_script.phase_of(phase.q(12.0)[:5])
    assert answer.phase == "Ia-3d"
    assert answer.lattice == pytest.approx(12.0)
    assert ratio_script.phase_of(np.array([0.5, 0.61])).phase is None


def test_the_drawn_peaks_and_curves_depend_on_the_seed_alone():
    one, same = rivals_fits.single_peaks(3), rivals_fits.single_peaks(3)
    np.testing.assert_array_equal(one.intensity, same.intensity)
    for a, b in zip(
        rivals_baselines.drawn_curves(2), rivals_baselines.drawn_curves(3), strict=False
    ):
        np.testing.assert_array_equal(a.intensity, b.intensity)
