"""Every kernel compiles for a GPU, with the types that the stages launch it with; no GPU needed.

This file run as a program prints what each kernel takes on a GPU of the compute capability named on
its command line (``9.0`` where none is): registers, local memory and spills, as the assembler
reports them.
"""

import argparse
import importlib
import pkgutil
import re
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import gpusaxs.kernels
import numpy as np
import pytest
from assembler import AssemblerMissingError, Resources, assemble, find_assembler, resources
from gpusaxs.kernels.curve_kernel import CurveKernel, Row, curve_kernel
from gpusaxs.kernels.find_peaks import CONDITIONS, FOUND_COLUMNS, find_peaks
from numba import types

from gpusaxs.backends import cuda_problem, get_backend
from gpusaxs.backends.cuda.launching import argument_type, array_type
from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.io.nxcansas_writer import write_stack
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.simulate import simulate
from gpusaxs.stages.find_peak import FindPeak
from gpusaxs.stages.noise import Noise
from gpusaxs.stages.process_peak import ProcessPeak
from gpusaxs.stages.refine import Refine

pytestmark = pytest.mark.slow

MOST_LOCAL_BYTES = 1024
COPY_ALONE = {"restart_search"}
# A float32 is read, written or added. (exp and expm1 of NVIDIA's library compare and round in
# float32 on their way to a float64.)
DEMOTED = re.compile(r"^\s*(?:@\S+\s+)?(?:ld|st|add|sub|fma|div|sqrt)\.\S*f32", re.MULTILINE)
ASSEMBLED = (9, 0)
CAPABILITIES = [(8, 0), (9, 0), (10, 0)]
REFINED = Pipeline(stages=(Noise(), FindPeak(), ProcessPeak(), Refine()))
REPLACED = ("cut.trim_edges=true", "process_peak.scale_uncertainties=true", "filter.replace=true")
# The recipe's thresholds, at the heights of the curves here.
CLASSIC = ("find_peak.height=0.01", "find_peak.prominence=0.01", "classic_peak.min_height=0.001")


def kernels_of_the_package():
    found = {}
    for module_info in pkgutil.iter_modules(gpusaxs.kernels.__path__):
        module = importlib.import_module(f"gpusaxs.kernels.{module_info.name}")
        for value in vars(module).values():
            if isinstance(value, CurveKernel) and value.__module__ == module.__name__:
                found[value.name] = value
    return found


KERNELS = kernels_of_the_package()


def cuda_type(argument):
    """Type that an argument has on a GPU, where arrays are in Fortran order."""
    on_device = isinstance(argument, np.ndarray)
    return argument_type(np.asfortranarray(argument) if on_device else argument)


class RecordingBackend(NumpyBackend):
    """Notes the kernels that it launches, and the signatures that their CUDA drivers would get."""

    def __init__(self):
        super().__init__(1)
        self.launched = {}

    def launch(self, kernel, rows, span, *arguments):
        if rows.size:
            scratch = [
                array_type(part.dtype, 1 + len(part.shape or (0,)), "F") for part in kernel.scratch
            ]
            signature = types.void(
                *map(cuda_type, (rows, rows.size, *span)), *scratch, *map(cuda_type, arguments)
            )
            self.launched.setdefault(kernel.name, set()).add(signature)
        super().launch(kernel, rows, span, *arguments)


