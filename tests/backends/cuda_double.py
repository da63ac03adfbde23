"""What stands for CuPy and for compiled kernels where there is no GPU.

Memory of a card is memory of the host at its real address. What is put into a stream waits there
until somebody waits for the stream or for an event behind it, so that a buffer that is used again
too early, or memory that is given back too early, shows itself. A kernel gets the numbers that a
compiled one would, and has to make its arrays of them.
"""

import ctypes
import threading
from collections import deque
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
from numba import types
from numba.np import numpy_support
from numpy.lib.mixins import NDArrayOperatorsMixin

from gpusaxs.backends.cuda.launching import THREADS

UP, DOWN = 1, 2
_lock = threading.RLock()


class OutOfMemoryError(MemoryError):
    """As CuPy has it."""


class Card:
    """A GPU: its memory, and what was put into its streams."""

    def __init__(self, number, total=10**12, largest=10**12):
        self.number, self.total, self.largest = number, total, largest
        self.others = 0
        self.regions = {}
        self.log = []
        self.launched = []
        self.streams = []
        self.most_used = 0

    @property
    def used(self):
        return sum(self.regions.values())

    def assert_holds(self, address, nbytes):
        with _lock:
            assert any(
                first <= address and address + nbytes <= first + size
                for first, size in self.regions.items()
            ), f"card {self.number} has no {nbytes} bytes at {address:x}"


class Stream:
    """What was put into it is done when somebody waits for it, in order."""

    def __init__(self, cupy, number, *, null=False):
        self.cupy, self.device, self.is_null = cupy, number, null
        self.tasks = deque()
        self.ptr = 0 if null else 1000 + len(cupy.streams)
        cupy.streams[self.ptr] = self

    def put(self, task):
        with _lock:
            if self.is_null:
                for other in list(self.cupy.streams.values()):
                    other.run()
                task()
            else:
                self.tasks.append(task)

    def run(self, until=None):
        with _lock:
            while self.tasks and not (until is not None and until()):
                self.tasks.popleft()()

    def synchronize(self):
        if self.is_null:
            for other in list(self.cupy.streams.values()):
                other.run()
        self.run()

    def __enter__(self):
        self.cupy.here.streams.append(self)
        return self

    def __exit__(self, *_):
        assert self.cupy.here.streams.pop() is self


class Event:
    def __init__(self, cupy):
        self.cupy, self.device, self.stream, self.done = cupy, cupy.device, None, True

    def record(self, stream):
        assert stream.is_null or stream.device == self.device
        self.stream, self.done = stream, False
        stream.put(self._happen)

    def _happen(self):
        self.done = True

    def synchronize(self):
        if self.stream is not None:
            self.stream.run(until=lambda: self.done)
        assert self.done


