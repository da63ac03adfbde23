import subprocess
import sys

import numpy as np
import pytest

from gpusaxs.simulate import simulate


def test_a_sound_archive_exits_with_0_and_says_what_it_holds_and_takes(command, archive, tmp_path):
    done = command(
        "check",
        archive,
        "-o",
        tmp_path / "run",
        "--q-unit",
        "1/nm",
        "--workers",
        1,
        "--save-curves",
    )
    assert done.exit_code == 0, done.output
    assert "Inputs: 7 files, 7 curves" in done.stdout
    assert "cut > noise > background" in done.stdout
    [kind] = [line.split() for line in done.stdout.splitlines() if line.startswith("text")]
    assert kind == ["text", "1/nm", "--q-unit", "yes", "7", "1,000", "0.1", "-", "3"]
    for word in ("time", "memory, at most", f"disk at {tmp_path}", "(curves ", "All is well."):
        assert word in done.stdout
    assert not (tmp_path / "run").exists()


def test_guessed_units_are_a_remark_and_no_problem(command, archive):
    done = command("check", archive, "--workers", 1)
    assert done.exit_code == 0, done.output
    assert "a guess" in done.stdout
    assert "The unit of q of 7 of the 7 curves read is a guess" in done.stdout


def test_problems_exit_with_1_and_are_sentences_with_reasons(command, archive, tmp_path):
    found = simulate(4, seed=1, points=200)
    found.write(tmp_path)
    (tmp_path / "empty.dat").touch()
    done = command("check", tmp_path, archive / "plain.dat", "--workers", 1)
    assert done.exit_code == 1, done.output
    assert "empty.dat: is empty" in done.stdout
    assert "cannot be read." in done.stdout
    assert "All is well." not in done.stdout
    assert "Traceback" not in done.output


def test_the_sample_is_no_larger_than_asked(command, archive):
    done = command("check", archive, "--workers", 1, "--sample", 3)
    assert done.exit_code == 0, done.output
    assert "7 curves, " in done.stdout
    assert "of them read: 3 curves" in done.stdout


def test_a_long_list_of_unreadable_files_is_cut(command, tmp_path):
    for number in range(30):
        (tmp_path / f"{number}.dat").touch()
    done = command("check", tmp_path, "--workers", 1)
    assert done.exit_code == 1
    assert "... and 10 more" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing_here"], "no such file or folder"),
        (["{archive}", "--pipeline", "nothing"], "Expected a preset"),
        (["{archive}", "--pipeline", "nothing.toml"], "Cannot read the pipeline"),
        (["{archive}", "--set", "cut.nothing=1"], "nothing"),
        (["{archive}", "--set", "find_peak.height_noise=-1"], "height_noise"),
        (["{archive}", "--q-unit", "1/parsec"], "Expected a unit of q"),
        (["{archive}", "--backend", "abacus"], "abacus"),
        (["{archive}", "--workers", "0"], "workers"),
        (["{archive}", "--sample", "0"], "sample"),
        ([], "INPUT"),
    ],
)
def test_a_wrong_command_exits_with_2_and_a_message(command, archive, arguments, message):
    done = command("check", *[argument.format(archive=archive) for argument in arguments])
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_a_pipeline_of_ones_own_is_what_is_tried(command, archive, tmp_path):
    file = tmp_path / "two.toml"
    file.write_text('stages = ["noise", "phase"]\n', "utf-8")
    done = command("check", archive / "plain.dat", "--workers", 1, "--pipeline", file)
    assert done.exit_code == 0, done.output
    assert "Pipeline: noise > phase" in done.stdout


def test_nothing_heavy_is_imported_for_the_help():
    code = (
        "import sys; import gpusaxs.cli.main; "
        "print([name for name in ('numpy', 'pyarrow', 'numba', 'rich.table') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "numba" not in done.stdout
    assert "pyarrow" not in done.stdout


def test_points_of_several_lengths_are_given_as_a_range(command, tmp_path):
    for points in (100, 300):
        found = simulate(1, seed=1, points=points)
        np.savetxt(tmp_path / f"{points}.dat", np.column_stack([found.q, found.intensity[0]]))
    done = command("check", tmp_path, "--workers", 1, "--q-unit", "1/nm")
    [kind] = [line.split() for line in done.stdout.splitlines() if line.startswith("text")]
    assert kind[3:8] == ["no", "2", "100", "-", "300"]
