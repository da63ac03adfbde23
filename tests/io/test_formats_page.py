"""What docs/formats.md says is so."""

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import gpusaxs
from gpusaxs.archive.directory import read_table
from gpusaxs.archive.run import process_archive
from gpusaxs.cli.main import app
from gpusaxs.io.nxcansas_writer import write_stack
from gpusaxs.metadata import FIELDS

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text("utf-8")
DATA = Path(__file__).parents[3] / "shared" / "data"


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def test_its_examples_in_python_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savetxt("curve.dat", np.column_stack([np.linspace(0.01, 0.3, 20), np.ones(20)]))
    for code in blocks("python"):
        exec(compile(code, "docs/formats.md", "exec"), {})
    assert "Origin(source='curve.dat'" in capsys.readouterr().out


def test_its_commands_and_options_are_those_of_the_program():
    lines = [line for line in "".join(blocks("")).splitlines() if line.startswith("gpusaxs ")]
    assert len(lines) > 10
    for line in lines:
        words = line.split("#")[0].split()
        usage = CliRunner().invoke(app, [words[1], "--help"], env={"COLUMNS": "200"})
        assert usage.exit_code == 0, line
        for option in (word for word in words if word.startswith("-")):
            assert option in usage.output, line


def test_it_lists_all_metadata_with_their_units():
    rows = dict(re.findall(r"\| `meta\.(\w+)` \| (.*?): ", PAGE))
    units = {"1": "share", "": "text"}
    assert rows == {name: units.get(f.unit, f.unit) for name, f in FIELDS.items()}


def test_its_table_beside_the_files_is_joined_as_it_says(tmp_path):
    [given] = [block for block in blocks("") if block.startswith("file,")]
    (tmp_path / "table.csv").write_text(given, "utf-8")
    curves = gpusaxs.simulate(4, seed=1)
    folder = tmp_path / "archive"
    for name, row in zip(("0001.dat", "series/0002.dat"), curves.intensity, strict=False):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(folder / name, np.column_stack([curves.q, row]), header="q(1/nm) I")
    write_stack(folder / "stack.h5", curves.q, curves.intensity[2:], None, title="")
    process_archive([folder], tmp_path / "run", metadata=tmp_path / "table.csv")
    columns = ["meta.composition", "meta.temperature", "meta.batch"]
    rows = read_table(tmp_path / "run", "samples", columns=columns).to_pylist()
    assert [row["meta.composition"] for row in rows] == [0.25, 0.30, 0.35, 0.35]
    assert [row["meta.temperature"] for row in rows] == pytest.approx(
        [25.0, 30.0, None, None], nan_ok=True
    )
    assert [row["meta.batch"] for row in rows] == ["A7", "A7", "B1", "B1"]


@pytest.mark.skipif(not DATA.is_dir(), reason="the measured data are not there: ../shared/data")
def test_the_files_that_formats_are_tested_on_exist():
    table = PAGE.split("## What is read")[1].split("The paths are")[0]
    cells = [line.split("|")[3] for line in table.strip().splitlines()[2:]]
    known = {path.name for path in DATA.rglob("*")} | {
        path.relative_to(DATA).as_posix() for path in DATA.rglob("*")
    }
    names = [name.rstrip("/") for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
    for name in names:
        if "*" in name:
            assert list(DATA.rglob(name)) or list(DATA.glob(name)), name
        else:
            assert name in known, name
    assert len(names) > 20


@pytest.mark.skipif(not DATA.is_dir(), reason="the measured data are not there: ../shared/data")
def test_every_measured_file_is_read_or_refused_in_one_run(tmp_path):
    process_archive([DATA], tmp_path / "run", pipeline=None)
    rows = read_table(tmp_path / "run", "samples").to_pylist()
    unreadable = {row["id"].split("/")[-1] for row in rows if "unreadable" in row["status"]}
    assert unreadable == {
        "README.md", "truth.csv", "gould_blanks.npy", "gould_hexagonal.npy", "gould_lamellar.npy",
        "FEB18012.ASC", "ascii_test_2.txt", "ascii_test_3.txt", "ascii_test_4.abs",
        "ascii_test_5.txt", "sec_saxs_242_frames.tar.xz#242",
    }  # fmt: skip
    assert {row["format"] for row in rows} == {
        None, "bift", "cansas_xml", "gnom", "nxcansas", "pdh", "raw_series", "text",
    }  # fmt: skip
    assert len(rows) == 513
