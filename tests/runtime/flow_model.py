"""What a Flow has to do, by brute force: a list of rows, each with its place.

Stages are numbers, policies are the tables of a TOML file, a sample is its row number. Nothing
is taken from gpusaxs.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

Table = dict[str, object] | Callable[[int, int], bool]
"""An insertion policy as a TOML file has it, or a function of a sample and its requests."""


@dataclass(frozen=True)
class Graph:
    """Stages by number: whom each may ask for, which run on request only, which hold."""

    targets: tuple[tuple[int, ...], ...]
    on_request: tuple[bool, ...]
    checkpoints: tuple[int, ...] = ()
    insertion: dict[int, Table] = field(default_factory=dict)
    rows_at_once: int | None = None

    @property
    def end(self) -> int:
        return len(self.targets)

    def after(self, stage: int) -> int:
        later = [n for n in range(stage + 1, self.end) if not self.on_request[n]]
        return later[0] if later else self.end

    def steps(self) -> set[tuple[int, int]]:
        """Each stage with those that a row may go to from it, as `reach` describes them."""
        asked = {(stage, target) for stage in range(self.end) for target in self.targets[stage]}
        leads = closed(asked) | {(stage, stage) for stage in range(self.end)}
        steps = asked | {(stage, self.after(stage)) for stage in range(self.end)}
        for targets in self.targets:
            if len(targets) > 1:
                steps |= {(b, next_) for a, b in leads for next_ in targets if a in targets}
        return steps

    def reach(self) -> set[tuple[int, int]]:
        return closed(self.steps())


def closed(steps: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """What can be arrived at in one step or more."""
    while True:
        further = steps | {(a, d) for a, b in steps for c, d in steps if b == c}
        if further == steps:
            return steps
        steps = further


def picky(sample: int, granted: int) -> bool:
    """Decide as a user's function may, with an error for some."""
    if sample % 7 == 6:
        raise ValueError(f"not {sample}")
    return (sample + granted) % 3 > 0


def a_table(choose: random.Random, depth: int = 2) -> Table:
    kinds = ["always", "never", "per_sample", "saturation", "decided"]
    kind = choose.choice([*kinds, "all_of", "any_of"] if depth else kinds)
    match kind:
        case "decided":
            return picky
        case "per_sample" | "saturation":
            return {"policy": kind, "limit": choose.randint(0, 5)}
        case "all_of" | "any_of":
            several = [a_table(choose, depth - 1) for _ in range(choose.randint(1, 3))]
            return {"policy": kind, "policies": several}
    return {"policy": kind}


def a_graph(choose: random.Random) -> Graph:
    """Draw two to six stages that may ask for any of them."""
    numbers = range(choose.randint(2, 6))
    entry = choose.choice(numbers)
    often = choose.choice([0.1, 0.3, 0.6])
    return Graph(
        tuple(
            tuple(n for n in choose.sample(numbers, len(numbers)) if choose.random() < often)
            for _ in numbers
        ),
        tuple(n != entry and choose.random() < 0.35 for n in numbers),
        tuple(n for n in numbers if choose.random() < 0.3),
        {n: a_table(choose) for n in numbers if choose.random() < 0.5},
        choose.choice([None, None, 1, 2, 3, 5]),
    )


@dataclass(frozen=True)
class Request:
    """One row that asks for a stage."""

    row: int
    run: int
    granted: int


def granted(
    table: Table, asking: list[Request], in_run: Counter[int], raised: set[int]
) -> list[Request]:
    """Which requests a policy grants; `in_run` has those of each run that were granted before."""
    if callable(table):
        return [request for request in asking if _says_yes(table, request, raised)]
    match table["policy"]:
        case "always":
            return asking
        case "never":
            return []
        case "per_sample":
            return [request for request in asking if request.granted < table["limit"]]
        case "saturation":
            used, first = Counter(in_run), []
            for request in asking:
                if used[request.run] < table["limit"]:
                    used[request.run] += 1
                    first.append(request)
            return first
        case "all_of":
            for policy in table["policies"]:
                asking = granted(policy, asking, in_run, raised)
            return asking
    some: list[Request] = []
    for policy in table["policies"]:
        rest = [request for request in asking if request not in some]
        some += granted(policy, rest, in_run + Counter(r.run for r in some), raised)
    return [request for request in asking if request in some]


def _says_yes(function: Callable[[int, int], bool], request: Request, raised: set[int]) -> bool:
    try:
        return function(request.row, request.granted)
    except ValueError:
        raised.add(request.row)
        return False


@dataclass(eq=False)
class Row:
    """One row between its entry and its end."""

    number: int
    run: int
    entry: int
    stage: int = -1
    place: str = ""
    arrival: int = 0
    later: list[int] = field(default_factory=list)
    granted: Counter[int] = field(default_factory=Counter)
    barred: set[int] = field(default_factory=set)


