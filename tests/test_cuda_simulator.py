"""The CUDA drivers compute what the CPU does: in Numba's simulator, and on a GPU where one is.

This file run as a program writes what the cuda and the numpy backend compute into a folder; the
simulator has to be chosen before Numba is imported, hence the process of its own.
"""

import math
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from gpusaxs.kernels.find_peaks import CONDITIONS, FOUND_COLUMNS, find_peaks
from parity import (
    DECISIONS,
    PIPELINES,
    RUNS,
    compare,
    curves_of_several_lengths,
    few_curves,
    many_curves,
    outcome,
)
from test_cuda_ptx import KERNELS

from gpusaxs.backends import cuda_problem, get_backend
from gpusaxs.batch import SampleBatch
from gpusaxs.io.nxcansas_writer import write_stack
from gpusaxs.stages.background import Background


def by_kernels_alone(backend):
    """What kernels compute that no pipeline here launches: a blank, all peaks of a curve."""
    curves = curves_of_several_lengths()
    batch = SampleBatch.from_samples(curves, backend)
    with TemporaryDirectory() as folder:
        blank = Path(folder) / "blank.h5"
        row, sigma = 0.5 * curves[0].intensity[None], curves[0].sigma[None]
        write_stack(blank, curves[0].q, row, sigma, title="blank")
        window = {"window_q_min": 0.4, "window_q_max": 0.6}
        Background(mode="blank", blank_file=str(blank), **window).launch(batch, batch.live_rows())
    computed = {
        f"blank: {name}": backend.to_host(getattr(batch, name))
        for name in ("status", "intensity", "sigma", "background")
    }
    batch = SampleBatch.from_samples(curves, backend)
    limits = np.tile([-np.inf, np.inf], (CONDITIONS, 1))
    found = backend.to_device(np.full((len(curves), 125, FOUND_COLUMNS), np.nan))
    count = backend.to_device(np.zeros(len(curves), np.int64))
    batch.launch(find_peaks, np.arange(len(curves)), batch.search, limits, -1, 0.5, found, count)
    computed["all peaks: n_found"] = backend.to_host(count)
    computed["all peaks: found"] = backend.to_host(found)
    return computed


def assert_kernels_agree(computed):
    expected = by_kernels_alone(get_backend("numpy", 1))
    assert (expected["all peaks: n_found"] > 3).all()
    assert np.abs(expected["blank: background"][0]).max() > 0
    for name, values in expected.items():
        np.testing.assert_allclose(computed[name], values, rtol=1e-9, err_msg=name)


@pytest.fixture(scope="module")
def measured_folder(pytestconfig):
    """The folder of measured curves, which may be missing."""
    return pytestconfig.rootpath.parent / "shared" / "data"


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory, measured_folder):
    """What both backends compute in plain Python: the cuda one in the simulator, and numpy."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed (pip install '.[test]')")
    folder = tmp_path_factory.mktemp("interpreted")
    subprocess.run(
        [sys.executable, "-W", "ignore", __file__, folder, measured_folder],
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"},
        check=True,
        timeout=300,
    )
    return {file.stem: dict(np.load(file)) for file in folder.glob("*.npz")}


def test_the_cuda_drivers_give_the_bits_of_the_cpu_drivers_in_the_simulator(interpreted):
    assert set(interpreted["cuda"]) == set(interpreted["numpy"])
    for name, values in interpreted["numpy"].items():
        np.testing.assert_array_equal(interpreted["cuda"][name], values, err_msg=name)


def test_compiled_kernels_agree_with_the_same_kernels_in_the_simulator(interpreted):
    assert_kernels_agree(interpreted["cuda"])


def test_every_kernel_runs_in_the_simulator(interpreted):
    assert set(interpreted["launched"]["kernels"].tolist()) == set(KERNELS)


def assert_parity(kinds, kind, name, found):
    """The same answers as the CPU's; what differs hangs on the last bits of the curves."""
    cpu = get_backend("numpy", 2)

    def on_the_cpu(samples):
        return outcome(samples, PIPELINES[name], cpu)

    report = compare(kinds[kind], found, on_the_cpu(kinds[kind]), on_the_cpu)
    print(report)  # noqa: T201 what was counted, for `pytest -rP`
    assert not report.unexplained, str(report)
    return report


