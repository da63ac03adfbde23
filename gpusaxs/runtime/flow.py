"""Where each row goes next: the rules of a pipeline over plain row numbers.

No threads, no asyncio, no arrays on a device: what a stage answered goes in, launches come out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter

import numpy as np

from gpusaxs.backends import IndexArray
from gpusaxs.errors import PipelineError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.policy import Asking, BoolArray
from gpusaxs.runtime.regroup import Reach, RegroupPool
from gpusaxs.runtime.scheduler import Launch, Scheduler
from gpusaxs.sample import Sample
from gpusaxs.stages.base import Requests

NO_ROWS: IndexArray = np.empty(0, np.int64)
Which = BoolArray | None
"""Which of the rows of a launch, as (rows,) bool; None for all of them."""
_NOWHERE = -1


def _no_sample(row: int) -> Sample:
    raise PipelineError(f"No samples are known here: a policy cannot look at row {row}.")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Rows of one run that are all that a checkpoint waits for, in the order of their entry."""

    run: int
    stage_num: int
    rows: IndexArray


@dataclass(slots=True)
class Settled:
    """What became of the rows of a launch: those not named here go on.

    Parameters
    ----------
    ended
        At the end of the pipeline.
    refused
        Asked for a stage and may not go there; they go on without it.
    errors
        Must fail: why, by row.
    """

    ended: IndexArray
    refused: IndexArray
    errors: dict[int, Exception]


