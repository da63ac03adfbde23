"""A timeline follows the rules of the Chrome trace format, whatever overlaps in time."""

import json
import math
import threading
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runtime_curves import Does, plain_samples

from gpusaxs.pipeline import Pipeline
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
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.runtime.timeline import CLOCK_SECONDS, ChromeTrace

BEGIN = 1.8e9
ENDED = Run("standard", "numpy", CancelToken(), name="1", started=now() - 2.0).summary()


def check(trace):
    """Hold a trace to the rules of the format; return its rows by name, with their entries."""
    named = defaultdict(dict)
    rows = defaultdict(list)
    for entry in trace["traceEvents"]:
        assert {"name", "ph", "pid", "tid"} <= entry.keys()
        place = (entry["pid"], entry["tid"])
        assert all(isinstance(number, int) for number in place)
        if entry["ph"] == "M":
            [(key, value)] = entry["args"].items()
            kind, _, what = entry["name"].partition("_")
            assert (kind, what, what) in {("process", key, key), ("thread", key, key)}
            assert isinstance(value, {"name": str, "sort_index": int}[key])
            where = place if kind == "thread" else entry["pid"]
            assert entry["name"] not in named[where], "named twice"
            named[where][entry["name"]] = value
            continue
        assert entry["ph"] in ("X", "i")
        assert isinstance(entry["cat"], str)
        assert isinstance(entry["args"], dict)
        numbers = [entry["ts"], entry["dur"]] if entry["ph"] == "X" else [entry["ts"]]
        assert all(math.isfinite(number) and number >= 0 for number in numbers)
        if entry["ph"] == "i":
            assert entry["s"] in ("t", "p", "g")
        rows[place].append(entry)
    for (process, row), entries in rows.items():
        assert named[process].keys() == {"process_name", "process_sort_index"}
        assert named[process, row].keys() == {"thread_name", "thread_sort_index"}
        assert_spans_nest([entry for entry in entries if entry["ph"] == "X"])
    names = {
        place: (named[place[0]]["process_name"], named[place]["thread_name"]) for place in rows
    }
    assert len(set(names.values())) == len(rows)
    order = sorted(rows, key=lambda place: (place[0], named[place]["thread_sort_index"]))
    return {names[place]: rows[place] for place in order}


def assert_spans_nest(spans):
    open_until = []
    for begin, end in sorted((nano(s["ts"]), nano(s["ts"]) + nano(s["dur"])) for s in spans):
        while open_until and open_until[-1] <= begin:
            open_until.pop()
        assert not open_until or end <= open_until[-1], "spans overlap on one row"
        open_until.append(end)


def nano(micro):
    return round(micro * 1000)


def rows_of(events, path):
    """Write events as a timeline, check it, and return its rows."""
    with EventBus([ChromeTrace(path)]) as bus:
        bus.emit_all(events)
    assert bus.failures == 0
    return check(json.loads(path.read_text("utf-8")))


def launch(begin, seconds, stage="cut", number=0, worker="MainThread", error=""):
    return LaunchEnded(BEGIN + begin + seconds, stage, number, 10, seconds, worker, error)


def kernel(begin, seconds, worker="gpusaxs_0", name="snip"):
    return KernelRan(BEGIN + begin + seconds, name, 5, seconds, worker)


def copied(begin, seconds, direction="host_to_device", worker="MainThread"):
    return Copied(BEGIN + begin + seconds, direction, 1000, seconds, worker)


def test_kernels_and_both_kinds_of_copies_are_apart(tmp_path):
    rows = rows_of(
        [launch(0, 4), copied(0, 1), kernel(1, 2), copied(3, 1, "device_to_host")],
        tmp_path / "trace.json",
    )
    assert list(rows) == [
        ("stages", "cut"), ("workers", "gpusaxs_0"),
        ("copies", "host to device"), ("copies", "device to host"),
    ]  # fmt: skip
    [[stage], [work], [there], [back]] = rows.values()
    assert [entry["cat"] for entry in (stage, work, there, back)] == [
        "launch", "kernel", "host_to_device", "device_to_host",
    ]  # fmt: skip
    assert (stage["ts"], stage["dur"]) == (0.0, 4e6)
    assert (work["name"], work["ts"], work["dur"], work["args"]) == ("snip", 1e6, 2e6, {"rows": 5})
    assert there["args"] == {"bytes": 1000, "worker": "MainThread"}
    assert (back["ts"], back["dur"]) == (3e6, 1e6)


def test_stages_have_rows_in_the_order_of_their_numbers_and_workers_by_name(tmp_path):
    rows = rows_of(
        [
            launch(3, 1, "phase", 10), launch(2, 1, "find_peak", 2), launch(1, 1, "cut", 0),
            kernel(0, 1, "gpusaxs_10"), kernel(0, 1, "gpusaxs_9"), kernel(0, 1, "MainThread"),
        ],
        tmp_path / "trace.json",
    )  # fmt: skip
    assert [name for _, name in rows] == [
        "cut", "find_peak", "phase", "MainThread", "gpusaxs_9", "gpusaxs_10",
    ]  # fmt: skip


def test_a_launch_that_failed_says_why(tmp_path):
    rows = rows_of([launch(0, 1, error="out of memory"), launch(1, 1)], tmp_path / "trace.json")
    [failed, good] = rows["stages", "cut"]
    assert failed["args"] == {"rows": 10, "worker": "MainThread", "error": "out of memory"}
    assert good["args"] == {"rows": 10, "worker": "MainThread"}


