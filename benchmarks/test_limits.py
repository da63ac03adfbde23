"""What gpusaxs may cost before and beside its work: the time of an import, and memory."""

import subprocess
import sys
import time

import pytest

TRIALS = 5
IMPORT_SECONDS = 0.15
HELP_SECONDS = 0.4

MEMORY = """
import resource
import sys

import numpy as np

import gpusaxs

UNIT = 1 if sys.platform == "darwin" else 1024
few = gpusaxs.simulate(50, seed=1, counts=20000.0, points=1000)
gpusaxs.process(few.q, few.intensity, few.sigma, q_unit="1/nm", backend="numpy")  # compiles
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
intensity = np.tile(few.intensity, (400, 1))
sigma = np.tile(few.sigma, (400, 1))
result = gpusaxs.process(few.q, intensity, sigma, q_unit="1/nm", backend="numpy")
peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * UNIT
assert len(result) == 20000
print(peak / (intensity.nbytes + sigma.nbytes + few.q.nbytes))
"""


def best_of_several(measure, limit):
    """The shortest of five trials; of a few more where a busy machine spoils all of these."""
    best = min(measure() for _ in range(TRIALS))
    for _ in range(2 * TRIALS):
        if best < limit:
            break
        best = min(best, measure())
    return best


def measured_by(code):
    """What a program prints: a number."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout)


def import_seconds():
    code = "import time; t = time.perf_counter(); import gpusaxs; print(time.perf_counter() - t)"
    return measured_by(code)


def help_seconds():
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "gpusaxs.cli.main", "--help"], check=True, capture_output=True
    )
    return time.perf_counter() - started


def memory_ratio():
    """Peak memory of 20,000 curves of 1,000 points over that of their arrays, these included."""
    return measured_by(MEMORY)


def test_the_import_takes_less_than_150_ms():
    assert best_of_several(import_seconds, IMPORT_SECONDS) < IMPORT_SECONDS


def test_the_import_loads_neither_numba_nor_cupy_nor_scipy():
    code = (
        "import sys, gpusaxs; print(sum(m in sys.modules for m in "
        "('numba', 'numba_cuda', 'cupy', 'scipy', 'pyarrow', 'numpy')))"
    )
    assert measured_by(code) == 0


def test_help_is_on_the_screen_in_less_than_400_ms():
    assert best_of_several(help_seconds, HELP_SECONDS) < HELP_SECONDS


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource module")
def test_processing_takes_at_most_four_times_the_memory_of_the_arrays():
    assert memory_ratio() <= 4.0
