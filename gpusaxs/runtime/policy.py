"""Insertion policies: who decides whether a curve may go where it asks to go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from gpusaxs.backends import IndexArray
from gpusaxs.sample import Sample

BoolArray = NDArray[np.bool_]
CountArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Asking:
    """The requests of a launch for one stage, in the order of its rows.

    Parameters
    ----------
    rows : (requests,) int64
        Who asks.
    runs : (requests,) int64
        The run that each of them belongs to; zero where the policy does not count by run.
    granted : (requests,) int64
        Requests for the stage that each of them was granted before.
    granted_in_run : (requests,) int64
        Requests for the stage that all curves of its run were granted before this launch; zero
        where the policy does not count by run.
    sample
        Returns one of the rows as a person holds it.
    errors
        Takes what a user's policy raises, by row; the row that it was about fails.
    """

    rows: IndexArray
    runs: IndexArray
    granted: CountArray
    granted_in_run: CountArray
    sample: Callable[[int], Sample]
    errors: dict[int, Exception] = field(default_factory=dict)

    def only(self, chosen: BoolArray) -> Asking:
        """Return the requests that are chosen."""
        return replace(
            self,
            rows=self.rows[chosen],
            runs=self.runs[chosen],
            granted=self.granted[chosen],
            granted_in_run=self.granted_in_run[chosen],
        )

    def without(self, admitted: BoolArray) -> Asking:
        """Return the requests that are left when some are granted, which counts for the rest."""
        counts = np.bincount(self.runs[admitted], minlength=int(self.runs.max(initial=0)) + 1)
        left = self.only(~admitted)
        return replace(left, granted_in_run=left.granted_in_run + counts[left.runs])

    def rank_in_run(self) -> CountArray:
        """How many requests of the same run come before each; (requests,) int64."""
        order = np.argsort(self.runs, kind="stable")
        sorted_runs = self.runs[order]
        first = np.searchsorted(sorted_runs, sorted_runs)
        rank = np.empty(order.size, np.int64)
        rank[order] = np.arange(order.size) - first
        return rank


class _Policy(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def counts_in_run(self) -> bool:
        """Whether it looks at `Asking.runs` and `Asking.granted_in_run`."""
        return False


class Always(_Policy):
    """Every request is granted."""

    policy: Literal["always"] = "always"

    def admit(self, asking: Asking) -> BoolArray:
        """See `PerSample.admit`."""
        return np.ones(asking.rows.size, bool)


class Never(_Policy):
    """No request is granted."""

    policy: Literal["never"] = "never"

    def admit(self, asking: Asking) -> BoolArray:
        """See `PerSample.admit`."""
        return np.zeros(asking.rows.size, bool)


class PerSample(_Policy):
    """Each curve is granted at most `limit` requests for the stage."""

    policy: Literal["per_sample"] = "per_sample"
    limit: int = Field(ge=0, description="Requests granted to one curve.")

    def admit(self, asking: Asking) -> BoolArray:
        """Decide on the requests of a launch for one stage.

        Returns
        -------
        (requests,) bool
            Which of them are granted.
        """
        return asking.granted < self.limit


class Saturation(_Policy):
    """All curves of a run together are granted at most `limit` requests, first come first."""

    policy: Literal["saturation"] = "saturation"
    limit: int = Field(ge=0, description="Requests granted to all curves of a run.")

    @property
    def counts_in_run(self) -> bool:
        """See `_Policy.counts_in_run`."""
        return True

    def admit(self, asking: Asking) -> BoolArray:
        """See `PerSample.admit`."""
        return asking.granted_in_run + asking.rank_in_run() < self.limit


class _Several(_Policy):
    policies: tuple[InsertionPolicy, ...] = Field(min_length=1)

    @property
    def counts_in_run(self) -> bool:
        """See `_Policy.counts_in_run`."""
        return any(policy.counts_in_run for policy in self.policies)


class AllOf(_Several):
    """What every policy admits; each is asked about what those before it have admitted."""

    policy: Literal["all_of"] = "all_of"

    def admit(self, asking: Asking) -> BoolArray:
        """See `PerSample.admit`."""
        admitted = np.ones(asking.rows.size, bool)
        for policy in self.policies:
            admitted[admitted] = policy.admit(asking.only(admitted))
        return admitted


class AnyOf(_Several):
    """What some policy admits; each is asked about what those before it have refused."""

    policy: Literal["any_of"] = "any_of"

    def admit(self, asking: Asking) -> BoolArray:
        """See `PerSample.admit`."""
        admitted = np.zeros(asking.rows.size, bool)
        for policy in self.policies:
            admitted[~admitted] = policy.admit(asking.without(admitted))
        return admitted


class Decided(_Policy):
    """A user's function decides: ``function(sample, granted)`` returns whether it is granted.

    `sample` is the curve as it is, with the peaks found so far; `granted` counts its earlier
    requests for the stage. A curve on which the function raises fails.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    policy: Literal["decided"] = "decided"
    function: Callable[[Sample, int], bool]

    def admit(self, asking: Asking) -> BoolArray:
        """See `PerSample.admit`."""
        return np.array(
            [self._one(asking, place) for place in range(asking.rows.size)], dtype=np.bool_
        )

    def _one(self, asking: Asking, place: int) -> bool:
        row = int(asking.rows[place])
        try:
            return bool(self.function(asking.sample(row), int(asking.granted[place])))
        except Exception as error:  # noqa: BLE001 the function is the user's
            asking.errors[row] = error
            return False


def _wrapped(given: Any) -> Any:
    return Decided(function=given) if callable(given) and not isinstance(given, _Policy) else given


InsertionPolicy = Annotated[
    Annotated[
        Always | Never | PerSample | Saturation | AllOf | AnyOf | SkipJsonSchema[Decided],
        Field(discriminator="policy"),
    ],
    BeforeValidator(_wrapped),
]
"""Any of the policies, or a function of a sample and its granted requests: see `Decided`."""

_Several.model_rebuild()
AllOf.model_rebuild()
AnyOf.model_rebuild()
