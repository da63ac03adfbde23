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
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.find_peaks import CONDITIONS, FOUND_COLUMNS, find_peaks
from parity import DECISIONS, PRESETS, compare, few_curves, many_curves, outcome
from test_cuda_ptx import KERNELS

from gpusaxs.backends import cuda_problem, get_backend
from gpusaxs.batch import SampleBatch
from gpusaxs.io.nxcansas_writer import write_stack
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Sample
from gpusaxs.simulate import simulate
from gpusaxs.stages.background import Background
from gpusaxs.stages.refine import Refine

RESULTS = (
    "start", "stop", "status", "intensity", "sigma", "background", "residual", "search", "noise",
    "n_peaks", "peaks", "n_candidates", "n_phases", "phases", "verdict", "margin",
)  # fmt: skip
LENGTHS = (250, 200, 250, 230, 249)
WITHIN_SIGMA = 0.01
FITTED = (
    (table.Q, table.Q_SIGMA),
    (table.FWHM, table.FWHM_SIGMA),
    (table.HEIGHT, table.HEIGHT_SIGMA),
    (table.AREA, table.AREA_SIGMA),
)
REFINED = "refined"
VARIANTS = {
    "standard": (),
    REFINED: ("process_peak.shape=lorentzian",),
    "power law and moving average": (
        "background.mode=power_law",
        "filter.method=moving_average",
        "find_peak.prominence_noise=30.0",
        "process_peak.scale_uncertainties=true",
    ),
    "arpls and the median in place of the curve": (
        "background.mode=arpls",
        "filter.method=median",
        "filter.replace=true",
    ),
    "widths and distances": (
        "find_peak.width=1.0",
        "find_peak.distance=3.0",
        "find_peak.shoulder_noise=6.0",
        "process_peak.shape=gaussian",
    ),
}
PIPELINES = {
    name: Pipeline.load("standard").with_settings(given) for name, given in VARIANTS.items()
}
KINDS = ("random", "hard", "odd", "measured")


def curves_of_several_lengths():
    """A few curves; one has no sigma, one starts in the shadow of a beamstop."""
    phases = ["hexagonal", "Ia-3d", "lamellar"]
    curves = simulate(
        len(LENGTHS), seed=5, phases=phases, counts=20000.0, points=250, q_min=0.3, q_max=1.5
    )
    samples = [
        Sample(str(i), curves.q[:n], curves.intensity[i, :n], curves.sigma[i, :n])
        for i, n in enumerate(LENGTHS)
    ]
    samples[1].sigma = None
    samples[3].intensity[:4] *= 0.01
    return samples


def solutions_of_several_lengths():
    """Particles in solution: globules, a sphere, a power law; one stands behind a beamstop."""
    q = np.linspace(0.05, 4.0, 120)
    shapes = [
        np.exp(-((q * 2.0) ** 2) / 3.0),
        1.0 / (1.0 + (q * 1.5) ** 2 / 6.0) ** 2,
        (3.0 * (np.sin(2.0 * q) - 2.0 * q * np.cos(2.0 * q)) / (2.0 * q) ** 3) ** 2,
        1e-3 * q**-3.0,
    ]
    shapes[1][:4] *= [0.01, 0.1, 0.4, 0.8]
    rng = np.random.default_rng(8)
    samples = []
    for number, shape in enumerate(shapes):
        n = 120 - 7 * number
        intensity = (100.0 * shape + 0.1)[:n]
        sigma = 0.05 * np.sqrt(intensity)
        noisy = intensity + sigma * rng.standard_normal(n)
        samples.append(Sample(f"solution{number}", q[:n], noisy, sigma))
    return samples


