"""The measured curves against a reading that shares no code with the readers."""

import csv
import tarfile
from pathlib import Path

import numpy as np
import pytest

from gpusaxs.io import discover, read
from gpusaxs.sample import CurveStatus

DATA = Path(__file__).parents[3] / "shared" / "data"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the measured data are not there: ../shared/data"
)

POINTS = {
    "bragg/agbh_pilatus1m.dat": 1747,
    "bragg/cholesteryl_palmitate.pdh": 1114,
    "bragg/dmpc_SASDG82.dat": 2632,
    "bragg/dppc_mlv.dat": 602,
    "bragg/lipid_cubic_2.csv": 500,
    "plain/SASDAC2.dat": 2168,
    "plain/SASDAH2.dat": 2168,
    "plain/SASDAJ6.dat": 775,
    "plain/SASDAQ2.dat": 2168,
    "plain/SASDAW3.dat": 2104,
    "plain/dmpc_SASDG72.dat": 2629,
}


def plain_reading(path: Path) -> np.ndarray:
    """Rows of three numbers, line by line, without those of a .pdh header."""
    lines = path.read_text(encoding="latin-1").replace(",", " ").splitlines()
    rows = []
    for line in lines[5:] if path.suffix == ".pdh" else lines:
        cells = line.split()
        try:
            numbers = [float(cell) for cell in cells]
        except ValueError:
            continue
        if len(numbers) == 3:
            rows.append(numbers)
    return np.array(rows)


def text_and_pdh_files() -> list[str]:
    folders = ("bragg", "plain", "series", "background")
    found = [path for folder in folders for path in (DATA / folder).rglob("*")]
    wanted = (".dat", ".pdh", ".csv")
    return sorted(path.relative_to(DATA).as_posix() for path in found if path.suffix in wanted)


@pytest.mark.parametrize("name", text_and_pdh_files())
def test_a_measured_file_gives_the_numbers_of_a_plain_reading(name):
    (sample,) = read(DATA / name)
    expected = plain_reading(DATA / name)
    factor = 10.0 if sample.origin.q_unit == "1/angstrom" else 1.0
    assert len(expected) == POINTS.get(name, len(sample.q))
    assert np.array_equal(sample.q, expected[:, 0] * factor, equal_nan=True)
    assert np.array_equal(sample.intensity, expected[:, 1], equal_nan=True)
    assert np.array_equal(sample.sigma, expected[:, 2], equal_nan=True)


def test_units_are_those_of_the_truth_table():
    with (DATA / "truth.csv").open(encoding="utf-8") as file:
        units = {row["file"]: row["q_unit"].split()[0] for row in csv.DictReader(file)}
    read_units = {name: read(DATA / name)[0].origin.q_unit for name in units}
    assert len(units) == 82
    assert read_units == units


def test_units_stated_in_a_file_are_not_guessed():
    stated = {"1/nm": ["bragg/dmpc_SASDG82.dat", "bragg/otab/OTAB_069wtp_T025.pdh"]}
    stated["1/angstrom"] = ["bragg/agbh_pilatus1m.dat"]
    stated["1/angstrom"] += [p for p in text_and_pdh_files() if p.startswith("background")]
    for unit, names in stated.items():
        for name in names:
            (sample,) = read(DATA / name)
            assert (sample.origin.q_unit, sample.origin.q_unit_from) == (unit, "metadata"), name
    (lipid,) = read(DATA / "bragg/lipid_cubic_2.csv")
    assert lipid.origin.q_unit_from == "guess"
    assert lipid.status == CurveStatus.Q_UNIT_GUESSED


def test_first_and_last_rows_are_those_in_the_files():
    (lipid,) = read(DATA / "bragg/lipid_cubic_2.csv")
    assert lipid.q[[0, -1]] == pytest.approx([0.050184, 1.9572])
    assert lipid.intensity[[0, -1]].tolist() == [10.781, 0.69455]
    assert np.isnan(lipid.intensity[7])
    (otab,) = read(DATA / "bragg/otab/OTAB_069wtp_T025.pdh")
    assert (len(otab.q), otab.q[-1]) == (1100, 7.501573)
    assert (otab.intensity[-1], otab.sigma[-1]) == (1.024460e-08, 1.338274e-03)
    (dppc,) = read(DATA / "bragg/dppc_mlv.dat")
    assert dppc.q[[0, -1]].tolist() == [0.043810500, 2.287800]


def test_negative_q_is_passed_on():
    (sample,) = read(DATA / "formats/pdh/buffer_averaged_corrected_despiked.pdh")
    assert (len(sample.q), sample.q[0]) == (2057, -0.1069281)


@pytest.mark.parametrize(
    ("name", "points", "sigma"),
    [
        ("raw/tab_2col.txt", 474, False),
        ("raw/csv.dat", 474, True),
        ("raw/foxs.dat", 501, True),
        ("raw/sans_data.dat", 117, True),
        ("raw/crysol_new.fit", 474, True),
        ("sasdata/ISIS_83404.TXT", 121, True),
        ("sasdata/encoding_ANSI.txt", 969, True),
        ("sasdata/encoding_UTF_8.txt", 969, True),
        ("sasdata/nans_in_1d_data.dat", 2421, True),
        ("sasdata/jan08002.ABS", 127, True),
        ("sasdata/98929.txt", 140, False),
        ("sasdata/1_33_1640_22.874115.csv", 60, True),
        ("cansas_xml/ILL_Aug09_C4_D11_10A.txt", 114, True),
        ("cansas_xml/ESRF_ID02_C14_ESRF_ID02_USAXS.txt", 125, True),
        ("pdh/BeamProfile.pdh", 2084, True),
        ("sasdata/Anton-Paar.pdh", 673, True),
    ],
)
def test_text_of_other_programs_is_read(name, points, sigma):
    (sample,) = read(DATA / "formats" / name)
    assert len(sample.q) == points
    assert (sample.sigma is not None) == sigma


def test_every_id_of_the_data_is_unique_and_begins_with_the_folder():
    sources = discover([DATA / "bragg"])
    assert len({source.id for source in sources}) == len(sources) == 50
    assert sources[-1].id == "bragg/otab/OTAB_090wtp_T044.pdh"
    assert all(source.id.startswith("bragg/") for source in sources)


def test_an_archive_of_frames_is_read_once_unpacked(tmp_path):
    with tarfile.open(DATA / "series" / "sec_saxs_242_frames.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    frames = [read(source)[0] for source in discover([str(tmp_path / "**" / "*.dat")])]
    assert len(frames) == 242
    assert {len(frame.q) for frame in frames} == {1028}
    assert {frame.origin.q_unit for frame in frames} == {"1/angstrom"}
