"""What a stage is: parameters, and one launch over many curves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.sample import FlowMetadata, Sample

Requests = Mapping[str, IndexArray]
"""Names of the stages asked for, each with the rows that ask for it."""

NO_REQUESTS: Requests = {}


def parameter(default: Any, meaning: str, *, unit: str = "", **bounds: Any) -> Any:
    """Declare a parameter of a stage.

    Parameters
    ----------
    default
        Its value where none is given.
    meaning
        One line.
    unit
        ``""`` for a number without one.
    bounds
        ``ge``, ``gt``, ``le``, ``lt`` as pydantic knows them.
    """
    return Field(default, description=meaning, json_schema_extra={"unit": unit}, **bounds)


class Stage(BaseModel, ABC):
    """A step of a pipeline; its fields are its parameters.

    A stage lives in the module that bears its name. `may_request` names the stages that its
    requests can lead to. A stage with `on_request` runs only for curves that ask for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    may_request: ClassVar[tuple[str, ...]] = ()
    on_request: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The stage's name: its module's."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Do the work on the curves in `rows` and return which of them ask for which stage.

        Rows that ask for nothing go on to the pipeline's next stage.
        """


@dataclass(slots=True)
class StageResult:
    """What a stage on one sample returns: the changed sample, and the stages it asks for."""

    sample: Sample
    metadata: FlowMetadata
    requests: list[str] = field(default_factory=list)


SampleFunction = Callable[[Sample, FlowMetadata], StageResult]


class FunctionStage(Stage):
    """A user's function of one sample, run on the host; it needs no kernel.

    The function may change the intensity and sigma of the points that take part; what it changes
    is searched for peaks afterwards.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    function: SampleFunction

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.__name__

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Call the function once for each curve."""
        asked: dict[str, list[int]] = {}
        for row, sample in zip(rows, batch.to_samples(rows), strict=True):
            assert sample.metadata is not None
            try:
                result = self.function(sample, sample.metadata)
                batch.set_curve(int(row), result.sample)
            except Exception as error:  # noqa: BLE001 the function is the user's
                batch.fail([int(row)], self.name, error)
                continue
            for stage in result.requests:
                asked.setdefault(stage, []).append(int(row))
        batch.restart_search(rows)
        return {stage: np.array(found, np.int64) for stage, found in asked.items()}
