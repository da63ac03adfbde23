import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from runtime_curves import Does, bragg_samples, plain_samples, result_bits

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.result_cache import ResultCache
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Sample
from gpusaxs.stages.base import NO_REQUESTS, StageResult

pytest.importorskip("diskcache", reason="diskcache is not installed")

STANDARD = Pipeline.load("standard")


class Named(Does):
    """A stage of the tests whose results can be kept."""

    def fingerprint(self):
        return self.label


@pytest.fixture
def cache(tmp_path):
    opened = ResultCache(tmp_path / "cache")
    yield opened
    opened.close()


def run(cache, samples, pipeline=STANDARD, backend=None):
    return Runtime(backend or NumpyBackend(1), pipeline=pipeline, interceptors=[cache]).run(samples)


def bits(done):
    return [result_bits(sample) for sample in done]


def test_the_same_curves_and_parameters_are_looked_up_with_the_same_bits(cache):
    samples = bragg_samples(12)
    expected = bits(Runtime("numpy", 1).run(samples))
    assert bits(run(cache, samples)) == expected
    misses = cache.misses
    assert cache.hits == 0
    assert bits(run(cache, samples)) == expected
    assert (cache.misses, cache.hits) == (misses, misses)


def test_results_are_there_for_another_object_and_at_another_width(cache, tmp_path):
    short, long = bragg_samples(4, points=200), bragg_samples(2, points=500)
    run(cache, short)
    cache.close()
    again = ResultCache(tmp_path / "cache")
    done = run(again, [*long, *(Sample(f"x{s.id}", s.q, s.intensity, s.sigma) for s in short)])
    assert again.hits > 0
    plain = Runtime("numpy", 1).run(short)
    for found, expected in zip(done[2:], plain, strict=True):
        assert result_bits(found)[1:7] == result_bits(expected)[1:7]
    assert again.misses == run_misses(long, tmp_path)
    again.close()


def run_misses(samples, tmp_path):
    fresh = ResultCache(tmp_path / "fresh")
    run(fresh, samples)
    fresh.close()
    return fresh.misses


def test_another_parameter_another_curve_and_another_backend_are_computed(cache):
    class Renamed(NumpyBackend):
        name = "elsewhere"

    only_cut = Pipeline.of([STANDARD.stages[0]])
    samples = bragg_samples(3)
    run(cache, samples, only_cut)
    run(cache, samples, only_cut.with_settings(["cut.skip_first=2"]))
    assert (cache.hits, cache.misses) == (0, 6)
    other = [Sample(s.id, s.q, s.intensity + 1e-12, s.sigma) for s in samples]
    run(cache, other, only_cut)
    assert (cache.hits, cache.misses) == (0, 9)
    run(cache, samples, only_cut, Renamed(1))
    assert (cache.hits, cache.misses) == (0, 12)
    run(cache, samples, only_cut)
    assert (cache.hits, cache.misses) == (3, 12)


def test_a_result_is_good_for_its_time_only(tmp_path):
    cache = ResultCache(tmp_path, ttl=0.05)
    only_cut = Pipeline.of([STANDARD.stages[0]])
    run(cache, bragg_samples(2), only_cut)
    time.sleep(0.1)
    run(cache, bragg_samples(2), only_cut)
    assert (cache.hits, cache.misses) == (0, 4)
    cache.close()


def test_duplicates_in_a_launch_are_computed_once(cache):
    [one, other] = plain_samples(2)
    copies = [Sample(f"{n}", s.q, s.intensity) for n, s in enumerate([one, other, one, one, other])]
    widths = []

    def double(batch, rows):
        widths.append(rows.size)
        batch.intensity[rows] *= 2.0

    done = run(cache, copies, Pipeline.of([Named(label="a", does=double)]))
    assert widths == [2]
    for given, found in zip(copies, done, strict=True):
        np.testing.assert_array_equal(found.intensity, 2.0 * given.intensity)


