"""Every event reaches every sink once and in order, whatever the sinks do."""

import logging
import threading
import time

import pytest

from gpusaxs.runtime.events import EventBus, KernelRan, RunStarted, event_name, now

WAIT_SECONDS = 20.0
PRODUCERS = 4
EACH = 2000


def numbered(*numbers, producer="a"):
    return [KernelRan(0.0, "kernel", number, 0.0, producer) for number in numbers]


def rows(events):
    return [event.rows for event in events]


def eventually(holds):
    end = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < end, "it has not come to hold"
        time.sleep(0.001)


def bus_threads():
    return [thread for thread in threading.enumerate() if thread.name == "gpusaxs-events"]


class Gate:
    """A sink that holds the first event until it is opened."""

    def __init__(self):
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.seen = []

    def __call__(self, event):
        self.entered.set()
        assert self.opened.wait(WAIT_SECONDS), "nobody has opened the gate"
        self.seen.append(event)


class Closable:
    def __init__(self, error=None):
        self.calls = []
        self.error = error

    def __call__(self, event):
        self.calls.append(event.rows)

    def flush(self):
        self.calls.append("flush")

    def close(self):
        self.calls.append("close")
        if self.error is not None:
            raise self.error


@pytest.fixture
def producer():
    """Runs a function in a thread of its own, which has ended when the test has."""
    started = []

    def start(function, *arguments):
        thread = threading.Thread(target=function, args=arguments)
        thread.start()
        started.append(thread)
        return thread

    yield start
    for thread in started:
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive()


def test_an_event_is_named_as_in_files():
    assert event_name(RunStarted(0.0, "1", "standard", "numpy", None)) == "run_started"
    assert event_name(*numbered(1)) == "kernel_ran"


def test_the_clock_tells_the_time_of_day_and_never_goes_back():
    times = [now() for _ in range(1000)]
    assert times == sorted(times)
    assert abs(times[-1] - time.time()) < 5.0


def test_every_sink_gets_all_events_in_order():
    first, second = [], []
    with EventBus([first.append, second.append]) as bus:
        bus.emit(*numbered(0))
        bus.emit_all(numbered(*range(1, 50)))
    assert rows(first) == rows(second) == list(range(50))
    assert (bus.produced, bus.emitted, bus.dropped, bus.failures) == (50, 50, 0, 0)


def test_the_thread_lives_from_the_first_event_to_the_close():
    bus = EventBus([lambda event: None])
    bus.emit_all([])
    assert bus_threads() == []
    bus.emit(*numbered(1))
    assert len(bus_threads()) == 1
    bus.close()
    assert bus_threads() == []


def test_a_bus_without_events_closes_its_sinks():
    sink = Closable()
    EventBus([sink]).close()
    assert sink.calls == ["close"]


def test_closing_again_changes_nothing():
    sink = Closable()
    with EventBus([sink]) as bus:
        bus.emit(*numbered(1))
    bus.close()
    assert sink.calls == [1, "flush", "close"]


def test_an_event_after_the_close_is_an_error_with_a_remedy():
    with EventBus([]) as bus:
        bus.emit(*numbered(1))
    with pytest.raises(RuntimeError, match=r"bus is closed\. Close it when"):
        bus.emit(*numbered(2))
    assert (bus.produced, bus.emitted) == (1, 1)


@pytest.mark.parametrize("wrong", [{"capacity": 0}, {"when_full": "block"}])
def test_wrong_parameters_are_named(wrong):
    with pytest.raises(ValueError, match=r"Expected .* Got"):
        EventBus([], **wrong)


def test_events_arrive_and_are_flushed_while_the_bus_is_quiet():
    sink = Closable()
    with EventBus([sink]) as bus:
        bus.emit(*numbered(1))
        eventually(lambda: "flush" in sink.calls)
    assert sink.calls == [1, "flush", "close"]


def test_a_producer_waits_for_room(producer):
    gate = Gate()
    with EventBus([gate], capacity=2) as bus:
        bus.emit(*numbered(0))
        assert gate.entered.wait(WAIT_SECONDS)
        thread = producer(bus.emit_all, numbered(*range(1, 10)))
        eventually(lambda: bus.produced == 3)
        thread.join(0.05)
        assert thread.is_alive()
        gate.opened.set()
        thread.join(WAIT_SECONDS)
    assert rows(gate.seen) == list(range(10))
    assert (bus.produced, bus.emitted, bus.dropped) == (10, 10, 0)


def test_what_has_no_room_is_dropped_and_counted():
    gate = Gate()
    with EventBus([gate], capacity=2, when_full="drop") as bus:
        bus.emit(*numbered(0))
        assert gate.entered.wait(WAIT_SECONDS)
        bus.emit_all(numbered(1, 2, 3, 4))
        bus.emit(*numbered(5))
        gate.opened.set()
    assert rows(gate.seen) == [0, 1, 2]
    assert (bus.produced, bus.emitted, bus.dropped) == (6, 3, 3)