def everything_computed(backend):
    """Result arrays of each variant of the pipeline, and of the search for peaks alone."""
    computed = {}
    batch = SampleBatch.from_samples(solutions_of_several_lengths(), backend)
    Runtime(backend, pipeline="solution").run_on(batch)
    for stage, numbers in batch.numbers.items():
        computed[f"solution: {stage}"] = backend.to_host(numbers)
    for variant, pipeline in PIPELINES.items():
        batch = SampleBatch.from_samples(curves_of_several_lengths(), backend)
        Runtime(backend, pipeline=pipeline).run_on(batch)
        if variant == REFINED:
            Refine(shape="best", likelihood="poisson").launch(batch, batch.live_rows()[:2])
        for name in RESULTS:
            computed[f"{variant}: {name}"] = backend.to_host(getattr(batch, name))
    curves = curves_of_several_lengths()
    batch = SampleBatch.from_samples(curves, backend)
    with TemporaryDirectory() as folder:
        blank = Path(folder) / "blank.h5"
        row, sigma = 0.5 * curves[0].intensity[None], curves[0].sigma[None]
        write_stack(blank, curves[0].q, row, sigma, title="blank")
        window = {"window_q_min": 0.4, "window_q_max": 0.6}
        Background(mode="blank", blank_file=str(blank), **window).launch(batch, batch.live_rows())
    for name in ("status", "intensity", "sigma", "background"):
        computed[f"blank: {name}"] = backend.to_host(getattr(batch, name))
    batch = SampleBatch.from_samples(curves, backend)
    limits = np.tile([-np.inf, np.inf], (CONDITIONS, 1))
    found = backend.to_device(np.full((len(LENGTHS), 125, FOUND_COLUMNS), np.nan))
    count = backend.to_device(np.zeros(len(LENGTHS), np.int64))
    batch.launch(find_peaks, np.arange(len(LENGTHS)), batch.search, limits, -1, 0.5, found, count)
    computed["all peaks: n_found"] = backend.to_host(count)
    computed["all peaks: found"] = backend.to_host(found)
    return computed


@pytest.fixture(scope="module")
def on_the_cpu():
    return everything_computed(get_backend("numpy", 1))


def assert_same_bits(computed, expected):
    assert set(computed) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(computed[name], values, err_msg=name)


def assert_agrees(computed, expected):
    """Agreement up to rounding, and up to where an iteration towards a minimum ends.

    All before the fits agrees to 1e-12. A fit may end within a hundredth of its standard
    uncertainties of the minimum; rounding decides where.
    """
    assert set(computed) == set(expected)
    for name, values in expected.items():
        variant, _, array = name.partition(": ")
        mine = computed[name]
        if values.dtype.kind != "f":
            np.testing.assert_array_equal(mine, values, err_msg=name)
        elif variant == "solution":
            # Sums of squares cancel in the curvature and the bend; fits end near their minimum.
            np.testing.assert_allclose(mine, values, rtol=1e-7, atol=1e-12, err_msg=name)
        elif array == "peaks":
            assert_fits_agree(mine, values)
        elif array in ("residual", "search"):
            # A peak that its points do not determine is subtracted as it comes out.
            rows = determined(expected[f"{variant}: peaks"]).all(axis=1)
            assert rows.any()
            distance = np.nan_to_num(np.abs(mine - values))[rows]
            sigma = np.nan_to_num(expected[f"{variant}: sigma"], nan=np.inf)[rows]
            np.testing.assert_array_less(distance, WITHIN_SIGMA * sigma, err_msg=name)
        else:
            tolerance = 1e-5 if array in ("phases", "margin") else 1e-12
            np.testing.assert_allclose(mine, values, rtol=tolerance, err_msg=name)


def determined(peaks):
    """Whether a peak is one that its points determine, or no peak at all."""
    height, sigma = peaks[..., table.HEIGHT], peaks[..., table.HEIGHT_SIGMA]
    return ~(sigma >= height) & (peaks[..., table.STATUS] != codes.FIT_BOUND_HIT)


def assert_fits_agree(computed, expected):
    for column in (table.INDEX, table.STATUS, table.BRAGG):
        np.testing.assert_array_equal(computed[..., column], expected[..., column])
    known = determined(expected) & np.isfinite(expected[..., table.HEIGHT])
    assert known.any()
    for value, sigma in FITTED:
        distance = np.abs(computed[..., value] - expected[..., value])
        # Where no uncertainty is given there is the tolerance of an iteration.
        limit = WITHIN_SIGMA * expected[..., sigma]
        limit = np.where(np.isnan(limit), 1e-6 * np.abs(expected[..., value]), limit)
        assert (distance <= limit)[known].all()
        np.testing.assert_allclose(
            computed[..., sigma][known], expected[..., sigma][known], rtol=WITHIN_SIGMA
        )


