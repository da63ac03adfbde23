"""Every text file of the collected formats: read as it should be, or refused with its reason."""

import math
from pathlib import Path

import numpy as np
import pytest

from gpusaxs.errors import ReadError
from gpusaxs.io import read
from gpusaxs.sample import CurveStatus

FORMATS = Path(__file__).parents[3] / "shared" / "data" / "formats"

pytestmark = pytest.mark.skipif(
    not FORMATS.is_dir(), reason="the measured data are not there: ../shared/data"
)

A, NM = "1/angstrom", "1/nm"
STATED, GUESS = "metadata", "guess"
USUAL = (0, 1, 2)
"""q, I, sigma."""
PAIR = (0, 1, None)
COLUMNS = "columns_guessed"

# File, format, columns of the table, points, unit of q, who says so, places of q, I and sigma, and
# a remark on the columns. Where the unit is a guess, the status says so as well.
READ = [
    ("raw/crysol.int", "text", 5, 51, A, GUESS, PAIR, ""),
    ("raw/crysol_new.fit", "text", 4, 474, A, GUESS, USUAL, ""),
    ("raw/csv.dat", "text", 3, 474, A, GUESS, USUAL, ""),
    ("raw/foxs.dat", "text", 3, 501, A, GUESS, USUAL, ""),
    ("raw/glucose_isomerase.dat", "text", 3, 474, A, GUESS, USUAL, ""),
    ("raw/glucose_isomerase.ift", "bift", 4, 474, A, GUESS, USUAL, ""),
    ("raw/glucose_isomerase.out", "gnom", 5, 474, A, GUESS, USUAL, ""),
    ("raw/lys_waxs.dat", "text", 3, 292, A, GUESS, USUAL, ""),
    ("raw/sans_data.dat", "text", 4, 117, A, STATED, USUAL, ""),
    ("raw/tab_2col.txt", "text", 2, 474, A, GUESS, PAIR, ""),
    ("sasdata/10wtAOT_Reline_120_reduced.pdh", "pdh", 3, 748, NM, STATED, USUAL, ""),
    ("sasdata/1_33_1640_22.874115.csv", "text", 3, 60, A, GUESS, USUAL, ""),
    ("sasdata/98929.txt", "text", 2, 140, A, GUESS, PAIR, ""),
    ("sasdata/APS_DND-CAT.TXT", "text", 4, 733, A, GUESS, USUAL, COLUMNS),
    ("sasdata/Alumina_usaxs.csv", "text", 3, 112, A, GUESS, USUAL, ""),
    ("sasdata/Anton-Paar.pdh", "pdh", 3, 673, NM, STATED, USUAL, ""),
    ("sasdata/ISIS_83404.TXT", "text", 3, 121, A, GUESS, USUAL, ""),
    ("sasdata/apoferritin.txt", "text", 4, 395, A, GUESS, USUAL, ""),
    ("sasdata/ascii_test_1.txt", "text", 6, 10, A, STATED, USUAL, ""),
    ("sasdata/avg_testdata.txt", "text", 3, 20, A, GUESS, USUAL, ""),
    ("sasdata/conalbumin.txt", "text", 4, 395, A, GUESS, USUAL, ""),
    ("sasdata/encoding_ANSI.txt", "text", 3, 969, A, STATED, USUAL, ""),
    ("sasdata/encoding_UTF_8.txt", "text", 3, 969, A, STATED, USUAL, ""),
    ("sasdata/jan08002.ABS", "text", 6, 127, A, STATED, USUAL, ""),
    ("sasdata/nans_in_1d_data.dat", "text", 3, 2421, A, STATED, USUAL, ""),
    ("sasdata/sam14_cor.ABS", "text", 6, 95, A, GUESS, USUAL, ""),
    ("sasdata/sam14_cor.txt", "text", 6, 95, A, GUESS, USUAL, ""),
    ("sasdata/saxess_example.pdh", "pdh", 3, 748, NM, STATED, USUAL, ""),
    ("sasdata/test_2_columns.txt", "text", 2, 9, NM, GUESS, PAIR, ""),
    ("sasdata/test_3_columns.txt", "text", 3, 7, A, GUESS, USUAL, ""),
    ("pdh/BeamProfile.pdh", "pdh", 3, 2084, NM, GUESS, USUAL, ""),
    ("pdh/buffer_averaged_corrected_despiked.pdh", "pdh", 3, 2057, NM, GUESS, USUAL, ""),
    ("pdh/emptybeam_averaged_corrected_despiked.pdh", "pdh", 3, 2057, NM, GUESS, USUAL, ""),
    ("pdh/emptycell_305mm_averaged_corrected_despiked.pdh", "pdh", 3, 2057, NM, GUESS, USUAL, ""),
    (
        "cansas_xml/ESRF_ID01_C14_ESRF_ID01_PINHOLE_4200mm_8keV2.txt",
        *("text", 3, 1101, A, STATED, USUAL, ""),
    ),
    (
        "cansas_xml/ESRF_ID01_C14_ESRF_ID01_PINHOLE_521mm_8keV2.txt",
        *("text", 3, 1085, A, STATED, USUAL, ""),
    ),
    ("cansas_xml/ESRF_ID02_C14_ESRF_ID02_USAXS.txt", "text", 3, 125, A, STATED, USUAL, ""),
    ("cansas_xml/ILL_Aug09_C4_D11_10A.txt", "text", 3, 114, A, GUESS, USUAL, ""),
    ("cansas_xml/ILL_Aug09_C4_D11_6A.txt", "text", 3, 114, A, GUESS, USUAL, ""),
    ("cansas_xml/ILL_Aug09_C4_D22_10A.txt", "text", 6, 197, A, GUESS, USUAL, COLUMNS),
    ("cansas_xml/ILL_Aug09_C4_D22_6A.txt", "text", 6, 197, A, GUESS, USUAL, COLUMNS),
    ("cansas_xml/ILL_Aug09_G9_D11_10A.txt", "text", 3, 114, A, GUESS, USUAL, ""),
    ("cansas_xml/ILL_Aug09_G9_D11_6A.txt", "text", 3, 114, A, GUESS, USUAL, ""),
    ("cansas_xml/ILL_Aug09_G9_D22_10A.txt", "text", 6, 197, A, GUESS, USUAL, COLUMNS),
    ("cansas_xml/ILL_Aug09_G9_D22_6A.txt", "text", 6, 197, A, GUESS, USUAL, COLUMNS),
]


