"""The run directory: `run.json`, the list of inputs, and Parquet parts, one a block.

While a run is at work, `journal.jsonl` says which blocks are complete; `run.json` takes that over
at the end. Nothing is in its place before it is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from gpusaxs.archive.fingerprints import ReadFile
from gpusaxs.archive.plan import ListedFile, Position
from gpusaxs.archive.stored_curves import CURVES
from gpusaxs.errors import RunDirectoryError
from gpusaxs.tables import PEAKS, PHASE_ROWS, SAMPLES, number_field

if TYPE_CHECKING:
    from gpusaxs.archive.companion import Companion

DESCRIPTION = "run.json"
JOURNAL = "journal.jsonl"
INPUTS = "inputs.parquet"
METADATA = "metadata.parquet"

SCHEMAS = {"samples": SAMPLES, "peaks": PEAKS, "phases": PHASE_ROWS, "curves": CURVES}

INPUT_FILES = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("size", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("sha256", pa.string()),
        ("changed", pa.bool_()),
    ]
)
"""One row an input file, in order, as it was when the run began: size in bytes, time of its last
change. sha256 is that of what was read, "" where it cannot be opened; changed says that the file
was not what it had been by then. Null where the file was not read."""

Json = dict[str, Any]

# What run.json says of how a run ended.
_OUTCOME = ("reason", "blocks", "inputs_sha256", "seconds")


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """A block whose parts are in place.

    Parameters
    ----------
    block
        Its number, and that of its parts.
    start, stop
        Its first curve in the list of inputs, and the one behind its last.
    curves
        Rows of its part of `samples`.
    share
        Bytes of the input files that it stands for.
    verdicts
        Its curves by verdict.
    parts
        SHA-256 of each part by the name of its table.
    files
        Input files of which it holds the last curve.
    """

    block: int
    start: Position
    stop: Position
    curves: int
    share: int
    verdicts: dict[str, int]
    parts: dict[str, str]
    files: list[ReadFile] = field(default_factory=list)

    @property
    def file_numbers(self) -> range:
        """Numbers of the input files of which it holds curves."""
        return range(self.start.file, self.stop.file + (1 if self.stop.frame else 0))

    @property
    def place(self) -> tuple[Position, Position, int]:
        """What a `Planner` has to know of a block that is done."""
        return self.start, self.stop, self.curves

    @classmethod
    def from_json(cls, given: Json) -> BlockRecord:
        """Read what `asdict` gives."""
        return cls(
            **given
            | {
                "start": Position(*given["start"]),
                "stop": Position(*given["stop"]),
                "files": [ReadFile(**file) for file in given.get("files", [])],
            }
        )


def part_path(path: Path, table: str, block: int) -> Path:
    """Where the part of a block is."""
    return path / table / f"part-{block:06d}.parquet"


def encoded(rows: pa.Table) -> pa.Buffer:
    """Return a table as Parquet; equal rows give equal bytes, whatever batch they come from."""
    rows = _with_own_words(rows)
    words = [
        column.name
        for column in rows.schema
        if pa.types.is_dictionary(column.type) or pa.types.is_string(column.type)
    ]
    sink = pa.BufferOutputStream()
    # Measured numbers do not repeat: a dictionary of them costs time and saves nothing.
    pq.write_table(rows, sink, compression="zstd", use_dictionary=words)
    return sink.getvalue()


def _with_own_words(rows: pa.Table) -> pa.Table:
    """Let dictionaries have the words that are used, in the order in which they first are."""
    for place, column in enumerate(rows.schema):
        if pa.types.is_dictionary(column.type):
            words = rows[column.name].cast(column.type.value_type).combine_chunks()
            rows = rows.set_column(place, column, words.dictionary_encode())
    return rows


def part_hashes(parts: Mapping[str, pa.Buffer]) -> dict[str, str]:
    """Return the SHA-256 of encoded parts by the names of their tables."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}


