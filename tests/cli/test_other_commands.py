import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import gpusaxs
from gpusaxs.pipeline import Pipeline
from gpusaxs.stages import stage_types

PROGRAM = Path(sys.executable).with_name("gpusaxs")


@pytest.mark.alone
def test_help_comes_at_once():
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - began)
    assert "process" in done.stdout
    assert min(seconds) < 0.4


def test_the_command_line_imports_nothing_heavy_before_it_works():
    heavy = ["numpy", "numba", "cupy", "pyarrow", "h5py", "scipy", "matplotlib", "pydantic"]
    code = f"import sys, gpusaxs.cli.main\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_command_explains_itself(command):
    names = ["process", "show", "plot", "stages", "info", "simulate", "demo"]
    for arguments in [[], *([name] for name in names), ["pipeline", "check"]]:
        done = command(*arguments, "--help")
        assert done.exit_code == 0
        assert "Usage" in done.stdout


def test_the_version_is_the_packages(command):
    assert command("--version").stdout == f"gpusaxs {gpusaxs.__version__}\n"


def test_stages_are_listed_with_one_line_each(command):
    lines = command("stages").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(stage_types())


@pytest.mark.parametrize("name", list(stage_types()))
def test_each_parameter_of_a_stage_is_listed_with_default_and_meaning(command, name):
    done = command("stages", name)
    assert done.exit_code == 0
    parameters = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert set(stage_types()[name].model_fields) <= parameters


def test_a_parameter_is_listed_with_unit_and_bounds(command):
    lines = [line.split() for line in command("stages", "process_peak").stdout.splitlines()]
    [window] = [line for line in lines if line[:1] == ["window"]]
    assert window[1:3] == ["FWHM", "2.5"]
    assert window[3:8] == [">", "0.5,", "<=", "20", "Half"]


def test_an_unknown_stage_exits_with_2(command):
    done = command("stages", "nothing")
    assert done.exit_code == 2
    assert "Got 'nothing'" in done.stderr


def test_a_sound_pipeline_is_named_with_its_stages(command, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('stages = ["noise", "phase"]\n[phase]\nmin_score = 9.0\n', "utf-8")
    done = command("pipeline", "check", path)
    assert done.exit_code == 0
    assert "noise > phase" in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages = [", "not valid TOML"),
        ('stages = ["nothing"]', "Got 'nothing'"),
        ('stages = ["phase"]\n[phase]\ntolerance = 1.0', "tolerance"),
        ('stages = ["phase"]\n[cut]\n', "cut"),
    ],
)
def test_a_pipeline_that_does_not_hold_is_refused_with_the_place(command, tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text, "utf-8")
    done = command("pipeline", "check", path)
    assert done.exit_code == 2
    assert message in done.stderr


def test_the_schema_knows_every_stage_and_parameter(command):
    schema = json.loads(command("pipeline", "schema").stdout)
    for name, kind in stage_types().items():
        assert set(schema["properties"][name]["properties"]) == set(kind.model_fields)
    assert set(Pipeline.load("standard").document()) <= set(schema["properties"])


def test_info_names_versions_and_backends(command):
    done = command("info")
    assert done.exit_code == 0
    assert f"gpusaxs    {gpusaxs.__version__}" in done.stdout
    assert "backend numpy" in done.stdout
    assert "backend cuda" in done.stdout
    assert "compiled kernels" in done.stdout


def test_simulate_writes_curves_that_process_reads(command, tmp_path):
    done = command(
        "simulate", "-o", tmp_path / "sim", "--curves", 3, "--phase", "Ia-3d", "--points", 300
    )
    assert done.exit_code == 0, done.output
    truth = pq.read_table(tmp_path / "sim" / "truth.parquet")
    assert truth["phase"].to_pylist() == ["Ia-3d"] * 3
    archive = tmp_path / "sim" / "curves.h5"
    assert command("process", archive, "-o", tmp_path / "run").exit_code == 0
    assert gpusaxs.open_run(tmp_path / "run").samples["points"].to_pylist() == [300] * 3


def test_simulate_refuses_a_phase_that_it_does_not_know(command, tmp_path):
    done = command("simulate", "-o", tmp_path / "sim", "--phase", "cheese")
    assert done.exit_code == 2
    assert "cheese" in done.stderr
    assert not (tmp_path / "sim").exists()


def test_demo_prints_accuracy_and_speed_and_leaves_figures(command, tmp_path):
    done = command("demo", "-o", tmp_path / "demo", "--curves", 40)
    assert done.exit_code == 0, done.output
    assert "one phase, 4 lines or more" in done.stdout
    assert "curves/s" in done.stdout
    for name in ("accuracy.png", "curve.png"):
        assert (tmp_path / "demo" / name).read_bytes().startswith(b"\x89PNG")
    again = command("demo", "-o", tmp_path / "demo", "--curves", 40)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