class NaiveFlow:
    """A list of rows; each question is answered by looking at all of them."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.rows_at_once = graph.rows_at_once
        self.reach = graph.reach()
        self.rows: list[Row] = []
        self.open: dict[int, bool] = {}
        self.granted: Counter[tuple[int, int]] = Counter()
        self.launches: list[list[Row]] = []
        self.checkpoints: list[list[Row]] = []
        self.clock = 0

    def enter(self, numbers: list[int], run: int, more: bool) -> None:
        for number in numbers:
            row = Row(number, run, self._tick())
            self.rows.append(row)
            self._arrive(row, self.graph.after(-1))
        self.expect_more(run, more)

    def expect_more(self, run: int, more: bool) -> None:
        self.open[run] = more

    def forget(self, run: int) -> None:
        del self.open[run]
        for stage in range(self.graph.end):
            del self.granted[run, stage]

    def allow(self, rows_at_once: int | None) -> None:
        self.rows_at_once = rows_at_once

    def rows_of(self, run: int) -> list[int]:
        return sorted(row.number for row in self.rows if row.run == run)

    def next_launch(self) -> tuple[int, list[int]] | None:
        waiting = self._in("waits")
        if not waiting:
            return None
        stage = min(row.stage for row in waiting)
        turn = sorted((row for row in waiting if row.stage == stage), key=lambda r: r.arrival)
        launch = turn[: self.rows_at_once]
        for row in launch:
            row.place = "launched"
        self.launches.append(launch)
        return stage, [row.number for row in launch]

    def settle(
        self, which: int, alive: list[bool], requests: dict[int, list[int]]
    ) -> tuple[list[int], set[int], set[int]]:
        """Return who ended, who was refused and who has to fail."""
        launch = self.launches.pop(which)
        stage = launch[0].stage
        going = [row for row, lives in zip(launch, alive, strict=True) if lives]
        asked: dict[Row, list[int]] = {row: [] for row in going}
        refused: set[int] = set()
        errors: set[int] = set()
        for target, numbers in requests.items():
            known = {row.number for row in launch}
            if not known.issuperset(numbers):
                errors |= {row.number for row in going}
                continue
            if target not in self.graph.targets[stage]:
                errors |= {row.number for row in going if row.number in numbers}
                continue
            for row in going:
                if row.number in numbers:
                    asked[row].append(target)
            refused |= self._decide(target, asked, errors)
        ended = []
        for row in launch:
            if row not in asked or row.number in errors:
                self.rows.remove(row)
                continue
            row.later = asked[row] + row.later
            following = row.later.pop(0) if row.later else self.graph.after(stage)
            if following == self.graph.end:
                ended.append(row.number)
                self.rows.remove(row)
            else:
                self._arrive(row, following)
        return ended, refused - errors, errors

    def remove(self, numbers: Iterable[int]) -> set[int]:
        return set(self._take([r for r in self._in("waits", "held") if r.number in numbers]))

    def regroup(self, min_stage: int) -> list[int]:
        return self._take([r for r in self._in("waits", "held") if r.stage >= min_stage])

    def ready_checkpoint(self) -> tuple[int, int, list[int]] | None:
        for run in self.open:
            for stage in range(self.graph.end):
                held = [r for r in self._in("held") if (r.run, r.stage) == (run, stage)]
                if held and not self._can_arrive(run, stage):
                    self._bar(run, stage)
                    for row in held:
                        row.place = "released"
                    self.checkpoints.append(held)
                    return run, stage, [row.number for row in held]
        return None

    def release(self, which: int, kept: list[int]) -> None:
        rows = self.checkpoints.pop(which)
        for row in rows:
            if row.number in kept:
                row.place, row.arrival = "waits", self._tick()
            else:
                self.rows.remove(row)

    def _can_arrive(self, run: int, stage: int) -> bool:
        entry = self.graph.after(-1)
        if self.open[run] and (stage == entry or (entry, stage) in self.reach):
            return True
        return any(
            row.run == run
            and (row.place != "held" or row.stage < stage)
            and (row.stage, stage) in self.reach
            for row in self.rows
        )

    def _bar(self, run: int, stage: int) -> None:
        """Note who must not come to a checkpoint any more, as it did not wait for them."""
        for row in self.rows:
            if row.run == run and (row.place != "held" or row.stage < stage):
                row.barred.add(stage)

    def _arrive(self, row: Row, stage: int) -> None:
        assert stage not in row.barred, f"{row} comes to stage {stage}, which did not wait for it"
        row.stage, row.arrival = stage, self._tick()
        row.place = "held" if stage in self.graph.checkpoints else "waits"

    def _decide(self, target: int, asked: dict[Row, list[int]], errors: set[int]) -> set[int]:
        """Strike out the requests that are refused; return whose they were."""
        asking = {row.number: row for row, targets in asked.items() if target in targets}
        requests = [Request(n, row.run, row.granted[target]) for n, row in asking.items()]
        in_run = Counter({r.run: self.granted[r.run, target] for r in requests})
        table = self.graph.insertion.get(target, {"policy": "always"})
        for request in granted(table, requests, in_run, errors):
            row = asking.pop(request.row)
            row.granted[target] += 1
            self.granted[row.run, target] += 1
        for row in asking.values():
            asked[row].remove(target)
        return set(asking)

    def _take(self, rows: list[Row]) -> list[int]:
        for row in rows:
            self.rows.remove(row)
        return [row.number for row in rows]

    def _in(self, *places: str) -> list[Row]:
        """Rows in a place, in the order of their entry."""
        return [row for row in self.rows if row.place in places]

    def _tick(self) -> int:
        self.clock += 1
        return self.clock
