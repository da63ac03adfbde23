"""Where rows go next: each rule as a sentence, then any run against `flow_model.NaiveFlow`.

The model predicts every launch, checkpoint, refusal and end over 420,000 steps: 20,000 that
hypothesis chooses, and shrinks where they fail, and 400,000 of a seeded plain driver, which does
the same in a tenth of the time.
"""

import random
from typing import Any, ClassVar

import numpy as np
import pytest
from flow_model import Graph, NaiveFlow, a_graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gpusaxs.errors import PipelineError
from gpusaxs.pipeline import Pipeline
from gpusaxs.runtime.flow import NO_ROWS, Flow, reach
from gpusaxs.runtime.scheduler import Launch
from gpusaxs.stages.base import NO_REQUESTS, Stage

MACHINE_STEPS = 20_000
DRIVEN_STEPS = 400_000
SEEDS = 40
NUMBERS = range(12)
"""Row numbers: few, so that they are soon used again."""
RUNS = range(4)


class Labelled(Stage):
    """A stage that is never launched: what it answers is given to the flow."""

    label: str
    asks_for: tuple[str, ...] = ()

    @property
    def name(self):
        return self.label

    @property
    def targets(self):
        return self.asks_for

    def launch(self, batch, rows):
        raise NotImplementedError


class OnRequest(Labelled):
    """Runs only for rows that ask for it."""

    on_request: ClassVar[bool] = True


def always(label: str, *asks_for: str) -> Stage:
    return Labelled(label=label, asks_for=asks_for)


def asked(label: str, *asks_for: str) -> Stage:
    return OnRequest(label=label, asks_for=asks_for)


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def flow_of(*stages: Stage, rows_at_once: int | None = None, **options: Any) -> Flow:
    pipeline = Pipeline.of(stages, **options)
    return Flow(pipeline, rows_at_once)


def step(flow: Flow, failing=(), **requests: np.ndarray):
    """Take the next launch and settle it; return it in plain words, and what came of its rows."""
    launch = flow.next_launch()
    settled = flow.settle(launch, ~np.isin(launch.rows, failing), requests, lambda row: row)
    return (launch.stage, launch.rows.tolist()), settled


def drain(flow: Flow) -> list[tuple[str, list[int]]]:
    """Run the rest without a request, and note the checkpoints on the way."""
    seen = []
    while True:
        if (checkpoint := flow.ready_checkpoint()) is not None:
            seen.append(("released", checkpoint.rows.tolist()))
            flow.release(checkpoint, checkpoint.rows)
        elif (launch := flow.next_launch()) is not None:
            seen.append((launch.stage, launch.rows.tolist()))
            flow.settle(launch, np.ones(launch.rows.size, bool), NO_REQUESTS)
        else:
            return seen


def fan(**options: Any) -> Flow:
    """`first` may ask for `a` and `b`, and `a` for `c`; `last` follows."""
    stages = always("first", "a", "b"), asked("a", "c"), asked("b"), asked("c"), always("last")
    return flow_of(*stages, **options)


def test_rows_visit_the_stages_in_order_and_end_after_the_last():
    flow = flow_of(always("a"), always("b"))
    flow.enter(rows(0, 1))
    assert step(flow)[1].ended.size == 0
    launch, settled = step(flow)
    assert launch == ("b", [0, 1])
    assert settled.ended.tolist() == [0, 1]
    assert flow.next_launch() is None


def test_a_stage_on_request_is_passed_over_even_as_the_first():
    flow = flow_of(asked("a"), always("b"), asked("c"))
    flow.enter(rows(0))
    assert drain(flow) == [("b", [0])]


def test_a_row_that_failed_goes_nowhere():
    flow = flow_of(always("a"), always("b"))
    flow.enter(rows(0, 1, 2))
    step(flow, failing=[1])
    assert drain(flow) == [("b", [0, 2])]


