"""Curves that are on a device already: taken where they are, with the results of the host."""

import importlib
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from device_double import DeviceArray, DeviceDouble
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from parity import CLASSIC

import gpusaxs
from gpusaxs.backends import cuda_problem
from gpusaxs.backends.cuda import CudaBackend
from gpusaxs.backends.cuda.simulator import SimulatedBackend
from gpusaxs.backends.foreign import backend_for, common_device, device_of, host_array
from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.errors import BackendError
from gpusaxs.repair import repair, repair_rows
from gpusaxs.runtime.result_cache import ResultCache
from gpusaxs.runtime.retry import Retry
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import CurveStatus, Sample
from gpusaxs.simulate import simulate

TABLES = ("samples", "peaks", "phases")


@pytest.fixture(scope="module")
def curves():
    return simulate(6, seed=11, phases=["hexagonal", "Ia-3d"], counts=20000.0, points=400)


def tables(result):
    # NaN equals NaN so, and no digit is lost.
    return {name: repr(getattr(result, name).to_pylist()) for name in TABLES}


def rows_copied(device):
    return {shape for shape in device.copied if shape[-1:] == (400,)}


def broken(curves):
    """The same, with points that were not measured, out of order, and of the same q."""
    q, intensity = np.tile(curves.q, (6, 1)), curves.intensity.copy()
    intensity[0, 100:103] = np.nan
    intensity[1] = np.nan
    q[2], intensity[2] = q[2, ::-1].copy(), intensity[2, ::-1].copy()
    q[3, 50:60] = q[3, 50]
    q[4, 7] = -q[4, 7]
    sigma = curves.sigma.copy()
    sigma[5, 30:40] = [0.0, -1.0, np.inf, np.nan, 1, 1, 1, 1, 1, 1]
    return q, intensity, sigma


def test_arrays_on_a_device_give_the_tables_of_the_host_and_no_curve_passes_through_it(curves):
    given_arrays = (curves.q, curves.intensity, curves.sigma)
    expected = gpusaxs.process(*given_arrays, q_unit="1/nm", backend="numpy")
    device = DeviceDouble()
    found = gpusaxs.process(*map(DeviceArray, given_arrays), q_unit="1/nm", backend=device)
    assert tables(found) == tables(expected)
    assert rows_copied(device) == {(400,), (1, 400)}  # the row of q, to the host and back


@pytest.mark.parametrize("unit", ["1/nm", "1/angstrom", None])
def test_broken_curves_are_repaired_where_they_are(curves, unit):
    q, intensity, sigma = broken(curves)
    q = q / 10.0 if unit == "1/angstrom" else q
    expected = gpusaxs.process(q, intensity, sigma, q_unit=unit, backend="numpy")
    assert "points_dropped" in expected.samples["status"][0].as_py()
    device = DeviceDouble()
    found = gpusaxs.process(*map(DeviceArray, (q, intensity, sigma)), q_unit=unit, backend=device)
    assert tables(found) == tables(expected)
    assert rows_copied(device) == {(400,)}  # points of the same q are averaged on the host


OTHER_PIPELINES = {
    "precise": ("precise", ()),
    "solution": ("solution", ()),
    "classic": ("classic", CLASSIC),
    "arpls and the median": (
        "standard",
        ("background.mode=arpls", "filter.method=median", "filter.replace=true"),
    ),
    "power law": ("standard", ("background.mode=power_law", "cut.trim_edges=true")),
    "common background": ("standard", ("background.mode=common",)),
    "common background of a window": (
        "standard",
        ("background.mode=common", "background.window_q_min=1.0"),
    ),
}


@pytest.mark.parametrize(("preset", "changes"), OTHER_PIPELINES.values(), ids=OTHER_PIPELINES)
def test_no_stage_mixes_arrays_of_the_device_and_of_the_host(curves, preset, changes):
    given_arrays = (curves.q, curves.intensity, curves.sigma)
    how = {"q_unit": "1/nm", "pipeline": preset, "settings": changes}
    expected = gpusaxs.process(*given_arrays, backend="numpy", **how)
    found = gpusaxs.process(*map(DeviceArray, given_arrays), backend=DeviceDouble(), **how)
    assert tables(found) == tables(expected)
    assert repr(found[1].metadata) == repr(expected[1].metadata)


