"""A curve of a run by its id, or by a part of it."""

from __future__ import annotations

from gpusaxs.api import Result
from gpusaxs.errors import GpusaxsError

NAMES_SHOWN = 20


class NoSuchCurveError(GpusaxsError):
    """No curve, or more than one, goes by what was given."""


def find_curve(result: Result, name: str) -> int:
    """Place of the curve whose id is `name`, else of the only one whose id contains it.

    Raises
    ------
    NoSuchCurveError
        If there is none, or more than one.
    """
    ids: list[str] = result.samples["id"].to_pylist()
    if name in ids:
        return ids.index(name)
    found = [place for place, curve_id in enumerate(ids) if name in curve_id]
    if len(found) == 1:
        return found[0]
    if not found:
        raise NoSuchCurveError(
            f"Expected the id of a curve of the run, or a part of one. Got {name!r}. "
            f"Ids look like {ids[0]!r}."
            if ids
            else "The run holds no curve."
        )
    shown = "\n".join(f"  {ids[place]}" for place in found[:NAMES_SHOWN])
    more = f"\n  ... and {len(found) - NAMES_SHOWN:,} more" if len(found) > NAMES_SHOWN else ""
    raise NoSuchCurveError(
        f"Expected an id of one curve. Got {name!r}, a part of {len(found):,}:\n{shown}{more}"
    )