class RunWriter:
    """Writes a run directory; a block is there whole or not at all.

    One process at a time holds a run. Make one with `create` or `resume`.

    Attributes
    ----------
    records
        The blocks that are complete, by number.
    files
        The listing of the inputs.
    """

    def __init__(self, path: Path, description: Json, files: Sequence[ListedFile]) -> None:
        self.path = path
        self.files = files
        self.records: dict[int, BlockRecord] = {}
        self._description = description
        self._journal: IO[str] | None = None

    @classmethod
    def create(
        cls,
        path: Path,
        description: Json,
        files: Sequence[ListedFile],
        companion: Companion | None = None,
        *,
        overwrite: bool,
    ) -> RunWriter:
        """Begin a run, and keep the metadata that were given with its files.

        Raises
        ------
        RunDirectoryError
            If something is in the way: a run without `overwrite`, or a folder that is no run; or
            if the folder cannot be made.
        """
        if path.exists():
            _make_way(path, overwrite)
        writer = cls(path, description, files)
        try:
            path.mkdir(parents=True, exist_ok=True)
            writer._hold()
            writer._describe({"state": "running"})
            if companion is not None:
                put(path / METADATA, companion.encoded)
            # The listing comes last: what has one has all that a run begins with.
            put(path / INPUTS, encoded(_inputs_table(files, ())))
        except OSError as error:
            writer.close()
            raise RunDirectoryError(
                f"Cannot make the run directory {path}: {error}. Give --output a place where you "
                "may write."
            ) from error
        except RunDirectoryError:
            writer.close()
            raise
        return writer

    @classmethod
    def resume(cls, path: Path) -> RunWriter:
        """Go on with a run that did not come to its end, after what of it is whole.

        Raises
        ------
        RunDirectoryError
            If there is no run at `path`, or another process is at work on it.
        """
        writer = cls(path, read_description(path), ())
        try:
            writer._hold()
            # Read again: who held it until now may have brought it to its end.
            writer._description = read_description(path)
            writer.files = read_inputs(path) if (path / INPUTS).exists() else ()
            writer._keep_what_is_whole()
        except OSError as error:
            writer.close()
            raise RunDirectoryError(f"Cannot go on with the run {path}: {error}.") from error
        except RunDirectoryError:
            writer.close()
            raise
        return writer

    @staticmethod
    def holds_a_run(path: Path) -> bool:
        """Whether a run was begun at a place, however far it came."""
        return (path / DESCRIPTION).is_file()

    @property
    def complete(self) -> bool:
        """Whether the run has come to its end."""
        return bool(self._description["state"] == "complete")

    @property
    def description(self) -> Json:
        """What `run.json` says."""
        return self._description

    def write(self, record: BlockRecord, parts: Mapping[str, pa.Buffer]) -> None:
        """Put the parts of a block in place, then say that it is complete.

        Raises
        ------
        OSError
            If there is no room, say; the block is not complete then.
        """
        assert self._journal is not None
        for table, content in parts.items():
            target = part_path(self.path, table, record.block)
            target.parent.mkdir(exist_ok=True)
            put(target, content)
        self._journal.write(_line(record))
        self._journal.flush()
        self.records[record.block] = record

    def finish(self, **outcome: Any) -> None:
        """Bring the run to its end: `run.json` takes over the journal."""
        records = [self.records[number] for number in sorted(self.records)]
        inputs = encoded(
            _inputs_table(self.files, (file for record in records for file in record.files))
        )
        put(self.path / INPUTS, inputs)
        blocks = [asdict(record) for record in records]
        for block in blocks:
            del block["files"]
        self._describe(
            {
                "state": "complete",
                "blocks": blocks,
                "inputs_sha256": hashlib.sha256(inputs).hexdigest(),
                **outcome,
            }
        )
        (self.path / JOURNAL).unlink()

    def stop(self, reason: str, **outcome: Any) -> None:
        """Say why the run did not come to its end; `resume` goes on with it."""
        self._describe({"state": "stopped", "reason": reason, **outcome})

    def close(self) -> None:
        """Let other processes have the run."""
        if self._journal is not None:
            # A line that found no room is still in the buffer and fails once more: its block is
            # not complete, which has been said.
            with suppress(OSError):
                self._journal.close()
            self._journal = None

    def _hold(self) -> None:
        self._journal = open(self.path / JOURNAL, "a", encoding="utf-8")  # noqa: SIM115
        _lock(self._journal, self.path)

    def _describe(self, state: Json) -> None:
        self._description = {
            key: value for key, value in self._description.items() if key not in _OUTCOME
        } | state
        text = json.dumps(self._description, indent=2, sort_keys=True) + "\n"
        put(self.path / DESCRIPTION, text.encode())

    def _keep_what_is_whole(self) -> None:
        """Take the blocks whose parts are what was written; forget all else."""
        for aside in [*self.path.glob(".*.part"), *self.path.glob("*/.*.part")]:
            aside.unlink()
        known = read_records_with_files(self.path)
        whole = [record for record in known if not damaged_parts(self.path, record)]
        self.records = {record.block: record for record in whole}
        if self.complete and len(whole) == len(known):
            (self.path / JOURNAL).unlink()
            return
        assert self._journal is not None
        with self._journal:
            # The old journal is held until the new one is.
            put(self.path / JOURNAL, "".join(map(_line, whole)).encode())
            self._hold()
        self._describe({"state": "running"})