def test_duplicates_at_the_same_time_wait_for_the_first(cache):
    entered, opened, widths = threading.Event(), threading.Event(), []

    def slow(batch, rows):
        widths.append(rows.size)
        entered.set()
        assert opened.wait(20.0)
        batch.intensity[rows] *= 2.0

    pipeline = Pipeline.of([Named(label="a", does=slow)])
    samples = plain_samples(3)
    found = [None, None]

    def work(place):
        found[place] = run(cache, samples, pipeline)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(2)]
    threads[0].start()
    assert entered.wait(20.0)
    threads[1].start()
    time.sleep(0.1)
    opened.set()
    for thread in threads:
        thread.join()
    assert widths == [3]
    assert bits(found[0]) == bits(found[1])


def test_who_waited_for_a_launch_that_failed_computes_it_himself(cache):
    entered, opened, calls = threading.Event(), threading.Event(), []

    def fails_first(batch, rows):
        calls.append(rows.size)
        if len(calls) == 1:
            entered.set()
            assert opened.wait(20.0)
            raise ValueError("the first fails")

    pipeline = Pipeline.of([Named(label="a", does=fails_first)])
    found = [None, None]

    def work(place):
        found[place] = run(cache, plain_samples(2), pipeline)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(2)]
    threads[0].start()
    assert entered.wait(20.0)
    threads[1].start()
    time.sleep(0.1)
    opened.set()
    for thread in threads:
        thread.join()
    assert all(sample.status.failed for sample in found[0])
    assert not any(sample.status.failed for sample in found[1])
    assert calls == [2, 2]


def test_requests_are_kept_with_the_results(cache):
    asked = []
    stages = [
        Named(label="a", does=lambda batch, rows: {"c": rows[:1]}, asks_for=("b", "c")),
        Does(label="b"),
        Does(label="c", does=lambda batch, rows: asked.append(rows.tolist())),
    ]
    for _ in range(2):
        run(cache, plain_samples(2), Pipeline.of(stages))
    assert asked[0] == asked[1]
    assert cache.hits == 2


def test_what_failed_is_not_kept(cache):
    calls = []

    def picky(batch, rows):
        calls.append(rows.size)
        batch.fail(rows[:1], "a", ValueError("no"))

    pipeline = Pipeline.of([Named(label="a", does=picky)])
    run(cache, plain_samples(2), pipeline)
    [first, second] = run(cache, plain_samples(2), pipeline)
    assert calls == [2, 1]
    assert first.status.failed
    assert not second.status.failed


def test_functions_of_one_sample_are_not_kept(cache):
    calls = []

    def noted(sample, metadata):
        calls.append(sample.id)
        return StageResult(sample, metadata)

    for _ in range(2):
        run(cache, plain_samples(2), Pipeline.of([noted]))
    assert calls == ["0", "1", "0", "1"]
    assert cache.hits == cache.misses == 0


def test_a_blank_with_other_content_is_another_background(cache, tmp_path):
    blank = tmp_path / "blank.dat"
    samples = bragg_samples(2)
    settings = [
        "background.mode=blank",
        f"background.blank_file={blank}",
        "background.factor=1.0",
    ]
    found = []
    for level in (1.0, 2.0):
        columns = [samples[0].q, np.full(samples[0].q.size, level) + samples[0].q]
        np.savetxt(blank, np.column_stack(columns))
        stages = [s for s in STANDARD.stages if s.name in ("noise", "background")]
        found.append(run(cache, samples, Pipeline.of(stages).with_settings(settings)))
    assert cache.hits == 2  # the noise, and not the background
    assert not np.array_equal(found[0][0].intensity, found[1][0].intensity)


def test_a_pickle_in_the_folder_is_refused(cache):
    only_cut = Pipeline.of([STANDARD.stages[0]])
    run(cache, bragg_samples(1), only_cut)
    with cache._cache.transact():
        words = pickle.dumps(NO_REQUESTS)
        cache._cache._sql("UPDATE Cache SET mode = 4, value = ?, filename = NULL", (words,))
    [sample] = run(cache, bragg_samples(1), only_cut)
    assert "Got a pickle" in sample.reason


def test_without_diskcache_the_error_says_what_to_install(tmp_path):
    code = f"""
import sys
sys.modules["diskcache"] = None
from gpusaxs import GpusaxsError
from gpusaxs.runtime.result_cache import ResultCache
try:
    ResultCache({str(tmp_path)!r})
except GpusaxsError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "pip install 'gpusaxs[cache]'" in done.stdout
