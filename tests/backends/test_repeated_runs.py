"""Run after run, and at any place in a batch, a curve gives the same bits; on a GPU 100 times."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpusaxs.backends import cuda_problem, get_backend
from gpusaxs.batch import SampleBatch
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.simulate import simulate

ROOT = Path(__file__).parents[2]
CURVES = 96
RUNS = {"numpy": 4, "cuda": 100}
WITH_GPU = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(cuda_problem() is not None, reason=str(cuda_problem())),
]


@pytest.fixture(params=["numpy", pytest.param("cuda", marks=WITH_GPU)])
def backend(request):
    return get_backend(request.param)


@pytest.fixture(scope="module")
def curves():
    return simulate(CURVES, seed=11, counts=2000.0, points=500)


@pytest.mark.parametrize("pipeline", ["precise", "solution"])
def test_runs_give_the_same_bits(pipeline, backend, curves):
    rng = np.random.default_rng(1)
    runtime = Runtime(backend, pipeline=pipeline)
    first = None
    for _ in range(RUNS[backend.name]):
        order = rng.permutation(CURVES)
        batch = SampleBatch.from_arrays(
            [str(number) for number in order],
            curves.q,
            curves.intensity[order],
            curves.sigma[order],
            backend,
        )
        runtime.run_on(batch)
        states = {name: backend.to_host(of) for name, of in batch.take(order.argsort()).items()}
        bits = {name: values.tobytes() for name, values in states.items()}
        first = first or bits
        assert [name for name in first if bits[name] != first[name]] == []
    assert len(first) > 20
    assert pipeline == "solution" or states["n_peaks"].sum() > CURVES


@pytest.mark.skipif(cuda_problem() is None, reason="there is a GPU here")
@pytest.mark.skipif(
    Path(sys.prefix) != ROOT / ".venv", reason="the scripts of ci/ would set up an environment"
)
def test_the_checks_on_a_gpu_fail_without_one_and_say_why():
    done = subprocess.run(
        [ROOT / "ci" / "gpu"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 3
    assert f"Nothing was checked on a GPU: {cuda_problem()}" in done.stderr
