import numpy as np
import pytest

from gpusaxs.runtime.regroup import RegroupPool

LINE = {stage: frozenset(range(stage + 1, 6)) for stage in range(5)}
"""Five stages of which each leads to the later ones."""
CIRCLE = {stage: frozenset(range(6)) for stage in range(5)}
"""Five stages of which each leads to all."""


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def pool_of(*checkpoints: int, reach=LINE, **options) -> RegroupPool:
    return RegroupPool(reach, frozenset(checkpoints), **options)


def test_rows_are_held_at_checkpoints_alone():
    pool = pool_of(2)
    assert pool.arrive(2, rows(0, 1))
    assert not pool.arrive(1, rows(2))
    assert (pool.held(1), pool.held(2)) == (0, 2)


def test_no_rows_are_not_held():
    pool = pool_of(2)
    assert not pool.arrive(2, rows())
    assert pool.ready() is None


def test_checkpoints_can_be_set_and_hold_from_then_on():
    pool = pool_of()
    assert not pool.arrive(3, rows(0))
    pool.set_checkpoints([3])
    assert pool.arrive(3, rows(1))
    assert pool.held(3) == 1


def test_regroup_hands_out_what_is_held_at_or_beyond_a_stage_once():
    pool = pool_of(1, 2, 4)
    for stage, numbers in ((1, [0]), (2, [1, 2]), (4, [3]), (2, [7])):
        pool.arrive(stage, rows(*numbers))
    taken = {stage: found.tolist() for stage, found in pool.regroup(2).items()}
    assert taken == {2: [1, 2, 7], 4: [3]}
    assert pool.regroup(2) == {}
    assert (pool.held(1), pool.held(2)) == (1, 0)


def test_removed_rows_are_held_no_more_and_the_others_stay_in_order():
    pool = pool_of(1, 2)
    pool.arrive(1, rows(0))
    pool.arrive(2, rows(3, 1))
    pool.arrive(2, rows(2))
    assert sorted(pool.remove(rows(0, 1, 9))) == [0, 1]
    assert pool.remove(rows(0, 1)).size == 0
    assert pool.ready() == 2
    assert pool.release(2).tolist() == [3, 2]


def test_a_checkpoint_is_ready_when_nothing_that_can_arrive_is_missing():
    pool = pool_of(3)
    pool.arrive(3, rows(0))
    pool.arrive(1, rows(1, 2))
    pool.arrive(4, rows(5))
    assert not pool.checkpoint_ready(3)
    pool.leave(1, 1)
    assert not pool.checkpoint_ready(3)
    pool.leave(1, 1)
    assert pool.checkpoint_ready(3)


def test_an_empty_checkpoint_is_never_ready():
    pool = pool_of(3)
    assert not pool.checkpoint_ready(3)
    assert pool.ready() is None


@pytest.mark.parametrize("reach", [LINE, CIRCLE])
def test_rows_held_below_keep_a_checkpoint_closed_and_rows_held_beyond_do_not(reach):
    pool = pool_of(1, 3, reach=reach)
    pool.arrive(3, rows(0))
    pool.arrive(1, rows(1))
    assert pool.checkpoint_ready(1)
    assert not pool.checkpoint_ready(3)
    assert pool.ready() == 1


def test_rows_held_below_that_cannot_come_keep_nothing_closed():
    pool = pool_of(1, 3, reach={1: frozenset({4})})
    pool.arrive(3, rows(0))
    pool.arrive(1, rows(1))
    assert pool.checkpoint_ready(3)
    assert pool.ready() == 1


def test_released_rows_move_until_they_leave():
    pool = pool_of(1, 3)
    pool.arrive(1, rows(4, 2))
    pool.arrive(3, rows(0))
    assert pool.release(1).tolist() == [4, 2]
    assert pool.held(1) == 0
    assert pool.ready() is None
    pool.leave(1, 2)
    assert pool.ready() == 3


def test_rows_released_into_a_loop_keep_their_checkpoint_closed():
    pool = pool_of(1, reach=CIRCLE)
    pool.arrive(1, rows(0))
    pool.release(1)
    pool.arrive(1, rows(1))
    assert pool.ready() is None
    pool.leave(1, 1)
    assert pool.ready() == 1


@pytest.mark.parametrize(("checkpoint", "waits"), [(0, False), (1, True), (2, True)])
def test_an_open_run_keeps_closed_what_new_rows_come_to(checkpoint, waits):
    pool = pool_of(checkpoint, entry_stage=1, open=True)
    pool.arrive(checkpoint, rows(0))
    assert pool.checkpoint_ready(checkpoint) is not waits
    pool.open = False
    assert pool.checkpoint_ready(checkpoint)
