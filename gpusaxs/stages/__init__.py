"""The stages: what is done to a curve. One file a stage, found by its name."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache

from gpusaxs.errors import PipelineError
from gpusaxs.stages.base import Stage


@cache
def stage_types() -> dict[str, type[Stage]]:
    """All stages of the package by name."""
    found: dict[str, type[Stage]] = {}
    for module_info in pkgutil.iter_modules(__path__):
        if module_info.name == "base":
            continue
        module = importlib.import_module(f"{__name__}.{module_info.name}")
        own = [
            value
            for value in vars(module).values()
            if inspect.isclass(value)
            and issubclass(value, Stage)
            and value.__module__ == module.__name__
            and not inspect.isabstract(value)
        ]
        if len(own) != 1:
            raise PipelineError(
                f"Expected one stage in {module.__name__}. Got {len(own)}. "
                "Give each stage a file of its own."
            )
        found[module_info.name] = own[0]
    return found


def stage_type(name: str) -> type[Stage]:
    """Return the stage of that name.

    Raises
    ------
    PipelineError
        If there is none.
    """
    try:
        return stage_types()[name]
    except KeyError:
        known = ", ".join(stage_types())
        raise PipelineError(f"Expected a stage out of {known}. Got {name!r}.") from None
