"""Ctrl-C ends a run in a way that it can go on from."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from gpusaxs.archive.opened import open_run
from gpusaxs.archive.run import process_archive
from gpusaxs.simulate import simulate

COMMAND = [sys.executable, "-c", "from gpusaxs.cli.main import main; main()", "process"]
PATIENCE = 120.0


@pytest.mark.slow
def test_an_interrupted_command_says_how_it_goes_on_and_does(tmp_path):
    simulate(600, seed=7).write(tmp_path / "archive")
    given = [str(tmp_path / "archive" / "curves.h5"), "-o", str(tmp_path / "run")]
    options = ["--block-size", "3", "--backend", "numpy"]
    with subprocess.Popen([*COMMAND, *given, *options], stderr=subprocess.PIPE, text=True) as begun:
        parts, until = tmp_path / "run" / "samples", time.monotonic() + PATIENCE
        while not (parts.is_dir() and len(os.listdir(parts)) > 3):
            assert begun.poll() is None
            assert time.monotonic() < until
            time.sleep(0.005)
        begun.send_signal(signal.SIGINT)
        said = begun.communicate(timeout=PATIENCE)[1]
    assert begun.returncode == 130
    assert "--resume goes on" in said
    description = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    assert description["state"] == "stopped"
    assert 0 < len(open_run(tmp_path / "run")) < 600
    subprocess.run([*COMMAND, *given, *options, "--resume"], check=True, capture_output=True)
    process_archive([given[0]], tmp_path / "whole", backend="numpy", block_size=3)
    resumed, whole = open_run(tmp_path / "run"), open_run(tmp_path / "whole")
    assert resumed.samples.equals(whole.samples)
    assert resumed.peaks["id"].equals(whole.peaks["id"])
