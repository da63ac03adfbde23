"""What an archive holds, and what processing it will take, from a sample of its curves.

How many files and curves there are is counted. All else is measured on the sample and scaled up:
files whose names end alike and that hold one curve, or several, share their scale.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from gpusaxs.archive.directory import INPUT_FILES, RunWriter, encoded
from gpusaxs.archive.plan import BlockLimits, ListedFile
from gpusaxs.archive.run import BESIDE_COMPUTING, listing
from gpusaxs.archive.survey import Clock, Survey
from gpusaxs.archive.trial import OBJECTS_A_CURVE, Trial, resident_bytes, samples_of
from gpusaxs.backends import Backend
from gpusaxs.backends.numpy import available_cores
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.runtime import Runtime
from gpusaxs.sample import Sample
from gpusaxs.tables import Unread
from gpusaxs.units import check_q_unit

SAMPLE = 500
"""Curves of a sample."""

# Python's objects around a file, in bytes: its listing.
_OBJECTS_A_FILE = 500
# Arrays that are gone leave holes, in one arena a thread.
_KEPT_BY_THE_ALLOCATOR = 1.25
# A block in run.json with the hashes of its parts, in bytes.
_RECORD = 800


@dataclass(frozen=True, slots=True)
class Kind:
    """Curves of the sample that are stored alike.

    Parameters
    ----------
    format
        Name of the reader.
    q_unit, q_unit_from
        Unit of q in the files, and who says so: ``"argument"``, ``"metadata"`` or ``"guess"``.
    has_sigma
        Whether the files give the uncertainty of the intensity.
    curves
        How many curves of the sample.
    points
        Of the shortest and the longest.
    q_range
        Smallest and largest q, in 1/nm.
    """

    format: str
    q_unit: str
    q_unit_from: str
    has_sigma: bool
    curves: int
    points: tuple[int, int]
    q_range: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an archive holds, and what processing it will take.

    Parameters
    ----------
    files
        Input files.
    size
        Of all input files, in bytes.
    curves
        Rows that the table of samples will have: all curves, and a row for each file that cannot
        be read. Counted, not estimated.
    sample
        Curves that were read for all that follows, those that cannot be read included.
    kinds
        What is in the sample, the most frequent first.
    unreadable
        Files without a readable curve, and curves of the sample that cannot be read: ids and
        reasons.
    failed
        Curves of the sample that can be read, but not processed: ids and reasons.
    seconds
        From the first block read to the last one written, once the kernels are compiled.
    seconds_by_step
        Seconds of work in ``"reading"``, ``"computing"`` (by all workers together) and
        ``"writing"``; they overlap.
    memory
        Most memory that the process will hold, in bytes: a bound for the blocks in flight, and
        what this process holds without any curve.
    memory_free
        What it could have, what it has already included, in bytes; NaN where nobody says.
    disk
        Size of the run directory in bytes, `curves_disk` included.
    curves_disk
        The part of it that holds the reduced curves, in bytes; 0 where they are not kept.
    place
        The folder that exists already, into which the run directory will be written.
    disk_free
        Free space there, in bytes.
    problems
        What stands against processing the archive as it is, a sentence each.
    remarks
        What is worth a look, a sentence each.
    """

    files: int
    size: int
    curves: int
    sample: int
    kinds: tuple[Kind, ...]
    unreadable: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str], ...]
    seconds: float
    seconds_by_step: Mapping[str, float]
    memory: int
    memory_free: float
    disk: int
    curves_disk: int
    place: Path
    disk_free: int
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def all_well(self) -> bool:
        """Whether there is no problem."""
        return not self.problems


def estimate(
    inputs: Sequence[str | Path],
    pipeline: Pipeline | None = None,
    *,
    q_unit: str | None = None,
    backend: str = "auto",
    workers: int | None = None,
    save_curves: bool = False,
    block_size: int | None = None,
    blocks_in_flight: int | None = None,
    output: str | Path | None = None,
    sample: int = SAMPLE,
    on_step: Callable[[str], None] = lambda step: None,
    clock: Clock = time.perf_counter,
) -> Estimate:
    """Read and process a sample of an archive, and say what the whole will take.

    Nothing is left behind. How fast the inputs can be read is measured as they are: what the
    system keeps in memory of them makes it faster than the whole will be.

    Parameters
    ----------
    inputs, pipeline, q_unit, backend, workers, save_curves, block_size, blocks_in_flight
        As `gpusaxs.archive.run.process_archive` takes them.
    output
        The run directory that would be made; the current folder counts without it.
    sample
        Most curves to read. There are fewer where they are very long.
    on_step
        Called with ``"listing"``, ``"reading"`` and ``"computing"`` as each begins.
    clock
        Seconds, as `time.perf_counter`.

    Raises
    ------
    FileNotFoundError
        If an input does not exist.
    RunDirectoryError
        If all inputs lie in `output`.
    ValueError
        If the unit is unknown, or a number is below 1.
    BackendError
        If the backend is not available.
    """
    unit = None if q_unit is None else check_q_unit(q_unit)
    for name, number in (
        ("sample", sample), ("block size", block_size), ("number of blocks", blocks_in_flight),
    ):  # fmt: skip
        if number is not None and number < 1:
            raise ValueError(f"Expected a {name} of at least 1. Got {number}.")
    chosen = pipeline or Pipeline.load("standard")
    chosen.check_by_curve("a sample says nothing of it. Check with another mode of it")
    with Runtime(backend, workers, chosen) as runtime:
        on_step("listing")
        # Nothing lies in the null device.
        files = listing(inputs, Path(os.devnull) if output is None else Path(output))
        archive = Survey(files, BlockLimits(block_size), clock)
        on_step("reading")
        drawn = archive.draw(unit, sample)
        on_step("computing")
        target = None if output is None else Path(output)
        place = _existing(target or Path.cwd())
        trial = Trial(runtime, drawn, place, clock, save_curves=save_curves)
        return _conclude(archive, trial, runtime.backend, blocks_in_flight, target)


