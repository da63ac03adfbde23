import tomllib
from collections import Counter

import numpy as np
import pytest
from flow_model import Request, a_table, granted
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gpusaxs.runtime.policy import (
    AllOf,
    Always,
    AnyOf,
    Asking,
    Decided,
    InsertionPolicy,
    Never,
    PerSample,
    Saturation,
)

POLICY = TypeAdapter(InsertionPolicy)


def asking(runs, granted=0, granted_in_run=0) -> Asking:
    """Let rows 10, 11, ... ask, each of its run; a sample is its row number."""
    count = len(runs)
    return Asking(
        np.arange(10, 10 + count),
        np.array(runs, np.int64),
        np.broadcast_to(np.array(granted, np.int64), count),
        np.broadcast_to(np.array(granted_in_run, np.int64), count),
        sample=lambda row: row,
    )


@pytest.mark.parametrize(
    ("policy", "admitted"),
    [
        (Always(), [True, True, True, True]),
        (Never(), [False, False, False, False]),
        (PerSample(limit=2), [True, True, False, False]),
        (Saturation(limit=8), [True, True, False, False]),
    ],
)
def test_a_policy_admits_what_its_name_says(policy, admitted):
    requests = asking([0, 0, 0, 0], granted=[0, 1, 2, 3], granted_in_run=6)
    assert policy.admit(requests).tolist() == admitted


def test_saturation_counts_each_of_several_runs_for_itself_first_come_first():
    requests = asking([7, 0, 7, 0, 7, 0], granted_in_run=[1, 0, 1, 0, 1, 0])
    assert Saturation(limit=2).admit(requests).tolist() == [True, True, False, True, False, False]


def test_all_of_asks_each_policy_about_what_those_before_it_have_admitted():
    requests = asking([0, 0, 0], granted=[1, 0, 0])
    once, one = PerSample(limit=1), Saturation(limit=1)
    assert AllOf(policies=(once, one)).admit(requests).tolist() == [False, True, False]
    assert AllOf(policies=(one, once)).admit(requests).tolist() == [False, False, False]


def test_any_of_asks_each_policy_about_the_rest_and_counts_what_was_admitted():
    requests = asking([0, 0, 0, 5, 5], granted=[1, 1, 0, 1, 1])
    policy = AnyOf(policies=(PerSample(limit=1), Saturation(limit=2)))
    assert policy.admit(requests).tolist() == [True, False, True, True, True]


def test_those_that_are_left_count_what_was_granted_to_their_own_run():
    requests = asking([3, 0, 3, 0, 8], granted=[0, 1, 2, 3, 4], granted_in_run=[5, 1, 5, 1, 0])
    left = requests.without(np.array([True, True, False, False, False]))
    assert left.rows.tolist() == [12, 13, 14]
    assert left.runs.tolist() == [3, 0, 8]
    assert left.granted.tolist() == [2, 3, 4]
    assert left.granted_in_run.tolist() == [6, 2, 0]


def test_the_rank_of_a_request_counts_those_of_its_run_before_it():
    assert asking([4, 1, 4, 4, 1]).rank_in_run().tolist() == [0, 0, 1, 2, 1]


def test_a_function_decides_by_the_sample_and_its_earlier_requests():
    policy = POLICY.validate_python(lambda sample, granted: sample % 2 == 0 and granted < 3)
    assert policy.admit(asking([0] * 4, granted=[0, 0, 3, 2])).tolist() == [True] + [False] * 3


def test_a_bare_function_is_a_policy_alone_and_among_others():
    def decide(sample, granted):
        return True

    assert POLICY.validate_python(decide) == Decided(function=decide)
    assert AllOf(policies=(Always(), decide)).policies == (Always(), Decided(function=decide))


def picky(sample, granted):
    if sample == 11:
        raise ValueError("not this one")
    return True


@pytest.mark.parametrize(
    "policy",
    [
        Decided(function=picky),
        AllOf(policies=(Always(), picky)),
        AnyOf(policies=(Never(), AllOf(policies=(picky,)))),
    ],
)
def test_a_function_that_raises_is_an_error_of_its_row_and_grants_it_nothing(policy):
    requests = asking([0, 0, 1])
    assert policy.admit(requests).tolist() == [True, False, True]
    assert {row: str(error) for row, error in requests.errors.items()} == {11: "not this one"}


def test_a_policy_is_read_from_its_table():
    assert POLICY.validate_python({"policy": "per_sample", "limit": 3}) == PerSample(limit=3)


NESTED = """
policy = "all_of"

[[policies]]
policy = "per_sample"
limit = 3

[[policies]]
policy = "any_of"
policies = [{policy = "saturation", limit = 9}, {policy = "never"}]
"""


def test_policies_are_nested_in_toml_and_in_json():
    policy = AllOf(
        policies=(PerSample(limit=3), AnyOf(policies=(Saturation(limit=9), Never()))),
    )
    assert POLICY.validate_python(tomllib.loads(NESTED)) == policy
    assert POLICY.validate_json(POLICY.dump_json(policy)) == policy


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"policy": "sometimes"}, "sometimes"),
        ({"policy": "per_sample", "limit": -1}, "greater than or equal to 0"),
        ({"policy": "always", "limit": 1}, "limit"),
        ({"policy": "any_of", "policies": []}, "at least 1"),
        ({"policy": "all_of", "policies": [{"policy": "sometimes"}]}, "sometimes"),
    ],
)
def test_a_policy_that_does_not_exist_is_refused(table, problem):
    with pytest.raises(ValidationError, match=problem):
        POLICY.validate_python(table)


@settings(max_examples=400)
@given(
    st.randoms(use_true_random=False),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12),
    st.tuples(*[st.integers(0, 3)] * 4),
)
def test_any_policy_admits_what_a_loop_over_its_requests_does(choose, requests, in_run):
    table = a_table(choose)
    runs, before = [run for run, _ in requests], [count for _, count in requests]
    asked = asking(runs, before, [in_run[run] for run in runs])
    raised: set[int] = set()
    one_by_one = [Request(10 + n, *request) for n, request in enumerate(requests)]
    expected = granted(table, one_by_one, Counter(dict(enumerate(in_run))), raised)
    admitted = POLICY.validate_python(table).admit(asked)
    assert asked.rows[admitted].tolist() == [request.row for request in expected]
    assert set(asked.errors) == raised
