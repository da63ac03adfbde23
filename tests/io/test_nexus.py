import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpusaxs.errors import ReadError
from gpusaxs.io import Source, extent, read

Q = np.linspace(0.01, 0.3, 20)
FRAMES = np.exp(-np.outer([1.0, 2.0, 3.0], Q))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data.nxs"


def write_data(path, group="entry/data", arrays=None, axes=("frame", "q"), **attributes):
    """One NXdata; ``units`` and ``long_name`` are attributes of the last axis."""
    of_q = {key: attributes.pop(key) for key in ("units", "long_name") if key in attributes}
    signal = attributes.get("signal", "data")
    arrays = {signal: FRAMES, "q": Q} if arrays is None else arrays
    with h5py.File(path, "a") as file:
        data = file.require_group(group)
        file.require_group(group.split("/")[0]).attrs["NX_class"] = "NXentry"
        data.attrs.update({"NX_class": "NXdata", "signal": signal} | attributes)
        if axes:
            data.attrs["axes"] = list(axes)
        for name, values in arrays.items():
            data[name] = values
        if axes and axes[-1] in arrays:
            data[axes[-1]].attrs.update({"units": "1/nm"} | of_q)
    return path


def test_nxdata_with_an_axis_q_is_read_frame_by_frame(path):
    write_data(path, arrays={"data": FRAMES, "q": Q, "errors": 0.1 * FRAMES})
    samples = read(path)
    assert [sample.id for sample in samples] == [f"data.nxs#{k}" for k in range(3)]
    assert {sample.origin.format for sample in samples} == {"nexus"}
    assert {sample.origin.q_unit_from for sample in samples} == {"metadata"}
    for sample, row in zip(samples, FRAMES, strict=True):
        assert np.array_equal(sample.q, Q)
        assert np.array_equal(sample.intensity, row)
        assert np.array_equal(sample.sigma, 0.1 * row)


@pytest.mark.parametrize(
    ("name", "units", "long_name", "unit", "unit_from"),
    [
        ("q", "1/angstrom", "", "1/angstrom", "metadata"),
        ("Q", "nm^-1", "", "1/nm", "metadata"),
        ("q", "", "", "1/angstrom", "guess"),
        ("q", "", "Scattering vector $q$ ($nm^{-1}$)", "1/nm", "metadata"),
        ("radial_axis", "1/angstrom", "q", "1/angstrom", "metadata"),
        ("polar_angle", "q_nm^-1", "", "1/nm", "metadata"),
        ("axis0", "", "q", "1/angstrom", "guess"),
        ("axis0", "", "q / Å⁻¹", "1/angstrom", "metadata"),
        ("q_A^-1", "", "", "1/angstrom", "metadata"),
        ("momentum_transfer", "1/nm", "", "1/nm", "metadata"),
    ],
)
def test_q_is_known_by_its_name_its_long_name_or_its_unit(
    path, name, units, long_name, unit, unit_from
):
    arrays = {"data": FRAMES, name: Q}
    write_data(path, arrays=arrays, axes=(".", name), units=units, long_name=long_name)
    sample = read(path)[0]
    assert (sample.origin.q_unit, sample.origin.q_unit_from) == (unit, unit_from)
    assert np.allclose(sample.q, Q if unit == "1/nm" else 10.0 * Q, rtol=1e-15)


