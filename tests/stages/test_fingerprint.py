"""What names the code and the parameters of a stage, and when nothing can."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import Field, PrivateAttr

from gpusaxs.stages import stage_types
from gpusaxs.stages.base import NO_REQUESTS, FunctionStage, Stage

STAGE = """
from gpusaxs.stages.base import NO_REQUESTS, Stage
class Scale(Stage):
    factor: float = 2.0
    def launch(self, batch, rows):
        return NO_REQUESTS
"""


class Takes(Stage):
    """A stage with a parameter of any kind, and one that it does not show."""

    value: Any = None
    hidden: float = Field(1.0, exclude=True)

    def launch(self, batch, rows):
        return NO_REQUESTS


class Remembers(Takes):
    """A stage with something that is no parameter."""

    _seen: list[int] = PrivateAttr(default_factory=list)


def made(base):
    class Made(base):
        pass

    return Made


Lost = made(Takes)


class FromLost(Lost):
    """A stage that can be imported, but not what it is made of."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder from which modules can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def written(path: Path, code: str = STAGE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code)
    importlib.invalidate_caches()


def in_another_process(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_the_stages_of_the_package_have_names_which_differ():
    names = {kind().fingerprint() for kind in stage_types().values()}
    assert None not in names
    assert len(names) == len(stage_types())


def test_a_name_is_the_same_in_every_process():
    code = "from gpusaxs.stages.cut import Cut; print(Cut(q_min=0.1).fingerprint())"
    one, other = (in_another_process(code) for _ in range(2))
    assert one == other != "None"


def test_every_parameter_counts():
    values = [None, 1, 1.5, -0.0, 0.0, math.inf, -math.inf, math.nan, "1", "Infinity", True, [1, 2]]
    names = [Takes(value=value).fingerprint() for value in values]
    names += [Takes(hidden=2.0).fingerprint(), Takes(value=(1, (2, None))).fingerprint()]
    assert None not in names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "value", [object(), np.zeros(2), Path("a"), {1, 2}, b"a", print, 1j, Takes(), {(1, 2): 3}],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_parameter_that_is_not_plain_has_no_name(value):
    assert Takes(value=value).fingerprint() is None


def test_a_parameter_within_itself_has_no_name():
    around = []
    around.append(around)
    assert Takes.model_construct(value=around).fingerprint() is None


@pytest.mark.parametrize(
    "stage", [made(Takes)(), Lost(), FromLost(), Remembers(), FunctionStage(function=print)],
    ids=lambda stage: type(stage).__name__,
)  # fmt: skip
def test_what_has_more_to_it_than_code_and_parameters_has_no_name(stage):
    assert stage.fingerprint() is None


def test_a_class_without_a_file_has_no_name():
    assert in_another_process(f"{STAGE}\nprint(Scale().fingerprint())") == "None"


def test_code_beside_the_class_belongs_to_it(folder):
    names = set()
    for helper in ("FACTOR = 2.0", "FACTOR = 3.0"):
        written(folder / "helper.py", helper)
        written(folder / "scale.py", f"from helper import FACTOR{STAGE}")
        names.add(importlib.import_module("scale").Scale().fingerprint())
        del sys.modules["scale"]
    assert len(names) == 2


def test_all_of_a_package_belongs_to_a_class_in_it(folder):
    names = set()
    for kernel in ("FACTOR = 2.0", "FACTOR = 3.0"):
        written(folder / "package/__init__.py", "")
        written(folder / "package/kernels/scale.py", kernel)
        written(folder / "package/stages/scale.py")
        names.add(importlib.import_module("package.stages.scale").Scale().fingerprint())
        for name in [name for name in sys.modules if name.startswith("package")]:
            del sys.modules[name]
    assert len(names) == 2


def test_a_class_keeps_the_name_of_the_code_that_runs(folder):
    written(folder / "scale.py")
    module = importlib.import_module("scale")
    old = module.Scale()
    name = old.fingerprint()
    written(folder / "scale.py", STAGE.replace("2.0", "3.00"))
    assert old.fingerprint() == name == module.Scale().fingerprint()
    new = importlib.reload(module).Scale(factor=2.0)
    assert new.fingerprint() not in (name, None)
    assert old.fingerprint() is None


def test_the_same_code_in_another_module_has_another_name(folder):
    for name in ("one", "other"):
        written(folder / f"{name}.py")
    one, other = (importlib.import_module(name).Scale() for name in ("one", "other"))
    assert one.fingerprint() != other.fingerprint()
    assert one.fingerprint() == type(one)().fingerprint() != type(one)(factor=3.0).fingerprint()
