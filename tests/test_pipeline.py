import json
import math
import tomllib
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpusaxs.errors import PipelineError
from gpusaxs.pipeline import PRESETS, Pipeline, json_schema, presets
from gpusaxs.runtime.policy import Always, PerSample
from gpusaxs.stages import stage_types
from gpusaxs.stages.base import StageResult
from gpusaxs.stages.cut import Cut
from gpusaxs.stages.filter import Filter
from gpusaxs.stages.find_peak import FindPeak
from gpusaxs.stages.phase import Phase
from gpusaxs.stages.process_peak import ProcessPeak

SHORT = """
name = "short"
stages = ["cut", "find_peak", "process_peak", "phase"]
checkpoints = ["phase"]

[cut]
q_min = 0.2

[find_peak]
prominence = [1.0, 50.0]

[phase]
phases = ["lamellar", "hexagonal"]

[insertion.process_peak]
policy = "per_sample"
limit = 5
"""


def test_a_pipeline_is_read_from_toml():
    pipeline = Pipeline.from_toml(SHORT)
    assert pipeline == Pipeline.of(
        [
            Cut(q_min=0.2),
            FindPeak(prominence=(1.0, 50.0)),
            ProcessPeak(),
            Phase(phases=("lamellar", "hexagonal")),
        ],
        name="short",
        insertion={"process_peak": PerSample(limit=5)},
        checkpoints=("phase",),
    )


