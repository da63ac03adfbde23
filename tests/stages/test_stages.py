"""What every stage has, and how one is found."""

from __future__ import annotations

import inspect
import pkgutil
import sys
import types

import numpy as np
import pytest
from pydantic import ValidationError

from gpusaxs import stages
from gpusaxs.errors import PipelineError
from gpusaxs.stages import stage_type, stage_types
from gpusaxs.stages.base import NO_REQUESTS, Stage, parameter

EVERY = pytest.mark.parametrize("name", stage_types())


@EVERY
def test_every_parameter_has_a_meaning_and_a_unit(name):
    for key, field in stage_type(name).model_fields.items():
        assert field.description, key
        assert field.description.endswith("."), key
        assert isinstance(field.json_schema_extra["unit"], str), key


@EVERY
def test_every_stage_says_what_it_does(name):
    kind = stage_type(name)
    assert inspect.cleandoc(kind.__doc__).splitlines()[0].endswith(".")
    assert kind.launch.__doc__


@EVERY
def test_every_stage_works_without_a_setting_and_bears_its_files_name(name):
    stage = stage_type(name)()
    assert stage.name == name
    assert stage == stage_type(name)()


@EVERY
def test_every_stage_refuses_a_parameter_that_it_does_not_have(name):
    with pytest.raises(ValidationError, match="winndow"):
        stage_type(name)(winndow=5)


@EVERY
def test_no_stage_changes_once_it_is_made(name):
    stage = stage_type(name)()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(stage, next(iter(type(stage).model_fields)), 1)


@EVERY
def test_every_stage_asks_only_for_stages_that_exist(name):
    assert set(stage_type(name)().targets) <= set(stage_types())


@EVERY
def test_every_default_is_within_its_own_bounds(name):
    kind = stage_type(name)
    assert kind(**kind().model_dump()) == kind()


def test_every_file_but_the_base_is_a_stage():
    files = {module.name for module in pkgutil.iter_modules(stages.__path__)} - {"base"}
    assert set(stage_types()) == files
    assert {"cut", "noise", "background", "filter", "find_peak", "process_peak", "phase"} <= files


def test_a_new_file_is_a_new_stage_and_needs_no_other_change(monkeypatch, tmp_path):
    (tmp_path / "shout.py").write_text(
        "from gpusaxs.stages.base import NO_REQUESTS, Stage, parameter\n"
        "class Shout(Stage):\n"
        "    loudness: float = parameter(1.0, 'How loud.')\n"
        "    def launch(self, batch, rows):\n"
        "        return NO_REQUESTS\n"
    )
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "gpusaxs.stages.shout", raising=False)
    stage_types.cache_clear()
    try:
        assert stage_type("shout")(loudness=2.0).name == "shout"
    finally:
        stage_types.cache_clear()
        sys.modules.pop("gpusaxs.stages.shout", None)


@pytest.mark.parametrize("number", [0, 2])
def test_a_file_has_one_stage(monkeypatch, tmp_path, number):
    lines = ["from gpusaxs.stages.base import Stage"]
    for i in range(number):
        lines += [f"class S{i}(Stage):", "    def launch(self, batch, rows): return {}"]
    (tmp_path / "several.py").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(stages, "__path__", [str(tmp_path)])
    stage_types.cache_clear()
    try:
        with pytest.raises(
            PipelineError, match=rf"one stage in gpusaxs.stages.several. Got {number}"
        ):
            stage_types()
    finally:
        stage_types.cache_clear()
        sys.modules.pop("gpusaxs.stages.several", None)


def test_an_unknown_stage_is_an_error_that_lists_the_known_ones():
    with pytest.raises(PipelineError, match=r"find_peak.*Got 'smooth'"):
        stage_type("smooth")


def test_a_stage_is_named_after_its_module():
    module = types.ModuleType("somewhere.sharpen")

    class Sharpen(Stage):
        """Nothing."""

        amount: float = parameter(1.0, "How much.", ge=0.0)

        def launch(self, batch, rows):
            return NO_REQUESTS

    Sharpen.__module__ = module.__name__
    assert Sharpen().name == "sharpen"
    assert not Sharpen().launch(None, np.array([0]))
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        Sharpen(amount=-1.0)
