import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpusaxs.errors import ReadError
from gpusaxs.io import Source, discover, read
from gpusaxs.io.nxcansas_writer import write_stack
from gpusaxs.io.recognise import readers

CURVE = "0.1 5.0\n0.2 4.0\n0.3 3.0\n"


@pytest.fixture
def tree(tmp_path):
    """A folder with curves at several depths, and hidden things."""
    names = [
        "run/b.dat", "run/a.dat", "run/sub/a.dat", "run/sub/README.md", "run/.hidden.dat",
        "run/.git/x.dat", "other/a.dat", "other/sub/a.dat",
    ]  # fmt: skip
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CURVE, encoding="utf-8")
    return tmp_path


def ids(*inputs):
    return [source.id for source in discover(inputs)]


def test_a_folder_is_searched_to_the_bottom_in_order_and_without_hidden_files(tree):
    assert ids(tree / "run") == ["run/a.dat", "run/b.dat", "run/sub/README.md", "run/sub/a.dat"]


@pytest.mark.parametrize("name", ["run", "run/", "./run", "other/../run"])
def test_ids_do_not_depend_on_how_a_folder_is_written(tree, monkeypatch, name):
    monkeypatch.chdir(tree)
    assert ids(name) == ids(tree / "run")


def test_the_current_folder_has_its_name_in_the_ids(tree, monkeypatch):
    monkeypatch.chdir(tree / "run")
    assert ids(".") == ids(tree / "run")


def test_a_file_named_directly_has_its_name_as_id_even_if_hidden(tree):
    assert ids(tree / "run" / "b.dat", tree / "run" / ".hidden.dat") == ["b.dat", ".hidden.dat"]


def test_patterns_are_expanded_in_order(tree):
    assert ids(str(tree / "run" / "?.dat")) == ["a.dat", "b.dat"]
    assert ids(str(tree / "r*n")) == ids(tree / "run")
    assert len(ids(str(tree / "**" / "*.dat"))) == 5


def test_a_name_that_only_looks_like_a_pattern_is_a_file(tree):
    (tree / "run" / "x[1].dat").write_text(CURVE, encoding="utf-8")
    assert ids(tree / "run" / "x[1].dat") == ["x[1].dat"]


def test_a_file_that_is_named_twice_is_read_once(tree, monkeypatch):
    monkeypatch.chdir(tree)
    assert ids("run", "run/a.dat", tree / "run") == ids("run")


def test_ids_that_collide_are_lengthened_by_folders(tree):
    assert ids(tree / "run" / "a.dat", tree / "other" / "a.dat") == ["run/a.dat", "other/a.dat"]
    assert ids(tree / "run" / "sub", tree / "other" / "sub", tree / "run" / "b.dat") == [
        "sub/README.md", "run/sub/a.dat", "other/sub/a.dat", "b.dat",
    ]  # fmt: skip


def test_ids_are_unique_whatever_is_named(tree):
    everything = [tree / "run", tree / "run" / "sub", tree / "other", tree / "other" / "a.dat"]
    named = ids(*everything, str(tree / "*" / "a.dat"))
    assert len(set(named)) == len(named) == 6


def test_every_input_that_names_nothing_is_listed_with_its_reason(tree):
    (tree / "empty").mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        discover([tree / "run", tree / "nowhere", str(tree / "*.xyz"), tree / "empty"])
    message = str(caught.value)
    assert f"{tree / 'nowhere'}: no such file or folder" in message
    assert "*.xyz: nothing matches the pattern" in message
    assert f"{tree / 'empty'}: the folder holds no file" in message
    assert "/run" not in message


def test_no_input_at_all_is_an_error():
    with pytest.raises(FileNotFoundError, match="no input was given"):
        discover([])


def test_pipes_are_left_out_and_loops_of_links_end(tree):
    os.mkfifo(tree / "run" / "pipe")
    (tree / "run" / "sub" / "loop").symlink_to(tree / "run")
    assert ids(tree / "run") == ["run/a.dat", "run/b.dat", "run/sub/README.md", "run/sub/a.dat"]


def test_read_takes_a_source_or_a_path(tree):
    path = tree / "run" / "a.dat"
    assert read(Source(path, "my id"))[0].id == "my id"
    assert read(str(path))[0].id == "a.dat"


def test_a_unit_that_is_none_is_the_callers_mistake(tree):
    with pytest.raises(ValueError, match="Expected a unit of q"):
        read(tree / "run" / "a.dat", q_unit="miles")


