"""`gpusaxs convert`."""

import numpy as np
import pytest

from gpusaxs.io import read


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    q = np.linspace(0.1, 5.0, 20)
    for number in range(3):
        np.savetxt(folder / f"{number}.dat", np.column_stack([q, q + number]), header="q(1/nm) I")
    return folder


def test_a_folder_becomes_one_file(command, files, tmp_path):
    done = command("convert", files, "--output", tmp_path / "all.h5")
    assert done.exit_code == 0
    assert "all.h5: 3 curves in 1 stack, " in done.stdout
    assert "from 3 files" in done.stdout
    assert done.stderr == ""
    assert len(read(tmp_path / "all.h5")) == 3


@pytest.mark.parametrize("compression", ["gzip", "bitshuffle", "blosc", "none"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_compression_and_type_is_read_again(command, files, tmp_path, compression, dtype):
    path = tmp_path / "all.h5"
    done = command("convert", files, "-o", path, "--compression", compression, "--dtype", dtype)
    assert done.exit_code == 0
    assert np.allclose(read(path)[2].intensity, read(files / "2.dat")[0].intensity)


def test_files_that_cannot_be_read_are_listed_and_the_others_written(command, files, tmp_path):
    (files / "notes.md").write_text("nothing")
    done = command("convert", files, "-o", tmp_path / "all.h5")
    assert done.exit_code == 1
    assert "3 curves in 1 stack" in done.stdout
    assert "Cannot be read: 1\n  files/notes.md: is text without numbers" in done.stderr
    assert len(read(tmp_path / "all.h5")) == 3


def test_no_curve_at_all_is_no_file(command, tmp_path):
    (tmp_path / "notes.md").write_text("nothing")
    done = command("convert", tmp_path / "notes.md", "-o", tmp_path / "all.h5")
    assert done.exit_code == 1
    assert "No curve can be read" in done.stderr
    assert not (tmp_path / "all.h5").exists()


def test_a_guessed_unit_is_told(command, files, tmp_path):
    np.savetxt(files / "3.dat", np.column_stack([[0.1, 0.2, 0.3, 0.4]] * 2))
    done = command("convert", files, "-o", tmp_path / "all.h5")
    assert done.exit_code == 0
    assert "1 curve: the unit of q was guessed from its numbers: check it" in done.stderr
    done = command("convert", files, "-o", tmp_path / "other.h5", "--q-unit", "1/nm")
    assert "guessed" not in done.stderr


def test_an_older_file_is_replaced_only_if_asked(command, files, tmp_path):
    path = tmp_path / "all.h5"
    path.write_text("older")
    refused = command("convert", files, "-o", path)
    assert refused.exit_code == 2
    assert "--overwrite" in refused.stderr
    assert path.read_text() == "older"
    assert command("convert", files, "-o", path, "--overwrite").exit_code == 0
    assert len(read(path)) == 3


@pytest.mark.parametrize(
    "options", [["--q-unit", "furlong"], ["--compression", "lzma"], ["--dtype", "int8"]]
)
def test_wrong_options_are_refused(command, files, tmp_path, options):
    assert command("convert", files, "-o", tmp_path / "all.h5", *options).exit_code == 2
    assert not (tmp_path / "all.h5").exists()


def test_inputs_and_places_that_do_not_exist_are_refused(command, files, tmp_path):
    assert command("convert", tmp_path / "nothing", "-o", tmp_path / "all.h5").exit_code == 2
    assert command("convert", files, "-o", tmp_path / "no" / "folder" / "all.h5").exit_code == 2