def test_requests_for_several_stages_are_visited_in_order_and_then_it_goes_on_from_the_last():
    flow = flow_of(always("first", "a", "b", "c"), *map(always, "abcd"))
    flow.enter(rows(0))
    step(flow, c=rows(0), b=rows(0), a=rows(0))
    assert [stage for stage, _ in drain(flow)] == ["c", "b", "a", "b", "c", "d"]


def test_nested_requests_come_before_older_ones():
    flow = fan()
    flow.enter(rows(0))
    step(flow, a=rows(0), b=rows(0))
    step(flow, c=rows(0))
    assert drain(flow) == [("c", [0]), ("b", [0]), ("last", [0])]


def test_several_nested_requests_come_before_older_ones_in_their_own_order():
    flow = flow_of(
        always("first", "a", "b"), asked("a", "c", "d"), asked("b"), asked("c"), asked("d")
    )
    flow.enter(rows(0))
    step(flow, a=rows(0), b=rows(0))
    step(flow, d=rows(0), c=rows(0))
    assert drain(flow) == [("d", [0]), ("c", [0]), ("b", [0])]


def test_a_stage_may_be_visited_as_often_as_it_asks_for_itself():
    flow = flow_of(always("again", "again"), always("last"))
    flow.enter(rows(0, 1))
    step(flow, again=rows(1))
    assert drain(flow) == [("again", [1]), ("last", [0, 1])]


def test_a_request_given_twice_or_in_another_order_is_one_request_in_the_order_of_the_rows():
    flow = fan()
    flow.enter(rows(0, 1, 2))
    step(flow, a=rows(2, 0, 2))
    assert drain(flow) == [("a", [0, 2]), ("last", [1, 0, 2])]


def test_all_rows_of_a_launch_can_ask_as_the_launch_has_them():
    flow = fan()
    flow.enter(rows(0, 1, 2))
    launch = flow.next_launch()
    flow.settle(launch, np.array([True, False, True]), {"a": launch.rows})
    assert drain(flow) == [("a", [0, 2]), ("last", [0, 2])]


def test_what_a_failed_row_asks_for_does_not_count():
    flow = fan(insertion={"a": {"policy": "saturation", "limit": 1}})
    flow.enter(rows(0, 1))
    _, settled = step(flow, failing=[0], a=rows(0, 1))
    assert settled.refused.size == 0
    assert drain(flow) == [("a", [1]), ("last", [1])]


def test_refused_rows_go_on():
    one = {"policy": "saturation", "limit": 1}
    flow = fan(insertion={"a": {"policy": "never"}, "b": one})
    flow.enter(rows(0, 1, 2))
    _, settled = step(flow, a=rows(0, 1), b=rows(1, 2))
    assert sorted(settled.refused) == [0, 1, 2]
    assert drain(flow) == [("b", [1]), ("last", [0, 2, 1])]


def test_a_row_refused_in_the_middle_goes_on_to_what_it_asked_for_before():
    flow = fan(insertion={"c": {"policy": "never"}})
    flow.enter(rows(0))
    step(flow, a=rows(0), b=rows(0))
    step(flow, c=rows(0))
    assert drain(flow) == [("b", [0]), ("last", [0])]


def test_undeclared_requests_are_errors_of_the_rows():
    flow = fan()
    flow.enter(rows(0, 1))
    _, settled = step(flow, a=rows(0, 1), last=rows(0, 1))
    assert sorted(settled.errors) == [0, 1]
    with pytest.raises(PipelineError, match="'first' asked for 'last'; it may ask for a, b"):
        raise settled.errors[0]
    assert flow.next_launch() is None


@pytest.mark.parametrize("stranger", [2, 5, 10_000])
def test_requests_for_rows_that_were_not_given_are_errors_of_the_rows_that_were(stranger):
    flow = fan()
    flow.enter(rows(0, 1))
    launch = flow.next_launch()
    flow.enter(rows(2))
    settled = flow.settle(launch, np.array([True, True]), {"a": rows(0, stranger)})
    assert sorted(settled.errors) == [0, 1]
    assert "not given" in str(settled.errors[0])
    assert drain(flow) == [("first", [2]), ("last", [2])]


