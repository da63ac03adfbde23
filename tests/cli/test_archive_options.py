"""Options of `process` for whole archives: blocks, executors, going on, and --from-run."""

import json
import re
import shutil

import pyarrow.parquet as pq
import pytest

import gpusaxs
from gpusaxs.archive.run import process_archive
from gpusaxs.cli import progress as display
from gpusaxs.pipeline import Pipeline

ALWAYS = ("--q-unit", "1/nm", "--workers", 1)
PHASE = ("--set", "phase.tolerance=0.003")


@pytest.fixture
def process(command):
    def run(*arguments):
        return command("process", *arguments)

    return run


@pytest.fixture(scope="module")
def curves(archive, command, tmp_path_factory):
    """A run of four blocks with its curves."""
    place = tmp_path_factory.mktemp("runs") / "curves"
    done = command("process", archive, "-o", place, *ALWAYS, "--save-curves", "--block-size", 2)
    assert done.exit_code == 0, done.output
    return place


def description(run):
    return json.loads((run / "run.json").read_text("utf-8"))


def parts(run):
    """Every part of the run, byte for byte."""
    return {str(path.relative_to(run)): path.read_bytes() for path in run.glob("*/part*")}


def stop_after(archive, run, blocks, **options):
    """Leave a run that was interrupted after so many blocks of two curves."""

    def interrupt(progress):
        if progress.blocks == blocks:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process_archive(
            [archive], run, q_unit="1/nm", workers=1, block_size=2, executor="serial",
            progress=interrupt, **options,
        )  # fmt: skip


def test_a_limit_ends_the_run_after_so_many_curves(process, archive, tmp_path):
    done = process(archive, "-o", tmp_path / "run", *ALWAYS, "--limit", 3)
    assert done.exit_code == 0, done.output
    assert len(gpusaxs.open_run(tmp_path / "run")) == 3
    assert ["all", "3"] in [line.split() for line in done.stdout.splitlines()]
    written = description(tmp_path / "run")
    assert (written["state"], written["limit"]) == ("complete", 3)


def test_a_block_has_so_many_curves(process, archive, tmp_path):
    done = process(archive, "-o", tmp_path / "run", *ALWAYS, "--block-size", 3)
    assert done.exit_code == 0, done.output
    written = description(tmp_path / "run")
    assert [block["curves"] for block in written["blocks"]] == [3, 3, 1]
    assert written["block_size"] == 3
    rows = [
        pq.read_table(path).num_rows for path in sorted((tmp_path / "run" / "samples").iterdir())
    ]
    assert rows == [3, 3, 1]


@pytest.mark.parametrize(
    "options",
    [
        ["--executor", "serial"],
        ["--executor", "workpool", "--blocks-in-flight", 1],
        ["--blocks-in-flight", 20],
    ],
    ids=str,
)
def test_executors_and_blocks_in_flight_change_nothing(process, archive, curves, tmp_path, options):
    given = [*ALWAYS, "--save-curves", "--block-size", 2, *options]
    done = process(archive, "-o", tmp_path / "run", *given)
    assert done.exit_code == 0, done.output
    assert parts(tmp_path / "run") == parts(curves)


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_blocks_are_in_memory_than_that(process, archive, tmp_path, monkeypatch, most):
    from gpusaxs.archive import run as archive_run

    taken = []
    execute = archive_run.execute

    def noted(executor, blocks, steps, outcome, *, workers, in_flight):
        taken.append((executor, in_flight, workers <= in_flight))
        execute(executor, blocks, steps, outcome, workers=workers, in_flight=in_flight)

    monkeypatch.setattr(archive_run, "execute", noted)
    done = process(archive, "-o", tmp_path / "run", *ALWAYS, "--blocks-in-flight", most)
    assert done.exit_code == 0, done.output
    assert taken == [("workpool", most, True)]
    process(archive, "-o", tmp_path / "serial", *ALWAYS, "--executor", "serial")
    assert taken[-1][0] == "serial"


def test_resume_begins_a_run_where_there_is_none(process, archive, tmp_path):
    done = process(archive, "-o", tmp_path / "run", *ALWAYS, "--resume")
    assert done.exit_code == 0, done.output
    assert len(gpusaxs.open_run(tmp_path / "run")) == 7
    assert "were there already" not in done.stdout


