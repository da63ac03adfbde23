from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpusaxs.errors import ReadError
from gpusaxs.io import read
from gpusaxs.io.numeric_block import find_block
from gpusaxs.io.text import read_content
from gpusaxs.sample import CurveStatus

Q = np.linspace(0.01, 0.3, 30)
INTENSITY = 100.0 * np.exp(-10.0 * Q)
SIGMA = 0.01 * INTENSITY


def rows(separator=" ", *, sigma=True, form="{:.9e}", decimal=".", end="\n"):
    columns = (Q, INTENSITY, SIGMA) if sigma else (Q, INTENSITY)
    lines = [
        separator.join(form.format(x).replace(".", decimal) for x in row)
        for row in zip(*columns, strict=True)
    ]
    return end.join(lines) + end


def read_text(tmp_path, text, encoding="utf-8", q_unit=None):
    path = tmp_path / "curve.dat"
    path.write_bytes(text.encode(encoding))
    (sample,) = read(path, q_unit)
    return sample


def assert_is_the_curve(sample, *, sigma=True):
    assert np.allclose(sample.q, 10.0 * Q, rtol=1e-9)
    assert np.allclose(sample.intensity, INTENSITY, rtol=1e-9)
    if sigma:
        assert np.allclose(sample.sigma, SIGMA, rtol=1e-9)
    else:
        assert sample.sigma is None


@pytest.mark.parametrize("separator", [" ", "\t", ",", ", ", ";", " ; ", "   ", "\t\t"])
def test_columns_may_be_separated_by_any_common_sign(tmp_path, separator):
    assert_is_the_curve(read_text(tmp_path, rows(separator)))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_lines_may_end_in_any_way(tmp_path, end):
    assert_is_the_curve(read_text(tmp_path, rows(end=end)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_a_header_may_be_in_any_common_encoding(tmp_path, encoding):
    sample = read_text(tmp_path, "Prüfung q (Å^-1) I\n" + rows(), encoding)
    assert_is_the_curve(sample)
    assert sample.origin.q_unit_from == "metadata"


@pytest.mark.parametrize("separator", [";", "\t", " ", "; "])
def test_decimal_commas_are_read_where_other_signs_separate_the_columns(tmp_path, separator):
    assert_is_the_curve(read_text(tmp_path, rows(separator, decimal=",")))


@pytest.mark.parametrize("letter", ["D", "d", "E", "e"])
def test_exponents_of_fortran_are_read(tmp_path, letter):
    assert_is_the_curve(read_text(tmp_path, rows().replace("e", letter)))


def test_two_columns_have_no_sigma(tmp_path):
    assert_is_the_curve(read_text(tmp_path, rows(sigma=False)), sigma=False)


def test_quoted_cells_are_read(tmp_path):
    quoted = "".join(f'"{q:.9e}","{i:.9e}"\n' for q, i in zip(Q, INTENSITY, strict=True))
    assert_is_the_curve(read_text(tmp_path, '"q","I"\n' + quoted), sigma=False)


HEADERS = [
    "",
    "# comment\n! another\n% a third\n",
    "name 12\n1 2 3 4 5\n\n",
    "30\n",
    "  30    0    0    0    1  30    0\n  0  0  0  0\n 3 (F12.5,2E16.6)\n",
    "2020 10 11\n2020 10 12\nq I sigma\n",
    "30 1 3\n",
    '{\n "counters": {"a": 1.5}\n}\n',
    "sample.tif\nQ (Inverse Angstroms)\nIntensity\n      30\n",
]
FOOTERS = [
    "",
    "\n### HEADER:\n{\n  12.5, 13.5,\n}\n",
    "creator: x\nunit-time: 100.0\n1 2\n3 4\n",
    " ========\n gregor_020.d Conc = .50E+01\n",
    "-1 -1 -1 -1\n",
]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("footer", FOOTERS)
def test_headers_and_footers_are_left_out_even_with_numbers(tmp_path, header, footer):
    assert_is_the_curve(read_text(tmp_path, header + rows() + footer))


@given(
    header=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=80),
    count=st.integers(2, 5),
)
def test_the_table_is_found_behind_any_header(header, count):
    body = "".join(
        " ".join(f"{0.1 * row + k:.3f}" for k in range(count)) + "\n" for row in range(40)
    )
    # A header of numbers alone would be a row.
    text = "x" + "".join(sign if sign.isprintable() else " " for sign in header) + "\n" + body
    assert find_block(text).values.shape == (40, count)


@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=True, allow_infinity=True, width=64),
            st.floats(allow_nan=True, allow_infinity=True, width=64),
        ),
        min_size=2,
        max_size=30,
    )
)
def test_numbers_come_back_as_they_were_written(pairs):
    text = "".join(f"{q!r} {intensity!r}\n" for q, intensity in pairs)
    expected = np.array(pairs)
    if len(pairs) > 2 and expected[0, 0] == len(pairs) - 1:
        return
    assert np.array_equal(find_block(text).values, expected, equal_nan=True)