def test_a_row_on_which_a_policy_raises_fails_and_the_others_go_on():
    def picky(sample, granted):
        if sample == 1:
            raise ValueError("not this one")
        return True

    flow = fan(insertion={"a": picky})
    flow.enter(rows(0, 1, 2))
    _, settled = step(flow, a=rows(0, 1, 2))
    assert {row: str(error) for row, error in settled.errors.items()} == {1: "not this one"}
    assert drain(flow) == [("a", [0, 2]), ("last", [0, 2])]


def test_a_policy_that_looks_at_samples_needs_some():
    def looks(sample, granted):
        return True

    flow = Flow(Pipeline.of([always("a", "b"), always("b")], insertion={"b": looks}))
    flow.enter(rows(0))
    settled = flow.settle(flow.next_launch(), np.array([True]), {"b": rows(0)})
    with pytest.raises(PipelineError, match="row 0"):
        raise settled.errors[0]


def test_saturation_counts_each_run_for_itself_until_it_is_forgotten():
    flow = fan(insertion={"a": {"policy": "saturation", "limit": 1}})
    flow.enter(rows(0, 1), run=5)
    flow.enter(rows(2, 3), run=9)
    _, settled = step(flow, a=rows(0, 1, 2, 3))
    assert settled.refused.tolist() == [1, 3]
    flow.forget(5)
    for run, refused in ((5, []), (9, [4])):
        flow.enter(rows(4), run)
        _, settled = step(flow, a=rows(4))
        assert settled.refused.tolist() == refused


def test_granted_requests_of_a_row_are_counted_for_each_stage_alone():
    once = {"policy": "per_sample", "limit": 1}
    flow = flow_of(always("first", "first", "a"), asked("a"), insertion={"first": once, "a": once})
    flow.enter(rows(0))
    assert step(flow, first=rows(0))[1].refused.size == 0
    _, settled = step(flow, first=rows(0), a=rows(0))
    assert settled.refused.tolist() == [0]
    assert drain(flow) == [("a", [0])]


def test_a_row_that_is_used_again_begins_anew():
    flow = fan(insertion={"a": {"policy": "per_sample", "limit": 1}})
    for run in (0, 1):
        flow.enter(rows(0), run)
        assert flow.runs(rows(0)).tolist() == [run]
        assert step(flow, a=rows(0))[1].refused.size == 0
        drain(flow)
        flow.forget_rows(rows(0))
        assert flow.rows_of(run).size == 0


def ended_by_failure(flow: Flow) -> None:
    step(flow, failing=[0])


def ended_by_an_error_in_what_it_asked_for_before(flow: Flow) -> None:
    step(flow, c=rows(0), nothing=rows(0))


def ended_by_removal(flow: Flow) -> None:
    assert flow.remove(rows(0)).tolist() == [0]


def ended_by_regroup(flow: Flow) -> None:
    assert flow.regroup(0).tolist() == [0]


@pytest.mark.parametrize(
    "end",
    [
        ended_by_failure,
        ended_by_an_error_in_what_it_asked_for_before,
        ended_by_removal,
        ended_by_regroup,
    ],
)
def test_what_a_row_asked_for_before_it_ended_is_nothing_to_who_has_its_number_next(end):
    flow = fan()
    flow.enter(rows(0))
    step(flow, a=rows(0), b=rows(0))
    end(flow)
    flow.forget_rows(rows(0))
    flow.enter(rows(0), run=1)
    assert drain(flow) == [("first", [0]), ("last", [0])]


def test_what_a_row_asked_for_in_the_launch_that_ended_it_is_nothing_to_who_comes_next():
    flow = fan()
    flow.enter(rows(0))
    _, settled = step(flow, a=rows(0), b=rows(0), last=rows(0))
    assert list(settled.errors) == [0]
    flow.forget_rows(rows(0))
    flow.enter(rows(0), run=1)
    assert drain(flow) == [("first", [0]), ("last", [0])]


