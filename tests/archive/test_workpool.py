"""Blocks of nothing through steps of plain Python; whatever hangs fails."""

import ctypes
import faulthandler
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpusaxs.archive import workpool
from gpusaxs.archive.workpool import Outcome, Step, StopBlocks, Workpool, execute, run_serially

LONGEST = 20.0
EXECUTORS = ("serial", "workpool")


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    until = time.monotonic() + 5.0
    while (left := blocks_threads()) and time.monotonic() < until:
        time.sleep(0.01)
    assert not left


def blocks_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("gpusaxs-block")]


def within(call, seconds=LONGEST):
    """Return what a call returns, or raise what it raises; one that hangs fails."""
    ended = []

    def work():
        try:
            ended.append((call(), None))
        except BaseException as error:  # noqa: BLE001 it is raised again below
            ended.append((None, error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        faulthandler.dump_traceback()
        pytest.fail(f"it hangs: not over after {seconds} s")
    [(value, error)] = ended
    if error is not None:
        raise error
    return value


def run(blocks, steps, *, executor="workpool", workers=8, in_flight=16):
    outcome = Outcome()
    arguments = {"workers": workers, "in_flight": in_flight}
    within(lambda: execute(executor, iter(blocks), steps, outcome, **arguments))
    return outcome


def told(outcome):
    """What an outcome says, but for times."""
    failures = [(f.block, f.step, repr(f.error)) for f in outcome.failures]
    return outcome.done, failures, repr(outcome.stopped)


def slow(seed, longest=0.002):
    """A step that passes a block on after a while that is its own."""

    def work(block):
        time.sleep(random.Random(f"{seed} {block}").random() * longest)
        return block

    return work


class Log:
    """A step that notes the blocks it has seen, in order."""

    def __init__(self, work=lambda block: block):
        self.blocks = []
        self.at_once = self.most = 0
        self.threads = set()
        self._work = work
        self._lock = threading.Lock()

    def __call__(self, block):
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            self.threads.add(threading.get_ident())
        try:
            block = self._work(block)
        finally:
            with self._lock:
                self.at_once -= 1
                self.blocks.append(block)
        return block


def test_a_serial_step_takes_the_blocks_in_order_one_at_a_time():
    read, middle, write = Log(slow(1)), Log(slow(2)), Log(slow(4))
    steps = (
        Step("reading", read),
        Step("middle", middle, needs_serial=True),
        Step("computing", slow(3)),
        Step("writing", write, needs_serial=True),
    )
    outcome = run(range(150), steps)
    assert outcome.done == 150
    assert write.blocks == middle.blocks == list(range(150))
    assert (write.most, middle.most) == (1, 1)
    assert read.blocks != sorted(read.blocks)


def test_all_workers_call_the_same_steps():
    class Shared:
        def __init__(self):
            self.calls = []
            self.together = threading.Barrier(8)

        def __call__(self, block):
            self.together.wait(LONGEST)
            self.calls.append((id(self), threading.get_ident()))
            return block

        def __reduce__(self):
            raise AssertionError("a step was copied")

    shared = Shared()
    outcome = run(range(80), (Step("sharing", shared),))
    assert outcome.failures == []
    assert {who for who, _ in shared.calls} == {id(shared)}
    assert len({thread for _, thread in shared.calls}) == 8


def test_each_step_takes_what_the_one_before_returned():
    written = []
    steps = (
        Step("doubling", lambda block: block * 2),
        Step("naming", lambda block: f"<{block}>"),
        Step("writing", written.append, needs_serial=True),
    )
    run(range(5), steps)
    assert written == ["<0>", "<2>", "<4>", "<6>", "<8>"]


class Counted:
    """An iterator that notes how many of its blocks are on their way."""

    def __init__(self, blocks):
        self.left = blocks
        self.taken = self.over = self.most = 0
        self.lock = threading.Lock()

    def __iter__(self):
        return self

    def __next__(self):
        with self.lock:
            if self.taken == self.left:
                raise StopIteration
            self.taken += 1
            self.most = max(self.most, self.taken - self.over)
            return self.taken - 1

    def end(self):
        with self.lock:
            self.over += 1


@pytest.mark.parametrize("in_flight", [1, 2, 5])
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_blocks_are_in_flight_until_their_last_step_is_over(workers, in_flight):
    blocks = Counted(30)

    def write(block):
        time.sleep(0.002)
        blocks.end()

    steps = (Step("reading", slow(1)), Step("writing", write, needs_serial=True))
    outcome = run(blocks, steps, workers=workers, in_flight=in_flight)
    assert outcome.done == 30
    assert blocks.most == in_flight


def test_a_block_that_failed_is_not_in_flight_any_more():
    blocks = Counted(30)

    def read(block):
        if block % 2:
            blocks.end()
            raise ValueError(block)
        return block

    def write(block):
        time.sleep(0.002)
        blocks.end()

    steps = (Step("reading", read), Step("writing", write, needs_serial=True))
    outcome = run(blocks, steps, in_flight=3)
    assert outcome.done == len(outcome.failures) == 15
    assert blocks.most == 3


def test_the_iterator_gets_no_further_ahead_of_a_slow_writer_than_the_limit():
    taken, ahead, gate = [], [], threading.Event()

    def blocks():
        for number in range(40):
            taken.append(number)
            yield number

    def write(block):
        if block == 0:
            # All other workers have had the time to run away.
            gate.wait(0.2)
        ahead.append(len(taken) - block)

    steps = (Step("reading", lambda block: block), Step("writing", write, needs_serial=True))
    run(blocks(), steps, in_flight=6)
    assert len(taken) == 40
    assert ahead[0] == 6
    assert max(ahead) <= 6


class Payload:
    """Stands for the arrays of a block."""

    def __init__(self, number):
        self.number = number


def test_a_block_that_is_through_is_not_in_memory_any_more():
    alive, over = weakref.WeakSet(), threading.Semaphore(0)
    left = []

    def made(number):
        alive.add(payload := Payload(number))
        return payload

    def blocks():
        for _ in range(3):
            for number in range(8):
                yield made(number)
            for _ in range(8):
                assert over.acquire(timeout=LONGEST)
            # The workers are on their way from the last step to waiting.
            until = time.monotonic() + 1.0
            while alive and time.monotonic() < until:
                time.sleep(0.001)
            left.append(len(alive))

    def write(payload):
        over.release()

    steps = (
        Step("reading", lambda payload: made(payload.number)),
        Step("writing", write),
    )
    outcome = run(blocks(), steps, workers=4, in_flight=8)
    assert outcome.done == 24
    assert left == [0, 0, 0]


def test_the_latest_step_of_a_block_goes_before_the_first_of_another():
    calls = []

    def noted(name):
        def work(block):
            calls.append((block, name))
            return block

        return work

    def blocks():
        yield from range(6)

    steps = tuple(Step(name, noted(name)) for name in "ABC")
    gate = threading.Event()

    def held(block):
        # Until all are there, or the order would be that of their coming.
        if block == 0:
            assert gate.wait(LONGEST)
        return block

    def opening():
        yield from blocks()
        gate.set()

    run(opening(), (Step("holding", held), *steps), workers=1, in_flight=7)
    assert calls == [(block, name) for block in range(6) for name in "ABC"]


def test_the_lowest_block_of_those_at_the_same_step_goes_first():
    arrived = [threading.Event() for _ in range(6)]
    order = []

    def read(block):
        # Blocks 5, 4 ... 1 come to the next step in this order, while block 0 is in it.
        if 0 < block < 5:
            assert arrived[block + 1].wait(LONGEST)
            time.sleep(0.02)
        if block:
            arrived[block].set()
        return block

    def compute(block):
        if block == 0:
            assert arrived[1].wait(LONGEST)
            time.sleep(0.05)
        order.append(block)

    steps = (Step("reading", read), Step("computing", compute, at_once=1))
    run(range(6), steps, workers=7, in_flight=6)
    assert order == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_no_more_blocks_than_allowed_are_in_a_step_at_once(at_once):
    computing, reading = Log(slow(1, 0.004)), Log(slow(2, 0.004))
    steps = (Step("reading", reading), Step("computing", computing, at_once=at_once))
    outcome = run(range(60), steps)
    assert outcome.done == 60
    assert computing.most == at_once
    assert reading.most > 3


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("blocks", [0, 1])
def test_no_block_and_one_block_are_done(executor, blocks):
    written = Log()
    steps = (Step("reading", lambda block: block), Step("writing", written, needs_serial=True))
    outcome = run(range(blocks), steps, executor=executor)
    assert told(outcome) == (blocks, [], "None")
    assert written.blocks == list(range(blocks))
    assert set(outcome.busy) == {"reading", "writing"}


class Odd(BaseException):
    """What no step should raise."""


@pytest.mark.parametrize("error", [ValueError, MemoryError, Odd, SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("position", [0, 5, 11])
@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_step_that_raises_costs_its_block_and_no_other(place, position, error):
    written = []

    def step(number):
        def work(block):
            if (number, block) == (place, position):
                raise error("no")
            if number == 3:
                written.append(block)
            return block

        return work

    steps = (
        Step("first", step(0)),
        Step("ordered", step(1), needs_serial=True),
        Step("narrow", step(2), at_once=1),
        Step("writing", step(3), needs_serial=True),
    )
    outcome = run(range(12), steps, workers=3, in_flight=5)
    assert told(outcome) == (11, [(position, steps[place].name, repr(error("no")))], "None")
    assert written == [block for block in range(12) if block != position]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_blocks_may_all_fail_and_are_listed_in_order(executor):
    def read(block):
        time.sleep(random.Random(block).random() * 0.004)
        raise ValueError(block)

    steps = (Step("reading", read), Step("writing", Log(), needs_serial=True))
    outcome = run(range(20), steps, executor=executor)
    failures = [(block, "reading", f"ValueError({block})") for block in range(20)]
    assert told(outcome) == (0, failures, "None")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, Odd])
def test_what_is_no_exception_goes_through_the_serial_executor(error):
    def read(block):
        raise error("no")

    with pytest.raises(error):
        run_serially(iter(range(3)), (Step("reading", read),), Outcome())


def set_exception(thread, error):
    """Have an exception raised in a thread, wherever it is."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


def test_what_kills_a_step_from_outside_is_the_failure_of_its_block():
    def compute(block):
        if block == 3:
            set_exception(threading.get_ident(), Odd)
            while True:
                time.sleep(0.001)
        return block

    written = Log()
    steps = (Step("computing", compute), Step("writing", written, needs_serial=True))
    outcome = run(range(10), steps, workers=2)
    assert told(outcome) == (9, [(3, "computing", "Odd()")], "None")
    assert written.blocks == [0, 1, 2, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("workers", [1, 4])
def test_a_worker_that_dies_between_two_blocks_ends_it_and_is_named(workers):
    written = Log()
    read = threading.Semaphore(0)

    def blocks():
        yield from range(3)
        for _ in range(3):
            assert read.acquire(timeout=LONGEST)
        time.sleep(0.05)
        # All workers wait for a block now; each raises as it wakes up.
        for thread in blocks_threads():
            set_exception(thread.ident, Odd)
        yield from range(3, 1000)

    def write(block):
        read.release()
        return block

    steps = (Step("writing", write), Step("noting", written, needs_serial=True))
    outcome = run(blocks(), steps, workers=workers)
    assert isinstance(outcome.stopped, Odd)
    assert outcome.done == 3
    assert written.blocks == [0, 1, 2]


# An exception may also reach a thread as it begins or ends, outside of the pool's own code.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_dies_at_any_moment_is_said_and_nothing_hangs():
    chance = random.Random(1)
    deaths = 0
    for trial in range(30):
        written = Log()

        def die(at):
            time.sleep(at)
            if alive := [thread for thread in blocks_threads() if thread.ident is not None]:
                set_exception(alive[0].ident, Odd)

        steps = (
            Step("reading", slow(trial, 0.001)),
            Step("computing", slow(trial + 1, 0.001)),
            Step("writing", written, needs_serial=True),
        )
        killer = threading.Thread(target=die, args=(chance.random() * 0.01,))
        killer.start()
        outcome = run(range(40), steps, workers=3, in_flight=5)
        killer.join()
        failed = {failure.block for failure in outcome.failures}
        deaths += bool(failed) + (outcome.stopped is not None)
        assert outcome.stopped is not None or outcome.done == 40 - len(failed)
        whole = [block for block in range(40) if block not in failed]
        passed = [block for block in written.blocks if block not in failed]
        assert passed == whole[: len(passed)]
    assert deaths > 0


def test_a_worker_that_is_gone_without_a_word_is_missed(monkeypatch):
    monkeypatch.setattr(workpool, "_LOOK", 0.02)
    works = Workpool._worker
    first = threading.Lock()

    def worker(self):
        if first.acquire(blocking=False):
            self._next_task()
        else:
            works(self)

    monkeypatch.setattr(Workpool, "_worker", worker)
    outcome = run(range(10), (Step("reading", slow(1)),), workers=2, in_flight=2)
    assert "a worker is gone" in str(outcome.stopped)


def test_no_worker_waits_for_ever_where_another_cannot_be_started(monkeypatch):
    starts = threading.Thread.start

    def start(self):
        if self.name == "gpusaxs-block-2":
            raise RuntimeError("can't start new thread")
        starts(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start"):
        run(range(3), (Step("reading", slow(1)),), workers=4)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_blocks_before_a_stop_are_brought_to_their_end_and_none_behind_it(executor, place):
    written, taken = [], []

    def blocks():
        for number in range(1000):
            taken.append(number)
            yield number

    def step(number):
        def work(block):
            if (number, block) == (place, 7):
                raise StopBlocks("enough")
            if number == 0 and block in (5, 6):
                # These are still far from the end when block 7 stops in an earlier step.
                time.sleep(0.05)
            if number == 2:
                written.append(block)
            return block

        return work

    steps = (
        Step("reading", step(0)),
        Step("computing", step(1)),
        Step("writing", step(2), needs_serial=True),
    )
    outcome = run(blocks(), steps, executor=executor, workers=4, in_flight=6)
    assert told(outcome) == (7, [], "StopBlocks('enough')")
    assert written == list(range(7))
    assert len(taken) <= 8 + 6


def test_of_several_stops_that_of_the_lowest_block_counts():
    later = threading.Event()

    def read(block):
        if block == 3:
            assert later.wait(LONGEST)
            time.sleep(0.05)
            raise StopBlocks(block)
        if block == 5:
            later.set()
            raise StopBlocks(block)
        if block == 4:
            raise ValueError(block)
        return block

    written = Log()
    steps = (Step("reading", read), Step("writing", written, needs_serial=True))
    outcome = run(range(9), steps)
    assert told(outcome) == (3, [], "StopBlocks(3)")
    assert written.blocks == [0, 1, 2]


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("taken", [0, 1, 9])
def test_an_iterator_that_raises_ends_it_after_the_blocks_that_it_gave(executor, taken):
    def blocks():
        yield from range(taken)
        raise ValueError("no more")

    written = Log()
    steps = (Step("reading", slow(1)), Step("writing", written, needs_serial=True))
    outcome = run(blocks(), steps, executor=executor)
    assert told(outcome) == (taken, [], "ValueError('no more')")
    assert written.blocks == list(range(taken))


def test_a_stop_counts_more_than_an_iterator_that_raises_behind_it():
    outcome, stopping = Outcome(), threading.Event()

    def blocks():
        yield 0
        assert stopping.wait(LONGEST)
        until = time.monotonic() + LONGEST
        while outcome.stopped is None and time.monotonic() < until:
            time.sleep(0.001)
        raise ValueError("no more")

    def read(block):
        stopping.set()
        raise StopBlocks("enough")

    steps = (Step("reading", read),)
    within(lambda: Workpool(steps, 2, 2).run(blocks(), outcome))
    assert told(outcome) == (0, [], "StopBlocks('enough')")


def test_an_interrupt_ends_the_steps_that_are_at_work_and_begins_no_other():
    begun, ended, is_in = [], [], threading.Event()

    def blocks():
        yield 0
        yield 1
        assert is_in.wait(LONGEST)
        raise KeyboardInterrupt

    def read(block):
        begun.append(block)
        is_in.set()
        time.sleep(0.1)
        ended.append(block)
        return block

    written = Log()
    steps = (Step("reading", read, at_once=1), Step("writing", written))
    with pytest.raises(KeyboardInterrupt):
        run(blocks(), steps, workers=2)
    assert begun == ended == [0]
    assert written.blocks == []


INTERRUPTED = """
import sys, threading, time
from gpusaxs.archive.workpool import Outcome, Step, execute

def work(block):
    print("begun", flush=True)
    time.sleep(0.2)
    print("ended", flush=True)
    return block

steps = (Step("reading", work, at_once=1), Step("writing", work))
try:
    execute("workpool", iter(range(int(sys.argv[1]))), steps, Outcome(), workers=2, in_flight=2)
except KeyboardInterrupt:
    left = [thread.name for thread in threading.enumerate()]
    print("interrupted", left, flush=True)
"""


@pytest.mark.parametrize("blocks", [1, 1000])
def test_ctrl_c_reaches_a_coordinator_that_waits(blocks):
    command = [sys.executable, "-c", INTERRUPTED, str(blocks)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "begun\n"
            # By now it waits: a signal that comes as it begins to is handled when it wakes up.
            time.sleep(0.05)
            os.kill(process.pid, signal.SIGINT)
            said, _ = process.communicate(timeout=LONGEST)
        finally:
            process.kill()
    assert said.splitlines() == ["ended", "interrupted ['MainThread']"]
    assert process.returncode == 0


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_busy_seconds_are_those_spent_in_the_steps(executor):
    def read(block):
        time.sleep(0.01)
        return block

    def write(block):
        time.sleep(0.002)
        if block == 3:
            time.sleep(0.05)
            raise ValueError("counted all the same")
        return block

    steps = (Step("reading", read), Step("writing", write, needs_serial=True))
    began = time.perf_counter()
    outcome = run(range(20), steps, executor=executor, workers=4)
    seconds = time.perf_counter() - began
    assert outcome.workers == (1 if executor == "serial" else 4)
    assert set(outcome.busy) == {"reading", "writing"}
    assert outcome.busy["reading"] >= 20 * 0.01
    assert outcome.busy["writing"] >= 20 * 0.002 + 0.05
    assert sum(outcome.busy.values()) <= seconds * outcome.workers


CASES = st.fixed_dictionaries(
    {
        "blocks": st.integers(0, 10),
        "raising": st.dictionaries(
            st.tuples(st.integers(0, 9), st.integers(0, 2)),
            st.sampled_from([ValueError, OSError, StopBlocks]),
            max_size=5,
        ),
        "iterator_raises": st.booleans(),
        "serial": st.tuples(st.booleans(), st.booleans()),
        "at_once": st.tuples(*[st.sampled_from([None, 1, 2])] * 3),
        "workers": st.integers(1, 4),
        "in_flight": st.integers(1, 6),
        "seed": st.integers(0, 1000),
    }
)


@settings(max_examples=80, deadline=None)
@given(CASES)
def test_both_executors_come_to_the_same(case):
    outcomes = []
    for executor in EXECUTORS:
        written = []

        def step(place, written=written):
            delay = slow(case["seed"] + place, 0.001)

            def work(block):
                number = delay(block)
                if (error := case["raising"].get((number, place))) is not None:
                    raise error(f"{number} in {place}")
                if place == 2:
                    written.append(number)
                return number

            return work

        def blocks():
            yield from range(case["blocks"])
            if case["iterator_raises"]:
                raise LookupError("no more")

        flags = (*case["serial"], True)
        steps = [
            Step(f"step {k}", step(k), needs_serial=flags[k], at_once=case["at_once"][k])
            for k in range(3)
        ]
        outcome = run(
            blocks(),
            steps,
            executor=executor,
            workers=case["workers"],
            in_flight=case["in_flight"],
        )
        outcomes.append((told(outcome), written))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("kind", ["failure", "stop", "iterator"])
def test_what_is_told_of_a_block_does_not_hold_its_arrays(executor, kind, monkeypatch):
    # The log's own records hold frames, as long as a handler keeps them; pytest's does.
    monkeypatch.setattr(logging.getLogger(workpool.__name__), "disabled", True)
    arrays = []

    def raise_in_frames(block):
        array = Payload(block)
        arrays.append(weakref.ref(array))
        try:
            try:
                raise KeyError(array.number)
            except KeyError as first:
                raise OSError("no room") from first
        except OSError:
            raise (StopBlocks if kind == "stop" else ValueError)("no")  # noqa: B904 its context

    def blocks():
        for number in range(4):
            if kind == "iterator" and number == 2:
                raise_in_frames(number)
            yield number

    def work(block):
        if kind != "iterator" and block == 2:
            raise_in_frames(block)
        return block

    outcome = run(blocks(), (Step("working", work, needs_serial=True),), executor=executor)
    error = outcome.failures[0].error if kind == "failure" else outcome.stopped
    assert str(error) == "no"
    assert isinstance(error.__context__.__cause__, KeyError)
    assert [array() for array in arrays] == [None]


def test_numbers_below_one_and_unknown_executors_are_refused():
    for numbers, message in (((0, 1), "at least 1 worker"), ((1, 0), "1 block in flight")):
        with pytest.raises(ValueError, match=message):
            Workpool((), *numbers)
    with pytest.raises(ValueError, match="'serial' or 'workpool'"):
        execute("dask", iter(()), (), Outcome(), workers=1, in_flight=1)
