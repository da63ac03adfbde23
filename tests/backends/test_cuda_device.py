"""On a real GPU: what the double of CuPy only stands for."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gpusaxs.kernels.restart_search import restart_search

import gpusaxs
from gpusaxs.backends import cuda_problem, get_backend
from gpusaxs.backends.cuda.backend import CudaBackend
from gpusaxs.backends.cuda.memory import BESIDE_ARRAYS
from gpusaxs.batch import SampleBatch
from gpusaxs.simulate import simulate

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(cuda_problem() is not None, reason=str(cuda_problem())),
]

CURVES, POINTS = 600, 400


@pytest.fixture(scope="module")
def device():
    backend = get_backend("cuda")
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def curves():
    return simulate(CURVES, seed=4, phases=["hexagonal", "Pn-3m"], counts=5000.0, points=POINTS)


@pytest.fixture(scope="module")
def whole(curves):
    return process(curves)


def process(curves, **options):
    given = {"q_unit": "1/nm", "backend": "cuda"} | options
    return gpusaxs.process(curves.q, curves.intensity, curves.sigma, **given)


def assert_same_bits(mine, theirs):
    for name in ("samples", "peaks", "phases"):
        assert repr(getattr(mine, name).to_pylist()) == repr(getattr(theirs, name).to_pylist())


@pytest.mark.parametrize(
    "shape", [(0,), (1,), (1, 5000), (3000, 1000), (5, 3_000_000), (2000, 32, 21), (64, 33)]
)
@pytest.mark.parametrize("dtype", ["float64", "int64", "bool"])
def test_arrays_come_back_as_they_went(device, shape, dtype):
    array = np.random.default_rng(1).integers(0, 2, shape).astype(dtype)
    with device.lane():
        there = device.to_device(array)
        assert there.flags.f_contiguous
        np.testing.assert_array_equal(device.to_host(there), array)


def test_lanes_at_the_same_time_keep_their_arrays_apart(device):
    def round_trips(seed):
        arrays = [np.random.default_rng(seed + i).normal(size=(900, 1100)) for i in range(6)]
        with device.lane():
            there = [device.to_device(array) for array in arrays]
            return all(
                (device.to_host(copy) == array).all()
                for copy, array in zip(there, arrays, strict=True)
            )

    with ThreadPoolExecutor(2 * device.blocks_in_flight) as pool:
        assert all(pool.map(round_trips, range(0, 240, 6)))


@pytest.mark.parametrize("per_block", [7, 100])
def test_blocks_in_flight_change_nothing(curves, whole, per_block, monkeypatch):
    monkeypatch.setattr(CudaBackend, "block_points", per_block * POINTS)
    assert_same_bits(process(curves), whole)


def test_the_same_run_gives_the_same_bits_again(curves, whole):
    for _ in range(5):
        assert_same_bits(process(curves), whole)


def test_a_run_in_little_memory_takes_no_more_and_gives_the_same_bits(curves, whole):
    limit = BESIDE_ARRAYS + 40_000_000
    assert_same_bits(process(curves, device_memory=limit), whole)
    backend = get_backend("cuda", device_memory=limit)
    assert backend.curves_at_once(POINTS) < CURVES
    with backend.lane():
        with pytest.raises(gpusaxs.errors.OutOfMemoryError):
            backend.empty((50_000_000,))
        assert backend._memory.pool.total_bytes() <= limit - BESIDE_ARRAYS
    backend.close()


def test_where_scratch_is_short_a_launch_goes_on_by_halves(curves, whole, monkeypatch):
    backend = get_backend("cuda", device_memory=BESIDE_ARRAYS + 60_000_000)
    monkeypatch.setattr(CudaBackend, "curves_at_once", lambda self, points: None)
    monkeypatch.setattr(CudaBackend, "rows_at_once", lambda self, points: None)
    monkeypatch.setattr("gpusaxs.runtime.runtime.get_backend", lambda *_: backend)
    assert_same_bits(process(curves), whole)


def test_two_processes_share_a_card(curves, whole):
    code = (
        "import gpusaxs; c = gpusaxs.simulate(2000, seed=1, points=400); "
        "r = gpusaxs.process(c.q, c.intensity, c.sigma, q_unit='1/nm', backend='cuda'); "
        "assert r.samples['verdict'].to_pylist().count('failed') == 0"
    )
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert_same_bits(process(curves), whole)
    assert [other.wait(300.0) for other in others] == [0, 0]


@pytest.mark.alone
def test_a_launch_costs_the_host_less_than_30_microseconds(device, curves):
    rows, launches = np.arange(100), 500
    with device.lane():
        batch = SampleBatch.from_arrays(
            [str(i) for i in rows], curves.q, curves.intensity[:100], curves.sigma[:100], device
        )
        arguments = (batch.intensity, batch.sigma, batch.residual, batch.search, batch.noise)
        span = batch.start, batch.stop
        spent = []
        for _ in range(5):
            device.synchronize()
            began = time.perf_counter()
            for _ in range(launches):
                device.launch(restart_search, rows, span, *arguments)
            spent.append((time.perf_counter() - began) / launches)
            device.synchronize()
    assert min(spent) < 30e-6, f"{min(spent) * 1e6:.1f} us"


def test_the_card_is_told_with_its_name_and_memory(device):
    from gpusaxs.backends.cuda.devices import devices

    found = devices(device.xp)
    assert [card.number for card in found] == list(range(len(found)))
    assert all(card.name and 0 < card.free <= card.total for card in found)
    assert all(card.compute_capability >= (7, 0) for card in found)


def test_the_last_card_alone_gives_the_same_bits(device, curves, whole):
    last = device.xp.cuda.runtime.getDeviceCount() - 1
    if last == 0:
        pytest.skip("there is one GPU")
    assert_same_bits(process(curves, backend=f"cuda:{last}"), whole)
    assert_same_bits(process(curves, backend="cuda:all"), whole)