@pytest.mark.parametrize(
    ("name", "units", "long_name", "reason"),
    [
        ("2th", "deg", "", "an angle: convert it to q first"),
        ("tth", "", "", "an angle"),
        ("q", "deg", "", "that is an angle"),
        ("radial", "2th_deg", "", "an angle"),
        ("r", "mm", "", "a radius on the detector"),
        ("radial", "r_mm", "", "a radius on the detector"),
        ("d", "angstrom", "", "a lattice spacing"),
        ("qx", "1/nm", "", "a component or a function of it"),
        ("qip", "1/nm", "", "a component or a function of it"),
        ("axis", "nm^-1", "Scattering vector $q_{IP}$ ($nm^{-1}$)", "a component"),
        ("q2", "1/nm", "", "a component or a function of it"),
        ("log", "?", "log10($q$.m)", "without an axis q"),
        ("k", "1/angstrom", "", "without an axis q"),
        ("radial", "", "", "without an axis q"),
        ("energy", "keV", "", "without an axis q"),
    ],
)
@pytest.mark.parametrize("q_unit", [None, "1/nm"])
def test_what_is_not_q_is_refused_whatever_the_caller_says_of_its_unit(
    path, name, units, long_name, reason, q_unit
):
    arrays = {"data": FRAMES, name: Q}
    write_data(path, arrays=arrays, axes=(".", name), units=units, long_name=long_name)
    with pytest.raises(ReadError, match=reason):
        read(path, q_unit=q_unit)


def test_an_unknown_unit_of_q_is_refused_unless_the_caller_names_one(path):
    write_data(path, units="1/cm")
    with pytest.raises(ReadError, match="gives q in '1/cm'"):
        read(path)
    assert read(path, q_unit="1/nm")[0].origin.q_unit_from == "argument"


def test_a_cake_is_refused_unless_it_is_of_one_sector(path):
    cake = np.ones((3, 4, 20))
    axes = (".", "chi", "q")
    write_data(path, arrays={"data": cake, "q": Q, "chi": np.arange(4.0)}, axes=axes)
    with pytest.raises(ReadError, match="holds a cake, intensities over 'chi' and q"):
        read(path)
    path.unlink()
    write_data(path, arrays={"data": cake[:, :1], "q": Q, "chi": np.zeros(1)}, axes=axes)
    assert len(read(path)) == 3


def test_images_are_refused(path):
    write_data(path, arrays={"data": np.ones((3, 30, 20))}, axes=())
    with pytest.raises(ReadError, match=r"without an axis q .* integrate images"):
        read(path)
    write_data(path, "other/data", {"data": np.ones((20, 20)), "q": Q, "q_y": Q}, ("q_y", "q"))
    assert len(read(path)) == 20
    path.unlink()
    write_data(path, arrays={"data": np.ones((20, 20)), "q": Q, "Q": Q}, axes=("Q", "q"))
    with pytest.raises(ReadError, match="an image over two axes of q"):
        read(path)
    path.unlink()
    write_data(path, arrays={"data": np.ones((3, 30, 20)), "q": Q}, axes=(".", ".", "q"))
    with h5py.File(path, "a") as file:
        file["entry/data/data"].attrs["interpretation"] = "image"
    with pytest.raises(ReadError, match="an axis without a name"):
        read(path)


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("errors", {}),
        ("data_errors", {}),
        ("other", {"data_uncertainties": "other"}),
        ("named", {"uncertainties": "named"}),
    ],
)
def test_uncertainties_are_those_named_or_of_a_usual_name(path, name, attributes):
    on_signal = {key: attributes.pop(key) for key in ("uncertainties",) if key in attributes}
    write_data(path, arrays={"data": FRAMES, "q": Q, name: 2.0 * FRAMES}, **attributes)
    with h5py.File(path, "a") as file:
        file["entry/data/data"].attrs.update(on_signal)
    assert np.array_equal(read(path)[1].sigma, 2.0 * FRAMES[1])


def test_an_old_file_gives_signal_and_axes_at_its_datasets(path):
    for axes in ("t:q", "[t,q]", None):
        path.unlink(missing_ok=True)
        with h5py.File(path, "w") as file:
            data = file.create_group("entry/data")
            data.attrs["NX_class"] = "NXdata"
            data["counts"], data["q"], data["t"] = FRAMES, Q, np.arange(3.0)
            data["counts"].attrs["signal"] = 1
            if axes:
                data["counts"].attrs["axes"] = axes
            else:
                data["t"].attrs["axis"], data["q"].attrs["axis"] = 1, 2
            data["q"].attrs["units"] = "1/nm"
        assert np.array_equal(read(path)[2].intensity, FRAMES[2])


