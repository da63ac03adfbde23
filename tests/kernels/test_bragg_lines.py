"""Lobes of a form factor told from the lines of a lattice."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels import bragg_lines as bragg
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import status as codes

from gpusaxs.phases import PHASE_BY_NAME
from gpusaxs.stages.phase import Phase

LIMITS = Phase()._tables[-1]
Q = np.linspace(0.05, 3.0, 500)


def peaks_at(centres, fwhm, height=10.0):
    peaks = np.zeros((len(centres), table.PEAK_COLUMNS))
    peaks[:, table.Q] = centres
    peaks[:, table.Q_SIGMA] = 1e-3
    peaks[:, table.FWHM] = fwhm
    peaks[:, table.HEIGHT] = height
    peaks[:, table.HEIGHT_SIGMA] = 0.1
    peaks[:, table.REDUCED_CHI2] = 1.0
    peaks[:, table.STATUS] = codes.FIT_CONVERGED
    return peaks


def kinds(peaks, windows=((np.nan, np.nan),)):
    windows = np.array(windows)
    bragg.mark_bragg(peaks, len(peaks), Q, np.ones(Q.size), np.ones(Q.size), windows, LIMITS)
    return peaks[:, table.BRAGG].astype(int).tolist()


@pytest.mark.parametrize("first", [3, 4, 6])
def test_three_lobes_in_a_row_are_no_lines(first):
    lobes = 0.2 * np.arange(first, first + 3)
    assert codes.LINE_BRAGG not in kinds(peaks_at(lobes, 0.09))


def test_what_is_as_broad_as_a_lobe_beside_it_is_no_line_and_what_is_narrow_is_one():
    peaks = peaks_at([0.8, 1.0, 1.2, 1.7, 1.9], [0.09, 0.09, 0.09, 0.07, 0.04])
    assert kinds(peaks)[3:] == [codes.LINE_LOBE, codes.LINE_BRAGG]


def test_a_spike_between_lobes_does_not_hide_that_they_are_in_a_row():
    peaks = peaks_at([0.8, 0.9, 1.0, 1.2], [0.09, 0.004, 0.09, 0.09])
    kinds(peaks)
    assert peaks[0, table.BRAGG] == codes.LINE_LOBE


def lobes_of_spheres():
    """Falling, of one width; the first is too broad over its q for a line, some were not found."""
    peaks = peaks_at([0.28, 0.61, 0.94, 1.27], [0.08, 0.08, 0.09, 0.07])
    peaks[:, table.HEIGHT] = [1000.0, 100.0, 20.0, 10.0]
    return peaks


def test_what_follows_a_higher_peak_too_broad_for_a_line_but_of_its_width_is_a_lobe():
    assert kinds(lobes_of_spheres()) == [codes.LINE_BROAD, *[codes.LINE_LOBE] * 3]


@pytest.mark.parametrize(
    ("column", "value"),
    [(table.HEIGHT, 90.0), (table.FWHM, 0.2), (table.HEIGHT_SIGMA, 1e3)],
    ids=["lower", "far broader", "not significant"],
)
def test_lines_above_a_hump_that_is_no_lobe_stay_lines(column, value):
    peaks = lobes_of_spheres()
    peaks[0, column] = value
    assert kinds(peaks)[1:] == [codes.LINE_BRAGG] * 3


def test_lines_far_above_a_lobe_stay_lines():
    peaks = lobes_of_spheres()
    peaks[1:, table.Q] += 1.0
    assert kinds(peaks)[1:] == [codes.LINE_BRAGG] * 3


def test_evenly_spaced_lines_beside_a_hump_stay_lines():
    centres = PHASE_BY_NAME["HCP"].q(14.0)
    peaks = peaks_at([0.6, *centres], [0.3, *[0.03 * centres[0]] * centres.size])
    assert kinds(peaks)[1:] == [codes.LINE_BRAGG] * centres.size


@pytest.mark.parametrize("phase", ["lamellar", "hexagonal", "HCP", "Pn-3m", "Im-3m", "Fm-3m"])
def test_lines_of_a_lattice_as_broad_as_lines_are_stay_lines(phase):
    centres = PHASE_BY_NAME[phase].q(14.0)[:6]
    assert set(kinds(peaks_at(centres, 0.03 * centres[0]))) == {codes.LINE_BRAGG}


def test_a_line_of_the_instrument_is_none_and_makes_no_satellites():
    peaks = peaks_at([0.5, 0.8, 1.6], 0.02)
    peaks[1, table.HEIGHT] = 1e4
    assert kinds(peaks)[0] == codes.LINE_SATELLITE
    assert kinds(peaks, [[0.7, 0.9], [2.0, 2.1]]) == [
        codes.LINE_BRAGG,
        codes.LINE_INSTRUMENT,
        codes.LINE_BRAGG,
    ]
