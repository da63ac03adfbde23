import importlib
import math
import pickle
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from runtime_curves import Does, bragg_samples, plain_samples, result_bits

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.errors import GpusaxsError, OutOfMemoryError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.cancel import CancelToken
from gpusaxs.runtime.interceptors import Timeout
from gpusaxs.runtime.result_cache import ResultCache
from gpusaxs.runtime.retry import Retry
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import CurveStatus, Sample
from gpusaxs.stages.base import NO_REQUESTS, Stage, StageResult
from gpusaxs.stages.cut import Cut

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
from gpusaxs.runtime.interceptors import Timeout
from gpusaxs.runtime.result_cache import ResultCache
try:
    ResultCache({str(tmp_path)!r})
except GpusaxsError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "pip install 'gpusaxs[cache]'" in done.stdout


def test_many_threads_that_share_curves_compute_each_once(cache):
    samples, computed, gate = plain_samples(12), [], threading.Barrier(6)

    def double(batch, rows):
        time.sleep(0.005)
        computed.extend(batch.intensity[row].tobytes() for row in rows)
        batch.intensity[rows] *= 2.0

    pipeline, found = Pipeline.of([Named(label="a", does=double)]), {}

    def work(seed):
        chosen = np.random.default_rng(seed).permutation(12)[:8]
        gate.wait(20.0)
        found[seed] = run(cache, [samples[place] for place in chosen], pipeline)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(computed) == len(set(computed))
    assert (cache.misses, cache.hits) == (len(computed), 6 * 8 - len(computed))
    for done in found.values():
        for sample in done:
            given = samples[int(sample.id)]
            np.testing.assert_array_equal(sample.intensity, 2.0 * given.intensity)


def test_what_was_got_through_by_halves_is_kept_whole(cache):
    class Small(NumpyBackend):
        def launch(self, kernel, rows, span, *arguments):
            if rows.size > 3:
                raise OutOfMemoryError("full")
            super().launch(kernel, rows, span, *arguments)

    samples, retry = bragg_samples(7), Retry(4, "none")
    expected = bits(Runtime("numpy", 1).run(samples))
    for order in ([cache, retry], [retry, cache]):
        hits, misses = cache.hits, cache.misses
        for _ in range(2):
            assert bits(Runtime(Small(1), interceptors=order).run(samples)) == expected
        assert cache.hits > hits
    assert cache.misses == misses


class Scale(Stage):
    """A stage whose name is the code of its class."""

    def launch(self, batch, rows):
        batch.intensity[rows] *= 2.0
        return NO_REQUESTS


def test_a_users_stage_is_kept_by_its_code(cache):
    first, again = (run(cache, plain_samples(3), Pipeline.of([Scale()])) for _ in range(2))
    assert bits(first) == bits(again)
    assert cache.hits == 3


def scale_by(factor):
    class ScaleBy(Stage):
        def launch(self, batch, rows):
            batch.intensity[rows] *= factor
            return NO_REQUESTS

    return ScaleBy()


def test_a_class_made_by_a_function_is_not_taken_for_another(cache):
    [sample] = plain_samples(1)
    for factor in (2.0, 3.0):
        [done] = run(cache, [sample], Pipeline.of([scale_by(factor)]))
        np.testing.assert_array_equal(done.intensity, factor * sample.intensity)


def test_code_beside_the_class_is_code_of_the_stage(cache, tmp_path, monkeypatch):
    code = (
        "from gpusaxs.stages.base import NO_REQUESTS, Stage\n"
        "FACTOR = {}\n"
        "class Scale(Stage):\n"
        "    def launch(self, batch, rows):\n"
        "        batch.intensity[rows] *= FACTOR\n"
        "        return NO_REQUESTS\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    [sample] = plain_samples(1)
    for factor in (2.0, 3.0):
        name = f"scale_{factor:.0f}"
        (tmp_path / f"{name}.py").write_text(code.format(factor))
        [done] = run(cache, [sample], Pipeline.of([importlib.import_module(name).Scale()]))
        np.testing.assert_array_equal(done.intensity, factor * sample.intensity)


def test_an_infinite_parameter_is_not_taken_for_none(cache):
    [sample] = plain_samples(1)
    [kept] = run(cache, [sample], Pipeline.of([Cut()]))
    [cut] = run(cache, [sample], Pipeline.of([Cut(q_min=math.inf)]))
    assert kept.status == CurveStatus.OK
    assert cut.status & CurveStatus.TOO_FEW_POINTS


class Plain(Does):
    fingerprint = Stage.fingerprint


def test_a_stage_with_a_parameter_that_has_no_words_runs_uncached(cache):
    [sample] = run(cache, plain_samples(1), Pipeline.of([Plain(label="a")]))
    assert not sample.status.failed
    assert cache.misses == 0


def test_several_requests_of_a_curve_keep_their_order(cache):
    seen = []
    stages = [
        Named(label="a", does=lambda batch, rows: {"c": rows, "b": rows}, asks_for=("b", "c")),
        Does(label="b", does=lambda batch, rows: seen.append("b")),
        Does(label="c", does=lambda batch, rows: seen.append("c")),
    ]
    for _ in range(2):
        run(cache, plain_samples(1), Pipeline.of(stages))
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :] == ["c", "b", "c"]