def test_the_longer_of_two_tables_is_read(tmp_path):
    short = "r p(r)\n" + "".join(f"{r}.5 0.1 0.2\n" for r in range(20))
    assert_is_the_curve(read_text(tmp_path, short + "\nq I sigma\n" + rows()))
    assert_is_the_curve(read_text(tmp_path, rows() + "\n" + short))


def test_rows_that_a_program_could_not_print_become_nan_and_do_not_cut_the_table(tmp_path):
    lines = rows().split("\n")
    for place, cell in ((5, "********"), (10, "NA"), (15, "--"), (20, "null")):
        lines[place] = " ".join([lines[place].split()[0], cell, cell])
    sample = read_text(tmp_path, "\n".join(lines))
    assert np.isnan(sample.intensity).nonzero()[0].tolist() == [5, 10, 15, 20]
    assert np.allclose(sample.q, 10.0 * Q, rtol=1e-9)


def test_empty_cells_become_nan_and_do_not_shift_the_columns(tmp_path):
    lines = rows(",").split("\n")
    lines[3] = f"{Q[3]:.9e},,1.0"
    lines[4] = f"{Q[4]:.9e},5.0,"
    sample = read_text(tmp_path, "\n".join(lines))
    assert np.isnan(sample.intensity[3])
    assert sample.sigma[3] == 1.0
    assert sample.intensity[4] == 5.0
    assert np.isnan(sample.sigma[4])


def test_columns_without_any_number_at_the_right_end_are_none(tmp_path):
    padded = "".join(line + ",,,\n" for line in rows(",", sigma=False).splitlines())
    assert_is_the_curve(read_text(tmp_path, padded), sigma=False)


def test_nan_inf_and_negative_q_are_passed_on_as_read(tmp_path):
    sample = read_text(tmp_path, "0.1 nan 1\n-0.2 INF 1\nNaN 3 -inf\n0.05 4 0\n")
    assert np.array_equal(sample.q, [1.0, -2.0, np.nan, 0.5], equal_nan=True)
    assert np.array_equal(sample.intensity, [np.nan, np.inf, 3.0, 4.0], equal_nan=True)
    assert np.array_equal(sample.sigma, [1.0, 1.0, -np.inf, 0.0])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("# q I sigma fit", (0, 1, 2)),
        ("# q I fit Error", (0, 1, 3)),
        ("q [1/A]\tdq\tI [1/cm]\tdI", (0, 2, 3)),
        ("q,I,fit,model", (0, 1, None)),
        ("A B C D", (0, 1, 2)),
        ("no labels at all in this line", (0, 1, 2)),
    ],
)
def test_labels_of_four_columns_are_heeded_where_they_name_q_and_intensity(
    tmp_path, labels, expected
):
    table = np.array([Q, INTENSITY, 2 * INTENSITY, 3 * INTENSITY])
    body = "\n".join(" ".join(map(repr, row)) for row in table.T.tolist())
    sample = read_text(tmp_path, f"{labels}\n{body}\n")
    q, intensity, sigma = expected
    assert np.array_equal(sample.q, 10.0 * table[q])
    assert np.array_equal(sample.intensity, table[intensity])
    assert (sample.sigma is None) == (sigma is None)
    if sigma is not None:
        assert np.array_equal(sample.sigma, table[sigma])


def test_labels_of_three_columns_are_heeded_where_they_name_q_and_intensity(tmp_path):
    sample = read_text(tmp_path, "I q sigma\n" + rows(), q_unit="1/nm")
    assert np.allclose(sample.q, INTENSITY)
    assert np.allclose(sample.intensity, Q)
    assert_is_the_curve(read_text(tmp_path, "first second third\n" + rows()))
    assert_is_the_curve(read_text(tmp_path, "q I model\n" + rows()), sigma=False)


def test_unnamed_columns_are_a_guess_from_four_on(tmp_path):
    wide = "".join(f"{line} 1.5\n" for line in rows().splitlines())
    sample = read_text(tmp_path, wide)
    assert_is_the_curve(sample)
    assert sample.status == CurveStatus.COLUMNS_GUESSED | CurveStatus.Q_UNIT_GUESSED
    named = read_text(tmp_path, "# q I sigma dq\n" + wide)
    assert named.status == CurveStatus.Q_UNIT_GUESSED


@pytest.mark.parametrize("line", ["some words", "0.155 12.5", "0.155 1x.5 0.1"])
@pytest.mark.parametrize("place", [10, 20])
def test_a_table_that_a_damaged_line_cuts_in_two_is_refused(tmp_path, line, place):
    lines = rows().splitlines()
    lines.insert(place, line)
    with pytest.raises(ReadError, match=f"interrupted by the line '{line[:4]}"):
        read_text(tmp_path, "\n".join(lines))


