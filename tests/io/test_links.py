"""Numbers in other files than the one that is read: only where that is allowed."""

import h5py
import numpy as np
import pytest

from gpusaxs import ReadError
from gpusaxs.archive.convert import convert
from gpusaxs.io import Source, extent, read
from gpusaxs.io.inspection import inspect
from gpusaxs.io.nxcansas_writer import write_stack

Q = np.linspace(0.1, 3.0, 50)
ROWS = np.arange(150.0).reshape(3, 50) + 1.0


@pytest.fixture(params=["external link", "virtual dataset", "external storage"])
def linked(request, tmp_path):
    """A stack whose intensities lie in another file."""
    path = tmp_path / "linked.h5"
    write_stack(path, Q, ROWS, None, title="linked")
    with h5py.File(path, "r+") as file, h5py.File(tmp_path / "numbers.h5", "w") as numbers:
        group = file["sasentry/sasdata"]
        attributes = dict(group["I"].attrs)
        del group["I"]
        numbers["rows"] = ROWS
        if request.param == "external link":
            numbers["rows"].attrs.update(attributes)
            group["I"] = h5py.ExternalLink("numbers.h5", "/rows")
        elif request.param == "virtual dataset":
            layout = h5py.VirtualLayout(ROWS.shape, ROWS.dtype)
            layout[...] = h5py.VirtualSource("numbers.h5", "rows", ROWS.shape)
            group.create_virtual_dataset("I", layout).attrs.update(attributes)
        else:
            raw = tmp_path / "rows.raw"
            raw.write_bytes(ROWS.tobytes())
            stored = group.create_dataset(
                "I", ROWS.shape, ROWS.dtype, external=[(str(raw), 0, ROWS.nbytes)]
            )
            stored.attrs.update(attributes)
    return path


def test_they_are_refused_with_the_way_out(linked):
    with pytest.raises(ReadError, match=r"to another file.*convert --follow-links"):
        read(linked)
    with pytest.raises(ReadError, match="to another file"):
        extent(linked)


def test_they_are_read_where_the_caller_allows_it(linked):
    source = Source(linked, "linked", follow_links=True)
    assert extent(source).curves == 3
    assert np.array_equal([sample.intensity for sample in read(source)], ROWS)
    [second] = read(source, frames=range(1, 2))
    assert np.array_equal(second.intensity, ROWS[1])
    assert inspect(linked, follow_links=True).curves == 3
    with pytest.raises(ReadError, match="to another file"):
        read(linked)


def test_convert_makes_one_file_of_them_where_it_is_told_to(linked, tmp_path):
    assert convert([linked], tmp_path / "one.h5").unread
    assert not (tmp_path / "one.h5").exists()
    convert([linked], tmp_path / "one.h5", follow_links=True)
    assert np.array_equal([sample.intensity for sample in read(tmp_path / "one.h5")], ROWS)


def test_a_link_that_leads_nowhere_is_refused_even_so(tmp_path):
    path = tmp_path / "lost.h5"
    write_stack(path, Q, ROWS, None, title="lost")
    with h5py.File(path, "r+") as file:
        group = file["sasentry/sasdata"]
        del group["I"]
        group["I"] = h5py.ExternalLink("nowhere.h5", "/rows")
    with pytest.raises(ReadError):
        read(Source(path, "lost", follow_links=True))
