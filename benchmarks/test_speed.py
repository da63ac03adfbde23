"""The same work by gpusaxs and by its peers: times with ``--benchmark-enable``, else it runs."""

import numpy as np
import pytest

from benchmarks import peers
from benchmarks.curves import seven_line_curves
from benchmarks.measure import kernels_beside_scipy, run_gpusaxs, seconds, shares_of_time

pytestmark = pytest.mark.alone

LEAST_RATIO = 25.0
ROUNDS = 3


@pytest.fixture(scope="module")
def curves():
    return seven_line_curves(2000, different=40)


@pytest.fixture(scope="module")
def few(curves):
    return curves.first(40)


def test_gpusaxs_processes_curves_from_memory(benchmark, curves):
    run_gpusaxs(curves.first(10))
    result = benchmark(run_gpusaxs, curves)
    assert len(result) == 2000
    assert 7.0 <= result.samples["n_peaks"].to_numpy().mean() < 10.0


@pytest.mark.filterwarnings("ignore")
def test_the_peers_process_curves_in_one_process(benchmark, few):
    assert len(benchmark(peers.peaks_of_some, few)) == 40


@pytest.mark.filterwarnings("ignore")
def test_gpusaxs_finds_the_peaks_that_its_peers_find(few):
    result = run_gpusaxs(few)
    number = result.peaks["id"].to_numpy().astype(int)
    centres = result.peaks["q"].to_numpy()
    agree = []
    for curve, found in enumerate(peers.peaks_of_some(few)):
        for peak in found[(found[:, 6] < found[:, 0] / 10.0) & (found[:, 0] > 0)]:
            distance = np.abs(centres[number == curve] - peak[1])
            agree.append(np.nanmin(distance) < 0.1 * abs(peak[2]))
    assert len(agree) > 5 * len(few)
    assert np.mean(agree) > 0.9


def test_the_time_of_a_run_is_shared_out_in_full(few):
    shares = shares_of_time(few)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert {"snip", "savgol", "find_peak", "process_peak", "index_phase"} <= set(shares)


@pytest.mark.parametrize("kernel", ["savgol", "find_peak"])
def test_a_kernel_is_faster_than_the_function_of_scipy(kernel, curves):
    ours, theirs = kernels_beside_scipy(curves.first(500), ROUNDS)[kernel]
    assert ours < theirs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_gpusaxs_is_25_times_as_fast_as_its_peers_in_two_processes(curves):
    some = curves.first(200)
    run_gpusaxs(curves)
    with peers.pool(some) as executor:
        ratios = []
        for _ in range(ROUNDS):
            ours = len(curves) / seconds(lambda: run_gpusaxs(curves))
            ratios.append(ours * seconds(lambda: peers.process(executor, some)) / len(some))
    assert max(ratios) >= LEAST_RATIO
