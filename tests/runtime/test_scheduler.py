import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gpusaxs.runtime.scheduler import Scheduler


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def plain(launch) -> tuple[int, str, list[int]]:
    return launch.stage_num, launch.stage, launch.rows.tolist()


def drain(scheduler: Scheduler, most: int | None = None) -> list[tuple[int, str, list[int]]]:
    launches = []
    while launch := scheduler.pop(most):
        launches.append(plain(launch))
    return launches


def listed(taken: dict[int, np.ndarray]) -> dict[int, list[int]]:
    return {stage: found.tolist() for stage, found in taken.items()}


def three_stages() -> Scheduler:
    scheduler = Scheduler()
    scheduler.push(2, "fit", rows(5, 2))
    scheduler.push(0, "cut", rows(9))
    scheduler.push(2, "fit", rows(1))
    scheduler.push(1, "find", rows(7, 8))
    return scheduler


def test_the_lowest_stage_number_goes_first():
    scheduler = Scheduler()
    scheduler.push(3, "late", rows(0))
    scheduler.push(1, "early", rows(1))
    assert [stage for _, stage, _ in drain(scheduler)] == ["early", "late"]


def test_all_rows_that_wait_for_a_stage_become_one_launch_in_order_of_arrival():
    assert drain(three_stages()) == [(0, "cut", [9]), (1, "find", [7, 8]), (2, "fit", [5, 2, 1])]


def test_stages_of_one_number_go_in_order_of_arrival():
    scheduler = Scheduler()
    scheduler.push(1, "b", rows(0))
    scheduler.push(1, "a", rows(1))
    scheduler.push(1, "b", rows(2))
    assert drain(scheduler) == [(1, "b", [0, 2]), (1, "a", [1])]


def test_no_rows_make_no_launch():
    scheduler = Scheduler()
    scheduler.push(0, "find", rows())
    assert scheduler.pop() is None
    assert scheduler.waiting() == 0


def test_rows_that_come_while_it_runs_go_before_rows_of_later_stages():
    scheduler = Scheduler()
    scheduler.push(2, "fit", rows(0))
    scheduler.push(3, "name", rows(1))
    assert scheduler.pop().stage == "fit"
    scheduler.push(0, "cut", rows(2))
    assert scheduler.pop().stage == "cut"


def test_a_launch_has_at_most_so_many_rows_and_the_rest_keeps_its_turn():
    scheduler = Scheduler()
    scheduler.push(1, "a", rows(3, 1, 4))
    scheduler.push(1, "b", rows(5))
    assert plain(scheduler.pop(most=2)) == (1, "a", [3, 1])
    assert scheduler.waiting() == 2
    scheduler.push(1, "a", rows(9))
    assert drain(scheduler, most=2) == [(1, "a", [4, 9]), (1, "b", [5])]


def test_a_launch_of_exactly_the_most_rows_leaves_nothing():
    scheduler = Scheduler()
    scheduler.push(1, "a", rows(0, 1))
    assert drain(scheduler, most=2) == [(1, "a", [0, 1])]


def test_rows_of_an_earlier_stage_go_before_the_rest_of_a_launch():
    scheduler = Scheduler()
    scheduler.push(1, "b", rows(0, 1))
    scheduler.pop(most=1)
    scheduler.push(0, "a", rows(2))
    assert drain(scheduler) == [(0, "a", [2]), (1, "b", [1])]


def test_removed_rows_are_given_back_by_stage_and_the_others_stay_in_order():
    scheduler = three_stages()
    assert listed(scheduler.remove(rows(1, 5, 7, 8, 100))) == {2: [5, 1], 1: [7, 8]}
    assert scheduler.waiting() == 2
    assert drain(scheduler) == [(0, "cut", [9]), (2, "fit", [2])]


def test_rows_that_do_not_wait_are_not_removed():
    scheduler = three_stages()
    assert scheduler.remove(rows(3)) == {}
    assert scheduler.remove(rows()) == {}
    assert scheduler.waiting() == 6


def test_a_stage_from_which_all_rows_were_removed_can_be_waited_for_again():
    scheduler = three_stages()
    scheduler.remove(rows(9))
    scheduler.push(0, "cut", rows(3))
    assert drain(scheduler)[0] == (0, "cut", [3])


def test_rows_are_taken_from_a_stage_and_beyond_once():
    scheduler = three_stages()
    assert listed(scheduler.take_from(1)) == {2: [5, 2, 1], 1: [7, 8]}
    assert scheduler.take_from(1) == {}
    assert drain(scheduler) == [(0, "cut", [9])]


def test_rows_of_two_stages_of_one_number_are_taken_together():
    scheduler = Scheduler()
    scheduler.push(1, "b", rows(0))
    scheduler.push(1, "a", rows(1))
    assert listed(scheduler.take_from(1)) == {1: [0, 1]}


arrivals = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, 99), min_size=1, max_size=4)), max_size=30
)


@given(arrivals)
def test_no_row_is_lost_or_comes_twice(pushes):
    scheduler = Scheduler()
    for stage_num, numbers in pushes:
        scheduler.push(stage_num, f"stage{stage_num}", rows(*numbers))
    assert scheduler.waiting() == sum(len(numbers) for _, numbers in pushes)
    launches = drain(scheduler)
    expected: dict[int, list[int]] = {}
    for stage_num, numbers in pushes:
        expected.setdefault(stage_num, []).extend(numbers)
    assert {number: found for number, _, found in launches} == expected
    assert [number for number, _, _ in launches] == sorted(expected)


stages = st.integers(0, 3)
few = st.sets(st.integers(0, 30), max_size=10)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("push"), stages, st.integers(0, 4)),
        st.tuples(st.just("pop"), st.none() | st.integers(1, 3)),
        st.tuples(st.just("remove"), few),
        st.tuples(st.just("take_from"), stages),
    ),
    max_size=40,
)


@given(steps)
def test_any_steps_go_as_in_a_plain_list(steps):
    scheduler, waiting, arrived = Scheduler(), [], 0

    def take(found: dict[int, np.ndarray], chosen: list[tuple[int, int]]) -> None:
        places = [(stage, row) for stage, taken in listed(found).items() for row in taken]
        assert sorted(places) == sorted(chosen)
        waiting[:] = [place for place in waiting if place not in chosen]

    for step in steps:
        match step:
            case "push", stage, count:
                new = range(arrived, arrived + count)
                arrived += count
                scheduler.push(stage, f"stage{stage}", rows(*new))
                waiting += [(stage, row) for row in new]
            case "pop", most:
                launch = scheduler.pop(most)
                lowest = min((stage for stage, _ in waiting), default=None)
                turn = [row for stage, row in waiting if stage == lowest][:most]
                assert turn == ([] if launch is None else launch.rows.tolist())
                waiting[:] = [place for place in waiting if place[1] not in turn]
            case "remove", numbers:
                chosen = [place for place in waiting if place[1] in numbers]
                take(scheduler.remove(rows(*numbers)), chosen)
            case "take_from", first:
                take(scheduler.take_from(first), [p for p in waiting if p[0] >= first])
        assert scheduler.waiting() == len(waiting)
