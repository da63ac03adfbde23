"""Full disks, damaged and changing files, and runs that go on after them."""

import builtins
import errno
import io
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import gpusaxs
from gpusaxs.archive import directory, reading
from gpusaxs.archive.opened import open_run
from gpusaxs.archive.run import process_archive
from gpusaxs.errors import RunDirectoryError
from gpusaxs.simulate import simulate

OPTIONS = {"backend": "numpy", "workers": 1, "q_unit": "1/nm"}
FULL = os.strerror(errno.ENOSPC)
WRITES_OF_A_BEGINNING = 2
"""Those of run.json and of the list of inputs: without them there is no run."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A stack of four curves in NXcanSAS, one of three in NumPy's format, and three text files."""
    folder = tmp_path_factory.mktemp("files") / "files"
    found = simulate(10, seed=3, phases=["lamellar", "Im-3m"], counts=20000.0)
    q, intensity, sigma = found.q[::3], found.intensity[:, ::3], found.sigma[:, ::3]
    simulate(4, seed=3, phases=["lamellar", "Im-3m"], counts=20000.0).write(folder)
    for table in ("truth.csv", "truth.parquet"):
        (folder / table).unlink()
    (folder / "curves.h5").rename(folder / "a.h5")
    np.savez(folder / "b.npz", q=q, intensity=intensity[4:7], sigma=sigma[4:7])
    for row in (7, 8, 9):
        np.savetxt(folder / f"c{row}.dat", np.column_stack([q, intensity[row], sigma[row]]))
    return folder


@pytest.fixture
def mine(files, tmp_path):
    """A copy of the files that may be changed, with their times."""
    shutil.copytree(files, tmp_path / "files")
    return tmp_path / "files"


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """Contents of an undisturbed run, two curves a block."""
    run = tmp_path_factory.mktemp("runs") / "run"
    process(files, run)
    return contents(run)


def process(files, run, **options):
    return process_archive([files], run, **{**OPTIONS, "block_size": 2} | options)


def contents(run):
    """All files of a run but for what tells of time; none of them is an unfinished one."""
    found = {str(path.relative_to(run)): path for path in Path(run).rglob("*") if path.is_file()}
    assert not [name for name in found if Path(name).name.startswith(".") or "journal" in name]
    kept = {name: path.read_bytes() for name, path in found.items() if name != "run.json"}
    described = description(run)
    del described["started"], described["seconds"]
    return kept | {"run.json": described}


def tables(run):
    """The tables of a run, byte for byte."""
    return {str(part.relative_to(run)): part.read_bytes() for part in run.glob("*/part*")}


def description(run):
    return json.loads((run / "run.json").read_text("utf-8"))


def interrupted(files, run, after=2, **options):
    """Begin a run that ends after so many blocks."""

    def stop(progress):
        if progress.blocks == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process(files, run, executor="serial", progress=stop, **options)
    assert description(run)["state"] == "stopped"


def when(blocks, do):
    """A callback for progress that does something once, after so many blocks."""
    left = [do]

    def tell(progress):
        if progress.blocks == blocks and left:
            left.pop()()

    return tell


class Disk:
    """Counts the writes of a run; from one of them on, or in it alone, there is no room.

    The files below Python's buffers are replaced, so what is buffered behaves as it does.
    """

    def __init__(self, fails=None, *, stays_full=True):
        self.writes = 0
        self._fails = fails
        self._stays_full = stays_full

    def write(self, file, content):
        number, self.writes = self.writes, self.writes + 1
        if self._fails is None or number < self._fails or self._is_free(number):
            return io.FileIO.write(file, content)
        if number == self._fails and len(content) > 1:
            # As much as there is room for; what is left has no room.
            io.FileIO.write(file, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, FULL)

    def _is_free(self, number):
        return not self._stays_full and number > self._fails

    def open(self, path, mode="r", **options):
        if mode not in ("wb", "a"):
            return builtins.open(path, mode, **options)
        disk = self

        class File(io.FileIO):
            def write(self, content):
                return disk.write(self, bytes(content))

        buffered = io.BufferedWriter(File(path, mode[0]))
        return buffered if mode == "wb" else io.TextIOWrapper(buffered, encoding="utf-8")


