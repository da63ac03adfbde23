"""Layout of any NeXus file: the NXdata that hold an intensity over an axis of q.

An axis is q by its name, by its long name or by its unit. Angles, radii, lattice spacings and
components of q are not converted, and images and cakes are not integrated: where a file holds
nothing else, the reason says so.

Every entry of a file is read. In each, the attributes ``default`` lead to the data; where they do
not lead to a curve, all data of the entry that hold one are read, each dataset once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum
from itertools import islice

import h5py

from gpusaxs.errors import ReadError
from gpusaxs.io.hdf5_access import (
    ancestors,
    groups_where,
    has,
    is_class,
    member,
    numbers,
    text,
    words,
)
from gpusaxs.io.hdf5_notes import Notes
from gpusaxs.io.hdf5_stack import (
    ANGLES,
    NO_UNITS,
    ArrayStack,
    axis_of,
    checked_stack,
    distinct,
    stated_unit,
)
from gpusaxs.units import find_q_unit, parse_q_unit

__all__ = ["FORMAT", "stack_at", "stacks"]

FORMAT = "nexus"

_MOST_STEPS = 16
_MOST_MEMBERS = 200
# Where DAWN keeps the steps of a reduction and what they yield besides.
_STEPS = ("intermediate", "auxiliary")

_ENTRY = ("NXentry",)

_Q_NAME = re.compile(
    r"\|?q\|?(?:[\s_-]*(?:vector|vec|values?|vals?|axis|bins?|grid|data|abs|mod|modulus|magnitude"
    r"|tot|total))?|(?:scattering|wave)[\s_-]?vector(?:[\s_-]*(?:q|magnitude))?"
    r"|momentum[\s_-]?transfer(?:[\s_-]*q)?"
)
_Q_COMPONENT = re.compile(r"(?<![a-z0-9])q[_\s${\\]*(?:x|y|z|xy|ip|oop|par|perp)(?![a-z0-9])")
_AZIMUTH = ("chi", "azim", "azimuth", "azimuthal", "azimuthal_angle", "χ")
_TWO_THETA = ("2th", "tth", "two_theta", "twotheta", "2theta", "ttheta", "polar_angle", "2θ")
_RADIUS = ("r", "radius", "r_mm", "r_m")
_RADIUS_UNITS = ("r_mm", "r_m")
_SPACING = ("d", "d_spacing", "dspacing", "d-spacing")
_LENGTHS = ("m", "mm", "um", "pixel", "pixels", "px")


class _Kind(Enum):
    """What an axis counts, with what is said of data that have no other one."""

    Q = "q"
    AZIMUTH = "an azimuth"
    ANGLE = "an angle: convert it to q first, or integrate the images along q"
    RADIUS = "a radius on the detector: convert it to q first, or integrate the images along q"
    SPACING = "a lattice spacing d: convert it to q first"
    COMPONENT = "not the length of the scattering vector but a component or a function of it"
    OTHER = "not known to be q"


class _NoCurveError(ReadError):
    """Data that are no I(q), with how much the reason tells about the file: less is more."""

    def __init__(self, reason: str, rank: int) -> None:
        super().__init__(reason)
        self.rank = rank


def stacks(file: h5py.File, notes: Notes) -> list[ArrayStack]:
    """Stacks of a file, one for each group that holds I(q); none without any NXdata.

    Raises
    ------
    ReadError
        If none of the data are I(q), or if some are but cannot be read.
    """
    groups = groups_where(file, lambda group: is_class(group, ("NXdata",)))
    by_entry: dict[str, list[h5py.Group]] = {}
    for group in groups:
        by_entry.setdefault(_entry_of(group), []).append(group)
    found: list[ArrayStack] = []
    refused: list[_NoCurveError] = []
    for entry, members in by_entry.items():
        found += _of_entry(_default(file, file[entry], members), members, notes, refused)
    if groups and not found:
        raise ReadError(str(min(refused, key=lambda refusal: refusal.rank)))
    return distinct(found)


def stack_at(file: h5py.File, place: str, notes: Notes) -> ArrayStack:
    """Stack of the group at a path."""
    return _stack(file[place], notes)


def _entry_of(group: h5py.Group) -> str:
    """Path of the outermost entry around a group; the root where there is none."""
    around = [outer for outer in ancestors(group) if is_class(outer, _ENTRY)]
    return str(around[-1].name) if around else "/"


def _default(
    file: h5py.File, entry: h5py.Group, members: Sequence[h5py.Group]
) -> h5py.Group | None:
    """Data to which the attributes ``default`` of an entry lead, else those of the file."""
    for start in (entry, file):
        group = start
        for _ in range(_MOST_STEPS):
            name = text(group, "default")
            group = member(group, name) if name else None
            if group is None or not isinstance(group, h5py.Group):
                break
            if group in members:
                return members[members.index(group)]
    return None


def _of_entry(
    default: h5py.Group | None,
    members: Sequence[h5py.Group],
    notes: Notes,
    refused: list[_NoCurveError],
) -> list[ArrayStack]:
    """Stacks of one entry; the reasons of data that are none are added to those refused."""
    if default is not None:
        found = _those_that_fit([default], notes, refused)
        if found:
            return found
    steps = [group for group in members if set(_STEPS) & set(str(group.name).split("/"))]
    rest = [group for group in members if group != default and group not in steps]
    return _those_that_fit(rest, notes, refused) or _those_that_fit(steps, notes, refused)


def _those_that_fit(
    groups: Sequence[h5py.Group], notes: Notes, refused: list[_NoCurveError]
) -> list[ArrayStack]:
    found = []
    for group in groups:
        try:
            found.append(_stack(group, notes))
        except _NoCurveError as refusal:
            refused.append(refusal)
    return found


def _stack(group: h5py.Group, notes: Notes) -> ArrayStack:
    signal = _signal(group)
    listed = _axes(group, signal)
    q_name = _q_name(group, signal, listed)
    q = numbers(group, q_name)
    intensity = numbers(group, signal)
    q_axis = axis_of(group, q_name, q, intensity, listed)
    _check_others(group, intensity, listed, q_axis)
    unit = stated_unit(q) or parse_q_unit(q_name)
    return checked_stack(
        group, q, intensity, _errors(group, signal, intensity), q_axis, unit, notes
    )


def _signal(group: h5py.Group) -> str:
    """Name of the intensities: the group gives it, in old files an attribute of the dataset."""
    name = text(group, "signal")
    if name:
        return name
    for name in islice(group, _MOST_MEMBERS):
        found = member(group, name)
        if isinstance(found, h5py.Dataset) and text(found, "signal") == "1":
            return str(name)
    raise _NoCurveError(f"holds data without a signal in {group.name}: expected I(q)", 3)


def _axes(group: h5py.Group, signal: str) -> list[str]:
    """Names of the axes in their order, as far as they are given; ``"."`` has no dataset."""
    for holder in (group, member(group, signal)):
        if holder is None:
            continue
        whole = text(holder, "axes")
        listed = words(holder, "axes")
        if listed:
            return [whole] if listed == whole.split() and has(group, whole) else listed
    return _numbered_axes(group, signal)


def _numbered_axes(group: h5py.Group, signal: str) -> list[str]:
    """Axes of an old file, whose datasets give their number, from 1 on."""
    numbered: dict[int, str] = {}
    for name in islice(group, _MOST_MEMBERS):
        found = member(group, name)
        if name != signal and isinstance(found, h5py.Dataset):
            number = text(found, "axis")
            if number.isdecimal() and (int(number) not in numbered or text(found, "primary")):
                numbered[int(number)] = str(name)
    return [numbered[number] for number in sorted(numbered)]


def _q_name(group: h5py.Group, signal: str, listed: Sequence[str]) -> str:
    """Name of the one axis of q among those listed, else among those that give their indices.

    Where no axes are given, any dataset beside the intensities may be it.
    """
    extra = [name.removesuffix("_indices") for name in group.attrs if name.endswith("_indices")]
    others = [] if listed or extra else list(islice(group, _MOST_MEMBERS))
    kinds: dict[str, _Kind] = {}
    for names in (listed, extra, others):
        kinds |= {name: _kind(group, name) for name in names if name not in (".", signal)}
        found = [name for name in names if kinds.get(name) is _Kind.Q]
        if names is others:
            # Resolutions of q have its unit.
            found = [name for name in found if _Q_NAME.fullmatch(name.lower())] or found
        if len(found) > 1:
            raise _NoCurveError(f"holds an image over two axes of q in {group.name}", 0)
        if found:
            return found[0]
    raise _without_q(group, kinds if listed or extra else {})


def _without_q(group: h5py.Group, kinds: dict[str, _Kind]) -> _NoCurveError:
    for kind in (_Kind.COMPONENT, _Kind.ANGLE, _Kind.RADIUS, _Kind.SPACING):
        for name, found in kinds.items():
            if found is kind:
                return _NoCurveError(
                    f"holds intensities over {name!r} in {group.name}, {kind.value}", 0
                )
    shown = ", ".join(repr(name) for name in kinds) or "none"
    return _NoCurveError(
        f"holds data without an axis q in {group.name} (axes: {shown}): expected I(q); integrate "
        "images to curves first",
        1,
    )


def _kind(group: h5py.Group, name: str) -> _Kind:
    """What an axis counts, by its name and the attributes of its dataset."""
    found = member(group, name)
    axis = found if isinstance(found, h5py.Dataset) else None
    own = ((text(axis, "name") if axis is not None else "") or name).strip()
    long_name = text(axis, "long_name").lower() if axis is not None else ""
    unit = text(axis, "units", "unit") if axis is not None else ""
    return _kind_by_name(own.lower(), long_name) or _kind_by_unit(own.lower(), long_name, unit)


def _kind_by_name(name: str, long_name: str) -> _Kind | None:
    """What an axis counts where its names leave no doubt."""
    if name in _AZIMUTH or "azimuth" in long_name:
        return _Kind.AZIMUTH
    if _Q_NAME.fullmatch(name) or (name.startswith("q") and parse_q_unit(name)):
        return _Kind.Q
    if name.startswith("q") or _Q_COMPONENT.search(long_name):
        return _Kind.COMPONENT
    return None


def _kind_by_unit(name: str, long_name: str, unit: str) -> _Kind:
    if unit.lower() in ANGLES:
        return _Kind.ANGLE
    if unit.lower() in _RADIUS_UNITS:
        return _Kind.RADIUS
    # Single letters have a meaning of their own: k of a photoelectron, s without the 2 pi.
    if parse_q_unit(unit) and (len(name) > 1 or name == "x"):
        return _Kind.Q
    if unit.lower() in NO_UNITS and (_Q_NAME.fullmatch(long_name) or find_q_unit(long_name)):
        return _Kind.COMPONENT if "log" in long_name or "sinh" in long_name else _Kind.Q
    if name in _TWO_THETA:
        return _Kind.ANGLE
    if name in _SPACING:
        return _Kind.SPACING
    if name in _RADIUS or (name.startswith("radial") and unit.lower() in _LENGTHS):
        return _Kind.RADIUS
    return _Kind.OTHER


def _check_others(
    group: h5py.Group, intensity: h5py.Dataset, listed: Sequence[str], q_axis: int
) -> None:
    """Refuse a cake, and an image one of whose axes is not described."""
    named = list(listed) if len(listed) == intensity.ndim else ["."] * intensity.ndim
    for axis, (name, length) in enumerate(zip(named, intensity.shape, strict=True)):
        if axis == q_axis or length == 1:
            continue
        if name != "." and _kind(group, name) is _Kind.AZIMUTH:
            raise _NoCurveError(
                f"holds a cake, intensities over {name!r} and q in {group.name}: integrate it over "
                "the azimuth first",
                0,
            )
        is_pair = {axis, q_axis} == {intensity.ndim - 2, intensity.ndim - 1}
        if name == "." and is_pair and text(intensity, "interpretation") == "image":
            raise _NoCurveError(
                f"holds images over q and an axis without a name in {group.name}: integrate them "
                "to curves first",
                0,
            )


def _errors(group: h5py.Group, signal: str, intensity: h5py.Dataset) -> h5py.Dataset | None:
    """Uncertainties that the intensity or its group names, else those of a usual name."""
    named = [
        text(intensity, "uncertainties", "uncertainty"),
        text(group, f"{signal}_uncertainties"),
    ]
    usual = [f"{signal}_errors", f"{signal}_error", "errors", f"{signal}_uncertainties", "Idev"]
    for name in (*named, *usual):
        if name and name != signal and has(group, name):
            return numbers(group, name)
    return None