def _conclude(
    archive: Survey,
    trial: Trial,
    backend: Backend,
    blocks_in_flight: int | None,
    output: Path | None,
) -> Estimate:
    """Scale up what the sample has taken, and compare it with what there is."""
    by_step, seconds = _seconds(archive, trial, backend)
    disk, curves_disk = _disk(archive, trial)
    place = _existing(Path.cwd() if output is None else output)
    groups = archive.groups
    entries = [entry for group in groups for entry in group.entries]
    unread = [(entry.id, entry.reason) for entry in entries if isinstance(entry, Unread)]
    found = Estimate(
        files=len(archive.files),
        size=sum(max(0, file.size) for file in archive.files),
        curves=archive.curves,
        sample=len(entries),
        kinds=_kinds(samples_of(entries)),
        unreadable=(*archive.unopened, *unread),
        failed=tuple(trial.failed),
        seconds=seconds,
        seconds_by_step=by_step,
        memory=_memory(archive, trial, backend, blocks_in_flight),
        memory_free=_free_memory(),
        disk=disk,
        curves_disk=curves_disk,
        place=place,
        disk_free=shutil.disk_usage(place).free,
    )
    return replace(
        found,
        problems=tuple(_problems(found, len(archive.unopened))),
        remarks=tuple(_remarks(found, output)),
    )


def _seconds(archive: Survey, trial: Trial, backend: Backend) -> tuple[dict[str, float], float]:
    """Return the seconds of work in each step, and of all together."""
    disk, _ = _disk(archive, trial)
    reading = sum(group.reading * group.points_factor for group in archive.groups)
    computing = sum(cost.seconds * cost.group.points_factor for cost in trial.costs)
    by_step = {
        "reading": archive.seconds + archive.hashing + reading,
        "computing": computing + archive.blocks * trial.seconds_a_block,
        "writing": disk * trial.writing,
    }
    # Computing alone keeps all cores busy. The rest runs beside it and takes its share of them,
    # but for the first block, which is read before there is anything to compute, and the last.
    beside = by_step["reading"] + by_step["writing"]
    cores = min(available_cores(), backend.blocks_in_flight + BESIDE_COMPUTING)
    alone = beside / archive.blocks
    together = by_step["computing"] + alone + (beside - alone) / cores
    # Reading is Python's work for the most part, and of that only one thread does any at a time.
    return by_step, max(together, beside)


def _disk(archive: Survey, trial: Trial) -> tuple[int, int]:
    """Return the bytes of a run directory, and of its reduced curves among them."""
    curves = float(archive.blocks * trial.empty_curves)
    tables = float(archive.blocks * (trial.empty_tables + _RECORD))
    tables += _size_of_listing(archive.files)
    for cost in trial.costs:
        curves += cost.curves * cost.group.points_factor
        tables += cost.tables * cost.group.curves_factor
    return round(curves + tables), round(curves)


def _size_of_listing(files: Sequence[ListedFile]) -> int:
    """Bytes of the table of input files; hashes of any content are as hard to compress."""
    columns = {
        "id": [file.id for file in files],
        "path": [file.path for file in files],
        "size": [file.size for file in files],
        "mtime_ns": [file.mtime_ns for file in files],
        "sha256": [hashlib.sha256(file.path.encode()).hexdigest() for file in files],
        "changed": [False] * len(files),
    }
    return len(encoded(pa.Table.from_pydict(columns, schema=INPUT_FILES)))