class Flow:
    """Decides which launch comes next and where its rows go after it.

    Each row is in one place: it waits for a stage, takes part in a launch, or is held at a
    checkpoint, until it ends. A row that asks for several stages visits them one after another,
    in that order, and what one of them asks for comes before the rest; then it goes on from the
    last of them. A row that asks for nothing goes to the pipeline's next stage.

    Parameters
    ----------
    pipeline
        Stages, insertion policies and checkpoints.
    rows_at_once
        Rows that one launch may have.
    """

    def __init__(self, pipeline: Pipeline, rows_at_once: int | None = None) -> None:
        self.pipeline = pipeline
        self.rows_at_once = rows_at_once
        self._scheduler = Scheduler()
        self._names = [stage.name for stage in pipeline.stages]
        self._after = [pipeline.after(number) for number in range(len(pipeline.stages))]
        self._entry = pipeline.after(-1)
        self._checkpoints = frozenset(pipeline.numbers[name] for name in pipeline.holding)
        self._reach = reach(pipeline) if self._checkpoints else {}
        self._pools: dict[int, RegroupPool] = {}
        # Requests granted to a run, by stage; what a row asked for beside its next stage.
        self._totals: dict[int, Counter[int]] = {}
        self._later: dict[int, list[int]] = {}
        self._entries = 0
        # By row: its run, its entry, and the stage to which it goes. Requests granted to each row,
        # by the stages that have a policy.
        self._run = NO_ROWS
        self._entered = NO_ROWS
        self._next = NO_ROWS
        self._marked = NO_ROWS.astype(np.bool_)
        self._granted = {pipeline.numbers[name]: NO_ROWS for name in pipeline.insertion}

    def enter(self, rows: IndexArray, run: int = 0, *, more: bool = False) -> None:
        """Let rows that are in no other place begin.

        Parameters
        ----------
        run
            Number of the run to which they belong: its checkpoints wait for them.
        more
            Whether checkpoints of the run wait for rows that have not entered yet.
        """
        self._make_room(int(rows.max(initial=-1)) + 1)
        self._run[rows] = run
        self._entered[rows] = self._entries + np.arange(rows.size)
        self._entries += rows.size
        for granted in self._granted.values():
            granted[rows] = 0
        self._totals.setdefault(run, Counter())
        if self._checkpoints and run not in self._pools:
            self._pools[run] = RegroupPool(self._reach, self._checkpoints, self._entry)
        self.expect_more(run, more)
        self._send(self._entry, rows)

    def expect_more(self, run: int, more: bool) -> None:
        """Say whether rows of a run can still enter."""
        if run in self._pools:
            self._pools[run].open = more

    def forget(self, run: int) -> None:
        """Drop what is kept about a run that has ended."""
        self._pools.pop(run, None)
        self._totals.pop(run, None)

    def runs(self, rows: IndexArray) -> IndexArray:
        """Return the run of each row."""
        return self._run[rows]

    def rows_of(self, run: int) -> IndexArray:
        """Return the rows of a run that have not ended."""
        return np.flatnonzero(self._run == run)

    def forget_rows(self, rows: IndexArray) -> None:
        """Drop what is kept about rows that have ended; others may take their numbers."""
        self._run[rows] = _NOWHERE
        for row in rows.tolist() if self._later else ():
            self._later.pop(row, None)

    def next_launch(self) -> Launch | None:
        """Take the next launch; its rows are nowhere until it is settled."""
        return self._scheduler.pop(self.rows_at_once)

    def settle(
        self,
        launch: Launch,
        alive: Which,
        requests: Requests,
        sample: Callable[[int], Sample] = _no_sample,
    ) -> Settled:
        """Send the rows of a launch on.

        Parameters
        ----------
        alive
            Which of the launch's rows have not failed.
        requests
            What the stage returned.
        sample
            Returns a row as a sample, for policies that look at it.
        """
        self._left(launch.stage_num, launch.rows)
        settled = Settled(ended=NO_ROWS, refused=NO_ROWS, errors={})
        asked = [
            self._grant(launch, alive, name, asking, sample, settled)
            for name, asking in requests.items()
            if asking.size
        ]
        if settled.errors:
            failed = np.fromiter(settled.errors, np.int64)
            well = ~np.isin(launch.rows, failed)
            alive = _both(alive, well)
            asked = [(number, _both(admitted, well)) for number, admitted in asked]
            settled.refused = settled.refused[~np.isin(settled.refused, failed)]
        following = self._after[launch.stage_num]
        if self._later or len(asked) > 1:
            parts = self._parts(launch.rows, alive, asked, following)
        else:
            parts = self._two_parts(launch.rows, alive, asked, following)
        for number, there in sorted(parts, key=itemgetter(0)):
            if number == len(self._names):
                settled.ended = there
            else:
                self._send(number, there)
        return settled

    def _two_parts(
        self,
        rows: IndexArray,
        alive: Which,
        asked: list[tuple[int, Which]],
        following: int,
    ) -> list[tuple[int, IndexArray]]:
        """Do what `_parts` does where no row asks, or has asked, for more than one stage."""
        if not asked or asked[0][0] == following:
            return [(following, _of(rows, alive))]
        [(number, admitted)] = asked
        if admitted is None:
            return [(number, rows)]
        return [(number, rows[admitted]), (following, _of(rows, _both(alive, ~admitted)))]

    def _parts(
        self,
        rows: IndexArray,
        alive: Which,
        asked: list[tuple[int, Which]],
        following: int,
    ) -> list[tuple[int, IndexArray]]:
        """Return the next stages, each with its rows; note what rows have asked for beside it.

        Parameters
        ----------
        rows : (rows,) int64
            Of a launch.
        alive
            Which of them go on.
        asked
            Numbers of stages, each with those of them that go there.
        following
            Where rows go that have asked for nothing.
        """
        launched, rows = rows, _of(rows, alive)
        self._next[rows] = _NOWHERE
        several: dict[int, list[int]] = {}
        for number, chosen in asked:
            admitted = _of(launched, chosen)
            first = self._next[admitted] == _NOWHERE
            self._next[admitted[first]] = number
            for row in admitted[~first].tolist():
                several.setdefault(row, []).append(number)
        idle = rows[self._next[rows] == _NOWHERE]
        self._next[idle] = following
        for row in idle.tolist():
            if row in self._later:
                self._next[row], *rest = self._later.pop(row)
                if rest:
                    self._later[row] = rest
        for row, numbers in several.items():
            self._later[row] = numbers + self._later.get(row, [])
        targets = self._next[rows]
        return [(number, rows[targets == number]) for number in np.unique(targets).tolist()]

    def remove(self, rows: IndexArray) -> IndexArray:
        """Take rows out wherever they wait or are held; return those that did."""
        taken = [NO_ROWS]
        for number, waiting in self._scheduler.remove(rows).items():
            self._left(number, waiting)
            taken.append(waiting)
        taken += [pool.remove(rows) for pool in self._pools.values()]
        return np.concatenate(taken)

    def regroup(self, min_stage: int) -> IndexArray:
        """Take out every row that waits or is held at `min_stage` or beyond, in order of entry.

        Each is handed out once; the rest stays.
        """
        taken = [NO_ROWS]
        for number, waiting in self._scheduler.take_from(min_stage).items():
            self._left(number, waiting)
            taken.append(waiting)
        for pool in self._pools.values():
            taken += pool.regroup(min_stage).values()
        return self._in_order(np.concatenate(taken))

    def ready_checkpoint(self) -> Checkpoint | None:
        """Take the rows of a checkpoint that is ready, the lowest of the oldest run first.

        `release` must follow, with the rows that go on.
        """
        for run, pool in self._pools.items():
            stage_num = pool.ready()
            if stage_num is not None:
                return Checkpoint(run, stage_num, self._in_order(pool.release(stage_num)))
        return None

    def release(self, checkpoint: Checkpoint, rows: IndexArray) -> None:
        """Let rows of a checkpoint go on; those left out are in no place any more."""
        self._pools[checkpoint.run].leave(checkpoint.stage_num, checkpoint.rows.size - rows.size)
        stage = self.pipeline.stages[checkpoint.stage_num]
        apart = checkpoint.run if stage.joint else None
        self._scheduler.push(checkpoint.stage_num, stage.name, rows, apart)

    def _grant(
        self,
        launch: Launch,
        alive: Which,
        name: str,
        asking: IndexArray,
        sample: Callable[[int], Sample],
        settled: Settled,
    ) -> tuple[int, Which]:
        """Return the number of a stage, and which of the launch's rows ask for it and may go."""
        rows = launch.rows
        try:
            theirs = _both(alive, self._among(rows, asking))
        except IndexError:
            given = PipelineError(f"stage {launch.stage!r} asked for curves that it was not given")
            settled.errors |= dict.fromkeys(_of(rows, alive).tolist(), given)
            return _NOWHERE, np.zeros(rows.size, np.bool_)
        known = self.pipeline.stages[launch.stage_num].targets
        if name not in known:
            declared = PipelineError(
                f"stage {launch.stage!r} asked for {name!r}; it may ask for "
                f"{', '.join(known) or 'nothing'}. Name it in the stage's may_request."
            )
            settled.errors |= dict.fromkeys(_of(rows, theirs).tolist(), declared)
            return _NOWHERE, np.zeros(rows.size, np.bool_)
        number = self.pipeline.numbers[name]
        if number not in self._granted:
            return number, theirs
        policy, asking = self.pipeline.insertion[name], _of(rows, theirs)
        granted = self._granted[number][asking]
        runs = in_run = np.zeros(asking.size, np.int64)
        if policy.counts_in_run:
            runs = self._run[asking]
            in_run = self._granted_in_run(number, runs)
        requests = Asking(asking, runs, granted, in_run, sample, settled.errors)
        grant = policy.admit(requests)
        admitted = asking[grant]
        self._granted[number][admitted] += 1
        if policy.counts_in_run:
            self._count(number, runs[grant])
        if admitted.size < asking.size:
            settled.refused = np.concatenate([settled.refused, asking[~grant]])
            theirs = self._among(rows, admitted)
        return number, theirs

    def _among(self, rows: IndexArray, chosen: IndexArray) -> Which:
        """Which of the rows are chosen: `numpy.isin` for small numbers.

        Raises
        ------
        IndexError
            If others are.
        """
        if chosen is rows:
            return None
        self._marked[chosen] = True
        found: BoolArray = self._marked[rows]
        self._marked[chosen] = False
        if rows[found].size < chosen.size and not np.isin(chosen, rows).all():
            raise IndexError("Expected some of the rows.")
        return found

    def _granted_in_run(self, number: int, runs: IndexArray) -> IndexArray:
        """How many requests for a stage each of the runs was granted so far."""
        if len(self._totals) == 1:
            [(run, counts)] = self._totals.items()
            return np.where(runs == run, counts[number], 0)
        return np.array([self._totals[run][number] for run in runs.tolist()], np.int64)

    def _count(self, number: int, runs: IndexArray) -> None:
        if len(self._totals) == 1 and runs.size:
            self._totals[int(runs[0])][number] += runs.size
            return
        for run, count in zip(*np.unique(runs, return_counts=True), strict=True):
            self._totals[int(run)][number] += int(count)

    def _send(self, number: int, rows: IndexArray) -> None:
        """Let rows wait for a stage, or be held at it."""
        if rows.size == 0:
            return
        waiting = rows
        if self._pools:
            held = [self._pools[run].arrive(number, part) for run, part in self._by_run(rows)]
            if held[0]:  # a checkpoint is one for all runs
                waiting = NO_ROWS
        self._scheduler.push(number, self._names[number], waiting)

    def _left(self, number: int, rows: IndexArray) -> None:
        if self._pools:
            for run, part in self._by_run(rows):
                self._pools[run].leave(number, part.size)

    def _by_run(self, rows: IndexArray) -> Iterator[tuple[int, IndexArray]]:
        runs = self._run[rows]
        for run in np.unique(runs).tolist():
            yield run, rows[runs == run]

    def _in_order(self, rows: IndexArray) -> IndexArray:
        return rows[np.argsort(self._entered[rows])]

    def _make_room(self, capacity: int) -> None:
        """Let there be places for rows up to `capacity`."""
        if capacity <= self._run.size:
            return
        size = max(capacity, 2 * self._run.size)
        self._run, self._entered, self._next = (
            _longer(array, size, _NOWHERE) for array in (self._run, self._entered, self._next)
        )
        self._granted = {
            number: _longer(granted, size, 0) for number, granted in self._granted.items()
        }
        self._marked = np.zeros(size, np.bool_)


