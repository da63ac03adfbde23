"""A kernel is a loop over one curve; this module makes the loops over all curves.

`curve_kernel` reads the annotations of a plain Python function over one curve and makes two
drivers of it: a CPU loop over a chunk of curves, and a CUDA grid of one thread a curve.

The contract of a kernel: it allocates nothing, raises nothing (it writes a status), calls only
functions marked `device_function`, and writes only to its own curve's arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import Annotated, Any, ParamSpec, TypeVar, get_type_hints

import numba
import numpy as np
from gpusaxs.kernels import cache
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
P = ParamSpec("P")
R = TypeVar("R")


class Role(Enum):
    """How an argument of a launch becomes an argument of the kernel."""

    ROW = auto()
    ROWS = auto()
    PER_CURVE = auto()
    OUTPUT = auto()
    SHARED = auto()
    SCRATCH = auto()


@dataclass(frozen=True)
class ScratchOf:
    """Working memory that dies with the curve: the backend supplies it, the caller does not.

    Parameters
    ----------
    shape
        Of the array; None for one element a point of the curve.
    dtype
        Of an element.
    """

    shape: tuple[int, ...] | None = None
    dtype: str = "float64"


Row = Annotated[FloatArray, Role.ROW]
"""(points,) of this curve, from its start to its stop. A batch array of one row is shared."""
Rows = Annotated[Any, Role.ROWS]
"""A small table of this curve: all but the first axis of the batch's array."""
PerCurve = Annotated[Any, Role.PER_CURVE]
"""One number of this curve, to read."""
Output = Annotated[Any, Role.OUTPUT]
"""One number of this curve, to write: ``status[0] = ...``."""
Shared = Annotated[Any, Role.SHARED]
"""The same number or array for all curves."""
Scratch = Annotated[FloatArray, ScratchOf()]
"""(points,) float64 working memory."""
IndexScratch = Annotated[NDArray[np.int64], ScratchOf(dtype="int64")]
"""(points,) int64 working memory."""


def scratch_shape(scratch: ScratchOf, points: int) -> tuple[int, ...]:
    """Shape of a scratch array for curves of up to `points` points."""
    return (points,) if scratch.shape is None else scratch.shape


@dataclass(frozen=True)
class Parameter:
    """One argument of a kernel."""

    name: str
    role: Role
    scratch: ScratchOf | None = None


def _parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    hints = get_type_hints(function, include_extras=True)
    parameters = []
    for name in inspect.signature(function).parameters:
        marks = getattr(hints.get(name), "__metadata__", ())
        match marks:
            case (Role() as role, *_):
                parameters.append(Parameter(name, role))
            case (ScratchOf() as scratch, *_):
                parameters.append(Parameter(name, Role.SCRATCH, scratch))
            case _:
                raise TypeError(
                    f"Expected Row, Rows, PerCurve, Output, Shared or Scratch as the annotation "
                    f"of {name!r} in kernel {function.__name__!r}. Got {hints.get(name)!r}."
                )
    return tuple(parameters)


# What lets LLVM sum in vectors: (a + b) + c may become a + (b + c), and a b + c one operation.
_REASSOCIATE = frozenset({"reassoc", "contract", "nsz"})


def _jit(function: Callable[..., Any], fastmath: Any = False, *, inlined: bool = False) -> Any:
    # Numba passes on what is not set to what is called, so all is set everywhere. Without its
    # runtime (_nrt) nothing can be allocated, and nobody counts the holders of an array at each
    # slice and call, with atomic operations that took a quarter of the time.
    return numba.njit(
        nogil=True, error_model="numpy", fastmath=fastmath, forceinline=inlined, _nrt=False
    )(function)


