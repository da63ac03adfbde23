"""Kernels compiled by Numba, launched as Numba's own dispatcher does in the end.

For every array of every launch the dispatcher asks its type and wraps it, which takes longer than
a small kernel; and the types that numba-cuda 0.30 finds for CuPy's arrays in Fortran order have
strides for all axes, so that other code would run than the one that is tested. So types are named
here, a kernel is compiled for them with `Dispatcher.compile`, and arrays are taken apart once into
the numbers that a compiled kernel takes for them. What is left of a launch is `cuda.core.launch`.

`tests/backends/test_cuda_launching.py` holds the numbers to those that the dispatcher would pass,
and to the parameters in the compiled code.
"""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from typing import Any, Literal, Protocol

import numpy as np

from gpusaxs.kernels.curve_kernel import CurveKernel

THREADS = 128

Signature = tuple[Any, ...]
"""Numba's types of a driver's arguments."""
Words = tuple[Any, ...]
"""What a compiled driver takes, in order: one or several numbers an argument."""


def argument_type(value: Any) -> Any:
    """Return Numba's type of an argument: an array of the card, or a number."""
    from numba.cuda import types  # noqa: PLC0415

    match value:
        case bool():
            return types.boolean
        case int():
            return types.int64
        case float():
            return types.float64
    if value.ndim > 1 and value.flags.f_contiguous:
        return array_type(value.dtype, value.ndim, "F")
    return array_type(value.dtype, value.ndim, "C" if value.flags.c_contiguous else "A")


@cache
def array_type(dtype: Any, ndim: int, layout: Literal["C", "F", "A"]) -> Any:
    """Return Numba's type of an array: in C or Fortran order, or in any."""
    from numba.cuda import types  # noqa: PLC0415
    from numba.cuda.np import numpy_support  # noqa: PLC0415

    return types.Array(numpy_support.from_dtype(np.dtype(dtype)), ndim, layout)


def argument_words(value: Any) -> Words:
    """Return the numbers that a compiled driver takes for an argument."""
    match value:
        case bool() | int():
            return (value,)
        case float():
            return (ctypes.c_double(value),)
    return array_words(
        int(value.data.ptr), value.dtype.itemsize, tuple(value.shape), tuple(value.strides)
    )


def array_words(
    address: int, itemsize: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> Words:
    """Return the numbers that a compiled driver takes for an array.

    Two pointers to owners, which a card has no use for; the number of elements and their size; the
    address; the shape and the strides in bytes.
    """
    elements = 1
    for extent in shape:
        elements *= extent
    return (0, 0, elements, itemsize, address, *shape, *strides)


class Launcher(Protocol):
    """Compiles drivers for a card and launches them."""

    def load(self, kernel: CurveKernel, device: int, signature: Signature) -> Any:
        """Return the compiled driver of a kernel on a card."""
        ...

    def stream(self, stream: Any) -> Any:
        """Return a CuPy stream as `launch` takes it."""
        ...

    def launch(self, stream: Any, blocks: int, driver: Any, words: Words) -> None:
        """Let so many blocks of `THREADS` threads run behind what the stream has already."""
        ...


class NumbaLauncher:
    """Compiles with numba-cuda, and launches with the package that it launches with.

    There is one a process, so that no backend compiles what another has compiled; other processes
    find it on disk.
    """

    def __init__(self) -> None:
        from cuda.core import LaunchConfig, Stream, launch  # noqa: PLC0415
        from numba import cuda  # noqa: PLC0415

        from gpusaxs.backends.cuda.kept_kernels import keep  # noqa: PLC0415

        self._numba_cuda: Any = cuda
        self._keep = keep
        self._config = LaunchConfig
        self._stream = Stream
        self._launch = launch
        self._lock = threading.Lock()
        self._dispatchers: dict[tuple[CurveKernel, tuple[int, int]], Any] = {}
        self._loaded: dict[tuple[CurveKernel, int, Signature], Any] = {}

    def load(self, kernel: CurveKernel, device: int, signature: Signature) -> Any:
        """See `Launcher.load`: compiled once a process and kind of card."""
        key = kernel, device, signature
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = self._compile(kernel, device, signature)
            return self._loaded[key]

    def _compile(self, kernel: CurveKernel, device: int, signature: Signature) -> Any:
        cuda = self._numba_cuda
        with cuda.gpus[device]:
            capability = tuple(cuda.get_current_device().compute_capability)
            key = kernel, capability
            if key not in self._dispatchers:
                self._dispatchers[key] = self._keep(cuda.jit(kernel.cuda_source(cuda)))
            compiled = self._dispatchers[key].compile(signature)
            compiled.bind()
            # The one thing that Numba has no public name for.
            return compiled._codelibrary.get_cufunc().kernel

    def stream(self, stream: Any) -> Any:
        """See `Launcher.stream`."""
        return self._stream.from_handle(int(stream.ptr))

    def launch(self, stream: Any, blocks: int, driver: Any, words: Words) -> None:
        """See `Launcher.launch`."""
        self._launch(stream, self._config(grid=blocks, block=THREADS), driver, *words)


@cache
def numba_launcher() -> NumbaLauncher:
    """Return the launcher of this process."""
    return NumbaLauncher()
