"""Every stage reads and changes those parts of a batch that it says it does, and no others."""

from __future__ import annotations

import numpy as np
import pytest
from gpusaxs.kernels import peak_table as table

from gpusaxs.backends.numpy import NumpyBackend
from gpusaxs.batch import SampleBatch
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.simulate import simulate
from gpusaxs.stages import stage_type, stage_types
from gpusaxs.stages.base import EVERYTHING, FunctionStage, StageResult

CURVES = 8
PARTS = {
    "curve": ("q", "intensity", "sigma", "background", "start", "stop"),
    "noise": ("noise",),
    "search": ("search", "residual", "candidates", "n_candidates"),
    "peaks": ("peaks", "n_peaks"),
    "phases": ("phases", "n_phases", "verdict", "margin", "bragg"),
    "numbers": ("numbers",),
}
# The settings that decide which kernels run.
VARIANTS = {
    "background": [{}, {"mode": "arpls"}, {"mode": "power_law"}, {"mode": "none"}],
    "cut": [{}, {"q_min": 0.4, "trim_edges": True}],
    "filter": [
        {"method": method, "replace": replace}
        for method in ("savgol", "moving_average", "median", "boxcar", "none")
        for replace in (False, True)
    ],
}


def halve(sample, metadata):
    sample.intensity = sample.intensity / 2.0
    return StageResult(sample, metadata)


STAGES = [
    *(stage_type(name)(**given) for name in stage_types() for given in VARIANTS.get(name, [{}])),
    FunctionStage(function=halve),
]
EVERY = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)


def batch_before(stage):
    """Curves with two peaks taken away, phases, candidates for a third, and numbers."""
    drawn = simulate(CURVES, seed=6, points=300, counts=20000.0, phases=["hexagonal", "lamellar"])
    ids = [str(i) for i in range(CURVES)]
    backend = NumpyBackend(1)
    batch = SampleBatch.from_arrays(ids, drawn.q, drawn.intensity, drawn.sigma, backend)
    limited = {"insertion": {"process_peak": {"policy": "per_sample", "limit": 2}}}
    Runtime(backend, pipeline=Pipeline.of(Pipeline.load("standard").stages, **limited)).run_on(
        batch
    )
    assert (batch.n_candidates > 0).any()
    for name, kind in stage_types().items():
        if kind.leaves:
            batch.number_table(name, kind.leaves)[:] = 1.0
    return batch


def known(batch):
    """A copy of each array, the marks of Bragg lines apart from the peaks."""
    arrays = {
        name: getattr(batch, name).copy()
        for names in PARTS.values()
        for name in names
        if name not in ("bragg", "numbers")
    }
    arrays["numbers"] = np.concatenate(list(batch.numbers.values()), axis=1)
    arrays["bragg"] = arrays["peaks"][:, :, table.BRAGG].copy()
    arrays["peaks"][:, :, table.BRAGG] = 0.0
    # Rows of a table that are not in use hold anything.
    for name in ("peaks", "phases", "candidates"):
        used = np.arange(arrays[name].shape[1]) < arrays[f"n_{name}"][:, np.newaxis]
        arrays[name][~used] = 0.0
        if name == "peaks":
            arrays["bragg"][~used] = 0.0
    return arrays


def differs(one, other):
    return ~((one == other) | (np.isnan(one) & np.isnan(other)))


def rows_for(stage, batch):
    return np.flatnonzero(batch.n_candidates > 0) if stage.on_request else np.arange(CURVES)


@EVERY
def test_a_stage_changes_no_part_that_it_does_not_name(stage):
    batch = batch_before(stage)
    before = known(batch)
    stage.launch(batch, rows_for(stage, batch))
    after = known(batch)
    for part in EVERYTHING - stage.writes:
        restarted = "curve" in stage.writes and part in ("noise", "search")
        for name in PARTS[part]:
            changed = differs(before[name], after[name])
            if restarted and name in ("search", "residual", "noise"):
                curve = after["sigma" if name == "noise" else "intensity"]
                changed &= differs(after[name], curve)
            assert not changed.any(), (part, name)


@EVERY
def test_a_stage_does_the_same_whatever_the_parts_are_that_it_does_not_read(stage):
    plain, scrambled = batch_before(stage), batch_before(stage)
    rows = rows_for(stage, plain)
    for part in EVERYTHING - stage.reads:
        scramble(scrambled, part)
    before = [known(batch) for batch in (plain, scrambled)]
    for batch in (plain, scrambled):
        stage.launch(batch, rows)
    after = [known(batch) for batch in (plain, scrambled)]
    for part in stage.writes | stage.reads:
        for name in PARTS[part]:
            touched = differs(before[0][name], after[0][name])
            touched |= differs(before[1][name], after[1][name])
            assert not (touched & differs(after[0][name], after[1][name])).any(), (part, name)


def scramble(batch, part):
    """Let a part be what no stage would make of it; tables are as full as they can be."""
    rng = np.random.default_rng(8)
    for name in PARTS[part]:
        if name == "bragg":
            batch.peaks[:, :, table.BRAGG] = rng.integers(0, 2, batch.peaks.shape[:2])
            continue
        if name == "numbers":
            for numbers in batch.numbers.values():
                numbers[:] = rng.uniform(0.1, 3.0, numbers.shape)
            continue
        array = getattr(batch, name)
        if name.startswith("n_"):
            array[:] = rng.integers(0, getattr(batch, name.removeprefix("n_")).shape[1], CURVES)
        elif array.dtype.kind == "i":
            array[:] = rng.integers(0, 3, array.shape)
        elif name == "peaks":
            array[:, :, : table.BRAGG] = rng.uniform(0.1, 3.0, (*array.shape[:2], table.BRAGG))
        else:
            array[:] = rng.uniform(0.1, 3.0, array.shape)


def test_the_parts_are_all_that_is_known():
    assert set(PARTS) == EVERYTHING