def test_a_launch_that_asks_for_what_it_may_not_is_not_kept(cache):
    pipeline = Pipeline.of([Named(label="a", does=lambda batch, rows: {"nowhere": rows})])
    first, again = (run(cache, plain_samples(1), pipeline) for _ in range(2))
    assert "asked for 'nowhere'" in first[0].reason
    assert bits(again) == bits(first)


def test_a_curve_that_a_stage_ends_with_its_own_words_has_them_again(cache):
    def ends(batch, rows):
        batch.end(rows, CurveStatus.NO_SIGNAL, "the shutter was closed")

    pipeline = Pipeline.of([Named(label="a", does=ends)])
    for _ in range(2):
        [sample] = run(cache, plain_samples(1), pipeline)
        assert sample.reason == "the shutter was closed"


@pytest.mark.parametrize(
    "damaged", [lambda words: words[:-8], lambda words: b"\0" * 8 + words], ids=["short", "shifted"]
)
def test_a_damaged_entry_is_computed_anew(cache, damaged):
    expected = bits(run(cache, bragg_samples(1), Pipeline.of([Cut()])))
    for key in list(cache._cache):
        cache._cache.set(key, damaged(cache._cache.get(key)))
    assert bits(run(cache, bragg_samples(1), Pipeline.of([Cut()]))) == expected
    assert cache.hits == 0