REFUSED = [
    ("sasdata/FEB18012.ASC", "image of a detector"),
    ("sasdata/ascii_test_2.txt", "interrupted by the line 'some string"),
    ("sasdata/ascii_test_3.txt", "interrupted by the line '0.02879"),
    ("sasdata/ascii_test_4.abs", "interrupted by the line '103 "),
    ("sasdata/ascii_test_5.txt", "says that it has 6 columns"),
]

METADATA = {
    "raw/glucose_isomerase.dat": {"concentration": 0.47, "exposure": 1.0},
    "raw/lys_waxs.dat": {"exposure": 1.0},
    "raw/sans_data.dat": {"resolution": 0.048449696, "relative_resolution": 0.12679026},
    "sasdata/jan08002.ABS": {
        "title": "scatt 1m sam1",
        "transmission": 0.5667,
        "thickness": 2.0,
        "resolution": 0.0093742825,
        "relative_resolution": 0.12885543,
    },
    "sasdata/sam14_cor.ABS": {"title": "SAM14", "thickness": 1.0},
    "sasdata/apoferritin.txt": {
        "title": "Ferritin_SANS",
        "time": "2019-08-28T15:35:00",
        "resolution": 0.035490007,
        "relative_resolution": 0.050947339,
    },
    "sasdata/10wtAOT_Reline_120_reduced.pdh": {
        "title": "Reline 120 30C 2h background",
        "temperature": 30.0,
    },
    "pdh/buffer_averaged_corrected_despiked.pdh": {"exposure": 10.0},
    "../series/bsa/BSA_001_0000.dat": {"exposure": 2.0, "time": "2015-11-16T21:19:08"},
    "../background/stober_a/03289_H6-T2_EtOH_background_1_000.dat": {
        "sample": "EtOH_background_1",
        "exposure": 800.0,
        "time": "2024-10-11T17:54:52",
    },
    "../bragg/dmpc_SASDG82.dat": {
        "title": "DMPC_25_200",
        "sample": "DMPC_25_200",
        "concentration": 1.0,
        "exposure": 0.045,
        "time": "2018-07-09T03:02:18",
    },
    "../bragg/otab/OTAB_069wtp_T025.pdh": {"exposure": 15.0, "temperature": 24.9},
    "../plain/SASDAC2.dat": {"exposure": 15.0},
    "../bragg/lipid_cubic_2.csv": {},
}


