import numpy as np

from gpusaxs.runtime.regroup import RegroupPool


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def test_regroup_hands_out_what_waits_at_or_beyond_a_stage_once():
    pool = RegroupPool()
    pool.add(1, rows(0))
    pool.add(2, rows(1, 2))
    pool.add(4, rows(3))
    pool.add(2, rows(7))
    taken = {stage: found.tolist() for stage, found in pool.regroup(2).items()}
    assert taken == {2: [1, 2, 7], 4: [3]}
    assert pool.regroup(2) == {}
    assert pool.held(1) == 1


def test_a_checkpoint_is_ready_when_nothing_moves_below_it():
    pool = RegroupPool()
    pool.set_checkpoints([3])
    pool.add(3, rows(0))
    assert not pool.checkpoint_ready(3, moving_below=2)
    assert pool.checkpoint_ready(3, moving_below=0)


def test_an_empty_checkpoint_is_never_ready():
    assert not RegroupPool(frozenset({3})).checkpoint_ready(3, moving_below=0)
