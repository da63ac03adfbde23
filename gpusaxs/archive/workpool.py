"""Blocks on their way through steps: one after another, or by a pool of workers.

Nothing here knows what a block or a step is about, and nothing is copied: all workers call the
same steps.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

logger = logging.getLogger(__name__)

# Seconds between two looks whether all workers are still there.
_LOOK = 1.0

Block = Any
"""Whatever the iterator of blocks gives; each step returns what the next one takes."""


class StopBlocks(Exception):
    """Raised by a step: no block behind this one is wanted, or can be taken.

    What has begun before this block is brought to its end.
    """


@dataclass(frozen=True, slots=True)
class Step:
    """What is done to each block.

    Parameters
    ----------
    name
        What takes the time, for people: ``"reading"``.
    work
        Called with what the step before returned, from any thread. What it raises is noted with
        the block, which goes no further.
    needs_serial
        Whether block n waits here until block n - 1 has passed, or has failed anywhere.
    at_once
        Blocks that may be in this step at the same time; None for any number.
    """

    name: str
    work: Callable[[Block], Block]
    needs_serial: bool = False
    at_once: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A block that did not get through, the step that raised, and what it raised."""

    block: int
    step: str
    error: BaseException


def _failure(block: int, step: str, error: BaseException) -> Failure:
    """Log what a step raised, and keep it."""
    logger.error("block %d: %s failed: %s", block, step, error, exc_info=error)
    return Failure(block, step, _without_frames(error))


def _ending(error: BaseException) -> BaseException:
    """Log what ended it all, and keep it."""
    logger.error("no further blocks: %s", error, exc_info=error)
    return _without_frames(error)


def _without_frames(error: BaseException) -> BaseException:
    """Let go of the frames of an error and of those behind it, which hold a block's arrays."""
    known: set[int] = set()
    behind: list[BaseException | None] = [error]
    while behind:
        found = behind.pop()
        if found is not None and id(found) not in known:
            known.add(id(found))
            found.__traceback__ = None
            behind += [found.__cause__, found.__context__]
    return error


@dataclass(slots=True)
class Outcome:
    """What became of the blocks.

    Attributes
    ----------
    done
        Blocks that got through all steps.
    failures
        The others that were taken, by their number.
    stopped
        What ended it before the last block, if anything did: the `StopBlocks` of the lowest
        block, what the iterator of blocks raised, or what a worker died of.
    busy
        Seconds spent in each step, summed over all workers.
    workers
        How many there were.
    """

    done: int = 0
    failures: list[Failure] = field(default_factory=list)
    stopped: BaseException | None = None
    busy: dict[str, float] = field(default_factory=dict)
    workers: int = 1


def run_serially(blocks: Iterator[Block], steps: Sequence[Step], outcome: Outcome) -> None:
    """Take one block after another through all steps, in the calling thread.

    Parameters
    ----------
    outcome
        Filled on the way.
    """
    outcome.busy |= dict.fromkeys((step.name for step in steps), 0.0)
    number = 0
    while True:
        try:
            block = next(blocks)
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001 it is in the outcome
            outcome.stopped = _ending(error)
            return
        for step in steps:
            began = time.perf_counter()
            try:
                block = step.work(block)
            except StopBlocks as stop:
                outcome.stopped = _without_frames(stop)
                return
            except Exception as error:  # noqa: BLE001 it is in the outcome
                outcome.failures.append(_failure(number, step.name, error))
                break
            finally:
                outcome.busy[step.name] += time.perf_counter() - began
        else:
            outcome.done += 1
        number += 1