def test_what_a_row_dropped_at_a_checkpoint_asked_for_is_nothing_to_who_comes_next():
    flow = fan(checkpoints=["a"])
    flow.enter(rows(0))
    step(flow, a=rows(0), b=rows(0))
    flow.release(flow.ready_checkpoint(), NO_ROWS)
    flow.forget_rows(rows(0))
    flow.enter(rows(0), run=1)
    assert drain(flow) == [("first", [0]), ("last", [0])]


def test_rows_of_several_runs_share_a_launch():
    flow = flow_of(always("a"))
    flow.enter(rows(3), run=1)
    flow.enter(rows(0, 2), run=0)
    assert drain(flow) == [("a", [3, 0, 2])]


def test_a_launch_has_no_more_rows_than_allowed_and_the_rest_keeps_its_turn():
    flow = flow_of(always("a"), always("b"), rows_at_once=2)
    flow.enter(rows(0, 1, 2))
    assert step(flow)[0] == ("a", [0, 1])
    flow.enter(rows(3))
    assert drain(flow) == [("a", [2, 3]), ("b", [0, 1]), ("b", [2, 3])]


def test_a_checkpoint_gives_all_rows_of_its_run_in_the_order_of_their_entry():
    flow = fan(checkpoints=["last"])
    flow.enter(rows(7, 1, 4))
    step(flow, a=rows(7))
    assert flow.ready_checkpoint() is None
    assert drain(flow) == [("a", [7]), ("released", [7, 1, 4]), ("last", [7, 1, 4])]


def test_a_checkpoint_waits_for_its_own_run_alone():
    flow = flow_of(always("a"), always("b"), checkpoints=["b"])
    flow.enter(rows(0), run=0)
    step(flow)
    flow.enter(rows(1), run=1)
    assert flow.ready_checkpoint().rows.tolist() == [0]
    assert flow.ready_checkpoint() is None
    step(flow)
    assert flow.ready_checkpoint().run == 1


def test_of_the_ready_checkpoints_the_lowest_of_the_oldest_run_is_first():
    flow = flow_of(
        always("first", "b"), always("a"), always("b"), checkpoints=["a", "b"], rows_at_once=1
    )
    flow.enter(rows(0, 1), run=8)
    flow.enter(rows(2), run=3)
    step(flow, b=rows(0))
    step(flow)
    step(flow)
    order = []
    while checkpoint := flow.ready_checkpoint():
        order.append((checkpoint.run, checkpoint.stage_num, checkpoint.rows.tolist()))
    assert order == [(8, 1, [1]), (3, 1, [2])]


def test_rows_held_further_on_do_not_keep_a_checkpoint_closed():
    flow = flow_of(always("a"), always("b"), always("c", "a"), checkpoints=["b", "c"])
    flow.enter(rows(0))
    step(flow)
    flow.release(flow.ready_checkpoint(), rows(0))
    step(flow)
    flow.enter(rows(1))
    step(flow)
    assert flow.ready_checkpoint().rows.tolist() == [1]


@pytest.mark.parametrize("checkpoint", ["a", "b"])
def test_a_run_open_for_more_holds_until_it_is_not(checkpoint):
    flow = flow_of(always("a"), always("b"), checkpoints=[checkpoint])
    flow.enter(rows(0), more=True)
    flow.enter(rows(1), more=True)
    assert "released" not in [stage for stage, _ in drain(flow)]
    flow.expect_more(0, False)
    assert ("released", [0, 1]) in drain(flow)


def test_a_run_can_be_opened_before_its_first_rows_are_there():
    flow = flow_of(always("a"), always("b"), checkpoints=["b"])
    flow.enter(NO_ROWS, more=True)
    flow.enter(rows(0))
    assert drain(flow) == [("a", [0]), ("released", [0]), ("b", [0])]


def test_a_run_can_be_opened_again_without_rows():
    flow = flow_of(always("a"), checkpoints=["a"])
    flow.enter(rows(0))
    flow.enter(NO_ROWS, more=True)
    assert drain(flow) == []