def writes_of_a_run(files, place, monkeypatch):
    disk = Disk()
    monkeypatch.setattr(directory, "open", disk.open, raising=False)
    process(files, place)
    return disk.writes


@pytest.mark.parametrize("stays_full", [pytest.param(True), False])
@pytest.mark.parametrize("executor", ["serial", "workpool"])
def test_a_disk_that_is_full_at_any_write_ends_the_run_and_it_goes_on(
    files, whole, tmp_path, monkeypatch, executor, stays_full
):
    writes = writes_of_a_run(files, tmp_path / "counted", monkeypatch)
    assert writes > 20
    for number in range(writes):
        run = tmp_path / f"run{number}"
        disk = Disk(number, stays_full=stays_full)
        monkeypatch.setattr(directory, "open", disk.open, raising=False)
        if number < WRITES_OF_A_BEGINNING:
            with pytest.raises(RunDirectoryError, match=f"Cannot make the run.*{FULL}"):
                process(files, run, executor=executor)
        else:
            summary = process(files, run, executor=executor)
            assert FULL in summary.stopped
            assert not summary.all_well
            assert description(run)["state"] in ("running", "stopped")
        assert disk.writes > number
        assert not list(run.rglob(".*.part"))
        monkeypatch.delattr(directory, "open")
        assert process(files, run, resume=True).stopped == ""
        assert contents(run) == whole


