"""Counts what kernels move and compute, by running them in plain Python.

Only with Numba's compiler off (``NUMBA_DISABLE_JIT=1``). This file run as a program processes the
curves of the .npz named on its command line with the standard pipeline, and prints the counts.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from gpusaxs.kernels import elementary
from gpusaxs.kernels.curve_kernel import CurveKernel, Role, scratch_shape
from numba import config

from gpusaxs.backends import IndexArray
from gpusaxs.backends.numpy import NumpyBackend, widest_row
from gpusaxs.batch import SampleBatch
from gpusaxs.runtime.interceptors import Interceptor, Proceed, StageLaunch
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.stages.base import Requests

# A comparison goes through the same units as a sum.
_OPERATIONS = (
    "add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "pow", "rpow",
    "lt", "le", "gt", "ge", "eq", "ne",
)  # fmt: skip
_UNCOUNTED = ("neg", "abs", "pos")
# What a call of the mathematical library takes, about: exp_poly and log_poly take as much.
_FUNCTIONS = {"sqrt": 1, "hypot": 4, "exp": 25, "log": 25, "erf": 25, "erfc": 25, "expm1": 25}
_WORD = 8

WARP = 32
"""Threads of a GPU that take each step together."""


@dataclass
class Count:
    """What the kernels of a stage did.

    Attributes
    ----------
    launches
        Curves that they were launched over, added up.
    moved
        Bytes that have to be moved whatever the caches are: what a launch reads before it writes
        it, and what it writes, each number once. Without scratch and what all curves share.
    asked
        Bytes that the code reads and writes, each time that it does.
    flops
        Sums, products, quotients, roots and comparisons of float64.
    steps, paced
        Operations and accesses; and as many as if in each group of `WARP` curves that follow one
        another in a launch all took as many as the slowest.
    """

    launches: int = 0
    moved: int = 0
    asked: int = 0
    flops: int = 0
    steps: int = 0
    paced: int = 0

    def pace(self, steps: list[int]) -> None:
        """Add the operations and accesses of the curves of a launch."""
        self.steps += sum(steps)
        for first in range(0, len(steps), WARP):
            group = steps[first : first + WARP]
            self.paced += len(group) * max(group)


def counting_float(tally: Count) -> type[float]:
    """Return a kind of float that counts what is computed with it."""

    def counted(name: str, cost: int) -> Callable[..., Any]:
        compute = getattr(float, f"__{name}__")

        def operation(*operands: Any) -> Any:
            result = compute(*operands)
            if result is NotImplemented:
                return result
            tally.flops += cost
            return number(result) if isinstance(result, float) else result

        return operation

    methods = {f"__{name}__": counted(name, 1) for name in _OPERATIONS}
    methods |= {f"__{name}__": counted(name, 0) for name in _UNCOUNTED}
    # Numbers of NumPy leave operations to it.
    number = type(
        "CountingFloat", (float,), methods | {"__hash__": float.__hash__, "__array_ufunc__": None}
    )
    return number


class Watched:
    """An array that knows which of its numbers were read and written.

    Parameters
    ----------
    counts
        Where bytes are added up.
    number
        What a float64 that is read becomes.
    values, read, written
        The array, and of each number whether it was read before it was written, and written.
    """

    def __init__(
        self, counts: Count, number: type[float], values: Any, read: Any = None, written: Any = None
    ) -> None:
        self._counts, self._number, self._values = counts, number, values
        self._read = np.zeros(values.shape, bool) if read is None else read
        self._written = np.zeros(values.shape, bool) if written is None else written

    @property
    def shape(self) -> tuple[int, ...]:
        """See `numpy.ndarray.shape`."""
        return self._values.shape

    @property
    def moved(self) -> int:
        """Bytes that were read before they were written, or written."""
        numbers = np.count_nonzero(self._read) + np.count_nonzero(self._written)
        return int(numbers) * self._values.itemsize

    def __getitem__(self, key: Any) -> Any:
        found = self._values[key]
        if isinstance(found, np.ndarray):
            return Watched(self._counts, self._number, found, self._read[key], self._written[key])
        self._counts.asked += self._values.itemsize
        if not self._written[key]:
            self._read[key] = True
        value = found.item()
        return self._number(value) if isinstance(value, float) else value

    def __setitem__(self, key: Any, value: Any) -> None:
        self._values[key] = value
        self._written[key] = True
        self._counts.asked += np.size(self._values[key]) * self._values.itemsize


class CountingBackend(NumpyBackend):
    """Runs kernels in plain Python over watched arrays.

    Attributes
    ----------
    counts
        By stage; `stage` is the one at work.
    """

    blocks_in_flight = 1

    def __init__(self) -> None:
        super().__init__(1)
        self.counts: dict[str, Count] = {}
        self.stage = ""

    def launch(
        self, kernel: CurveKernel, rows: IndexArray, span: tuple[Any, Any], *arguments: Any
    ) -> None:
        """See `Backend.launch`."""
        points = widest_row(kernel, arguments)
        counts = self.counts.setdefault(self.stage, Count())
        number = counting_float(counts)
        steps = []
        roles = [p.role for p in kernel.parameters if p.role is not Role.SCRATCH]
        with _counted_functions(counts, number):
            for place in range(rows.size):
                scratch = [
                    Watched(counts, number, np.empty(scratch_shape(part, points), part.dtype))
                    for part in kernel.scratch
                ]
                given = [
                    Watched(counts, number, value) if isinstance(value, np.ndarray) else value
                    for value in arguments
                ]
                before = counts.flops + counts.asked // _WORD
                kernel.cpu_driver(rows, place, place + 1, *span, *scratch, *given)
                steps.append(counts.flops + counts.asked // _WORD - before)
                counts.launches += 1
                counts.moved += sum(
                    value.moved
                    for role, value in zip(roles, given, strict=True)
                    if isinstance(value, Watched)
                    and role is not Role.SHARED
                    and value.shape[0] == span[0].shape[0]
                )
        counts.pace(steps)


@contextmanager
def _counted_functions(tally: Count, number: type[float]) -> Iterator[None]:
    """Let the functions of `math`, and the bits of `elementary`, give numbers that count."""

    def counted(compute: Callable[..., float], cost: int) -> Callable[..., float]:
        def function(*arguments: float) -> float:
            tally.flops += cost
            try:
                return number(compute(*map(float, arguments)))
            except OverflowError:
                return number(math.inf)
            except ValueError:
                return number(math.nan)

        return function

    def bits(value: float) -> SimpleNamespace:
        return SimpleNamespace(view=lambda _: int(np.float64(value).view(np.int64)))

    def number_of(value: int) -> SimpleNamespace:
        return SimpleNamespace(view=lambda _: number(np.int64(value).view(np.float64)))

    with ExitStack() as changed:
        for name, cost in _FUNCTIONS.items():
            changed.enter_context(mock.patch.object(math, name, counted(getattr(math, name), cost)))
        changed.enter_context(
            mock.patch.object(elementary, "np", SimpleNamespace(float64=bits, int64=number_of))
        )
        yield


class _Naming(Interceptor):
    """Tells the backend which stage is at work."""

    def __init__(self, backend: CountingBackend) -> None:
        self._backend = backend

    def around(self, launch: StageLaunch, proceed: Proceed) -> Requests:
        """See `Interceptor.around`."""
        self._backend.stage = launch.stage.name
        return proceed(launch.rows)


def count(q: Any, intensity: Any, sigma: Any) -> dict[str, Count]:
    """Count what the stages of the standard pipeline do.

    Parameters
    ----------
    q : (points,) float64
        1/nm.
    intensity, sigma : (curves, points) float64
        A few curves, each takes a second; two at least, or q is the curve's own.

    Returns
    -------
    dict
        By stage, in the order of their first launches; the sums over all curves.
    """
    if not config.DISABLE_JIT:
        raise RuntimeError("Kernels are counted in plain Python. Set NUMBA_DISABLE_JIT=1.")
    backend = CountingBackend()
    names = [str(number) for number in range(len(intensity))]
    batch = SampleBatch.from_arrays(names, q, intensity, sigma, backend)
    Runtime(backend, interceptors=[_Naming(backend)]).run_on(batch)
    return backend.counts


if __name__ == "__main__":
    with np.load(Path(sys.argv[1])) as curves:
        counts = count(curves["q"], curves["intensity"], curves["sigma"])
    print(json.dumps({stage: asdict(found) for stage, found in counts.items()}))