def test_samples_that_come_and_go_pass_a_device(curves, tmp_path):
    rows = zip(curves.intensity, curves.sigma, strict=True)
    samples = [Sample(str(i), curves.q, *row) for i, row in enumerate(rows)]
    expected = [repr(sample.phases) for sample in Runtime("numpy").run(samples)]
    around = [Retry(), ResultCache(tmp_path)]
    with Runtime(DeviceDouble(), interceptors=around, rows_at_once=2) as runtime:
        for _ in range(2):
            done = runtime.submit(samples).result(100.0)
            assert [repr(sample.phases) for sample in done] == expected


def test_single_precision_is_taken_as_it_is(curves):
    single = [np.float32(part) for part in (curves.q, curves.intensity, curves.sigma)]
    expected = gpusaxs.process(*single, backend="numpy")
    found = gpusaxs.process(*map(DeviceArray, single), backend=DeviceDouble())
    assert tables(found) == tables(expected)


def test_blocks_of_a_device_array_and_one_curve_alone_give_the_same(curves, monkeypatch):
    given_arrays = (curves.q, curves.intensity, curves.sigma)
    expected = gpusaxs.process(*given_arrays, backend="numpy")
    monkeypatch.setattr(NumpyBackend, "block_points", 900)
    found = gpusaxs.process(*map(DeviceArray, given_arrays), backend=DeviceDouble())
    assert tables(found) == tables(expected)
    q, intensity, sigma = curves.q, curves.intensity[2], curves.sigma[2]
    alone = gpusaxs.process(*map(DeviceArray, (q, intensity, sigma)), backend=DeviceDouble())
    row = expected.samples.slice(2, 1).to_pylist()[0] | {"id": "0"}
    assert repr(alone.samples.to_pylist()) == repr([row])


def test_a_row_of_q_may_be_on_the_host(curves):
    expected = gpusaxs.process(curves.q, curves.intensity, backend="numpy")
    intensity = DeviceArray(curves.intensity)
    assert tables(gpusaxs.process(curves.q, intensity, backend=DeviceDouble())) == tables(expected)


def test_the_given_device_arrays_are_not_changed(curves):
    given_arrays = broken(curves)
    before = [part.copy() for part in given_arrays]
    gpusaxs.process(*map(DeviceArray, given_arrays), backend=DeviceDouble())
    for part, copy in zip(given_arrays, before, strict=True):
        np.testing.assert_array_equal(part, copy)


def test_a_sample_of_a_device_result_holds_what_one_of_the_host_holds(curves):
    given_arrays = (curves.q / 10.0, curves.intensity, curves.sigma)
    expected = gpusaxs.process(*given_arrays, q_unit="1/angstrom", backend="numpy")[3]
    found = gpusaxs.process(
        *map(DeviceArray, given_arrays), q_unit="1/angstrom", backend=DeviceDouble()
    )[3]
    for name in ("q", "intensity", "sigma", "background", "measured_q", "measured_intensity"):
        values = getattr(found, name)
        assert isinstance(values, np.ndarray), name
        np.testing.assert_array_equal(values, getattr(expected, name))
    assert repr(found.phases) == repr(expected.phases)


@pytest.mark.parametrize("block", [900, 10_000])
@pytest.mark.parametrize("backend", [DeviceDouble, lambda: "numpy"])
def test_kept_curves_stay_with_the_backend_and_are_those_of_the_samples(
    curves, backend, block, monkeypatch
):
    monkeypatch.setattr(NumpyBackend, "block_points", block)
    q, intensity, sigma = broken(curves)
    chosen = backend()
    if chosen != "numpy":
        q, intensity, sigma = map(DeviceArray, (q, intensity, sigma))
    result = gpusaxs.process(
        q, intensity, sigma, backend=chosen, keep_curves=True, settings=["cut.skip_first=20"]
    )
    kept = result.curves
    kind = np.ndarray if chosen == "numpy" else DeviceArray
    rows = {}
    for name in ("q", "intensity", "sigma", "background"):
        array = getattr(kept, name)
        assert isinstance(array, kind)
        rows[name] = array if chosen == "numpy" else array.memory
        assert rows[name].shape == (6, 400)
    for number in (0, 2, 3, 4, 5):
        inside = np.isfinite(rows["q"][number])
        assert 300 < inside.sum() <= 380
        for name, row in rows.items():
            np.testing.assert_array_equal(row[number, inside], getattr(result[number], name))
            assert np.isnan(row[number, ~inside]).all()