def test_a_disk_that_is_full_fails_no_curve(cache, monkeypatch):
    def full(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(cache._cache, "set", full)
    [sample] = run(cache, bragg_samples(1), Pipeline.of([Cut()]))
    assert not sample.status.failed


def test_a_cancel_ends_the_wait_for_what_another_launch_computes(cache):
    entered, opened, token = threading.Event(), threading.Event(), CancelToken()

    def slow(batch, rows):
        entered.set()
        opened.wait(20.0)

    pipeline, found = Pipeline.of([Named(label="a", does=slow)]), []
    first = threading.Thread(target=lambda: run(cache, plain_samples(1), pipeline))
    runtime = Runtime(NumpyBackend(1), pipeline=pipeline, interceptors=[cache])
    waits = threading.Thread(target=lambda: found.extend(runtime.run(plain_samples(1), token)))
    first.start()
    assert entered.wait(20.0)
    waits.start()
    time.sleep(0.1)
    token.cancel("beam lost")
    waits.join(0.5)
    ended = not waits.is_alive()
    opened.set()
    first.join()
    waits.join()
    assert ended
    assert found[0].reason == "cancelled: beam lost"


@pytest.mark.alone
def test_a_timeout_ends_the_wait_for_what_another_launch_computes(cache):
    entered, opened = threading.Event(), threading.Event()

    def slow(batch, rows):
        entered.set()
        opened.wait(20.0)

    pipeline = Pipeline.of([Named(label="a", does=slow)])
    first = threading.Thread(target=lambda: run(cache, plain_samples(1), pipeline))
    first.start()
    assert entered.wait(20.0)
    around = [Timeout(0.1), cache]
    [late] = Runtime(NumpyBackend(1), pipeline=pipeline, interceptors=around).run(plain_samples(1))
    still_at_work = first.is_alive()
    opened.set()
    first.join()
    assert still_at_work
    assert late.status & CurveStatus.TIMED_OUT


def test_launches_that_share_curves_crosswise_do_not_wait_for_each_other(cache):
    samples, gate = plain_samples(2), threading.Barrier(2)

    def double(batch, rows):
        time.sleep(0.01)
        batch.intensity[rows] *= 2.0

    pipeline, found = Pipeline.of([Named(label="a", does=double)]), []

    def work(order):
        gate.wait(20.0)
        found.append(run(cache, order, pipeline))

    threads = [threading.Thread(target=work, args=(samples[::step],)) for step in (1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    assert (cache.misses, cache.hits) == (2, 2)
    assert bits(found[0]) == bits(found[1][::-1])


def test_what_was_known_of_a_launch_is_free_while_the_rest_is_computed(cache):
    entered, opened = threading.Event(), threading.Event()
    one, other = plain_samples(2)

    def slow(batch, rows):
        entered.set()
        assert opened.wait(20.0)

    quick, slowly = (Pipeline.of([Named(label="a", does=d)]) for d in (lambda b, r: None, slow))
    run(cache, [one], quick)
    first = threading.Thread(target=lambda: run(cache, [one, other], slowly))
    first.start()
    assert entered.wait(20.0)
    run(cache, [one], quick)
    assert first.is_alive()
    opened.set()
    first.join()
    assert cache.hits == 2


def test_copies_of_a_curve_that_cannot_be_kept_are_computed(cache):
    calls = []
    stages = [
        Named(label="a", does=lambda batch, rows: {"c": rows, "b": rows}, asks_for=("b", "c")),
        Does(label="b", does=lambda batch, rows: calls.append(rows.size)),
        Does(label="c"),
    ]
    [one] = plain_samples(1)
    run(cache, [Sample(name, one.q, one.intensity) for name in "xyz"], Pipeline.of(stages))
    assert calls == [3]
    assert (cache.hits, cache.misses) == (0, 3)


def test_a_launch_that_asks_for_curves_of_others_is_not_kept(cache):
    pipeline = Pipeline.of(
        [
            Named(label="a", does=lambda batch, rows: {"b": rows + 1}, asks_for=("b",)),
            Does(label="b"),
        ]
    )
    first, again = (run(cache, plain_samples(1), pipeline) for _ in range(2))
    assert "curves that it was not given" in first[0].reason
    assert bits(again) == bits(first)


def test_words_that_came_before_belong_to_the_curve(cache):
    said = {0: "a spike was left out", 1: None, 2: 'two\nlines "quoted", µ'}

    def remark(batch, rows):
        for row in rows.tolist():
            if said[row] is not None:
                batch.end(np.array([row]), CurveStatus.Q_MERGED, said[row])

    def same(batch, rows):
        batch.set_status(rows, CurveStatus.Q_MERGED)

    pipeline = Pipeline.of([Does(label="r", does=remark), Named(label="a", does=same)])
    [one] = plain_samples(1)
    copies = [Sample(name, one.q, one.intensity) for name in "xyz"]
    first = run(cache, copies, pipeline)
    again = run(cache, copies, pipeline)
    assert [sample.reason for sample in first] == [said[0], "", said[2]]
    assert bits(again) == bits(first)
    assert cache.hits == 3


@pytest.mark.parametrize("words", ["words", 7, b"", b"short", b"\0" * 100_000])
def test_what_is_no_entry_is_computed_anew(cache, words):
    expected = bits(run(cache, bragg_samples(1), Pipeline.of([Cut()])))
    for key in list(cache._cache):
        cache._cache.set(key, words)
    assert bits(run(cache, bragg_samples(1), Pipeline.of([Cut()]))) == expected
    assert bits(run(cache, bragg_samples(1), Pipeline.of([Cut()]))) == expected
    assert (cache.hits, cache.misses) == (1, 2)


def test_an_entry_at_another_key_is_computed_anew(cache):
    expected = bits(run(cache, bragg_samples(2), Pipeline.of([Cut()])))
    one, other = cache._cache
    kept = [cache._cache.get(key) for key in (other, one)]
    for key, words in zip((one, other), kept, strict=True):
        cache._cache.set(key, words)
    assert bits(run(cache, bragg_samples(2), Pipeline.of([Cut()]))) == expected
    assert cache.hits == 0


def test_a_folder_that_cannot_be_read_is_told_once_and_fails_no_curve(cache, monkeypatch, caplog):
    def broken(*_, **__):
        raise sqlite3.DatabaseError("database disk image is malformed")

    expected = bits(Runtime("numpy", 1).run(bragg_samples(2)))
    for name in ("get", "set"):
        monkeypatch.setattr(cache._cache, name, broken)
    assert bits(run(cache, bragg_samples(2))) == expected
    [said] = caplog.messages
    assert "malformed" in said
    assert cache._cache.directory in said


def test_a_file_in_place_of_the_store_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "cache.db").write_bytes(b"something else" * 1000)
    with pytest.raises(GpusaxsError, match="Remove it or name another folder"):
        ResultCache(tmp_path)


def test_another_layout_of_the_code_is_another_key(cache):
    pipeline = Pipeline.of([Named(label="a")])
    run(cache, plain_samples(1), pipeline)
    cache._code[0] = "later"
    run(cache, plain_samples(1), pipeline)
    cache._code[0] = None
    run(cache, plain_samples(1), pipeline)
    assert (cache.hits, cache.misses) == (0, 2)
