"""A folder of several formats and units comes out as one table in 1/nm."""

import numpy as np
import pytest

import gpusaxs
from gpusaxs.archive.directory import read_table
from gpusaxs.archive.run import process_archive
from gpusaxs.io.nxcansas_writer import write_stack

FACTORS = {"1/nm": 1.0, "1/angstrom": 10.0, "1/m": 1e-9}


@pytest.fixture(scope="module")
def curves():
    return gpusaxs.simulate(1, seed=2, phases=["lamellar"], counts=20000)


@pytest.fixture
def folder(tmp_path, curves):
    """The same curve in all formats that gpusaxs or numpy write, in all units, and unstated."""
    place = tmp_path / "mixed"
    place.mkdir()
    intensity, sigma = curves.intensity[0], curves.sigma[0]
    spelled = {"1/nm": "nm^-1", "1/angstrom": "Å⁻¹", "1/m": "m-1"}
    for number, (unit, factor) in enumerate(FACTORS.items()):
        q = curves.q / factor
        rows = np.column_stack([q, intensity, sigma])
        header = f"q ({spelled[unit]}) I sigma"
        np.savetxt(place / f"text_{number}.dat", rows, header=header, encoding="utf-8")
        np.savez(place / f"numpy_{number}.npz", q=q, intensity=intensity, sigma=sigma, q_unit=unit)
        write_stack(
            place / f"stack_{number}.h5", q, intensity[None], sigma[None], title="", q_unit=unit
        )
    np.savetxt(place / "unstated.dat", np.column_stack([curves.q / 10.0, intensity, sigma]))
    return place


def test_every_curve_has_the_same_q_and_says_where_its_unit_is_from(folder, tmp_path, curves):
    process_archive([folder], tmp_path / "run")
    rows = read_table(tmp_path / "run", "samples").to_pylist()
    assert len(rows) == 10
    for row in rows:
        assert row["q_max"] == pytest.approx(rows[0]["q_max"], rel=1e-12)
        assert row["lattice"] == pytest.approx(rows[0]["lattice"], rel=1e-9)
        if row["id"].endswith("unstated.dat"):
            assert (row["q_unit"], row["q_unit_from"]) == ("1/angstrom", "guess")
            assert "q_unit_guessed" in row["status"]
        else:
            unit = list(FACTORS)[int(row["id"].split("_")[-1][0])]
            assert (row["q_unit"], row["q_unit_from"]) == (unit, "metadata")
            assert "q_unit_guessed" not in row["status"]
    assert {row["verdict"] for row in rows} == {"identified"}


def test_the_unit_that_the_caller_gives_goes_before_what_files_say(folder, tmp_path):
    process_archive([folder / "unstated.dat"], tmp_path / "run", q_unit="1/nm")
    [row] = read_table(tmp_path / "run", "samples").to_pylist()
    assert (row["q_unit"], row["q_unit_from"]) == ("1/nm", "argument")
