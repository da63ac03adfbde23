"""The examples of docs/runtime.md run."""

import re
from pathlib import Path

import pytest
from runtime_curves import bragg_samples, result_bits

import gpusaxs
from gpusaxs.runtime.events import LaunchEnded, RunEnded, SampleEnded, event_name
from gpusaxs.sample import CurveStatus

PAGE = (Path(__file__).parents[2] / "docs" / "runtime.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Run the example that has some words in it, and return its names."""
    monkeypatch.chdir(tmp_path)

    def run(words, **names):
        [text] = [example for example in EXAMPLES if words in example]
        known = {"gpusaxs": gpusaxs, "samples": bragg_samples(6), **names}
        exec(text, known)
        return known

    return run


def test_the_ways_to_run_give_the_same():
    [text] = [example for example in EXAMPLES if "runtime.submit" in example]
    known = {"samples": bragg_samples(3)}
    exec(text.partition("done = await")[0], known)
    waited = known["waiting"].result(20.0)
    assert [result_bits(s) for s in waited] == [result_bits(s) for s in known["done"]]


def test_a_function_as_policy_limits_the_peaks(example):
    standard = gpusaxs.Pipeline.load("standard")
    pipeline = example("only_strong", stages=standard.stages)["pipeline"]
    for sample in gpusaxs.Runtime("numpy", 1, pipeline).run(bragg_samples(8)):
        assert len(sample.metadata.processed_peaks) <= 5


def test_the_policies_in_toml_are_read():
    [text] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    stages = 'stages = ["noise", "find_peak", "process_peak"]\n'
    pipeline = gpusaxs.Pipeline.from_toml(stages + text)
    assert pipeline.insertion["process_peak"].policies[1].limit == 100000


def test_the_common_level_of_a_series_is_subtracted_from_all(example):
    done = example("common_level")["done"]
    levels = {(sample.measured_intensity[50] - sample.intensity[50]) for sample in done}
    assert len(done) == 6
    assert len(levels) == 6
    plain = gpusaxs.Runtime("numpy", 1).run(bragg_samples(6))
    shifts = [float((a.background - b.background)[0]) for a, b in zip(done, plain, strict=True)]
    assert max(shifts) == pytest.approx(min(shifts))
    assert shifts[0] != 0.0


def test_the_interceptor_sees_every_launch(example):
    curves = example("LargestLaunch")["largest"].curves
    assert curves["cut"] == 6
    assert set(curves) == {stage.name for stage in gpusaxs.Pipeline.load("standard").stages}


def test_the_token_does_its_cleanup(example):
    class Shutter:
        closed = False

        def close(self):
            self.closed = True

    shutter = Shutter()
    runtime = gpusaxs.Runtime("numpy", 1)
    done = example("shutter.close", shutter=shutter, runtime=runtime)["done"]
    assert shutter.closed
    assert not any(sample.status & CurveStatus.CANCELLED for sample in done)


def test_the_sinks_write_their_files(example, tmp_path, capsys):
    example("JsonLines")
    told = (tmp_path / "run.jsonl").read_text("utf-8")
    assert told.count('"event": "sample_ended"') == 6
    assert (tmp_path / "trace.json").stat().st_size > 1000
    assert "6 of 6 samples" in capsys.readouterr().err


def test_every_event_is_named_on_the_page():
    for kind in (LaunchEnded, RunEnded, SampleEnded):
        assert f"`{kind.__name__}`" in PAGE
    assert event_name(LaunchEnded(0.0, "cut", 0, 1, 0.1, "main", "")) == "launch_ended"
