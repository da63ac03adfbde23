"""docs/solution.md names stages, parameters and numbers that exist, and its commands work."""

from __future__ import annotations

import re
from pathlib import Path

from gpusaxs.pipeline import Pipeline
from gpusaxs.stages import stage_type

PAGE = Path(__file__).parents[2] / "docs" / "solution.md"
STAGES = ("guinier", "porod", "kratky")


def named():
    """Words that the page sets as code."""
    plain = re.sub(r"```.*?```", "", PAGE.read_text("utf-8"), flags=re.DOTALL)
    return set(re.findall(r"`([a-z_0-9.]+)`", plain))


def test_every_number_on_the_page_exists():
    known = {f"{name}.{n.name}" for name in STAGES for n in stage_type(name).leaves}
    told = {word for word in named() if word.split(".")[0] in STAGES and "." in word}
    assert len(told) >= 8
    assert told <= known


def test_every_other_word_on_the_page_is_a_parameter_a_word_or_a_name_of_freesas():
    stages = [stage_type(name) for name in STAGES]
    known = {name for stage in stages for name in stage.model_fields}
    numbers = [number for stage in stages for number in stage.leaves]
    known |= {number.name for number in numbers}
    known |= {word for number in numbers for word in number.words}
    known |= {stage.name for stage in Pipeline.load("solution").stages}
    known |= {"auto_gpa", "auto_guinier", "curve_fit", "samples", "verdict"}
    other = {word for word in named() if "." not in word} - known
    assert not other


def test_every_word_for_a_missing_range_is_explained():
    for number in stage_type("guinier").leaves:
        assert set(number.words) <= named()


def test_the_preset_has_the_stages_that_the_page_says():
    stages = [stage.name for stage in Pipeline.load("solution").stages]
    line = "`, `".join(stages)
    assert f"`{line}`" in PAGE.read_text("utf-8")
