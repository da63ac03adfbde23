"""What sinks write: strict JSON lines, progress for a person, a list for tests."""

import io
import json
import re
import threading
import time
from types import MappingProxyType

import pytest
from rich.console import Console

from gpusaxs.runtime import sinks
from gpusaxs.runtime.cancel import CancelToken
from gpusaxs.runtime.events import (
    CheckpointReleased,
    Copied,
    EventBus,
    KernelRan,
    LaunchEnded,
    Retried,
    RunCancelled,
    RunStarted,
    SampleEnded,
    now,
)
from gpusaxs.runtime.run import Run
from gpusaxs.runtime.sinks import JsonLines, ProgressBar, Record

NAN = float("nan")
LAUNCH = LaunchEnded(20.0, "find_peak", 4, 100, 0.5, "MainThread", "")
ENDED = Run("standard", "numpy", CancelToken(), started=now() - 2.0).summary()
ONE_OF_EACH = [
    RunStarted(10.0, "1", "standard", "numpy", None),
    LAUNCH,
    KernelRan(20.0, "find_peaks", 50, 0.25, "gpusaxs_0"),
    Copied(21.0, "host_to_device", 1000, 0.1, "MainThread"),
    SampleEnded(22.0, "1", 'a "quoted"\nµ', "ok", False, ""),
    CheckpointReleased(23.0, "1", "phase", 5, 4),
    Retried(24.0, "filter", 7, 2, 0.5, "out of memory"),
    RunCancelled(25.0, "1", "beam lost", 3),
    ENDED,
]