def test_curves_are_not_kept_unasked(curves):
    result = gpusaxs.process(curves.q, curves.intensity[:1], backend="numpy")
    assert not hasattr(result.curves, "intensity")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intensity": np.ones((2, 3, 400))}, "dimensions"),
        ({"q": np.ones(7)}, "Expected q as"),
        ({"sigma": np.ones((6, 7))}, "Expected sigma as"),
        ({"intensity": np.ones((6, 400), complex)}, "real numbers for intensity. Got complex128"),
        ({"sigma": np.ones((6, 400), bool)}, "real numbers for sigma. Got bool"),
    ],
)
def test_a_wrong_device_array_is_an_error_that_says_so(curves, change, message):
    arguments = {"q": curves.q, "intensity": curves.intensity, "sigma": curves.sigma} | change
    device = DeviceDouble()
    on_device = {name: DeviceArray(part) for name, part in arguments.items()}
    with pytest.raises(ValueError, match=message):
        gpusaxs.process(**on_device, backend=device)
    assert rows_copied(device) <= {(400,)}


# --- where an array is, and who takes it ---


class OnDevice:
    """An array of which only the protocols are known."""

    def __init__(self, kind, number):
        self.__dlpack_device__ = lambda: (kind, number)


class Interface:
    __cuda_array_interface__ = {"data": (4096, False), "shape": (3,), "typestr": "<f8"}  # noqa: RUF012


class Capsules:
    """A library that knows DLPack alone."""

    def __init__(self, values):
        self._values = values

    def __dlpack_device__(self):
        return 1, 0

    def __dlpack__(self, **options):
        return self._values.__dlpack__(**options)


@pytest.mark.parametrize(
    ("array", "device"),
    [
        (np.ones(3), None),
        ([1.0, 2.0], None),
        (OnDevice(1, 0), None),
        (OnDevice(3, 0), None),
        (OnDevice(2, 0), 0),
        (OnDevice(2, 3), 3),
        (OnDevice(13, 1), 1),
    ],
)
def test_the_place_of_an_array_is_known_by_its_protocol(array, device):
    assert device_of(array) == device


def test_a_device_of_another_make_is_an_error():
    with pytest.raises(BackendError, match=r"NVIDIA GPU. Got one .* numbers 10. Copy it"):
        device_of(OnDevice(10, 0))