def plain_rows(path: Path, columns: int, first: int, last: int | None) -> np.ndarray:
    """Rows of as many numbers, the first of which has a decimal point."""
    lines = path.read_text(encoding="latin-1").splitlines()[first:last]
    rows = []
    for line in lines:
        cells = line.replace(",", " ").split()
        try:
            numbers = [float(cell) for cell in cells]
        except ValueError:
            continue
        if len(numbers) == columns and "." in cells[0]:
            rows.append(numbers)
    return np.array(rows)


@pytest.mark.parametrize(
    ("name", "reader", "columns", "points", "unit", "unit_from", "places", "remark"), READ
)
def test_a_file_is_read_right(name, reader, columns, points, unit, unit_from, places, remark):
    (sample,) = read(FORMATS / name)
    assert sample.origin.format == reader
    assert (sample.origin.q_unit, sample.origin.q_unit_from) == (unit, unit_from)
    status = CurveStatus.parse(remark)
    assert sample.status == status | (
        CurveStatus.Q_UNIT_GUESSED if unit_from == GUESS else CurveStatus.OK
    )
    expected = plain_rows(FORMATS / name, columns, 0, None)
    assert len(expected) == len(sample.q) == points
    q, intensity, sigma = places
    factor = 10.0 if unit == A else 1.0
    assert np.array_equal(sample.q, factor * expected[:, q], equal_nan=True)
    assert np.array_equal(sample.intensity, expected[:, intensity], equal_nan=True)
    if sigma is None:
        assert sample.sigma is None
    else:
        assert np.array_equal(sample.sigma, expected[:, sigma], equal_nan=True)


def test_a_table_among_rubbish_is_the_longest_and_its_columns_are_a_guess():
    """Made by hand for SasView's tests: words and broken rows surround four good ones."""
    name = "sasdata/ascii_test_6.txt"
    (sample,) = read(FORMATS / name)
    first, last = 24, 28
    expected = plain_rows(FORMATS / name, 6, first, last)
    assert np.array_equal(sample.q, 10.0 * expected[:, 0])
    assert np.array_equal(sample.intensity, expected[:, 1])
    assert np.array_equal(sample.sigma, expected[:, 2])
    assert sample.status == CurveStatus.COLUMNS_GUESSED | CurveStatus.Q_UNIT_GUESSED


@pytest.mark.parametrize(("name", "reason"), REFUSED)
def test_a_file_without_a_whole_curve_is_refused_with_its_reason(name, reason):
    with pytest.raises(ReadError, match=reason):
        read(FORMATS / name)


@pytest.mark.parametrize("name", METADATA)
def test_what_a_file_says_beside_its_numbers_is_kept(name):
    (sample,) = read(FORMATS / name)
    assert dict(sample.origin.metadata) == pytest.approx(METADATA[name])


def test_every_text_file_is_in_one_of_the_tables():
    suffixes = (".dat", ".txt", ".csv", ".abs", ".asc", ".pdh", ".int", ".fit", ".ift", ".out")
    found = {
        path.relative_to(FORMATS).as_posix()
        for path in FORMATS.rglob("*")
        if path.suffix.lower() in suffixes
    }
    known = {row[0] for row in (*READ, *REFUSED)} | {"sasdata/ascii_test_6.txt"}
    # XML in disguise.
    assert found - {"sasdata/TestExtensions.asc"} == known


def test_first_and_last_rows_of_the_odd_formats_are_those_in_the_files():
    (out,) = read(FORMATS / "raw/glucose_isomerase.out", "1/nm")
    assert (out.q[-1], out.intensity[-1], out.sigma[-1]) == (0.282997, 0.645541e-03, 0.514118e-03)
    (ift,) = read(FORMATS / "raw/glucose_isomerase.ift", "1/nm")
    assert (ift.q[0], ift.intensity[0]) == (1.00967275e-02, 5.85325362e-02)
    assert ift.sigma[0] == 1.59855527e-03
    (abs_file,) = read(FORMATS / "sasdata/jan08002.ABS", "1/nm")
    assert (abs_file.q[-1], abs_file.intensity[-1], abs_file.sigma[-1]) == (0.5828, 0.2958, 1.0)
    (usans,) = read(FORMATS / "sasdata/sam14_cor.ABS", "1/nm")
    assert (usans.q[0], usans.intensity[0], usans.sigma[0]) == (2.97581e-05, 3155.39, 9147.36)
    (profile,) = read(FORMATS / "pdh/BeamProfile.pdh")
    assert math.isnan(profile.sigma[0])
