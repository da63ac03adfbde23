"""From what a user names to the files that are read, and from a file to its curves."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gpusaxs.errors import ReadError
from gpusaxs.io.curves import Extent, check_frames
from gpusaxs.io.recognise import as_stack_reader, first_bytes, reader_for, stack_readers
from gpusaxs.sample import Sample
from gpusaxs.units import check_q_unit

_STACK_HEAD_BYTES = 512
_BYTES_A_POINT = 24


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read, and the id of its curve, unique among the files found with it."""

    path: Path
    id: str


def discover(inputs: Sequence[str | Path]) -> list[Source]:
    """Files that files, folders and glob patterns name, each once, in a fixed order.

    A folder is searched to the bottom; hidden files and folders are left out. The id of a file
    in a folder is its path from the folder's parent on, such as ``bragg/otab/a.pdh``; that of a
    file named directly is its name. Where ids collide, they are lengthened by parent folders.

    Raises
    ------
    FileNotFoundError
        If an input names no file; the message lists each one with its reason.
    """
    found: dict[str, Source] = {}
    problems: list[str] = []
    for given in inputs:
        try:
            for source in _expand(given):
                found.setdefault(os.path.abspath(source.path), source)
        except OSError as error:
            problems.append(f"{given}: {_reason(error)}")
    if problems or not found:
        listed = "\n  ".join(problems) or "no input was given"
        raise FileNotFoundError(
            f"Expected files, folders or patterns that name at least one file. Got\n  {listed}\n"
            "Check the spelling and the current folder."
        )
    return _with_unique_ids(list(found.values()))


def extent(source: Source, size: int | None = None) -> Extent:
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
    path = os.fspath(source.path)
    try:
        head = first_bytes(path, _STACK_HEAD_BYTES)
        for reader in stack_readers():
            if reader.matches(source.path, head):
                return reader.extent(source.path)
        held = os.stat(path).st_size if size is None else size
    except OSError as error:
        raise ReadError(f"cannot be opened: {_reason(error)}") from error
    return Extent(1, max(1, held // _BYTES_A_POINT))


def read(
    source: Source | str | Path, q_unit: str | None = None, frames: range | None = None
) -> list[Sample]:
    """Curves of a file, with q in 1/nm and all values as they stand in the file.

    A slice holds the very curves that the whole file gives in its place, and of a file of
    several curves no more is read than it needs.

    Parameters
    ----------
    source
        A source from `discover`, or a path.
    q_unit
        ``"1/nm"`` or ``"1/angstrom"`` where the caller knows better than the file.
    frames
        Numbers of the curves to read, counted over the whole file; all without it.

    Raises
    ------
    ReadError
        If the file holds no curve, or not those frames; the message says what it holds instead.
    ValueError
        If ``q_unit`` is not a unit of q, or ``frames`` no range with a step of 1.
    """
    if not isinstance(source, Source):
        source = Source(Path(source), Path(source).name)
    unit = None if q_unit is None else check_q_unit(q_unit)
    if frames is not None and not (0 <= frames.start <= frames.stop and frames.step == 1):
        raise ValueError(
            f"Expected frames that follow each other, from 0 on. Got {frames}. "
            "Give range(first, behind_last)."
        )
    try:
        reader = reader_for(source.path)
        stack_reader = as_stack_reader(reader)
        if stack_reader is not None:
            return stack_reader.read(source.path, source.id, unit, frames)
        samples = reader.read(source.path, source.id, unit)
    except OSError as error:
        raise ReadError(f"cannot be opened: {_reason(error)}") from error
    if frames is None:
        return samples
    check_frames(frames, len(samples))
    return samples[frames.start : frames.stop]


def _expand(given: str | Path) -> list[Source]:
    path = Path(given)
    if path.is_dir():
        found, nothing = _in_folder(path), "the folder holds no file"
    elif os.path.lexists(path):
        found, nothing = [Source(path, path.name)], ""
    elif glob.has_magic(str(given)):
        found, nothing = _in_pattern(str(given)), "nothing matches the pattern"
    else:
        found, nothing = [], "no such file or folder"
    if not found:
        raise FileNotFoundError(nothing)
    return found


def _in_folder(folder: Path) -> list[Source]:
    name = os.path.basename(os.path.abspath(folder))
    paths = sorted(_walk(folder), key=lambda path: path.parts)
    return [Source(path, (Path(name) / path.relative_to(folder)).as_posix()) for path in paths]


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(place, name)
            # A broken link is kept: it is reported when it is read. A pipe would block there.
            if not name.startswith(".") and (path.is_file() or path.is_symlink()):
                yield path


def _raise(error: OSError) -> None:
    raise error


def _in_pattern(pattern: str) -> list[Source]:
    found: list[Source] = []
    for match in sorted(glob.glob(pattern, recursive=True)):
        if os.path.isfile(match):
            found.append(Source(Path(match), os.path.basename(match)))
        # "**" has already listed what is in the folder.
        elif os.path.isdir(match) and "**" not in pattern:
            found.extend(_in_folder(Path(match)))
    return found


def _reason(error: OSError) -> str:
    """What the system says, in words and without its number."""
    if error.strerror is None:
        return str(error)
    return error.strerror[:1].lower() + error.strerror[1:]


def _with_unique_ids(sources: list[Source]) -> list[Source]:
    count = Counter(source.id for source in sources)
    while len(count) < len(sources):
        sources = [
            replace(source, id=_lengthened(source)) if count[source.id] > 1 else source
            for source in sources
        ]
        count = Counter(source.id for source in sources)
    return sources


def _lengthened(source: Source) -> str:
    """Id with one more of the path's folders in front; whole paths are unique."""
    parts = Path(os.path.abspath(source.path)).parts
    return Path(*parts[-len(Path(source.id).parts) - 1 :]).as_posix()