def test_a_sink_that_raises_is_told_once_and_the_others_go_on(caplog):
    seen = []

    def broken(event):
        raise OSError("the disk is full")

    with caplog.at_level(logging.ERROR, "gpusaxs"), EventBus([broken, seen.append]) as bus:
        bus.emit_all(numbered(1, 2, 3))
    assert rows(seen) == [1, 2, 3]
    assert (bus.emitted, bus.failures) == (3, 3)
    [told] = caplog.records
    assert "broken" in told.message
    assert "the disk is full" in caplog.text


def test_each_sink_that_raises_is_told(caplog):
    def exits(event):
        raise SystemExit

    def divides(event):
        raise ZeroDivisionError

    with EventBus([exits, divides]) as bus:
        bus.emit_all(numbered(1, 2))
    assert bus.failures == 4
    assert len(caplog.records) == 2


def test_a_sink_that_cannot_be_closed_does_not_stop_the_others(caplog):
    broken, whole = Closable(OSError("the disk is full")), Closable()
    with EventBus([broken, whole]) as bus:
        pass
    assert whole.calls == ["close"]
    assert bus.failures == 1
    assert "the disk is full" in caplog.text


@pytest.mark.parametrize("capacity", [1, 3, 100])
def test_a_sink_may_emit_events_itself(capacity):
    seen = []

    def answers(event):
        if event.kernel == "kernel":
            bus.emit_all([event._replace(kernel="answer")] * 3)

    with EventBus([answers, seen.append], capacity=capacity) as bus:
        for event in numbered(*range(20)):
            bus.emit(event)
    assert bus.failures == 0
    assert (bus.produced, bus.emitted) == (80, 80)
    for number in range(20):
        mine = [event.kernel for event in seen if event.rows == number]
        assert mine == ["kernel", "answer", "answer", "answer"]


def test_what_a_sink_emits_is_dropped_where_there_is_no_room():
    def answers(event):
        if event.kernel == "kernel":
            bus.emit_all([event._replace(kernel="answer")] * 5)

    with EventBus([answers], capacity=2, when_full="drop") as bus:
        bus.emit(*numbered(1))
    assert (bus.produced, bus.emitted, bus.dropped) == (6, 3, 3)


def test_a_sink_cannot_close_its_own_bus(caplog):
    seen = []
    with EventBus([lambda event: bus.close(), seen.append]) as bus:
        bus.emit_all(numbered(1, 2))
    assert rows(seen) == [1, 2]
    assert "Close it elsewhere" in caplog.text


def test_a_producer_that_waits_while_the_bus_is_closed_loses_nothing(producer):
    for _ in range(30):
        gate = Gate()
        bus = EventBus([gate], capacity=1)
        bus.emit(*numbered(0))
        assert gate.entered.wait(WAIT_SECONDS)
        producing = producer(bus.emit_all, numbered(*range(1, 6)))
        eventually(lambda bus=bus: bus.produced == 2)
        closing = producer(bus.close)
        gate.opened.set()
        closing.join(WAIT_SECONDS)
        producing.join(WAIT_SECONDS)
        assert rows(gate.seen) == list(range(6))
        assert (bus.produced, bus.emitted) == (6, 6)


@pytest.mark.parametrize("when_full", ["wait", "drop"])
def test_many_producers_and_a_slow_sink_lose_and_double_nothing(when_full, producer):
    fast, slow = [], []

    def rest_at_times(event):
        slow.append(event)
        if len(slow) % 100 == 0:
            time.sleep(0.001)

    def produce(name):
        events = numbered(*range(EACH), producer=name)
        for first in range(0, EACH, 20):
            if first % 40:
                bus.emit_all(events[first : first + 20])
            else:
                for event in events[first : first + 20]:
                    bus.emit(event)

    with EventBus([fast.append, rest_at_times], capacity=16, when_full=when_full) as bus:
        threads = [producer(produce, str(number)) for number in range(PRODUCERS)]
        for thread in threads:
            thread.join(WAIT_SECONDS)
    assert bus.produced == PRODUCERS * EACH
    assert bus.produced == bus.emitted + bus.dropped
    assert fast == slow
    assert len(fast) == bus.emitted
    for number in range(PRODUCERS):
        mine = [event.rows for event in fast if event.worker == str(number)]
        assert mine == sorted(set(mine))
        assert when_full == "drop" or len(mine) == EACH
    assert when_full == "drop" or bus.dropped == 0
    assert bus_threads() == []
