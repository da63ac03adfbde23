"""What a stage is: parameters, and one launch over many curves."""

from __future__ import annotations

import hashlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from gpusaxs.backends import IndexArray
from gpusaxs.backends.supervision import check_deadline
from gpusaxs.batch import SampleBatch
from gpusaxs.kernels.cache import source_hash
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

    A stage lives in the module that bears its name. `may_request` names the stages that it may
    ask for. A stage with `on_request` runs only for curves that ask for it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    may_request: ClassVar[tuple[str, ...]] = ()
    on_request: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The stage's name: its module's."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the stages that it may ask for."""
        return self.may_request

    def fingerprint(self) -> str | None:
        """Name the code and the parameters of the stage, so that results can be kept by it.

        None where nothing can: then they are not kept.
        """
        try:
            source = inspect.getsource(type(self))
        except (OSError, TypeError):
            return None
        parts = (source_hash(), type(self).__qualname__, source, self.model_dump_json())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @abstractmethod
    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Do the work on the curves in `rows` and return which of them ask for which stage.

        Rows that ask for nothing go on to the pipeline's next stage; a row that asks for several
        stages visits them one after another, in the order of the launch's requests.
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

    Parameters
    ----------
    function
        ``(sample, metadata) -> StageResult``.
    asks_for
        Names of the stages that the function's requests may name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    function: SampleFunction
    asks_for: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.__name__

    @property
    def targets(self) -> tuple[str, ...]:
        """See `Stage.targets`."""
        return self.asks_for

    def fingerprint(self) -> None:
        """See `Stage.fingerprint`: what a function does may hang on anything."""

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Call the function once for each curve."""
        asked: dict[str, list[int]] = {}
        for row, sample in zip(rows, batch.to_samples(rows), strict=True):
            assert sample.metadata is not None
            check_deadline()
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