def test_a_row_in_a_launch_keeps_a_checkpoint_closed_until_it_is_settled():
    flow = flow_of(always("a"), always("b"), checkpoints=["b"], rows_at_once=1)
    flow.enter(rows(0, 1))
    step(flow)
    launch = flow.next_launch()
    assert flow.ready_checkpoint() is None
    flow.settle(launch, np.array([False]), NO_REQUESTS)
    assert flow.ready_checkpoint().rows.tolist() == [0]


def test_a_row_with_requests_left_keeps_their_checkpoint_closed():
    flow = flow_of(
        always("first", "a", "b"), asked("a"), asked("b"), checkpoints=["b"], rows_at_once=1
    )
    flow.enter(rows(0, 1))
    step(flow, b=rows(0))
    step(flow, a=rows(1), b=rows(1))
    assert drain(flow) == [("a", [1]), ("released", [0, 1]), ("b", [0]), ("b", [1])]


def test_rows_that_are_not_released_are_gone_and_keep_nothing_closed():
    flow = flow_of(always("a"), always("b"), always("c"), checkpoints=["b", "c"])
    flow.enter(rows(0, 1, 2))
    step(flow)
    flow.release(flow.ready_checkpoint(), rows(2, 0))
    assert drain(flow) == [("b", [2, 0]), ("released", [0, 2]), ("c", [0, 2])]


def test_removed_rows_are_gone_from_wherever_they_wait_and_keep_nothing_closed():
    flow = flow_of(always("a", "c"), always("b"), always("c"), checkpoints=["c"])
    flow.enter(rows(0, 1, 2, 3))
    step(flow, c=rows(0, 1))
    assert sorted(flow.remove(rows(1, 2, 3, 9))) == [1, 2, 3]
    assert flow.remove(rows(1, 2, 3)).size == 0
    assert drain(flow) == [("released", [0]), ("c", [0])]


def test_rows_in_a_launch_are_not_removed():
    flow = flow_of(always("a"), always("b"))
    flow.enter(rows(0))
    launch = flow.next_launch()
    assert flow.remove(rows(0)).size == 0
    assert flow.regroup(0).size == 0
    flow.settle(launch, np.array([True]), NO_REQUESTS)
    assert drain(flow) == [("b", [0])]


def test_regroup_hands_out_what_waits_or_is_held_at_a_stage_or_beyond_once():
    flow = flow_of(
        always("a", "c", "d"), always("b"), always("c"), always("d"), checkpoints=["c"]
    )  # fmt: skip
    flow.enter(rows(3, 2, 1, 0))
    step(flow, c=rows(1), d=rows(2, 3))
    flow.enter(rows(4))
    assert flow.regroup(2).tolist() == [3, 2, 1]
    assert flow.regroup(2).size == 0
    assert drain(flow) == [("a", [4]), ("b", [0, 4]), ("released", [0, 4]), ("c", [0, 4]),
                           ("d", [0, 4])]  # fmt: skip


def test_rows_of_a_run_are_those_that_have_not_ended():
    flow = flow_of(always("a"), always("b"), checkpoints=["b"])
    flow.enter(rows(0, 1), run=2)
    flow.enter(rows(2), run=3)
    step(flow, failing=[1])
    flow.forget_rows(rows(1))
    assert flow.rows_of(2).tolist() == [0]
    assert flow.rows_of(3).tolist() == [2]


def reached(*stages: Stage) -> dict[int, set[int]]:
    return {stage: set(found) for stage, found in reach(Pipeline.of(stages)).items()}


def test_a_row_can_arrive_at_what_follows_and_at_what_it_may_ask_for():
    assert reached(always("a"), asked("b"), always("c")) == {0: {2, 3}, 1: {2, 3}, 2: {3}}
    assert reached(always("a", "b"), asked("b"), always("c")) == {0: {1, 2, 3}, 1: {2, 3}, 2: {3}}


def test_a_row_can_arrive_again_where_a_later_stage_sends_it_back():
    assert reached(always("a"), always("b", "a")) == {0: {0, 1, 2}, 1: {0, 1, 2}}


