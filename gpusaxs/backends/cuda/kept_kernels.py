"""Kernels compiled for a card are kept between runs, beside those of the CPU.

Their place is named after a hash of all kernel sources, and their entries after the card's compute
capability, the versions of CUDA and numba-cuda, and the types of the arguments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numba.cuda.dispatcher import CUDACache, CUDACacheImpl

from gpusaxs.kernels import cache


class _Impl(CUDACacheImpl):  # type: ignore[misc]
    _locator_classes = cache.LOCATORS


class _KeptKernels(CUDACache):  # type: ignore[misc]
    _impl_class = _Impl

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a kernel; one process at a time, or two take the same file for theirs."""
        with cache.alone_in(Path(self.cache_path)):
            super().save_overload(sig, data)


def keep(dispatcher: Any) -> Any:
    """Keep what a CUDA dispatcher compiles on disk, where there is a place, and return it."""
    if cache.folder() is not None:
        dispatcher._cache = _KeptKernels(dispatcher.py_func)
    return dispatcher
