import threading
import time

import numpy as np
import pytest
from gpusaxs.kernels.curve_kernel import CurveKernel, scratch_shape

from gpusaxs import kernels
from gpusaxs.backends import numpy as numpy_backend
from gpusaxs.backends.cuda import SCRATCH_BESIDE, SCRATCH_ROWS
from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.backends.supervision import check_deadline, limited_to, observed_by, supervision
from gpusaxs.batch import SampleBatch
from gpusaxs.errors import StageTimeoutError
from gpusaxs.repair import MIN_POINTS
from gpusaxs.simulate import simulate


class Watcher:
    def __init__(self):
        self.kernels = []

    def kernel_ran(self, kernel, rows, began, worker):
        self.kernels.append((kernel, rows, began, worker))


def batch_of(curves, backend):
    found = simulate(curves, seed=1, points=100)
    ids = [str(i) for i in range(curves)]
    return SampleBatch.from_arrays(ids, found.q, found.intensity, found.sigma, backend)


def test_an_observer_hears_of_each_workers_share_and_the_shares_add_up(monkeypatch):
    monkeypatch.setattr(numpy_backend, "CHUNK", 2)
    watcher = Watcher()
    batch = batch_of(21, NumpyBackend(3))
    began = time.perf_counter()
    with observed_by(watcher):
        batch.replace_by_search(np.arange(21))
    batch.replace_by_search(np.arange(21))
    assert sum(rows for _, rows, _, _ in watcher.kernels) == 21
    assert {name for name, _, _, _ in watcher.kernels} == {"restart_search"}
    assert all(began <= start <= time.perf_counter() for _, _, start, _ in watcher.kernels)
    workers = [worker for _, _, _, worker in watcher.kernels]
    assert len(set(workers)) == len(workers)


def test_an_observer_hears_of_its_own_thread_alone():
    backend, watchers = NumpyBackend(2), [Watcher(), Watcher()]

    def work(watcher, curves):
        batch = batch_of(curves, backend)
        with observed_by(watcher):
            for _ in range(5):
                batch.replace_by_search(np.arange(curves))

    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(watchers, (70, 150), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sum(rows for _, rows, _, _ in w.kernels) for w in watchers] == [350, 750]


def test_a_deadline_ends_with_its_block_and_is_the_threads_own():
    seen = []
    with limited_to(60.0):
        thread = threading.Thread(target=lambda: seen.append(supervision().deadline))
        thread.start()
        thread.join()
    check_deadline()
    assert seen == [float("inf")]
    with pytest.raises(StageTimeoutError), limited_to(0.001):
        time.sleep(0.01)
    check_deadline()


def test_a_kernel_stops_between_chunks_when_its_time_is_over(monkeypatch):
    monkeypatch.setattr(numpy_backend, "CHUNK", 1)
    batch = batch_of(5, NumpyBackend(2))
    batch.residual[:] = 7.0
    with pytest.raises(StageTimeoutError), limited_to(1e-9):
        batch.replace_by_search(np.arange(5))
    assert (batch.residual == 7.0).all()
    batch.replace_by_search(np.arange(5))
    assert not (batch.residual == 7.0).any()


def all_kernels():
    import importlib
    import pkgutil

    for found in pkgutil.iter_modules(kernels.__path__):
        module = importlib.import_module(f"gpusaxs.kernels.{found.name}")
        for value in vars(module).values():
            if isinstance(value, CurveKernel) and value.py_func.__module__ == module.__name__:
                yield value


@pytest.mark.parametrize("points", [MIN_POINTS, 100, 1000])
def test_no_kernel_needs_more_scratch_than_launches_are_sized_for(points):
    found = list(all_kernels())
    assert {"cut", "process_peak", "index_phase", "snip"} <= {kernel.name for kernel in found}
    for kernel in found:
        numbers = sum(int(np.prod(scratch_shape(part, points))) for part in kernel.scratch)
        assert numbers <= SCRATCH_ROWS * points + SCRATCH_BESIDE, kernel.name
