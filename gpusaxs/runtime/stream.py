"""Samples in, samples out, in an event loop, with no more of them on their way than allowed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from gpusaxs.runtime.run import Run
from gpusaxs.runtime.service import Service, Submission
from gpusaxs.sample import Sample


async def stream(
    service: Service,
    run: Run,
    source: Iterable[Sample] | AsyncIterable[Sample],
    max_in_flight: int,
) -> AsyncIterator[Sample]:
    """See `gpusaxs.runtime.runtime.Runtime.stream`."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Queue[Sample | None] = asyncio.Queue()
    slots = asyncio.Semaphore(max_in_flight)

    def put(samples: Sequence[Sample | None]) -> None:
        for sample in samples:
            ended.put_nowait(sample)

    def deliver(samples: Sequence[Sample | None]) -> None:
        service.loops.call(loop, lambda: put(samples))

    submission = service.submission(run, most=max_in_flight, deliver=deliver)
    submission.future.add_done_callback(lambda _: deliver([None]))
    feeding = asyncio.create_task(_feed(submission, source, slots))
    try:
        while (sample := await ended.get()) is not None:
            yield sample
            slots.release()
        submission.result(0)
        if not run.token.cancelled:
            await feeding
    finally:
        submission.cancel("the stream was left")
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


async def _feed(
    submission: Submission,
    source: Iterable[Sample] | AsyncIterable[Sample],
    slots: asyncio.Semaphore,
) -> None:
    """Give samples to a submission while there are slots, until the source has no more."""
    samples = source if isinstance(source, AsyncIterable) else _one_by_one(source)
    following = aiter(samples)
    try:
        while True:
            await slots.acquire()
            try:
                sample = await anext(following)
            except StopAsyncIteration:
                return
            if submission.closed:
                return
            submission.add([sample])
    finally:
        submission.close()
        if hasattr(following, "aclose"):
            await following.aclose()


async def _one_by_one(source: Iterable[Sample]) -> AsyncIterator[Sample]:
    """Ask a source for its samples in a thread of its own, where it may take its time."""
    if isinstance(source, Sequence):
        for sample in source:
            yield sample
        return
    loop, iterator, end = asyncio.get_running_loop(), iter(source), object()
    thread = ThreadPoolExecutor(1, thread_name_prefix="gpusaxs-source")
    try:
        while (sample := await loop.run_in_executor(thread, next, iterator, end)) is not end:
            yield sample
    finally:
        if hasattr(iterator, "close"):
            thread.submit(iterator.close)
        thread.shutdown(wait=False)
