"""What `verify` says, and how it exits."""

import hashlib
import json
import math
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpusaxs.cli.report import print_table


@pytest.fixture(scope="module")
def kept(archive, command, tmp_path_factory):
    """A run of four blocks with its curves, which nobody changes."""
    place = tmp_path_factory.mktemp("runs") / "run"
    options = ["--q-unit", "1/nm", "--workers", 1, "--block-size", 2, "--save-curves"]
    done = command("process", archive, "-o", place, *options)
    assert done.exit_code == 0, done.output
    return place


@pytest.fixture
def run(kept, tmp_path):
    """A copy of the run that may be changed."""
    shutil.copytree(kept, tmp_path / "run")
    return tmp_path / "run"


def describe(run, change):
    description = json.loads((run / "run.json").read_text("utf-8"))
    change(description)
    (run / "run.json").write_text(json.dumps(description), "utf-8")


def change_value(run, name, column, change, block=0):
    """Change the first value of a part and its hash; return what was and what is."""
    path = run / name / f"part-{block:06d}.parquet"
    rows = pq.read_table(path)
    values = rows[column].to_pylist()
    before, values[0] = values[0], change(values[0])
    place = rows.schema.get_field_index(column)
    field = rows.schema.field(place)
    pq.write_table(rows.set_column(place, field, pa.array(values, field.type)), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    describe(run, lambda found: found["blocks"][block]["parts"].update({name: digest}))
    return before, values[0]


def words(done):
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("options", [[], ["--executor", "serial"], ["--backend", "numpy"]], ids=str)
def test_a_run_that_nobody_touched_exits_with_0_and_says_so(command, kept, options):
    done = command("verify", kept, "--workers", 1, *options)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        f"{kept}: 7 curves in 4 blocks; computed again: 7 curves in 4 blocks",
        "All is as it was.",
    ]


def test_a_number_that_was_changed_exits_with_1_and_is_shown_with_its_size(command, run):
    change_value(run, "samples", "lattice", lambda value: value * 1.25)
    change_value(run, "peaks", "q", lambda value: value * (1 + 1e-9), block=1)
    done = command("verify", run, "--workers", 1)
    assert done.exit_code == 1, done.output
    shown = {line[0]: line[1:] for line in words(done) if line and "." in line[0]}
    assert shown["samples.lattice"][:4] == ["archive/hexagonal_0.dat", "1", "1", "0.2"]
    assert shown["peaks.q"][1:4] == ["1", "0", "1e-09"]
    assert "1 numbers differ by more than 1e-06 of the larger." in done.stdout
    assert "All is as it was" not in done.stdout


def test_a_difference_within_the_tolerance_is_shown_and_exits_with_0(command, run):
    change_value(run, "samples", "lattice", lambda value: value * 1.25)
    done = command("verify", run, "--workers", 1, "--tolerance", "0.21")
    assert done.exit_code == 0, done.output
    assert "samples.lattice" in done.stdout
    assert "0 numbers differ by more than 0.21 of the larger." in done.stdout
    assert done.stdout.splitlines()[-1] == "All is as it was."
    assert command("verify", run, "--workers", 1, "--tolerance", "0.19").exit_code == 1


def test_words_and_rows_that_differ_are_shown_as_they_are(command, run):
    change_value(run, "samples", "verdict", lambda _: "none")
    change_value(run, "curves", "intensity", lambda row: row[:-1])
    done = command("verify", run, "--workers", 1)
    shown = {line[0]: line[1:] for line in words(done) if line and "." in line[0]}
    assert shown["samples.verdict"][-3:] == ["inf", "none", "identified"]
    [stored, again] = [int(word) for word in shown["curves.intensity"] if word.isdigit()][-2:]
    assert stored == again - 1
    assert math.isinf(float(shown["curves.intensity"][3]))


def test_the_headings_and_both_numbers_are_shown_whole(command, run):
    before, after = change_value(run, "samples", "lattice", lambda value: value * 1.25)
    done = command("verify", run, "--workers", 1)
    heading = "column largest in differ beyond difference stored again"
    assert heading.split() in words(done)
    row = ["samples.lattice", "archive/hexagonal_0.dat", "1", "1", "0.2", f"{after}", f"{before}"]
    assert row in words(done)


def test_a_table_is_not_cut_off_where_there_is_no_terminal(capsys):
    row = ["samples.lattice", "archive/" + "x" * 200, *("0.123456789012345678" for _ in range(5))]
    print_table([f"column {number}" for number in range(7)], [row], left=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line.startswith("samples")] == [row]


