"""A lane: a stream of a card, and what the block that is worked on in it needs there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from gpusaxs.backends.base import Array, IndexArray
from gpusaxs.backends.cuda.copying import Copier
from gpusaxs.backends.cuda.launching import (
    THREADS,
    Launcher,
    Signature,
    Words,
    argument_type,
    argument_words,
    array_type,
    array_words,
)
from gpusaxs.errors import OutOfMemoryError
from gpusaxs.kernels.curve_kernel import CurveKernel, scratch_shape

_ALIGNED = 256


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A kernel with the arguments that it was launched with last.

    Parameters
    ----------
    arguments
        They are kept, so that their memory is not used for others.
    asked, rows
        Curves for which scratch was wanted, and for which there is some.
    words
        All that the driver takes behind the row numbers and their count.
    """

    arguments: tuple[Any, ...]
    points: int
    asked: int
    rows: int
    driver: Any
    words: Words


class Lane:
    """A stream, with one scratch memory for all its launches, one after another.

    The stream orders everything: memory that is given back is used again by what comes behind.

    Parameters
    ----------
    device
        Number of the card, which is the current one wherever the lane is used.
    stream
        A CuPy stream.
    allocate
        Returns memory of the card, or raises `MemoryError`.
    """

    def __init__(
        self,
        device: int,
        stream: Any,
        copier: Copier,
        launcher: Launcher,
        allocate: Callable[[int], Any],
    ) -> None:
        self.device = device
        self.stream = stream
        self._allocate = allocate
        self._copier = copier
        self._launcher = launcher
        self._launch_stream = launcher.stream(stream)
        self._kernels: dict[CurveKernel, _Prepared] = {}
        self._rows: tuple[IndexArray, Array] | None = None
        self._scratch: Any = None
        self._scratch_bytes = 0
        self._most_scratch: int | None = None

    def forget(self) -> None:
        """Let go of the arrays and the memory of the last block."""
        self._kernels = {}
        self._rows = None
        self._scratch = None
        self._scratch_bytes = 0
        self._most_scratch = None

    def launch(
        self,
        kernel: CurveKernel,
        rows: IndexArray,
        points: int,
        arguments: tuple[Any, ...],
    ) -> None:
        """Launch a kernel over some curves; over a part at a time where scratch is short.

        Parameters
        ----------
        points
            Length of the longest row among the arguments.
        arguments
            The two ends of the span and the arguments of the kernel without its scratch: arrays
            of the card, or numbers.

        Raises
        ------
        OutOfMemoryError
            If there is no room for the scratch of one curve.
        """
        prepared = self._prepared(kernel, rows.size, points, arguments)
        numbers = self._row_numbers(rows)
        address = int(numbers.data.ptr)
        for first in range(0, rows.size, prepared.rows):
            count = min(prepared.rows, rows.size - first)
            row_words = array_words(address + 8 * first, 8, (count,), (8,))
            words = (*row_words, count, *prepared.words)
            blocks = -(-count // THREADS)
            self._launcher.launch(self._launch_stream, blocks, prepared.driver, words)

    def _prepared(
        self, kernel: CurveKernel, rows: int, points: int, arguments: tuple[Any, ...]
    ) -> _Prepared:
        known = self._kernels.get(kernel)
        if (
            known is not None
            and known.points == points
            and (rows <= known.rows or known.rows < known.asked)
            and _same(known.arguments, arguments)
        ):
            return known
        room = self._make_room(kernel, rows, points)
        scratch_types, scratch_words = self._scratch_arguments(kernel, room, points)
        row_types = (array_type(np.int64, 1, "C"), argument_type(0))
        span, given = arguments[:2], arguments[2:]
        signature: Signature = (
            *row_types,
            *map(argument_type, span),
            *scratch_types,
            *map(argument_type, given),
        )
        words = [word for value in span for word in argument_words(value)]
        words += scratch_words
        words += [word for value in given for word in argument_words(value)]
        driver = self._launcher.load(kernel, self.device, signature)
        prepared = _Prepared(arguments, points, rows, room, driver, tuple(words))
        self._kernels[kernel] = prepared
        return prepared

    def _make_room(self, kernel: CurveKernel, rows: int, points: int) -> int:
        """Return how many of some curves the scratch has room for, once it has as much as it can.

        What had room once goes on with as much: asking for more would fail again.
        """
        room = rows
        while (needed := _scratch_size(kernel, room, points)) > self._scratch_bytes:
            try:
                self._reserve(needed)
            except MemoryError as error:  # CuPy's is one
                if room == 1:
                    raise OutOfMemoryError(
                        f"The device has no room for kernel {kernel.name!r} over one curve of "
                        f"{points} points: {error}"
                    ) from error
                room = -(-room // 2)
                self._most_scratch = _scratch_size(kernel, room, points)
        return room

    def _reserve(self, nbytes: int) -> None:
        if self._most_scratch is not None and nbytes > self._most_scratch:
            raise MemoryError(f"there was no room for more than {self._most_scratch} bytes before")
        # Launches that were prepared know where the old memory is.
        self._kernels = {}
        self._scratch, self._scratch_bytes = None, 0
        self._scratch, self._scratch_bytes = self._allocate(nbytes), nbytes

    def _scratch_arguments(
        self, kernel: CurveKernel, rows: int, points: int
    ) -> tuple[list[Any], list[Any]]:
        """Types and words of a kernel's scratch: arrays in Fortran order, one behind another."""
        kinds: list[Any] = []
        words: list[Any] = []
        address = 0 if self._scratch is None else int(self._scratch.ptr)
        for part in kernel.scratch:
            shape = (rows, *scratch_shape(part, points))
            itemsize = np.dtype(part.dtype).itemsize
            strides = tuple(itemsize * prod(shape[:axis]) for axis in range(len(shape)))
            kinds.append(array_type(part.dtype, len(shape), "F"))
            words += array_words(address, itemsize, shape, strides)
            address += _aligned(itemsize * prod(shape))
        return kinds, words

    def _row_numbers(self, rows: IndexArray) -> Array:
        """Return row numbers on the card; those of the launch before are there already."""
        if self._rows is None or not np.array_equal(self._rows[0], rows):
            self._rows = rows.copy(), self._copier.upload(rows, self.stream)
        return self._rows[1]


def _scratch_size(kernel: CurveKernel, rows: int, points: int) -> int:
    """Bytes of the scratch of a launch."""
    return sum(
        _aligned(np.dtype(part.dtype).itemsize * rows * prod(scratch_shape(part, points)))
        for part in kernel.scratch
    )


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _ALIGNED) * _ALIGNED


def _same(known: tuple[Any, ...], given: tuple[Any, ...]) -> bool:
    """Whether arguments are the same arrays and numbers."""
    return len(known) == len(given) and all(
        a is b or (isinstance(a, bool | int | float) and type(a) is type(b) and a == b)
        for a, b in zip(known, given, strict=True)
    )