def test_the_place_of_an_array_without_dlpack_is_that_of_its_pointer(monkeypatch):
    place = "gpusaxs.backends.cuda.devices.device_of_pointer"
    monkeypatch.setattr(place, lambda pointer: pointer // 1024)
    assert device_of(Interface()) == 4


def test_curves_are_in_one_place_but_q_may_be_on_the_host():
    here, there, host = OnDevice(2, 0), OnDevice(2, 1), np.ones(3)
    assert common_device(here, here, here) == 0
    assert common_device(host, there, None) == 1
    assert common_device(host, host, host) is None
    with pytest.raises(BackendError, match=r"Expected q on GPU 0, where the int.*Got it on GPU 1"):
        common_device(there, here, here)
    with pytest.raises(BackendError, match=r"Expected sigma on GPU 0.*Got it in host memory. Copy"):
        common_device(here, here, host)
    with pytest.raises(BackendError, match=r"Expected q in host memory.*Got it on GPU 1"):
        common_device(there, host, host)


def test_arrays_choose_the_device_unless_one_is_named():
    assert backend_for("auto", None) == "auto"
    assert backend_for("numpy", None) == backend_for("numpy", 1) == "numpy"
    assert backend_for("auto", 0) == backend_for("cuda", 0) == "cuda:0"
    assert backend_for("auto", 2) == backend_for("cuda", 2) == "cuda:2"
    assert backend_for("cuda:1", 2) == "cuda:1"


def test_the_numpy_backend_copies_no_device_array_and_says_what_to_do(curves):
    on_device = map(DeviceArray, (curves.q, curves.intensity, curves.sigma))
    with pytest.raises(BackendError, match=r"backend 'numpy'.*cupy.asnumpy\(array\)"):
        gpusaxs.process(*on_device, backend="numpy")


@pytest.mark.skipif(cuda_problem() is None, reason="there is a GPU")
def test_device_arrays_ask_for_cuda_and_hear_why_there_is_none(curves):
    with pytest.raises(BackendError, match=r"cuda backend needs|finds no usable"):
        gpusaxs.process(curves.q, DeviceArray(curves.intensity))


def test_arrays_that_know_dlpack_alone_are_taken_without_a_copy(curves):
    given_arrays = (curves.q, curves.intensity, curves.sigma)
    assert np.shares_memory(host_array(Capsules(curves.intensity)), curves.intensity)
    found = gpusaxs.process(*map(Capsules, given_arrays), backend="numpy")
    assert tables(found) == tables(gpusaxs.process(*given_arrays, backend="numpy"))


def test_no_array_library_is_imported_to_know_arrays_by_their_protocols():
    code = (
        "import sys, numpy, gpusaxs.api; from gpusaxs.backends.foreign import *\n"
        "common_device(numpy.ones(3), [1.0], None), host_array([1.0])\n"
        "assert not {'torch', 'jax', 'cupy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("library", ["torch", "jax.numpy"])
def test_arrays_of_other_libraries_on_the_host_are_taken(curves, library):
    module = pytest.importorskip(library, reason=f"{library} is not installed")
    make = module.from_numpy if library == "torch" else module.asarray
    single = [np.float32(part) for part in (curves.q, curves.intensity, curves.sigma)]
    found = gpusaxs.process(*map(make, single), backend="numpy")
    assert tables(found) == tables(gpusaxs.process(*single, backend="numpy"))


# --- how the cuda backend takes an array, without a card ---


class Card:
    """Stands where cupy does; notes what is called, in order."""

    def __init__(self, number):
        self.calls = []
        self.cuda = self
        self.id = number  # it is its own device, too

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def synchronize(self):
        self.calls.append(f"wait for device {self.id}")

    def get_current_stream(self):
        return SimpleNamespace(synchronize=lambda: self.calls.append("wait for stream"))

    def from_dlpack(self, array):
        self.calls.append("from_dlpack")
        return SimpleNamespace(of=array, device=self)

    def asarray(self, array):
        self.calls.append("asarray")
        return SimpleNamespace(of=array, device=self)


def backend_on(card, *devices):
    backend = object.__new__(CudaBackend)
    backend.xp, backend.devices = card, devices
    return backend


class Both(Interface):
    def __dlpack__(self, **_):
        raise AssertionError("CuPy calls this, with its stream")


class Streamed:
    __cuda_array_interface__ = Interface.__cuda_array_interface__ | {"version": 3, "stream": None}


@pytest.mark.parametrize(
    ("array", "calls"),
    [
        (Both(), ["from_dlpack", "wait for stream"]),
        (Streamed(), ["asarray", "wait for stream"]),
        (Interface(), ["asarray", "wait for device 0"]),
    ],
)
def test_the_producer_has_ended_before_the_cuda_backend_takes_an_array(array, calls):
    card = Card(0)
    view = backend_on(card, 0).adopt(array)
    assert card.calls == calls
    assert view.of is array


def test_the_simulated_device_takes_an_array_without_a_copy(curves):
    taken = SimulatedBackend().adopt(DeviceArray(curves.intensity))
    assert np.shares_memory(taken, curves.intensity)


@pytest.mark.parametrize(("devices", "named"), [((0,), "GPU 0"), ((0, 2), "GPU 0, 2")])
def test_an_array_on_another_device_than_the_backend_is_an_error(devices, named):
    message = rf"on {named}, the.*Got one on GPU 2. Give backend='cuda:2'"
    with pytest.raises(BackendError, match=message):
        backend_on(Card(2), *devices).adopt(Both())


def test_cupy_has_what_the_cuda_backend_and_the_stages_call():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    names = (
        "from_dlpack asarray array asnumpy isfinite argsort where take_along_axis diff arange "
        "full_like broadcast_to cuda.Device cuda.get_current_stream cuda.runtime.getDevice "
        "cuda.runtime.pointerGetAttributes ndarray.__dlpack_device__ cuda.Stream.synchronize"
    )
    for name in names.split():
        place = cupy
        for part in name.split("."):
            if not hasattr(place, part):
                place = importlib.import_module(place.__name__ + "." + part)
            else:
                place = getattr(place, part)
        assert callable(place), name


# --- repair of many curves at once ---


@settings(max_examples=200)
@given(
    q=arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(1, 30)),
        elements=st.sampled_from([*np.linspace(0.1, 2.0, 25), np.nan, np.inf, 0.0, -1.0]),
    ),
    sort=st.booleans(),
    data=st.data(),
)
def test_repair_of_many_curves_is_that_of_each(q, sort, data):
    q = np.sort(q, axis=1) if sort else q
    some = st.sampled_from([1.0, 2.0, 2.5, np.nan, np.inf, -3.0])
    intensity = data.draw(arrays(np.float64, q.shape, elements=some))
    sigma = data.draw(arrays(np.float64, q.shape, elements=st.sampled_from([0.1, 0.2, np.nan])))
    module = data.draw(st.sampled_from([np, DeviceDouble().xp]))
    args = (q, intensity, sigma)
    found = repair_rows(module, *(args if module is np else map(DeviceArray, args)))
    *rows, stop, status = found if module is np else [part.memory for part in found]
    for curve in range(len(q)):
        *expected, flags = repair(*(part[curve] for part in args))
        assert CurveStatus(int(status[curve])) == flags
        assert stop[curve] == expected[0].size
        for row, values in zip(rows, expected, strict=True):
            np.testing.assert_array_equal(row[curve, : stop[curve]], values)
            assert np.isnan(row[curve, stop[curve] :]).all()