class Memory:
    """Bytes of a card; given back behind what its stream has to do by then."""

    def __init__(self, cupy, pool, nbytes):
        self.cupy, self.pool, self.size = cupy, pool, -(-nbytes // 512) * 512
        self.card, self.stream = cupy.cards[cupy.device], cupy.stream
        self.content = np.full(self.size, 0xA5, np.uint8)
        self.ptr = self.content.ctypes.data
        with _lock:
            self.card.regions[self.ptr] = self.size
            self.card.most_used = max(self.card.most_used, self.card.used)

    def __del__(self):
        card, address, content = self.card, self.ptr, self.content

        def give_back():
            content.fill(0x5A)
            card.regions.pop(address, None)

        self.stream.put(give_back)


class MemoryPool:
    def __init__(self, cupy):
        self.cupy, self.limits = cupy, {}

    def malloc(self, nbytes):
        card = self.cupy.cards[self.cupy.device]
        limit = self.limits.get(card.number) or card.total - card.others
        with _lock:
            full = nbytes > card.largest or card.used + nbytes > limit
            if full:
                # As CuPy does before it gives up.
                self.free_all_blocks()
            if nbytes > card.largest or card.used + nbytes > limit:
                raise OutOfMemoryError(f"Out of memory allocating {nbytes:,} bytes")
            return Memory(self.cupy, self, max(1, nbytes))

    def set_limit(self, size):
        self.limits[self.cupy.device] = size

    def get_limit(self):
        return self.limits.get(self.cupy.device, 0)

    def used_bytes(self):
        return self.cupy.cards[self.cupy.device].used

    total_bytes = used_bytes

    def free_bytes(self):
        return 0

    def free_all_blocks(self):
        """Wait for all streams, as `cudaFree` does."""
        for stream in list(self.cupy.streams.values()):
            stream.run()


class Pinned(bytearray):
    @property
    def ptr(self):
        return ctypes.addressof((ctypes.c_char * len(self)).from_buffer(self))


class DeviceArray(NDArrayOperatorsMixin):
    """The few things of `cupy.ndarray` that the package does with a batch."""

    def __init__(self, cupy, memory, array):
        self.cupy, self.memory, self.array = cupy, memory, array

    shape = property(lambda self: self.array.shape)
    strides = property(lambda self: self.array.strides)
    dtype = property(lambda self: self.array.dtype)
    ndim = property(lambda self: self.array.ndim)
    size = property(lambda self: self.array.size)
    nbytes = property(lambda self: self.array.nbytes)
    flags = property(lambda self: self.array.flags)
    device = property(lambda self: SimpleNamespace(id=self.memory.card.number))
    data = property(lambda self: SimpleNamespace(ptr=self.array.ctypes.data))

    def __len__(self):
        return len(self.array)

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __int__(self):
        self.cupy.stream.synchronize()
        return int(self.array)

    def __getitem__(self, key):
        keys = key if isinstance(key, tuple) else (key,)
        if any(isinstance(part, np.ndarray | list | DeviceArray) for part in keys):
            self.cupy.stream.synchronize()
            there = [part.array if isinstance(part, DeviceArray) else part for part in keys]
            return self.cupy.copied(self.array[tuple(there)])
        return DeviceArray(self.cupy, self.memory, self.array[key])

    def __setitem__(self, key, value):
        self._check(value)
        assert self.cupy.device == self.memory.card.number
        target, source = self, value

        def store():
            target.array[key] = source.array if isinstance(source, DeviceArray) else source

        self.cupy.stream.put(store)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        assert method == "__call__"
        for value in inputs:
            self._check(value)
        self.cupy.stream.synchronize()
        plain = [value.array if isinstance(value, DeviceArray) else value for value in inputs]
        if out is not None:
            ufunc(*plain, out=tuple(value.array for value in out), **options)
            return out[0]
        return self.cupy.copied(ufunc(*plain, **options))

    def _check(self, value):
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        if isinstance(value, DeviceArray):
            assert value.memory.card is self.memory.card, "arrays of two cards"

    def take(self, indices):
        return self[np.asarray(indices)]


class Here(threading.local):
    """What is current in a thread."""

    def __init__(self):
        self.devices, self.streams, self.allocators = [0], [], []


class DoubleOfCupy:
    """The module, with as many cards as it is given."""

    ndarray = DeviceArray

    def __init__(self, cards):
        self.cards, self.streams, self.here = cards, {}, Here()
        null = Stream(self, -1, null=True)
        self._null = null
        self.cuda = SimpleNamespace(
            Device=self._device,
            Stream=self._stream_class(),
            Event=lambda disable_timing=False: Event(self),
            MemoryPool=lambda: MemoryPool(self),
            using_allocator=self._using_allocator,
            alloc_pinned_memory=self._pinned,
            runtime=SimpleNamespace(
                memcpyHostToDevice=UP,
                memcpyDeviceToHost=DOWN,
                memcpyAsync=self._copy,
                memGetInfo=self._memory,
                getDeviceCount=lambda: len(cards),
                getDeviceProperties=lambda number: {
                    "name": b"Double %d" % number, "major": 9, "minor": 0,
                },
                driverGetVersion=lambda: 13020,
            ),
        )  # fmt: skip
        self.pinned = []

    @property
    def device(self):
        return self.here.devices[-1]

    @property
    def stream(self):
        return self.here.streams[-1] if self.here.streams else self._null

    def _device(self, number):
        double = self

        class Device:
            def __enter__(self):
                double.here.devices.append(number)

            def __exit__(self, *_):
                assert double.here.devices.pop() == number

            def synchronize(self):
                for stream in list(double.streams.values()):
                    stream.run()

        return Device()

    def _stream_class(self):
        double = self

        class Made(Stream):
            null = double._null

            def __init__(self, non_blocking):
                assert not non_blocking
                super().__init__(double, double.device)
                double.cards[double.device].streams.append(self)

        return Made

    @contextmanager
    def _using_allocator(self, allocator):
        self.here.allocators.append(allocator)
        yield
        assert self.here.allocators.pop() == allocator

    def _pinned(self, nbytes):
        self.pinned.append(nbytes)
        return Pinned(nbytes)

    def _memory(self):
        card = self.cards[self.device]
        return card.total - card.others - card.used, card.total

    def _copy(self, target, source, nbytes, kind, stream):
        card = self.cards[self.device]
        words = {UP: "up", DOWN: "down"}[kind]
        card.log.append((words, stream, nbytes))

        def copy():
            card.assert_holds(target if kind == UP else source, nbytes)
            ctypes.memmove(target, source, nbytes)

        self.streams[stream].put(copy)

    def empty(self, shape, dtype=np.float64, order="C"):
        assert self.here.allocators, "memory that the backend does not count"
        dtype = np.dtype(dtype)
        memory = self.here.allocators[-1](int(np.prod(shape)) * dtype.itemsize)
        return DeviceArray(self, memory, np.ndarray(shape, dtype, memory.content, order=order))

    def copied(self, array):
        array = np.asarray(array)
        made = self.empty(array.shape, array.dtype)
        made.array[...] = array
        return made

    def ascontiguousarray(self, array):
        if array.flags.c_contiguous:
            return array
        packed = self.empty(array.shape, array.dtype)
        packed[...] = array
        return packed

    def asfortranarray(self, array):
        if array.flags.f_contiguous:
            return array
        turned = self.empty(array.shape, array.dtype, order="F")
        turned[...] = array
        return turned


class LauncherOfTheCpu:
    """Runs the CPU's drivers over arrays that it makes of the numbers of a launch."""

    def __init__(self, cupy):
        self.cupy, self.loaded = cupy, []

    def load(self, kernel, device, signature):
        self.loaded.append((kernel.name, device))
        assert device == self.cupy.device
        return kernel, device, signature

    def stream(self, stream):
        return stream

    def launch(self, stream, blocks, driver, words):
        kernel, device, signature = driver
        assert device == self.cupy.device
        assert stream.is_null or stream.device == device
        card = self.cupy.cards[device]
        card.log.append(("launch", stream.ptr, kernel.name))
        stream.put(lambda: self._run(card, kernel, signature, blocks, list(words)))

    def _run(self, card, kernel, signature, blocks, words):
        arguments = [self._argument(card, kind, words) for kind in signature]
        assert words == []
        rows, count, *others = arguments
        assert rows.size == count
        assert blocks == -(-count // THREADS)
        card.launched.append((kernel.name, rows.tolist()))
        scratch = others[2 : 2 + len(kernel.scratch)]
        del others[2 : 2 + len(kernel.scratch)]
        assert all(len(part) >= count for part in scratch)
        # The layout of the CPU, for which the drivers are compiled.
        turned = [np.array(a, order="C") if isinstance(a, np.ndarray) else a for a in others]
        own = [np.empty(part.shape[1:], part.dtype) for part in scratch]
        kernel.cpu_driver(rows, 0, count, *turned[:2], *own, *turned[2:])
        for array, computed in zip(others, turned, strict=True):
            if isinstance(array, np.ndarray):
                array[...] = computed

    def _argument(self, card, kind, words):
        if not isinstance(kind, types.Array):
            value = words.pop(0)
            return getattr(value, "value", value)
        owners, (elements, itemsize, address) = words[:2], words[2:5]
        shape, strides = words[5 : 5 + kind.ndim], words[5 + kind.ndim : 5 + 2 * kind.ndim]
        del words[: 5 + 2 * kind.ndim]
        dtype = numpy_support.as_dtype(kind.dtype)
        assert owners == [0, 0]
        assert (elements, itemsize) == (np.prod(shape), dtype.itemsize)
        if elements == 0:
            return np.empty(shape, dtype)
        nbytes = elements * itemsize
        card.assert_holds(address, nbytes)
        content = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
        array = np.ndarray(shape, dtype, content, strides=strides)
        assert array.flags.c_contiguous if kind.layout == "C" else array.flags.f_contiguous
        return array