def _of(rows: IndexArray, which: Which) -> IndexArray:
    return rows if which is None else rows[which]


def _both(which: Which, other: Which) -> Which:
    """Which rows are among these and the others."""
    if which is None or other is None:
        return other if which is None else which
    return which & other


def _longer(array: IndexArray, size: int, rest: int) -> IndexArray:
    """Return an array with more entries behind its own."""
    longer = np.full(size, rest, np.int64)
    longer[: array.size] = array
    return longer


def reach(pipeline: Pipeline) -> Reach:
    """Where a row can still arrive, by the number of the stage at which it stands.

    A row that asked for several stages goes from anything that the first of them leads to on to
    the next of them, so these count as asked for there as well.
    """
    numbers = pipeline.numbers
    asked = {
        number: {numbers[name] for name in stage.targets}
        for number, stage in enumerate(pipeline.stages)
    }
    steps = {number: targets | {pipeline.after(number)} for number, targets in asked.items()}
    for targets in asked.values():
        if len(targets) > 1:
            for number in _closure(asked, targets):
                steps[number] |= targets
    return {number: frozenset(_closure(steps, targets)) for number, targets in steps.items()}


def _closure(steps: Mapping[int, set[int]], start: Iterable[int]) -> set[int]:
    """All that can be arrived at in any number of steps from `start`, itself included."""
    found: set[int] = set()
    todo = list(start)
    while todo:
        number = todo.pop()
        if number not in found:
            found.add(number)
            todo += steps.get(number, ())
    return found
