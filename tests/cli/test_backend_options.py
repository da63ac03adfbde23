import pytest

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.runtime import runtime

COMMANDS = {
    "process": ("process", "curves.dat", "-o", "run"),
    "check": ("check", "curves.dat"),
    "verify": ("verify", "run"),
    "export": ("export", "run", "-o", "out", "--format", "ascii"),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("backend", ["gpu", "cuda:x", "cuda:0,"])
def test_the_name_of_no_backend_is_refused_before_anything_else(command, name, backend):
    done = command(*COMMANDS[name], "--backend", backend)
    assert done.exit_code == 2
    assert "Expected backend" in done.stderr
    assert "cuda:0,1" in done.stderr


def test_what_is_no_amount_of_memory_is_refused(command):
    done = command(*COMMANDS["process"], "--device-memory", "20 apples")
    assert done.exit_code == 2
    assert "such as" in done.stderr


def test_the_memory_of_the_command_line_reaches_the_backend(command, tmp_path, monkeypatch):
    asked = []

    def get_backend(name, workers, device_memory):
        asked.append((name, device_memory))
        return NumpyBackend(workers)

    monkeypatch.setattr(runtime, "get_backend", get_backend)
    command("simulate", "-o", tmp_path / "sim", "--curves", 2, "--points", 300)
    given = ("--backend", "cuda:1", "--device-memory", "20GB")
    done = command("process", tmp_path / "sim" / "curves.h5", "-o", tmp_path / "run", *given)
    assert done.exit_code == 0, done.output
    again = command(
        "process", "--from-run", tmp_path / "run", "--set", "phase.min_margin=2",
        "-o", tmp_path / "run2", *given,
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    assert asked.count(("cuda:1", "20GB")) >= 2