def test_the_curves_here_have_peaks_and_phases_to_compare(on_the_cpu):
    assert (on_the_cpu["standard: n_peaks"] >= 3).all()
    assert on_the_cpu["standard: verdict"].max() > 0
    assert on_the_cpu["standard: start"].max() > 0


def test_the_solutions_here_have_numbers_to_compare(on_the_cpu):
    for stage in ("guinier", "porod", "kratky"):
        assert (np.isfinite(on_the_cpu[f"solution: {stage}"]).sum(axis=0) > 0).all(), stage


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
    assert_same_bits(interpreted["cuda"], interpreted["numpy"])
    assert_same_bits(interpreted["cuda few"], interpreted["numpy few"])


def test_compiled_kernels_agree_with_the_same_kernels_in_the_simulator(interpreted, on_the_cpu):
    assert_agrees(interpreted["cuda"], on_the_cpu)


def test_every_kernel_runs_in_the_simulator(interpreted):
    assert set(interpreted["launched"]["kernels"].tolist()) == set(KERNELS)


def assert_parity(samples, found, preset):
    """The same answers as the CPU's; what differs hangs on the last bits of the curves."""
    cpu = get_backend("numpy", 2)
    expected = outcome(samples, PRESETS[preset], cpu)
    report = compare(samples, found, expected, lambda some: outcome(some, PRESETS[preset], cpu))
    print(report)  # noqa: T201 what was counted, for `pytest -rP`
    assert not report.unexplained, str(report)
    return report


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_simulator_comes_to_the_answers_of_the_cpu(interpreted, measured_folder, kind, preset):
    kinds = few_curves(measured_folder)
    if kind not in kinds:
        pytest.skip("the measured curves (../shared/data) are not here")
    begin = f"{kind} {preset}: "
    few = interpreted["cuda few"].items()
    found = {name.removeprefix(begin): rows for name, rows in few if name.startswith(begin)}
    report = assert_parity(kinds[kind], found, preset)
    assert report.curves >= 3
    assert not report.flips


@pytest.mark.parametrize("name", ["intensity", "peaks", "margin", "verdict", "which peaks"])
def test_what_differs_without_a_reason_is_named(name):
    samples = few_curves(Path("nowhere"))["hard"]
    cpu = get_backend("numpy", 1)
    expected = outcome(samples, PRESETS["standard"], cpu)
    found = {other: values.copy() for other, values in expected.items()}
    assert np.isfinite(found[name][2, 0])
    found[name][2] = found[name][2] + 1 if name in DECISIONS else found[name][2] * (1.0 + 1e-7)
    report = compare(samples, found, expected, lambda some: outcome(some, PRESETS["standard"], cpu))
    [said] = report.unexplained
    assert said.startswith("hard 2: ")
    assert said.endswith(name)


@pytest.mark.gpu
@pytest.mark.skipif(cuda_problem() is not None, reason=str(cuda_problem()))
def test_a_gpu_agrees_with_the_cpu(on_the_cpu):
    assert_agrees(everything_computed(get_backend("cuda")), on_the_cpu)


@pytest.mark.gpu
@pytest.mark.skipif(cuda_problem() is not None, reason=str(cuda_problem()))
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_comes_to_the_answers_of_the_cpu(measured_folder, kind, preset):
    kinds = many_curves(measured_folder)
    if kind not in kinds:
        pytest.skip("the measured curves (../shared/data) are not here")
    found = outcome(kinds[kind], PRESETS[preset], get_backend("cuda"))
    report = assert_parity(kinds[kind], found, preset)
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
        np.savez(folder / backend.name, **everything_computed(backend))
        few = {
            f"{kind} {preset}: {name}": values
            for kind, samples in kinds.items()
            for preset, pipeline in PRESETS.items()
            for name, values in outcome(samples, pipeline, backend).items()
        }
        np.savez(folder / f"{backend.name} few", **few)
    np.savez(folder / "launched", kernels=sorted(launched))


if __name__ == "__main__":
    math.exp = as_compiled(math.exp, math.inf)
    math.log = as_compiled(math.log, math.nan)
    math.sqrt = as_compiled(math.sqrt, math.nan)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
