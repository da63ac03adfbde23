import importlib.util
import logging
import subprocess
import sys
import threading

import numpy as np
import pytest
from gpusaxs.kernels.curve_kernel import Output, PerCurve, Row, Rows, Scratch, Shared, curve_kernel
from gpusaxs.kernels.restart_search import restart_search

from gpusaxs import backends
from gpusaxs.backends import cuda_problem, get_backend
from gpusaxs.backends import numpy as numpy_backend
from gpusaxs.backends.numpy import NumpyBackend, available_cores
from gpusaxs.errors import BackendError


@curve_kernel
def weighted_sum(
    values: Row,
    table: Rows,
    factor: PerCurve,
    offset: Shared,
    total: Output,
    work: Scratch,
) -> None:
    """Sum of factor * values + offset, into total; the number of points into the table."""
    for i in range(values.shape[0]):
        work[i] = factor * values[i] + offset
    for i in range(values.shape[0]):
        total[0] += work[i]
    table[0] = values.shape[0]


@pytest.fixture
def no_cuda(monkeypatch):
    """A machine on which CuPy is not installed."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "cupy" else find_spec(name)
    )
    monkeypatch.setitem(sys.modules, "cupy", None)
    cuda_problem.cache_clear()
    yield
    cuda_problem.cache_clear()


def launch_sums(backend, curves=200, points=37):
    """Launch `weighted_sum` over every third curve; what it wrote, and what it should have."""
    rng = np.random.default_rng(curves)
    values = rng.normal(size=(curves, points))
    start = rng.integers(0, 5, curves)
    stop = points - rng.integers(0, 5, curves)
    factor = rng.normal(size=curves)
    total, table = np.zeros(curves), np.zeros((curves, 1))
    rows = np.arange(0, curves, 3)
    backend.launch(weighted_sum, rows, (start, stop), values, table, factor, 0.5, total)
    expected = np.zeros(curves)
    for row in rows:
        expected[row] = np.sum(factor[row] * values[row, start[row] : stop[row]] + 0.5)
    counts = np.zeros((curves, 1))
    counts[rows, 0] = (stop - start)[rows]
    return total, expected, table, counts


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("chunk", [1, 64])
def test_a_launch_reaches_the_chosen_curves_and_no_others(workers, chunk, monkeypatch):
    monkeypatch.setattr(numpy_backend, "CHUNK", chunk)
    total, expected, table, counts = launch_sums(NumpyBackend(workers))
    np.testing.assert_allclose(total, expected, rtol=1e-12)
    np.testing.assert_array_equal(table, counts)


def test_a_launch_over_no_curve_does_nothing():
    values = np.ones((2, 5))
    none = np.array([], np.int64)
    span = (np.zeros(2, np.int64), np.full(2, 5))
    out = [np.zeros((2, 5)) for _ in range(3)]
    NumpyBackend(1).launch(restart_search, none, span, values, values, *out)
    assert not np.any(out)


def test_a_shared_row_serves_all_curves():
    values = np.arange(4.0)[np.newaxis]
    total, table = np.zeros(3), np.zeros((3, 1))
    span = (np.zeros(3, np.int64), np.full(3, 4))
    NumpyBackend(1).launch(weighted_sum, np.arange(3), span, values, table, np.ones(3), 0.0, total)
    np.testing.assert_array_equal(total, 6.0)


def test_a_wrong_number_of_arguments_is_named_with_what_is_expected():
    span = (np.zeros(1, np.int64), np.full(1, 4))
    with pytest.raises(TypeError, match=r"Expected 5 arguments.*restart_search.*noise.*Got 1"):
        NumpyBackend(1).launch(restart_search, np.arange(1), span, np.ones((1, 4)))


@pytest.mark.parametrize("where", ["caller", "helper"])
def test_an_error_in_any_worker_reaches_the_caller(where, monkeypatch):
    caller = threading.current_thread()
    failed = threading.Event()

    def driver(*_):
        if (threading.current_thread() is caller) == (where == "caller"):
            failed.set()
            raise MemoryError("no room")
        failed.wait(10.0)

    monkeypatch.setitem(vars(weighted_sum), "cpu_driver", driver)
    with pytest.raises(MemoryError, match="no room"):
        launch_sums(NumpyBackend(2), 1000)


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_may_launch_on_one_backend_at_once(workers):
    backend = NumpyBackend(workers)
    gate = threading.Barrier(4)
    failures = []

    def work(curves):
        gate.wait()
        for _ in range(20):
            total, expected, table, counts = launch_sums(backend, curves)
            if not np.allclose(total, expected, rtol=1e-12) or (table != counts).any():
                failures.append(curves)

    threads = [threading.Thread(target=work, args=(curves,)) for curves in (200, 333, 800, 1001)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_arrays_stay_where_they_are_and_contiguous():
    backend = NumpyBackend(1)
    array = np.ones((3, 4))
    assert backend.to_device(array) is array
    assert backend.to_host(array) is array
    assert backend.to_device(array.T).flags.c_contiguous
    assert backend.empty((2, 3), np.int64).dtype == np.int64
    backend.synchronize()


def test_all_available_cores_work_unless_a_number_is_given():
    assert get_backend("numpy").workers == available_cores()
    assert get_backend("numpy", 3).workers == 3


@pytest.mark.parametrize("workers", [0, -2])
def test_at_least_one_worker_is_expected(workers):
    with pytest.raises(ValueError, match=f"at least 1 worker. Got {workers}"):
        get_backend("numpy", workers)


def test_an_unknown_backend_is_named_with_the_known_ones():
    with pytest.raises(BackendError, match=r"'auto', 'numpy', 'cuda', .* Got 'jax'"):
        get_backend("jax")


@pytest.mark.usefixtures("no_cuda")
def test_asking_for_cuda_without_cupy_says_what_to_install():
    with pytest.raises(BackendError, match=r"CuPy.*pip install 'gpusaxs\[cuda\]'"):
        get_backend("cuda")
    assert "needs CuPy, which is not installed. Install it with: pip install" in cuda_problem()


@pytest.mark.usefixtures("no_cuda")
def test_auto_takes_numpy_without_cuda_and_says_so_once(caplog):
    backends._say_once.cache_clear()
    with caplog.at_level(logging.INFO, logger="gpusaxs"):
        assert get_backend("auto", 2).name == "numpy"
        assert get_backend("auto").name == "numpy"
    said = [record.message for record in caplog.records if record.message.startswith("backend")]
    assert said == [f"backend: numpy ({cuda_problem()})"]


@pytest.mark.usefixtures("no_cuda")
def test_auto_without_cuda_passes_the_number_of_workers_on():
    assert get_backend("auto", 3).workers == 3


@pytest.mark.parametrize("backend", ["auto", "numpy"])
def test_the_numpy_backend_imports_no_cupy(backend):
    code = f"""
import sys
from gpusaxs.backends import get_backend
if get_backend({backend!r}).name == "numpy":
    assert "cupy" not in sys.modules or {backend!r} == "auto"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
