"""Layout NXcanSAS: every SASdata of a file, with one curve or many frames.

Read by `gpusaxs.io.hdf5`; written by `gpusaxs.io.nxcansas_writer`.
"""

from __future__ import annotations

from dataclasses import replace

import h5py

from gpusaxs.errors import ReadError
from gpusaxs.io.hdf5_access import groups_where, has, is_class, numbers, text, words
from gpusaxs.io.hdf5_notes import Notes
from gpusaxs.io.hdf5_stack import (
    ArrayStack,
    axis_of,
    checked_stack,
    distinct,
    stated_unit,
)
from gpusaxs.units import parse_q_unit

FORMAT = "nxcansas"

_UNCERTAINTY = ("uncertainties", "uncertainty")
_USUAL_UNCERTAINTY = ("Idev", "I_errors", "errors")
_USUAL_RESOLUTION = "Qdev"
_OF_A_SLIT = ("dQw", "dQl")


def stacks(file: h5py.File, notes: Notes) -> list[ArrayStack]:
    """Stacks of a file, one for each group of one-dimensional data; none without any SASdata.

    Raises
    ------
    ReadError
        If all data are images, or if some are no curves for another reason.
    """
    groups = groups_where(file, lambda group: is_class(group, ("SASdata",)))
    curves = [group for group in groups if not _is_image(group)]
    if groups and not curves:
        raise ReadError("holds a two-dimensional image I(Qx, Qy): integrate it to a curve first")
    return distinct([_stack(group, notes) for group in curves])


def stack_at(file: h5py.File, place: str, notes: Notes) -> ArrayStack:
    """Stack of the group at a path."""
    return _stack(file[place], notes)


def _axes(group: h5py.Group) -> list[str]:
    return words(group, "I_axes") or words(group, "axes")


def _is_image(group: h5py.Group) -> bool:
    return sum(name.lower().startswith("q") for name in _axes(group)) > 1 or has(group, "Qx")


def _stack(group: h5py.Group, notes: Notes) -> ArrayStack:
    axes = _axes(group)
    q_name = next((name for name in axes if name.lower().startswith("q")), None)
    if q_name is None:
        q_name = "q" if has(group, "q") and not has(group, "Q") else "Q"
    q = numbers(group, q_name)
    intensity = numbers(group, text(group, "signal") or "I")
    sigma = _deviation(group, intensity)
    unit = stated_unit(q)
    q_axis = axis_of(group, q_name, q, intensity, axes)
    stack = checked_stack(group, q, intensity, sigma, q_axis, unit, notes)
    return replace(stack, q_sigma=_deviation_of_q(stack))


def _deviation(group: h5py.Group, signal: h5py.Dataset) -> h5py.Dataset | None:
    """Uncertainties that the intensity names, else its group, else those of a usual name."""
    named = [text(signal, key) for key in _UNCERTAINTY]
    named += [text(group, f"I_{key}") for key in _UNCERTAINTY]
    for name in (*named, *_USUAL_UNCERTAINTY, *(f"I_{key}" for key in _UNCERTAINTY)):
        if name and has(group, name):
            return numbers(group, name)
    return None


def _deviation_of_q(stack: ArrayStack) -> h5py.Dataset | None:
    """Standard deviations of q, None where its resolution is given in another way, or not at all.

    That of another kind than a Gaussian has no width that the format defines, and that of a slit
    belongs to no point.
    """
    named = words(stack.q, "resolutions") or [_USUAL_RESOLUTION]
    kind = text(stack.q, "resolutions_description") or "Gaussian"
    if len(named) > 1 or named[0] in _OF_A_SLIT or kind.lower() != "gaussian":
        return None
    try:
        found = numbers(stack.group, named[0])
    except ReadError:
        return None
    units = [parse_q_unit(text(of, "units", "unit")) for of in (found, stack.q)]
    fits = found.shape in (stack.intensity.shape, (stack.points,))
    return found if fits and (units[0] == units[1] or not text(found, "units", "unit")) else None
