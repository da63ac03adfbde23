"""Which GPUs there are, and why there are none where that is so."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpusaxs.errors import BackendError

INSTALL = "pip install 'gpusaxs[cuda]'"
NAMES = "'cuda', 'cuda:1', 'cuda:0,1' or 'cuda:all'"
_NAME = re.compile(r"cuda(?::(all|\d+(?:,\d+)*))?")
# Where the Linux driver says its release; elsewhere the CUDA version that it knows has to do.
_RELEASE = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU.

    Parameters
    ----------
    number
        As CUDA counts, which leaves out what ``CUDA_VISIBLE_DEVICES`` hides.
    total, free
        Memory in bytes; free is what no process has now.
    """

    number: int
    name: str
    compute_capability: tuple[int, int]
    total: int
    free: int


def modules() -> tuple[Any, Any]:
    """Return `numba.cuda` and `cupy` where there is a GPU for them.

    Raises
    ------
    BackendError
        If numba-cuda, CuPy, the driver or a GPU is missing: the message says which, and what to do.
    """
    for module, name in (("numba_cuda", "numba-cuda"), ("cupy", "CuPy")):
        # Without an import, which takes a second where all is there.
        if importlib.util.find_spec(module) is None:
            raise BackendError(
                f"The cuda backend needs {name}, which is not installed. Install it with: {INSTALL}"
            )
    try:
        import cupy  # noqa: PLC0415
        from numba import cuda  # noqa: PLC0415
    except ImportError as error:
        raise BackendError(
            f"The cuda backend cannot load what it needs: {error}. Install it again with: {INSTALL}"
        ) from error
    _check_driver(cupy)
    return cuda, cupy


def _check_driver(cupy: Any) -> None:
    runtime = cupy.cuda.runtime
    known = runtime.driverGetVersion()
    if known == 0:
        raise BackendError(
            "The cuda backend needs the NVIDIA driver, and there is none here. Install it, check "
            "it with nvidia-smi, or use --backend numpy."
        )
    try:
        runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise BackendError(
            f"CuPy finds no usable NVIDIA GPU: {error}. The driver knows CUDA {_version(known)}, "
            f"CuPy was built for {_version(runtime.runtimeGetVersion())}. Check the driver with "
            "nvidia-smi and CUDA_VISIBLE_DEVICES, or use --backend numpy."
        ) from error


def _version(number: int) -> str:
    """Return 13020 as 13.2."""
    return f"{number // 1000}.{number % 1000 // 10}"


def driver(cupy: Any) -> str:
    """Return the release of the driver where it says so, and the CUDA version that it knows."""
    cuda = f"CUDA {_version(cupy.cuda.runtime.driverGetVersion())}"
    if not _RELEASE.exists():
        return cuda
    release = re.search(r"\b\d+\.\d+(?:\.\d+)?\b", _RELEASE.read_text())
    return cuda if release is None else f"{release.group()}, {cuda}"


def devices(cupy: Any) -> list[Device]:
    """Return all GPUs of this machine."""
    found = []
    runtime = cupy.cuda.runtime
    for number in range(runtime.getDeviceCount()):
        said = runtime.getDeviceProperties(number)
        with cupy.cuda.Device(number):
            free, total = runtime.memGetInfo()
        capability = (int(said["major"]), int(said["minor"]))
        found.append(Device(number, said["name"].decode(), capability, total, free))
    return found


def device_of_pointer(pointer: int) -> int:
    """Return the number of the GPU to whose memory a pointer belongs."""
    _, cupy = modules()
    runtime = cupy.cuda.runtime
    # An array without elements has no pointer.
    return int(runtime.pointerGetAttributes(pointer).device if pointer else runtime.getDevice())


def is_cuda(name: str) -> bool:
    """Whether a backend's name is one of GPUs."""
    return _NAME.fullmatch(name) is not None


def numbers_of(name: str, count: int) -> tuple[int, ...]:
    """Return the GPUs that a backend's name means, of `count` that there are.

    Raises
    ------
    BackendError
        If there is no such GPU, or one is named twice.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise BackendError(f"Expected {NAMES}. Got {name!r}.")
    named = match.group(1) or "0"
    numbers = tuple(range(count) if named == "all" else map(int, named.split(",")))
    if len(set(numbers)) < len(numbers) or not all(number < count for number in numbers):
        raise BackendError(
            f"Expected different GPUs from 0 to {count - 1}. Got {name!r}. gpusaxs info lists them."
        )
    return numbers
