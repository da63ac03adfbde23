"""Backends: the same kernels on the CPU and on a GPU."""

from __future__ import annotations

import logging
from functools import cache

from gpusaxs.backends.base import BLOCK_POINTS, Array, Backend, IndexArray
from gpusaxs.backends.memory_size import bytes_of
from gpusaxs.errors import BackendError

__all__ = [
    "BLOCK_POINTS",
    "Array",
    "Backend",
    "IndexArray",
    "check_backend",
    "cuda_problem",
    "get_backend",
]

logger = logging.getLogger("gpusaxs")


@cache
def cuda_problem() -> str | None:
    """Why the cuda backend is not available here, or None where it is."""
    from gpusaxs.backends.cuda.devices import modules  # noqa: PLC0415

    try:
        modules()
    except BackendError as error:
        return str(error)
    return None


@cache
def _say_once(choice: str) -> None:
    logger.info("backend: %s", choice)


def check_backend(name: str) -> None:
    """Refuse what is the name of no backend, wherever it might run.

    Raises
    ------
    BackendError
        If it is none.
    """
    from gpusaxs.backends.cuda.devices import NAMES, is_cuda  # noqa: PLC0415

    if name not in ("auto", "numpy") and not is_cuda(name):
        raise BackendError(f"Expected backend 'auto', 'numpy', {NAMES}. Got {name!r}.")


def get_backend(
    name: str = "auto", workers: int | None = None, device_memory: int | str | None = None
) -> Backend:
    """Return a backend.

    Parameters
    ----------
    name
        ``"numpy"``; ``"cuda"`` for the first GPU, ``"cuda:1"`` for the second, ``"cuda:0,1"`` for
        both, ``"cuda:all"``; or ``"auto"``: cuda where it works, else numpy; the choice is logged
        once.
    workers
        Threads of the numpy backend; by default one a core.
    device_memory
        Bytes of each GPU that may be taken, as a number or as ``"20GB"``: arrays, and 1 GB for
        CUDA itself. By default what is free, as far as it is needed. The numpy backend takes none.

    Raises
    ------
    BackendError
        If the name is unknown, or cuda is asked for and not available.
    """
    check_backend(name)
    limit = None if device_memory is None else bytes_of(device_memory)
    if name == "auto":
        problem = cuda_problem()
        name = "numpy" if problem else "cuda"
        _say_once(f"{name} ({problem})" if problem else name)
    if name == "numpy":
        from gpusaxs.backends.numpy import NumpyBackend  # noqa: PLC0415

        return NumpyBackend(workers)
    return _cuda_backend(name, limit)


def _cuda_backend(name: str, limit: int | None) -> Backend:
    from numba import config  # noqa: PLC0415

    if config.ENABLE_CUDASIM:
        from gpusaxs.backends.cuda.simulator import SimulatedBackend  # noqa: PLC0415

        return SimulatedBackend()
    from gpusaxs.backends.cuda.backend import CudaBackend  # noqa: PLC0415

    return CudaBackend(name, limit)
