"""What the rest of the package sees of the GPUs: `gpusaxs.backends.base.Backend`."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpusaxs.backends.base import Array, IndexArray
from gpusaxs.backends.cuda.copying import Copier
from gpusaxs.backends.cuda.devices import modules, numbers_of
from gpusaxs.backends.cuda.lanes import Lane
from gpusaxs.backends.cuda.launching import Launcher, numba_launcher
from gpusaxs.backends.cuda.memory import DeviceMemory, PinnedPool, batch_bytes, scratch_bytes
from gpusaxs.backends.numpy import widest_row
from gpusaxs.backends.supervision import Direction, Supervision, supervision, worker_name
from gpusaxs.errors import BackendError, OutOfMemoryError
from gpusaxs.kernels.curve_kernel import CurveKernel

LANES = 3
"""Blocks in flight on a card: one on its way up, one that is computed, one on its way down."""
BLOCK_POINTS = 16_000_000
"""Points of a block: 16,000 curves of 1,000, so that three blocks fill a large card."""


class CudaBackend:
    """Runs kernels on one GPU or several, one thread of a GPU for each curve.

    What is done in a lane has a stream of its own, on one card; the lanes of several cards take
    blocks from the same pool, because a thread that wants a lane gets one of the card with the
    fewest at work. What is done outside any lane is done on the first card, on the default stream,
    which waits for all lanes as these wait for it.

    Where somebody observes launches and copies, each is waited for, so that its time is its own.

    Parameters
    ----------
    name
        ``"cuda"`` for the first GPU, ``"cuda:1"``, ``"cuda:0,1"`` or ``"cuda:all"``.
    device_memory
        Bytes of each card that may be taken: see `gpusaxs.backends.cuda.memory.DeviceMemory`.
    cupy, launcher
        For tests: what stands for CuPy, and what compiles and launches.

    Raises
    ------
    BackendError
        If numba-cuda, CuPy, the driver or a GPU is missing.
    """

    name = "cuda"
    order: Literal["C", "F"] = "F"
    block_points = BLOCK_POINTS

    def __init__(
        self,
        name: str = "cuda",
        device_memory: int | None = None,
        *,
        cupy: Any = None,
        launcher: Launcher | None = None,
    ) -> None:
        if cupy is None or launcher is None:
            _, cupy = modules()
            launcher = numba_launcher()
        self.xp = cupy
        self._launcher = launcher
        self.devices = numbers_of(name, cupy.cuda.runtime.getDeviceCount())
        self._memory = DeviceMemory(cupy, self.devices, device_memory)
        self._copiers = {number: Copier(cupy, PinnedPool(cupy)) for number in self.devices}
        # Those of frozen stages: they are small and few, and stay until the end.
        self._tables: dict[int, dict[tuple[Any, ...], Array]] = {
            number: {} for number in self.devices
        }
        self._free: dict[int, list[Lane]] = {number: [] for number in self.devices}
        self._at_work = dict.fromkeys(self.devices, 0)
        self._lock = threading.Lock()
        self._here = threading.local()
        self._outside = self._lane_on(self.devices[0], cupy.cuda.Stream.null)
        self._outside_lock = threading.RLock()

    @property
    def blocks_in_flight(self) -> int:
        """See `Backend.blocks_in_flight`."""
        return LANES * len(self.devices)

    @contextmanager
    def lane(self, array: Array | None = None) -> Iterator[None]:
        """See `Backend.lane`."""
        if getattr(self._here, "lane", None) is not None:
            yield
            return
        device, lane = self._take(None if array is None else int(array.device.id))
        try:
            with self._current(device, lane):
                yield
                lane.stream.synchronize()
        finally:
            lane.forget()
            with self._lock:
                self._at_work[device] -= 1
                self._free[device].append(lane)

    def _take(self, device: int | None) -> tuple[int, Lane]:
        """Return a lane that nobody uses, on a card or on the one with the least to do."""
        with self._lock:
            if device is None:
                device = min(self.devices, key=lambda number: self._at_work[number])
            self._at_work[device] += 1
            if self._free[device]:
                return device, self._free[device].pop()
        with self.xp.cuda.Device(device):
            # Ordered with the default stream, on which things are done outside of lanes.
            stream = self.xp.cuda.Stream(non_blocking=False)
            return device, self._lane_on(device, stream)

    def _lane_on(self, device: int, stream: Any) -> Lane:
        return Lane(device, stream, self._copiers[device], self._launcher, self._memory.pool.malloc)

    @contextmanager
    def _current(self, device: int, lane: Lane) -> Iterator[None]:
        """Let CuPy work on a card, in a stream, with the memory of this backend."""
        cuda = self.xp.cuda
        with cuda.Device(device), lane.stream, cuda.using_allocator(self._memory.pool.malloc):
            self._here.lane = lane
            try:
                yield
            finally:
                self._here.lane = None

    @contextmanager
    def _any_lane(self) -> Iterator[Lane]:
        """Return the lane of this thread, or the one for all that is done outside of lanes."""
        lane = getattr(self._here, "lane", None)
        if lane is not None:
            yield lane
            return
        with self._outside_lock, self._current(self._outside.device, self._outside):
            try:
                yield self._outside
            finally:
                self._outside.forget()

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> Array:
        """See `Backend.empty`."""
        with self._any_lane(), _out_of_memory(f"an array of {shape}"):
            return self.xp.empty(shape, dtype, order="F")

    def to_device(self, array: NDArray[Any]) -> Array:
        """See `Backend.to_device`."""
        with self._any_lane() as lane, _out_of_memory(f"an array of {array.shape}"):
            if isinstance(array, self.xp.ndarray):
                return self.xp.asfortranarray(array)
            with self._observed("host_to_device", array.nbytes, lane):
                return self._copiers[lane.device].upload(array, lane.stream)

    def to_host(self, array: Array) -> NDArray[Any]:
        """See `Backend.to_host`."""
        with (
            self._any_lane() as lane,
            _out_of_memory(f"a packed array of {array.shape}"),
            self._observed("device_to_host", array.nbytes, lane),
        ):
            return self._copiers[lane.device].download(array, lane.stream)

    def adopt(self, array: Any) -> Array:
        """See `Backend.adopt`.

        DLPack goes first: PyTorch's ``__cuda_array_interface__`` does not say its stream.
        """
        has_dlpack = hasattr(array, "__dlpack__")
        mine = self.xp.from_dlpack(array) if has_dlpack else self.xp.asarray(array)
        device = mine.device
        if self.devices != (device.id,):
            numbers = ", ".join(map(str, self.devices))
            raise BackendError(
                f"Expected arrays on GPU {numbers}, the backend's. Got one on GPU {device.id}. "
                f"Give backend='cuda:{device.id}', or copy it."
            )
        with device:
            if has_dlpack or "stream" in array.__cuda_array_interface__:
                # CuPy has made its current stream, or the host, wait for the producer.
                self.xp.cuda.get_current_stream().synchronize()
            else:
                device.synchronize()
        return mine

    @contextmanager
    def _observed(self, direction: Direction, nbytes: int, lane: Lane) -> Iterator[None]:
        """Time a copy that is observed, apart from all that is before it in the stream."""
        observer = supervision().observer
        if observer is None:
            yield
            return
        lane.stream.synchronize()
        began = time.perf_counter()
        yield
        lane.stream.synchronize()
        observer.copied(direction, nbytes, began, worker_name())

    def rows_at_once(self, points: int) -> int | None:
        """See `Backend.rows_at_once`: half of what is free may become scratch."""
        with self._any_lane():
            return max(1, self._memory.available() // (2 * scratch_bytes(max(1, points))))

    def curves_at_once(self, points: int) -> int | None:
        """See `Backend.curves_at_once`: a share of the memory for each block in flight."""
        with self._any_lane():
            return max(1, self._memory.whole() // (LANES * batch_bytes(max(1, points))))

    def close(self) -> None:
        """See `Backend.close`."""
        self.synchronize()
        for tables in self._tables.values():
            tables.clear()
        self._memory.give_back()

    def synchronize(self) -> None:
        """See `Backend.synchronize`."""
        lane = getattr(self._here, "lane", None)
        if lane is not None:
            lane.stream.synchronize()
            return
        for number in self.devices:
            with self.xp.cuda.Device(number):
                self.xp.cuda.Device(number).synchronize()

    def launch(
        self,
        kernel: CurveKernel,
        rows: IndexArray,
        span: tuple[Array, Array],
        *arguments: Any,
    ) -> None:
        """See `Backend.launch`."""
        if rows.size == 0:
            return
        around = supervision()
        around.check_deadline()
        lane = getattr(self._here, "lane", None)
        if lane is None:
            with self._any_lane() as lane:
                self._launch(lane, around, kernel, rows, (*span, *arguments))
        else:
            self._launch(lane, around, kernel, rows, (*span, *arguments))

    def _launch(
        self,
        lane: Lane,
        around: Supervision,
        kernel: CurveKernel,
        rows: IndexArray,
        arguments: tuple[Any, ...],
    ) -> None:
        """Launch in a lane. This is what a launch costs the host: no detours."""
        if around.observer is not None:
            lane.stream.synchronize()
        began = time.perf_counter()
        try:
            prepared = lane.known(kernel, rows.size, arguments)
            if prepared is None:
                points = widest_row(kernel, arguments[2:])
                prepared = lane.prepare(kernel, rows.size, points, arguments, self._table)
            lane.launch(prepared, rows)
        except MemoryError as error:  # CuPy's is one
            raise _no_room(f"a launch of kernel {kernel.name!r}", error) from error
        if around.observer is not None:
            lane.stream.synchronize()
            around.observer.kernel_ran(kernel.name, rows.size, began, worker_name())

    def _table(self, table: NDArray[Any], lane: Lane) -> Array:
        """Return a table on the card; one of the same content may be there already."""
        key = (table.dtype.str, table.shape, table.tobytes())
        known = self._tables[lane.device]
        with self._lock:
            if key in known:
                return known[key]
        made = self._copiers[lane.device].upload(table, lane.stream)
        # Other streams read it too, and none of them waits for this one.
        lane.stream.synchronize()
        with self._lock:
            return known.setdefault(key, made)


@contextmanager
def _out_of_memory(what: str) -> Iterator[None]:
    """Say what there was no memory for."""
    try:
        yield
    except MemoryError as error:  # CuPy's is one
        raise _no_room(what, error) from error


def _no_room(what: str, error: MemoryError) -> OutOfMemoryError:
    return OutOfMemoryError(f"The device has no room for {what}: {error}")
