"""What a backend offers: where arrays live, and how a kernel is run over many curves."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpusaxs.kernels.curve_kernel import CurveKernel

IndexArray = NDArray[np.int64]
Array = Any
"""An array of the backend's own kind: numpy.ndarray or cupy.ndarray."""

BLOCK_POINTS = 1_000_000
"""Points of curves that are worked on together, padding included: their arrays take 60 MB."""


class Backend(Protocol):
    """Owner of arrays and launches.

    Attributes
    ----------
    name
        ``"numpy"`` or ``"cuda"``.
    order
        Memory order of (curves, points) arrays: ``"C"`` keeps a curve together, ``"F"`` keeps
        the same point of neighbouring curves together.
    xp
        The array module, numpy or cupy.
    blocks_in_flight
        Blocks of curves that may be worked on at once.
    block_points
        Points of curves of a block, padding included.
    """

    @property
    def name(self) -> str:
        """Name of the backend."""
        ...

    @property
    def order(self) -> Literal["C", "F"]:
        """Memory order of its arrays."""
        ...

    @property
    def xp(self) -> Any:
        """Its array module."""
        ...

    @property
    def blocks_in_flight(self) -> int:
        """Blocks of curves that may be worked on at once, each from a thread of its own."""
        ...

    @property
    def block_points(self) -> int:
        """Points of curves that make up a block, unless somebody says how large it is."""
        ...

    def lane(self, array: Array | None = None) -> AbstractContextManager[None]:
        """Let this thread work on a block, apart from what other threads do.

        Arrays that are made in a lane are used in it, until it is left. A lane within a lane is
        the same one.

        Parameters
        ----------
        array
            Made outside of lanes: the lane is one in which it can be used.
        """
        ...

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> Array:
        """Return an uninitialised array in the backend's order."""
        ...

    def to_device(self, array: NDArray[Any]) -> Array:
        """Return `array` as the backend's own, in its order; a copy unless it already is."""
        ...

    def to_host(self, array: Array) -> NDArray[Any]:
        """Return `array` as a C-ordered NumPy array, once all launches before have ended."""
        ...

    def adopt(self, array: Any) -> Array:
        """Return an array of another library, on the backend's device, as one of its own.

        Parameters
        ----------
        array
            Has ``__dlpack__`` or ``__cuda_array_interface__``. It is not copied and must not be
            written to; what its producer has launched before has ended when this returns.

        Raises
        ------
        BackendError
            If it is on another device.
        """
        ...

    def launch(
        self,
        kernel: CurveKernel,
        rows: IndexArray,
        span: tuple[Array, Array],
        *arguments: Any,
    ) -> None:
        """Run `kernel` over the curves in `rows`.

        Parameters
        ----------
        rows : (launched,) int64, on the host
            The curves that take part.
        span : two (curves,) int64
            First point and end of each curve.
        arguments
            The kernel's arguments in order, without its scratch: arrays of the batch, or scalars.

        Raises
        ------
        OutOfMemoryError
            If the device has no room for the scratch; no curve was touched then.
        StageTimeoutError
            If the launch went on beyond its deadline: see `gpusaxs.backends.supervision`.
        """
        ...

    def rows_at_once(self, points: int) -> int | None:
        """Curves of so many points for which one launch has memory now; None for any number."""
        ...

    def curves_at_once(self, points: int) -> int | None:
        """Curves of so many points for which a batch has memory; None for any number."""
        ...

    def close(self) -> None:
        """Give back threads and other resources; nothing can be launched any more."""
        ...

    def synchronize(self) -> None:
        """Wait until all launches have ended."""
        ...