def test_long_ids_and_the_last_columns_are_shown_whole(command, archive, tmp_path):
    folder = tmp_path / ("a long name of a folder " * 6)
    folder.mkdir()
    shutil.copy(archive / "hexagonal_0.dat", folder)
    assert command("process", folder, "-o", tmp_path / "run", "--workers", 1).exit_code == 0
    before, after = change_value(tmp_path / "run", "samples", "lattice", lambda value: value * 1.25)
    done = command("verify", tmp_path / "run", "--workers", 1)
    [line] = [line for line in done.stdout.splitlines() if line.startswith("samples.lattice")]
    assert f"{folder.name}/hexagonal_0.dat" in line
    assert line.split()[-2:] == [f"{after}", f"{before}"]


def test_damage_is_named_under_its_heading(command, run):
    part = run / "peaks" / "part-000001.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    done = command("verify", run, "--workers", 1)
    assert done.exit_code == 1, done.output
    assert "computed again: 5 curves in 3 blocks" in done.stdout
    assert f"Damaged in the run directory:\n  {part}: is not what was written\n" in done.stdout
    assert "All is as it was" not in done.stdout


def test_a_list_of_inputs_that_is_gone_is_damage(command, run):
    (run / "inputs.parquet").unlink()
    done = command("verify", run, "--workers", 1)
    assert done.exit_code == 1, done.output
    assert "Damaged in the run directory:" in done.stdout
    assert f"{run / 'inputs.parquet'}: is not what was written" in done.stdout


def test_inputs_that_changed_are_named_and_a_long_list_is_cut(command, archive, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(25):
        shutil.copy(archive / "plain.dat", folder / f"{number:02d}.dat")
    assert command("process", folder, "-o", tmp_path / "run", "--workers", 1).exit_code == 0
    for path in folder.iterdir():
        path.unlink()
    done = command("verify", tmp_path / "run", "--workers", 1)
    assert done.exit_code == 1, done.output
    lines = done.stdout.splitlines()
    assert lines[1:3] == [
        "Inputs that have changed:",
        f"  {folder / '00.dat'}: is not what it was",
    ]
    assert lines[-1] == "  ... and 5 more"
    assert len(lines) == 2 + 20 + 1


def test_what_cannot_be_computed_again_is_named(command, run, monkeypatch):
    from gpusaxs.archive.reading import BlockReader

    def stumble(self, block):
        raise MemoryError("too large")

    monkeypatch.setattr(BlockReader, "__call__", stumble)
    done = command("verify", run, "--workers", 1, "--sample", "0.01")
    assert done.exit_code == 1, done.output
    assert "Could not be computed again:\n  block " in done.stdout
    assert ", reading: too large" in done.stdout


def test_another_backend_than_that_of_the_run_can_be_named(command, run):
    describe(run, lambda found: found.update(backend="abacus"))
    refused = command("verify", run)
    assert refused.exit_code == 2
    assert "abacus" in refused.stderr
    assert command("verify", run, "--backend", "numpy").exit_code == 0


def test_other_versions_are_remarks_and_exit_with_0(command, run):
    describe(run, lambda found: found["versions"].update(numpy="1.0"))
    describe(run, lambda found: found["stages"].update(phase="other"))
    done = command("verify", run, "--workers", 1)
    assert done.exit_code == 0, done.output
    assert "Since the run:\n  numpy was 1.0, is " in done.stdout
    assert "  the code, or a file that is read, is another one for: phase\n" in done.stdout


@pytest.mark.parametrize(
    ("share", "blocks"), [("1%", 1), ("0.01", 1), ("50%", 2), (".5", 2), ("100%", 4), ("1", 4)]
)
def test_a_sample_is_a_share_in_percent_or_not(command, kept, share, blocks):
    done = command("verify", kept, "--workers", 1, "--sample", share)
    assert done.exit_code == 0, done.output
    assert f" in {blocks} blocks\n" in done.stdout


@pytest.mark.parametrize("share", ["0", "0%", "101%", "1.5", "-1%", "nan", "inf", "some", "", "%"])
def test_what_is_no_share_exits_with_2(command, kept, share):
    done = command("verify", kept, f"--sample={share}")
    assert done.exit_code == 2
    assert "Expected a share such as 1% or 0.01" in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing_here"], "Expected a run directory"),
        (["{archive}"], "Expected a run directory"),
        (["{run}", "--tolerance", "-1"], "tolerance"),
        (["{run}", "--workers", "0"], "workers"),
        (["{run}", "--executor", "abacus"], "abacus"),
        (["{run}", "--backend", "abacus"], "abacus"),
        ([], "RUN"),
    ],
)
def test_a_wrong_command_exits_with_2_and_a_message(command, archive, kept, arguments, message):
    done = command("verify", *(word.format(archive=archive, run=kept) for word in arguments))
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output