def test_a_row_can_go_from_one_of_several_requests_to_another():
    stages = always("first", "a", "b"), asked("a", "d"), asked("b"), asked("d"), always("last")
    assert reached(*stages)[3] == {1, 2, 3, 4, 5}
    assert reached(*stages)[4] == {5}


def named(graph: Graph) -> Pipeline:
    kinds = [OnRequest if only else Labelled for only in graph.on_request]
    return Pipeline.of(
        [
            kind(label=f"stage{n}", asks_for=tuple(f"stage{target}" for target in targets))
            for n, (kind, targets) in enumerate(zip(kinds, graph.targets, strict=True))
        ],
        insertion={f"stage{n}": table for n, table in graph.insertion.items()},
        checkpoints=tuple(f"stage{n}" for n in graph.checkpoints),
    )


@given(st.integers(0, 2**32))
def test_reach_is_what_repeated_steps_find_and_no_row_goes_elsewhere(seed):
    choose = random.Random(seed)
    graph = a_graph(choose)
    found = reach(named(graph))
    assert {(a, b) for a, targets in found.items() for b in targets} == graph.reach()
    for _ in range(20):
        path, later = [graph.after(-1)], []
        while path[-1] != graph.end:
            targets = graph.targets[path[-1]] if len(path) < 12 else ()
            later = choose.sample(targets, choose.randint(0, len(targets))) + later
            path.append(later.pop(0) if later else graph.after(path[-1]))
        for place, stage in enumerate(path[:-1]):
            assert found[stage].issuperset(path[place + 1 :]), path


class Driver:
    """A flow with the methods of `NaiveFlow`: plain numbers go in and come out."""

    def __init__(self, graph: Graph) -> None:
        self.flow = Flow(named(graph), graph.rows_at_once)
        self.launches: list[Launch] = []
        self.checkpoints = []

    def enter(self, numbers, run, more):
        self.flow.enter(rows(*numbers), run, more=more)

    def expect_more(self, run, more):
        self.flow.expect_more(run, more)

    def forget(self, run):
        self.flow.forget(run)

    def allow(self, rows_at_once):
        self.flow.rows_at_once = rows_at_once

    def rows_of(self, run):
        return self.flow.rows_of(run).tolist()

    def next_launch(self):
        launch = self.flow.next_launch()
        if launch is None:
            return None
        assert launch.stage == f"stage{launch.stage_num}"
        self.launches.append(launch)
        return launch.stage_num, launch.rows.tolist()

    def settle(self, which, alive, requests):
        launch = self.launches.pop(which)
        asking = {f"stage{n}": rows(*numbers) for n, numbers in requests.items()}
        for name, numbers in asking.items():
            if np.array_equal(numbers, launch.rows):
                asking[name] = launch.rows
        settled = self.flow.settle(launch, np.array(alive), asking, lambda row: row)
        failed = launch.rows[~np.array(alive)]
        for gone in (settled.ended, failed, rows(*settled.errors)):
            self.flow.forget_rows(gone)
        refused = set(settled.refused.tolist()) - set(settled.errors)
        return settled.ended.tolist(), refused, set(settled.errors)

    def remove(self, numbers):
        return set(self._forgotten(self.flow.remove(rows(*numbers))))

    def regroup(self, min_stage):
        return self._forgotten(self.flow.regroup(min_stage))

    def ready_checkpoint(self):
        checkpoint = self.flow.ready_checkpoint()
        if checkpoint is None:
            return None
        self.checkpoints.append(checkpoint)
        return checkpoint.run, checkpoint.stage_num, checkpoint.rows.tolist()

    def release(self, which, kept):
        checkpoint = self.checkpoints.pop(which)
        self.flow.release(checkpoint, rows(*kept))
        self._forgotten(checkpoint.rows[~np.isin(checkpoint.rows, kept)])

    def _forgotten(self, gone):
        self.flow.forget_rows(gone)
        return gone.tolist()


