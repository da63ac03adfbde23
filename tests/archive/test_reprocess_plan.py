"""What is computed again from a stored run is, to the bit, what the whole pipeline computes."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpusaxs.archive.reprocess import Again, plan_again, restore, starts_over
from gpusaxs.archive.stored_curves import batch_of_curves, curve_table, origins_of
from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.policy import Always, PerSample
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import CurveStatus, Origin, Sample
from gpusaxs.simulate import simulate
from gpusaxs.stages import stage_type
from gpusaxs.stages.base import EVERYTHING, NO_REQUESTS, FunctionStage, Stage, StageResult
from gpusaxs.stages.find_peak import FindPeak
from gpusaxs.stages.refine import Refine
from gpusaxs.tables import Tables, tables_of

STANDARD = Pipeline.load("standard")
NAMES = list(STANDARD.numbers)
TABLES = ("samples", "peaks", "phases")
BACKEND = NumpyBackend(1)
BOTH = pytest.mark.parametrize("curves_stored", [True, False], ids=["curves", "no curves"])

# Many small peaks: some curves have more than the table holds.
GREEDY = ("find_peak.height_noise=0.0", "find_peak.prominence_noise=1.0")


def odd_curves() -> list[Sample]:
    """Curves as files have them: damaged, short, flat, without sigma, shadowed at the ends."""
    q = np.linspace(0.1, 3.0, 300)
    model = 500.0 / q + sum(
        3000.0 * np.exp(-(((q - centre) / 0.03) ** 2)) for centre in (0.8, 1.6, 2.4)
    )
    rng = np.random.default_rng(4)
    values = rng.poisson(model).astype(float)
    sigma = np.sqrt(model)
    holes, shadow, dead = values.copy(), values.copy(), values.copy()
    holes[::9] = np.nan
    shadow[:12] = shadow[-8:] = 1.0
    dead[100:] = np.nan
    mixed = rng.permutation(q.size)
    double = np.repeat(q[::2], 2)
    return [
        Sample("holes", q, holes, sigma),
        Sample("mixed", q[mixed], values[mixed], sigma[mixed]),
        Sample("doubled", double, values, sigma),
        Sample("no sigma", q, values),
        Sample("some sigma", q, values, np.where(np.arange(300) % 7, sigma, 0.0)),
        Sample("wrong sigma", q, values, 9.0 * sigma),
        Sample("shadowed", q, shadow, sigma),
        Sample("half", q, dead, sigma),
        Sample("long", np.linspace(0.05, 3.5, 411), rng.poisson(900.0, 411).astype(float)),
        Sample("short", q[:20], values[:20], sigma[:20]),
        Sample("too short", q[:9], values[:9], sigma[:9]),
        Sample("flat", q, np.ones(300), sigma),
        Sample("scaled down", q, -1e-7 * values, 1e-7 * sigma),
    ]


def as_curves(count: int, shared: bool, **options) -> list[Sample]:
    drawn = simulate(count, hard=True, negatives=0.2, **options)
    return [
        Sample(f"{options['seed']}#{i}", drawn.q if shared else drawn.q.copy(), *rows)
        for i, rows in enumerate(zip(drawn.intensity, drawn.sigma, strict=True))
    ]


@cache
def curves(kind: str) -> list[Sample]:
    match kind:
        case "shared q":
            found = as_curves(40, True, seed=11, points=400, counts=(500.0, 50000.0))
        case "a few of every kind":
            found = [*as_curves(6, False, seed=13, points=300, counts=9000.0), *odd_curves()]
        case _:
            found = [
                *as_curves(16, False, seed=12, points=350, grid="log", counts=(500.0, 50000.0)),
                *odd_curves(),
            ]
    origins = [Origin(f"file {i // 3}", i % 3, "1/angstrom", "guess") for i in range(len(found))]
    return [
        replace(sample, origin=origin, status=CurveStatus(i % 2 * CurveStatus.Q_UNIT_GUESSED))
        if kind != "shared q"
        else replace(sample, origin=origin)
        for i, (sample, origin) in enumerate(zip(found, origins, strict=True))
    ]


@dataclass(frozen=True)
class StoredRun:
    """Tables as they come back from Parquet."""

    tables: Tables
    curves: pa.Table


def round_trip(rows: pa.Table) -> pa.Table:
    file = io.BytesIO()
    pq.write_table(rows, file, compression="zstd", row_group_size=7)
    return pq.read_table(io.BytesIO(file.getvalue()), schema=rows.schema)


def processed(samples: list[Sample], pipeline: Pipeline) -> tuple[Tables, SampleBatch]:
    batch = SampleBatch.from_samples(samples, BACKEND)
    Runtime(BACKEND, pipeline=pipeline).run_on(batch)
    return tables_of(batch, [sample.origin for sample in samples]), batch


def stored(samples: list[Sample], pipeline: Pipeline) -> StoredRun:
    tables, batch = processed(samples, pipeline)
    kept = Tables(*(round_trip(getattr(tables, name)) for name in TABLES))
    return StoredRun(kept, round_trip(curve_table(batch)))


def reprocessed(samples: list[Sample], run: StoredRun, again: Again, new: Pipeline) -> Tables:
    """What a plan makes of a stored run, with every curve in its place."""
    over = starts_over(again, run.tables.samples).tolist()
    rest = [sample for sample, whole in zip(samples, over, strict=True) if not whole]
    parts = []
    if any(over):
        whole = [sample for sample, whole in zip(samples, over, strict=True) if whole]
        parts.append(processed(whole, new)[0])
    if again.from_curves:
        batch = batch_of_curves(run.tables.samples, run.curves, BACKEND)
        failed = pc.invert(pc.is_in(run.tables.samples["id"], run.curves["id"].combine_chunks()))
        carried = run.tables.samples.filter(pc.and_(failed, pc.invert(pa.array(over))))
        parts.append(Tables(carried, run.tables.peaks.slice(0, 0), run.tables.phases.slice(0, 0)))
    elif rest:
        batch = SampleBatch.from_samples(rest, BACKEND)
    else:
        return parts[0]
    restore(again, batch, run.tables.samples, run.tables.peaks)
    if again.pipeline is not None:
        Runtime(BACKEND, pipeline=again.pipeline).run_on(batch)
    row_of = {name: row for row, name in enumerate(run.tables.samples["id"].to_pylist())}
    origins = origins_of(run.tables.samples)
    parts.append(tables_of(batch, [origins[row_of[name]] for name in batch.ids]))
    return Tables.concatenate(parts)


def rows_of(tables: Tables) -> dict[str, list[str]]:
    """Rows of the tables as text, by curve: NaN equals NaN, and no digit is lost."""
    found: dict[str, list[str]] = {}
    for name in TABLES:
        for row in getattr(tables, name).to_pylist():
            found.setdefault(row["id"], []).append(repr(row))
    return found


def assert_again_is_the_same(
    samples: list[Sample], old: Pipeline, new: Pipeline, curves_stored: bool
) -> Again:
    again = plan_again(old, new, curves_stored)
    if again.changed is not None:
        found = rows_of(reprocessed(samples, stored(samples, old), again, new))
        assert found == rows_of(processed(samples, new)[0]), again.explanation
    return again


def with_insertion(pipeline: Pipeline, **policies) -> Pipeline:
    return pipeline.model_copy(update={"insertion": policies})


def of(names: list[str]) -> Pipeline:
    """Some stages of the standard pipeline, in another order if need be."""
    stages = [STANDARD.stages[STANDARD.numbers[name]] for name in names]
    kept = {name: policy for name, policy in STANDARD.insertion.items() if name in names}
    return Pipeline.of(stages, insertion=kept)


# From the standard pipeline, or from one with the first settings, to the second ones.
CHANGES = [
    ((), ("cut.q_min=0.3", "cut.skip_last=5")),
    ((), ("cut.trim_edges=false",)),
    (("cut.q_min=0.4",), ("cut.q_min=0.4", "phase.tolerance=0.003")),
    ((), ("noise.check=false",)),
    ((), ("noise.tolerance=1.05",)),
    ((), ("background.mode=power_law",)),
    ((), ("background.mode=none",)),
    (("background.mode=power_law",), ("background.mode=power_law", "filter.window=9")),
    ((), ("filter.window=11", "filter.order=3")),
    ((), ("filter.method=median",)),
    ((), ("filter.noise_block=0",)),
    ((), ("filter.replace=true",)),
    (("filter.replace=true",), ()),
    (("filter.replace=true",), ("filter.replace=true", "find_peak.prominence_noise=9.0")),
    (("filter.replace=true",), ("filter.replace=true", "phase.tolerance=0.003")),
    ((), ("find_peak.prominence_noise=12.0",)),
    ((), ("find_peak.satellite=0.3", "find_peak.distance=4.0")),
    ((), GREEDY),
    (GREEDY, ()),
    (GREEDY, (*GREEDY, "process_peak.shape=lorentzian")),
    (GREEDY, (*GREEDY, "phase.tolerance=0.003")),
    ((), ("process_peak.shape=gaussian",)),
    ((), ("process_peak.window=4.0", "process_peak.scale_uncertainties=true")),
    ((), ("phase.tolerance=0.002",)),
    ((), ("phase.phases=['lamellar','hexagonal']",)),
    ((), ("phase.min_score=2.0", "phase.min_margin=0.0")),
    ((), ("phase.detection=2.0", "phase.max_relative_width=0.05")),
]


@BOTH
@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_changed_parameter_gives_the_tables_of_the_whole_pipeline(change, curves_stored):
    before, after = map(STANDARD.with_settings, change)
    assert_again_is_the_same(curves("every curve its own q"), before, after, curves_stored)


LIMIT_2 = with_insertion(STANDARD, process_peak=PerSample(limit=2))
REFINED = Pipeline.of(
    [*STANDARD.stages[:-1], Refine(), STANDARD.stages[-1]], insertion=STANDARD.insertion
)
# Half of the curves are cut to nothing, once their peaks are known.
CUT_LAST = of([*NAMES[1:6], "cut", "phase"]).with_settings(["cut.skip_first=330"])
OTHER_PIPELINES = {
    "a kinder cut after the peaks": (CUT_LAST, CUT_LAST.with_settings(["cut.skip_first=0"])),
    "a lower limit": (STANDARD, LIMIT_2),
    "a higher limit": (LIMIT_2, STANDARD),
    "no limit": (LIMIT_2, with_insertion(STANDARD)),
    "another phase under a limit": (LIMIT_2, LIMIT_2.with_settings(["phase.tolerance=0.003"])),
    "a limit on the search": (STANDARD, with_insertion(STANDARD, find_peak=PerSample(limit=1))),
    "a checkpoint": (STANDARD, STANDARD.model_copy(update={"checkpoints": ("find_peak",)})),
    "refined peaks": (STANDARD, REFINED),
    "peaks refined otherwise": (REFINED, REFINED.with_settings(["refine.shape=best"])),
    "another phase of refined peaks": (REFINED, REFINED.with_settings(["phase.tolerance=0.003"])),
    "no phase any more": (STANDARD, of(NAMES[:-1])),
    "a phase at last": (of(NAMES[:-1]), STANDARD),
    "no peaks any more": (STANDARD, of(["cut", "noise", "background", "filter", "phase"])),
    "peaks at last": (of(["cut", "noise", "background", "filter"]), STANDARD),
    "no background any more": (STANDARD, of([name for name in NAMES if name != "background"])),
    "a curve cut at the end": (of(NAMES[1:]), of([*NAMES[1:], "cut"])),
    "nothing but a phase": (of(["phase"]), of(["noise", "phase"])),
}


@BOTH
@pytest.mark.parametrize("kind", ["shared q", "every curve its own q"])
@pytest.mark.parametrize("name", OTHER_PIPELINES)
def test_another_pipeline_gives_the_tables_of_the_whole_of_it(name, kind, curves_stored):
    assert_again_is_the_same(curves(kind), *OTHER_PIPELINES[name], curves_stored)


def test_the_curves_here_have_what_can_go_wrong():
    run = stored(curves("every curve its own q"), STANDARD.with_settings(GREEDY))
    words = set(" ".join(run.tables.samples["status"].to_pylist()).split())
    assert words >= {
        "points_dropped", "q_reordered", "q_merged", "q_unit_guessed", "sigma_estimated",
        "sigma_rescaled", "edges_trimmed", "too_few_points", "no_signal", "peaks_truncated",
    }  # fmt: skip
    assert max(run.curves["first"].to_pylist()) > 0
    limited = stored(curves("shared q"), LIMIT_2)
    assert "insertion_refused" in limited.tables.samples["status"].to_pylist()
    verdicts = (
        limited.tables.samples["verdict"].to_pylist() + run.tables.samples["verdict"].to_pylist()
    )
    assert set(verdicts) >= {"identified", "unindexed", "none", "failed"}


SETTINGS = {
    "cut": ["cut.q_min=0.3", "cut.trim_edges=true", "cut.q_min=2.95"],
    "noise": ["noise.check=false", "noise.tolerance=1.05"],
    "background": ["background.mode=none", "background.mode=power_law", "background.smooth=1"],
    "filter": ["filter.replace=true", "filter.method=median", "filter.noise_block=0"],
    "find_peak": ["find_peak.height_noise=1.0", "find_peak.prominence_noise=3.0"],
    "process_peak": ["process_peak.shape=gaussian", "process_peak.window=1.5"],
    "phase": ["phase.tolerance=0.003", "phase.min_score=1.0"],
}


def halve(sample, metadata):
    """A function of one sample that changes the curve, by what was found so far."""
    sample.intensity = sample.intensity / (2.0 + len(metadata.processed_peaks))
    return StageResult(sample, metadata)


@st.composite
def pipelines(draw):
    """Stages in nearly the usual order, each with its default or another parameter."""
    missing = draw(st.sets(st.sampled_from([*NAMES[:4], "phase"]), max_size=2))
    order = [name for name in NAMES if name not in missing]
    for _ in range(draw(st.integers(0, 2))):
        name = order.pop(draw(st.integers(0, len(order) - 1)))
        order.insert(draw(st.integers(0, len(order))), name)
    if draw(st.booleans()):
        order.insert(draw(st.integers(0, len(order))), "halve")
    stages = [halve if name == "halve" else stage_type(name)() for name in order]
    limit = draw(st.sampled_from([None, 0, 1, 32]))
    insertion = {} if limit is None else {"process_peak": PerSample(limit=limit)}
    pipeline = Pipeline.of(stages, insertion=insertion)
    return pipeline.with_settings(draw(st.lists(some_setting(pipeline), max_size=2)))


def some_setting(pipeline):
    known = [stage.name for stage in pipeline.stages if stage.name in SETTINGS]
    return st.sampled_from(known).flatmap(lambda name: st.sampled_from(SETTINGS[name]))


@st.composite
def changes(draw):
    """A pipeline, and one that differs in a stage, its parameters, or its place."""
    old = draw(pipelines())
    kinds = ["parameter", "insertion", "order", "left out", "new", "any"]
    match draw(st.sampled_from(kinds)):
        case "parameter":
            return old, old.with_settings([draw(some_setting(old))])
        case "insertion":
            return old, with_insertion(old, process_peak=PerSample(limit=draw(st.integers(0, 3))))
        case "order":
            place = draw(st.integers(0, len(old.stages) - 2))
            stages = list(old.stages)
            stages[place : place + 2] = stages[place : place + 2][::-1]
            return old, old.model_copy(update={"stages": tuple(stages)})
        case "any":
            return old, draw(pipelines())
        case kind:
            leave = draw(st.sampled_from([*NAMES[:4], "phase", "halve"]))
            stages = tuple(stage for stage in old.stages if stage.name != leave)
            less = old.model_copy(update={"stages": stages})
            return (old, less) if kind == "left out" else (less, old)


@given(changes(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_pipeline_can_be_changed_to_any_other(change, curves_stored):
    assert_again_is_the_same(curves("a few of every kind"), *change, curves_stored)


@pytest.mark.parametrize(
    ("setting", "with_curves", "without"),
    [
        ("cut.q_min=0.2", "the input files; computed: all", "the input files; computed: all"),
        ("background.smooth=1", "the input files; computed: all", "the input files; computed: all"),
        (
            "filter.window=9",
            "stored curves; computed: filter, find_peak, process_peak, phase",
            "the input files; computed: all",
        ),
        (
            "filter.replace=true",
            "stored curves; computed: filter, find_peak, process_peak, phase",
            "the input files; computed: all",
        ),
        (
            "process_peak.shape=gaussian",
            "stored curves; computed: filter, find_peak, process_peak, phase",
            "the input files; computed: all",
        ),
        (
            "phase.tolerance=0.003",
            "stored curves and peaks; computed: filter, phase",
            "the input files and stored peaks; computed: cut, noise, background, filter, phase",
        ),
    ],
)
def test_only_what_a_change_concerns_is_computed(setting, with_curves, without):
    new = STANDARD.with_settings([setting])
    changed = setting.partition(".")[0]
    for curves_stored, words in ((True, with_curves), (False, without)):
        again = plan_again(STANDARD, new, curves_stored)
        assert again.changed == changed
        expected = f"changed: {changed}; from {words}".replace("all", ", ".join(NAMES))
        assert again.explanation == expected
        assert [stage.name for stage in again.pipeline.stages] == expected.split(": ")[-1].split(
            ", "
        )


def test_limits_and_checkpoints_of_stages_that_run_are_kept_and_no_others():
    old = STANDARD.model_copy(update={"checkpoints": ("noise", "phase")})
    new = old.with_settings(["phase.tolerance=0.003"])
    assert plan_again(old, new, True).pipeline.checkpoints == ("phase",)
    assert plan_again(old, new, True).pipeline.insertion == {}
    new = old.with_settings(["find_peak.distance=3.0"])
    assert plan_again(old, new, True).pipeline.insertion == {"process_peak": PerSample(limit=32)}


@BOTH
def test_nothing_is_computed_where_nothing_has_changed(curves_stored):
    for same in (
        STANDARD,
        STANDARD.with_settings(["phase.tolerance=0.01"]),
        STANDARD.model_copy(update={"name": "another name"}),
        with_insertion(STANDARD, process_peak=PerSample(limit=32), phase=Always()),
    ):
        again = plan_again(STANDARD, same, curves_stored)
        assert again.changed is None
        assert again.pipeline is None
        assert "nothing has changed" in again.explanation


def test_stages_that_were_used_can_be_compared():
    old, new = (Pipeline.from_document(STANDARD.document()) for _ in range(2))
    for pipeline in (old, new):
        processed(curves("shared q")[:2], pipeline)
    assert plan_again(old, new, True).changed is None


def test_a_stage_whose_code_or_file_has_changed_is_a_change():
    again = plan_again(STANDARD, STANDARD, True, altered={"process_peak"})
    assert again.explanation == (
        "changed: process_peak; from stored curves; "
        "computed: filter, find_peak, process_peak, phase"
    )


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["cut", "noise", "background", "filter", "phase"], "find_peak (left out)"),
        ([name for name in NAMES if name != "filter"], "filter (left out)"),
        (NAMES[:-1], "phase (left out)"),
        (["noise", "cut", *NAMES[2:]], "noise (moved)"),
    ],
)
def test_a_stage_that_is_gone_or_elsewhere_is_named(names, words):
    assert f"changed: {words};" in plan_again(of(NAMES), of(names), True).explanation


def test_a_stage_that_is_new_is_named():
    again = plan_again(of(NAMES[:-1]), STANDARD, True)
    assert again.explanation == (
        "changed: phase (new); from stored curves and peaks; computed: filter, phase"
    )


class Secret(Stage):
    """A stage that says nothing of what it needs and changes."""

    amount: float = 1.0

    def launch(self, batch, rows):
        batch.peaks[rows, :, 0] += self.amount
        return NO_REQUESTS


def test_a_stage_that_says_nothing_is_taken_to_need_and_change_everything():
    assert Secret().reads == Secret().writes == EVERYTHING
    for place in (0, 4, 6, 7):
        stages = [*STANDARD.stages[:place], Secret(), *STANDARD.stages[place:]]
        old = Pipeline.of(stages)
        new = old.with_settings(["phase.tolerance=0.003"])
        again = plan_again(old, new, True)
        if place < 7:
            assert [stage.name for stage in again.pipeline.stages] == list(new.numbers)
        else:
            # It may look at what the search has left.
            assert not again.from_peaks
            assert not again.from_curves
        assert_again_is_the_same(curves("a few of every kind"), old, new, True)


@BOTH
def test_curves_that_leave_out_a_stage_do_so_again(curves_stored):
    def hurry(sample, metadata):
        leave_out = ["find_peak"] if int(sample.id[-1]) % 2 else []
        return StageResult(sample, metadata, leave_out)

    stages = list(STANDARD.stages)
    stages.insert(2, FunctionStage(function=hurry, asks_for=("find_peak",)))
    old = Pipeline.of(stages, insertion=STANDARD.insertion)
    new = old.with_settings(["phase.tolerance=0.003"])
    again = assert_again_is_the_same(curves("shared q"), old, new, curves_stored)
    assert list(again.pipeline.numbers) == list(new.numbers)


def test_a_curve_whose_processing_ended_early_starts_over():
    def stumble(sample, metadata):
        if sample.id.endswith("#3"):
            raise ValueError("no reason")
        return StageResult(sample, metadata)

    samples = curves("shared q")
    run = stored(samples, Pipeline.of([*STANDARD.stages, stumble]))
    new = STANDARD.with_settings(["phase.tolerance=0.003"])
    for curves_stored in (True, False):
        again = plan_again(STANDARD, new, curves_stored)
        over = starts_over(again, run.tables.samples)
        assert [sample.id for sample, whole in zip(samples, over, strict=True) if whole] == ["11#3"]
        assert rows_of(reprocessed(samples, run, again, new)) == rows_of(processed(samples, new)[0])


def test_a_search_that_was_not_made_again_keeps_its_remarks():
    samples = curves("shared q")
    run = stored(samples, LIMIT_2)
    refused = ["insertion_refused" in label for label in run.tables.samples["status"].to_pylist()]
    assert any(refused)
    for setting, kept in (("phase.tolerance=0.003", True), ("find_peak.exclusion=0.5", False)):
        new = LIMIT_2.with_settings([setting])
        again = plan_again(LIMIT_2, new, True)
        batch = batch_of_curves(run.tables.samples, run.curves, BACKEND)
        restore(again, batch, run.tables.samples, run.tables.peaks)
        found = (batch.status & int(CurveStatus.INSERTION_REFUSED)) != 0
        assert found.tolist() == (refused if kept else [False] * len(samples))


def test_a_plan_without_a_stage_leaves_peaks_unmarked():
    samples = curves("shared q")
    run = stored(samples, STANDARD)
    assert any(run.tables.peaks["bragg"].to_pylist())
    again = plan_again(STANDARD, of(NAMES[:-1]), True)
    assert again.pipeline is None
    assert not any(reprocessed(samples, run, again, STANDARD).peaks["bragg"].to_pylist())


def test_a_search_with_other_conditions_is_a_change_to_every_reader_of_peaks():
    new = STANDARD.model_copy(
        update={"stages": (*STANDARD.stages[:4], FindPeak(distance=9.0), *STANDARD.stages[5:])}
    )
    assert not plan_again(STANDARD, new, True).from_peaks
