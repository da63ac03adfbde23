"""The CPU backend: NumPy arrays, and a pool of threads over chunks of curves."""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpusaxs.backends.base import BLOCK_POINTS, Array, IndexArray
from gpusaxs.backends.supervision import supervision, worker_name
from gpusaxs.errors import BackendError
from gpusaxs.kernels.curve_kernel import CurveKernel, Role, scratch_shape

CHUNK = 64
CHUNK_ALONE = 1024
MOST_BLOCKS = 4


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class NumpyBackend:
    """Runs kernels on `workers` threads; the calling thread is one of them.

    Workers pull chunks of curves from a common counter, so uneven curves balance out. Kernels
    release the GIL. Several threads may launch at once: then they share the workers, because more
    threads than cores take turns and keep each other from their caches. Chunks are long where a
    worker has a launch to itself and no deadline to look at between them: after each of them
    Python has to be fetched into the caches again.
    """

    name = "numpy"
    order: Literal["C", "F"] = "C"
    xp = np
    block_points = BLOCK_POINTS

    def __init__(self, workers: int | None = None) -> None:
        self.workers = available_cores() if workers is None else workers
        if self.workers < 1:
            raise ValueError(f"Expected at least 1 worker. Got {workers}.")
        self._pool = ThreadPoolExecutor(max(1, self.workers - 1), thread_name_prefix="gpusaxs")
        self._launches = 0
        self._lock = threading.Lock()

    @property
    def blocks_in_flight(self) -> int:
        """See `Backend.blocks_in_flight`: a block for each worker, as far as memory goes."""
        return min(self.workers, MOST_BLOCKS)

    def lane(self, array: Array | None = None) -> AbstractContextManager[None]:
        """See `Backend.lane`: threads need nothing to work apart."""
        return nullcontext()

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """See `Backend.empty`."""
        return np.empty(shape, dtype)

    def to_device(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `Backend.to_device`."""
        return np.ascontiguousarray(array)

    def to_host(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `Backend.to_host`."""
        return array

    def adopt(self, array: Any) -> NDArray[Any]:
        """See `Backend.adopt`: what is on a device is not copied to the host unasked."""
        raise BackendError(
            "Expected arrays in host memory for backend 'numpy'. Got one on a GPU. Give "
            "backend='cuda', or copy it to the host first: cupy.asnumpy(array), or "
            "tensor.cpu() in PyTorch."
        )

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
        count = rows.size
        if count == 0:
            return
        points = widest_row(kernel, arguments)
        driver = kernel.cpu_driver
        around = supervision()

        def work(chunk: int, starts: Iterator[int]) -> None:
            began, done = time.perf_counter(), 0
            scratch = [np.empty(scratch_shape(part, points), part.dtype) for part in kernel.scratch]
            for first in starts:
                if first >= count:
                    break
                around.check_deadline()
                last = min(first + chunk, count)
                driver(rows, first, last, *span, *scratch, *arguments)
                done += last - first
            if around.observer is not None and done:
                around.observer.kernel_ran(kernel.name, done, began, worker_name())

        with self._share_of_workers() as share:
            helpers = min(share, -(-count // CHUNK)) - 1
            chunk = CHUNK if helpers or around.deadline < math.inf else CHUNK_ALONE
            starts = itertools.count(0, chunk)
            running = [self._pool.submit(work, chunk, starts) for _ in range(helpers)]
            try:
                work(chunk, starts)
            finally:
                wait(running)
            for future in running:
                future.result()

    @contextmanager
    def _share_of_workers(self) -> Iterator[int]:
        """Count a launch; yield how many workers it may have beside those under way."""
        with self._lock:
            self._launches += 1
            share = max(1, self.workers // self._launches)
        try:
            yield share
        finally:
            with self._lock:
                self._launches -= 1

    def rows_at_once(self, points: int) -> int | None:
        """See `Backend.rows_at_once`: scratch is a row a worker, so there is no limit."""
        return None

    def curves_at_once(self, points: int) -> int | None:
        """See `Backend.curves_at_once`."""
        return None

    def close(self) -> None:
        """See `Backend.close`."""
        self._pool.shutdown()


def widest_row(kernel: CurveKernel, arguments: tuple[Any, ...]) -> int:
    """Length of the padded rows among a kernel's arguments: its scratch needs as much."""
    parameters = [p for p in kernel.parameters if p.role is not Role.SCRATCH]
    if len(parameters) != len(arguments):
        names = ", ".join(p.name for p in parameters)
        raise TypeError(
            f"Expected {len(parameters)} arguments for kernel {kernel.name!r} ({names}). "
            f"Got {len(arguments)}."
        )
    rows = (a.shape[1] for p, a in zip(parameters, arguments, strict=True) if p.role is Role.ROW)
    return max(rows, default=0)