def test_resume_goes_on_with_a_run_and_says_what_was_there(process, archive, curves, tmp_path):
    stop_after(archive, tmp_path / "run", 2, save_curves=True)
    there = parts(tmp_path / "run")
    assert len(there) == 8
    given = [archive, "-o", tmp_path / "run", *ALWAYS, "--save-curves", "--block-size", 2]
    refused = process(*given)
    assert refused.exit_code == 2
    assert "--resume" in refused.stderr
    done = process(*given, "--resume")
    assert done.exit_code == 0, done.output
    assert re.search(r"\(3 curves in .*; 4 were there already\)", done.stdout)
    assert parts(tmp_path / "run") == parts(curves)
    again = process(*given, "--resume")
    assert again.exit_code == 0, again.output
    assert re.search(r"\(0 curves in [0-9.]+ s; 7 were there already\)", again.stdout)


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--q-unit", "1/angstrom"], "q_unit: '1/nm' in the run, '1/angstrom' now"),
        (["--block-size", 3], "block_size: 2 in the run, 3 now"),
        (["--limit", 3], "limit: nothing in the run, 3 now"),
        (["--save-curves"], "save_curves: False in the run, True now"),
        (PHASE, "pipeline.phase.tolerance: 0.01 in the run, 0.003 now"),
    ],
    ids=str,
)
def test_resume_is_refused_with_the_difference(process, archive, tmp_path, options, difference):
    stop_after(archive, tmp_path / "run", 2)
    there = parts(tmp_path / "run")
    given = ["--q-unit", "1/nm", "--workers", 1, "--block-size", 2]
    done = process(archive, "-o", tmp_path / "run", *given, "--resume", *options)
    assert done.exit_code == 2, done.output
    assert difference in done.stderr
    assert "Traceback" not in done.output
    assert parts(tmp_path / "run") == there


def test_resume_is_refused_where_an_input_has_changed(process, archive, tmp_path):
    shutil.copytree(archive, tmp_path / "files")
    stop_after(tmp_path / "files", tmp_path / "run", 2)
    path = tmp_path / "files" / "plain.dat"
    path.write_text(path.read_text("utf-8") + "\n", "utf-8")
    given = [tmp_path / "files", "-o", tmp_path / "run", *ALWAYS, "--block-size", 2, "--resume"]
    done = process(*given)
    assert done.exit_code == 2
    assert f"input {path}: has changed" in done.stderr


def test_lines_of_progress_say_how_far_how_fast_and_with_what(
    process, archive, tmp_path, monkeypatch
):
    monkeypatch.setattr(display, "SECONDS_BETWEEN_LINES", 0.0)
    given = [*ALWAYS, "--block-size", 2, "--executor", "serial"]
    done = process(archive, "-o", tmp_path / "run", *given)
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stderr.splitlines() if " blocks, " in line]
    known = re.compile(
        r"(\d+) %, (\d) blocks, (\d) curves, ([\d,]+) curves/s, (\d+:\d\d:\d\d) left; "
        r"reading (\d+) %, computing (\d+) %, writing (\d+) %, waiting (\d+) %"
    )
    told = [known.fullmatch(line) for line in lines]
    assert all(told), lines
    assert [(int(line[2]), int(line[3])) for line in told] == [(1, 2), (2, 4), (3, 6), (4, 7)]
    shares = [int(line[1]) for line in told]
    assert shares == sorted(set(shares))
    assert shares[-1] == 100
    assert told[-1][5] == "0:00:00"
    for line in told:
        assert sum(int(line[place]) for place in (6, 7, 8, 9)) == pytest.approx(100, abs=2)


def test_there_is_no_line_of_progress_before_its_time(process, archive, tmp_path, monkeypatch):
    monkeypatch.setattr(display, "SECONDS_BETWEEN_LINES", 1000.0)
    done = process(archive, "-o", tmp_path / "run", *ALWAYS, "--block-size", 1)
    assert " blocks, " not in done.stderr


def test_the_ending_says_how_fast_it_went_and_what_took_the_time(process, archive, tmp_path):
    done = process(archive, "-o", tmp_path / "run", *ALWAYS)
    assert re.search(
        r"^Run: .*/run \(7 curves in [\d.]+ s, [\d,]+ curves/s; "
        r"reading \d+ %, computing \d+ %, writing \d+ %, waiting \d+ %\)$",
        done.stdout,
        re.MULTILINE,
    )


