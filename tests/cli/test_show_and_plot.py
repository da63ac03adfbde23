import importlib.util

import pytest

import gpusaxs


def test_show_gives_the_summary_of_a_run(command, run):
    done = command("show", run)
    assert done.exit_code == 0
    assert "pipeline standard" in done.stdout
    assert ["hexagonal", "3"] in [line.split()[:2] for line in done.stdout.splitlines()]


def test_show_says_when_a_run_did_not_come_to_its_end(command, run, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    text = (copy / "run.json").read_text("utf-8").replace('"complete"', '"running"')
    (copy / "run.json").write_text(text, "utf-8")
    assert "did not come to its end" in command("show", copy).stdout


def test_show_gives_the_phase_and_the_peaks_of_a_curve(command, run):
    result = gpusaxs.open_run(run)
    sample = result["archive/hexagonal_1.dat"]
    done = command("show", run, "hexagonal_1")
    assert done.exit_code == 0
    words = [line.split() for line in done.stdout.splitlines()]
    assert ["phase", "hexagonal"] in words
    [lattice] = [line for line in words if line[:2] == ["lattice", "parameter"]]
    value, _, digits = lattice[2].rstrip(")").partition("(")
    decimals = len(value.partition(".")[2])
    best = sample.phases[0]
    assert float(value) == pytest.approx(best.lattice, abs=0.6 * 10.0**-decimals)
    assert int(digits) == pytest.approx(best.lattice_sigma * 10.0**decimals, abs=0.6)
    names = [line[4] for line in words if line and line[-1] in ("converged", "shape_at_limit")]
    assert [name for name in names if name != "no"][:2] == ["1", "√3"]


def test_a_part_of_several_ids_lists_them(command, run):
    done = command("show", run, "lamellar")
    assert done.exit_code == 2
    for number in range(3):
        assert f"archive/lamellar_{number}.dat" in done.stderr


@pytest.mark.parametrize("name", ["show", "plot"])
def test_an_id_that_is_not_there_exits_with_2(command, run, tmp_path, name):
    more = ["-o", tmp_path / "a.png"] if name == "plot" else []
    done = command(name, run, "nothing", *more)
    assert done.exit_code == 2
    assert "'nothing'" in done.stderr


def test_a_folder_without_a_run_exits_with_2(command, tmp_path):
    done = command("show", tmp_path)
    assert done.exit_code == 2
    assert "Expected a run directory" in done.stderr


def test_show_gives_the_reason_of_a_failed_curve(command, tmp_path):
    (tmp_path / "empty.dat").touch()
    assert command("process", tmp_path / "empty.dat", "-o", tmp_path / "run").exit_code == 1
    done = command("show", tmp_path / "run", "empty")
    assert done.exit_code == 0
    assert "is empty" in done.stdout
    plotted = command("plot", tmp_path / "run", "empty", "-o", tmp_path / "empty.png")
    assert plotted.exit_code == 2
    assert "is empty" in plotted.stderr


@pytest.mark.parametrize("name", ["hexagonal_0", "lamellar_0", "plain"])
def test_plot_writes_a_picture(command, run, tmp_path, name):
    done = command("plot", run, name, "-o", tmp_path / "curve.png")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_plot_knows_no_picture_of_that_kind(command, run, tmp_path):
    done = command("plot", run, "plain", "-o", tmp_path / "curve.doc")
    assert done.exit_code == 2
    assert ".png" in done.stderr


def test_plot_without_matplotlib_says_what_to_install(command, run, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name == "matplotlib" else found(name)
    )
    done = command("plot", run, "plain", "-o", tmp_path / "curve.png")
    assert done.exit_code == 2
    assert "pip install 'gpusaxs[plot]'" in done.stderr


def test_show_tells_what_is_known_of_a_curve_beside_its_numbers(command, archive, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("file,temperature (K),transmission,batch\nplain.dat,300.15,0.5,A7\n")
    run = tmp_path / "run"
    assert command("process", archive, "-o", run, "--metadata", table).exit_code == 0
    lines = [line.split() for line in command("show", run, "plain").output.splitlines()]
    assert ["temperature", "27", "°C"] in lines
    assert ["transmission", "0.5"] in lines
    assert ["batch", "A7"] in lines
    assert not any(
        line[:1] == ["batch"]
        for line in map(str.split, command("show", run, "lamellar_0").output.splitlines())
    )
