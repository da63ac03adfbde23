import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gpusaxs


def test_a_run_ends_with_a_summary_of_verdicts_phases_and_lattice_parameters(
    command, archive, tmp_path
):
    done = command("process", archive, "-o", tmp_path / "run", "--q-unit", "1/nm")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["identified", "6"] in lines
    assert ["none", "1"] in lines
    assert ["failed", "0"] in lines
    [hexagonal] = [line for line in lines if line and line[0] == "hexagonal"]
    lattice = [
        sample.phases[0].lattice
        for sample in gpusaxs.open_run(tmp_path / "run")
        if sample.phases and sample.phases[0].phase == "hexagonal"
    ]
    expected = [f"{value:.3f}" for value in (min(lattice), np.median(lattice), max(lattice))]
    assert hexagonal[1:] == ["3", *expected]
    assert "curves/s" in done.stdout
    assert str(tmp_path / "run") in done.stdout


def test_a_series_with_a_common_background_is_processed_without_an_error(command, tmp_path, caplog):
    curves = gpusaxs.simulate(1, seed=1, points=300, counts=20000.0)
    q, rng = curves.q, np.random.default_rng(2)
    for number in range(6):
        intensity = curves.expected[0] + rng.normal(size=q.size) * curves.sigma[0]
        columns = np.column_stack([q, intensity, curves.sigma[0]])
        (tmp_path / "data").mkdir(exist_ok=True)
        np.savetxt(tmp_path / "data" / f"{number}.dat", columns, header="q(1/nm) I sigma")
    settings = ["--set", "background.mode=common", "--set", "background.level=0.5"]
    done = command("process", tmp_path / "data", "-o", tmp_path / "run", *settings)
    assert done.exit_code == 0, done.output
    assert caplog.records == []


def test_the_summary_says_how_many_units_were_guessed(command, archive, tmp_path):
    done = command("process", archive, "-o", tmp_path / "run")
    assert "7 curves: the unit of q was guessed" in done.stdout


def test_settings_and_pipeline_files_change_what_is_computed(command, archive, tmp_path):
    pipeline = tmp_path / "two.toml"
    pipeline.write_text('stages = ["noise", "phase"]\n', "utf-8")
    done = command("process", archive, "-o", tmp_path / "a", "--pipeline", pipeline)
    assert done.exit_code == 0
    assert gpusaxs.open_run(tmp_path / "a").peaks.num_rows == 0
    settings = ["--set", "find_peak.prominence_noise=1e6", "--set", "background.mode=none"]
    assert command("process", archive, "-o", tmp_path / "b", *settings).exit_code == 0
    written = json.loads((tmp_path / "b" / "run.json").read_text("utf-8"))["pipeline"]
    assert written["find_peak"]["prominence_noise"] == 1e6
    assert written["background"]["mode"] == "none"


def test_csv_holds_the_three_tables(command, archive, tmp_path):
    done = command("process", archive, "-o", tmp_path / "run", "--csv", tmp_path / "csv")
    assert done.exit_code == 0
    for name in ("samples", "peaks", "phases"):
        rows = (tmp_path / "csv" / f"{name}.csv").read_text("utf-8").splitlines()
        assert len(rows) - 1 == getattr(gpusaxs.open_run(tmp_path / "run"), name).num_rows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing_here"], "no such file or folder"),
        (["{archive}", "--pipeline", "nothing"], "Expected a preset"),
        (["{archive}", "--pipeline", "nothing.toml"], "Cannot read the pipeline"),
        (["{archive}", "--set", "cut.nothing=1"], "nothing"),
        (["{archive}", "--set", "cut"], "stage.parameter=value"),
        (["{archive}", "--set", "find_peak.height_noise=-1"], "height_noise"),
        (["{archive}", "--q-unit", "1/parsec"], "Expected a unit of q"),
        (["{archive}", "--backend", "abacus"], "abacus"),
        (["{archive}", "--workers", "0"], "workers"),
        ([], "INPUT"),
    ],
)
def test_a_wrong_command_exits_with_2_and_a_message_before_any_work(
    command, archive, tmp_path, arguments, message
):
    given = [argument.format(archive=archive) for argument in arguments]
    done = command("process", *given, "-o", tmp_path / "run")
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output
    assert not (tmp_path / "run").exists()


def test_a_missing_gpu_is_an_error_that_says_what_to_do(command, archive, tmp_path):
    if gpusaxs.backends.cuda_problem() is None:
        pytest.skip("there is a GPU")
    done = command("process", archive, "-o", tmp_path / "run", "--backend", "cuda")
    assert done.exit_code == 2
    assert "cuda backend" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_is_replaced_only_with_overwrite(command, archive, run, tmp_path):
    place = tmp_path / "run"
    assert command("process", archive / "plain.dat", "-o", place).exit_code == 0
    again = command("process", archive, "-o", place)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert len(gpusaxs.open_run(place)) == 1
    assert command("process", archive, "-o", place, "--overwrite").exit_code == 0
    assert len(gpusaxs.open_run(place)) == 7


def test_a_folder_that_is_no_run_is_never_replaced(command, archive, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mine.txt").write_text("dear", "utf-8")
    done = command("process", archive, "-o", tmp_path / "letters", "--overwrite")
    assert done.exit_code == 2
    assert (tmp_path / "letters" / "mine.txt").read_text("utf-8") == "dear"


def test_the_installed_command_writes_its_errors_to_stderr_without_a_traceback(tmp_path):
    program = Path(sys.executable).with_name("gpusaxs")
    done = subprocess.run(
        [program, "process", "nothing_here", "-o", tmp_path / "run"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "nothing_here: no such file or folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_first_run_says_that_kernels_are_compiled_and_where_they_are_kept(
    archive, tmp_path, monkeypatch, capsys
):
    from gpusaxs.cli import progress
    from gpusaxs.pipeline import Pipeline

    (tmp_path / "cache").mkdir()
    monkeypatch.setattr(progress.cache, "folder", lambda: tmp_path / "cache")
    progress.compile_kernels("numpy", 1, Pipeline.load("standard"))
    assert f"once, and kept in {tmp_path / 'cache'}" in capsys.readouterr().err
    (tmp_path / "cache" / "kernel").touch()
    progress.compile_kernels("numpy", 1, Pipeline.load("standard"))
    assert capsys.readouterr().err == ""
