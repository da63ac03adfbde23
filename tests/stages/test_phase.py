"""Phases that a user names or defines."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from gpusaxs.kernels.index_phase import MAX_KNOWN_PHASES

import gpusaxs
from gpusaxs.errors import PipelineError
from gpusaxs.phases import PHASES
from gpusaxs.pipeline import Pipeline
from gpusaxs.simulate.recipe import Lines
from gpusaxs.stages.phase import Phase, PhaseDefinition

RATIOS = (1.0, 1.23, 1.61, 1.87, 2.44)
Q = np.linspace(0.1, 3.0, 1000)


def curve(ratios):
    """Five sharp lines on a slope, with their noise."""
    lines = Lines(0.6 * np.array(ratios), np.full(len(ratios), 0.02), np.full(len(ratios), 2000.0))
    expected = lines.height @ lines.profiles(Q) + 300.0 / Q
    intensity = np.random.default_rng(4).poisson(expected).astype(float)
    return intensity[np.newaxis], np.sqrt(np.maximum(intensity, 1.0))[np.newaxis]


def with_phase(**fields):
    standard = Pipeline.load("standard")
    stages = [stage for stage in standard.stages if stage.name != "phase"]
    return Pipeline.of([*stages, Phase(**fields)], insertion=standard.insertion)


def test_a_phase_that_the_user_defines_is_named_with_its_spacing():
    mine = {"name": "of my own", "ratios": RATIOS}
    result = gpusaxs.process(Q, *curve(RATIOS), q_unit="1/nm", pipeline=with_phase(define=[mine]))
    [row] = result.samples.to_pylist()
    assert (row["verdict"], row["phase"]) == ("identified", "of my own")
    assert row["lattice"] == pytest.approx(2.0 * np.pi / 0.6, rel=1e-3)
    [match] = result[0].phases
    assert match.matched == (1, 2, 3, 4, 5)
    np.testing.assert_allclose(match.matched_q, 0.6 * np.array(RATIOS), rtol=1e-3)
    without = gpusaxs.process(Q, *curve(RATIOS), q_unit="1/nm")
    assert without.samples["phase"].to_pylist() != ["of my own"]


def test_a_definition_by_space_group_gives_what_the_phase_of_the_package_gives():
    ratios = np.sqrt([3.0, 4.0, 8.0, 11.0, 12.0]) / np.sqrt(3.0)
    given = curve(ratios)
    mine = with_phase(phases=(), define=[{"name": "mine", "space_group": "F m -3 m"}])
    built_in = with_phase(phases=("Fm-3m",))
    [[match], [other]] = (
        gpusaxs.process(Q, *given, q_unit="1/nm", pipeline=pipeline)[0].phases
        for pipeline in (mine, built_in)
    )
    assert (match.phase, other.phase) == ("mine", "Fm-3m")
    assert match.lattice == other.lattice
    assert match.matched == other.matched == (3, 4, 8, 11, 12)


def test_phases_that_are_not_asked_for_are_not_named():
    given = curve(np.sqrt([1.0, 3.0, 4.0, 7.0, 9.0]))
    hexagonal = gpusaxs.process(Q, *given, q_unit="1/nm")
    assert hexagonal.samples["phase"].to_pylist() == ["hexagonal"]
    others = with_phase(phases=("lamellar", "square"))
    result = gpusaxs.process(Q, *given, q_unit="1/nm", pipeline=others)
    assert set(result.phases["phase"].to_pylist()) <= {"lamellar", "square"}


def test_the_phases_are_known_by_their_place_in_the_list():
    stage = Phase(phases=("Im-3m", "lamellar"), define=[{"name": "mine", "ratios": RATIOS}])
    assert [phase.name for phase in stage.known] == ["Im-3m", "lamellar", "mine"]
    assert Phase().known == PHASES


def test_a_pipeline_with_definitions_survives_its_written_form():
    pipeline = with_phase(
        define=[{"name": "mine", "ratios": RATIOS}, {"name": "fcc", "space_group": "F m -3 m"}]
    )
    again = Pipeline.from_document(pipeline.document())
    assert again.stages[-1] == pipeline.stages[-1]
    assert again.stages[-1].fingerprint() == pipeline.stages[-1].fingerprint()
    assert again.stages[-1].fingerprint() not in (None, Phase().fingerprint())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"phases": ("no such phase",)}, "no such phase"),
        ({"phases": ()}, "1 to 32 phases"),
        ({"define": [{"name": "lamellar", "ratios": RATIOS}]}, "different names"),
        ({"define": [{"name": "mine"}]}, "either ratios or space_group"),
        ({"define": [{"name": "mine", "ratios": RATIOS, "space_group": "I m -3 m"}]}, "either"),
        ({"define": [{"name": "mine", "ratios": [3.0, 1.0]}]}, "increasing"),
        ({"define": [{"name": "mine", "space_group": "P 1"}]}, "triclinic"),
        ({"define": [{"name": str(k), "ratios": RATIOS} for k in range(21)]}, "1 to 32"),
    ],
)
def test_phases_that_cannot_be_looked_for_are_an_error_that_says_why(fields, words):
    document = {"name": "mine", "stages": ["phase"], "phase": fields}
    with pytest.raises(PipelineError, match=words):
        Pipeline.from_document(document)
    assert MAX_KNOWN_PHASES == 32


def test_without_gemmi_a_space_group_asks_for_it(tmp_path):
    code = (
        "import sys; sys.modules['gemmi'] = None\n"
        "from gpusaxs.stages.phase import PhaseDefinition\n"
        "try:\n    PhaseDefinition(name='mine', space_group='I m -3 m')\n"
        "except ValueError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "gpusaxs[symmetry]" in done.stdout


def test_a_definition_is_what_it_says():
    assert PhaseDefinition(name="mine", ratios=(1.0, 2.0), log_prior=-1.0).phase.log_prior == -1.0
