"""A lane: a stream of a card, and what the block that is worked on in it needs there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
_NUMBERS = (bool, int, float)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A kernel with the arguments that it was launched with last.

    Parameters
    ----------
    arguments
        As they were given, and as the card has them; they are kept, so that their memory is not
        used for others.
    tables
        Places of the arguments that came from the host, and their content.
    asked, rows
        Curves for which scratch was wanted, and for which there is some.
    words
        All that the driver takes behind the row numbers and their count.
    """

    arguments: tuple[Any, ...]
    on_device: tuple[Any, ...]
    tables: tuple[tuple[int, bytes], ...]
    asked: int
    rows: int
    driver: Any
    words: Words

    def fits(self, rows: int, arguments: tuple[Any, ...]) -> bool:
        """Whether a launch over so many curves has the same arguments, and scratch."""
        if rows > self.rows == self.asked or len(arguments) != len(self.arguments):
            return False
        for known, given in zip(self.arguments, arguments, strict=True):
            if known is not given and not (
                isinstance(known, _NUMBERS) and type(known) is type(given) and known == given
            ):
                return False
        return all(arguments[place].tobytes() == content for place, content in self.tables)


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
        self._kernels: dict[CurveKernel, Prepared] = {}
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

    def launch(self, prepared: Prepared, rows: IndexArray) -> None:
        """Launch a kernel over some curves; over a part at a time where scratch is short."""
        numbers = self._row_numbers(rows)
        address = int(numbers.data.ptr)
        for first in range(0, rows.size, prepared.rows):
            count = min(prepared.rows, rows.size - first)
            words = (0, 0, count, 8, address + 8 * first, count, 8, count, *prepared.words)
            blocks = -(-count // THREADS)
            self._launcher.launch(self._launch_stream, blocks, prepared.driver, words)

    def known(self, kernel: CurveKernel, rows: int, arguments: tuple[Any, ...]) -> Prepared | None:
        """Return what was prepared for a launch before, if it is the same."""
        prepared = self._kernels.get(kernel)
        return prepared if prepared is not None and prepared.fits(rows, arguments) else None

    def prepare(
        self,
        kernel: CurveKernel,
        rows: int,
        points: int,
        arguments: tuple[Any, ...],
        on_card: Callable[[NDArray[Any], Lane], Array],
    ) -> Prepared:
        """Make ready for launches with these arguments.

        Parameters
        ----------
        points
            Length of the longest row among the arguments.
        arguments
            The two ends of the span and the arguments of the kernel without its scratch: arrays
            of the card, numbers, or tables of the host.
        on_card
            Returns a table of the host on the card.

        Raises
        ------
        OutOfMemoryError
            If there is no room for the scratch of one curve.
        """
        on_device = tuple(
            on_card(value, self)
            if isinstance(value, np.ndarray)
            else value.item()
            if isinstance(value, np.generic)
            else value
            for value in arguments
        )
        tables = tuple(
            (place, value.tobytes())
            for place, value in enumerate(arguments)
            if isinstance(value, np.ndarray)
        )
        room = self._make_room(kernel, rows, points)
        scratch_types, scratch_words = self._scratch_arguments(kernel, room, points)
        span, given = on_device[:2], on_device[2:]
        signature: Signature = (
            array_type(np.int64, 1, "C"),
            argument_type(0),
            *map(argument_type, span),
            *scratch_types,
            *map(argument_type, given),
        )
        words = [word for value in span for word in argument_words(value)]
        words += scratch_words
        words += [word for value in given for word in argument_words(value)]
        driver = self._launcher.load(kernel, self.device, signature)
        prepared = Prepared(arguments, on_device, tables, rows, room, driver, tuple(words))
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
        known = self._rows
        if known is None or known[0].size != rows.size or not (known[0] == rows).all():
            self._rows = known = rows.copy(), self._copier.upload(rows, self.stream)
        return known[1]


def _scratch_size(kernel: CurveKernel, rows: int, points: int) -> int:
    """Bytes of the scratch of a launch."""
    return sum(
        _aligned(np.dtype(part.dtype).itemsize * rows * prod(scratch_shape(part, points)))
        for part in kernel.scratch
    )


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _ALIGNED) * _ALIGNED
