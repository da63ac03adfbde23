"""A device without a card: arrays that behave like CuPy's, with their memory on the host.

They refuse what CuPy refuses: to become a NumPy array by themselves, to be computed with together
with one, and to be filled from one. Kernels run as they do on the CPU. Copies are counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gpusaxs.kernels.curve_kernel import Role

from gpusaxs.backends.numpy import NumpyBackend

CUDA = 2


def _inside(value: Any) -> Any:
    """What an argument of a computation is in memory; NumPy's arrays have no place there."""
    if isinstance(value, DeviceArray):
        return value.memory
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (list, tuple)):
        return type(value)(map(_inside, value))
    return value


def _index(key: Any) -> Any:
    """An index: CuPy takes NumPy's arrays there."""
    if isinstance(key, tuple):
        return tuple(map(_index, key))
    return key.memory if isinstance(key, DeviceArray) else key


def _outside(value: Any) -> Any:
    """What was computed: CuPy leaves even single numbers on the device."""
    if isinstance(value, tuple):
        return tuple(map(_outside, value))
    return DeviceArray(np.asarray(value))


class DeviceArray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on the device."""

    def __init__(self, memory: np.ndarray, number: int = 0) -> None:
        self.memory = memory
        self.number = number

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, self.number

    def __dlpack__(self, **_: Any) -> Any:
        return self.memory.__dlpack__()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        options = {name: _inside(value) for name, value in options.items()}
        return _outside(getattr(ufunc, method)(*map(_inside, inputs), **options))

    def __array_function__(self, function: Any, _: Any, args: Any, options: Any) -> Any:
        options = {name: _inside(value) for name, value in options.items()}
        return _outside(function(*map(_inside, args), **options))

    def __getitem__(self, key: Any) -> DeviceArray:
        return _outside(self.memory[_index(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        parts = key if isinstance(key, tuple) else (key,)
        scattered = any(isinstance(part, (DeviceArray, np.ndarray, list)) for part in parts)
        if not scattered and isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self.memory[_index(key)] = value.memory if isinstance(value, DeviceArray) else value

    def __len__(self) -> int:
        return len(self.memory)

    def __bool__(self) -> bool:
        return bool(self.memory)

    def __int__(self) -> int:
        return int(self.memory)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.memory, name)
        if not callable(found):
            return _outside(found) if isinstance(found, np.ndarray) else found
        return lambda *args, **options: _outside(
            found(*map(_inside if name != "take" else _index, args), **options)
        )


class DeviceModule:
    """Stands where cupy does: NumPy's functions, over arrays of the device."""

    inf, nan, newaxis = np.inf, np.nan, None

    def __init__(self, backend: DeviceDouble) -> None:
        self._backend = backend

    def asnumpy(self, array: DeviceArray) -> np.ndarray:
        return self._backend.to_host(array)

    def array(self, values: Any, dtype: Any = None, order: Any = "K") -> DeviceArray:
        if isinstance(values, DeviceArray):
            return DeviceArray(np.array(values.memory, dtype=dtype, order=order))
        self._backend.copied.append(np.shape(values))
        return DeviceArray(np.array(values, dtype=dtype, order=order))

    def asarray(self, values: Any, dtype: Any = None) -> DeviceArray:
        if isinstance(values, DeviceArray) and dtype in (None, values.dtype):
            return values
        return self.array(values, dtype)

    def __getattr__(self, name: str) -> Any:
        function = getattr(np, name)
        return lambda *args, **options: _outside(
            function(*map(_inside, args), **{key: _inside(o) for key, o in options.items()})
        )


class DeviceDouble(NumpyBackend):
    """A backend whose arrays are on a device, as far as anybody can tell.

    Attributes
    ----------
    copied
        Shapes of what was copied from the host and to it.
    """

    name = "cuda"

    def __init__(self, number: int = 0) -> None:
        super().__init__(1)
        self.number = number
        self.copied: list[tuple[int, ...]] = []
        self.xp = DeviceModule(self)  # type: ignore[assignment]

    def empty(self, shape: Any, dtype: Any = np.float64) -> Any:
        return DeviceArray(np.full(shape, 7, dtype))

    def to_device(self, array: Any) -> Any:
        return self.xp.asarray(array, array.dtype)

    def to_host(self, array: Any) -> Any:
        if isinstance(array, np.ndarray):
            return array
        self.copied.append(array.memory.shape)
        return np.ascontiguousarray(array.memory)

    def adopt(self, array: Any) -> Any:
        assert array.__dlpack_device__() == (CUDA, self.number)
        return DeviceArray(np.from_dlpack(_Handed(array.__dlpack__())))

    def launch(self, kernel: Any, rows: Any, span: Any, *arguments: Any) -> None:
        assert isinstance(rows, np.ndarray)
        roles = [p.role for p in kernel.parameters if p.role is not Role.SCRATCH]
        for role, argument in zip(roles, arguments, strict=True):
            assert role is Role.SHARED or isinstance(argument, DeviceArray)
        memory = [_index(argument) for argument in arguments]
        super().launch(kernel, rows, tuple(map(_index, span)), *memory)


class _Handed:
    """A capsule, as NumPy takes it."""

    def __init__(self, capsule: Any) -> None:
        self.capsule = capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __dlpack__(self, **_: Any) -> Any:
        return self.capsule
