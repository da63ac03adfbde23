"""Insertion policies: who decides whether a curve may go where it asks to go."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

BoolArray = NDArray[np.bool_]
CountArray = NDArray[np.int64]


class _Policy(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Always(_Policy):
    """Every request is granted."""

    policy: Literal["always"] = "always"

    def admit(self, granted: CountArray, granted_in_run: int) -> BoolArray:
        """See `PerSample.admit`."""
        return np.ones(granted.size, bool)


class Never(_Policy):
    """No request is granted."""

    policy: Literal["never"] = "never"

    def admit(self, granted: CountArray, granted_in_run: int) -> BoolArray:
        """See `PerSample.admit`."""
        return np.zeros(granted.size, bool)


class PerSample(_Policy):
    """Each curve is granted at most `limit` requests for the stage."""

    policy: Literal["per_sample"] = "per_sample"
    limit: int = Field(ge=0, description="Requests granted to one curve.")

    def admit(self, granted: CountArray, granted_in_run: int) -> BoolArray:
        """Decide on the requests of a launch for one stage.

        Parameters
        ----------
        granted : (requests,) int64
            Requests for the stage that each asking curve was granted before.
        granted_in_run
            Requests for the stage granted to all curves of the batch so far.

        Returns
        -------
        (requests,) bool
            Which of them are granted.
        """
        return granted < self.limit


class Saturation(_Policy):
    """All curves of a batch together are granted at most `limit` requests, first come first."""

    policy: Literal["saturation"] = "saturation"
    limit: int = Field(ge=0, description="Requests granted to all curves of a batch.")

    def admit(self, granted: CountArray, granted_in_run: int) -> BoolArray:
        """See `PerSample.admit`."""
        return granted_in_run + np.arange(granted.size) < self.limit


InsertionPolicy = Annotated[Always | Never | PerSample | Saturation, Field(discriminator="policy")]
