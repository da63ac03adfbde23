import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gpusaxs.runtime.scheduler import Scheduler


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def drain(scheduler: Scheduler) -> list[tuple[int, str, list[int]]]:
    launches = []
    while launch := scheduler.pop():
        launches.append((launch.stage_num, launch.stage, launch.rows.tolist()))
    return launches


def test_the_lowest_stage_number_goes_first():
    scheduler = Scheduler()
    scheduler.push(3, "late", rows(0))
    scheduler.push(1, "early", rows(1))
    assert [stage for _, stage, _ in drain(scheduler)] == ["early", "late"]


def test_all_rows_that_wait_for_a_stage_become_one_launch_in_order_of_arrival():
    scheduler = Scheduler()
    scheduler.push(1, "fit", rows(5, 2))
    scheduler.push(0, "find", rows(9))
    scheduler.push(1, "fit", rows(1))
    assert drain(scheduler) == [(0, "find", [9]), (1, "fit", [5, 2, 1])]


def test_stages_of_one_number_go_in_order_of_arrival():
    scheduler = Scheduler()
    scheduler.push(1, "b", rows(0))
    scheduler.push(1, "a", rows(1))
    assert [stage for _, stage, _ in drain(scheduler)] == ["b", "a"]


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