def test_without_a_list_of_axes_q_is_found_and_goes_where_its_length_fits(path):
    for intensity in (FRAMES, FRAMES.T):
        path.unlink(missing_ok=True)
        write_data(path, arrays={"data": intensity, "q": Q}, axes=())
        samples = read(path)
        assert len(samples) == 3
        assert np.array_equal(samples[1].intensity, FRAMES[1])


def test_without_a_list_of_axes_a_resolution_of_q_is_not_taken_for_it(path):
    write_data(path, arrays={"data": FRAMES, "dQ": 0.01 * Q, "q": Q}, axes=())
    with h5py.File(path, "a") as file:
        for name in ("dQ", "q"):
            file[f"entry/data/{name}"].attrs["units"] = "1/nm"
    assert np.array_equal(read(path)[0].q, Q)


def test_the_indices_of_q_decide_where_two_axes_have_its_length(path):
    square = np.arange(400.0).reshape(20, 20)
    write_data(path, arrays={"data": square, "q": Q}, axes=(), q_indices=0)
    assert np.array_equal(read(path)[3].intensity, square[:, 3])
    path.unlink()
    write_data(path, arrays={"data": square, "q": Q}, axes=(".", "q"), q_indices=0)
    with pytest.raises(ReadError, match="q is axis 0 and that it is axis 1"):
        read(path)


def test_a_reduction_of_a_scan_is_counted_through_its_axes(path):
    grid = np.arange(120.0).reshape(2, 3, 1, 20)
    arrays = {"data": grid, "q": Q, "data_errors": grid, "y": np.arange(2.0), "x": np.arange(3.0)}
    write_data(path, "processed/result", arrays, axes=("y", "x", ".", "q"), units="1/angstrom")
    write_data(path, "processed/intermediate/0-mask", arrays, axes=("y", "x", ".", "q"))
    samples = read(path)
    assert len(samples) == 6
    assert np.array_equal(samples[4].intensity, grid[1, 1, 0])
    assert samples[0].origin.q_unit == "1/angstrom"


def test_the_default_of_an_entry_chooses_its_data(path):
    for name, row in (("first", 0), ("second", 1)):
        write_data(path, f"entry/{name}", {"data": FRAMES[row], "q": Q}, axes=("q",))
    assert len(read(path)) == 2
    with h5py.File(path, "a") as file:
        file["entry/process/chosen"] = h5py.SoftLink("/entry/second")
        file["entry"].attrs["default"] = "process"
        file["entry/process"].attrs["default"] = "chosen"
    (sample,) = read(path)
    assert np.array_equal(sample.intensity, FRAMES[1])


def test_a_default_that_is_no_curve_leaves_the_choice_open(path):
    write_data(path, "entry/images", {"data": np.ones((3, 5, 5))}, axes=())
    write_data(path, "entry/curves")
    with h5py.File(path, "a") as file:
        file["entry"].attrs["default"] = "images"
    assert len(read(path)) == 3


def test_every_entry_is_read_whichever_is_the_default_one(path):
    for k in range(3):
        write_data(path, f"scan{k}/data", {"data": FRAMES[k], "q": Q}, axes=("q",))
    with h5py.File(path, "a") as file:
        file.attrs["default"] = "scan2"
    assert len(read(path)) == 3


def test_the_same_dataset_is_read_once_under_all_its_names(path):
    write_data(path, "entry/data")
    with h5py.File(path, "a") as file:
        for kind in ("hard", "soft"):
            copy = file.create_group(f"entry/{kind}")
            copy.attrs.update({"NX_class": "NXdata", "signal": "data", "axes": [".", "q"]})
            for name in ("data", "q"):
                place = f"/entry/data/{name}"
                copy[name] = file[place] if kind == "hard" else h5py.SoftLink(place)
    assert len(read(path)) == 3
    assert extent(Source(path, "any")).curves == 3


