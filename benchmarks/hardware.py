"""What a GPU is called, and what it can do at most: its bandwidths and its rate, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.least_cost import Card

_BYTES = 1 << 30
_ROUNDS = 10
_TURNS = 2048
_MULTIPLY_ADD = f"""
double a = start, b = start + 1.0, c = start + 2.0, d = start + 3.0;
for (int turn = 0; turn < {_TURNS}; ++turn) {{
    a = fma(a, 0.999, 0.5); b = fma(b, 0.999, 0.5);
    c = fma(c, 0.999, 0.5); d = fma(d, 0.999, 0.5);
}}
end = a + b + c + d;
"""


def describe_gpu() -> str:
    """Name, memory and driver of the GPU that CuPy uses, and CuPy's version."""
    import cupy  # noqa: PLC0415

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    driver = cupy.cuda.runtime.driverGetVersion()
    return (
        f"{properties['name'].decode()}, {properties['totalGlobalMem'] / 2**30:.0f} GiB, "
        f"driver for CUDA {driver // 1000}.{driver % 1000 // 10}, CuPy {cupy.__version__}"
    )


def measure_card() -> Card:
    """Measure a copy within the GPU's memory, one from pinned memory, and fused products."""
    import cupy  # noqa: PLC0415
    import cupyx  # noqa: PLC0415

    numbers = _BYTES // 8
    source, target = cupy.ones(numbers), cupy.empty(numbers)
    pinned = cupyx.empty_pinned(numbers)
    pinned[...] = 1.0
    multiply_add = cupy.ElementwiseKernel(
        "float64 start", "float64 end", _MULTIPLY_ADD, "gpusaxs_multiply_add"
    )
    some = source[: 1 << 22]

    def best(work: Callable[[], Any]) -> float:
        times = []
        for _ in range(_ROUNDS):
            cupy.cuda.Device().synchronize()
            began = time.perf_counter()
            work()
            cupy.cuda.Device().synchronize()
            times.append(time.perf_counter() - began)
        return min(times)

    copied = best(lambda: cupy.copyto(target, source))
    uploaded = best(lambda: target.set(pinned))
    computed = best(lambda: multiply_add(some))
    return Card(
        f"{describe_gpu()}, measured",
        2 * _BYTES / copied,
        _BYTES / uploaded,
        2 * 4 * _TURNS * some.size / computed,
    )