def test_every_reader_is_found_by_its_module_and_text_is_asked_last():
    names = [reader.NAME for reader in readers()]
    assert set(names) == {
        "bift", "cansas_xml", "gnom", "hdf5", "numpy", "packed", "pdh", "text",
    }  # fmt: skip
    assert names[-1] == "text"


def pdh(points):
    return (
        f"\nSAXS BOX\n{points:6d}" + " 0" * 7 + "\n" + " 0.1" * 5 + "\n" + " 0.0" * 5 + "\n"
        "<?xml version='1.0'?>\n<fileinfo/>\n"
    )


def test_a_folder_of_bad_files_is_read_file_by_file_each_with_its_reason(tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    stack = tmp_path / "stack.h5"
    write_stack(stack, np.ones(5), np.ones((2, 5)), None, title="t")
    contents = {
        "binary.dat": bytes(range(256)) * 20,
        "empty.dat": b"",
        "letter.txt": b"Dear colleague,\nthe beam was down.\n",
        "points0.pdh": pdh(0).encode(),
        "stack.h5.gz": b"\x1f\x8b\x08\x00rest",
        "truncated.h5": stack.read_bytes()[:600],
        "image.tif": b"II*\x00" + bytes(100),
        "good.dat": b"# q_nm^-1 I\n0.1 nan\n-0.2 inf\n0.3 4\n",
        "two.dat": b"0.1 2\n0.2 3\n",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "broken_link.dat").symlink_to(folder / "gone.dat")
    outcomes = {}
    for source in discover([folder]):
        try:
            outcomes[source.id] = f"{len(read(source)[0].q)} points"
        except ReadError as error:
            outcomes[source.id] = str(error)
    assert outcomes == {
        "bad/binary.dat": "is a binary file of an unknown format: expected text, HDF5, NumPy or "
        "canSAS1D",
        "bad/broken_link.dat": "cannot be opened: no such file or directory",
        "bad/empty.dat": "is empty",
        "bad/good.dat": "3 points",
        "bad/image.tif": "is a TIFF image: integrate it to a curve first",
        "bad/letter.txt": "is text without numbers: expected a table with the columns q, "
        "intensity and, if known, sigma",
        "bad/points0.pdh": "declares 0 points in its header: there is no curve in it",
        "bad/stack.h5.gz": "is compressed with gzip, but it is cut off, or damaged at its end",
        "bad/truncated.h5": outcomes["bad/truncated.h5"],
        "bad/two.dat": "2 points",
    }
    assert outcomes["bad/truncated.h5"].startswith("is a damaged HDF5 file, or cut off")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused_with_its_reason(tree):
    path = tree / "run" / "a.dat"
    path.chmod(0)
    with pytest.raises(ReadError, match="cannot be opened: permission denied"):
        read(path)


def test_what_the_system_refuses_becomes_a_reason(tree, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ReadError, match="cannot be opened: permission denied"):
        read(tree / "run" / "a.dat")


def test_a_folder_is_no_file(tree):
    with pytest.raises(ReadError, match="cannot be opened: is a directory"):
        read(tree / "run")


def curves_or_reason(path):
    try:
        return read(path)
    except ReadError as error:
        return str(error)


MAGICS = [
    b"",
    b"\x89HDF\r\n\x1a\n",
    b"\x93NUMPY\x01\x00",
    b"PK\x03\x04.npy",
    b"\xff\xfe",
    pdh(3).encode(),
]


@given(st.sampled_from(MAGICS), st.binary(max_size=300))
def test_random_bytes_never_raise_anything_but_read_errors(tmp_path_factory, magic, content):
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes(magic + content)
    assert curves_or_reason(path)


@pytest.mark.filterwarnings("ignore:Reading `.npy`:UserWarning")
@given(st.data())
def test_damaged_files_never_raise_anything_but_read_errors(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    original = folder / "original.npz"
    # HDF5 is left out: its library itself crashes on some damaged bytes (HDFGroup/hdf5#1707).
    kind = data.draw(st.sampled_from(["npz", "npy"]))
    if kind == "npz":
        np.savez_compressed(original, q=np.arange(20.0) / 7, intensity=np.ones((3, 20)))
    else:
        original = folder / "original.npy"
        np.save(original, np.ones((3, 20)))
    content = bytearray(original.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    damaged = folder / f"damaged.{kind}"
    damaged.write_bytes(content)
    assert curves_or_reason(damaged)