def launch_find_peaks(batch):
    """Launch the search without a stage of its own, as a user of the kernels does."""
    curves, points = batch.intensity.shape
    limits = np.tile([-np.inf, np.inf], (CONDITIONS, 1))
    found = batch.backend.to_device(np.empty((curves, points // 2, FOUND_COLUMNS)))
    number = batch.backend.to_device(np.zeros(curves, int))
    batch.launch(find_peaks, np.arange(curves), batch.search, limits, -1, 0.5, found, number)


def reach_every_kernel(backend, folder):
    """Run pipelines that together reach all kernels."""
    curves = simulate(4, seed=3, phases=["hexagonal"], counts=20000.0, points=300)
    blank = folder / "blank.h5"
    write_stack(blank, curves.q, curves.expected[:1], curves.sigma[:1], title="blank")
    settings = [
        (),
        REPLACED,
        ("background.mode=arpls",),
        ("background.mode=power_law", "filter.method=moving_average"),
        (
            "background.mode=blank",
            f"background.blank_file={blank}",
            "background.factor=0.1",
            "filter.method=median",
        ),
    ]
    standard = Pipeline.load("standard")
    pipelines = [REFINED, *(standard.with_settings(changes) for changes in settings)]
    pipelines.append(Pipeline.load("classic").with_settings(CLASSIC))
    for q in (curves.q, np.tile(curves.q, (4, 1)) - 1e-3 * np.arange(4)[:, np.newaxis]):
        for pipeline in pipelines:
            batch = SampleBatch.from_arrays(
                list("abcd"), q, curves.intensity, curves.sigma, backend
            )
            Runtime(backend, pipeline=pipeline).run_on(batch)
        launch_find_peaks(batch)
        Runtime(backend, pipeline="solution").run_on(
            SampleBatch.from_arrays(list("abcd"), q, curves.intensity, curves.sigma, backend)
        )


def signatures(folder):
    """Signatures with which every kernel is launched."""
    backend = RecordingBackend()
    reach_every_kernel(backend, folder)
    return backend.launched


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """`signatures`."""
    return signatures(tmp_path_factory.mktemp("blank"))


@pytest.fixture(scope="module")
def cuda():
    """`numba.cuda` with a compiler."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed (pip install '.[test]')")
    from numba import cuda
    from numba.cuda.cudadrv import nvvm

    try:
        nvvm.NVVM()
    except Exception as error:  # noqa: BLE001 whatever the toolkit says, it is the reason
        pytest.skip(f"the NVVM compiler of numba-cuda[cu13] is missing: {error}")
    return cuda


def supports(capability):
    from numba.cuda.cudadrv.nvrtc import get_supported_ccs

    return capability in get_supported_ccs()


@cache
def compile_ptx(cuda, kernel, signature, capability):
    device = SimpleNamespace(compute_capability=capability)
    with mock.patch("numba.cuda.dispatcher.get_current_device", return_value=device):
        ptx, _ = cuda.compile_ptx(kernel.cuda_source(cuda), signature, cc=capability)
    return ptx


def test_the_pipelines_here_reach_every_kernel_of_the_package(launched):
    assert set(launched) == set(KERNELS)


@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda c: f"sm_{c[0]}{c[1]}")
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_compiles_for_a_gpu_and_needs_little_local_memory(
    name, capability, launched, cuda
):
    if not supports(capability):
        pytest.skip(f"this CUDA toolkit does not know sm_{capability[0]}{capability[1]}")
    kernel = KERNELS[name]
    for signature in launched[name]:
        ptx = compile_ptx(cuda, kernel, signature, capability)
        assert re.search(rf"^\.target sm_{capability[0]}{capability[1]}\b", ptx, re.MULTILINE)
        assert f"{name}_cuda" in ptx
        assert ".f64" in ptx or name in COPY_ALONE
        assert not DEMOTED.search(ptx)
        depots = re.findall(r"\.local .*__local_depot\d+\[(\d+)\]", ptx)
        assert sum(map(int, depots)) < MOST_LOCAL_BYTES


@pytest.mark.parametrize("name", KERNELS)
def test_an_assembled_kernel_needs_little_local_memory(name, launched, cuda):
    try:
        assembler = find_assembler()
        signature = min(launched[name], key=str)
        ptx = compile_ptx(cuda, KERNELS[name], signature, ASSEMBLED)
        taken = assemble(assembler, ptx, ASSEMBLED)
    except AssemblerMissingError as error:
        pytest.skip(str(error))
    assert 0 < taken.registers <= 255
    assert taken.stack <= MOST_LOCAL_BYTES


def test_a_kernel_of_float32_is_seen_in_its_ptx(cuda):
    @curve_kernel
    def add(values: Row) -> None:
        values[0] += values[1]

    index, rows = types.Array(types.int64, 1, "C"), types.Array(types.float32, 2, "F")
    signature = types.void(index, types.int64, index, index, rows)
    assert DEMOTED.search(compile_ptx(cuda, add, signature, ASSEMBLED))


def test_the_report_of_the_assembler_counts_the_functions_that_a_kernel_calls():
    report = """ptxas info    : Compiling entry function 'kernel' for 'sm_90'
ptxas info    : Function properties for kernel
    40 bytes stack frame, 8 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 218 registers, used 0 barriers, 1064 bytes cumulative stack size
ptxas info    : Function properties for called
    1024 bytes stack frame, 1 bytes spill stores, 2 bytes spill loads
"""
    assert resources(report) == Resources(218, 1064, 9, 18)


@pytest.mark.gpu
@pytest.mark.skipif(cuda_problem() is not None, reason=str(cuda_problem()))
def test_every_kernel_runs_on_a_gpu(tmp_path):
    reach_every_kernel(get_backend("cuda"), tmp_path)


def what_kernels_take(capability):
    """Yield a line a kernel; of its signatures that with the largest stack."""
    from numba import cuda

    assembler = find_assembler()
    with tempfile.TemporaryDirectory() as folder:
        launched = signatures(Path(folder))
    yield f"{'kernel':<16}{'registers':>11}{'stack':>8}{'spill stores':>14}{'spill loads':>13}"
    for name in sorted(launched):
        ptx = [compile_ptx(cuda, KERNELS[name], each, capability) for each in launched[name]]
        taken = [assemble(assembler, each, capability) for each in ptx]
        most = max(taken, key=lambda one: (one.stack, one.registers))
        yield (
            f"{name:<16}{most.registers:>11}{most.stack:>8}{most.spill_stores:>14}"
            f"{most.spill_loads:>13}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Registers, stack and spills of every kernel")
    parser.add_argument("capability", nargs="?", default="9.0", help="such as 9.0")
    major, minor = parser.parse_args().capability.split(".")
    for line in what_kernels_take((int(major), int(minor))):
        sys.stdout.write(line + "\n")
