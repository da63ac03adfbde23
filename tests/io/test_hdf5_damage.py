"""Whatever the attributes of an HDF5 file say, it gives curves or a reason."""

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpusaxs.errors import ReadError
from gpusaxs.io import Source, extent, read

Q = np.linspace(0.01, 0.3, 6)
FRAMES = np.exp(-np.outer([1.0, 2.0, 3.0], Q))
PLACES = ["/", "entry", "entry/data", "entry/data/I", "entry/data/q", "entry/sample", "profiles"]
NAMES = [
    "signal", "axes", "I_axes", "q_indices", "units", "unit", "long_name", "name", "default",
    "NX_class", "canSAS_class", "uncertainties", "interpretation", "file_type", "parameters",
]  # fmt: skip
VALUES = [
    "q", "I", ".", "", "/", "/entry", "..", "t:q", "NXdata", "SASdata", "NXentry", "deg", "1/A",
    "RAW_Series", 0, 1, -1, 10**9, [0, 1], np.nan, True, b"\xff\xfe", h5py.Empty("f8"),
    np.empty(0), ["q", "q"], np.array([b"q", b"\xff"]), "x" * 5000, "{", '{"filename": 1}',
]  # fmt: skip


def write_file(path, kind):
    """A file in which the three layouts could each find something."""
    with h5py.File(path, "w") as file:
        data = file.create_group("entry/data")
        file["entry"].attrs["NX_class"] = "NXentry"
        data.attrs.update({"NX_class": "NXdata", "signal": "I", "axes": [".", "q"]})
        data["q"], data["I"], data["errors"] = Q, FRAMES, FRAMES
        data["q"].attrs["units"] = "1/nm"
        file["entry/sample/name"] = ["a", "b", "c"]
        file["entry/sample"].attrs["NX_class"] = "NXsample"
        file["profiles/q"] = Q
        for frame, row in enumerate(FRAMES):
            file[f"profiles/{frame:06d}"] = np.column_stack([row, row])
        if kind == "canSAS":
            data.attrs["canSAS_class"] = "SASdata"
        elif kind == "RAW":
            file.attrs["file_type"] = "RAW_Series"
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged") / "any.h5"


@given(
    st.sampled_from(["NeXus", "canSAS", "RAW"]),
    st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(NAMES), st.sampled_from(VALUES)),
        min_size=1,
        max_size=4,
    ),
)
def test_changed_attributes_end_in_curves_or_a_reason(path, kind, changes):
    write_file(path, kind)
    with h5py.File(path, "a") as file:
        for place, name, value in changes:
            file[place].attrs[name] = value
    try:
        whole = read(path)
    except ReadError as refusal:
        reason = str(refusal)
    else:
        reason = ""
    if reason:
        # The file is sound: what its attributes say is the reason, and no error of the library.
        assert "damaged" not in reason
        return
    assert extent(Source(path, "any")).curves == len(whole)
    part = read(path, frames=range(1, len(whole)))
    assert [sample.origin for sample in part] == [sample.origin for sample in whole[1:]]


@given(st.sampled_from(["NeXus", "canSAS", "RAW"]), st.floats(0.0, 1.0, exclude_max=True))
def test_a_file_that_is_cut_off_is_refused(path, kind, kept):
    content = write_file(path, kind).read_bytes()
    path.write_bytes(content[: max(8, int(kept * len(content)))])
    for ask in (read, lambda path: extent(Source(path, "any"))):
        with pytest.raises(ReadError, match="damaged HDF5 file, or cut off"):
            ask(path)
