"""`gpusaxs inspect`: what files hold."""

import zipfile

import numpy as np
import pytest
from typer.testing import CliRunner

from gpusaxs.cli.main import app
from gpusaxs.io.inspection import MOST_CURVES, inspect
from gpusaxs.io.nxcansas_writer import StackWriter, write_stack
from gpusaxs.sample import CurveStatus


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["inspect", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.fixture
def text(tmp_path):
    q = np.linspace(0.1, 3.0, 60)
    path = tmp_path / "a.dat"
    np.savetxt(path, np.column_stack([q, 1 / q, 0.1 / q]), header="q(1/nm) I sigma")
    return path


def test_it_says_format_curves_points_q_unit_and_sigma(text):
    code, output = run(text)
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in output.splitlines()[1:]}
    assert code == 0
    assert lines["format"] == "text"
    assert lines["curves"] == "1"
    assert lines["points"] == "60"
    assert lines["q"] == "0.1 to 3 nm⁻¹"
    assert lines["sigma"] == "yes"
    assert "unit of q      1/nm, stated in the file" in output


def test_a_guessed_unit_is_called_a_guess_and_one_given_is_not(tmp_path):
    path = tmp_path / "bare.dat"
    np.savetxt(path, np.column_stack([np.linspace(0.01, 0.3, 40), np.arange(40)]))
    assert "1/angstrom, a guess" in run(path)[1]
    assert "1/nm, from --q-unit" in run(path, "--q-unit", "1/nm")[1]


def test_it_names_the_problems_of_a_curve(tmp_path):
    q = np.linspace(-0.1, 3.0, 60)[::-1]
    path = tmp_path / "odd.dat"
    np.savetxt(path, np.column_stack([q, np.sin(q)]), header="q(1/nm) I")
    output = run(path)[1]
    assert "non-positive q were dropped" in output
    assert "q was not increasing" in output


def test_a_curve_of_too_few_points_is_a_failure(tmp_path):
    path = tmp_path / "short.dat"
    path.write_text("# q(1/nm) I\n0.1 1\n0.2 2\n0.3 3\n")
    assert "cannot use     too few usable points" in run(path)[1]


def test_a_file_without_a_curve_is_named_and_the_others_are_shown(text):
    (text.parent / "notes.txt").write_text("no numbers at all")
    code, output = run(text.parent)
    assert code == 1
    assert "cannot be read is text without numbers" in output
    assert "format         text" in output


def test_of_a_large_stack_the_beginning_is_looked_at(tmp_path):
    q = np.linspace(0.1, 3.0, 20)
    path = tmp_path / "stack.h5"
    write_stack(path, q, np.ones((MOST_CURVES + 5, 20)), None, title="many")
    found = inspect(path)
    assert (found.curves, len(found.samples)) == (MOST_CURVES + 5, MOST_CURVES)
    assert found.remarks[CurveStatus.NO_SIGNAL] == MOST_CURVES
    output = run(path)[1]
    assert "1,005; the first 1,000 were looked at" in output
    assert "(1,000 of 1,000 curves)" in output


def test_metadata_are_shown_with_their_unit(tmp_path):
    path = tmp_path / "stack.h5"
    q = np.linspace(0.1, 3.0, 20)
    said = [{"temperature": 25.0, "sample": "lipid"}, {"temperature": 30.0, "sample": "lipid"}]
    with StackWriter(path, q, title="a series") as stack:
        stack.append(np.sin(q) * np.ones((2, 1)), metadata=said)
    output = run(path)[1]
    assert "temperature    25 °C; others differ" in output
    assert "sample         lipid\n" in output
    assert "title          a series" in output


def test_of_a_packed_folder_the_files_that_are_no_curves_are_named(text):
    packed = text.parent / "folder.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(text, "a.dat")
        archive.writestr("notes.txt", "no numbers at all")
    code, output = run(packed)
    assert code == 1
    assert "curves         2" in output
    assert "sigma          yes" in output
    assert "cannot be read #1: member 'notes.txt' is text without numbers" in output


def test_plot_draws_a_picture_a_file(text):
    folder = text.parent / "pictures"
    code, output = run(text, "--plot", folder)
    assert code == 0
    assert (folder / "a.dat.png").read_bytes().startswith(b"\x89PNG")
    assert str(folder / "a.dat.png") in output


def test_it_does_not_end_at_a_file_that_is_not_there(tmp_path):
    assert run(tmp_path / "none.dat")[0] == 2
