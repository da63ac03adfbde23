"""From what a user names to the files that are read, and from a file to its curves."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gpusaxs.errors import ReadError
from gpusaxs.io.recognise import reader_for
from gpusaxs.sample import Sample
from gpusaxs.units import check_q_unit


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


def read(source: Source | str | Path, q_unit: str | None = None) -> list[Sample]:
    """Curves of a file, with q in 1/nm and all values as they stand in the file.

    Parameters
    ----------
    source
        A source from `discover`, or a path.
    q_unit
        ``"1/nm"`` or ``"1/angstrom"`` where the caller knows better than the file.

    Raises
    ------
    ReadError
        If the file holds no curve; the message says what it holds instead.
    ValueError
        If ``q_unit`` is not a unit of q.
    """
    if not isinstance(source, Source):
        source = Source(Path(source), Path(source).name)
    unit = None if q_unit is None else check_q_unit(q_unit)
    try:
        return reader_for(source.path).read(source.path, source.id, unit)
    except OSError as error:
        raise ReadError(f"cannot be opened: {_reason(error)}") from error


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