def test_a_file_that_cannot_be_put_in_its_place_ends_the_run_and_it_goes_on(
    files, whole, tmp_path, monkeypatch
):
    replace, calls = os.replace, []

    def counted(*paths):
        calls.append(paths)
        if len(calls) == fails:
            raise OSError(errno.ENOSPC, FULL)
        replace(*paths)

    monkeypatch.setattr(os, "replace", counted)
    fails = 0
    process(files, tmp_path / "counted")
    total = len(calls)
    assert total > 15
    for number in range(3, total + 1):
        calls.clear()
        fails = number
        summary = process(files, tmp_path / f"run{number}")
        assert FULL in summary.stopped
        assert not list((tmp_path / f"run{number}").rglob(".*.part"))
        fails = 0
        process(files, tmp_path / f"run{number}", resume=True)
        assert contents(tmp_path / f"run{number}") == whole


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
from gpusaxs.cli.main import main
main()
"""


def test_the_command_says_that_there_is_no_room_and_goes_on_with_more(tmp_path):
    found = simulate(60, seed=3, phases=["lamellar"], counts=20000.0)
    (tmp_path / "files").mkdir()
    np.savez(
        tmp_path / "files" / "stack.npz",
        q=found.q[::4],
        intensity=found.intensity[:, ::4],
        sigma=found.sigma[:, ::4],
    )
    process(tmp_path / "files", tmp_path / "whole", block_size=1)
    # Room for any part, but not for what is said of all blocks.
    room = max(part.stat().st_size for part in tmp_path.glob("whole/*/part*"))
    room = max(room, (tmp_path / "whole" / "inputs.parquet").stat().st_size, 12_000) + 500
    command = [
        *("process", str(tmp_path / "files"), "--output", str(tmp_path / "run"), "--resume"),
        *("--backend", "numpy", "--workers", "1", "--block-size", "1", "--q-unit", "1/nm"),
    ]
    limited = subprocess.run(
        [sys.executable, "-c", LIMITED, str(room), *command],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    said = limited.stdout + limited.stderr
    assert limited.returncode == 1, said
    assert "Traceback" not in said
    assert os.strerror(errno.EFBIG) in said
    assert 0 < len((tmp_path / "run" / "journal.jsonl").read_bytes().split(b"\n")) - 1 < 60
    process(tmp_path / "files", tmp_path / "run", block_size=1, resume=True)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def many(folder, count=25):
    folder.mkdir()
    found = simulate(count, seed=4, phases=["lamellar"], counts=20000.0)
    for row in range(count):
        columns = [found.q[::4], found.intensity[row, ::4], found.sigma[row, ::4]]
        np.savetxt(folder / f"c{row:02}.dat", np.column_stack(columns))
    return folder


def rows_without(run, left_out):
    """All tables in words without one curve."""
    result = open_run(run)
    return [
        [repr(row) for row in getattr(result, name).to_pylist() if row["id"] != left_out]
        for name in ("samples", "peaks", "phases")
    ]


@pytest.mark.parametrize("damage", ["binary", "words", "denied", "a link to nothing", "cut off"])
def test_a_file_that_cannot_be_read_in_the_middle_of_many_is_one_failed_row(
    tmp_path, monkeypatch, damage
):
    folder = many(tmp_path / "many")
    process(folder, tmp_path / "whole", block_size=4)
    bad = folder / "c12.dat"
    if damage == "binary":
        bad.write_bytes(random.Random(1).randbytes(5000))
    elif damage == "words":
        bad.write_text("no numbers are in here\n" * 10, "utf-8")
    elif damage == "a link to nothing":
        bad.unlink()
        bad.symlink_to(tmp_path / "nothing")
    elif damage == "cut off":
        stack = tmp_path / "stack.npz"
        np.savez(stack, q=np.linspace(0.1, 1, 99), intensity=np.ones((3, 99)))
        bad.write_bytes(stack.read_bytes()[:1500])
    else:
        deny(bad, monkeypatch)
    summary = process(folder, tmp_path / "run", block_size=4)
    assert (summary.curves, summary.failed, summary.stopped) == (25, 1, "")
    [(name, reason)] = summary.unreadable
    assert name == "many/c12.dat"
    assert reason
    if damage == "denied":
        assert "ermission denied" in reason
    assert not summary.changed
    assert rows_without(tmp_path / "run", name) == rows_without(tmp_path / "whole", name)


def deny(denied, monkeypatch):
    """Refuse to open a file: mode bits would not keep out root."""
    for module, name in ((os, "open"), (builtins, "open")):
        opens = getattr(module, name)

        def refuse(path, *arguments, opens=opens, **options):
            if not isinstance(path, int) and os.fspath(path) == str(denied):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(denied))
            return opens(path, *arguments, **options)

        monkeypatch.setattr(module, name, refuse)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_with_no_right_to_read_it_is_one_failed_row(mine, tmp_path):
    (mine / "c8.dat").chmod(0)
    summary = process(mine, tmp_path / "run")
    assert [(name, "ermission" in reason) for name, reason in summary.unreadable] == [
        ("files/c8.dat", True)
    ]


def change(path):
    content = path.read_bytes()
    path.write_bytes(content[:-20] + content[-20:].replace(b"1", b"2"))


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def grow(path):
    with path.open("ab") as file:
        file.write(b"1.0 2.0 3.0\n")


def touch(path):
    path.touch()


@pytest.mark.parametrize("executor", ["serial", "workpool"])
@pytest.mark.parametrize("name", ["a.h5", "b.npz", "c9.dat"])
@pytest.mark.parametrize("harm", [change, truncate, grow, touch, Path.unlink])
def test_a_file_that_is_changed_before_it_is_read_to_its_end_is_named(
    mine, whole, tmp_path, harm, name, executor
):
    # The stacks have begun by then: two curves are a block.
    blocks = {"a.h5": 1, "b.npz": 3, "c9.dat": 0}[name]
    summary = process(
        mine,
        tmp_path / "run",
        executor=executor,
        blocks_in_flight=1,
        progress=when(blocks, lambda: harm(mine / name)),
    )
    assert summary.stopped == ""
    assert summary.blocks_failed == []
    assert summary.changed == [str(mine / name)]
    assert not summary.all_well
    listed = pq.read_table(tmp_path / "run" / "inputs.parquet").to_pylist()
    assert [file["id"] for file in listed if file["changed"]] == [f"files/{name}"]
    assert all(file["sha256"] for file in listed) == (harm is not Path.unlink)
    # Each curve has its row, readable or not, and those of other files are what they were.
    ids = open_run(tmp_path / "run").samples["id"].to_pylist()
    assert len(ids) == len(set(ids)) == 10
    if harm is Path.unlink:
        assert f"files/{name}" in {key.split("#")[0] for key, _ in summary.unreadable}


def test_a_stack_that_is_replaced_by_a_shorter_one_has_rows_for_the_curves_that_are_gone(
    mine, tmp_path
):
    def replace():
        shorter = simulate(3, seed=9, phases=["lamellar"])
        np.savez(mine / "b.npz", q=shorter.q, intensity=shorter.intensity)

    np.savez(mine / "b.npz", **{"q": np.linspace(0.1, 3, 300), "intensity": np.ones((9, 300))})
    summary = process(
        mine / "b.npz", tmp_path / "run", executor="serial", progress=when(1, replace)
    )
    assert summary.changed == [str(mine / "b.npz")]
    ids = open_run(tmp_path / "run").samples["id"].to_pylist()
    assert ids == [f"b.npz#{frame}" for frame in range(9)]
    gone = [name for name, reason in summary.unreadable if "has changed" in reason]
    assert gone == [f"b.npz#{frame}" for frame in range(3, 9)]


def test_the_time_of_an_untouched_file_is_not_called_a_change(files, tmp_path):
    assert process(files, tmp_path / "run").changed == []


READ_ONLY = os.strerror(errno.EROFS)


@pytest.mark.parametrize("place", ["mkdir", "open"])
def test_a_run_on_a_read_only_disk_is_refused_in_words(files, tmp_path, monkeypatch, place):
    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, READ_ONLY)

    if place == "mkdir":
        monkeypatch.setattr(Path, "mkdir", refuse)
    else:
        monkeypatch.setattr(directory, "open", refuse, raising=False)
    with pytest.raises(RunDirectoryError, match=f"{READ_ONLY}.*Give --output a place"):
        process(files, tmp_path / "run")


def read_only_places():
    mounts = Path("/proc/mounts").read_text("utf-8").splitlines()
    for _, place, _, flags, *_ in map(str.split, mounts):
        if "ro" in flags.split(",") and Path(place).is_dir():
            yield Path(place)
    yield Path("/sys")


def test_a_run_in_a_place_that_is_really_read_only_is_refused_in_words(files):
    place = next(read_only_places()) / "gpusaxs-run"
    if not place.parent.is_dir():
        pytest.skip("nothing is read-only here")
    with pytest.raises(RunDirectoryError, match="Give --output a place where you may write"):
        process(files, place)


def test_a_run_on_a_disk_that_became_read_only_does_not_go_on(files, whole, tmp_path, monkeypatch):
    interrupted(files, tmp_path / "run")

    def refuse(*arguments, **options):
        raise OSError(errno.EROFS, READ_ONLY)

    monkeypatch.setattr(directory, "open", refuse, raising=False)
    with pytest.raises(RunDirectoryError, match=f"Cannot go on.*{READ_ONLY}"):
        process(files, tmp_path / "run", resume=True)
    monkeypatch.undo()
    process(files, tmp_path / "run", resume=True)
    assert contents(tmp_path / "run") == whole


AT_WORK = """
import json, sys
from gpusaxs.archive.run import process_archive