# --- on a card ---

on_a_card = pytest.mark.skipif(cuda_problem() is not None, reason=str(cuda_problem()))


class ByInterface:
    """A CuPy array of which only ``__cuda_array_interface__`` is known."""

    def __init__(self, array, stream):
        self._array = array
        self.__cuda_array_interface__ = array.__cuda_array_interface__ | {
            "version": 3,
            "stream": stream.ptr,
        }


def written_late(cupy, values, stream):
    """An array that its stream fills only after a tenth of a second of other work."""
    array = cupy.full(values.shape, cupy.nan)
    source = cupy.asarray(values)
    cupy.cuda.Device().synchronize()
    with stream:
        busy = cupy.ones((4096, 4096))
        for _ in range(20):
            busy = busy @ busy / 4096.0
        array[...] = source
    return array


@pytest.mark.gpu
@on_a_card
@pytest.mark.parametrize("protocol", ["dlpack", "interface"])
def test_a_card_waits_for_the_producer_and_gives_the_tables_of_host_arrays(curves, protocol):
    import cupy

    given_arrays = (curves.q, curves.intensity, curves.sigma)
    expected = gpusaxs.process(*given_arrays, q_unit="1/nm", backend="cuda")
    stream = cupy.cuda.Stream(non_blocking=True)
    late = [written_late(cupy, values, stream) for values in given_arrays]
    if protocol == "dlpack":
        with stream:
            found = gpusaxs.process(*late, q_unit="1/nm")
    else:
        found = gpusaxs.process(*(ByInterface(one, stream) for one in late), q_unit="1/nm")
    assert tables(found) == tables(expected)


@pytest.mark.gpu
@on_a_card
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_card_repairs_broken_curves_as_the_host_does(curves, order):
    import cupy

    given_arrays = broken(curves)
    expected = gpusaxs.process(*given_arrays, q_unit="1/nm", backend="cuda")
    on_card = [cupy.array(values, order=order) for values in given_arrays]
    assert tables(gpusaxs.process(*on_card, q_unit="1/nm")) == tables(expected)


@pytest.mark.gpu
@on_a_card
def test_kept_curves_stay_on_a_card(curves):
    import cupy

    on_card = [cupy.asarray(values) for values in broken(curves)]
    result = gpusaxs.process(*on_card, q_unit="1/nm", keep_curves=True)
    for name in ("q", "intensity", "sigma", "background"):
        array = getattr(result.curves, name)
        assert isinstance(array, cupy.ndarray)
        row = cupy.asnumpy(array[2])
        np.testing.assert_array_equal(row[np.isfinite(row)], getattr(result[2], name))


@pytest.mark.gpu
@on_a_card
def test_torch_tensors_on_a_card_are_taken(curves):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    given_arrays = (curves.q, curves.intensity, curves.sigma)
    expected = gpusaxs.process(*given_arrays, q_unit="1/nm", backend="cuda")
    tensors = [torch.from_numpy(values).cuda() for values in given_arrays]
    assert tables(gpusaxs.process(*tensors, q_unit="1/nm")) == tables(expected)
