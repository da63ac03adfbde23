"""From what a user names to the files that are read, and from a file to its curves."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

from gpusaxs.errors import ReadError
from gpusaxs.io.curves import Extent, check_frames
from gpusaxs.io.recognise import (
    HEAD_BYTES,
    CurveReader,
    first_bytes,
    follows_links,
    reader_for,
    reads_stacks,
    stack_readers,
)
from gpusaxs.sample import Sample
from gpusaxs.units import check_q_unit

_STACK_HEAD_BYTES = 512
_BYTES_A_POINT = 24


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read.

    Parameters
    ----------
    id
        Of its curve, unique among the files found with it.
    follow_links
        Whether datasets of an HDF5 file may lie in other files that it names.
    """

    path: Path
    id: str
    follow_links: bool = False


class FoundFile(NamedTuple):
    """A file that an input names: its path as given, the absolute one, and the id of its curve."""

    path: str
    absolute: str
    id: str


def discover(inputs: Sequence[str | Path]) -> list[Source]:
    """Files that files, folders and glob patterns name, as `find_files` finds them."""
    return [Source(Path(found.path), found.id) for found in find_files(inputs)]


def find_files(inputs: Sequence[str | Path]) -> list[FoundFile]:
    """Files that files, folders and glob patterns name, each once, in a fixed order.

    A folder is searched to the bottom; hidden files and folders are left out. The id of a file
    in a folder is its path from the folder's parent on, such as ``bragg/otab/a.pdh``; that of a
    file named directly is its name. Where ids collide, they are lengthened by parent folders.

    Raises
    ------
    FileNotFoundError
        If an input names no file; the message lists each one with its reason.
    """
    found: dict[str, FoundFile] = {}
    problems: list[str] = []
    for given in inputs:
        try:
            for file in _expand(str(given)):
                found.setdefault(file.absolute, file)
        except OSError as error:
            problems.append(f"{given}: {_reason(error)}")
    if problems or not found:
        listed = "\n  ".join(problems) or "no input was given"
        raise FileNotFoundError(
            f"Expected files, folders or patterns that name at least one file. Got\n  {listed}\n"
            "Check the spelling and the current folder."
        )
    return _with_unique_ids(list(found.values()))


def extent(source: Source | str | Path, size: int | None = None) -> Extent:
    """How much a file holds, without reading its numbers.

    A file of a format that holds one curve is not looked at any further: whether it can be read
    shows itself when it is read. Its points are estimated from its size.

    Parameters
    ----------
    size
        The file's size in bytes, where the caller knows it.

    Raises
    ------
    ReadError
        If the file cannot be opened, or if it is of a format that holds several curves and
        damaged or without any.
    """
    source = _source(source)
    path = os.fspath(source.path)
    try:
        head = first_bytes(path, _STACK_HEAD_BYTES)
        for reader in stack_readers():
            if reader.matches(head):
                if source.follow_links and follows_links(reader):
                    return reader.extent(source.path, follow_links=True)
                return reader.extent(source.path)
        held = os.stat(path).st_size if size is None else size
    except OSError as error:
        raise ReadError(f"cannot be opened: {_reason(error)}") from error
    return Extent(1, max(1, held // _BYTES_A_POINT))


def read(
    source: Source | str | Path,
    q_unit: str | None = None,
    frames: range | None = None,
    content: bytes | None = None,
) -> list[Sample]:
    """Curves of a file, with q in 1/nm and all values as they stand in the file.

    A slice holds the very curves that the whole file gives in its place, and of a file of
    several curves no more is read than it needs.

    Parameters
    ----------
    source
        A source from `discover`, or a path.
    q_unit
        ``"1/nm"``, ``"1/angstrom"`` or ``"1/m"`` where the caller knows better than the file.
    frames
        Numbers of the curves to read, counted over the whole file; all without it.
    content
        The file's bytes, where the caller has read them already and they are few.

    Raises
    ------
    ReadError
        If the file holds no curve, or not those frames; the message says what it holds instead.
    ValueError
        If ``q_unit`` is not a unit of q, or ``frames`` no range with a step of 1.
    """
    source = _source(source)
    unit = None if q_unit is None else check_q_unit(q_unit)
    if frames is not None and not (0 <= frames.start <= frames.stop and frames.step == 1):
        raise ValueError(
            f"Expected frames that follow each other, from 0 on. Got {frames}. "
            "Give range(first, behind_last)."
        )
    try:
        if content is None:
            head = first_bytes(os.fspath(source.path), HEAD_BYTES)
        else:
            head = content[:HEAD_BYTES]
        reader = reader_for(head)
        if reads_stacks(reader):
            if source.follow_links and follows_links(reader):
                return reader.read(source.path, source.id, unit, frames, follow_links=True)
            return reader.read(source.path, source.id, unit, frames)
        samples = cast(CurveReader, reader).read(source.path, source.id, unit, content)
    except OSError as error:
        raise ReadError(f"cannot be opened: {_reason(error)}") from error
    if frames is None:
        return samples
    check_frames(frames, len(samples))
    return samples[frames.start : frames.stop]


def _source(given: Source | str | Path) -> Source:
    return given if isinstance(given, Source) else Source(Path(given), Path(given).name)


def _expand(given: str) -> list[FoundFile]:
    if os.path.isdir(given):
        found, nothing = _in_folder(given), "the folder holds no file"
    elif os.path.lexists(given):
        found, nothing = [_named(given)], ""
    elif glob.has_magic(given):
        found, nothing = _in_pattern(given), "nothing matches the pattern"
    else:
        found, nothing = [], "no such file or folder"
    if not found:
        raise FileNotFoundError(nothing)
    return found


def _named(path: str) -> FoundFile:
    return FoundFile(path, os.path.abspath(path), os.path.basename(path))


def _in_folder(folder: str) -> list[FoundFile]:
    absolute = os.path.abspath(folder)
    name = os.path.basename(absolute)
    return [
        FoundFile(os.path.join(folder, inner), os.path.join(absolute, inner), f"{name}/{inner}")
        for inner in _walk(folder)
    ]


def _walk(folder: str, before: str = "") -> Iterator[str]:
    """Yield the paths of files below a folder, relative to it; no link to a folder is followed."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{before}{entry.name}/")
            # A broken link is kept: it is reported when it is read. A pipe would block there.
            elif not entry.is_dir() and (entry.is_file() or entry.is_symlink()):
                yield before + entry.name


def _in_pattern(pattern: str) -> list[FoundFile]:
    found: list[FoundFile] = []
    for match in sorted(glob.glob(pattern, recursive=True)):
        if os.path.isfile(match):
            found.append(_named(match))
        # "**" has already listed what is in the folder.
        elif os.path.isdir(match) and "**" not in pattern:
            found.extend(_in_folder(match))
    return found


def _reason(error: OSError) -> str:
    """What the system says, in words and without its number."""
    if error.strerror is None:
        return str(error)
    return error.strerror[:1].lower() + error.strerror[1:]


def _with_unique_ids(files: list[FoundFile]) -> list[FoundFile]:
    count = Counter(file.id for file in files)
    while len(count) < len(files):
        files = [
            file._replace(id=_lengthened(file)) if count[file.id] > 1 else file for file in files
        ]
        count = Counter(file.id for file in files)
    return files


def _lengthened(file: FoundFile) -> str:
    """Id with one more of the path's folders in front; whole paths are unique."""
    parts = Path(file.absolute).parts
    return Path(*parts[-len(Path(file.id).parts) - 1 :]).as_posix()
