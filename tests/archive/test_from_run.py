"""A run that is processed again, in part, is the run that the whole pipeline makes."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpusaxs
from gpusaxs.archive.directory import read_table
from gpusaxs.archive.from_run import pipeline_of, reprocess_run
from gpusaxs.archive.run import process_archive
from gpusaxs.archive.verify import verify_run
from gpusaxs.errors import RunDirectoryError, StageTimeoutError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.events import EventBus, LaunchEnded, RunEnded, SampleEnded
from gpusaxs.runtime.interceptors import Interceptor
from gpusaxs.runtime.policy import PerSample
from gpusaxs.runtime.sinks import Record
from gpusaxs.simulate import simulate

STANDARD = Pipeline.load("standard")
NAMES = list(STANDARD.numbers)
RESULTS = ("samples", "peaks", "phases")
PHASE_SETTINGS = ("phase.tolerance=0.0015",)
PHASE = STANDARD.with_settings(PHASE_SETTINGS)
# A change of each stage, and what is computed of it with and without stored curves.
FROM_FILTER = ["filter", "find_peak", "process_peak", "phase"]
CHANGES = {
    "cut.q_min=0.3": (NAMES, NAMES),
    "noise.check=false": (NAMES, NAMES),
    "background.smooth=1": (NAMES, NAMES),
    "filter.window=9": (FROM_FILTER, NAMES),
    "find_peak.prominence_noise=12.0": (FROM_FILTER, NAMES),
    "process_peak.shape=gaussian": (FROM_FILTER, NAMES),
    "phase.tolerance=0.0015": (["filter", "phase"], [*NAMES[:4], "phase"]),
}
BOTH = pytest.mark.parametrize("source", ["plain", "curves"])
UNFINISHED = {
    "files/b.npz#3": ("phase", StageTimeoutError("too slow")),
    "files/text02.dat": ("find_peak", ValueError("no reason")),
    "files/text09.dat": ("cut", ValueError("no reason")),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Hard curves in stacks and text files; some files hold none, or one that is no good."""
    folder = tmp_path_factory.mktemp("files") / "files"
    drawn = simulate(28, seed=3, points=250, counts=20000.0, hard=True, negatives=0.3)
    rows = [
        np.column_stack([drawn.q, *both]) for both in zip(drawn.intensity, drawn.sigma, strict=True)
    ]
    clear = simulate(6, seed=4, points=300, counts=20000.0, phases=["hexagonal", "Im-3m"])
    clear.write(folder)
    for name in ("truth.csv", "truth.parquet"):
        (folder / name).unlink()
    (folder / "curves.h5").rename(folder / "a.h5")
    np.savez(folder / "b.npz", q=drawn.q, intensity=drawn.intensity[:12], sigma=drawn.sigma[:12])
    (folder / "cut_off.h5").write_bytes((folder / "a.h5").read_bytes()[:3000])
    (folder / "empty.dat").touch()
    np.savetxt(folder / "few.dat", rows[12][:9])
    np.savetxt(folder / "flat.dat", rows[13] * [1.0, 0.0, 1.0])
    (folder / "letter.txt").write_text("Dear diary,\nno numbers today.\n", "utf-8")
    np.savetxt(folder / "mixed.dat", np.random.default_rng(1).permutation(rows[14])[:, :2])
    for number, row in enumerate(rows[14:]):
        np.savetxt(folder / f"text{number:02d}.dat", row)
    return folder


OPTIONS = {"backend": "numpy", "workers": 1}


def process(folder, run, **options):
    return process_archive([folder], run, **{**OPTIONS, "block_size": 7} | options)


def again(stored, run, pipeline, **options):
    return reprocess_run(stored, run, pipeline, **OPTIONS | options)