class World:
    """A flow and its model that are asked the same, and may not differ.

    A row asks for something at most eight times, so every row ends.
    """

    def __init__(self, choose: random.Random) -> None:
        self.graph = a_graph(choose)
        self.driver, self.model = Driver(self.graph), NaiveFlow(self.graph)
        self.inside: dict[int, int] = {}
        self.asks_left = dict.fromkeys(NUMBERS, 0)
        self.launches: list[tuple[int, list[int]]] = []
        self.checkpoints: list[tuple[int, int, list[int]]] = []
        self.log: list[tuple[str, tuple[Any, ...]]] = []
        self.seen: list[Any] = []
        self.steps = 0

    def do(self, what: str, *given: Any) -> Any:
        self.steps += 1
        self.log.append((what, given))
        self.seen.append(getattr(self.driver, what)(*given))
        assert self.seen[-1] == getattr(self.model, what)(*given), self.story()
        return self.seen[-1]

    def story(self) -> str:
        """Return all that was done, so that a failure can be done again."""
        steps = zip(self.log, self.seen, strict=True)
        told = [f"{what}{given} -> {answer}" for (what, given), answer in steps]
        return "\n".join([str(self.graph), *told])

    def enter(self, choose: random.Random) -> None:
        free = [number for number in NUMBERS if number not in self.inside]
        numbers = choose.sample(free, min(len(free), choose.choice([0, 1, 2, 5, 12])))
        run = choose.choice(RUNS)
        self.inside |= dict.fromkeys(numbers, run)
        self.asks_left |= dict.fromkeys(numbers, 8)
        self.do("enter", numbers, run, choose.random() < 0.3)

    def open_or_close(self, choose: random.Random) -> None:
        run = choose.choice(list(self.model.open))
        self.do("expect_more", run, choose.random() < 0.3)
        assert self.do("rows_of", run) == sorted(n for n, of in self.inside.items() if of == run)

    def allow(self, choose: random.Random) -> None:
        self.do("allow", choose.choice([None, 1, 2, 4]))

    def launch(self, choose: random.Random | None = None) -> bool:
        launch = self.do("next_launch")
        if launch is not None:
            self.launches.append(launch)
        return launch is not None

    def settle(self, choose: random.Random) -> None:
        which = choose.randrange(len(self.launches))
        stage, launched = self.launches.pop(which)
        alive = [choose.random() < 0.93 for _ in launched]
        requests = self.answer(choose, stage, launched)
        ended, _, errors = self.do("settle", which, alive, requests)
        failed = [row for row, lives in zip(launched, alive, strict=True) if not lives]
        self.end([*ended, *failed, *errors])

    def answer(self, choose: random.Random, stage: int, launched: list[int]) -> dict[int, list]:
        requests: dict[int, list[int]] = {}
        targets = self.graph.targets[stage]
        able = [row for row in launched if self.asks_left[row] > 0]
        for target in choose.sample(targets, choose.randint(0, len(targets))):
            asking = choose.sample(able, choose.randint(0, len(able)))
            if choose.random() < 0.3:
                asking = able
            requests[target] = asking + asking[: choose.randint(0, 1)]
            for row in asking:
                self.asks_left[row] -= 1
        if choose.random() < 0.03:
            requests[choose.randrange(self.graph.end)] = launched
        if requests and choose.random() < 0.02:
            requests[choose.choice(list(requests))] = [*launched, choose.choice(NUMBERS)]
        return requests

    def remove(self, choose: random.Random) -> None:
        numbers = [number for number in NUMBERS if choose.random() < 0.2]
        self.end(self.do("remove", numbers))

    def regroup(self, choose: random.Random) -> None:
        self.end(self.do("regroup", choose.randrange(self.graph.end + 1)))

    def checkpoint(self, choose: random.Random | None = None) -> bool:
        checkpoint = self.do("ready_checkpoint")
        if checkpoint is not None:
            self.checkpoints.append(checkpoint)
        return checkpoint is not None

    def release(self, choose: random.Random) -> None:
        which = choose.randrange(len(self.checkpoints))
        _, _, held = self.checkpoints.pop(which)
        often = choose.choice([0.0, 0.5, 1.0, 1.0])
        kept = [row for row in held if choose.random() < often]
        self.do("release", which, kept)
        self.end(set(held) - set(kept))

    def forget(self, choose: random.Random) -> None:
        self.do("forget", choose.choice(self.over()))

    def over(self) -> list[int]:
        """Runs of which nothing is left and nothing will come."""
        going = set(self.inside.values())
        return [run for run, more in self.model.open.items() if not more and run not in going]

    def end(self, numbers) -> None:
        """Note rows that have ended: only who is inside can, and once."""
        for number in numbers:
            del self.inside[number]

    def drain(self, choose: random.Random) -> None:
        """Close every run, and let all go on until nothing does."""
        for run in list(self.model.open):
            self.do("expect_more", run, False)
        while self.checkpoints or self.checkpoint() or self.launches or self.launch():
            if self.checkpoints:
                self.release(choose)
            if self.launches:
                self.settle(choose)
        assert self.inside == {}, "these rows wait for ever"
        assert self.model.rows == []
        for run in self.over():
            self.do("forget", run)
        assert not self.model.open


