import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

import gpusaxs
from gpusaxs.archive.tracked import curves_to_draw
from gpusaxs.errors import RunDirectoryError
from gpusaxs.phases import PHASE_BY_NAME
from gpusaxs.series import SCHEMAS

PATTERN = r"T(?P<temperature>\d+)"


@pytest.fixture(scope="module")
def curves(tmp_path_factory):
    """A lamellar phase that shrinks up to 30 degrees; a smooth curve at 40 and 50."""
    folder = tmp_path_factory.mktemp("series") / "curves"
    folder.mkdir()
    rng = np.random.default_rng(5)
    q = np.linspace(0.2, 4.5, 900)
    for warm in (10, 20, 30, 40, 50):
        mean = 30.0 / q**2 + 20.0
        if warm < 40:
            for centre in PHASE_BY_NAME["lamellar"].q(6.0 - 0.01 * warm)[:4]:
                mean += 2000.0 * np.exp(-4.0 * np.log(2.0) * ((q - centre) / 0.03) ** 2)
        counts = rng.poisson(mean)
        columns = [q, counts, np.sqrt(np.maximum(counts, 1))]
        np.savetxt(folder / f"lipid_T{warm}.dat", np.column_stack(columns))
    np.savetxt(folder / "lipid_T60.dat", np.column_stack([q, np.zeros_like(q)]))
    return folder


@pytest.fixture(scope="module")
def processed(command, curves, tmp_path_factory):
    """Run directory of the curves, with their series."""
    place = tmp_path_factory.mktemp("runs") / "run"
    options = ["--q-unit", "1/nm", "--workers", 1, "--series", "temperature (°C)"]
    done = command("process", curves, "-o", place, *options, "--from-name", PATTERN)
    assert done.exit_code == 1, done.output  # one curve holds no signal
    return place, done.stdout


def words(output):
    return [line.split() for line in output.splitlines()]


def test_process_tracks_and_tells(processed):
    _, output = processed
    assert ["6", "curves", "along", "temperature", "(°C)"] in words(output)
    [phase] = [line for line in words(output) if line[:1] == ["lamellar"] and len(line) == 7]
    assert phase[1:5] == ["10", "30", "3", "0"]
    assert [float(lattice) for lattice in phase[5:]] == pytest.approx([5.9, 5.7], abs=0.005)
    assert ["lamellar", "to", "none", "30", "40", "0", "3", "2"] in words(output)


def test_the_tables_are_in_the_run_and_are_read_again(command, processed):
    run, output = processed
    series = gpusaxs.open_series(run)
    for name in SCHEMAS:
        assert pq.read_table(run / "series" / f"{name}.parquet") == getattr(series, name)
    assert series == gpusaxs.track(gpusaxs.open_run(run), "temperature (°C)", from_name=PATTERN)
    again = command("series", run)
    assert again.exit_code == 0
    assert again.stdout in output


def test_a_later_look_along_something_else_takes_the_place_of_the_first(
    command, processed, tmp_path
):
    run = shutil.copytree(processed[0], tmp_path / "run")
    done = command("series", run, "order", "--csv", tmp_path / "csv")
    assert done.exit_code == 0, done.output
    assert gpusaxs.open_series(run).along.name == "order"
    assert (tmp_path / "csv" / "transitions.csv").read_text().splitlines()[1].startswith(",2,3,")
    assert command("verify", run).exit_code in (0, 1)
    assert gpusaxs.verify_run(run, workers=1).damaged == []


def test_series_by_a_column_name_it(command, processed, tmp_path):
    run = shutil.copytree(processed[0], tmp_path / "run")
    done = command("series", run, "order", "--by", "digit", "--from-name", r"T(?P<digit>\d)")
    assert ["6", "curves", "along", "order,", "6", "series", "by", "digit"] in words(done.stdout)
    assert ["lamellar", "1", "0", "0", "1", "0"] in [line[:6] for line in words(done.stdout)]
    assert "No transition was found." in done.stdout


def test_a_column_that_will_not_be_there_is_refused_before_anything_is_processed(
    command, curves, tmp_path
):
    done = command("process", curves, "-o", tmp_path / "run", "--series", "temprature")
    assert done.exit_code == 2
    assert "'temprature'" in done.stderr
    assert not (tmp_path / "run").exists()
    table = tmp_path / "table.csv"
    table.write_text("file,dose\nlipid_T10,1\n")
    options = ["--metadata", table, "--series", "dose", "--q-unit", "1/nm", "--workers", 1]
    done = command("process", curves, "-o", tmp_path / "run", *options)
    assert "1 curve along dose" in done.stdout
    assert "5 curves left out" in done.stdout


def test_numbers_of_stages_are_coordinates(command, curves, tmp_path):
    options = ["--pipeline", "solution", "--q-unit", "1/nm", "--workers", 1, "--limit", 2]
    done = command("process", curves, "-o", tmp_path / "run", *options, "--series", "porod.i0")
    assert done.exit_code == 2
    assert "porod.exponent" in done.stderr
    options += ["--series", "porod.exponent"]
    assert (
        "curves along porod.exponent"
        in command("process", curves, "-o", tmp_path / "run", *options).stdout
    )


def test_a_run_is_processed_again_with_a_series(command, processed, tmp_path):
    options = ["--set", "phase.min_margin=2", "--workers", 1, "--series", "order"]
    done = command("process", "--from-run", processed[0], "-o", tmp_path / "run", *options)
    assert "6 curves along order" in done.stdout


