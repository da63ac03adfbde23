"""Written NXcanSAS files are valid, and open in the reader of SasView."""

import re
import subprocess
import sysconfig
import warnings
from pathlib import Path

import numpy as np
import pytest

from gpusaxs.archive.convert import convert
from gpusaxs.archive.export import export_run
from gpusaxs.archive.opened import open_run
from gpusaxs.io.nxcansas_writer import write_stack

Q = np.linspace(0.1, 5.0, 30)
SAID = {
    "title": "a series",
    "time": "2024-10-11T17:54:52",
    "sample": "lysozyme",
    "transmission": 0.5,
    "thickness": 1.0,
    "temperature": 25.0,
    "concentration": 5.0,
    "exposure": 0.1,
    "resolution": 0.03,
    "relative_resolution": 0.1,
}


def errors_of(path):
    """Lines in which punx, the validator of NeXus files, finds an error."""
    punx = Path(sysconfig.get_path("scripts")) / "punx"
    done = subprocess.run([punx, "validate", path], capture_output=True, text=True, check=True)
    assert "summary statistics" in done.stdout
    return [line for line in done.stdout.splitlines() if re.match(r"/\S*\s+ERROR\s", line)]


def loaded(path):
    """Curves as SasView has them: q in 1/angstrom."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sasdata.dataloader.loader import Loader

        found = Loader().load(str(path))
    assert [curve.errors for curve in found] == [[]] * len(found)
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "stack.h5"


@pytest.mark.parametrize(
    ("with_sigma", "frames", "said"),
    [
        (True, 1, None),
        (False, 3, None),
        (True, 3, [SAID]),
        (False, 1, [SAID]),
        (True, 3, [SAID, {}, SAID]),
    ],
)
def test_a_stack_is_valid_and_opens(path, with_sigma, frames, said):
    rows = np.exp(-np.outer(np.arange(frames) + 1.0, Q))
    metadata = None if said is None else (said * frames)[:frames]
    sigma = 0.1 * rows if with_sigma else None
    write_stack(path, Q, rows, sigma, title="t", names=["a"] * frames, metadata=metadata)
    assert errors_of(path) == []
    found = loaded(path)
    assert len(found) == frames
    assert np.allclose(found[-1].x, Q / 10.0)
    assert np.array_equal(found[-1].y, rows[-1])
    if with_sigma:
        assert np.array_equal(found[-1].dy, 0.1 * rows[-1])
    if said is not None:
        assert found[0].sample.name == "lysozyme" or frames > 1


def test_a_converted_folder_is_valid_and_opens(tmp_path, path):
    for number in range(3):
        columns = [Q * (1.0 + number), Q + number, np.sqrt(Q)]
        np.savetxt(tmp_path / f"{number}.dat", np.column_stack(columns), header="q(1/nm) I s")
    convert([tmp_path / "*.dat"], path)
    assert errors_of(path) == []
    for number, curve in enumerate(loaded(path)):
        assert np.allclose(curve.x, Q * (1.0 + number) / 10.0)
        assert np.allclose(curve.y, Q + number)
        assert np.allclose(curve.dy, np.sqrt(Q))


def test_frames_with_a_q_each_are_valid(tmp_path, path, monkeypatch):
    monkeypatch.setattr("gpusaxs.archive.convert.MOST_SINGLE", 1)
    for number in range(3):
        columns = [Q * (1.0 + number), Q + number, np.sqrt(Q)]
        np.savetxt(tmp_path / f"{number}.dat", np.column_stack(columns), header="q(1/nm) I s")
    assert convert([tmp_path / "*.dat"], path).stacks == 1
    assert errors_of(path) == []


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    export_run(run, folder / "all.h5", "nxcansas")
    export_run(run, folder / "curves", "nxcansas")
    return folder


def test_exported_curves_are_valid(exported):
    assert errors_of(exported / "all.h5") == []
    assert errors_of(min((exported / "curves").iterdir())) == []


def test_exported_curves_open_with_what_was_done(run, exported):
    result = open_run(run)
    known = [row for row in result.samples.to_pylist() if row["verdict"] != "failed"]
    found = loaded(exported / "all.h5")
    assert [curve.run for curve in found] == [[row["id"]] for row in known]
    for curve, row in zip(found, known, strict=True):
        sample = result[row["id"]]
        assert np.allclose(curve.x, sample.q / 10.0)
        assert np.array_equal(curve.y, sample.intensity)
        assert np.array_equal(curve.dy, sample.sigma)
        assert curve.process[0].name == "gpusaxs"