def full_disk(monkeypatch, part):
    """Let there be no room for a part and what comes after it."""
    from gpusaxs.archive import directory

    put = directory.put

    def fails(target, content):
        if target.name == part:
            raise OSError(28, "No space left on device")
        put(target, content)

    monkeypatch.setattr(directory, "put", fails)


def test_a_run_that_stops_exits_with_1_and_says_why_and_how_it_goes_on(
    process, archive, curves, tmp_path, monkeypatch
):
    given = [archive, "-o", tmp_path / "run", *ALWAYS, "--save-curves", "--block-size", 2]
    with monkeypatch.context() as patch:
        full_disk(patch, "part-000002.parquet")
        done = process(*given)
    assert done.exit_code == 1, done.output
    assert "Stopped: cannot write to " in done.stderr
    assert "No space left on device" in done.stderr
    assert "--resume goes on with it" in done.stderr
    assert ["all", "4"] in [line.split() for line in done.stdout.splitlines()]
    assert description(tmp_path / "run")["state"] == "stopped"
    assert process(*given, "--resume").exit_code == 0
    assert parts(tmp_path / "run") == parts(curves)


def test_a_block_that_fails_is_named_and_exits_with_1(
    process, archive, curves, tmp_path, monkeypatch
):
    from gpusaxs.archive.reading import BlockReader

    read = BlockReader.__call__

    def stumble(self, block):
        if block.number == 1:
            raise MemoryError("too large")
        return read(self, block)

    given = [archive, "-o", tmp_path / "run", *ALWAYS, "--save-curves", "--block-size", 2]
    with monkeypatch.context() as patch:
        patch.setattr(BlockReader, "__call__", stumble)
        done = process(*given)
    assert done.exit_code == 1
    assert "Not written: block 1, reading: MemoryError: too large" in done.stderr
    assert "Stopped: block 1, reading: MemoryError: too large" in done.stderr
    assert process(*given, "--resume").exit_code == 0
    assert parts(tmp_path / "run") == parts(curves)


def test_an_input_that_changed_meanwhile_is_named_and_exits_with_1(
    process, archive, tmp_path, monkeypatch
):
    shutil.copytree(archive, tmp_path / "files")
    path = tmp_path / "files" / "plain.dat"
    told = display.ProgressDisplay.__call__

    def change(self, progress):
        told(self, progress)
        if progress.blocks == 1:
            path.write_text(path.read_text("utf-8") + "\n", "utf-8")

    monkeypatch.setattr(display.ProgressDisplay, "__call__", change)
    given = [*ALWAYS, "--block-size", 2, "--executor", "serial"]
    done = process(tmp_path / "files", "-o", tmp_path / "run", *given)
    assert done.exit_code == 1
    assert f"Changed while the run was at work, process it again: {path}" in done.stderr
    assert description(tmp_path / "run")["state"] == "complete"


@pytest.mark.parametrize("source", ["run", "curves"])
def test_a_run_is_processed_again_and_it_is_said_what_is_computed(
    process, archive, request, tmp_path, source
):
    stored = request.getfixturevalue(source)
    given = ["-o", tmp_path / "new", "--from-run", stored, "--workers", 1, *PHASE]
    done = process(*given)
    assert done.exit_code == 0, done.output
    what = {
        "run": "the input files and stored peaks; computed: cut, noise, background, filter, phase",
        "curves": "stored curves and peaks; computed: filter, phase",
    }[source]
    assert f"{stored}: changed: phase; from {what}\n" in done.stderr
    assert re.search(r"Run: .*/new \(7 curves in ", done.stdout)
    blocks = ["--block-size", 2] if source == "curves" else []
    whole = process(archive, "-o", tmp_path / "whole", *ALWAYS, *PHASE, *blocks)
    assert whole.exit_code == 0, whole.output
    assert parts(tmp_path / "new") == parts(tmp_path / "whole")
    assert description(tmp_path / "new")["from_run"]["path"] == str(stored)


