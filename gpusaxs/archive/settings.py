"""What a run is told to do, and what differs where it is told something else later."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gpusaxs
from gpusaxs.archive.directory import BlockRecord, RunWriter, read_input_table
from gpusaxs.archive.fingerprints import ReadFile, sha256, stat
from gpusaxs.archive.plan import ListedFile
from gpusaxs.errors import RunDirectoryError
from gpusaxs.pipeline import Pipeline

Json = dict[str, Any]

_SHOWN = 10
_BINDING = (
    "pipeline", "q_unit", "metadata", "backend", "save_curves", "block_size", "limit", "from_run",
    "versions",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of gpusaxs and of what its numbers depend on."""
    packages = ("numpy", "scipy", "numba", "pydantic", "pyarrow", "h5py")
    return {
        "gpusaxs": gpusaxs.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def stage_fingerprints(pipeline: Pipeline) -> dict[str, str | None]:
    """Return what names the code and the parameters of each stage, files that it reads included."""
    return {stage.name: stage.fingerprint() for stage in pipeline.stages}


def described_numbers(pipeline: Pipeline) -> Json:
    """Return what the columns of numbers in the table of samples are, by their names."""
    return {
        f"{stage}.{number.name}": {
            "unit": number.unit,
            "meaning": number.meaning,
            "is_text": bool(number.words),
        }
        for stage, numbers in pipeline.number_columns.items()
        for number in numbers
    }


def check_same(writer: RunWriter, asked: Json, files: Sequence[ListedFile] | None) -> None:
    """Refuse to go on with a run under other settings, or with inputs that have changed.

    Parameters
    ----------
    files
        The inputs as they are now; None where they are not looked at.

    Raises
    ------
    RunDirectoryError
        The message lists what differs.
    """
    differences = [
        *_differences(_binding(writer.description), _binding(asked)),
        *_other_code(writer.description, asked),
        *(() if files is None else _changed_inputs(writer, files)),
    ]
    if differences:
        shown = "\n  ".join(differences[:_SHOWN])
        more = len(differences) - _SHOWN
        raise RunDirectoryError(
            f"The run {writer.path} cannot go on, because what is asked for differs from it:\n"
            f"  {shown}\n"
            + (f"  ... and {more:,} more\n" if more > 0 else "")
            + "Ask for the same, give --output another place, or start anew with --overwrite."
        )


def _binding(description: Json) -> Json:
    return {key: description.get(key) for key in _BINDING}


def _differences(kept: Any, asked: Any, place: str = "") -> Iterator[str]:
    """Yield what differs between two documents, leaf by leaf."""
    if isinstance(kept, Mapping) and isinstance(asked, Mapping):
        for key in sorted({*kept, *asked}):
            inner = f"{place}.{key}" if place else str(key)
            yield from _differences(kept.get(key), asked.get(key), inner)
    elif kept != asked:
        yield f"{place}: {_word(kept)} in the run, {_word(asked)} now"


def _other_code(kept: Json, asked: Json) -> Iterator[str]:
    """Yield the stages that are not what they were though their parameters are."""
    other = [
        name
        for name, fingerprint in kept["stages"].items()
        if fingerprint != asked["stages"].get(name)
        and kept["pipeline"].get(name) == asked["pipeline"].get(name)
    ]
    if other:
        yield f"stages: the code, or a file that is read, is another one for {', '.join(other)}"


def _word(value: Any) -> str:
    return "nothing" if value is None else repr(value)


def _changed_inputs(writer: RunWriter, files: Sequence[ListedFile]) -> Iterator[str]:
    kept = {file.path: (number, file) for number, file in enumerate(writer.files)}
    found = {file.path for file in files}
    for file in files:
        if file.path not in kept:
            yield f"input {file.path}: is new"
    known = {file.file: file for record in writer.records.values() for file in record.files}
    for path, (number, file) in kept.items():
        if path not in found:
            yield f"input {path}: is gone"
        elif has_changed(file, known.get(number)):
            yield f"input {path}: has changed"
    if [file.path for file in files] != list(kept) and found == set(kept):
        yield "inputs: the same files in another order"


def changed_files(
    path: Path, files: Sequence[ListedFile], records: Iterable[BlockRecord]
) -> list[str]:
    """Return the paths of those input files of blocks of a run that are not what they were."""
    needed = sorted({number for record in records for number in record.file_numbers})
    inputs = read_input_table(path)
    columns = (inputs[name].to_pylist() for name in ("path", "sha256", "changed"))
    read = {
        name: ReadFile(number, digest, changed)
        for number, (name, digest, changed) in enumerate(zip(*columns, strict=True))
        if digest is not None
    }
    return [
        files[number].path
        for number in needed
        if has_changed(files[number], read.get(files[number].path))
    ]


def has_changed(file: ListedFile, known: ReadFile | None) -> bool:
    """Whether a file is not what it was: by its size, its time and, where that differs, its hash.

    Parameters
    ----------
    known
        What is known since it was read.
    """
    if known is not None and known.changed:
        return True
    size, mtime_ns = stat(file.path)
    if (size, mtime_ns) == (file.size, file.mtime_ns):
        return False
    return size != file.size or known is None or sha256(file.path) != known.sha256