STEPS = {
    "enter": (6, lambda world: len(world.inside) < len(NUMBERS)),
    "open_or_close": (3, lambda world: world.model.open),
    "allow": (1, lambda world: True),
    "launch": (14, lambda world: True),
    "settle": (16, lambda world: world.launches),
    "remove": (1, lambda world: True),
    "regroup": (1, lambda world: True),
    "checkpoint": (6, lambda world: True),
    "release": (6, lambda world: world.checkpoints),
    "forget": (3, lambda world: world.over()),
}
"""What can be done with a world: how often, and when."""


def drive(world: World, choose: random.Random, steps: int) -> None:
    """Take so many steps at random."""
    upto = world.steps + steps
    names, weights = list(STEPS), [often for often, _ in STEPS.values()]
    while world.steps < upto:
        [what] = choose.choices(names, weights)
        if STEPS[what][1](world):
            getattr(world, what)(choose)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_driven_run_goes_as_the_model_says(seed):
    choose, steps = random.Random(seed), 0
    while steps < DRIVEN_STEPS // SEEDS:
        world = World(choose)
        drive(world, choose, choose.choice([20, 60, 150]))
        world.drain(choose)
        steps += world.steps


randoms = st.randoms(use_true_random=False)


class FlowMachine(RuleBasedStateMachine):
    """The steps of a `World`, chosen by hypothesis."""

    steps: ClassVar[int] = 0

    @initialize(choose=randoms)
    def begin(self, choose):
        self.world = World(choose)

    def teardown(self):
        if hasattr(self, "world"):
            FlowMachine.steps += self.world.steps
            self.world.drain(random.Random(0))


def _rule(what: str, possible):
    def take(machine, choose):
        getattr(machine.world, what)(choose)

    take.__name__ = what
    return precondition(lambda machine: possible(machine.world))(rule(choose=randoms)(take))


for _what, (_, _possible) in STEPS.items():
    setattr(FlowMachine, _what, _rule(_what, _possible))


def test_any_run_that_hypothesis_finds_goes_as_the_model_says():
    FlowMachine.steps = 0
    run_state_machine_as_test(
        FlowMachine,
        settings=settings(
            max_examples=MACHINE_STEPS // 60,
            stateful_step_count=100,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert FlowMachine.steps >= MACHINE_STEPS


@pytest.mark.parametrize("seed", range(20))
def test_a_recorded_run_is_replayed_to_the_same_order_by_a_fresh_flow(seed):
    choose = random.Random(seed)
    world = World(choose)
    drive(world, choose, 200)
    world.drain(choose)
    world.do("allow", world.graph.rows_at_once)
    world.log, world.seen = [], []
    drive(world, choose, 200)
    world.drain(choose)
    fresh = Driver(world.graph)
    assert [getattr(fresh, what)(*given) for what, given in world.log] == world.seen
