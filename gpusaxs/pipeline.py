"""A pipeline: which stages, in which order, with which parameters."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import pydantic
from pydantic import BaseModel, ConfigDict, SerializeAsAny, TypeAdapter, model_validator
from pydantic_core import PydanticSerializationError

from gpusaxs.errors import PipelineError
from gpusaxs.numbers import Number
from gpusaxs.runtime.policy import Always, InsertionPolicy
from gpusaxs.stages import stage_type, stage_types
from gpusaxs.stages.base import FunctionStage, SampleFunction, Stage

PRESETS = "gpusaxs.presets"
_ALWAYS = Always()


class Pipeline(BaseModel):
    """Stages in order; a stage's number is its place.

    Parameters
    ----------
    name
        For people.
    stages
        Each at most once. Curves enter at the first; a stage that runs only on request is passed
        over by those that did not ask for it.
    insertion
        Policy for requests, by the stage that is asked for; `Always` where none is given.
    checkpoints
        Stages that wait for all curves of a batch before any goes on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "pipeline"
    stages: tuple[SerializeAsAny[Stage], ...]
    insertion: Mapping[str, InsertionPolicy] = {}
    checkpoints: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Pipeline:
        names = [stage.name for stage in self.stages]
        if not names:
            raise PipelineError("Expected at least one stage. Got none.")
        for name in names:
            if names.count(name) > 1:
                raise PipelineError(f"Expected each stage once. Got {name!r} twice.")
        asked = {target for stage in self.stages for target in stage.targets}
        for place, wanted in (
            ("a request", asked),
            ("an insertion policy", set(self.insertion)),
            ("a checkpoint", set(self.checkpoints)),
        ):
            for name in sorted(wanted - set(names)):
                raise PipelineError(
                    f"Expected the stage {name!r} of {place} among the pipeline's stages "
                    f"({', '.join(names)}). Add it to the stages."
                )
        for number, stage in enumerate(self.stages):
            for name in stage.needs:
                if name not in names[:number]:
                    raise PipelineError(
                        f"Expected the stage {name!r} before {stage.name!r}, which reads its "
                        f"numbers. Got {', '.join(names)}. Add it, or move it."
                    )
        if all(stage.on_request for stage in self.stages):
            raise PipelineError(
                f"Expected a stage at which curves enter. Got only stages that run on request "
                f"({', '.join(names)})."
            )
        return self

    @classmethod
    def of(cls, stages: Iterable[Stage | SampleFunction], **options: Any) -> Pipeline:
        """Build a pipeline from stages and functions of one sample.

        Raises
        ------
        PipelineError
            If the stages do not fit together.
        """
        built = tuple(
            stage if isinstance(stage, Stage) else FunctionStage(function=stage) for stage in stages
        )
        return cls(stages=built, **options)

    @classmethod
    def load(cls, name_or_path: str | Path) -> Pipeline:
        """Read a preset by its name, or a TOML file.

        Raises
        ------
        PipelineError
            If there is no such pipeline or it does not hold; the message names the place.
        """
        path = Path(name_or_path)
        if path.suffix != ".toml":
            known = presets()
            if str(name_or_path) not in known:
                raise PipelineError(
                    f"Expected a preset out of {', '.join(known)} or a .toml file. "
                    f"Got {str(name_or_path)!r}."
                )
            text = resources.files(PRESETS).joinpath(f"{name_or_path}.toml").read_text("utf-8")
            return cls.from_toml(text, str(name_or_path))
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PipelineError(f"Cannot read the pipeline {path}: {error}") from error
        return cls.from_toml(text, path.stem)

    @classmethod
    def from_toml(cls, text: str, name: str = "pipeline") -> Pipeline:
        """Read a pipeline: a list `stages`, and a table of parameters for each stage.

        Raises
        ------
        PipelineError
            If it is no TOML, or a stage or parameter does not exist or is out of bounds.
        """
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise PipelineError(f"Pipeline {name!r} is not valid TOML: {error}") from error
        return cls.from_document(document, name)

    @classmethod
    def from_document(cls, document: Mapping[str, Any], name: str = "pipeline") -> Pipeline:
        """Build a pipeline from the tables of its TOML form; see `from_toml`."""
        names = document.get("stages")
        if not isinstance(names, list) or not all(isinstance(entry, str) for entry in names):
            raise PipelineError(
                f'Expected stages = ["...", ...], a list of names, in pipeline {name!r}. '
                f"Got {names!r}."
            )
        options = {"name": document.get("name", name)}
        for key in ("insertion", "checkpoints"):
            if key in document:
                options[key] = document[key]
        unknown = set(document) - set(names) - {"stages", "name", "insertion", "checkpoints"}
        if unknown:
            raise PipelineError(
                f"Expected only tables of the stages {', '.join(names)} in pipeline {name!r}. "
                f"Got {', '.join(sorted(unknown))}. Add the stage, or remove the table."
            )
        stages = tuple(_stage(entry, document.get(entry, {})) for entry in names)
        try:
            return cls(stages=stages, **options)
        except pydantic.ValidationError as error:
            raise PipelineError(f"Pipeline {name!r}: {_explain(error)}") from error

    def document(self) -> dict[str, Any]:
        """Return the tables of the TOML form; `from_document` of it gives an equal pipeline.

        Raises
        ------
        PipelineError
            If a stage or a policy is a function: it exists in Python alone.
        """
        for stage in self.stages:
            if isinstance(stage, FunctionStage):
                raise PipelineError(f"Stage {stage.name!r} is a Python function: it has no TOML.")
        try:
            written = self.model_dump(mode="json", exclude={"stages"})
        except PydanticSerializationError as error:
            raise PipelineError("An insertion policy is a Python function: no TOML.") from error
        written["stages"] = [stage.name for stage in self.stages]
        for stage in self.stages:
            defaults = {name: field.default for name, field in type(stage).model_fields.items()}
            # TOML has no word for None, and where it is the default none is needed.
            written[stage.name] = {
                key: value
                for key, value in stage.model_dump(mode="json").items()
                if value is not None or defaults[key] is not None
            }
        return written

    def with_settings(self, settings: Iterable[str]) -> Pipeline:
        """Change parameters given as ``"stage.parameter=value"``.

        A value is read as TOML where it is TOML, else as a string.

        Raises
        ------
        PipelineError
            If a setting has another form, or names nothing that exists.
        """
        changes: dict[str, dict[str, Any]] = {}
        names = [stage.name for stage in self.stages]
        for setting in settings:
            key, equals, value = setting.partition("=")
            stage, dot, parameter = key.strip().partition(".")
            if not (equals and dot and parameter):
                raise PipelineError(f"Expected stage.parameter=value. Got {setting!r}.")
            if stage not in names:
                raise PipelineError(
                    f"Expected a stage of the pipeline ({', '.join(names)}) in {setting!r}. "
                    f"Got {stage!r}."
                )
            changes.setdefault(stage, {})[parameter] = _toml_value(value.strip())
        changed = tuple(
            _revised(stage, changes[stage.name]) if stage.name in changes else stage
            for stage in self.stages
        )
        kept = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**(kept | {"stages": changed}))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each stage by its name."""
        return {stage.name: number for number, stage in enumerate(self.stages)}

    @cached_property
    def number_columns(self) -> dict[str, tuple[Number, ...]]:
        """What its stages leave in the results beside peaks and phases, in their order."""
        return {stage.name: stage.leaves for stage in self.stages if stage.leaves}

    @property
    def joint(self) -> list[str]:
        """Names of the stages whose result for a curve hangs on the other curves of its run."""
        return [stage.name for stage in self.stages if stage.joint]

    @property
    def holding(self) -> frozenset[str]:
        """Names of the stages that wait for all curves: the checkpoints, and the joint ones."""
        return frozenset([*self.checkpoints, *self.joint])

    def check_by_curve(self, reason: str) -> None:
        """Refuse a pipeline that needs all curves of a series at once, where that cannot be.

        Raises
        ------
        PipelineError
            If a stage is joint; the message gives the reason.
        """
        for name in self.joint:
            raise PipelineError(
                f"What the stage {name!r} takes from a curve hangs on all curves of the series, "
                f"and {reason}."
            )

    def after(self, number: int) -> int:
        """Number of the stage that follows without a request; the number of stages at the end."""
        for following in range(number + 1, len(self.stages)):
            if not self.stages[following].on_request:
                return following
        return len(self.stages)

    def policy(self, stage: str) -> InsertionPolicy:
        """Insertion policy for requests that ask for `stage`."""
        return self.insertion.get(stage, _ALWAYS)


def presets() -> list[str]:
    """Names of the pipelines that come with the package."""
    files = resources.files(PRESETS).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def json_schema() -> dict[str, Any]:
    """JSON Schema of a pipeline's TOML form."""
    stages = {name: kind.model_json_schema() for name, kind in stage_types().items()}
    policies = TypeAdapter(dict[str, InsertionPolicy]).json_schema()
    definitions = policies.pop("$defs", {})
    for schema in stages.values():
        definitions |= schema.pop("$defs", {})
    names = {"type": "array", "items": {"enum": list(stages)}, "uniqueItems": True}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gpusaxs pipeline",
        "type": "object",
        "required": ["stages"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string"},
            "stages": {**names, "minItems": 1},
            "checkpoints": names,
            "insertion": policies,
            **stages,
        },
        "$defs": definitions,
    }


def _stage(name: str, parameters: Any) -> Stage:
    kind = stage_type(name)
    if not isinstance(parameters, dict):
        raise PipelineError(f"Expected a table [{name}] of parameters. Got {parameters!r}.")
    try:
        return kind(**parameters)
    except pydantic.ValidationError as error:
        raise PipelineError(f"Stage {name!r}: {_explain(error)}") from error


def _revised(stage: Stage, changes: dict[str, Any]) -> Stage:
    kept = {key: getattr(stage, key) for key in type(stage).model_fields}
    return _stage(stage.name, kept | changes)


def _explain(error: pydantic.ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'value'}: {item['msg']}. "
        f"Got {json.dumps(item['input'], default=str)}"
        for item in error.errors()
    )


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
