"""How a runtime is driven changes no bit of any result."""

import asyncio

import numpy as np
import pytest
from runtime_curves import bragg_samples, result_bits

from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.events import EventBus
from gpusaxs.runtime.interceptors import Logging, Timeout, Timing
from gpusaxs.runtime.result_cache import ResultCache
from gpusaxs.runtime.retry import Retry
from gpusaxs.runtime.runtime import Runtime

STANDARD = Pipeline.load("standard")
STAGES = tuple(stage.name for stage in STANDARD.stages)


@pytest.fixture(scope="module")
def samples():
    """Curves of two lengths, some without sigma."""
    long, short = bragg_samples(18, points=400), bragg_samples(9, seed=6, points=250)
    for sample in short:
        sample.id = f"short{sample.id}"
    for sample in long[::5]:
        sample.sigma = None
    return long + short


@pytest.fixture(scope="module")
def alone(samples):
    """Every curve by itself, in the calling thread."""
    runtime = Runtime("numpy", 1)
    return {sample.id: result_bits(runtime.run([sample])[0]) for sample in samples}


def bits_of(done):
    return {sample.id: result_bits(sample) for sample in done}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("at_once", [1, 4, None])
def test_workers_and_group_sizes(samples, alone, workers, at_once):
    runtime = Runtime("numpy", workers, rows_at_once=at_once)
    assert bits_of(runtime.run(samples)) == alone
    assert bits_of(asyncio.run(runtime.run_batch(samples))) == alone


@pytest.mark.parametrize("max_in_flight", [1, 2, 5, 64])
def test_samples_in_flight(samples, alone, max_in_flight):
    async def main():
        stream = Runtime("numpy", 2).stream(iter(samples), max_in_flight=max_in_flight)
        return [sample async for sample in stream]

    assert bits_of(asyncio.run(main())) == alone


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_order_and_the_parts_in_which_samples_are_submitted(samples, alone, seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(samples))
    cuts = np.sort(rng.integers(0, len(samples), 6))
    runtime = Runtime("numpy", 2, rows_at_once=5)
    parts = [[samples[i] for i in part] for part in np.split(order, cuts)]
    submitted = [runtime.submit(part) for part in parts]
    assert bits_of(s for one in submitted for s in one.result(30.0)) == alone


@pytest.mark.parametrize("names", [*((name,) for name in STAGES), STAGES, STAGES[2:5]])
def test_checkpoints(samples, alone, names):
    pipeline = STANDARD.model_copy(update={"checkpoints": names})
    released = []
    runtime = Runtime(
        "numpy", 2, pipeline, on_checkpoint=lambda stage, held: released.append(stage),
        rows_at_once=7,
    )  # fmt: skip
    assert bits_of(runtime.run(samples)) == alone
    assert set(released) == set(names)
    assert bits_of(asyncio.run(runtime.run_batch(samples))) == alone


def test_interceptors_and_events(samples, alone, tmp_path):
    cache = ResultCache(tmp_path)
    around = [Timing(), Logging(), Retry(), Timeout(60.0), cache]
    seen = []
    with EventBus([seen.append]) as bus:
        for _ in range(2):
            runtime = Runtime("numpy", 2, interceptors=around, events=bus, rows_at_once=6)
            assert bits_of(runtime.run(samples)) == alone
            assert bits_of(asyncio.run(runtime.run_batch(samples))) == alone
    assert cache.hits > cache.misses
    assert seen
    cache.close()
