"""What a stage is: parameters, and one launch over many curves."""

from __future__ import annotations

import hashlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from gpusaxs.backends import Array, IndexArray
from gpusaxs.backends.supervision import check_deadline
from gpusaxs.batch import SampleBatch
from gpusaxs.kernels.cache import source_hash
from gpusaxs.numbers import Number
from gpusaxs.sample import FlowMetadata, Sample

Requests = Mapping[str, IndexArray]
"""Names of the stages asked for, each with the rows that ask for it."""

NO_REQUESTS: Requests = {}

Part = Literal["curve", "noise", "search", "peaks", "phases", "numbers"]
"""A part of what a batch knows about its curves.

``"curve"`` is q, intensity, sigma and background within start and stop. ``"noise"`` is the noise
of the curve that is searched; ``"search"`` that curve itself, what is left of the reduced one, and
the candidates; ``"peaks"`` the peaks fitted so far; ``"phases"`` the phases, the verdict, and
which peaks are Bragg lines; ``"numbers"`` what stages leave beside these. A remark in the status
belongs to what it is about, a failure to the curve: a stage that may fail curves, other than by
raising, changes them.
"""
EVERYTHING: frozenset[Part] = frozenset(get_args(Part))


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

    `reads` and `may_write` say which parts of a batch its launch looks at and changes. By them a
    stage is left out where what it did is stored, so a stage that says nothing is taken to need
    and to change everything. Noise and search that merely start again from a changed curve, as
    `SampleBatch.restart_search` has it, are no change of their own.

    `leaves` declares the numbers of a curve that it leaves in the results; its launch writes them
    into `numbers_in`. `needs` names the stages before it whose numbers it reads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    may_request: ClassVar[tuple[str, ...]] = ()
    on_request: ClassVar[bool] = False
    reads: ClassVar[frozenset[Part]] = EVERYTHING
    may_write: ClassVar[frozenset[Part]] = EVERYTHING
    leaves: ClassVar[tuple[Number, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ()
    _code: ClassVar[str | None] = None

    @property
    def name(self) -> str:
        """The stage's name: its module's."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the stages that it may ask for."""
        return self.may_request

    @property
    def joint(self) -> bool:
        """Whether what it does to a curve hangs on the others: then a run's are one launch."""
        return False

    @property
    def writes(self) -> frozenset[Part]:
        """Parts of a batch that it changes, with these parameters."""
        return self.may_write

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        # Read now: a file that is edited later is not what runs here.
        parts = [code_of(kind) for kind in _kinds(cls)]
        cls._code = None if None in parts else "".join(map(str, parts))

    def numbers_in(self, batch: SampleBatch) -> Array:
        """Its numbers in a batch: (curves, numbers) float64, NaN until they are written."""
        return batch.number_table(self.name, self.leaves)

    def fingerprint(self) -> str | None:
        """Name the code and the parameters of the stage, so that results can be kept by it.

        The code is all Python files of the class's package (where it has none, those beside its
        file) and the kernels. A stage that hangs on anything else, such as another package's code
        or a file that it reads, has to name that too, or to return None.

        Returns
        -------
        str or None
            None where there is no reliable name, so that nothing is kept: for a class that cannot
            be imported, such as one made in a function or a notebook; for private attributes; and
            for parameters other than numbers, words, lists, and models of the stage's own module.
        """
        kinds = _kinds(type(self))
        if self._code is None or not all(map(_importable, kinds)) or self.__pydantic_private__:
            return None
        values = {name: getattr(self, name) for name in type(self).model_fields}
        try:
            words = json.dumps(values, default=self._definition)
        except (TypeError, ValueError):
            return None
        kind = type(self)
        parts = (source_hash(), self._code, kind.__module__, kind.__qualname__, words)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _definition(self, value: object) -> object:
        """Return the fields of a parameter that is a model of the stage's own module, for JSON."""
        own = {kind.__module__ for kind in _kinds(type(self))}
        if isinstance(value, Stage) or not isinstance(value, BaseModel):
            raise TypeError(f"Expected numbers, words, lists or models of them. Got {value!r}.")
        if type(value).__module__ not in own:
            raise TypeError(f"Expected a model of the module of the stage. Got {value!r}.")
        return value.model_dump()

    @abstractmethod
    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Do the work on the curves in `rows` and return which of them ask for which stage.

        Rows that ask for nothing go on to the pipeline's next stage; a row that asks for several
        stages visits them one after another, in the order of the launch's requests.
        """


def code_of(kind: type) -> str | None:
    """Hash of the Python files of a class's package, or of those beside its file; None without."""
    names = (kind.__module__, kind.__module__.partition(".")[0])
    module, package = (sys.modules.get(name) for name in names)
    file, first = (getattr(found, "__file__", None) for found in (module, package))
    if file is None or first is None:
        return None
    pattern = "**/*.py" if hasattr(package, "__path__") else "*.py"
    paths = sorted(Path(first).parent.glob(pattern))
    if Path(file) not in paths:
        return None
    digest = hashlib.sha256()
    try:
        for path in paths:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    except OSError:
        return None
    return digest.hexdigest()


def _kinds(stage: type[Stage]) -> list[type]:
    """Return the class of a stage and those it is made of, without what every stage is."""
    return [kind for kind in stage.__mro__ if not issubclass(Stage, kind)]


def _importable(kind: type) -> bool:
    """Whether the class is what its module has under its name."""
    found: object = sys.modules.get(kind.__module__)
    for name in kind.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is kind


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

    may_write: ClassVar[frozenset[Part]] = frozenset({"curve"})

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
