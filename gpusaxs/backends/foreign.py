"""Arrays of other libraries: which memory they are in, and which backend can take them.

They are known by their protocols, DLPack and ``__cuda_array_interface__``, so that none of these
libraries is imported here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpusaxs.errors import BackendError

# Of DLPack's DLDeviceType: plain memory and memory pinned for CUDA, CUDA's own and managed.
_HOST = (1, 3)
_CUDA = (2, 13)


def device_of(array: Any) -> int | None:
    """Return the number of the CUDA device on which an array is; None if it is on the host.

    Raises
    ------
    BackendError
        If it is on a device of another kind, or if CuPy is needed to know and missing.
    """
    if hasattr(array, "__dlpack_device__"):
        kind, number = array.__dlpack_device__()
        if kind in _HOST:
            return None
        if kind in _CUDA:
            return int(number)
        raise BackendError(
            "Expected arrays in host memory or on an NVIDIA GPU. Got one on a device that DLPack "
            f"numbers {int(kind)}. Copy it to the host first."
        )
    if hasattr(array, "__cuda_array_interface__"):
        from gpusaxs.backends.cuda.devices import device_of_pointer  # noqa: PLC0415

        return device_of_pointer(array.__cuda_array_interface__["data"][0])
    return None


def common_device(q: Any, intensity: Any, sigma: Any) -> int | None:
    """Return the CUDA device on which curves are; None if they are on the host.

    Raises
    ------
    BackendError
        If q or sigma are elsewhere than the intensity; but q may be on the host.
    """
    device = device_of(intensity)
    others = {"q": device_of(q), "sigma": device if sigma is None else device_of(sigma)}
    for name, other in others.items():
        if other != device and (name, other) != ("q", None):
            raise BackendError(
                f"Expected {name} {_place(device)}, where the intensity is. Got it "
                f"{_place(other)}. Copy one of them to where the other is."
            )
    return device


def _place(device: int | None) -> str:
    return "in host memory" if device is None else f"on GPU {device}"


def backend_for(name: str, device: int | None) -> str:
    """Return the name of the backend for curves on a device, where `name` leaves the choice."""
    if device is None or name not in ("auto", "cuda"):
        return name
    return f"cuda:{device}"


def host_array(array: Any) -> NDArray[np.float64]:
    """Return numbers that are in host memory as float64; a copy only where they are none."""
    if hasattr(array, "__dlpack__") and not hasattr(array, "__array__"):
        array = np.from_dlpack(array)
    return np.asarray(array, dtype=np.float64)
