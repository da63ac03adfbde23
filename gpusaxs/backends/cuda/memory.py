"""How much of a card's memory there is to use, and pinned buffers on the host."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpusaxs.errors import BackendError
from gpusaxs.kernels import peak_table as table

BESIDE_ARRAYS = 1_000_000_000
"""Bytes of a card that CUDA takes beside arrays: its context, compiled kernels, threads' stacks."""
SCRATCH_ROWS = 16
SCRATCH_BESIDE = 6144
"""No kernel's scratch exceeds so many numbers a point, and so many beside these."""
BATCH_ROWS = 9
"""Numbers a point of a batch, and of what is on its way to it."""
BATCH_BESIDE = 32 * table.PEAK_COLUMNS + table.MAX_PHASES * table.PHASE_COLUMNS + 512

SMALLEST_BUFFER = 1 << 16
LARGEST_BUFFER = 1 << 23
MOST_PINNED = 1 << 28


class DeviceMemory:
    """The memory of the cards that one backend may use.

    Parameters
    ----------
    limit
        Bytes of each card that the backend may take, `BESIDE_ARRAYS` of them for CUDA itself;
        None for all that is free.

    Raises
    ------
    BackendError
        If nothing would be left for arrays.
    """

    def __init__(self, cupy: Any, numbers: tuple[int, ...], limit: int | None) -> None:
        self._cupy = cupy
        self._numbers = numbers
        self.pool = cupy.cuda.MemoryPool()
        if limit is None:
            return
        if limit <= BESIDE_ARRAYS:
            raise BackendError(
                f"Expected device memory of more than {BESIDE_ARRAYS / 1e9:g} GB, which CUDA "
                f"itself may take. Got {limit / 1e9:g} GB."
            )
        for number in numbers:
            with cupy.cuda.Device(number):
                self.pool.set_limit(size=limit - BESIDE_ARRAYS)

    def available(self) -> int:
        """Bytes of the current card that arrays not there yet may take."""
        free, _ = self._cupy.cuda.runtime.memGetInfo()
        limit = self.pool.get_limit()
        if limit:
            free = max(0, min(free, limit - self.pool.total_bytes()))
        return int(free + self.pool.free_bytes())

    def whole(self) -> int:
        """Bytes of the current card that all arrays together may take."""
        return self.available() + int(self.pool.used_bytes())

    def give_back(self) -> None:
        """Let other processes have what no array uses."""
        for number in self._numbers:
            with self._cupy.cuda.Device(number):
                self.pool.free_all_blocks()


def batch_bytes(points: int) -> int:
    """Bytes that a curve of a batch needs on a card, with the scratch of its launches."""
    return 8 * (BATCH_ROWS * points + BATCH_BESIDE) + scratch_bytes(points)


def scratch_bytes(points: int) -> int:
    """Bytes of scratch that a curve needs at most."""
    return 8 * (SCRATCH_ROWS * points + SCRATCH_BESIDE)


@dataclass(slots=True)
class PinnedBuffer:
    """Memory of the host that a card reads and writes by itself.

    Parameters
    ----------
    content : (size,) uint8
        The memory.
    event
        Recorded behind the last copy; the memory is free again when it has happened.
    """

    address: int
    content: NDArray[np.uint8]
    event: Any
    owner: Any


class PinnedPool:
    """Pinned buffers of one card, from powers of two; they are made once and used again.

    A buffer that is given back may still be read by the card: it is handed out again when the
    event behind its copy has happened. Beyond `MOST_PINNED` bytes a wait for that takes the place
    of another buffer.
    """

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._free: defaultdict[int, deque[PinnedBuffer]] = defaultdict(deque)
        self._lock = threading.Lock()
        self.nbytes = 0

    def take(self, nbytes: int) -> PinnedBuffer:
        """Return a buffer of at least `nbytes`, at most `LARGEST_BUFFER`, that nothing uses."""
        size = max(SMALLEST_BUFFER, 1 << (nbytes - 1).bit_length())
        with self._lock:
            free = self._free[size]
            if not free or not (free[0].event.done or self.nbytes + size > MOST_PINNED):
                self.nbytes += size
                return self._new(size)
            buffer = free.popleft()
        buffer.event.synchronize()
        return buffer

    def give(self, buffer: PinnedBuffer) -> None:
        """Take a buffer back behind whose last copy the event was recorded."""
        with self._lock:
            self._free[buffer.content.size].append(buffer)

    def _new(self, size: int) -> PinnedBuffer:
        memory = self._cupy.cuda.alloc_pinned_memory(size)
        content = np.frombuffer(memory, np.uint8, size)
        event = self._cupy.cuda.Event(disable_timing=True)
        return PinnedBuffer(int(memory.ptr), content, event, memory)