def test_numbers_outside_the_file_are_refused_and_not_left_out(path, tmp_path):
    other = write_data(tmp_path / "other.nxs")
    write_data(path)
    write_data(path, "second/data", {"q": Q}, units="1/nm")
    with h5py.File(path, "a") as file:
        file["second/data/data"] = h5py.ExternalLink(str(other), "/entry/data/data")
    with pytest.raises(ReadError, match="refers in /second/data/data to another file"):
        read(path)


@pytest.mark.parametrize("name", ["data", "q", "errors"])
def test_a_virtual_dataset_is_refused(path, tmp_path, name):
    other = write_data(tmp_path / "other.nxs")
    shape = {"q": (20,)}.get(name, (3, 20))
    layout = h5py.VirtualLayout(shape=shape, dtype=float)
    layout[:] = h5py.VirtualSource(str(other), "entry/data/data", shape=shape)
    arrays = {"data": FRAMES, "q": Q, "errors": FRAMES}
    del arrays[name]
    write_data(path, arrays=arrays)
    with h5py.File(path, "a") as file:
        file["entry/data"].create_virtual_dataset(name, layout)
    with pytest.raises(ReadError, match=f"refers in /entry/data/{name} to another file"):
        read(path)


def test_data_of_another_kind_beside_the_curves_are_left_out(path):
    write_data(path, "entry/curves")
    write_data(path, "entry/angles", {"data": FRAMES, "2th": Q}, (".", "2th"), units="deg")
    with h5py.File(path, "a") as file:
        file.create_group("entry/monitor").attrs["NX_class"] = "NXdata"
    assert len(read(path)) == 3


def test_the_most_telling_reason_is_given(path):
    with h5py.File(path, "w") as file:
        file.create_group("entry/a").attrs["NX_class"] = "NXdata"
    with pytest.raises(ReadError, match="data without a signal in /entry/a"):
        read(path)
    write_data(path, "entry/b", {"data": np.ones((3, 5, 5))}, axes=())
    with pytest.raises(ReadError, match="without an axis q in /entry/b"):
        read(path)
    write_data(path, "entry/c", {"data": FRAMES, "tth": Q}, (".", "tth"), units="deg")
    with pytest.raises(ReadError, match="'tth' in /entry/c, an angle"):
        read(path)


def test_a_default_that_leads_in_a_circle_ends(path):
    write_data(path)
    with h5py.File(path, "a") as file:
        file["entry"].attrs["default"] = "."
        file["entry/again"] = h5py.SoftLink("/entry")
    assert len(read(path)) == 3


def test_an_absurd_declared_size_is_refused_before_memory_is_taken(path):
    write_data(path, arrays={"q": Q})
    with h5py.File(path, "a") as file:
        file["entry/data"].create_dataset("data", (10**9, 20), float, chunks=(1000, 20))
    with pytest.raises(ReadError, match="declares"):
        read(path)


@given(st.data())
def test_any_scan_comes_back_whole_and_in_slices(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("scans") / "scan.nxs"
    lengths = data.draw(st.lists(st.integers(1, 4), max_size=3))
    q_axis = data.draw(st.integers(0, len(lengths)))
    shape = (*lengths[:q_axis], 6, *lengths[q_axis:])
    stack = np.arange(float(np.prod(shape))).reshape(shape)
    axes = ["."] * len(shape)
    axes[q_axis] = "q"
    write_data(path, arrays={"data": stack, "q": Q[:6], "errors": -stack}, axes=axes)
    with h5py.File(path, "a") as file:
        file["entry/data/q"].attrs["units"] = "1/nm"
    frames = np.moveaxis(stack, q_axis, -1).reshape(-1, 6)
    whole = read(path)
    assert np.array_equal([sample.intensity for sample in whole], frames)
    assert np.array_equal([sample.sigma for sample in whole], -frames)
    start = data.draw(st.integers(0, len(frames)))
    stop = data.draw(st.integers(start, len(frames)))
    part = read(path, frames=range(start, stop))
    assert [sample.id for sample in part] == [sample.id for sample in whole[start:stop]]
    assert [list(sample.intensity) for sample in part] == frames[start:stop].tolist()
