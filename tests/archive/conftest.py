"""A small archive of files and what `process` says of it."""

from pathlib import Path

import numpy as np
import pytest

from gpusaxs.archive.run import process_archive
from gpusaxs.simulate import simulate


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stack of four frames, a text file with q in 1/angstrom, and one that is empty."""
    folder = tmp_path_factory.mktemp("files") / "archive"
    simulation = simulate(5, seed=3, phases=["lamellar", "Im-3m"], counts=20000.0)
    simulate(4, seed=3, phases=["lamellar", "Im-3m"], counts=20000.0).write(folder)
    for table in ("truth.csv", "truth.parquet"):
        (folder / table).unlink()
    columns = [simulation.q / 10.0, simulation.intensity[4], simulation.sigma[4]]
    np.savetxt(folder / "one.dat", np.column_stack(columns), header="q(1/A) I sigma")
    (folder / "empty.dat").touch()
    return folder


@pytest.fixture(scope="session")
def run(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory of the archive, with its reduced curves."""
    place = tmp_path_factory.mktemp("runs") / "run"
    process_archive([archive], place, backend="numpy", workers=1, save_curves=True)
    return place
