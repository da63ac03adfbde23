"""A blank that the metadata scale takes the same from a curve by whatever way it is processed."""

from pathlib import Path

import numpy as np
import pytest

import gpusaxs
from gpusaxs.archive.directory import read_table
from gpusaxs.archive.from_run import reprocess_run
from gpusaxs.archive.reduced import reduced_blocks
from gpusaxs.archive.run import process_archive
from gpusaxs.archive.verify import verify_run
from gpusaxs.io.nxcansas_writer import write_stack
from gpusaxs.pipeline import Pipeline

EXPOSURES = {"a.dat": 3.0, "b.dat": 6.0, "stack.h5#0": 4.0, "stack.h5#1": 5.0}
OPTIONS = {"backend": "numpy", "workers": 1}
STANDARD = Pipeline.load("standard")
WITHOUT = Pipeline.of([stage for stage in STANDARD.stages if stage.name != "background"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two text files that say nothing, a stack that says its exposures, and a table of some."""
    place = tmp_path_factory.mktemp("scaled")
    (place / "data").mkdir()
    curves = gpusaxs.simulate(4, seed=5, points=300, counts=20000.0)
    for row, name in enumerate(("a.dat", "b.dat")):
        columns = [curves.q, curves.intensity[row], curves.sigma[row]]
        np.savetxt(place / "data" / name, np.column_stack(columns), header="q(1/nm) I sigma")
    said = [{"exposure": 1.0}, {"exposure": 5.0}]
    rows = (curves.intensity[2:], curves.sigma[2:])
    write_stack(place / "data" / "stack.h5", curves.q, *rows, title="stack", metadata=said)
    np.savetxt(place / "blank.dat", np.column_stack([curves.q, 1.0 / curves.q]))
    # What is given beside the files goes before what they say: frame 0 has 4 s and not 1.
    table = "file,frame,exposure\na.dat,,3\nb.dat,,6\nstack.h5,0,4\n"
    (place / "table.csv").write_text(table, "utf-8")
    return place


@pytest.fixture(scope="module")
def pipeline(folder):
    return STANDARD.with_settings(
        [
            "background.mode=blank",
            "background.scale_by=exposure",
            "background.blank_exposure=2.0",
            f"background.blank_file={folder / 'blank.dat'}",
        ]
    )


@pytest.fixture(scope="module")
def run(folder, pipeline):
    place = folder / "run"
    given = {"metadata": folder / "table.csv", **OPTIONS}
    process_archive([folder / "data"], place, pipeline=pipeline, **given)
    return place


def scale_of(q, background):
    return np.median(background * q)


def test_the_table_given_with_the_files_scales_it_and_goes_before_what_they_say(folder, run):
    found = {
        Path(curve.row["id"]).name: scale_of(curve.q, curve.background)
        for block in reduced_blocks(run)
        for curve in block
    }
    expected = {name: exposure / 2.0 for name, exposure in EXPOSURES.items()}
    assert found == pytest.approx(expected, rel=1e-3)


def test_a_curve_that_is_looked_at_again_and_a_verified_run_are_the_same(run):
    result = gpusaxs.open_run(run)
    for sample in result:
        expected = EXPOSURES[Path(sample.id).name] / 2.0
        assert scale_of(sample.q, sample.background) == pytest.approx(expected, rel=1e-3)
    assert verify_run(run).all_well


@pytest.mark.parametrize("save_curves", [False, True])
def test_a_run_that_is_processed_again_has_it_from_files_and_from_stored_curves(
    folder, run, pipeline, save_curves, tmp_path
):
    given = {"metadata": folder / "table.csv", **OPTIONS}
    process_archive(
        [folder / "data"], tmp_path / "old", pipeline=WITHOUT, save_curves=save_curves, **given
    )
    reprocess_run(tmp_path / "old", tmp_path / "new", pipeline, **OPTIONS)
    for name in ("samples", "peaks", "phases"):
        assert read_table(tmp_path / "new", name).equals(read_table(run, name))