class Workpool:
    """A fixed number of workers that take whichever step of whichever block can be done.

    The step nearest to the end goes first, of these the lowest block. A block counts as in
    flight from before it is taken from the iterator until it is through its last step, so a slow
    last step stops the iterator.

    Parameters
    ----------
    steps
        In order.
    workers
        Threads.
    in_flight
        Most blocks at once.
    """

    def __init__(self, steps: Sequence[Step], workers: int, in_flight: int) -> None:
        for name, number in (("worker", workers), ("block in flight", in_flight)):
            if number < 1:
                raise ValueError(f"Expected at least 1 {name}. Got {number}.")
        self._steps = tuple(steps)
        self._workers = workers
        self._threads: list[threading.Thread] = []
        self._in_flight = in_flight
        self._changed = threading.Condition()
        self._waiting: dict[int, tuple[int, Block]] = {}
        self._running: dict[int, int] = {}
        # Blocks that will not call a step but have its turn: those that failed before it.
        self._passed: list[set[int]] = [set() for _ in steps]
        self._turn = [0] * len(steps)
        self._last_wanted: float = float("inf")
        self._closed = False
        self._outcome = Outcome()

    def run(self, blocks: Iterator[Block], outcome: Outcome) -> None:
        """Take all blocks through all steps; return when none is in flight any more.

        Parameters
        ----------
        outcome
            Filled on the way.
        """
        self._outcome = outcome
        outcome.workers = self._workers
        outcome.busy |= dict.fromkeys((step.name for step in self._steps), 0.0)
        try:
            for number in range(self._workers):
                thread = threading.Thread(target=self._worker, name=f"gpusaxs-block-{number}")
                thread.start()
                self._threads.append(thread)
            self._feed(blocks)
            with self._changed:
                self._wait_for(self._idle)
        except BaseException:
            with self._changed:
                self._stop_after(-1)
            raise
        finally:
            with self._changed:
                self._closed = True
                self._changed.notify_all()
            for thread in self._threads:
                thread.join()
            outcome.failures.sort(key=lambda failure: failure.block)

    def _feed(self, blocks: Iterator[Block]) -> None:
        number = 0
        while True:
            with self._changed:
                self._wait_for(self._has_room)
                if number > self._last_wanted:
                    return
            try:
                block = next(blocks)
            except StopIteration:
                return
            except Exception as error:  # noqa: BLE001 it is in the outcome
                with self._changed:
                    self._outcome.stopped = self._outcome.stopped or _ending(error)
                return
            with self._changed:
                if number <= self._last_wanted:
                    self._waiting[number] = (0, block)
                    self._changed.notify_all()
            # Or it would stay in memory until there is room for the next one.
            del block
            number += 1

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition, or for the end of a worker that could not say so."""
        while not self._changed.wait_for(condition, _LOOK):
            if not all(thread.is_alive() for thread in self._threads):
                self._end(RuntimeError("a worker is gone, and nobody knows why"))

    def _has_room(self) -> bool:
        full = len(self._waiting) + len(self._running) >= self._in_flight
        return not full or self._last_wanted < float("inf")

    def _idle(self) -> bool:
        return not self._waiting and not self._running

    def _worker(self) -> None:
        try:
            while (task := self._next_task()) is not None:
                self._do(*task)
                # Or its block would stay in memory while this worker waits.
                del task
        except BaseException as error:  # noqa: BLE001 without this worker the pool would hang
            with self._changed:
                self._end(error)

    def _end(self, error: BaseException) -> None:
        """Bring nothing to its end any more: a worker has died, and its block with it."""
        self._outcome.stopped = _ending(error)
        self._running.clear()
        self._stop_after(-1)

    def _next_task(self) -> tuple[int, int, Block] | None:
        with self._changed:
            while True:
                chosen = self._choose()
                if chosen is not None:
                    step, block = self._waiting.pop(chosen)
                    self._running[chosen] = step
                    return chosen, step, block
                if self._closed:
                    return None
                self._changed.wait()

    def _choose(self) -> int | None:
        """Return the block whose step can be done now and is nearest to the end."""
        best: tuple[int, int] | None = None
        busy = list(self._running.values())
        for number, (place, _) in self._waiting.items():
            step = self._steps[place]
            if step.needs_serial and self._turn[place] != number:
                continue
            if step.at_once is not None and busy.count(place) >= step.at_once:
                continue
            if best is None or (-place, number) < best:
                best = (-place, number)
        return None if best is None else best[1]

    def _do(self, number: int, place: int, block: Block) -> None:
        step = self._steps[place]
        error: BaseException | None = None
        began = time.perf_counter()
        try:
            block = step.work(block)
        except BaseException as raised:  # noqa: BLE001 it is in the outcome
            error = raised
        seconds = time.perf_counter() - began
        with self._changed:
            self._outcome.busy[step.name] += seconds
            self._running.pop(number, None)
            if number <= self._last_wanted:
                if isinstance(error, StopBlocks):
                    self._stop_at(number, error)
                    self._give_up(number, place)
                elif error is not None:
                    self._outcome.failures.append(_failure(number, step.name, error))
                    self._give_up(number, place)
                else:
                    self._go_on(number, place, block)
            self._changed.notify_all()

    def _go_on(self, number: int, place: int, block: Block) -> None:
        self._pass(number, place)
        if place + 1 < len(self._steps):
            self._waiting[number] = (place + 1, block)
        else:
            self._outcome.done += 1

    def _give_up(self, number: int, place: int) -> None:
        """Let no block wait for the turn of one that will not come."""
        for later in range(place, len(self._steps)):
            self._pass(number, later)

    def _pass(self, number: int, place: int) -> None:
        self._passed[place].add(number)
        while self._turn[place] in self._passed[place]:
            self._passed[place].remove(self._turn[place])
            self._turn[place] += 1

    def _stop_at(self, number: int, stop: StopBlocks) -> None:
        """Note what stopped it, and forget what became of the blocks behind: it was chance."""
        self._outcome.stopped = _without_frames(stop)
        self._outcome.failures = [
            failure for failure in self._outcome.failures if failure.block < number
        ]
        self._stop_after(number)

    def _stop_after(self, number: int) -> None:
        """Drop the blocks behind this one: no step of theirs is begun any more."""
        self._last_wanted = min(self._last_wanted, number)
        for later in [waiting for waiting in self._waiting if waiting > self._last_wanted]:
            del self._waiting[later]
        self._changed.notify_all()


ExecutorName = Literal["serial", "workpool"]


def execute(
    executor: ExecutorName,
    blocks: Iterator[Block],
    steps: Sequence[Step],
    outcome: Outcome,
    *,
    workers: int,
    in_flight: int,
) -> None:
    """Take all blocks through all steps.

    Parameters
    ----------
    executor
        ``"serial"``: in the calling thread, one after another; ``"workpool"``: by `workers`
        threads, with at most `in_flight` blocks. What the steps did is the same.
    outcome
        Filled on the way.
    """
    if executor == "serial":
        run_serially(blocks, steps, outcome)
    elif executor == "workpool":
        Workpool(steps, workers, in_flight).run(blocks, outcome)
    else:
        raise ValueError(f"Expected the executor 'serial' or 'workpool'. Got {executor!r}.")