def curves_here(kinds, kind):
    if kind not in kinds:
        pytest.skip("the measured curves (../shared/data) are not here")
    return kinds[kind]


@pytest.mark.parametrize(("kind", "name"), RUNS)
def test_the_simulator_comes_to_the_answers_of_the_cpu(interpreted, measured_folder, kind, name):
    kinds = few_curves(measured_folder)
    curves = curves_here(kinds, kind)
    begin = f"{kind}, {name}: "
    computed = interpreted["cuda"].items()
    found = {key.removeprefix(begin): rows for key, rows in computed if key.startswith(begin)}
    report = assert_parity(kinds, kind, name, found)
    assert report.numbers > 100 * len(curves)
    assert sum(report.flips.values()) <= 1, str(report)
    assert found["n_peaks"].any() or name == "solution"
    assert np.isfinite(found["numbers of stages"]).any() or name != "solution"


@pytest.mark.parametrize("name", ["intensity", "peaks", "margin", "verdict", "which peaks"])
def test_what_differs_without_a_reason_is_named(name):
    samples = few_curves(Path("nowhere"))["hard"]
    cpu = get_backend("numpy", 1)
    expected = outcome(samples, PIPELINES["standard"], cpu)
    found = {other: values.copy() for other, values in expected.items()}
    assert np.isfinite(found[name][2, 0])
    found[name][2] = found[name][2] + 1 if name in DECISIONS else found[name][2] * (1.0 + 1e-7)
    report = compare(
        samples, found, expected, lambda some: outcome(some, PIPELINES["standard"], cpu)
    )
    [said] = report.unexplained
    assert said.startswith("hard 2: ")
    assert said.endswith(name)


on_a_card = pytest.mark.skipif(cuda_problem() is not None, reason=str(cuda_problem()))


@pytest.mark.gpu
@on_a_card
def test_kernels_on_a_gpu_agree_with_the_cpu():
    assert_kernels_agree(by_kernels_alone(get_backend("cuda")))


@pytest.mark.gpu
@on_a_card
@pytest.mark.parametrize(("kind", "name"), RUNS)
def test_a_gpu_comes_to_the_answers_of_the_cpu(measured_folder, kind, name):
    kinds = many_curves(measured_folder)
    found = outcome(curves_here(kinds, kind), PIPELINES[name], get_backend("cuda"))
    report = assert_parity(kinds, kind, name, found)
    assert sum(report.flips.values()) <= 0.02 * report.curves, str(report)


def as_compiled(function, beyond):
    """`function` of math as compiled code has it: a value where the interpreter raises."""

    def guarded(x):
        try:
            return function(x)
        except (OverflowError, ValueError):
            return beyond

    return guarded


def noting_launches(backend, launched):
    """`backend`, which adds the names of the kernels that it launches to a set."""
    launch = backend.launch

    def noted(kernel, *arguments):
        launched.add(kernel.name)
        launch(kernel, *arguments)

    backend.launch = noted
    return backend


def main(folder, measured):
    launched = set()
    kinds = few_curves(measured)
    for backend in (noting_launches(get_backend("cuda"), launched), get_backend("numpy", 2)):
        computed = by_kernels_alone(backend)
        for kind, name in RUNS:
            if kind in kinds:
                found = outcome(kinds[kind], PIPELINES[name], backend)
                computed |= {f"{kind}, {name}: {key}": rows for key, rows in found.items()}
        np.savez(folder / backend.name, **computed)
    np.savez(folder / "launched", kernels=sorted(launched))


if __name__ == "__main__":
    math.exp = as_compiled(math.exp, math.inf)
    math.log = as_compiled(math.log, math.nan)
    math.sqrt = as_compiled(math.sqrt, math.nan)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