def test_two_curves_in_one_file_are_not_one_that_is_damaged(tmp_path):
    lines = rows().splitlines()
    text = "\n".join(["first", *lines, "second", *lines[:20]])
    assert_is_the_curve(read_text(tmp_path, text))


def test_fewer_columns_than_the_header_declares_are_refused(tmp_path):
    header = "The 6 columns are | Q (1/A) | I(Q) (1/cm) | std. dev. | sigmaQ | meanQ | Shadow|\n"
    with pytest.raises(ReadError, match="says that it has 6 columns"):
        read_text(tmp_path, header + rows())
    with pytest.raises(ReadError, match="says that it has 6 columns"):
        read_text(tmp_path, header + "0.1 1.5 0.1 0.1 0.1 1\n" + rows(), q_unit="1/nm")


def test_what_the_text_says_comes_with_the_curve(tmp_path):
    sample = read_text(tmp_path, "Sample: water\nExposure time (s): 5\n" + rows())
    assert dict(sample.origin.metadata) == {"sample": "water", "exposure": 5.0}
    assert dict(read_text(tmp_path, rows()).origin.metadata) == {}


def test_the_unit_of_q_comes_from_the_header_else_it_is_guessed_and_says_so(tmp_path):
    stated = read_text(tmp_path, "# q_nm^-1 I sigma\n" + rows())
    assert (stated.origin.q_unit, stated.origin.q_unit_from) == ("1/nm", "metadata")
    assert stated.status == CurveStatus.OK
    assert stated.q[-1] == pytest.approx(0.3)
    guessed = read_text(tmp_path, rows())
    assert (guessed.origin.q_unit, guessed.origin.q_unit_from) == ("1/angstrom", "guess")
    assert guessed.status == CurveStatus.Q_UNIT_GUESSED
    assert guessed.q[-1] == pytest.approx(3.0)
    given_by_caller = read_text(tmp_path, "# q_nm^-1\n" + rows(), q_unit="A^-1")
    assert given_by_caller.origin.q_unit_from == "argument"
    assert given_by_caller.q[-1] == pytest.approx(3.0)


def test_origin_names_file_frame_and_format(tmp_path):
    sample = read_text(tmp_path, rows())
    assert sample.id == "curve.dat"
    assert sample.origin.source == str(Path(tmp_path) / "curve.dat")
    assert (sample.origin.frame, sample.origin.format) == (0, "text")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (" \n\n", "nothing but blanks"),
        ("a letter to a friend\nwith no table\n", "text without numbers"),
        ("1\n2\n3\n4\n", "without two columns"),
        ("0.5 1.5\n", "without two columns"),
        ("1 2\n2 4\n3 9\n4 16\n", "whole numbers alone in its first column"),
        ((" ".join(["1.5"] * 40) + "\n") * 40, "table of 40 columns"),
        ("x.tif\n2-Theta Angle (Degrees)\nI\n 30\n" + rows(), "scattering angle"),
        ("# 2th_deg I\n" + rows(), "scattering angle"),
        ("# r_mm I\n" + rows(sigma=False), "place on the detector"),
        ("The detector image is X-Y\n" + "1\n" * 40, "image of a detector"),
        ("<?xml version='1.0'?>\n<SASroot/>\n", "XML"),
        ("\ufeff<html>1 2\n3 4\n</html>", "XML"),
        (rows() + "\x00" * 10, "binary"),
        ("0,01;1.234,5\n" * 20, "whole numbers"),
    ],
)
def test_a_text_without_a_curve_is_refused_with_its_reason(tmp_path, text, reason):
    with pytest.raises(ReadError, match=reason):
        read_text(tmp_path, text)


def test_an_angle_is_read_as_q_where_the_caller_says_that_it_is_q(tmp_path):
    text = "x.tif\n2-Theta Angle (Degrees)\nI\n 30\n" + rows()
    assert_is_the_curve(read_text(tmp_path, text, q_unit="1/angstrom"))


def test_two_points_are_read_for_the_batch_to_judge(tmp_path):
    assert len(read_text(tmp_path, "0.1 5.0\n0.2 4.0\n").q) == 2


def test_a_file_whose_size_the_system_does_not_tell_is_read_whole():
    assert read_content(Path("/proc/self/status"), "a text").startswith(b"Name:")


def test_a_file_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("gpusaxs.io.text.LARGEST_FILE", 100)
    with pytest.raises(ReadError, match="a text of more than 0 MiB"):
        read_text(tmp_path, rows())


def test_a_device_without_an_end_is_refused_after_as_much_as_a_file_may_have(monkeypatch):
    monkeypatch.setattr("gpusaxs.io.text.LARGEST_FILE", 2**25)
    with pytest.raises(ReadError, match="of more than 32 MiB"):
        read_content("/dev/zero", "a text")


def test_a_file_that_says_nothing_of_its_size_is_read_to_its_end():
    content = read_content("/proc/self/status", "a text")
    assert content.startswith(b"Name:")
    assert content.endswith(b"\n")
