"""What a run tells beside its results: a timeline, events, and why it stopped."""

import json

import gpusaxs


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_trace_shows_stages_and_kernels_apart(command, archive, tmp_path):
    trace = tmp_path / "trace.json"
    done = command(
        "process", archive, "-o", tmp_path / "run", "--backend", "numpy", "--trace", trace
    )
    assert done.exit_code == 0, done.output
    spans = [event for event in json.loads(trace.read_text("utf-8"))["traceEvents"]
             if event["ph"] == "X"]  # fmt: skip
    names = {event["name"] for event in spans}
    assert {"cut", "noise", "background", "filter", "find_peak", "process_peak", "phase"} <= names
    kernels = {event["name"] for event in spans if event.get("cat") == "kernel"}
    assert {"snip", "savgol", "process_peak", "index_phase"} <= kernels


def test_events_tell_of_every_curve_and_end_with_one_record_of_the_run(command, archive, tmp_path):
    told = tmp_path / "events.jsonl"
    done = command("process", archive, "-o", tmp_path / "run", "--events", told)
    assert done.exit_code == 0, done.output
    events = lines(told)
    assert events[0]["event"] == "run_started"
    ended = [event["sample"] for event in events if event["event"] == "sample_ended"]
    result = gpusaxs.open_run(tmp_path / "run")
    assert sorted(ended) == sorted(result.samples["id"].to_pylist())
    record = events[-1]
    assert record["event"] == "run_ended"
    assert (record["samples"], record["complete"], record["failed"]) == (7, 7, 0)
    launches = [event for event in events if event["event"] == "launch_ended"]
    assert record["launches"] == len(launches)
    assert set(record["launches_by_stage"]) == {event["stage"] for event in launches}


def test_an_unreadable_file_is_told_of_as_a_failed_curve(command, archive, tmp_path):
    bad = tmp_path / "bad.dat"
    bad.write_text("nothing here\n", "utf-8")
    told = tmp_path / "events.jsonl"
    done = command("process", archive, bad, "-o", tmp_path / "run", "--events", told)
    assert done.exit_code == 1
    record = lines(told)[-1]
    assert (record["samples"], record["failed"]) == (8, 1)
    [reason] = record["reasons"]
    assert reason in done.output


def test_fail_fast_stops_at_the_first_curve_that_fails_and_says_which(command, archive, tmp_path):
    few = tmp_path / "a"
    few.mkdir()
    (few / "few.dat").write_text("0.1 1\n0.2 2\n", "utf-8")
    done = command("process", few, archive, "-o", tmp_path / "run", "--fail-fast")
    assert done.exit_code == 1
    assert "Stopped: curve" in done.output
    assert "few" in done.output
    description = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert description["state"] == "stopped"
    assert "few" in description["reason"]
    go_on = command("process", few, archive, "-o", tmp_path / "all")
    assert "Stopped" not in go_on.output
    samples = gpusaxs.open_run(tmp_path / "all").samples.to_pylist()
    assert [row["verdict"] for row in samples].count("failed") == 1