@pytest.fixture(scope="module")
def stored(files, tmp_path_factory):
    """Runs of the standard pipeline without their curves, and with them."""
    place = tmp_path_factory.mktemp("stored")
    process(files, place / "plain")
    process(files, place / "curves", save_curves=True)
    return place


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """The run that a whole pipeline makes of the files, by its settings; each is made once."""
    place = tmp_path_factory.mktemp("whole")
    made = {}

    def run(*settings):
        if settings not in made:
            made[settings] = place / f"{len(made)}"
            pipeline = STANDARD.with_settings(settings)
            process(files, made[settings], pipeline=pipeline, save_curves=True)
        return made[settings]

    return run


def parts(run, tables=RESULTS):
    """Every part of some tables, byte for byte."""
    found = {
        str(path.relative_to(run)): path.read_bytes()
        for name in tables
        for path in sorted((run / name).glob("*"))
    }
    assert found
    return found


def contents(run):
    """All files of a run but for what tells of time; none of them is an unfinished one."""
    found = {str(path.relative_to(run)): path for path in run.rglob("*") if path.is_file()}
    assert not [name for name in found if Path(name).name.startswith(".") or "journal" in name]
    kept = {name: path.read_bytes() for name, path in found.items() if name != "run.json"}
    description = json.loads(found["run.json"].read_text("utf-8"))
    del description["started"], description["seconds"]
    return kept | {"run.json": description}


class Told:
    """Takes the sentence, and the events."""

    def __init__(self):
        self.record = Record()
        self.words = []

    @property
    def computed(self):
        """The stages that the sentence names."""
        [sentence] = self.words
        return sentence.partition("; computed: ")[2].split(", ")

    def rows_by_stage(self):
        rows = dict.fromkeys(NAMES, 0)
        for launch in self.record.of(LaunchEnded):
            rows[launch.stage] += launch.rows
        return rows


def told_again(stored, run, pipeline, **options):
    told = Told()
    with EventBus([told.record]) as bus:
        again(stored, run, pipeline, events=bus, explain=told.words.append, **options)
    return told


def test_the_files_here_have_what_can_go_wrong(stored):
    samples = read_table(stored / "plain", "samples").to_pylist()
    status = {row["id"]: row["status"] for row in samples}
    for name in ("cut_off.h5", "empty.dat", "letter.txt"):
        assert status[f"files/{name}"] == "unreadable"
    assert "too_few_points" in status["files/few.dat"]
    assert "no_signal" in status["files/flat.dat"]
    assert "q_reordered" in status["files/mixed.dat"]
    assert {row["verdict"] for row in samples} == {
        "identified", "ambiguous", "unindexed", "none", "failed",
    }  # fmt: skip


@BOTH
@pytest.mark.parametrize("setting", CHANGES)
def test_a_changed_stage_gives_the_parts_of_the_whole_pipeline(
    stored, whole, tmp_path, setting, source
):
    pipeline = STANDARD.with_settings([setting])
    told = told_again(stored / source, tmp_path / "run", pipeline, save_curves=True)
    assert parts(tmp_path / "run") != parts(whole())
    assert parts(tmp_path / "run", (*RESULTS, "curves")) == parts(
        whole(setting), (*RESULTS, "curves")
    )
    assert told.computed == CHANGES[setting][source == "plain"]
    assert told.words[0].startswith(f"changed: {setting.partition('.')[0]}; from ")


def test_what_is_kept_is_asked_for_and_the_inputs_are_listed_as_they_were(stored, tmp_path):
    again(stored / "curves", tmp_path / "run", PHASE)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "run.json", "inputs.parquet", *RESULTS,
    }  # fmt: skip
    mine, theirs = (
        pq.read_table(run / "inputs.parquet").to_pylist()
        for run in (tmp_path / "run", stored / "curves")
    )
    assert mine == theirs
    assert None not in [row["sha256"] for row in mine]


