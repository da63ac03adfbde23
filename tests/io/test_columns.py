"""Which column is what: by labels, by the customs of programs, or by a guess that is said."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpusaxs.errors import ReadError
from gpusaxs.io import read
from gpusaxs.io.columns import Columns, columns_of
from gpusaxs.io.text import read as read_content
from gpusaxs.sample import CurveStatus


def places(header, count, suffix=""):
    found = columns_of(count, header, suffix)
    assert found.refusal == ""
    return found.q, found.intensity, found.sigma, found.guessed


@pytest.mark.parametrize(
    ("count", "labels", "expected"),
    [
        # The usual order, named.
        (3, "q I sigma", (0, 1, 2)),
        (3, "# q I dI", (0, 1, 2)),
        (3, "q(A-1)     I(q)Sub_x_0011{0}      Sig(q)", (0, 1, 2)),
        (3, "#    q    intensity    error", (0, 1, 2)),
        (3, "Q (1/A)\tI (1/cm)\tIdev (1/cm)", (0, 1, 2)),
        (3, '"q","I(q)","I(q)_error"', (0, 1, 2)),
        # A third column that is no sigma.
        (3, "q I fit", (0, 1, None)),
        (3, "q I dq", (0, 1, None)),
        (3, "q, I, sigma_q", (0, 1, None)),
        (3, "q I_exp I_fit", (0, 1, None)),
        # Another order.
        (3, "I q sigma", (1, 0, 2)),
        (3, "q sigma I", (0, 2, 1)),
        (3, "2theta q I", (1, 2, None)),
        (2, "I q", (1, 0, None)),
        # More columns.
        (4, "# Q  I(Q)  Error  dQ", (0, 1, 2)),
        (4, "q [1/A]\tdq\tI [1/cm]\tdI", (0, 2, 3)),
        (4, "#  q       exp_intensity   model_intensity error", (0, 1, 3)),
        (4, " sExp  |  iExp |  Err | iFit(+Const) | Chi^2=   0.207", (0, 1, 2)),
        (4, "q I fit residual", (0, 1, None)),
        (
            6,
            "The 6 columns are | Q (1/A) | I(Q) (1/cm) | std. dev. I(Q) (1/cm) | sigmaQ | meanQ "
            "| ShadowFactor|",
            (0, 1, 2),
        ),
    ],
)
def test_labels_that_name_q_and_the_intensity_are_heeded(count, labels, expected):
    assert places(f"a title\n{labels}\n", count) == (*expected, False)


def test_a_third_label_that_nobody_knows_leaves_a_remark():
    assert places("q I whatever", 3) == (0, 1, 2, True)
    assert places("q I E", 3) == (0, 1, 2, True)


@pytest.mark.parametrize(
    ("header", "count", "expected"),
    [
        ("", 2, (0, 1, None, False)),
        ("", 3, (0, 1, 2, False)),
        ("", 4, (0, 1, 2, True)),
        ("", 6, (0, 1, 2, True)),
        ("measured on a rainy day", 3, (0, 1, 2, False)),
        ("q I sigma", 4, (0, 1, 2, True)),
        ("D E F G H I", 6, (0, 1, 2, True)),
        ("q I1 sigma1 I2 sigma2", 5, (0, 1, 2, True)),
        ("a sample of q in I", 4, (0, 1, 2, True)),
    ],
)
def test_without_labels_the_usual_order_is_taken_and_from_four_columns_on_said_to_be_a_guess(
    header, count, expected
):
    assert places(header, count) == expected


CRYSOL = "  4mld.pdb  Dro:0.075  Ra:1.400  RGT:28.10  Vol: 86422.  Chi^2: 1.09"


@pytest.mark.parametrize(
    ("header", "suffix", "count", "expected"),
    [
        (CRYSOL, ".dat", 3, (0, 1, None)),
        (CRYSOL, ".dat", 4, (0, 1, 2)),
        ("   Dro:  0.019 Rg: 33.22 Vol: 213838. Chi^2: 1.089", "", 4, (0, 1, 2)),
        ("T= 0.3E-03 Rf =0.13 Los: 0.17 DisCog: 0.09 Scale = 0.2E-07", "", 4, (0, 1, 2)),
        ("", ".fit", 3, (0, 1, None)),
        ("", ".fit", 4, (0, 1, 2)),
        ("", ".fit", 5, (0, 1, 3)),
        ("a title", ".fir", 4, (0, 1, 2)),
        (" Dif/Atom/Shape/Bord 1XIB.pdb Dro:  0.030 Ra: 1.6 Rg: 33.04", "", 5, (0, 1, None)),
        ("", ".int", 5, (0, 1, None)),
        (" LOQ\n title\n 9 0 0 0 1 9 0\n 0 0 0 0\n 3 (F12.5,2E16.6)", "", 3, (0, 1, 2)),
        (" SANS2D\n title\n 9 0 0 0 1 9 0\n 0 0 0 0\n 3 (F12.5,2E16.6)", "", 4, (0, 1, 2)),
        ("COR FILES: a.bt5\nLABEL: x\nEMP LEVEL: 0.7 ; BKG LEVEL: 0.6", ".cor", 6, (0, 1, 2)),
    ],
)
def test_the_columns_of_known_programs_are_known(header, suffix, count, expected):
    assert places(header, count, suffix) == (*expected, False)


@pytest.mark.parametrize(
    ("header", "count", "reason"),
    [
        ("#2th_deg        I", 2, "scattering angle"),
        ("TwoTheta I sigma", 3, "scattering angle"),
        ("Angle(deg),Intensity", 2, "scattering angle"),
        ("#2th_rad        I             sigma", 3, "scattering angle"),
        ("x.tif\n2-Theta Angle (Degrees)\nIntensity\n     30", 2, "scattering angle"),
        ("x.tif\nRadial Distance (mm)\nIntensity\n     30", 2, "place on the detector"),
        ("#r_mm           I", 2, "place on the detector"),
        ("Channel Counts", 2, "place on the detector"),
        ("#chi_deg        I", 2, "azimuth"),
        ("#d*2_A^-2       I", 2, "spacing"),
        ("d I", 2, "spacing"),
        ("time intensity sigma", 3, "over time"),
        ("Energy(keV)\tI", 2, "energy"),
        ("#log10(q.m)_None I", 2, "function of q"),
        ("#arcsinh(q.nm)_None I", 2, "function of q"),
        ("q^2 ln(I)", 2, "power of q"),
        ("#qx_nm^-1       I", 2, "component of q"),
        ("Qx Qy I err", 4, "component of q"),
        ("Data columns are Qx - Qy - I(Qx,Qy) - err(I)\nASCII data", 4, "component of q"),
        ("q ln(I)", 2, "transformed"),
        ("q I*q^2 sigma", 3, "transformed"),
        ("#  R  P(R)  Error", 3, "function of distance"),
    ],
)
def test_a_table_whose_labels_name_no_curve_is_refused(header, count, reason):
    assert reason in columns_of(count, header).refusal


def table(count, rows=12):
    values = np.arange(1, rows * count + 1).reshape(rows, count) / 7.0
    return values, "".join(" ".join(map(repr, row)) + "\n" for row in values.tolist())


def test_a_table_in_a_text_that_speaks_of_an_angle_is_read_where_the_caller_gives_the_unit(
    tmp_path,
):
    values, body = table(2)
    path = tmp_path / "curve.dat"
    path.write_text(f"# 2theta range of the detector: 0.1 to 5\n{body}", encoding="utf-8")
    with pytest.raises(ReadError, match="scattering angle"):
        read(path)
    (sample,) = read(path, "1/nm")
    assert np.array_equal(sample.q, values[:, 0])


@pytest.mark.parametrize("label", ["r_mm", "2th_deg", "q^2", "chi_deg"])
def test_a_column_that_is_labelled_as_another_axis_is_refused_whatever_unit_is_given(
    tmp_path, label
):
    path = tmp_path / "curve.dat"
    path.write_text(f"#{label} I\n{table(2)[1]}", encoding="utf-8")
    for unit in (None, "1/nm"):
        with pytest.raises(ReadError, match=r"gives intensity over"):
            read(path, unit)


def test_the_guess_is_said_at_the_curve(tmp_path):
    values, body = table(4)
    path = tmp_path / "curve.dat"
    path.write_text(body, encoding="utf-8")
    (sample,) = read(path, "1/nm")
    assert sample.status == CurveStatus.COLUMNS_GUESSED
    assert np.array_equal(sample.sigma, values[:, 2])


WORDS = ["q", "I", "sigma", "dq", "fit", "2theta", "r", "of", "1/nm", "Dro:", "#", "\t", "12", "|"]


@example(words=[*["q"] * 5, "2theta", "I", "I", "I"], breaks=5, columns=5)
@given(
    words=st.lists(st.sampled_from(WORDS), max_size=30),
    breaks=st.integers(0, 30),
    columns=st.integers(2, 5),
)
def test_no_header_changes_the_numbers_of_a_column(tmp_path_factory, words, breaks, columns):
    values, body = table(columns)
    header = " ".join(words[:breaks]) + "\n" + " ".join(words[breaks:]) + " :\n"
    path = tmp_path_factory.getbasetemp() / "curve.dat"
    try:
        (sample,) = read_content(path, "curve", "1/nm", f"x{header}{body}".encode())
    except ReadError as error:
        # A table is always found; labels may say that it holds something else than a curve.
        if not str(error).startswith("gives "):
            raise
        return
    given_columns = {tuple(column) for column in values.T}
    assert tuple(sample.q) in given_columns
    assert tuple(sample.intensity) in given_columns - {tuple(sample.q)}
    if sample.sigma is not None:
        assert tuple(sample.sigma) in given_columns - {tuple(sample.q), tuple(sample.intensity)}


def test_places_are_given_by_name():
    assert columns_of(3, "q I sigma") == Columns(q=0, intensity=1, sigma=2)