@pytest.mark.parametrize(
    "options",
    [
        ["process", "x.dat", "-o", "run", "--series-by", "temperature"],
        ["process", "x.dat", "-o", "run", "--from-name", PATTERN],
        ["series", "run", "--by", "temperature"],
        ["plot", "run", "-o", "a.png"],
        ["plot", "run", "curve", "-o", "a.png", "--map"],
        ["plot", "run", "curve", "-o", "a.png", "--only", "3"],
        ["plot", "run", "-o", "a.png", "--map", "--series-by", "x"],
    ],
)
def test_options_that_do_not_go_together_are_refused(command, options):
    done = command(*options)
    assert done.exit_code == 2
    assert "Expected" in done.stderr


def test_a_run_without_a_series_says_how_to_get_one(command, run, tmp_path):
    for asked in (["series", run], ["plot", run, "--map", "-o", tmp_path / "a.png"]):
        done = command(*asked)
        assert done.exit_code == 2
        assert "gpusaxs series" in done.stderr


def test_a_series_of_other_results_is_not_shown(processed, tmp_path):
    run = shutil.copytree(processed[0], tmp_path / "run")
    description = json.loads((run / "run.json").read_text())
    description["blocks"][0]["parts"]["peaks"] = "other"
    (run / "run.json").write_text(json.dumps(description))
    with pytest.raises(RunDirectoryError, match="not what it was"):
        gpusaxs.open_series(run)


def test_a_series_that_is_damaged_is_not_shown(processed, tmp_path):
    run = shutil.copytree(processed[0], tmp_path / "run")
    (run / "series" / "branches.parquet").write_bytes(b"")
    with pytest.raises(RunDirectoryError, match="Cannot read the series"):
        gpusaxs.open_series(run)


def test_a_run_that_did_not_end_has_no_series(processed, tmp_path):
    run = shutil.copytree(processed[0], tmp_path / "run")
    text = (run / "run.json").read_text("utf-8").replace('"complete"', '"stopped"')
    (run / "run.json").write_text(text, "utf-8")
    with pytest.raises(RunDirectoryError, match="--resume"):
        gpusaxs.track_run(run, "order")


def test_the_map_of_a_run_is_a_picture(command, processed, tmp_path):
    for number, options in enumerate(([], ["--series", "order", "--without-curves"])):
        target = tmp_path / f"{number}.png"
        done = command("plot", processed[0], "--map", "-o", target, *options)
        assert done.exit_code == 0, done.output
        assert target.read_bytes().startswith(b"\x89PNG")
    assert gpusaxs.open_series(processed[0]).along.name == "temperature"


def test_one_of_several_series_is_drawn(command, processed, tmp_path):
    options = ["--series", "order", "--series-by", "d", "--from-name", r"T(?P<d>\d)"]
    done = command("plot", processed[0], "--map", "-o", tmp_path / "a.png", *options, "--only", "1")
    assert done.exit_code == 0, done.output
    wrong = command("plot", processed[0], "--map", "-o", tmp_path / "a.png", *options, "--only", 9)
    assert wrong.exit_code == 2
    assert "1, 2, 3" in wrong.stderr


def test_curves_for_a_picture_are_as_measured_where_the_run_keeps_none(processed, curves):
    run, _ = processed
    ids = [f"curves/lipid_T{warm}.dat" for warm in (40, 60, 10)]
    found = curves_to_draw(run, ids)
    assert [sample.id for sample in found] == [ids[0], ids[2]]
    assert all(sample.background is None for sample in found)
    q, intensity, _ = np.loadtxt(curves / "lipid_T10.dat", unpack=True)
    np.testing.assert_array_equal(found[1].q, q)
    np.testing.assert_array_equal(found[1].intensity, intensity)


def test_frames_of_a_stack_are_read_as_few_as_needed(command, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    q = np.linspace(0.1, 3.0, 100)
    rows = 10.0 / q**2 + rng.normal(0.0, 0.1, (200, 100))
    np.savez(tmp_path / "stack.npz", q=q, intensity=rows)
    run = tmp_path / "run"
    gpusaxs.process_archive([tmp_path / "stack.npz"], run, q_unit="1/nm", workers=1)
    read = []

    from gpusaxs.archive import tracked

    def noted(file, q_unit, frames, *more):
        read.append(frames)
        return tracked_read(file, q_unit, frames, *more)

    tracked_read = tracked.read_frames
    monkeypatch.setattr(tracked, "read_frames", noted)
    ids = [f"stack.npz#{frame}" for frame in (3, 5, 190)]
    found = curves_to_draw(run, ids)
    assert read == [range(3, 6), range(190, 191)]
    for sample, frame in zip(found, (3, 5, 190), strict=True):
        np.testing.assert_array_equal(sample.intensity, rows[frame])


def test_curves_for_a_picture_are_reduced_where_the_run_keeps_them(curves, tmp_path):
    run = tmp_path / "run"
    gpusaxs.process_archive([curves], run, q_unit="1/nm", workers=1, save_curves=True)
    [sample] = curves_to_draw(run, ["curves/lipid_T30.dat"])
    same = gpusaxs.open_run(run)["curves/lipid_T30.dat"]
    np.testing.assert_array_equal(sample.intensity, same.intensity)
    np.testing.assert_array_equal(sample.background, same.background)


def test_without_its_inputs_a_map_can_be_drawn_without_curves(command, curves, tmp_path):
    copy = shutil.copytree(curves, tmp_path / "curves")
    run = tmp_path / "run"
    gpusaxs.process_archive([copy], run, q_unit="1/nm", workers=1)
    gpusaxs.track_run(run, "order")
    (copy / "lipid_T20.dat").unlink()
    done = command("plot", run, "--map", "-o", tmp_path / "a.png")
    assert done.exit_code == 2
    assert "lipid_T20.dat" in done.stderr
    assert "--without-curves" in done.stderr
    done = command("plot", run, "--map", "-o", tmp_path / "a.png", "--without-curves")
    assert done.exit_code == 0
