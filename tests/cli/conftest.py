"""A runner of commands, and one processed archive for all tests of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from gpusaxs.cli.main import app
from gpusaxs.simulate import simulate

Command = Callable[..., Result]


@pytest.fixture(scope="session")
def command() -> Command:
    """Run ``gpusaxs ARGUMENTS`` in this process."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three lamellar and three hexagonal curves without flaws, and one without a phase."""
    folder = tmp_path_factory.mktemp("files") / "archive"
    folder.mkdir()
    for phase in ("lamellar", "hexagonal"):
        found = simulate(10, seed=5, phases=[phase], counts=20000.0)
        clear = np.flatnonzero(found.truth["visible"].to_numpy() >= 4)[:3]
        for name, row in enumerate(clear):
            columns = [found.q, found.intensity[row], found.sigma[row]]
            np.savetxt(folder / f"{phase}_{name}.dat", np.column_stack(columns))
    plain = simulate(1, seed=1, negatives=1.0, negative_kinds=["protein"])
    np.savetxt(folder / "plain.dat", np.column_stack([plain.q, plain.intensity[0], plain.sigma[0]]))
    return folder


@pytest.fixture(scope="session")
def run(archive: Path, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run directory of the archive."""
    place = tmp_path_factory.mktemp("runs") / "run"
    done = command("process", archive, "--output", place, "--q-unit", "1/nm", "--workers", 1)
    assert done.exit_code == 0, done.output
    return place
