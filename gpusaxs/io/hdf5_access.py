"""What layouts of HDF5 files share: members within the file alone, attributes, and datasets."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeGuard

import h5py
import numpy as np

from gpusaxs.errors import ReadError
from gpusaxs.io.curves import check_points

_FIRST_PLUGIN_FILTER = 256
_MOST_LINKS = 16
_LONGEST_ATTRIBUTE = 2**20
_HARMLESS_VALUES = 2**24
_LARGEST_RATIO = 1000
_FOLLOWED: ContextVar[bool] = ContextVar("links to other files are followed", default=False)


@contextmanager
def links_followed(allowed: bool) -> Iterator[None]:
    """Within this context, in its thread, datasets may lie in other files where it is allowed."""
    token = _FOLLOWED.set(allowed)
    try:
        yield
    finally:
        _FOLLOWED.reset(token)


def has(group: h5py.Group, name: str) -> bool:
    """Whether a group has a member of that name, wherever its link leads."""
    return name.strip("/") != "" and group.get(name, getlink=True) is not None


def member(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset | None:
    """Member at a path; None where no link leads there.

    Links to other files are followed within `links_followed` alone.
    """
    return _resolved(group, path, iter(range(_MOST_LINKS)))


def _resolved(
    group: h5py.Group, path: str, links_left: Iterator[int]
) -> h5py.Group | h5py.Dataset | None:
    # All soft links count together, or each could lead through several others.
    found = group.file if path.startswith("/") else group
    for part in path.split("/"):
        if part in ("", "."):
            continue
        link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
        if isinstance(link, h5py.HardLink):
            found = found[part]
        elif isinstance(link, h5py.SoftLink) and next(links_left, None) is not None:
            found = _resolved(found, link.path, links_left)
        elif isinstance(link, h5py.ExternalLink) and _FOLLOWED.get():
            found = found[part]
        else:
            return None
    return found


def groups_where(file: h5py.File, wanted: Callable[[h5py.Group], bool]) -> list[h5py.Group]:
    """Groups of a file in the order of their paths, each once: hard links alone are followed."""
    groups: list[h5py.Group] = []

    def keep(path: bytes, found: h5py.h5o.ObjInfo) -> None:
        # To open the datasets as well, of which there are many more, would take most of the time.
        if found.type == h5py.h5o.TYPE_GROUP:
            group = file[path]
            if wanted(group):
                groups.append(group)

    h5py.h5o.visit(file.id, keep, info=True)
    return groups


def ancestors(group: h5py.Group) -> Iterator[h5py.Group]:
    """A group and those that its path leads through, from the inside out, without the root."""
    path = str(group.name)
    while path.strip("/"):
        yield group.file[path]
        path = path.rpartition("/")[0]


def identity(dataset: h5py.Dataset) -> object:
    """What all names of a dataset have in common."""
    info = h5py.h5o.get_info(dataset.id)
    return info.fileno, info.addr


def numbers(group: h5py.Group, name: str) -> h5py.Dataset:
    """Dataset of real numbers with at least one axis that can be read here.

    Raises
    ------
    ReadError
        If there is none, or it lies outside the file, or has no points or no numbers.
    """
    dataset = _dataset(group, name)
    if not dataset.shape:
        raise ReadError(f"has a single number in {dataset.name}: expected an array")
    check_points(dataset.shape)
    if dataset.dtype.kind not in "fiu":
        raise ReadError(f"holds the type {dataset.dtype} in {dataset.name}: expected real numbers")
    check_declared(dataset.size, dataset.file)
    _load_filters(dataset)
    return dataset


def check_declared(values: int, file: h5py.File) -> None:
    """Refuse values that a file declares but cannot hold, before memory is taken for them.

    Where links are followed, other files may hold them.
    """
    if _FOLLOWED.get():
        return
    if values > _HARMLESS_VALUES and values > _LARGEST_RATIO * file.id.get_filesize():
        raise ReadError(
            f"declares {values:,} values, more than {_LARGEST_RATIO:,} for each of its bytes, as "
            "measured curves never do: it is damaged, or not written yet"
        )


def is_stored_here(found: object) -> TypeGuard[h5py.Dataset]:
    """Whether something is a dataset whose numbers are in its own file, or may be elsewhere."""
    if not isinstance(found, h5py.Dataset):
        return False
    return _FOLLOWED.get() or not (found.is_virtual or found.external)


def _dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """Dataset of a group, or one elsewhere in this file that it links to."""
    if not has(group, name):
        raise ReadError(f"has no dataset {name!r} in {group.name}")
    found = member(group, name)
    if not is_stored_here(found):
        raise ReadError(
            f"refers in {group.name}/{name} to another file or to nothing: expected the numbers "
            "themselves; gpusaxs convert --follow-links makes one file of several"
        )
    return found


def _load_filters(dataset: h5py.Dataset) -> None:
    """Have the filters at hand that a dataset is compressed with."""
    pipeline = dataset.id.get_create_plist()
    filters = [pipeline.get_filter(k)[0] for k in range(pipeline.get_nfilters())]
    if any(number >= _FIRST_PLUGIN_FILTER for number in filters):
        # Its import registers the filters with the HDF5 library; few files need it.
        importlib.import_module("hdf5plugin")
    for number in filters:
        if not h5py.h5z.filter_avail(number):
            raise ReadError(
                f"is compressed with the HDF5 filter {number}, which is not known here: "
                "compress it with gzip, bitshuffle or Blosc instead"
            )


def text(holder: h5py.Group | h5py.Dataset, *names: str) -> str:
    """First of these attributes that says something, as text; else nothing.

    Writers give bytes, strings and arrays of either.
    """
    for name in names:
        found = _strings(holder, name)
        if found and found[0].strip():
            return found[0].strip()
    return ""


def words(holder: h5py.Group | h5py.Dataset, name: str) -> list[str]:
    """Attribute as a list of names, also where they stand in one text: ``"Time,Q"``, ``"[t:q]"``.

    Old files write colons between the names, newer ones commas or arrays.
    """
    found = _strings(holder, name)
    if len(found) != 1:
        return found
    return found[0].strip().strip("[]").replace(",", " ").replace(":", " ").split()


def indices(holder: h5py.Group | h5py.Dataset, name: str) -> list[int]:
    """Attribute as a list of whole numbers; empty where it is none."""
    try:
        return [int(word) for word in words(holder, name)]
    except ValueError:
        return []


def is_class(group: h5py.Group, names: Sequence[str]) -> bool:
    """Whether a group says that it is of one of these classes, of NeXus or canSAS."""
    return text(group, "canSAS_class") in names or text(group, "NX_class") in names


def _strings(holder: h5py.Group | h5py.Dataset, name: str) -> list[str]:
    if name not in holder.attrs:
        return []
    described = holder.attrs.get_id(name)
    shape = described.shape
    if shape is None or described.dtype.itemsize * math.prod(shape) > _LONGEST_ATTRIBUTE:
        return []
    values = np.atleast_1d(np.asarray(holder.attrs[name], dtype=object))
    return [as_text(item) for item in values.ravel()]


def as_text(value: object) -> str:
    """Value as text that can be written; what is no UTF-8 is marked as such."""
    spelled = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
    return spelled.decode("utf-8", errors="replace")