def _memory(archive: Survey, trial: Trial, backend: Backend, blocks_in_flight: int | None) -> int:
    """Return the most memory that blocks on their way can take, and what is there without them."""
    points, curves = archive.largest_block()
    at_once = backend.blocks_in_flight
    most = at_once + BESIDE_COMPUTING + 1 if blocks_in_flight is None else blocks_in_flight
    blocks = min(most, archive.blocks)
    computed = min(at_once, blocks)
    objects = curves * OBJECTS_A_CURVE
    # What a file holds, and a buffer that grows, are there twice for a moment.
    waiting = points * max(2.0 * trial.read_point, trial.encoded_point) + objects
    # Until it is encoded, a block keeps what was read of it.
    of_point = trial.read_point + trial.batch_point + trial.curves_point
    computing = points * (of_point + 2.0 * trial.encoded_point) + curves * trial.a_curve + objects
    listed = _OBJECTS_A_FILE * len(archive.files)
    blocks_held = computed * computing + (blocks - computed) * waiting
    return round(trial.baseline + listed + _KEPT_BY_THE_ALLOCATOR * blocks_held)


def _kinds(samples: Iterable[Sample]) -> tuple[Kind, ...]:
    """Gather the curves that are stored alike."""
    alike: defaultdict[tuple[str, str, str, bool], list[Sample]] = defaultdict(list)
    for sample in samples:
        origin = sample.origin
        assert origin is not None
        key = (origin.format, origin.q_unit, origin.q_unit_from, sample.sigma is not None)
        alike[key].append(sample)
    return tuple(
        Kind(*key, len(found), _points(found), _q_range(found))
        for key, found in sorted(alike.items(), key=lambda item: -len(item[1]))
    )


def _points(samples: Sequence[Sample]) -> tuple[int, int]:
    points = [sample.q.size for sample in samples]
    return min(points), max(points)


def _q_range(samples: Sequence[Sample]) -> tuple[float, float]:
    """Smallest and largest q, in 1/nm, of what is a number."""
    finite = [sample.q[np.isfinite(sample.q)] for sample in samples]
    some = [q for q in finite if q.size]
    if not some:
        return math.nan, math.nan
    return float(min(q.min() for q in some)), float(max(q.max() for q in some))


def _problems(found: Estimate, unopened: int) -> Iterator[str]:
    if unopened:
        yield f"{unopened:,} of {found.files:,} files hold nothing that can be read."
    unread = len(found.unreadable) - unopened
    for count, what in ((unread, "read"), (len(found.failed), "processed")):
        if count:
            about = round(found.curves * count / found.sample)
            whole = found.sample + unopened == found.curves
            guess = "" if whole else f"; of all {found.curves:,} it may be about {about:,}"
            yield f"{count:,} of the {found.sample:,} curves read cannot be {what}{guess}."
    if found.memory > found.memory_free:
        yield (
            f"Processing takes up to {in_bytes(found.memory)} of memory. Here are "
            f"{in_bytes(found.memory_free)}: give a smaller --block-size, or fewer "
            "--blocks-in-flight."
        )
    if found.disk > found.disk_free:
        spared = ", or leave --save-curves out" if found.curves_disk else ""
        yield (
            f"The run takes about {in_bytes(found.disk)} on disk. At {found.place} are "
            f"{in_bytes(found.disk_free)} free: make room, give --output another place{spared}."
        )
    if not os.access(found.place, os.W_OK | os.X_OK):
        yield f"Nothing can be written to {found.place}: give --output another place."


def _remarks(found: Estimate, output: Path | None) -> Iterator[str]:
    guessed = sum(kind.curves for kind in found.kinds if kind.q_unit_from == "guess")
    if guessed:
        yield (
            f"The unit of q of {guessed:,} of the {found.sample:,} curves read is a guess: "
            "give --q-unit where you know it."
        )
    if output is not None and RunWriter.holds_a_run(output):
        yield (
            f"{output} holds a run already: process it with --overwrite, with --resume, or to "
            "another --output."
        )


def in_bytes(size: float) -> str:
    """Return a size for people: ``"1.5 GB"``."""
    for unit, one in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= one:
            return f"{size / one:.3g} {unit}"
    return f"{size:.0f} B"


def _existing(place: Path) -> Path:
    """Return the folder at a place, or the nearest one above it."""
    place = place.absolute()
    while not place.is_dir():
        place = place.parent
    return place


def _free_memory() -> float:
    """Bytes of memory that this process holds or could have; NaN where nobody says."""
    free = [_number_in(Path("/proc/meminfo"), "MemAvailable:") * 1024.0]
    # A container may have less than its machine.
    group = Path("/sys/fs/cgroup")
    free.append(_number_in(group / "memory.max") - _number_in(group / "memory.current"))
    known = [entry for entry in free if not math.isnan(entry)]
    return min(known) + resident_bytes() if known else math.nan


def _number_in(file: Path, word: str = "") -> float:
    """Return the number behind a word in a file of the system; NaN where there is none."""
    try:
        found = re.search(rf"^{word}\s*(\d+)", file.read_text("ascii"), re.MULTILINE)
    except OSError:
        return math.nan
    return math.nan if found is None else float(found[1])
