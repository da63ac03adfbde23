"""The examples of docs/archives.md run, and what it says of files is so."""

import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gpusaxs.archive.directory import INPUT_FILES
from gpusaxs.archive.run import process_archive

PAGE = (Path(__file__).parents[2] / "docs" / "archives.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def example(run, tmp_path, monkeypatch):
    """Run the example that has some words in it beside a run, and return its names."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "run")

    def execute(words):
        [text] = [example for example in EXAMPLES if words in example]
        names = {}
        exec(text, names)
        return names

    return execute


def test_the_one_liners_open_the_tables(example):
    assert len(example("pandas")["samples"]) == 6
    assert len(example("polars")["wide"]) > 0
    assert len(example("duckdb")["phases"].fetchall()) > 1


def test_the_run_is_verified(example):
    assert example("verify_run")["found"].all_well


def test_the_run_is_processed_again_with_another_pipeline(example, capsys):
    assert example("reprocess_run")["summary"].curves == 6
    assert "changed: phase; from stored curves and peaks; computed: filter, phase" in (
        capsys.readouterr().out
    )


def test_every_file_of_a_run_is_named_on_the_page(archive, run, tmp_path):
    def interrupt(progress):
        if progress.blocks:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process_archive([archive], tmp_path / "run", executor="serial", progress=interrupt)
    for place in (run, tmp_path / "run"):
        for entry in place.iterdir():
            assert f"`{entry.name}{'/' if entry.is_dir() else ''}`" in PAGE
    assert pq.read_schema(run / "inputs.parquet").equals(INPUT_FILES)
