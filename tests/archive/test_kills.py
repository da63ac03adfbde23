"""Runs that are killed at any moment, and go on."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from gpusaxs.archive.run import process_archive
from gpusaxs.simulate import simulate

pytestmark = pytest.mark.slow

KILLS = 50
OPTIONS = {"backend": "numpy", "workers": 1, "block_size": 1, "q_unit": "1/nm", "save_curves": True}

# A process that has everything loaded and forks another one for each attempt: so an attempt costs
# what its run costs. A line it reads is a run, when to wait for a file of it to be there, and the
# seconds after which to kill it then; it answers with the seconds that it took and how it ended.
SERVER = """
import json, os, signal, sys, threading, time, traceback
from pathlib import Path
from gpusaxs.archive.run import process_archive
from gpusaxs.io import discover, read
from gpusaxs.runtime.runtime import Runtime

archive, options = sys.argv[1], json.loads(sys.argv[2])
with Runtime("numpy", 1) as runtime:
    for source in discover([archive])[-2:]:
        runtime.run(read(source, "1/nm"))
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    assert threading.active_count() == 1
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        code = 3
        signal.alarm(60)
        try:
            process_archive([archive], asked["output"], resume=True, **options)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    status = None
    if asked["seconds"] is not None:
        while asked["file"] and not os.path.lexists(asked["file"]):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            status = None
        if status is None:
            time.sleep(asked["seconds"])
            os.kill(child, signal.SIGKILL)
    if status is None:
        status = os.waitpid(child, 0)[1]
    ended = os.waitstatus_to_exitcode(status)
    print(json.dumps({"seconds": time.perf_counter() - began, "ended": ended}), flush=True)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Curves of few points in a stack and in text files, and a file without any."""
    folder = tmp_path_factory.mktemp("files") / "archive"
    folder.mkdir()
    found = simulate(45, seed=3, phases=["lamellar", "Im-3m"], counts=20000.0)
    q, intensity, sigma = found.q[::3], found.intensity[:, ::3], found.sigma[:, ::3]
    np.savez(folder / "a.npz", q=q, intensity=intensity[:30], sigma=sigma[:30])
    (folder / "b.dat").touch()
    for row in range(30, 45):
        np.savetxt(folder / f"c{row}.dat", np.column_stack([q, intensity[row], sigma[row]]))
    return folder


@contextmanager
def server(archive):
    """A function that runs an attempt, killed or not, and tells its end."""
    command = [sys.executable, "-c", SERVER, str(archive), json.dumps(OPTIONS)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def attempt(output, file=None, seconds=None):
            asked = {"output": str(output), "file": file and str(file), "seconds": seconds}
            print(json.dumps(asked), file=process.stdin, flush=True)
            told = json.loads(process.stdout.readline())
            assert told["ended"] in (0, -signal.SIGKILL)
            return told

        # An answer that does not come must not hold up all other tests.
        limit = threading.Timer(300.0, process.kill)
        limit.start()
        try:
            assert process.stdout.readline() == "ready\n"
            yield attempt
            process.stdin.close()
            assert process.wait(30) == 0
        finally:
            limit.cancel()
            process.kill()


def contents(run):
    """All files of a run but for what tells of time, which is the one thing that may differ."""
    found = {str(path.relative_to(run)): path for path in Path(run).rglob("*") if path.is_file()}
    kept = {name: path.read_bytes() for name, path in found.items() if name != "run.json"}
    description = json.loads(found["run.json"].read_text("utf-8"))
    del description["started"], description["seconds"]
    return kept | {"run.json": description}


def is_unfinished(name):
    """Whether a file is one of those that a run has only while it is at work."""
    last = Path(name).name
    return last.startswith(".") or last.endswith(".part") or "journal" in last


def stage_of(run):
    """How far a run had come that was killed."""
    if not (run / "run.json").exists():
        return "no description" if run.exists() else "no folder"
    if not (run / "inputs.parquet").exists():
        return "no inputs"
    if json.loads((run / "run.json").read_text("utf-8"))["state"] == "complete":
        return "complete"
    return len((run / "journal.jsonl").read_text("utf-8").splitlines())


def moments(run, whole, blocks):
    """When to kill an attempt: as the run is made, on its way, and as it comes to its end."""
    chance = random.Random(20240607)
    last = f"part-{blocks - 1:06d}.parquet"
    while True:
        place = run()
        yield chance.choice(
            [
                (place, chance.random() ** 2 * 0.003),
                (place / "run.json", chance.random() * 0.003),
                (None, chance.random() * whole),
                (None, chance.random() * whole),
                (None, chance.random() * whole),
                (None, chance.random() * whole),
                (place / "curves" / last, chance.random() ** 2 * 0.02),
            ]
        )


def test_a_run_that_was_killed_fifty_times_is_one_that_never_was(files, tmp_path):
    with server(files) as attempt:
        whole = min(attempt(tmp_path / f"whole{again}")["seconds"] for again in range(2))
        expected = contents(tmp_path / "whole0")
        assert not [name for name in expected if is_unfinished(name)]
        blocks = len(expected["run.json"]["blocks"])
        assert blocks == 46
        chance = random.Random(7)
        runs, stages = 0, []
        run = tmp_path / "run0"
        when = moments(lambda: run, whole, blocks)
        while len(stages) < KILLS:
            file, seconds = next(when)
            if attempt(run, file, seconds)["ended"] != 0:
                stages.append(stage_of(run))
                if len(stages) < KILLS and chance.random() < 0.5:
                    # What goes on is killed again.
                    continue
                assert attempt(run)["ended"] == 0
            assert contents(run) == expected
            runs += 1
            run = tmp_path / f"run{runs}"
    # Without kills at every stage the rest would say little.
    assert {"no description", "no inputs"} & set(stages)
    assert len({stage for stage in stages if isinstance(stage, int)}) > 10
    assert max(stage for stage in stages if isinstance(stage, int)) > blocks * 3 // 4


def test_the_command_goes_on_after_it_was_killed(files, tmp_path):
    process_archive([files], tmp_path / "whole", **OPTIONS)
    run = tmp_path / "run"
    command = [
        *(sys.executable, "-c", "from gpusaxs.cli.main import main; main()"),
        *("process", str(files), "--output", str(run), "--resume", "--save-curves"),
        *("--backend", "numpy", "--workers", "1", "--block-size", "1", "--q-unit", "1/nm"),
    ]
    for parts in (7, 25):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while process.poll() is None and len(list(run.glob("samples/part*"))) < parts:
                time.sleep(0.001)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert stage_of(run) in range(parts - 2, 46)
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    # The empty file makes it 1.
    assert ended.returncode == 1, ended.stderr
    assert contents(run) == contents(tmp_path / "whole")