def _line(record: BlockRecord) -> str:
    return json.dumps(asdict(record), sort_keys=True) + "\n"


def _with_files(records: list[BlockRecord], inputs: pa.Table) -> list[BlockRecord]:
    """Give back to the blocks of a complete run the files of which each holds the last curve."""
    digests, changed = (inputs[name].to_pylist() for name in ("sha256", "changed"))
    return [
        replace(
            record,
            files=[
                ReadFile(file, digests[file], changed[file])
                for file in range(record.start.file, record.stop.file)
            ],
        )
        for record in records
    ]


def read_description(path: Path) -> Json:
    """Read `run.json`.

    Raises
    ------
    RunDirectoryError
        If the folder is no run directory.
    """
    try:
        found: Json = json.loads((path / DESCRIPTION).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirectoryError(
            f"Expected a run directory with a {DESCRIPTION} at {path}. Got: {error}. "
            "Make one with: gpusaxs process INPUT --output RUN"
        ) from error
    return found


def read_records(path: Path, description: Json) -> list[BlockRecord]:
    """Read which blocks of a run are complete, in order."""
    found = description["blocks"] if description["state"] == "complete" else _journal(path)
    records = {entry["block"]: BlockRecord.from_json(entry) for entry in found}
    return [records[number] for number in sorted(records)]


def read_records_with_files(path: Path) -> list[BlockRecord]:
    """Read which blocks are complete, each with the files of which it holds the last curve."""
    description = read_description(path)
    records = read_records(path, description)
    if description["state"] == "complete":
        return _with_files(records, read_input_table(path))
    return records


def _journal(path: Path) -> list[Json]:
    """Read the journal up to the line that was being written when the run was killed."""
    try:
        lines = (path / JOURNAL).read_text("utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    found: list[Json] = []
    for line in lines[:-1]:
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def read_inputs(path: Path) -> list[ListedFile]:
    """Read the listing of a run's input files.

    Raises
    ------
    RunDirectoryError
        If it is missing or damaged.
    """
    return _listed(read_input_table(path))


def _listed(inputs: pa.Table) -> list[ListedFile]:
    rows = inputs.select(["id", "path", "size", "mtime_ns"]).to_pylist()
    return [ListedFile(**row) for row in rows]


def read_input_table(path: Path) -> pa.Table:
    """Read all that is known of a run's input files: a table of `INPUT_FILES`."""
    description = read_description(path)
    try:
        listed = pq.read_table(path / INPUTS, schema=INPUT_FILES)
    except (OSError, pa.ArrowException) as error:
        raise RunDirectoryError(f"Cannot read the inputs of the run {path}: {error}") from error
    if description["state"] == "complete":
        return listed
    records = read_records(path, description)
    return _inputs_table(_listed(listed), (file for record in records for file in record.files))


def read_table(
    path: Path,
    name: str,
    where: ds.Expression | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Read all parts of a table of a run directory, in order; or the rows that meet `where`.

    Raises
    ------
    RunDirectoryError
        If a part is missing or damaged.
    """
    description = read_description(path)
    blocks = [record.block for record in read_records(path, description)]
    return _read_parts(path, name, blocks, _schema(description, name), where, columns)


def read_part(path: Path, name: str, block: int) -> pa.Table:
    """Read the part of one block; raises as `read_table` does."""
    return _read_parts(path, name, [block], _schema(read_description(path), name))


def _schema(description: Json, name: str) -> pa.Schema:
    """Columns of a table of a run.

    Those of samples depend on its stages, and on what was given with its files.
    """
    schema = SCHEMAS[name]
    if name == "samples":
        for column, number in description.get("numbers", {}).items():
            schema = schema.append(number_field(column, is_text=number["is_text"]))
    known = description.get("metadata")
    if name == "samples" and known is not None:
        for column, kind in known["columns"].items():
            if column not in schema.names:
                own = pa.float64() if kind == "number" else pa.string()
                schema = schema.append(pa.field(column, own))
    return schema


def _read_parts(
    path: Path,
    name: str,
    blocks: Sequence[int],
    schema: pa.Schema,
    where: ds.Expression | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    parts = [part_path(path, name, block) for block in blocks]
    try:
        rows = ds.dataset(parts, schema=schema, format="parquet")
        return rows.to_table(filter=where, columns=None if columns is None else list(columns))
    except (OSError, pa.ArrowException) as error:
        raise RunDirectoryError(f"Cannot read the table {name} of {path}: {error}") from error


def damaged_parts(path: Path, record: BlockRecord) -> list[str]:
    """Return what is wrong with the parts of a block, a sentence each."""
    wrong = []
    for table, known in record.parts.items():
        part = part_path(path, table, record.block)
        try:
            with open(part, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            wrong.append(f"{part}: {error.strerror}")
            continue
        if found != known:
            wrong.append(f"{part}: is not what was written")
    return wrong


def _inputs_table(files: Sequence[ListedFile], read: Iterable[ReadFile]) -> pa.Table:
    known = {file.file: file for file in read}
    place = [known.get(number) for number in range(len(files))]
    columns = {
        **{
            name: [getattr(file, name) for file in files]
            for name in ("id", "path", "size", "mtime_ns")
        },
        "sha256": [None if file is None else file.sha256 for file in place],
        "changed": [None if file is None else file.changed for file in place],
    }
    return pa.Table.from_pydict(columns, schema=INPUT_FILES)


def _lock(journal: IO[str], path: Path) -> None:
    """Hold a run's journal until it is closed, be it by the end of the process."""
    try:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Since it was opened another process may have put a new one in its place, or have brought
        # the run to its end: then this one is nobody's, and holds nothing.
        if os.path.samestat(os.fstat(journal.fileno()), os.stat(path / JOURNAL)):
            return
    except (BlockingIOError, FileNotFoundError):
        pass
    raise RunDirectoryError(
        f"Another process is at work on the run {path}. Wait for it, or stop it."
    )


def put(target: Path, content: bytes | pa.Buffer) -> None:
    """Write a file beside its place and rename it into place."""
    aside = target.with_name(f".{target.name}.part")
    try:
        with open(aside, "wb") as file:
            file.write(content)
        os.replace(aside, target)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def _make_way(path: Path, overwrite: bool) -> None:
    if not path.is_dir():
        raise RunDirectoryError(
            f"{path} exists and is no run directory. Give --output another place."
        )
    held = [entry for entry in path.iterdir() if not _is_of_a_beginning(entry)]
    if not held:
        return
    if not (path / DESCRIPTION).is_file():
        raise RunDirectoryError(
            f"{path} exists and is no run directory. Give --output another place."
        )
    if not overwrite:
        raise RunDirectoryError(
            f"{path} holds a run already. Give --output another place, --resume to go on with it, "
            "or --overwrite to replace it."
        )
    if (path / JOURNAL).exists():
        with open(path / JOURNAL, "a", encoding="utf-8") as journal:
            _lock(journal, path)
    # The description goes last: without it nobody would know that the rest is a run.
    for entry in sorted(held, key=lambda entry: entry.name == DESCRIPTION):
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _is_of_a_beginning(entry: Path) -> bool:
    """Whether a file is all that a run has written that was killed as it began."""
    name = entry.name
    return name == f".{DESCRIPTION}.part" or (name == JOURNAL and entry.stat().st_size == 0)
