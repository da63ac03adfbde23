"""The CUDA drivers compute what the CPU does: in Numba's simulator, and on a GPU where one is.

This file run as a program writes what the cuda backend computes to the .npz named on its command
line; the simulator has to be chosen before Numba is imported, hence the process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gpusaxs.kernels.find_peaks import CONDITIONS, FOUND_COLUMNS, find_peaks

from gpusaxs.backends import cuda_problem, get_backend
from gpusaxs.batch import SampleBatch
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Sample
from gpusaxs.simulate import simulate

RESULTS = (
    "start", "stop", "status", "intensity", "sigma", "background", "residual", "search", "noise",
    "n_peaks", "peaks", "n_candidates", "n_phases", "phases", "verdict", "margin",
)  # fmt: skip
EXACT = ("start", "stop", "status", "n_peaks", "n_candidates", "n_phases", "verdict")
VARIANTS = {
    "standard": (),
    "power law and moving average": (
        "background.mode=power_law",
        "filter.method=moving_average",
        "process_peak.scale_uncertainties=true",
    ),
    "median in place of the curve": (
        "background.mode=none",
        "filter.method=median",
        "filter.replace=true",
    ),
    "widths and distances": (
        "find_peak.width=1.0",
        "find_peak.distance=3.0",
        "process_peak.shape=gaussian",
    ),
}


def curves_of_several_lengths():
    """Three curves; the second is shorter, the third has no sigma and starts in a shadow."""
    curves = simulate(
        3, seed=5, phases=["hexagonal", "lamellar"], counts=20000.0, points=120, q_max=2.0
    )
    lengths = (120, 90, 110)
    samples = [
        Sample(str(i), curves.q[:n], curves.intensity[i, :n], curves.sigma[i, :n])
        for i, n in enumerate(lengths)
    ]
    samples[2].sigma = None
    samples[2].intensity[:4] *= 0.01
    return samples


def everything_computed(backend):
    """Result arrays of each variant of the pipeline, and of the search for peaks alone."""
    computed = {}
    for variant, settings in VARIANTS.items():
        batch = SampleBatch.from_samples(curves_of_several_lengths(), backend)
        pipeline = Pipeline.load("standard").with_settings(settings)
        Runtime(backend, pipeline=pipeline).run_on(batch)
        for name in RESULTS:
            computed[f"{variant}: {name}"] = backend.to_host(getattr(batch, name))
    batch = SampleBatch.from_samples(curves_of_several_lengths(), backend)
    limits = np.tile([-np.inf, np.inf], (CONDITIONS, 1))
    found = backend.to_device(np.full((3, 60, FOUND_COLUMNS), np.nan))
    count = backend.to_device(np.zeros(3, np.int64))
    batch.launch(find_peaks, np.arange(3), batch.search, limits, -1, 0.5, found, count)
    computed["all peaks: n_found"] = backend.to_host(count)
    computed["all peaks: found"] = backend.to_host(found)
    return computed


@pytest.fixture(scope="module")
def on_the_cpu():
    return everything_computed(get_backend("numpy", 1))


def assert_agrees(computed, expected, tolerance):
    assert set(computed) == set(expected)
    for name, values in expected.items():
        if name.endswith(EXACT) or values.dtype.kind != "f":
            np.testing.assert_array_equal(computed[name], values, err_msg=name)
        else:
            # What cancels leaves rounding errors of the numbers that it was computed from.
            level = np.nanmax(np.abs(values), initial=0.0)
            np.testing.assert_allclose(
                computed[name], values, rtol=tolerance, atol=tolerance * level, err_msg=name
            )


def test_the_curves_here_have_peaks_and_phases_to_compare(on_the_cpu):
    assert (on_the_cpu["standard: n_peaks"] >= 3).all()
    assert on_the_cpu["standard: verdict"].max() > 0
    assert on_the_cpu["standard: start"].max() > 0


@pytest.mark.slow
def test_the_cuda_drivers_agree_with_the_cpu_in_the_simulator(on_the_cpu, tmp_path):
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed (pip install '.[test]')")
    output = tmp_path / "simulated.npz"
    simulator = {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"}
    subprocess.run(
        [sys.executable, "-W", "ignore", __file__, str(output)],
        env=os.environ | simulator,
        check=True,
        timeout=300,
    )
    with np.load(output) as simulated:
        assert_agrees(dict(simulated), on_the_cpu, 1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(cuda_problem() is not None, reason=str(cuda_problem()))
def test_a_gpu_agrees_with_the_cpu(on_the_cpu):
    assert_agrees(everything_computed(get_backend("cuda")), on_the_cpu, 1e-9)


if __name__ == "__main__":
    from gpusaxs.backends.cuda import CudaBackend

    np.savez(Path(sys.argv[1]), **everything_computed(CudaBackend()))
