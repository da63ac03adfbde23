"""Read the curves of a block; what cannot be read becomes a row that says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpusaxs.archive.fingerprints import Fingerprints, ReadFile
from gpusaxs.archive.plan import Block, ListedFile, Unit
from gpusaxs.errors import ReadError
from gpusaxs.io import read
from gpusaxs.sample import Sample
from gpusaxs.tables import Unread


@dataclass(frozen=True, slots=True)
class CurvesRead:
    """The curves of a block, in order.

    Parameters
    ----------
    entries
        A sample a curve; where there is none, what was in its way.
    files
        Those that were read to their end.
    """

    block: Block
    entries: list[Sample | Unread]
    files: list[ReadFile]


class BlockReader:
    """Reads blocks of files, from any thread.

    Parameters
    ----------
    files
        The listing that the blocks were planned from.
    q_unit
        Unit of q in all files; None takes what each file says.
    fingerprints
        Notes what each file held.
    """

    def __init__(
        self, files: Sequence[ListedFile], q_unit: str | None, fingerprints: Fingerprints
    ) -> None:
        self._files = files
        self._q_unit = q_unit
        self._fingerprints = fingerprints

    def __call__(self, block: Block) -> CurvesRead:
        """Read a block."""
        fingerprints = self._fingerprints
        entries: list[Sample | Unread] = []
        ended: list[ReadFile] = []
        for unit in block.units:
            whole = None if unit.frames or unit.problem else fingerprints.read_small(unit.file)
            if whole is not None:
                content, read = whole
                entries += read_frames(self._files[unit.file], self._q_unit, None, content)
                ended.append(read)
                continue
            if unit.begins:
                fingerprints.begin(unit.file)
            entries += read_unit(self._files, unit, self._q_unit)
            if unit.ends:
                ended.append(fingerprints.end(unit.file))
        return CurvesRead(block, entries, ended)


def read_unit(
    files: Sequence[ListedFile], unit: Unit, q_unit: str | None
) -> Sequence[Sample | Unread]:
    """Read what a block takes from one file."""
    file = files[unit.file]
    if unit.problem:
        return [Unread(file.id, file.path, 0, unit.problem)]
    return read_frames(file, q_unit, unit.frames)


def read_frames(
    file: ListedFile, q_unit: str | None, frames: range | None, content: bytes | None = None
) -> Sequence[Sample | Unread]:
    """Read frames of a file; where a part of them is damaged, the others all the same."""
    try:
        return read(file.source, q_unit, frames, content)
    except ReadError as error:
        if frames is None:
            return [Unread(file.id, file.path, 0, str(error))]
        if len(frames) == 1:
            return [Unread(f"{file.id}#{frames[0]}", file.path, frames[0], str(error))]
    half = len(frames) // 2
    return [
        *read_frames(file, q_unit, frames[:half]),
        *read_frames(file, q_unit, frames[half:]),
    ]
