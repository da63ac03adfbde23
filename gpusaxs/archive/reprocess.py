"""Which stages have to run again over a stored run when its pipeline has changed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpusaxs.archive.stored_curves import put_peaks, stored_status
from gpusaxs.batch import SampleBatch
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels.status import (
    FAILURES,
    INSERTION_REFUSED,
    LINE_NOT_JUDGED,
    PEAKS_TRUNCATED,
    SEARCH_REMARKS,
    UNFINISHED,
    UNREADABLE,
)
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.policy import Always
from gpusaxs.stages.base import Part, Stage

_Kept = Part | Literal["refusals"]
_Parts = frozenset[_Kept]

# What the tables are made of; "refusals" is the remark that a request was refused.
_RESULTS: _Parts = frozenset({"curve", "peaks", "phases", "numbers", "refusals"})


@dataclass(frozen=True, slots=True)
class Again:
    """What has to be computed again, and what is taken from the stored run.

    Parameters
    ----------
    changed
        The first stage that differs: changed, new, moved or left out. None where none does: then
        the stored tables are the result.
    pipeline
        The stages to run; None where a batch is complete without any.
    from_curves
        Whether the batch is made of the stored curves; else of those that are read from the input
        files.
    from_peaks
        Whether the curves have the stored peaks before the run.
    kept_remarks
        Which of the remarks on the search for peaks are those of the stored run.
    explanation
        All that in a sentence.
    """

    changed: str | None
    pipeline: Pipeline | None
    from_curves: bool
    from_peaks: bool
    kept_remarks: int
    explanation: str


def plan_again(
    old: Pipeline, new: Pipeline, curves_stored: bool, altered: Collection[str] = ()
) -> Again:
    """Find the stages without which the results of a new pipeline cannot be had.

    From the first difference on, every stage runs. One before it is left out if nothing of what
    it writes is missing: it is stored, or nobody asks for it. The curve is stored as it was after
    the last stage that changed it, the peaks as they were after the last that changed them; they
    can be used if every stage that runs and has to do with them comes after those. Phases and
    numbers are always made anew, and noise and search are never stored.

    Stages, what they may ask for, and all between them run together or not at all.

    Parameters
    ----------
    old
        The pipeline of the stored run.
    new
        The pipeline whose results are wanted.
    curves_stored
        Whether the run has its reduced curves.
    altered
        Names of stages that are not what they were though their parameters are: their code has
        changed, or a file that they read.
    """
    difference = _first_difference(old, new, altered)
    if difference is None:
        remarks, words = SEARCH_REMARKS, "nothing has changed: the stored results hold"
        return Again(None, None, curves_stored, True, remarks, words)
    running, kept = _settled(old, new, difference.number, curves_stored)
    before = new.stages[: difference.number]
    from_peaks = "peaks" in kept and any("peaks" in stage.writes for stage in before)
    truncated = PEAKS_TRUNCATED if "peaks" in kept else 0
    refused = INSERTION_REFUSED if "refusals" in kept else 0
    return Again(
        difference.stage,
        _part_of(new, running),
        "curve" in kept,
        from_peaks,
        truncated | refused,
        _explain(difference.words, new, running, "curve" in kept, from_peaks),
    )


def restore(again: Again, batch: SampleBatch, samples: pa.Table, peaks: pa.Table) -> None:
    """Put into a batch what the plan keeps of the stored peaks and remarks, before it is run.

    Parameters
    ----------
    batch
        Of stored curves (`batch_of_curves`), or of curves that were read.
    samples, peaks
        Tables of the stored run, with the rows of the batch's curves among them.

    Raises
    ------
    RunDirectoryError
        If the tables do not belong together.
    """
    if again.from_peaks:
        put_peaks(batch, samples, peaks)
        # Which of them are Bragg lines is for the phases to say, and these are made anew.
        in_use = ~batch.xp.isnan(batch.peaks[:, :, table.BRAGG])
        batch.peaks[in_use, table.BRAGG] = LINE_NOT_JUDGED
    stored = batch.backend.to_device(stored_status(samples, batch.ids))
    batch.status = (batch.status & ~SEARCH_REMARKS) | (stored & again.kept_remarks)


def starts_over(again: Again, samples: pa.Table) -> NDArray[np.bool_]:
    """Which rows of the table of samples are of no use to a plan: they may come out otherwise.

    Their curves have to go from the input files through the whole pipeline: those that an error,
    a timeout or a cancelled run kept from its end, and, where curves are read anew, all that have
    failed, since their peaks were not stored. Where curves are stored, the others that failed
    would fail again: their rows are the result.
    """
    unusable = UNFINISHED if again.from_curves else UNFINISHED | FAILURES & ~UNREADABLE
    found: NDArray[np.bool_] = (stored_status(samples) & unusable) != 0
    return found


class _Difference(NamedTuple):
    """The first place in which two pipelines differ, and the stage that it is about."""

    number: int
    stage: str
    words: str


def _first_difference(old: Pipeline, new: Pipeline, altered: Collection[str]) -> _Difference | None:
    for number, (was, is_now) in enumerate(zip_longest(old.stages, new.stages)):
        if was is not None and was.name not in new.numbers:
            return _Difference(number, was.name, f"{was.name} (left out)")
        if is_now is None:
            break
        name = is_now.name
        if name not in old.numbers:
            return _Difference(number, name, f"{name} (new)")
        if was is None or was.name != name:
            return _Difference(number, name, f"{name} (moved)")
        if name in altered or not _same(was, is_now):
            return _Difference(number, name, name)
        if old.policy(name) != new.policy(name):
            return _Difference(number, name, f"insertion of {name}")
        if (name in old.checkpoints) != (name in new.checkpoints):
            return _Difference(number, name, f"checkpoint at {name}")
    return None


def _same(one: Stage, other: Stage) -> bool:
    # Equality of models may look at arrays that a stage has made of its parameters.
    return type(one) is type(other) and one.model_dump() == other.model_dump()


def _settled(
    old: Pipeline, new: Pipeline, first: int, curves_stored: bool
) -> tuple[set[int], _Parts]:
    """Numbers of the stages that run, and what is taken from the stored run."""
    running = set(range(first, len(new.stages)))
    while True:
        kept = _kept(old, new, first, running, curves_stored)
        asked_for = _RESULTS.union(*(new.stages[number].reads for number in running))
        more = {number for number in range(first) if _writes(new, number) & (asked_for - kept)}
        for span in _spans(new):
            if not span.isdisjoint(running | more):
                more |= span
        if more <= running:
            return running, kept
        running |= more


def _kept(
    old: Pipeline, new: Pipeline, first: int, running: set[int], curves_stored: bool
) -> _Parts:
    """What of the stored run is what the stages that run have to find."""
    stored: set[_Kept] = {"peaks", "refusals"}
    if curves_stored:
        stored.add("curve")
    for number in range(first, len(old.stages)):
        stored -= _writes(old, number)

    def comes_in_time(part: _Kept) -> bool:
        last = max((n for n in range(first) if part in _writes(new, n)), default=-1)
        concerned = (n for n in running if part in _writes(new, n) | new.stages[n].reads)
        return all(number > last for number in concerned)

    return frozenset(part for part in stored if comes_in_time(part))


def _writes(pipeline: Pipeline, number: int) -> _Parts:
    stage = pipeline.stages[number]
    refuses = not isinstance(pipeline.policy(stage.name), Always)
    return stage.writes | {"refusals"} if refuses else stage.writes


def _spans(pipeline: Pipeline) -> list[set[int]]:
    """Each stage that asks for others, with these and all between them."""
    spans = []
    for number, stage in enumerate(pipeline.stages):
        if stage.targets:
            there = [number, *(pipeline.numbers[name] for name in stage.targets)]
            spans.append(set(range(min(there), max(there) + 1)))
    return spans


def _part_of(pipeline: Pipeline, running: set[int]) -> Pipeline | None:
    """Return the pipeline of some of the stages; None if no curve enters any of them."""
    stages = tuple(pipeline.stages[number] for number in sorted(running))
    if all(stage.on_request for stage in stages):
        return None
    names = {stage.name for stage in stages}
    return Pipeline(
        name=pipeline.name,
        stages=stages,
        insertion={name: policy for name, policy in pipeline.insertion.items() if name in names},
        checkpoints=tuple(name for name in pipeline.checkpoints if name in names),
    )


def _explain(
    words: str, new: Pipeline, running: set[int], from_curves: bool, from_peaks: bool
) -> str:
    if from_curves:
        source = "stored curves and peaks" if from_peaks else "stored curves"
    else:
        source = "the input files and stored peaks" if from_peaks else "the input files"
    computed = ", ".join(new.stages[number].name for number in sorted(running)) or "nothing"
    return f"changed: {words}; from {source}; computed: {computed}"