def wait(progress):
    if progress.blocks == 1:
        print("at work", flush=True)
        sys.stdin.readline()

process_archive(sys.argv[1:2], sys.argv[2], progress=wait, **json.loads(sys.argv[3]))
"""


def test_a_second_process_at_a_run_is_refused(files, whole, tmp_path):
    run = tmp_path / "run"
    options = json.dumps(OPTIONS | {"block_size": 2})
    command = [sys.executable, "-c", AT_WORK, str(files), str(run), options]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process_at_work:
        try:
            assert process_at_work.stdout.readline() == "at work\n"
            for how in ("resume", "overwrite"):
                with pytest.raises(RunDirectoryError, match="Another process is at work"):
                    process(files, run, **{how: True})
            process_at_work.communicate("go on\n", timeout=60)
        finally:
            process_at_work.kill()
    assert process_at_work.returncode == 0
    assert contents(run) == whole


def test_of_two_that_take_up_a_run_at_the_same_moment_one_has_it(files, tmp_path, monkeypatch):
    interrupted(files, tmp_path / "run")
    locks, first = directory._lock, []

    def late(journal, path):
        if not first:
            # Between the opening and the locking another one takes the run up.
            first.append(None)
            first[0] = directory.RunWriter.resume(path)
        locks(journal, path)

    monkeypatch.setattr(directory, "_lock", late)
    try:
        with pytest.raises(RunDirectoryError, match="Another process"):
            directory.RunWriter.resume(tmp_path / "run").close()
    finally:
        first[0].close()


JOURNAL_ENDS = {
    "torn": lambda line: line[: len(line) // 2],
    "without its end of line": lambda line: line[:-1],
    "zeros": lambda line: b"\0" * len(line),
    "zeros and an end of line": lambda line: b"\0" * (len(line) - 1) + b"\n",
    "half zeros": lambda line: line[:50] + b"\0" * (len(line) - 51) + b"\n",
    "no text": lambda line: b"\xff\xfe\x80" * 40 + b"\n",
    "torn, and then a whole one": lambda line: line[: len(line) // 2] + line,
    "gone": lambda line: b"",
}


@pytest.mark.parametrize("end", JOURNAL_ENDS)
def test_a_journal_is_believed_up_to_its_damage(files, whole, tmp_path, end):
    interrupted(files, tmp_path / "run", after=3)
    journal = tmp_path / "run" / "journal.jsonl"
    *kept, last = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(kept) + JOURNAL_ENDS[end](last))
    assert len(open_run(tmp_path / "run")) == 4
    calls = []
    process(files, tmp_path / "run", resume=True, progress=calls.append)
    assert (calls[0].blocks, calls[0].curves) == (2, 4)
    assert contents(tmp_path / "run") == whole


def test_nothing_of_a_journal_is_believed_behind_its_damage(files, whole, tmp_path):
    interrupted(files, tmp_path / "run", after=3)
    journal = tmp_path / "run" / "journal.jsonl"
    first, second, third = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(first + second[: len(second) // 2] + b"\n" + third)
    calls = []
    process(files, tmp_path / "run", resume=True, progress=calls.append)
    assert (calls[0].blocks, calls[0].curves) == (1, 2)
    assert contents(tmp_path / "run") == whole


def test_what_was_being_written_at_a_kill_is_swept_away(files, whole, tmp_path):
    run = tmp_path / "run"
    interrupted(files, run)
    for name in (".run.json.part", ".journal.jsonl.part", "peaks/.part-000007.parquet.part"):
        (run / name).write_bytes(b"half of it")
    process(files, run, resume=True)
    assert contents(run) == whole


def flip(part):
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)


@pytest.mark.parametrize("harm", [flip, truncate, Path.unlink, lambda part: part.write_bytes(b"")])
@pytest.mark.parametrize("table", ["samples", "peaks", "phases"])
@pytest.mark.parametrize("complete", [True, False])
def test_a_damaged_part_is_made_again(files, whole, tmp_path, complete, table, harm):
    run = tmp_path / "run"
    if complete:
        process(files, run)
    else:
        interrupted(files, run, after=3)
    harm(run / table / "part-000001.parquet")
    others = {part: part.stat().st_mtime_ns for part in run.glob("*/part-000000.parquet")}
    summary = process(files, run, resume=True)
    assert summary.progress.curves_now == (2 if complete else 6)
    assert summary.curves == 10
    assert contents(run) == whole
    assert all(part.stat().st_mtime_ns == known for part, known in others.items())


def same_size_other_content(path):
    content = path.read_bytes()
    path.write_bytes(content[:-10] + bytes(byte ^ 1 for byte in content[-10:]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"q_unit": None}, "q_unit: '1/nm' in the run, nothing now"),
        ({"q_unit": "1/angstrom"}, "q_unit: '1/nm' in the run, '1/angstrom' now"),
        ({"block_size": 3}, "block_size: 2 in the run, 3 now"),
        ({"limit": 5}, "limit: nothing in the run, 5 now"),
        ({"save_curves": True}, "save_curves: False in the run, True now"),
        (
            {
                "pipeline": gpusaxs.Pipeline.load("standard").with_settings(
                    ["find_peak.prominence_noise=7.5"]
                )
            },
            "prominence_noise.* 7.5 now",
        ),
    ],
)
def test_a_run_does_not_go_on_under_other_settings(files, whole, tmp_path, options, message):
    run = tmp_path / "run"
    interrupted(files, run)
    before = tables(run)
    with pytest.raises(RunDirectoryError, match=message):
        process(files, run, resume=True, **options)
    assert tables(run) == before
    # It was not harmed by being asked.
    process(files, run, resume=True)
    assert contents(run) == whole


# After three blocks a.h5 was read to its end, b.npz in part, and c9.dat not at all.
@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("name", ["a.h5", "b.npz", "c9.dat"])
@pytest.mark.parametrize("harm", [same_size_other_content, grow, truncate, Path.unlink])
def test_a_run_does_not_go_on_with_inputs_that_have_changed(mine, tmp_path, harm, name, complete):
    if complete:
        process(mine, tmp_path / "run")
    else:
        interrupted(mine, tmp_path / "run", after=3)
    before = tables(tmp_path / "run")
    harm(mine / name)
    state = "is gone" if harm is Path.unlink else "has changed"
    with pytest.raises(RunDirectoryError, match=f"input {mine / name}: {state}"):
        process(mine, tmp_path / "run", resume=True)
    assert tables(tmp_path / "run") == before


def test_a_run_does_not_go_on_with_a_new_input(mine, tmp_path):
    interrupted(mine, tmp_path / "run")
    shutil.copy(mine / "c9.dat", mine / "c99.dat")
    with pytest.raises(RunDirectoryError, match=f"input {mine / 'c99.dat'}: is new"):
        process(mine, tmp_path / "run", resume=True)


def test_a_run_does_not_go_on_with_its_inputs_in_another_order(mine, tmp_path):
    order = [mine / "c7.dat", mine / "c8.dat", mine / "a.h5"]
    options = OPTIONS | {"block_size": 1, "executor": "serial"}

    def stop(progress):
        if progress.blocks == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process_archive(order, tmp_path / "run", progress=stop, **options)
    with pytest.raises(RunDirectoryError, match="the same files in another order"):
        process_archive(order[::-1], tmp_path / "run", resume=True, **options)


def test_a_long_list_of_differences_is_cut(tmp_path):
    folder = many(tmp_path / "many")
    interrupted(folder, tmp_path / "run")
    for path in folder.iterdir():
        grow(path)
    with pytest.raises(RunDirectoryError, match=r"and 15 more") as caught:
        process(folder, tmp_path / "run", resume=True)
    assert str(caught.value).count("has changed") == 10


@pytest.mark.parametrize("complete", [True, False])
def test_a_file_that_was_read_and_has_another_time_but_the_same_content_is_the_same(
    mine, tmp_path, complete
):
    process(mine, tmp_path / "whole")
    run = tmp_path / "run"
    if complete:
        process(mine, run)
    else:
        # The first stack was read to its end.
        interrupted(mine, run, after=2)
    (mine / "a.h5").touch()
    summary = process(mine, run, resume=True)
    assert summary.changed == []
    assert contents(run) == contents(tmp_path / "whole")


def test_a_file_with_another_time_that_nobody_has_read_yet_may_have_changed(mine, tmp_path):
    interrupted(mine, tmp_path / "run", after=2)
    (mine / "c9.dat").touch()
    with pytest.raises(RunDirectoryError, match=r"c9\.dat: has changed"):
        process(mine, tmp_path / "run", resume=True)


def test_a_file_that_was_changed_as_it_was_read_keeps_a_run_from_going_on(mine, tmp_path):
    process(mine, tmp_path / "run", progress=when(0, (mine / "c9.dat").touch))
    with pytest.raises(RunDirectoryError, match=r"c9\.dat: has changed"):
        process(mine, tmp_path / "run", resume=True)


def test_a_complete_run_has_nothing_left_to_do(files, tmp_path, monkeypatch):
    run = tmp_path / "run"
    first = process(files, run)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    monkeypatch.setattr(reading, "read", lambda *_: pytest.fail("a file was read"))
    again = process(files, run, resume=True)
    assert (again.verdicts, again.curves, again.stopped) == (first.verdicts, 10, "")
    assert again.progress.curves_now == 0
    assert again.progress.share == 1.0
    after = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    assert after == before


def test_resume_begins_a_run_where_there_is_none(files, whole, tmp_path):
    process(files, tmp_path / "run", resume=True)
    assert contents(tmp_path / "run") == whole
