"""Rows that come and go, retries and the result cache on the simulated device.

The program at the end of this file runs in a process of its own: the simulator has to be chosen
before Numba is imported.
"""

import os
import subprocess
import sys


def test_the_ways_to_run_give_the_same_bits_on_the_simulated_device(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, str(tmp_path / "cache")],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "NUMBA_DISABLE_JIT": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]


def program(cache_folder: str) -> None:
    """Compare the results of the ways to run, on the device and on the host."""
    import asyncio

    import numpy as np
    from runtime_curves import bragg_samples, result_bits

    from gpusaxs.backends.cuda.simulator import SimulatedBackend
    from gpusaxs.runtime.result_cache import ResultCache
    from gpusaxs.runtime.retry import Retry
    from gpusaxs.runtime.runtime import Runtime

    def bits(done):
        return {sample.id: result_bits(sample) for sample in done}

    samples = bragg_samples(3, seed=1, points=120)
    samples[1] = type(samples[1])(
        "short", *(row[:90] for row in (samples[1].q, samples[1].intensity, samples[1].sigma))
    )
    expected = bits(Runtime("numpy", 1).run(samples))
    assert any(np.isfinite(s.margin) for s in Runtime("numpy", 1).run(samples))
    device = SimulatedBackend()
    assert bits(Runtime(device).run(samples)) == expected
    cache = ResultCache(cache_folder)
    runtime = Runtime(device, interceptors=[Retry(), cache], rows_at_once=2)
    assert bits(runtime.submit(samples).result(100.0)) == expected
    misses = cache.misses
    assert bits(runtime.submit(samples).result(100.0)) == expected
    assert cache.misses == misses

    async def streamed():
        stream = Runtime(device).stream(iter(samples), max_in_flight=1)
        return [sample async for sample in stream]

    assert bits(asyncio.run(streamed())) == expected


if __name__ == "__main__":
    program(sys.argv[1])