@BOTH
@pytest.mark.parametrize("executor", ["serial", "workpool"])
def test_executors_blocks_in_flight_and_workers_change_nothing(stored, tmp_path, source, executor):
    again(stored / source, tmp_path / "a", PHASE, executor=executor, blocks_in_flight=1)
    again(stored / source, tmp_path / "b", PHASE, executor=executor, workers=2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A run of curves none of which fails, with its curves and without."""
    place = tmp_path_factory.mktemp("good")
    drawn = simulate(20, seed=7, points=250, counts=20000.0)
    for row in range(20):
        columns = [drawn.q, drawn.intensity[row], drawn.sigma[row]]
        (place / "files").mkdir(exist_ok=True)
        np.savetxt(place / "files" / f"{row:02d}.dat", np.column_stack(columns))
    process(place / "files", place / "plain")
    process(place / "files", place / "curves", save_curves=True)
    assert "failed" not in read_table(place / "plain", "samples")["verdict"].to_pylist()
    return place


@BOTH
@pytest.mark.parametrize("setting", CHANGES)
def test_the_stages_that_run_are_those_that_the_sentence_names(good, tmp_path, setting, source):
    told = told_again(good / source, tmp_path / "run", STANDARD.with_settings([setting]))
    rows = told.rows_by_stage()
    assert [stage for stage in NAMES if rows[stage]] == told.computed
    assert {rows[stage] for stage in told.computed} - {rows["process_peak"], rows["find_peak"]} == {
        20
    }
    [ended] = told.record.of(RunEnded)
    assert (ended.samples, ended.complete) == (20, 20)


def test_a_curve_that_failed_goes_through_nothing_again_where_curves_are_stored(stored, tmp_path):
    told = told_again(stored / "curves", tmp_path / "run", PHASE)
    live = read_table(stored / "curves", "curves").num_rows
    assert told.rows_by_stage() == dict.fromkeys(NAMES, 0) | {"filter": live, "phase": live}


def test_each_curve_is_told_of_once(stored, tmp_path):
    told = told_again(stored / "plain", tmp_path / "run", PHASE)
    ended = sorted(event.sample for event in told.record.of(SampleEnded))
    assert ended == sorted(read_table(stored / "plain", "samples")["id"].to_pylist())


def test_more_changes_than_one_are_made_at_once(stored, whole, tmp_path):
    settings = ("phase.tolerance=0.0015", "find_peak.prominence_noise=12.0")
    told = told_again(stored / "curves", tmp_path / "run", STANDARD.with_settings(settings))
    assert told.words[0].startswith("changed: find_peak;")
    assert parts(tmp_path / "run") == parts(whole(*settings))


@BOTH
def test_another_pipeline_altogether_is_made(files, stored, tmp_path, source):
    kept = ("noise", "cut", "background", "find_peak", "process_peak", "phase")
    other = Pipeline.of(
        [STANDARD.stages[STANDARD.numbers[name]] for name in kept],
        insertion={"process_peak": PerSample(limit=2)},
    )
    again(stored / source, tmp_path / "run", other)
    process(files, tmp_path / "whole", pipeline=other)
    assert parts(tmp_path / "run") == parts(tmp_path / "whole")


@BOTH
def test_a_pipeline_without_its_last_stage_needs_no_stage_of_stored_curves(
    files, stored, tmp_path, source
):
    other = Pipeline.of(STANDARD.stages[:-1], insertion=STANDARD.insertion)
    told = told_again(stored / source, tmp_path / "run", other)
    process(files, tmp_path / "whole", pipeline=other)
    assert parts(tmp_path / "run") == parts(tmp_path / "whole")
    if source == "curves":
        assert told.computed == ["nothing"]
        assert not any(told.rows_by_stage().values())


SETTINGS = [*CHANGES, "find_peak.height_noise=1.0", "filter.replace=true", "background.mode=none"]


@given(
    before=st.sets(st.sampled_from(SETTINGS), max_size=2),
    after=st.sets(st.sampled_from(SETTINGS), max_size=2),
    save_curves=st.booleans(),
    size=st.integers(1, 40),
)
@settings(max_examples=10, deadline=None)
def test_any_settings_can_follow_any_others(files, before, after, save_curves, size):
    old, new = (STANDARD.with_settings(sorted(chosen)) for chosen in (before, after))
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        process(files, place / "old", pipeline=old, save_curves=save_curves, block_size=size)
        if before == after:
            with pytest.raises(RunDirectoryError, match="nothing would be computed"):
                again(place / "old", place / "new", new)
            return
        again(place / "old", place / "new", new, save_curves=True)
        process(files, place / "whole", pipeline=new, save_curves=True, block_size=size)
        tables = (*RESULTS, "curves")
        assert parts(place / "new", tables) == parts(place / "whole", tables)


@pytest.mark.parametrize("options", [{"limit": 5}, {"limit": 24}, {"block_size": None}], ids=str)
@BOTH
def test_a_run_of_other_blocks_or_with_a_limit_keeps_them(files, tmp_path, options, source):
    process(files, tmp_path / "old", save_curves=source == "curves", **options)
    shares = []
    again(tmp_path / "old", tmp_path / "new", PHASE, progress=lambda p: shares.append(p.share))
    process(files, tmp_path / "whole", pipeline=PHASE, **options)
    assert parts(tmp_path / "new") == parts(tmp_path / "whole")
    assert shares[0] == 0.0
    assert shares[-1] == pytest.approx(1.0)


class Stumble(Interceptor):
    """Lets chosen curves fail where a stage begins."""

    def around(self, launch, proceed):
        """Fail the chosen ones and run the rest."""
        rest = []
        for row in launch.rows.tolist():
            stage, error = UNFINISHED.get(launch.batch.ids[row], (None, None))
            if stage == launch.stage.name:
                launch.batch.fail([row], stage, error)
            else:
                rest.append(row)
        return proceed(np.array(rest, np.int64))


@pytest.fixture(scope="module")
def stumbled(files, tmp_path_factory):
    """Runs some curves of which did not come to their end, without their curves and with them."""
    place = tmp_path_factory.mktemp("stumbled")
    for name in ("plain", "curves"):
        process(files, place / name, save_curves=name == "curves", interceptors=[Stumble()])
    return place


@BOTH
@pytest.mark.parametrize("setting", ["phase.tolerance=0.0015", "find_peak.prominence_noise=12.0"])
def test_a_curve_that_did_not_come_to_its_end_starts_over_from_its_file(
    stumbled, whole, tmp_path, setting, source
):
    rows = {row["id"]: row for row in read_table(stumbled / source, "samples").to_pylist()}
    assert "timed_out" in rows["files/b.npz#3"]["status"]
    assert "stage_failed" in rows["files/text02.dat"]["status"]
    told = told_again(
        stumbled / source, tmp_path / "run", STANDARD.with_settings([setting]), save_curves=True
    )
    tables = (*RESULTS, "curves")
    assert parts(tmp_path / "run", tables) == parts(whole(setting), tables)
    if source == "curves":
        assert told.rows_by_stage()["cut"] == len(UNFINISHED)


def test_a_curve_that_has_to_start_over_and_whose_file_changed_says_so(files, tmp_path):
    shutil.copytree(files, tmp_path / "files")
    process(tmp_path / "files", tmp_path / "run", save_curves=True, interceptors=[Stumble()])
    (tmp_path / "files" / "text02.dat").unlink()
    with open(tmp_path / "files" / "text09.dat", "a", encoding="utf-8") as file:
        file.write("4.0 1.0 1.0\n")
    # What is no other file but for its time is read all the same.
    os.utime(tmp_path / "files" / "b.npz", ns=(1, 1))
    summary = again(tmp_path / "run", tmp_path / "new", PHASE)
    rows = {row["id"]: row for row in read_table(tmp_path / "new", "samples").to_pylist()}
    reason = f"has changed since the run {tmp_path / 'run'}"
    for name in ("files/text02.dat", "files/text09.dat"):
        assert (rows[name]["status"], rows[name]["reason"]) == ("unreadable", reason)
        assert rows[name]["source"] == str(tmp_path / name)
        assert (name, reason) in summary.unreadable
    process(files, tmp_path / "whole", pipeline=PHASE)
    for row in read_table(tmp_path / "whole", "samples").to_pylist():
        if row["id"] not in ("files/text02.dat", "files/text09.dat"):
            del row["source"], rows[row["id"]]["source"]
            reasons = {row.pop("reason"), rows[row["id"]].pop("reason")}
            assert len(reasons) == 1 or "unreadable" in row["status"]
            assert repr(rows[row["id"]]) == repr(row)


@pytest.fixture
def mine(files, tmp_path):
    """A copy of the files that may be changed; their runs, without their curves and with them."""
    shutil.copytree(files, tmp_path / "files")
    process(tmp_path / "files", tmp_path / "plain")
    process(tmp_path / "files", tmp_path / "curves", save_curves=True)
    return tmp_path


def test_stored_curves_suffice_where_the_files_are_gone(mine):
    process(mine / "files", mine / "whole", pipeline=PHASE, save_curves=True)
    shutil.rmtree(mine / "files")
    again(mine / "curves", mine / "new", PHASE, save_curves=True)
    assert contents(mine / "new")["run.json"]["state"] == "complete"
    tables = (*RESULTS, "curves")
    assert parts(mine / "new", tables) == parts(mine / "whole", tables)
    name = "files/text00.dat"
    assert gpusaxs.open_run(mine / "new")[name].verdict is not None
    again(mine / "curves", mine / "less", PHASE)
    with pytest.raises(RunDirectoryError, match="gone or has changed"):
        gpusaxs.open_run(mine / "less")[name]


@pytest.mark.parametrize(
    ("source", "pipeline"), [("plain", PHASE), ("curves", STANDARD.with_settings(["cut.q_min=.3"]))]
)
def test_where_files_have_to_be_read_and_are_gone_it_is_refused_with_a_list(mine, source, pipeline):
    names = ["b.npz", "text01.dat"]
    for name in names:
        (mine / "files" / name).unlink()
    with pytest.raises(RunDirectoryError, match="have to be read again") as refused:
        again(mine / source, mine / "new", pipeline)
    lines = str(refused.value).splitlines()
    assert [line.strip() for line in lines[1:-1]] == [str(mine / "files" / it) for it in names]
    assert "--save-curves" in lines[-1]
    assert not (mine / "new").exists()
    shutil.rmtree(mine / "files")
    with pytest.raises(RunDirectoryError, match=r"\.\.\. and 12 more"):
        again(mine / source, mine / "new", pipeline)


def test_a_file_that_was_changed_is_refused_and_one_that_was_touched_is_not(mine):
    os.utime(mine / "files" / "text01.dat", ns=(1, 1))
    again(mine / "plain", mine / "new", PHASE)
    path = mine / "files" / "text02.dat"
    path.write_text(path.read_text("utf-8").replace("1", "2", 1), "utf-8")
    with pytest.raises(RunDirectoryError, match="text02") as refused:
        again(mine / "plain", mine / "newer", PHASE)
    assert "text01" not in str(refused.value)


def test_a_file_behind_the_limit_may_change(mine):
    process(mine / "files", mine / "few", limit=15)
    (mine / "files" / "text00.dat").unlink()
    os.utime(mine / "files" / "text01.dat", ns=(1, 1))
    again(mine / "few", mine / "new", PHASE)
    assert read_table(mine / "new", "samples").num_rows == 15


@BOTH
def test_the_pipeline_of_the_run_itself_is_refused(stored, tmp_path, source):
    assert pipeline_of(stored / source) == STANDARD
    for same in (STANDARD, STANDARD.with_settings(["phase.tolerance=0.01"])):
        with pytest.raises(RunDirectoryError, match="nothing would be computed"):
            again(stored / source, tmp_path / "new", same)
    assert not (tmp_path / "new").exists()


def test_a_stage_whose_code_is_another_one_is_a_change(stored, tmp_path):
    shutil.copytree(stored / "curves", tmp_path / "old")
    description = json.loads((tmp_path / "old" / "run.json").read_text("utf-8"))
    description["stages"]["process_peak"] = "other"
    (tmp_path / "old" / "run.json").write_text(json.dumps(description), "utf-8")
    told = told_again(tmp_path / "old", tmp_path / "new", STANDARD)
    assert told.words[0].startswith("changed: process_peak; from stored curves;")
    assert parts(tmp_path / "new") == parts(stored / "curves")


def interrupt_after(blocks):
    def tell(progress):
        if progress.blocks == blocks:
            raise KeyboardInterrupt

    return {"executor": "serial", "progress": tell}


def test_a_run_that_is_not_complete_is_refused(files, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        process(files, tmp_path / "old", **interrupt_after(2))
    with pytest.raises(RunDirectoryError, match=r"did not come to its end.*--resume"):
        again(tmp_path / "old", tmp_path / "new", PHASE)
    with pytest.raises(RunDirectoryError, match="Expected a run directory"):
        again(tmp_path / "nothing", tmp_path / "new", PHASE)


@BOTH
@pytest.mark.parametrize("blocks", [0, 2, 5])
def test_a_run_that_was_stopped_goes_on(stored, tmp_path, source, blocks):
    again(stored / source, tmp_path / "whole", PHASE)
    with pytest.raises(KeyboardInterrupt):
        again(stored / source, tmp_path / "new", PHASE, **interrupt_after(blocks))
    before = parts(tmp_path / "new") if blocks else {}
    assert len(before) == 3 * blocks
    told = []
    summary = again(stored / source, tmp_path / "new", PHASE, resume=True, progress=told.append)
    assert told[0].blocks == blocks
    assert summary.progress.curves_now == summary.curves - told[0].curves
    assert contents(tmp_path / "new") == contents(tmp_path / "whole")


def test_where_there_is_no_run_resume_begins_one(stored, tmp_path):
    again(stored / "curves", tmp_path / "new", PHASE, resume=True)
    again(stored / "curves", tmp_path / "other", PHASE)
    assert contents(tmp_path / "new") == contents(tmp_path / "other")
    done = again(stored / "curves", tmp_path / "new", PHASE, resume=True)
    assert done.progress.curves_now == 0
    assert done.curves == read_table(tmp_path / "new", "samples").num_rows


def test_what_goes_on_must_be_asked_for_as_before(files, stored, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        again(stored / "curves", tmp_path / "new", PHASE, **interrupt_after(2))
    other = STANDARD.with_settings(["phase.tolerance=0.004"])
    for words, options in {
        "phase.tolerance: 0.0015 in the run, 0.004 now": {"pipeline": other},
        "save_curves: False in the run, True now": {"save_curves": True},
        "from_run.path: ": {"stored": stored / "plain"},
    }.items():
        given = {"stored": stored / "curves", "pipeline": PHASE} | options
        with pytest.raises(RunDirectoryError, match=words):
            again(run=tmp_path / "new", resume=True, **given)
    with pytest.raises(RunDirectoryError, match=r"from_run: .* in the run, nothing now"):
        process(files, tmp_path / "new", pipeline=PHASE, resume=True)
    with pytest.raises(RunDirectoryError, match="from_run: nothing in the run, "):
        again(stored / "curves", stored / "plain", PHASE, resume=True)


def test_a_run_that_was_made_anew_is_another_one(mine):
    with pytest.raises(KeyboardInterrupt):
        again(mine / "plain", mine / "new", PHASE, **interrupt_after(2))
    description = json.loads((mine / "plain" / "run.json").read_text("utf-8"))
    description["started"] = "another day"
    (mine / "plain" / "run.json").write_text(json.dumps(description), "utf-8")
    with pytest.raises(RunDirectoryError, match=r"from_run\.sha256: "):
        again(mine / "plain", mine / "new", PHASE, resume=True)


def test_a_run_that_is_in_the_way_is_replaced_only_where_that_is_asked_for(stored, tmp_path):
    again(stored / "curves", tmp_path / "new", PHASE)
    other = STANDARD.with_settings(["phase.tolerance=0.004"])
    with pytest.raises(RunDirectoryError, match="--overwrite"):
        again(stored / "curves", tmp_path / "new", other)
    again(stored / "curves", tmp_path / "new", other, overwrite=True)
    assert pipeline_of(tmp_path / "new") == other


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}], ids=str)
def test_the_run_that_is_read_is_never_replaced(stored, tmp_path, options):
    # The run lies in the folder of another one: to replace that would take it along.
    shutil.copytree(stored / "curves", tmp_path / "outer")
    shutil.copytree(stored / "curves", tmp_path / "outer" / "run")
    (tmp_path / "link").symlink_to(tmp_path / "outer" / "run")
    before = contents(tmp_path / "outer" / "run")
    for output in ("outer/run", "link", "outer", "outer/run/../run"):
        with pytest.raises(RunDirectoryError, match="cannot be replaced"):
            again(tmp_path / "outer" / "run", tmp_path / output, PHASE, **options)
    with pytest.raises(RunDirectoryError, match="cannot be replaced"):
        again(tmp_path / "link", tmp_path / "outer" / "run", PHASE, **options)
    assert contents(tmp_path / "outer" / "run") == before


@BOTH
@pytest.mark.parametrize("save_curves", [False, True])
def test_what_was_made_from_a_run_can_be_verified_opened_and_processed_again(
    stored, whole, tmp_path, source, save_curves
):
    again(stored / source, tmp_path / "one", PHASE, save_curves=save_curves)
    found = verify_run(tmp_path / "one", workers=1)
    assert found.all_well
    assert not found.remarks
    assert not found.comparison.columns
    assert found.curves_compared == read_table(tmp_path / "one", "samples").num_rows

    mine, theirs = gpusaxs.open_run(tmp_path / "one"), gpusaxs.open_run(whole(*PHASE_SETTINGS))
    for name in ("files/a.h5#2", "files/text05.dat"):
        assert repr(mine[name].metadata) == repr(theirs[name].metadata)
        assert repr(mine[name].phases) == repr(theirs[name].phases)
        np.testing.assert_array_equal(mine[name].intensity, theirs[name].intensity)
    with pytest.raises(RunDirectoryError, match="is empty"):
        mine["files/empty.dat"]

    both = (*PHASE_SETTINGS, "process_peak.shape=gaussian")
    told = told_again(tmp_path / "one", tmp_path / "two", STANDARD.with_settings(both))
    assert ("from stored curves" in told.words[0]) == save_curves
    assert parts(tmp_path / "two") == parts(whole(*both))
    back = told_again(tmp_path / "two", tmp_path / "three", STANDARD)
    assert back.words[0].startswith("changed: process_peak; from the input files;")
    assert parts(tmp_path / "three") == parts(stored / "plain")


def changed_height(path):
    """Change numbers and leave a table that can be read."""
    rows = pq.read_table(path)
    place = rows.schema.get_field_index("height")
    heights = rows["height"].to_numpy() * 1.001
    pq.write_table(rows.set_column(place, rows.schema.field(place), [heights]), path)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("peaks", changed_height),
        ("samples", lambda path: path.unlink()),
        ("curves", lambda path: path.write_bytes(path.read_bytes()[:-9])),
    ],
)
def test_a_stored_part_that_is_damaged_stops_the_run_and_is_named(stored, tmp_path, name, damage):
    shutil.copytree(stored / "curves", tmp_path / "old")
    part = tmp_path / "old" / name / "part-000001.parquet"
    damage(part)
    summary = again(tmp_path / "old", tmp_path / "new", PHASE)
    [failed] = summary.blocks_failed
    assert failed.startswith(f"block 1, reading: RunDirectoryError: {part}: ")
    assert summary.stopped
    shutil.copy(stored / "curves" / name / part.name, part)
    again(tmp_path / "old", tmp_path / "new", PHASE, resume=True)
    again(tmp_path / "old", tmp_path / "other", PHASE)
    assert contents(tmp_path / "new") == contents(tmp_path / "other")


def test_curves_that_are_not_needed_may_be_damaged(stored, whole, tmp_path):
    shutil.copytree(stored / "curves", tmp_path / "old")
    (tmp_path / "old" / "curves" / "part-000001.parquet").unlink()
    again(tmp_path / "old", tmp_path / "new", STANDARD.with_settings(["cut.q_min=0.3"]))
    assert parts(tmp_path / "new") == parts(whole("cut.q_min=0.3"))