def test_launches_of_one_stage_at_the_same_time_go_to_rows_of_their_own(tmp_path):
    rows = rows_of(
        [launch(0, 2, worker="a"), launch(1, 2, worker="b"), launch(2, 2, worker="a")],
        tmp_path / "trace.json",
    )
    first, second = rows["stages", "cut"], rows["stages", "cut (2)"]
    assert [entry["args"]["worker"] for entry in first] == ["a", "a"]
    assert [entry["args"]["worker"] for entry in second] == ["b"]


def test_spans_that_overlap_by_an_error_of_the_clock_stay_on_one_row(tmp_path):
    rows = rows_of([kernel(0, 1.0 + CLOCK_SECONDS / 2), kernel(1, 1)], tmp_path / "trace.json")
    [[first, second]] = rows.values()
    assert second["ts"] == first["ts"] + first["dur"]
    assert second["ts"] + second["dur"] == pytest.approx(2e6, abs=1.0)


def test_runs_are_spans_and_what_happens_to_them_is_marked(tmp_path):
    began = ENDED.started
    rows = rows_of(
        [
            RunStarted(began, "1", "standard", "numpy", 9),
            CheckpointReleased(began + 0.1, "1", "phase", 5, 4),
            Retried(began + 0.2, "filter", 7, 2, 0.5, "out of memory"),
            RunCancelled(began + 0.3, "1", "beam lost", 3),
            SampleEnded(began + 0.4, "1", "a", "ok", False, ""),
            ENDED,
        ],
        tmp_path / "trace.json",
    )
    [run] = rows["stages", "runs"]
    assert (run["name"], run["ts"]) == ("run 1", 0.0)
    assert run["dur"] == pytest.approx(2e6, rel=0.01)
    assert run["args"]["samples"] == ENDED.samples
    marks = rows["stages", "marks"]
    assert [mark["name"] for mark in marks] == ["checkpoint_released", "retried", "run_cancelled"]
    assert marks[1]["args"]["error"] == "out of memory"
    assert list(rows) == [("stages", "runs"), ("stages", "marks")]


def test_a_run_that_has_not_ended_is_shown_up_to_the_last_event(tmp_path):
    rows = rows_of(
        [RunStarted(BEGIN, "1", "standard", "numpy", None), launch(1, 2)], tmp_path / "trace.json"
    )
    [run] = rows["stages", "runs"]
    assert (run["name"], run["ts"], run["dur"]) == ("run 1, not ended", 0.0, 3e6)


def test_numbers_that_are_not_finite_do_not_spoil_the_file(tmp_path):
    rows = rows_of(
        [ENDED._replace(samples_per_second=float("inf")), ENDED], tmp_path / "trace.json"
    )
    [run] = rows["stages", "runs"]
    assert run["args"]["samples_per_second"] is None


def test_a_timeline_of_nothing_is_one_all_the_same(tmp_path):
    assert rows_of([], tmp_path / "trace.json") == {}


def test_the_file_is_there_whole_when_it_is_closed_and_not_before(tmp_path):
    path = tmp_path / "trace.json"
    path.write_text("an earlier one", "utf-8")
    with EventBus([ChromeTrace(path)]) as bus:
        bus.emit(launch(0, 1))
        assert path.read_text("utf-8") == "an earlier one"
    assert [file.name for file in tmp_path.iterdir()] == ["trace.json"]


def test_a_folder_that_does_not_exist_is_an_error_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Expected a folder at .*missing"):
        ChromeTrace(tmp_path / "missing" / "trace.json")


SECONDS = st.one_of(st.sampled_from([0.0, 1e-7, 1e-6, 1e-5, 1.0]), st.floats(0.0, 3.0))
ANY_SPAN = st.one_of(
    st.builds(launch, SECONDS, SECONDS, st.sampled_from(["cut", "phase"])),
    st.builds(kernel, SECONDS, SECONDS, st.sampled_from(["a", "b"])),
    st.builds(copied, SECONDS, SECONDS, st.sampled_from(["host_to_device", "device_to_host"])),
)


@settings(max_examples=200, deadline=None)
@given(events=st.lists(ANY_SPAN, max_size=15))
def test_spans_never_overlap_on_a_row_and_keep_their_times(events, tmp_path_factory):
    rows = rows_of(events, tmp_path_factory.getbasetemp() / "any.json")
    spans = [entry for entries in rows.values() for entry in entries]
    assert len(spans) == len(events)
    assert min((span["ts"] for span in spans), default=0.0) == 0.0
    origin = min((event.at - event.seconds for event in events), default=0.0)
    ends = sorted((span["ts"] + span["dur"]) / 1e6 for span in spans)
    late = len(events) * CLOCK_SECONDS
    assert ends == pytest.approx(sorted(event.at - origin for event in events), abs=late)


def test_two_calls_at_the_same_time_make_a_timeline_without_overlaps(tmp_path):
    together = threading.Barrier(2, timeout=20.0)
    pipeline = Pipeline.of(
        [Does(label="meet", does=lambda batch, rows: together.wait() and None), Does(label="go")]
    )
    path = tmp_path / "trace.json"
    with EventBus([ChromeTrace(path)]) as bus, Runtime("numpy", 1, pipeline, events=bus) as runtime:
        calls = [
            threading.Thread(target=runtime.run, args=(plain_samples(3),), name=f"call {number}")
            for number in range(2)
        ]
        for call in calls:
            call.start()
        for call in calls:
            call.join()
    rows = check(json.loads(path.read_text("utf-8")))
    launches = [
        entry["args"]["worker"]
        for (_, row), entries in rows.items()
        for entry in entries
        if row.startswith("meet")
    ]
    assert sorted(launches) == ["call 0", "call 1"]
    assert ("stages", "runs (2)") in rows
