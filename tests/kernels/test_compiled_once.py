"""The first process compiles the kernels, all others load what it kept."""

import os
import subprocess
import sys

import pytest

# Without the phase, whose kernel takes as long to compile as all others together.
PROGRAM = """
import gpusaxs
drawn = gpusaxs.simulate(60, seed=5, hard=True)
fitted = gpusaxs.Pipeline(stages=gpusaxs.Pipeline.load("standard").stages[:-1])
result = gpusaxs.process(
    drawn.q, drawn.intensity, drawn.sigma, q_unit="1/nm", pipeline=fitted, backend="numpy"
)
print(result.samples.to_pylist(), result.peaks.to_pylist())
"""


def peaks_of_a_process(folder):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"GPUSAXS_CACHE_DIR": str(folder)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.slow
def test_the_process_that_compiles_gives_the_bits_of_those_that_load(tmp_path):
    compiled = peaks_of_a_process(tmp_path)
    assert "'fwhm'" in compiled
    assert compiled == peaks_of_a_process(tmp_path)