def test_a_pipeline_without_a_name_bears_that_of_its_file(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('stages = ["cut"]')
    assert Pipeline.load(path).name == "mine"
    assert Pipeline.load(str(path)) == Pipeline.load(path)


def test_a_pipelines_document_gives_an_equal_pipeline():
    for pipeline in (Pipeline.from_toml(SHORT), *map(Pipeline.load, presets())):
        assert Pipeline.from_document(pipeline.document()) == pipeline


@given(
    st.builds(Cut, q_min=st.none() | st.floats(0.0, 1.0), skip_first=st.integers(0, 9)),
    st.builds(Filter, window=st.sampled_from([3, 5, 7]), replace=st.booleans()),
    st.lists(st.sampled_from(["cut", "filter"]), unique=True),
)
def test_any_parameters_survive_a_round_trip(cut, smoothing, checkpoints):
    pipeline = Pipeline.of([smoothing, cut], checkpoints=tuple(checkpoints))
    assert Pipeline.from_document(pipeline.document()) == pipeline


@pytest.mark.parametrize("value", [None, 0.0, math.inf])
def test_a_parameter_that_is_none_against_its_default_survives_a_round_trip(value):
    pipeline = Pipeline.of([FindPeak(height_noise=value), ProcessPeak()])
    written = json.dumps(pipeline.document())
    assert Pipeline.from_document(json.loads(written)) == pipeline


def test_a_function_has_no_toml():
    def mine(sample, metadata):
        return StageResult(sample, metadata)

    with pytest.raises(PipelineError, match="'mine' is a Python function"):
        Pipeline.of([Cut(), mine]).document()


def test_presets_are_listed_and_every_one_loads():
    assert "standard" in presets()
    for name in presets():
        assert Pipeline.load(name).name == name


def test_the_standard_pipeline_ends_with_the_phase():
    standard = Pipeline.load("standard")
    assert list(standard.numbers)[-1] == "phase"
    assert standard.policy("process_peak") == PerSample(limit=32)
    assert standard.policy("find_peak") == Always()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages = [", r"'pipeline' is not valid TOML"),
        ("", r"Expected stages = .*Got None"),
        ("stages = 'cut'", r"Expected stages = .*Got 'cut'"),
        ("stages = [1]", r"Expected stages = .*Got \[1\]"),
        ("stages = []", r"Expected at least one stage"),
        ("stages = ['cut', 'smooth']", r"Expected a stage out of .*Got 'smooth'"),
        ("stages = ['cut', 'cut']", r"Expected each stage once. Got 'cut' twice"),
        ("stages = ['cut']\n[noise]", r"Expected only tables of the stages cut .*Got noise"),
        ("stages = ['cut']\ncut = 5", r"Expected a table \[cut\] of parameters. Got 5"),
        ("stages = ['cut']\n[cut]\nqmin = 1", r"Stage 'cut': qmin: .*not permitted. Got 1"),
        ("stages = ['cut']\n[cut]\nq_min = -1", r"Stage 'cut': q_min: .*equal to 0. Got -1"),
        ("stages = ['filter']\n[filter]\nwindow = 4", r"Stage 'filter': value: .*use 5"),
        ("stages = ['find_peak']", r"stage 'process_peak' of a request .*Add it to the stages"),
        ("stages = ['cut']\ncheckpoints = ['phase']", r"'phase' of a checkpoint"),
        ("stages = ['cut']\ncheckpoints = 5", r"Pipeline 'pipeline': checkpoints"),
        ("stages = ['cut']\n[insertion.phase]\npolicy = 'always'", r"'phase' of an insertion"),
        ("stages = ['cut']\n[insertion.cut]\npolicy = 'often'", r"insertion.cut: .*often"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_pipeline_is_said(text, message):
    with pytest.raises(PipelineError, match=message):
        Pipeline.from_toml(text)


def test_a_preset_that_does_not_exist_is_an_error_that_lists_those_that_do():
    with pytest.raises(PipelineError, match=r"preset out of .*standard.* Got 'fast'"):
        Pipeline.load("fast")


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(PipelineError, match=r"Cannot read the pipeline .*no\.toml"):
        Pipeline.load(tmp_path / "no.toml")
    (tmp_path / "latin.toml").write_bytes(b"name = '\xe9'")
    with pytest.raises(PipelineError, match=r"Cannot read the pipeline .*latin\.toml"):
        Pipeline.load(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("setting", "stage", "parameter", "value"),
    [
        ("cut.q_min=0.3", "cut", "q_min", 0.3),
        (" cut.skip_first = 7 ", "cut", "skip_first", 7),
        ("cut.trim_edges=true", "cut", "trim_edges", True),
        ("process_peak.shape=gaussian", "process_peak", "shape", "gaussian"),
        ("process_peak.shape='gaussian'", "process_peak", "shape", "gaussian"),
        ("find_peak.height=[1.0, 2.0]", "find_peak", "height", (1.0, 2.0)),
        ("phase.phases=['square']", "phase", "phases", ("square",)),
    ],
)
def test_a_setting_changes_one_parameter(setting, stage, parameter, value):
    before = Pipeline.from_toml(SHORT)
    after = before.with_settings([setting])
    number = before.numbers[stage]
    assert getattr(after.stages[number], parameter) == value
    changed = after.stages[number].model_copy(
        update={parameter: getattr(before.stages[number], parameter)}
    )
    assert changed == before.stages[number]
    assert before == Pipeline.from_toml(SHORT)
    others = [pair for i, pair in enumerate(zip(before.stages, after.stages, strict=True))
              if i != number]  # fmt: skip
    assert all(one == other for one, other in others)


def test_settings_of_one_stage_are_checked_together():
    pipeline = Pipeline.of([Filter()])
    both = pipeline.with_settings(["filter.window=9", "filter.order=7"])
    assert (both.stages[0].window, both.stages[0].order) == (9, 7)
    with pytest.raises(PipelineError, match="order below the window"):
        pipeline.with_settings(["filter.order=7"])


def test_settings_can_be_given_to_a_pipeline_that_was_used():
    pipeline = Pipeline.from_toml(SHORT)
    assert pipeline.numbers
    assert pipeline.with_settings([]) == pipeline


def test_the_last_of_two_settings_of_a_parameter_holds():
    pipeline = Pipeline.from_toml(SHORT).with_settings(["cut.q_min=1", "cut.q_min=0.5"])
    assert pipeline.stages[0].q_min == 0.5


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("cut", r"Expected stage\.parameter=value. Got 'cut'"),
        ("cut=5", r"Expected stage\.parameter=value"),
        ("cut.=5", r"Expected stage\.parameter=value"),
        ("q_min.cut=5", r"Expected a stage of the pipeline \(cut, .*Got 'q_min'"),
        ("cut.qmin=5", r"Stage 'cut': qmin"),
        ("cut.q_min=high", r"Stage 'cut': q_min: .*Got \"high\""),
        ("find_peak.asks_for=classic_peak", r"stage 'classic_peak' of a request .*Add it"),
    ],
)
def test_what_is_wrong_with_a_setting_is_said(setting, message):
    with pytest.raises(PipelineError, match=message):
        Pipeline.from_toml(SHORT).with_settings([setting])


def test_a_stage_on_request_is_passed_over():
    pipeline = Pipeline.from_toml(SHORT)
    assert pipeline.numbers == {"cut": 0, "find_peak": 1, "process_peak": 2, "phase": 3}
    assert [pipeline.after(number) for number in range(4)] == [1, 3, 3, 4]


def test_the_schema_holds_every_stage_with_every_parameter():
    schema = json_schema()
    for name, kind in stage_types().items():
        table = schema["properties"][name]
        assert table["additionalProperties"] is False
        assert set(table["properties"]) == set(kind.model_fields)
        for field in table["properties"].values():
            assert field["description"]
            assert "unit" in field


def references(schema):
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from references(value)


def test_every_reference_of_the_schema_leads_somewhere():
    schema = json_schema()
    found = set(references(schema))
    assert found
    for reference in found:
        assert reference.removeprefix("#/$defs/") in schema["$defs"]


def test_presets_have_only_what_the_schema_knows():
    schema = json_schema()
    for name in presets():
        text = resources.files(PRESETS).joinpath(f"{name}.toml").read_text("utf-8")
        document = tomllib.loads(text)
        assert set(document) <= set(schema["properties"])
        for stage in document["stages"]:
            assert set(document.get(stage, {})) <= set(schema["properties"][stage]["properties"])


def test_presets_and_documents_hold_under_the_schema():
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json_schema())
    for name in presets():
        text = resources.files(PRESETS).joinpath(f"{name}.toml").read_text("utf-8")
        validator.validate(tomllib.loads(text))
        validator.validate(Pipeline.load(name).document())
    assert not validator.is_valid({"stages": ["smooth"]})
    assert not validator.is_valid({"stages": ["cut"], "cut": {"qmin": 1}})


def test_precise_is_standard_with_the_joint_fit():
    standard, precise = Pipeline.load("standard"), Pipeline.load("precise")
    without = [stage for stage in precise.stages if stage.name != "refine"]
    assert without == list(standard.stages)
    assert precise.insertion == standard.insertion