def test_a_run_is_changed_from_its_own_pipeline_unless_another_is_named(process, curves, tmp_path):
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    assert process("-o", one, "--from-run", curves, *PHASE, "--save-curves").exit_code == 0
    gaussian = ["--set", "process_peak.shape=gaussian"]
    done = process("-o", two, "--from-run", one, *gaussian)
    assert done.exit_code == 0, done.output
    assert "changed: process_peak; from stored curves;" in done.stderr
    standard = Pipeline.load("standard")
    settings = [PHASE[1], gaussian[1]]
    assert description(two)["pipeline"] == standard.with_settings(settings).document()
    done = process("-o", three, "--from-run", one, "--pipeline", "standard")
    assert done.exit_code == 0, done.output
    assert description(three)["pipeline"] == standard.document()
    kept = {name: part for name, part in parts(curves).items() if "curves" not in name}
    assert parts(three) == kept


def test_from_run_keeps_curves_events_and_csv_where_they_are_asked_for(process, curves, tmp_path):
    options = ["--save-curves", "--csv", tmp_path / "csv", "--events", tmp_path / "events.jsonl"]
    done = process("-o", tmp_path / "new", "--from-run", curves, *PHASE, *options)
    assert done.exit_code == 0, done.output
    for name, part in parts(curves).items():
        if name.startswith("curves"):
            assert (tmp_path / "new" / name).read_bytes() == part
    assert (tmp_path / "csv" / "peaks.csv").is_file()
    events = [
        json.loads(line) for line in (tmp_path / "events.jsonl").read_text("utf-8").splitlines()
    ]
    launched = {event["stage"] for event in events if event["event"] == "launch_ended"}
    assert launched == {"filter", "phase"}


def test_from_run_shows_progress_and_goes_on(process, curves, tmp_path, monkeypatch):
    from gpusaxs.archive.from_run import reprocess_run

    def interrupt(progress):
        if progress.blocks == 3:
            raise KeyboardInterrupt

    pipeline = Pipeline.load("standard").with_settings([PHASE[1]])
    with pytest.raises(KeyboardInterrupt):
        reprocess_run(curves, tmp_path / "new", pipeline, executor="serial", progress=interrupt)
    monkeypatch.setattr(display, "SECONDS_BETWEEN_LINES", 0.0)
    done = process("-o", tmp_path / "new", "--from-run", curves, *PHASE, "--resume")
    assert done.exit_code == 0, done.output
    assert "100 %, 4 blocks, 7 curves, " in done.stderr
    assert "; 6 were there already)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Expected either INPUT or --from-run"),
        (["{archive}", "--from-run", "{run}"], "Expected either INPUT or --from-run"),
        (["--from-run", "{run}", "--q-unit", "1/nm"], "--q-unit"),
        (["--from-run", "{run}", "--block-size", "3"], "--block-size"),
        (["--from-run", "{run}", "--limit", "3"], "--limit"),
        (["--from-run", "{run}", "--fail-fast"], "--fail-fast"),
        (["--from-run", "{run}"], "nothing would be computed"),
        (["--from-run", "{archive}"], "Expected a run directory"),
        (["--from-run", "nothing_here", "--pipeline", "standard"], "Expected a run directory"),
        (["--from-run", "{run}", "--set", "cut.nothing=1"], "nothing"),
        (["{archive}", "--resume", "--overwrite"], "--resume"),
        (["{archive}", "--limit", "0"], "--limit"),
        (["{archive}", "--block-size", "0"], "--block-size"),
        (["{archive}", "--blocks-in-flight", "0"], "--blocks-in-flight"),
        (["{archive}", "--executor", "abacus"], "abacus"),
    ],
)
def test_options_that_do_not_go_together_exit_with_2_and_a_sentence(
    process, archive, run, tmp_path, arguments, message
):
    given = [word.format(archive=archive, run=run) for word in arguments]
    done = process(*given, "-o", tmp_path / "new")
    assert done.exit_code == 2, done.output
    assert message in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "new").exists()


def test_a_run_that_is_read_is_not_replaced_by_what_is_made_of_it(process, curves, tmp_path):
    shutil.copytree(curves, tmp_path / "run")
    done = process("-o", tmp_path / "run", "--from-run", tmp_path / "run", *PHASE, "--overwrite")
    assert done.exit_code == 2
    assert "cannot be replaced" in done.stderr
    assert parts(tmp_path / "run") == parts(curves)
