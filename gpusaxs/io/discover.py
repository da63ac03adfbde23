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


def _expand(given: str | Path) -> Iterator[Source]:
    path = Path(given)
    if path.is_dir():
        return _in_folder(path)
    if os.path.lexists(path):
        return iter([Source(path, path.name)])
    if glob.has_magic(str(given)):
        return _in_pattern(str(given))
    raise FileNotFoundError("no such file or folder")


def _in_folder(folder: Path) -> Iterator[Source]:
    name = os.path.basename(os.path.abspath(folder))
    paths = sorted(_walk(folder), key=lambda path: path.parts)
    if not paths:
        raise FileNotFoundError("the folder holds no file")
    for path in paths:
        yield Source(path, (Path(name) / path.relative_to(folder)).as_posix())


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


def _in_pattern(pattern: str) -> Iterator[Source]:
    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        raise FileNotFoundError("nothing matches the pattern")
    for match in matches:
        if os.path.isfile(match):
            yield Source(Path(match), os.path.basename(match))
        elif "**" not in pattern:
            yield from _in_folder(Path(match))


def _reason(error: OSError) -> str:
    """What the system says, in words and without its number."""
    if error.strerror is None:
        return str(error)
    return error.strerror[:1].lower() + error.strerror[1:]


def _with_unique_ids(sources: list[Source]) -> list[Source]:
    extra = 0
    while True:
        count = Counter(source.id for source in sources)
        if len(count) == len(sources):
            return sources
        extra += 1
        sources = [
            replace(source, id=_lengthened(source, extra)) if count[source.id] > 1 else source
            for source in sources
        ]


def _lengthened(source: Source, extra: int) -> str:
    """Id with more of the path's folders in front, down to the whole path."""
    parts = Path(os.path.abspath(source.path)).parts
    kept = min(len(Path(source.id).parts) + 1, len(parts))
    longer = Path(*parts[-kept:]).as_posix()
    return longer if longer != source.id else f"{longer}~{extra}"
