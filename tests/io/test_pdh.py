import numpy as np
import pytest

from gpusaxs.errors import ReadError
from gpusaxs.io import read
from gpusaxs.sample import CurveStatus

TRAILER = """<?xml version="1.0" encoding="utf-8"?>
<fileinfo version="3.80">
  <column key="X">
    <value key="quantity">{quantity}</value>
    <value key="unit">{unit}</value>
  </column>
  <parameter key="P"><value key="unit">m_m</value></parameter>
</fileinfo>
"""
STATED = TRAILER.format(quantity="SCATTERING_VECTOR", unit="n_m^-1")


def pdh(points=4, declared=None, wavelength=0.1542, trailer="", columns=3):
    lines = ["a title, maybe", "SAXS BOX      "]
    lines.append(f"{points if declared is None else declared:9d}" + "         0" * 7 + " ")
    lines.append("  0.000000E+00" * 4 + f"  {wavelength:.6E} ")
    lines.append("  0.000000E+00" * 5 + " ")
    for k in range(points):
        row = (0.1 * (k + 1), 100.0 - k, 1.0)[:columns]
        lines.append("".join(f"  {x:.6E}" for x in row) + " ")
    return "\n".join(lines) + "\n" + trailer


def read_pdh(tmp_path, text, q_unit=None):
    path = tmp_path / "curve.pdh"
    path.write_text(text, encoding="utf-8")
    (sample,) = read(path, q_unit)
    return sample


def test_the_declared_points_are_read(tmp_path):
    sample = read_pdh(tmp_path, pdh(trailer=STATED))
    assert np.allclose(sample.q, [0.1, 0.2, 0.3, 0.4])
    assert np.array_equal(sample.intensity, [100.0, 99.0, 98.0, 97.0])
    assert np.array_equal(sample.sigma, np.ones(4))
    assert sample.origin.format == "pdh"


def test_the_content_decides_and_not_the_suffix(tmp_path):
    path = tmp_path / "curve.txt"
    path.write_text(pdh(), encoding="utf-8")
    assert read(path)[0].origin.format == "pdh"


def test_a_trailer_that_states_the_unit_is_metadata(tmp_path):
    sample = read_pdh(tmp_path, pdh(trailer=STATED))
    assert (sample.origin.q_unit, sample.origin.q_unit_from) == ("1/nm", "metadata")
    assert sample.status == CurveStatus.OK


@pytest.mark.parametrize(
    ("wavelength", "unit"), [(0.1542, "1/nm"), (1.542, "1/angstrom"), (0.0, "1/angstrom")]
)
def test_without_a_stated_unit_the_wavelength_makes_the_guess_better(tmp_path, wavelength, unit):
    sample = read_pdh(tmp_path, pdh(wavelength=wavelength))
    assert (sample.origin.q_unit, sample.origin.q_unit_from) == (unit, "guess")
    assert sample.status == CurveStatus.Q_UNIT_GUESSED


def test_the_caller_goes_before_the_trailer(tmp_path):
    sample = read_pdh(tmp_path, pdh(trailer=STATED), "1/angstrom")
    assert (sample.origin.q_unit, sample.origin.q_unit_from) == ("1/angstrom", "argument")
    assert sample.q[0] == pytest.approx(1.0)


def test_two_columns_have_no_sigma(tmp_path):
    assert read_pdh(tmp_path, pdh(columns=2)).sigma is None


def parameter(name, value, unit):
    return (
        f'  <parameter key="{name}" type="rc" index="1">\n    <value key="name">{name}</value>\n'
        f'    <value key="value">{value}</value>\n    <value key="stddev">-1</value>\n'
        f'    <value key="unit">{unit}</value>\n  </parameter>\n'
    )


def test_the_trailer_gives_the_metadata_that_have_units_and_the_first_line_the_title(tmp_path):
    parameters = parameter("Exposure", 15, "s") + parameter("Temperature", 24.9, "degC")
    parameters += parameter("Concentration", 5, "g*l^-1") + parameter("DateTime", 4e8, "s")
    trailer = STATED.replace("</fileinfo>", parameters + "</fileinfo>")
    assert dict(read_pdh(tmp_path, pdh(trailer=trailer)).origin.metadata) == {
        "title": "a title, maybe",
        "exposure": 15.0,
        "temperature": 24.9,
        "concentration": 5.0,
    }


def test_parameters_without_a_value_or_a_known_unit_say_nothing(tmp_path):
    parameters = parameter("Exposure", 15, "none") + parameter("Temperature", "", "degC")
    parameters += parameter("Concentration", 0, "g*l^-1")
    trailer = STATED.replace("</fileinfo>", parameters + '<parameter key="Exposure"')
    text = pdh(trailer=trailer).replace("a title, maybe", "")
    assert dict(read_pdh(tmp_path, text).origin.metadata) == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (pdh(points=0, trailer=STATED), "declares 0 points"),
        (pdh(points=4, declared=9, trailer=STATED), "declares 9 points but holds 4"),
        (pdh(points=4, declared=9), "declares 9 points but holds 4"),
        (pdh(points=4, declared=2), "declares 2 points but holds 4"),
        (pdh(points=1, declared=10**15), "but holds 1: it is cut off"),
        (pdh(columns=1), "has 1 columns"),
        (pdh().replace("9.900000E+01", "9.9000+?*"), "row that cannot be read"),
        (pdh(trailer=TRAILER.format(quantity="ANGLE", unit="deg")), "x axis in 'deg'"),
        ("\n".join(pdh().splitlines()[:3]), "without two columns"),
    ],
)
def test_a_damaged_file_is_refused_with_its_reason(tmp_path, text, reason):
    with pytest.raises(ReadError, match=reason):
        read_pdh(tmp_path, text)
