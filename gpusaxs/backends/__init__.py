"""Backends: the same kernels on the CPU and on a GPU."""

from __future__ import annotations

import importlib.util
import logging
from functools import cache

from gpusaxs.backends.base import Array, Backend, IndexArray
from gpusaxs.errors import BackendError

__all__ = ["Array", "Backend", "IndexArray", "cuda_problem", "get_backend"]

logger = logging.getLogger("gpusaxs")


@cache
def cuda_problem() -> str | None:
    """Why the cuda backend is not available here, or None where it is."""
    for module in ("cupy", "numba_cuda"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed (pip install 'gpusaxs[cuda]')"
    from gpusaxs.backends.cuda import CudaBackend  # noqa: PLC0415

    try:
        CudaBackend()
    except BackendError as error:
        return str(error)
    return None


@cache
def _say_once(choice: str) -> None:
    logger.info("backend: %s", choice)


def get_backend(name: str = "auto", workers: int | None = None) -> Backend:
    """Return a backend.

    Parameters
    ----------
    name
        ``"numpy"``, ``"cuda"``, or ``"auto"``: cuda where it works, else numpy; the choice is
        logged once.
    workers
        Threads of the numpy backend; by default one a core.

    Raises
    ------
    BackendError
        If the name is unknown, or cuda is asked for and not available.
    """
    match name:
        case "auto":
            problem = cuda_problem()
            chosen = "numpy" if problem else "cuda"
            _say_once(f"{chosen} ({problem})" if problem else chosen)
            return get_backend(chosen, workers)
        case "numpy":
            from gpusaxs.backends.numpy import NumpyBackend  # noqa: PLC0415

            return NumpyBackend(workers)
        case "cuda":
            from gpusaxs.backends.cuda import CudaBackend  # noqa: PLC0415

            return CudaBackend()
    raise BackendError(f"Expected backend 'auto', 'numpy' or 'cuda'. Got {name!r}.")
