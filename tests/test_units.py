import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpusaxs.io import discover, read
from gpusaxs.units import (
    LARGEST_Q_IN_INVERSE_ANGSTROM,
    TO_INVERSE_NM,
    find_q_unit,
    guess_q_unit,
    parse_q_unit,
    resolve_q_unit,
)

DATA = Path(__file__).parents[2] / "shared" / "data"

INVERSE_NM = [
    "1/nm", "1 / nm", "nm-1", "nm^-1", "nm^{-1}", "nm**-1", "nm⁻¹", "nm−1", "NM^-1", "n_m^-1",
    "q_nm^-1", "q(nm^-1)", "Q [1/nm]", "q / nm^-1", "1/nanometer", "nanometre^-1", "inverse nm",
    r"$\mathrm{nm}^{-1}$", "(1/nm)", "reciprocal nanometers", "nm^(-1)", "per nm",
]  # fmt: skip
INVERSE_ANGSTROM = [
    "1/A", "A^-1", "A-1", "a^-1", "1/angstrom", "1/Angstroms", "angstrom^-1", "Å⁻¹", "Å^-1",
    "1/Å", "1/Å", "1/Å", "1/ang", "Å−1", "q_A^-1", "q (Å⁻¹)", "q(1/A)", r"$\AA^{-1}$",
    "1/Ångström", "1/AA", "inverse angstroms", "per angstrom", "1/Angstroem", "1/Ang.",
]  # fmt: skip
INVERSE_M = ["1/m", "m^-1", "m-1", "m⁻¹", "1/meter", "per metre", "q_m^-1"]
NO_UNIT = [
    "", "nm", "A", "angstrom", "m", "1/cm", "1/mm", "mm^-1", "1/um", "µm^-1", "1/pm",
    "degrees", "2th_deg", "counts", "1/nm^2", "nm^-2", "1/nmx", "q", "arb. units", "1/A2",
]  # fmt: skip


@pytest.mark.parametrize("text", INVERSE_NM)
def test_spellings_of_inverse_nanometres_are_understood(text):
    assert parse_q_unit(text) == "1/nm"


@pytest.mark.parametrize("text", INVERSE_ANGSTROM)
def test_spellings_of_inverse_angstroms_are_understood(text):
    assert parse_q_unit(text) == "1/angstrom"


@pytest.mark.parametrize("text", INVERSE_M)
def test_spellings_of_inverse_metres_are_understood(text):
    assert parse_q_unit(text) == "1/m"


@pytest.mark.parametrize("text", NO_UNIT)
def test_other_units_are_not_taken_for_one_of_q(text):
    assert parse_q_unit(text) is None


@pytest.mark.parametrize("name", TO_INVERSE_NM)
def test_the_names_of_units_spell_themselves(name):
    assert parse_q_unit(name) == name


@pytest.mark.parametrize(
    ("header", "unit"),
    [
        ("# q(1/A) I err ; silver behenate", "1/angstrom"),
        ("# q_nm^-1    I    sigma", "1/nm"),
        ("q Å-1\t\tI(q) cm-1\tSig cm-1", "1/angstrom"),
        ("The 6 columns are | Q (1/A) | I(Q) (1/cm) |", "1/angstrom"),
        ("#q*Aangstroem\tC14*cm*sr", "1/angstrom"),
        ("angular-unit: nanometer", "1/nm"),
        ("sample.tif\nQ (Inverse nanometers)\nIntensity (Arbitrary Units)\n 1000", "1/nm"),
        ("scattering vector [nm-1], intensity", "1/nm"),
        ("momentum_transfer (1/A)", "1/angstrom"),
        ('"q_unit": "1/nm"'.replace('"', " "), "1/nm"),
        ("momentum transfer [1/Å]", "1/angstrom"),
        ("#Q[A^-1] I", "1/angstrom"),
        ("q_m^-1 I", "1/m"),
        ("q [m-1], I", "1/m"),
        ("Sq(1/A)", None),
        ("angular_units = angstrom", "1/angstrom"),
        ("# --> /data/run_q_nm^-1.dat", None),
        ("/data/q_A^-1/run.dat\n#q_nm^-1  I", "1/nm"),
        (r"C:\data\q_nm^-1.txt", None),
        ("q I(q) 1/cm", None),
        ("wavelength 1.5 A, thickness 1 nm", None),
        ("freq 1/A", None),
        ("q, A", None),
        ("q(1/A)\nq(1/nm)", None),
        ("", None),
    ],
)
def test_a_header_states_the_unit_of_q_or_none(header, unit):
    assert find_q_unit(header) == unit


def test_the_caller_goes_before_the_file_and_the_file_before_a_guess():
    q = [0.01, 0.3]
    assert resolve_q_unit("nm^-1", "1/A", q) == ("1/nm", "argument")
    assert resolve_q_unit(None, "nm^-1", q) == ("1/nm", "metadata")
    assert resolve_q_unit(None, "pixels", q) == ("1/angstrom", "guess")
    assert resolve_q_unit(None, None, q) == ("1/angstrom", "guess")


def test_an_unknown_unit_of_the_caller_is_an_error_that_says_what_to_do():
    with pytest.raises(
        ValueError, match=r"Expected .*'1/nm', '1/angstrom' or '1/m'\. Got 'miles'\. Name"
    ):
        resolve_q_unit("miles", None, [0.1])


@pytest.mark.parametrize("q", [[], [np.nan, np.nan], [np.inf]])
def test_a_q_without_finite_numbers_is_left_as_it_is(q):
    assert guess_q_unit(q) == "1/nm"


@given(st.lists(st.floats(-10.0, 10.0), min_size=1))
def test_the_guess_depends_on_the_largest_finite_q_alone(q):
    expected = "1/nm" if max(q) > LARGEST_Q_IN_INVERSE_ANGSTROM else "1/angstrom"
    assert guess_q_unit([*q, np.nan, np.inf]) == expected


def known_units() -> list[tuple[str, str]]:
    """Files of the measured data whose unit is known without looking at the numbers."""
    if not DATA.is_dir():
        return []
    with (DATA / "truth.csv").open(encoding="utf-8") as file:
        known = [(row["file"], row["q_unit"].split()[0]) for row in csv.DictReader(file)]
    folders = {"background/stober_?/*.dat": "1/angstrom", "series/*/*.dat": "1/angstrom"}
    folders |= {"formats/pdh/*.pdh": "1/nm", "formats/sasdata/*.pdh": "1/nm"}
    folders |= {"formats/raw/*.dat": "1/angstrom", "formats/cansas_xml/*.txt": "1/angstrom"}
    for pattern, unit in folders.items():
        known += [(path.relative_to(DATA).as_posix(), unit) for path in DATA.glob(pattern)]
    return sorted(known)


@pytest.mark.skipif(not DATA.is_dir(), reason="the measured data are not there: ../shared/data")
def test_the_guess_is_right_for_every_measured_file_of_known_unit():
    wrong = []
    for name, unit in known_units():
        (sample,) = read(DATA / name, q_unit="1/nm")
        if guess_q_unit(sample.q) != unit:
            wrong.append(name)
    assert len(known_units()) > 120
    assert wrong == []


@pytest.mark.skipif(not DATA.is_dir(), reason="the measured data are not there: ../shared/data")
def test_what_a_measured_file_states_is_what_is_known_of_it():
    known = dict(known_units())
    for source in discover([DATA / "bragg", DATA / "plain", DATA / "background"]):
        name = source.path.relative_to(DATA).as_posix()
        if name in known:
            assert read(source)[0].origin.q_unit == known[name], name