def device_function(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a function that kernels call, on both targets."""
    compiled: Callable[P, R] = cache.enable(_jit(function))
    return compiled


def inlined_function(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a `device_function` that becomes a part of each kernel that calls it.

    What calls a `reassociating_function` has to: a process that compiles holds a second copy of
    every other function, which may have been summed in another order than the one in the cache,
    and calls whichever it met first.
    """
    compiled: Callable[P, R] = cache.enable(_jit(function, inlined=True))
    return compiled


def reassociating_function(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a `device_function` whose sums may be taken in any order: twice as fast for long ones.

    Its last bits depend on the processor's vectors, though not on the batch. It must call no
    other function: Numba would pass the licence on. What calls it is an `inlined_function`.
    """
    compiled: Callable[P, R] = cache.enable(_jit(function, set(_REASSOCIATE), inlined=True))
    return compiled


class CurveKernel:
    """A kernel and its drivers; made by `curve_kernel`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = function.__name__
        self.py_func = function
        self.parameters = _parameters(function)
        self.scratch = tuple(p.scratch for p in self.parameters if p.scratch is not None)
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self.__wrapped__ = function

    def __repr__(self) -> str:
        return f"CurveKernel({self.__module__}.{self.name})"

    def __call__(self, *arguments: Any) -> Any:
        """Run on one curve; the arguments are the kernel's own, scratch included."""
        return self.body(*arguments)

    @cached_property
    def body(self) -> Any:
        """The compiled function over one curve."""
        return cache.enable(_jit(self.py_func, inlined=True))

    @cached_property
    def cpu_driver(self) -> Any:
        """``driver(rows, first, last, start, stop, *scratch, *arguments)``: a chunk of curves.

        Scratch arrays are the worker's own, (points,) each.
        """
        lines = [
            f"def {self.name}_cpu({self._signature('rows, first, last, start, stop')}):",
            "    for i in range(first, last):",
            "        curve = rows[i]",
            "        lo = start[curve]",
            "        hi = stop[curve]",
            f"        body({self._call(scratch_row='')})",
        ]
        return cache.enable(_jit(self._compile(lines, {"body": self.body})))

    def cuda_source(self, cuda: Any) -> Callable[..., None]:
        """Return the Python function of the CUDA driver: one thread a curve.

        ``driver(rows, count, start, stop, *scratch, *arguments)``; scratch arrays have one row
        a thread. `cuda` is the module `numba.cuda`.
        """
        lines = [
            f"def {self.name}_cuda({self._signature('rows, count, start, stop')}):",
            "    i = cuda.grid(1)",
            "    if i < count:",
            "        curve = rows[i]",
            "        lo = start[curve]",
            "        hi = stop[curve]",
            f"        body({self._call(scratch_row='i')})",
        ]
        return self._compile(lines, {"body": self.body, "cuda": cuda})

    def _signature(self, leading: str) -> str:
        ordered = sorted(self.parameters, key=lambda p: p.role is not Role.SCRATCH)
        return ", ".join([leading, *(p.name + "_" for p in ordered)])

    def _call(self, scratch_row: str) -> str:
        return ", ".join(_argument(p, scratch_row) for p in self.parameters)

    def _compile(self, lines: list[str], namespace: dict[str, Any]) -> Callable[..., Any]:
        """Compile driver source under the kernel's own file and module, as the cache needs."""
        source = "\n".join(lines) + "\n"
        filename = inspect.getfile(self.py_func)
        namespace["__name__"] = self.py_func.__module__
        exec(compile(source, filename, "exec"), namespace)
        driver: Callable[..., Any] = namespace[lines[0].split("(")[0].removeprefix("def ")]
        return driver


def _argument(parameter: Parameter, scratch_row: str) -> str:
    """Return the expression that turns a driver's argument into the kernel's."""
    name = parameter.name + "_"
    match parameter.role:
        case Role.ROW:
            return f"{name}[curve if {name}.shape[0] > 1 else 0, lo:hi]"
        case Role.ROWS | Role.PER_CURVE:
            return f"{name}[curve]"
        case Role.OUTPUT:
            return f"{name}[curve:curve + 1]"
        case Role.SHARED:
            return name
        case Role.SCRATCH:
            assert parameter.scratch is not None
            inner = [scratch_row, "" if parameter.scratch.shape else ":hi - lo"]
            index = ", ".join(part for part in inner if part)
            return f"{name}[{index}]" if index else name


def curve_kernel(function: Callable[..., Any]) -> CurveKernel:
    """Make a kernel of a function over one curve.

    Parameters
    ----------
    function
        Its annotations (`Row`, `Rows`, `PerCurve`, `Output`, `Shared`, `Scratch`) say how each
        argument is taken from a batch.

    Raises
    ------
    TypeError
        If an argument lacks such an annotation.
    """
    return CurveKernel(function)
