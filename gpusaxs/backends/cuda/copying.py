"""Arrays from the host to a card and back, through pinned buffers, in the order of a stream.

The host keeps a curve together, a card the same point of neighbouring curves. Curves cross the bus
as they lie on the host, a few megabytes at a time, and CuPy turns what has arrived while it is
still in the card's cache.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpusaxs.backends.base import Array
from gpusaxs.backends.cuda.memory import LARGEST_BUFFER, PinnedBuffer, PinnedPool

# Copies to the host that are on their way while one that has arrived is unpacked.
_AHEAD = 2


class Copier:
    """Copies between the host and the current card."""

    def __init__(self, cupy: Any, pinned: PinnedPool) -> None:
        self._cupy = cupy
        self._pinned = pinned

    def upload(self, host: NDArray[Any], stream: Any) -> Array:
        """Return a copy of an array on the card, in Fortran order; the host need not wait."""
        source = np.ascontiguousarray(host)
        device = self._cupy.empty(source.shape, source.dtype, order="F")
        if source.size == 0:
            return device
        if device.flags.c_contiguous:
            self._send(int(device.data.ptr), source, stream)
            return device
        rows = max(1, LARGEST_BUFFER // (source.nbytes // source.shape[0]))
        arrived = self._cupy.empty((min(rows, len(source)), *source.shape[1:]), source.dtype)
        for first in range(0, len(source), rows):
            part = source[first : first + rows]
            self._send(int(arrived.data.ptr), part, stream)
            device[first : first + rows] = arrived[: len(part)]
        return device

    def _send(self, address: int, source: NDArray[Any], stream: Any) -> None:
        """Copy a C-ordered array to an address on the card."""
        content = source.reshape(-1).view(np.uint8)
        runtime = self._cupy.cuda.runtime
        for first in range(0, content.size, LARGEST_BUFFER):
            part = content[first : first + LARGEST_BUFFER]
            buffer = self._pinned.take(part.size)
            buffer.content[: part.size] = part
            runtime.memcpyAsync(
                address + first,
                buffer.address,
                part.size,
                runtime.memcpyHostToDevice,
                stream.ptr,
            )
            buffer.event.record(stream)
            self._pinned.give(buffer)

    def download(self, device: Array, stream: Any) -> NDArray[Any]:
        """Return an array of the card on the host, in C order, when all before has ended."""
        host = np.empty(device.shape, device.dtype)
        content = host.reshape(-1).view(np.uint8)
        runtime = self._cupy.cuda.runtime
        coming: deque[tuple[int, int, PinnedBuffer]] = deque()
        for place, address, size in self._pieces(device):
            buffer = self._pinned.take(size)
            runtime.memcpyAsync(
                buffer.address, address, size, runtime.memcpyDeviceToHost, stream.ptr
            )
            buffer.event.record(stream)
            coming.append((place, size, buffer))
            if len(coming) > _AHEAD:
                self._unpack(*coming.popleft(), content)
        while coming:
            self._unpack(*coming.popleft(), content)
        return host

    def _pieces(self, device: Array) -> Iterator[tuple[int, int, int]]:
        """Pieces of an array in C order: where they begin, their address and size in bytes.

        Some curves at a time are brought into this order on the card; what is put into the stream
        before the next piece is asked for comes before their memory is used again.
        """
        place = 0
        for packed in self._packed(device):
            for offset in range(0, packed.nbytes, LARGEST_BUFFER):
                size = min(LARGEST_BUFFER, packed.nbytes - offset)
                yield place + offset, int(packed.data.ptr) + offset, size
            place += packed.nbytes

    def _packed(self, device: Array) -> Iterator[Array]:
        if device.flags.c_contiguous:
            yield device
            return
        rows = max(1, LARGEST_BUFFER // (device.nbytes // len(device)))
        for first in range(0, len(device), rows):
            yield self._cupy.ascontiguousarray(device[first : first + rows])

    def _unpack(
        self, place: int, size: int, buffer: PinnedBuffer, content: NDArray[np.uint8]
    ) -> None:
        buffer.event.synchronize()
        content[place : place + size] = buffer.content[:size]
        self._pinned.give(buffer)
