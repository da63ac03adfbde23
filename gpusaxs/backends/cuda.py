"""The GPU backend: CuPy arrays in Fortran order, one thread a curve. The only file with CuPy.

Under Numba's simulator (``NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1``) the same drivers run in
plain Python over NumPy arrays, so that their indexing is tested without a GPU.

Launches and copies overlap with the host, but where somebody observes them: then each is waited
for, so that its time is its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import numpy as np
from numba import config
from numpy.typing import DTypeLike, NDArray

from gpusaxs.backends.base import Array, IndexArray
from gpusaxs.backends.numpy import widest_row
from gpusaxs.backends.supervision import Direction, supervision, worker_name
from gpusaxs.errors import BackendError, OutOfMemoryError
from gpusaxs.kernels.curve_kernel import CurveKernel, scratch_shape

THREADS = 128
SCRATCH_ROWS = 16
SCRATCH_BESIDE = 6144
"""No kernel's scratch exceeds so many numbers a point, and so many beside these."""


def _modules() -> tuple[Any, Any]:
    """Return `numba.cuda` and the array module, or say what is missing."""
    try:
        from numba import cuda  # noqa: PLC0415
    except ImportError as error:
        raise BackendError(
            f"The cuda backend needs numba-cuda ({error}). Install it with: "
            "pip install 'gpusaxs[cuda]'"
        ) from error
    if config.ENABLE_CUDASIM:
        return cuda, np
    try:
        import cupy  # noqa: PLC0415
    except ImportError as error:
        raise BackendError(
            f"The cuda backend needs CuPy ({error}). Install it with: pip install 'gpusaxs[cuda]'"
        ) from error
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise BackendError(
            f"CuPy finds no usable NVIDIA GPU: {error}. Check the driver with nvidia-smi, or use "
            "--backend numpy."
        ) from error
    return cuda, cupy


@cache
def cuda_driver(kernel: CurveKernel) -> Any:
    """Compile the CUDA driver of a kernel, once a process."""
    cuda, _ = _modules()
    return cuda.jit(kernel.cuda_source(cuda))


def device_of_pointer(pointer: int) -> int:
    """Return the number of the device to which a pointer into CUDA memory belongs."""
    _, xp = _modules()
    if xp is np:
        return 0
    runtime = xp.cuda.runtime
    # An array without elements has no pointer.
    return int(runtime.pointerGetAttributes(pointer).device if pointer else runtime.getDevice())


class CudaBackend:
    """Runs kernels on one GPU and one stream.

    Raises
    ------
    BackendError
        If numba-cuda, CuPy or a usable GPU is missing.
    """

    name = "cuda"
    order: Literal["C", "F"] = "F"
    blocks_in_flight = 1

    def __init__(self) -> None:
        self._cuda, self.xp = _modules()
        self.simulated = bool(config.ENABLE_CUDASIM)
        self._stream: Any = 0
        if not self.simulated:
            # Ordered with the default stream, on which the arrays are filled and indexed.
            self._cupy_stream = self.xp.cuda.Stream(non_blocking=False)
            self._stream = self._cuda.external_stream(self._cupy_stream.ptr)

    def _on_stream(self) -> Any:
        from contextlib import nullcontext  # noqa: PLC0415

        return nullcontext() if self.simulated else self._cupy_stream

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> Array:
        """See `Backend.empty`."""
        with self._on_stream():
            return self.xp.empty(shape, dtype, order="F")

    def to_device(self, array: NDArray[Any]) -> Array:
        """See `Backend.to_device`."""
        with self._copy("host_to_device", array.nbytes), self._on_stream():
            return self.xp.array(array, order="F")

    def to_host(self, array: Array) -> NDArray[Any]:
        """See `Backend.to_host`."""
        with self._copy("device_to_host", array.nbytes):
            if self.simulated:
                return np.ascontiguousarray(array)
            return np.ascontiguousarray(self.xp.asnumpy(array))

    def adopt(self, array: Any) -> Array:
        """See `Backend.adopt`.

        DLPack goes first: PyTorch's ``__cuda_array_interface__`` does not say its stream.
        """
        has_dlpack = hasattr(array, "__dlpack__")
        mine = self.xp.from_dlpack(array) if has_dlpack else self.xp.asarray(array)
        if self.simulated:
            return mine
        device = self.xp.cuda.runtime.getDevice()
        if mine.device.id != device:
            raise BackendError(
                f"Expected arrays on GPU {device}, the backend's. Got one on GPU "
                f"{mine.device.id}. Give backend='cuda:{mine.device.id}', or copy it."
            )
        if has_dlpack or "stream" in array.__cuda_array_interface__:
            # CuPy has made its current stream, or the host, wait for the producer.
            self.xp.cuda.get_current_stream().synchronize()
        else:
            self.xp.cuda.Device(device).synchronize()
        return mine

    @contextmanager
    def _copy(self, direction: Direction, nbytes: int) -> Iterator[None]:
        """Wait for what was launched before a copy to the host; time a copy that is observed."""
        observer = supervision().observer
        if observer is not None or direction == "device_to_host":
            self.synchronize()
        began = time.perf_counter()
        yield
        if observer is not None:
            self.synchronize()
            observer.copied(direction, nbytes, began, worker_name())

    def rows_at_once(self, points: int) -> int | None:
        """See `Backend.rows_at_once`: half of the free memory may become scratch."""
        if self.simulated:
            return None
        free, _ = self.xp.cuda.runtime.memGetInfo()
        free += self.xp.get_default_memory_pool().free_bytes()
        numbers = SCRATCH_ROWS * max(1, points) + SCRATCH_BESIDE
        return max(1, int(free // (2 * 8 * numbers)))

    def close(self) -> None:
        """See `Backend.close`."""
        self.synchronize()

    def synchronize(self) -> None:
        """See `Backend.synchronize`."""
        if not self.simulated:
            self._cupy_stream.synchronize()

    def launch(
        self,
        kernel: CurveKernel,
        rows: IndexArray,
        span: tuple[Array, Array],
        *arguments: Any,
    ) -> None:
        """See `Backend.launch`."""
        count = rows.size
        if count == 0:
            return
        around = supervision()
        around.check_deadline()
        points = widest_row(kernel, arguments)
        try:
            scratch = [
                self.empty((count, *scratch_shape(part, points)), part.dtype)
                for part in kernel.scratch
            ]
        except MemoryError as error:  # CuPy's is one
            raise OutOfMemoryError(
                f"The device has no room for kernel {kernel.name!r} over {count} curves of "
                f"{points} points: {error}"
            ) from error
        blocks = -(-count // THREADS)
        driver = cuda_driver(kernel)
        # Shared tables come from the host; batch arrays are on the device already.
        on_device = [self.to_device(a) if isinstance(a, np.ndarray) else a for a in arguments]
        if self.simulated:
            on_device = list(arguments)
        row_numbers = self.to_device(rows)
        if around.observer is not None:
            self.synchronize()
        began = time.perf_counter()
        driver[blocks, THREADS, self._stream](row_numbers, count, *span, *scratch, *on_device)
        if around.observer is not None:
            self.synchronize()
            around.observer.kernel_ran(kernel.name, count, began, worker_name())
