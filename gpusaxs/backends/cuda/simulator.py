"""The CUDA drivers in Numba's simulator: plain Python over NumPy arrays in Fortran order.

``NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1`` chooses it, so that the indexing of the drivers is
tested without a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpusaxs.backends.base import BLOCK_POINTS, Array, IndexArray
from gpusaxs.backends.cuda.launching import THREADS
from gpusaxs.backends.numpy import widest_row
from gpusaxs.backends.supervision import Direction, supervision, worker_name
from gpusaxs.kernels.curve_kernel import CurveKernel, scratch_shape


@cache
def _driver(kernel: CurveKernel) -> Any:
    from numba import cuda  # noqa: PLC0415

    return cuda.jit(kernel.cuda_source(cuda))


class SimulatedBackend:
    """Runs the kernels' CUDA drivers without a GPU, slowly."""

    name = "cuda"
    order: Literal["C", "F"] = "F"
    xp = np
    blocks_in_flight = 1
    block_points = BLOCK_POINTS

    @contextmanager
    def lane(self, array: Array | None = None) -> Iterator[None]:
        """See `Backend.lane`: there is but one."""
        yield

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """See `Backend.empty`."""
        return np.empty(shape, dtype, order="F")

    def to_device(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `Backend.to_device`."""
        began = time.perf_counter()
        copied = np.array(array, order="F")
        self._tell("host_to_device", array.nbytes, began)
        return copied

    def to_host(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `Backend.to_host`."""
        began = time.perf_counter()
        copied = np.ascontiguousarray(array)
        self._tell("device_to_host", array.nbytes, began)
        return copied

    def adopt(self, array: Any) -> NDArray[Any]:
        """See `Backend.adopt`: of a device that is simulated as well."""
        return np.from_dlpack(array)

    def _tell(self, direction: Direction, nbytes: int, began: float) -> None:
        observer = supervision().observer
        if observer is not None:
            observer.copied(direction, nbytes, began, worker_name())

    def rows_at_once(self, points: int) -> int | None:
        """See `Backend.rows_at_once`."""
        return None

    def curves_at_once(self, points: int) -> int | None:
        """See `Backend.curves_at_once`."""
        return None

    def close(self) -> None:
        """See `Backend.close`."""

    def synchronize(self) -> None:
        """Do nothing: a launch returns when it has ended."""

    def launch(
        self,
        kernel: CurveKernel,
        rows: IndexArray,
        span: tuple[NDArray[np.int64], NDArray[np.int64]],
        *arguments: Any,
    ) -> None:
        """See `Backend.launch`."""
        if rows.size == 0:
            return
        around = supervision()
        around.check_deadline()
        points = widest_row(kernel, arguments)
        scratch = [
            self.empty((rows.size, *scratch_shape(part, points)), part.dtype)
            for part in kernel.scratch
        ]
        began = time.perf_counter()
        blocks = -(-rows.size // THREADS)
        _driver(kernel)[blocks, THREADS](rows, rows.size, *span, *scratch, *arguments)
        if around.observer is not None:
            around.observer.kernel_ran(kernel.name, rows.size, began, worker_name())
