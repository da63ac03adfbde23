"""A folder with every way in which a file can be bad: the others must not suffer."""

from pathlib import Path

import numpy as np
import pytest

import gpusaxs
from gpusaxs.io import read
from gpusaxs.simulate import simulate

FAILURES = {
    "empty.dat": "is empty",
    "noise.bin": "is a binary file",
    "words.txt": "without numbers",
    "cut_off.h5": "damaged HDF5",
    "nothing.pdh": "declares 0 points",
    "two_points.dat": "too few usable points",
    "zeros.dat": "zero or constant",
}
REMARKS = {
    "nan_and_inf.dat": "points_dropped",
    "sigma_zero_or_negative.dat": "sigma_estimated",
    "negative_q.dat": "points_dropped",
    "decreasing_q.dat": "q_reordered",
    "duplicate_q.dat": "q_merged",
}
GOOD = ("good_1.dat", "good_2.dat", "million.npy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every bad file, and the same curve in good ones."""
    place = tmp_path_factory.mktemp("files") / "bad"
    place.mkdir()
    clear = simulate(3, seed=5, phases=["hexagonal"], counts=20000.0)
    curves = [
        np.column_stack([clear.q, clear.intensity[row], clear.sigma[row]]) for row in range(3)
    ]
    (place / "empty.dat").touch()
    (place / "noise.bin").write_bytes(np.random.default_rng(0).bytes(5000))
    (place / "words.txt").write_text("Dear diary,\nno numbers today.\n", "utf-8")
    whole = clear.write(place.parent / "whole").read_bytes()
    (place / "cut_off.h5").write_bytes(whole[: len(whole) // 2])
    lines = ["no points", "SAXS BOX", "  0" * 8, "  0.0" * 5, "  0.0" * 5, ""]
    (place / "nothing.pdh").write_text("\n".join(lines), "utf-8")
    save(place / "two_points.dat", curves[0][:2])
    save(place / "zeros.dat", curves[0] * [1.0, 0.0, 1.0])
    save(place / "nan_and_inf.dat", changed(curves[0], slice(50, 60, 5), 1, [np.nan, np.inf]))
    save(place / "sigma_zero_or_negative.dat", changed(curves[0], slice(70, 80, 5), 2, [0.0, -1.0]))
    save(place / "negative_q.dat", changed(curves[0], slice(0, 2), 0, [-0.2, -0.1]))
    save(place / "decreasing_q.dat", curves[0][::-1])
    save(place / "duplicate_q.dat", np.repeat(curves[0], [2] * 10 + [1] * 990, axis=0))
    save(place / "good_1.dat", curves[1])
    save(place / "good_2.dat", curves[2])
    q = np.linspace(0.1, 3.0, 1_000_000)
    rows = [np.interp(q, clear.q, clear.expected[0]), np.interp(q, clear.q, clear.sigma[0])]
    noise = np.random.default_rng(1).standard_normal(q.size)
    np.save(place / "million.npy", np.column_stack([q, rows[0] + rows[1] * noise, rows[1]]))
    return place


def save(path: Path, columns: np.ndarray) -> None:
    np.savetxt(path, columns, header="q (1/nm)  intensity  sigma")


def changed(columns: np.ndarray, rows: slice, column: int, values: list[float]) -> np.ndarray:
    columns = columns.copy()
    columns[rows, column] = values
    return columns


@pytest.fixture(scope="module")
def done(folder, command, tmp_path_factory):
    """The command's end, and its run."""
    place = tmp_path_factory.mktemp("runs") / "run"
    ended = command("process", folder, "-o", place, "--workers", 2)
    return ended, gpusaxs.open_run(place)


def test_some_failures_make_the_exit_code_1(done):
    ended, _ = done
    assert ended.exit_code == 1, ended.output
    assert "Traceback" not in ended.output


@pytest.mark.parametrize(("name", "reason"), FAILURES.items())
def test_each_failure_has_its_reason_in_the_summary_and_in_samples(done, name, reason):
    ended, result = done
    [row] = [row for row in result.samples.to_pylist() if row["id"] == f"bad/{name}"]
    assert row["verdict"] == "failed"
    assert row["phase"] is None
    assert reason in row["reason"]
    assert any(f"bad/{name}: " in line and reason in line for line in ended.stdout.splitlines())


@pytest.mark.parametrize(("name", "remark"), REMARKS.items())
def test_a_curve_with_a_few_bad_points_is_processed_and_says_so(done, name, remark):
    _, result = done
    [row] = [row for row in result.samples.to_pylist() if row["id"] == f"bad/{name}"]
    assert row["verdict"] == "identified"
    assert row["phase"] == "hexagonal"
    assert remark in row["status"]


def test_nothing_fails_but_what_must(done):
    _, result = done
    rows = result.samples.to_pylist()
    failed = {Path(row["id"]).name for row in rows if row["verdict"] == "failed"}
    assert failed == set(FAILURES)
    assert len(rows) == len(FAILURES) + len(REMARKS) + len(GOOD)


@pytest.mark.parametrize("name", [*REMARKS, *GOOD])
def test_every_other_curve_gets_the_same_results_as_alone(done, folder, name):
    _, result = done
    [sample] = read(folder / name)
    alone = gpusaxs.process(
        sample.q, sample.intensity, sample.sigma, q_unit="1/nm", ids=[f"bad/{name}"]
    )
    for table in ("samples", "peaks", "phases"):
        mine = [row for row in getattr(result, table).to_pylist() if row["id"] == f"bad/{name}"]
        theirs = getattr(alone, table).to_pylist()
        for column in ("source", "frame", "format", "q_unit", "q_unit_from", "status", "reason"):
            for row in (*mine, *theirs):
                if table == "samples":
                    row.pop(column)
        assert repr(mine) == repr(theirs)  # NaN equals NaN, and no digit is lost


def test_the_order_of_the_table_is_that_of_the_files(done, folder):
    _, result = done
    names = sorted(path.name for path in folder.iterdir())
    assert result.samples["id"].to_pylist() == [f"bad/{name}" for name in names]