def read(path):
    """Return the lines of a file, each of them strict JSON."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    text = path.read_text("utf-8")
    assert text == "" or text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def progress_of(count, total=None, *, announced=None, terminal=False):
    """Return what is shown of some samples, and the bar before it was closed."""
    shown = io.StringIO()
    bar = ProgressBar(total, Console(file=shown, force_terminal=terminal, width=100))
    bar(RunStarted(now() - 2.0, "1", "standard", "numpy", announced))
    for number in range(count):
        bar(SampleEnded(now(), "1", str(number), "ok", False, ""))
    bar.flush()
    return shown, bar


def test_a_record_keeps_events_and_finds_them_by_kind():
    record = Record()
    with EventBus([record]) as bus:
        bus.emit_all(ONE_OF_EACH)
    assert record.events == ONE_OF_EACH
    assert record.of(LaunchEnded) == [LAUNCH]


def test_each_event_is_a_json_object_with_its_name_first(tmp_path):
    path = tmp_path / "run.jsonl"
    with EventBus([JsonLines(path)]) as bus:
        bus.emit_all(ONE_OF_EACH)
    lines = read(path)
    assert [line["event"] for line in lines] == [
        "run_started", "launch_ended", "kernel_ran", "copied", "sample_ended",
        "checkpoint_released", "retried", "run_cancelled", "run_ended",
    ]  # fmt: skip
    for line, event in zip(lines, ONE_OF_EACH, strict=True):
        assert next(iter(line)) == "event"
        assert line == {"event": line["event"], **event._asdict()}


def test_what_json_cannot_say_is_null_or_an_object(tmp_path):
    path = tmp_path / "run.jsonl"
    ended = ENDED._replace(
        samples_per_second=float("inf"),
        seconds_by_stage={"cut": NAN, "noise": 1.0},
        reasons=MappingProxyType({"bad": 2}),
    )
    with EventBus([JsonLines(str(path))]) as bus:
        bus.emit_all([LAUNCH._replace(seconds=NAN), ended])
    assert bus.failures == 0
    launch, run = read(path)
    assert launch["seconds"] is None
    assert run["samples_per_second"] is None
    assert run["seconds_by_stage"] == {"cut": None, "noise": 1.0}
    assert run["reasons"] == {"bad": 2}


def test_the_file_can_be_read_while_the_bus_is_open(tmp_path):
    path = tmp_path / "run.jsonl"
    with EventBus([JsonLines(path)]) as bus:
        bus.emit(LAUNCH)
        end = time.monotonic() + 10.0
        while not read(path) and time.monotonic() < end:
            time.sleep(0.005)
        assert len(read(path)) == 1


def test_without_a_bus_many_lines_are_written_at_once_and_the_rest_at_the_close(tmp_path):
    path = tmp_path / "run.jsonl"
    lines = JsonLines(path)
    for _ in range(sinks.LINES_AT_ONCE + 1):
        lines(LAUNCH)
    assert len(read(path)) == sinks.LINES_AT_ONCE
    lines.close()
    assert len(read(path)) == sinks.LINES_AT_ONCE + 1


@pytest.mark.parametrize(("append", "lines"), [(False, 1), (True, 3)])
def test_an_earlier_file_is_replaced_or_continued(tmp_path, append, lines):
    path = tmp_path / "run.jsonl"
    path.write_text("{}\n{}\n", "utf-8")
    with EventBus([JsonLines(path, append=append)]) as bus:
        bus.emit(LAUNCH)
    assert len(read(path)) == lines


def test_a_torn_last_line_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text('{}\n{"event": "laun', "utf-8")
    with EventBus([JsonLines(path, append=True)]) as bus:
        bus.emit(LAUNCH)
    *_, torn, last = path.read_text("utf-8").splitlines()
    assert torn == '{"event": "laun'
    assert json.loads(last)["event"] == "launch_ended"


def test_a_place_that_does_not_exist_is_an_error_at_once(tmp_path):
    with pytest.raises(FileNotFoundError):
        JsonLines(tmp_path / "missing" / "run.jsonl")


def test_a_terminal_shows_a_bar_with_samples_rate_and_time_left():
    shown, bar = progress_of(30, announced=40, terminal=True)
    bar.close()
    text = re.sub(r"\x1b\[[\d;?]*\w", "", shown.getvalue())
    assert "30/40 samples" in text
    assert re.search(r"\b1\d samples/s", text)
    assert re.search(r"(\d|-):(\d\d|--):(\d\d|--)", text)


def test_the_bar_leaves_no_thread():
    before = set(threading.enumerate())
    _, bar = progress_of(3, terminal=True)
    bar.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(10.0)
    assert set(threading.enumerate()) <= before


def test_elsewhere_a_line_comes_every_few_seconds_and_at_the_end(monkeypatch):
    shown, bar = progress_of(30, announced=40)
    assert shown.getvalue() == ""
    monkeypatch.setattr(sinks, "SECONDS_BETWEEN_LINES", 1.0)
    bar.flush()
    bar.flush()
    [line] = shown.getvalue().splitlines()
    assert re.fullmatch(r"30 of 40 samples, 1\d samples/s, 0:00:01 left", line)
    bar.close()
    assert len(shown.getvalue().splitlines()) == 2


@pytest.mark.parametrize(
    ("announced", "total", "line"),
    [
        (None, None, "30 samples, "),
        (None, 30, "30 of 30 samples, "),
        (50, 30, "30 of 30 samples, "),
    ],
)
def test_a_total_that_is_given_goes_before_what_the_runs_say(announced, total, line):
    shown, bar = progress_of(30, total, announced=announced)
    bar.close()
    assert re.fullmatch(line + r"1\d samples/s\n", shown.getvalue())


def test_totals_of_several_runs_add_up_until_one_does_not_know():
    shown, bar = progress_of(2, announced=3)
    bar(RunStarted(now(), "2", "standard", "numpy", 4))
    bar.close()
    assert shown.getvalue().startswith("2 of 7 samples")
    bar(RunStarted(now(), "3", "standard", "numpy", None))
    bar.close()
    assert shown.getvalue().splitlines()[1].startswith("2 samples")


def test_it_writes_to_standard_error_by_default_and_is_silent_where_nothing_happened(capsys):
    with EventBus([ProgressBar()]):
        pass
    assert capsys.readouterr() == ("", "")
    with EventBus([ProgressBar()]) as bus:
        bus.emit_all(ONE_OF_EACH)
    assert bus.failures == 0
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("1 samples, ")
