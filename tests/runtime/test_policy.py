import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from gpusaxs.runtime.policy import Always, InsertionPolicy, Never, PerSample, Saturation

granted = np.array([0, 1, 2, 3])


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
    assert policy.admit(granted, granted_in_run=6).tolist() == admitted


def test_a_policy_is_read_from_its_table():
    policy = TypeAdapter(InsertionPolicy).validate_python({"policy": "per_sample", "limit": 3})
    assert policy == PerSample(limit=3)


def test_a_policy_that_does_not_exist_is_refused():
    with pytest.raises(ValidationError, match="sometimes"):
        TypeAdapter(InsertionPolicy).validate_python({"policy": "sometimes"})
