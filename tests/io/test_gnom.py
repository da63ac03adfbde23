"""GNOM's reports: the data are read, neither the fit to them nor P(r)."""

import numpy as np
import pytest

from gpusaxs.errors import ReadError
from gpusaxs.io import read
from gpusaxs.sample import CurveStatus

VERSION_5 = """
           ####      G N O M             Version 5.0 (r12593)      ####
                                               Mon Jul  6 17:04:35 2020

    Input  1:                      glucose_isomerase.dat
    Angular range:                       0.0101 to       0.2830


           ####      Experimental Data and Fit                     ####

      S          J EXP       ERROR       J REG       I REG

"""
VERSION_4 = """           ####    G N O M   ---   Version 4.6                       ####

                                               12-Aug-2011   10:00:00
           ===    Run No   1   ===
 Run title:   Untitled
   *******    Input file(s) : lyz.dat

      S          J EXP       ERROR       J REG       I REG

"""
PAIRS = "".join(f"   {0.001 * k:.6E}{'0.611794E-01':>60}\n" for k in range(8))
DATA = [(0.01 * k, 5.0 / k, 0.01 * k, 4.9, 4.9) for k in range(1, 6)]
ROWS = "".join("".join(f"{x:15.6E}" for x in row) + "\n" for row in DATA)
DISTANCES = """
           ####      Real Space Data                               ####

           Distance distribution  function of particle


      R          P(R)      ERROR

""" + "".join(f"  {0.5 * k:.4E}  0.2316E-06  0.7291E-07\n" for k in range(40))


def read_out(tmp_path, text, name="a.out"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read(path)


@pytest.mark.parametrize("header", [VERSION_5, VERSION_4])
@pytest.mark.parametrize("pairs", [PAIRS, ""])
def test_the_data_are_read_where_the_fit_and_the_distances_are_longer(tmp_path, header, pairs):
    (sample,) = read_out(tmp_path, header + pairs + ROWS + DISTANCES, "report.txt")
    expected = np.array(DATA)
    assert np.allclose(sample.q, 10.0 * expected[:, 0])
    assert np.allclose(sample.intensity, expected[:, 1])
    assert np.allclose(sample.sigma, expected[:, 2])
    assert sample.origin.format == "gnom"
    assert sample.status == CurveStatus.Q_UNIT_GUESSED


def test_a_number_that_gnom_could_not_print_becomes_nan(tmp_path):
    rows = ROWS.replace("5.000000E+00", "************")
    (sample,) = read_out(tmp_path, VERSION_5 + rows + DISTANCES)
    assert np.isnan(sample.intensity[0])
    assert len(sample.q) == len(DATA)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (VERSION_5 + PAIRS + DISTANCES, "with a fit alone"),
        (VERSION_5.rsplit("\n", 3)[0], "without its table of data"),
        ((VERSION_4 + ROWS + DISTANCES) * 2, "2 reports of GNOM"),
    ],
)
def test_a_report_without_one_table_of_data_is_refused(tmp_path, text, reason):
    with pytest.raises(ReadError, match=reason):
        read_out(tmp_path, text)
