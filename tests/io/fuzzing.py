"""Damaged files for every reader: each must end in curves or in a ReadError, soon and in little.

As a script: ``python tests/io/fuzzing.py --reader text --cases 100000 --seed 1 [--save FOLDER]``.
The cases run in a child process with limits of memory and time, so that what crashes or hangs is
found and counted too; the same number and seed give the same file. It exits with 1 on a finding.

HDF5's library itself can crash where bytes of a file are changed: such crashes are counted apart
and are no findings. Without these cases (``--no-flips``) they are.
"""

from __future__ import annotations

import argparse
import ast
import mmap
import os
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fuzzing_mutations import case, holds_hdf5
from fuzzing_seeds import Seed, seeds

from gpusaxs.errors import LONGEST_REASON, ReadError
from gpusaxs.io import extent, read
from gpusaxs.io.curves import Extent
from gpusaxs.io.recognise import CurveReader, StackReader, readers
from gpusaxs.metadata import FIELDS, LONGEST_TEXT
from gpusaxs.sample import Sample

LONGEST_S = 1.0
"""Processor time that a file of these sizes may take."""

MOST_MEMORY = 2**30
"""Bytes of addresses that a case may add to those of the process."""

LARGEST_MEASURED = 40_000
_HANGS_S = 5.0
_HANDED_OVER = 50
_DATA_OF_A_READER = re.compile(r"""'[^']*'|"[^"]*"|\d[\d.,e+-]*|\([^)]*\)""")


class BrokenRuleError(AssertionError):
    """What a reader gave back is not what it promises."""


@dataclass(slots=True)
class Tally:
    """What became of some cases."""

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: dict[str, str] = field(default_factory=dict)
    found: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    slowest: str = ""

    def add(self, outcome: str, name: str, seconds: float) -> None:
        """Count a case."""
        self.cases += 1
        self.outcomes[outcome] += 1
        if seconds > self.slowest_s:
            self.slowest_s, self.slowest = seconds, name

    def find(self, kind: str, text: str) -> None:
        """Count a finding; the first of its kind is kept."""
        self.found[kind] += 1
        self.findings.setdefault(kind, text)


def described(sample: Sample) -> tuple[object, ...]:
    """All that tells a curve from another."""
    arrays = (sample.q, sample.intensity, sample.sigma)
    bits = [None if values is None else values.tobytes() for values in arrays]
    # A NaN among the metadata would not be equal to itself.
    return sample.id, repr(sample.origin), sample.status, *bits


def check_sample(sample: Sample) -> None:
    """Refuse a curve that the rest of the package could not work with."""
    arrays = [sample.q, sample.intensity]
    arrays += [] if sample.sigma is None else [sample.sigma]
    for values in arrays:
        if not (isinstance(values, np.ndarray) and values.dtype == np.float64):
            raise BrokenRuleError(f"not float64: {getattr(values, 'dtype', type(values))}")
        if values.ndim != 1 or values.shape != sample.q.shape or values.size == 0:
            raise BrokenRuleError(f"shapes {[array.shape for array in arrays]}")
    for name, value in sample.origin.metadata.items():
        if FIELDS[name].is_text:
            fits = isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT
        else:
            fits = isinstance(value, float) and np.isfinite(value)
        if not fits:
            raise BrokenRuleError(f"metadata {name}: {value!r:.100}")
        # Tables and archives hold text as UTF-8.
        str(value).encode()


def check_case(path: Path, *, in_parts: bool = True) -> str:
    """Read a file as a whole, in part and its extent; return what became of it.

    Any exception but ReadError is passed on.
    """
    try:
        whole = read(path)
        outcome = "curves"
    except ReadError as error:
        whole, outcome = [], sentence(error)
        if len(str(error)) > LONGEST_REASON:
            raise BrokenRuleError(f"a reason of {len(str(error))} characters: {outcome}") from error
    else:
        if not whole:
            raise BrokenRuleError("no curve and no reason")
        for sample in whole:
            check_sample(sample)
    if in_parts:
        _check_parts(path, whole)
    return outcome


def _check_parts(path: Path, whole: Sequence[Sample]) -> None:
    """Compare the extent of a file and its first curve with the whole; empty if that failed."""
    try:
        held: Extent | None = extent(path)
    except ReadError:
        held = None
    if held is not None and min(held.curves, held.points, held.together) < 1:
        raise BrokenRuleError(f"{held}")
    if whole and (held is None or held.curves != len(whole)):
        raise BrokenRuleError(f"{len(whole)} curves, but {held}")
    try:
        first = read(path, frames=range(0, 1))
    except ReadError as error:
        if whole:
            raise BrokenRuleError(f"a slice says: {sentence(error)}") from error
    else:
        if len(first) != 1:
            raise BrokenRuleError(f"{len(first)} curves in a slice of one")
        check_sample(first[0])
        if whole and described(first[0]) != described(whole[0]):
            raise BrokenRuleError("a slice differs from the whole")


def sentence(error: ReadError) -> str:
    """Reason without what is particular to a file."""
    reason = re.sub(r"^member '.*?' (?=\w)", "member ", str(error), flags=re.DOTALL)
    return _DATA_OF_A_READER.sub("_", reason)[:70].strip()


def damaged_file(
    reader: CurveReader | StackReader, files: Sequence[Seed], seed: int, number: int, flips: bool
) -> tuple[str, bytes]:
    """Name of the seed and content of a case: the same for the same numbers."""
    rng = random.Random(f"{reader.NAME} {seed} {number}")
    with warnings.catch_warnings():
        # Those of NumPy and zipfile while the file is made are not the reader's.
        warnings.simplefilter("ignore")
        return case(files, rng, flips=flips)


def run_case(
    folder: Path, number: int, name: str, content: bytes, tally: Tally, *, in_parts: bool = True
) -> str | None:
    """Run one case, return the kind of its finding."""
    # A name of its own, because readers keep what they know of a file by its name.
    path = folder / f"case{number}"
    path.write_bytes(content)
    begin = time.process_time()
    kind = None
    try:
        # Not as errors: a reader that takes these for damages would hide them.
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            outcome = check_case(path, in_parts=in_parts)
        if given:
            kind = outcome = _warned(given[0])
            tally.find(kind, f"case {number} of {name!r}: {given[0]}")
    except Exception as error:  # noqa: BLE001
        kind = outcome = _where(error)
        tally.find(kind, f"case {number} of {name!r}\n{traceback.format_exc()}")
    finally:
        path.unlink()
    seconds = time.process_time() - begin
    if seconds > LONGEST_S and kind is None:
        kind = f"takes {seconds:.1f} s"
        tally.find("takes too long", f"case {number} of {name!r}: {kind}")
    tally.add(outcome, f"case {number} of {name!r}", seconds)
    return kind


def _warned(given: warnings.WarningMessage) -> str:
    """Kind of a warning."""
    words = _DATA_OF_A_READER.sub("_", str(given.message))[:60]
    return f"{given.category.__name__} at {Path(given.filename).name}:{given.lineno}: {words}"


def _where(error: BaseException) -> str:
    """Kind of an unexpected exception, and the line of this package that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "gpusaxs" in frame.filename] or frames[-1:]
    place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    words = _DATA_OF_A_READER.sub("_", str(error))[:60]
    return f"{type(error).__name__} at {place}: {words}"


def run_cases(
    reader: CurveReader | StackReader,
    folder: Path,
    numbers: range,
    seed: int = 1,
    *,
    flips: bool = False,
    largest: int = 0,
    parts_of_every: int = 1,
) -> Tally:
    """Run cases in this process: those of HDF5 without changes of bytes, which could end it.

    Parameters
    ----------
    largest
        Bytes up to which measured files are seeds too.
    parts_of_every
        Every how many cases are not only read as wholes.
    """
    files, tally = seeds(reader, largest), Tally()
    for number in numbers:
        name, content = damaged_file(reader, files, seed, number, flips)
        in_parts = number % parts_of_every == 0
        run_case(folder, number, name, content, tally, in_parts=in_parts)
    return tally


# The script: cases in a child process


class _Progress:
    """Number of the case that a child works on, and when it began it, in shared memory."""

    _FORM = struct.Struct("<qd")

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    def set(self, number: int) -> None:
        self._memory[: self._FORM.size] = self._FORM.pack(number, time.monotonic())

    def get(self) -> tuple[int, float]:
        number, begun = self._FORM.unpack(self._memory[: self._FORM.size])
        return number, begun


@dataclass(slots=True)
class _Report:
    """What all children of a script found."""

    tally: Tally = field(default_factory=Tally)
    library_crashes: int = 0
    library_hangs: int = 0
    peak_kib: int = 0


def _limit_memory() -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        held = int(file.read().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (held + MOST_MEMORY, held + MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _child(arguments: argparse.Namespace, first: int, progress: _Progress, folder: Path) -> None:
    """Run cases from a number on; leave what became of them in a file."""
    reader = reader_named(arguments.reader)
    files, tally = seeds(reader, LARGEST_MEASURED), Tally()
    known: set[str | None] = set()
    _limit_memory()
    for number in range(first, arguments.cases):
        progress.set(number)
        name, content = damaged_file(reader, files, arguments.seed, number, arguments.flips)
        if arguments.only is None or number == arguments.only:
            kind = run_case(folder, number, name, content, tally)
            if arguments.only is not None or (kind and kind not in known):
                _save(arguments, number, content)
                known.add(kind)
            if kind or tally.cases == _HANDED_OVER:
                _hand_over(tally, folder)
                tally = Tally()
    progress.set(arguments.cases)
    _hand_over(tally, folder)


def _hand_over(tally: Tally, folder: Path) -> None:
    """Append what was found since the last time to the parent's list."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with (folder / "tallies").open("a", encoding="utf-8") as file:
        parts = (tally.cases, dict(tally.outcomes), tally.findings, dict(tally.found),
                 tally.slowest_s, tally.slowest, peak)  # fmt: skip
        file.write(f"{parts!r}\n")


def _collected(folder: Path, report: _Report) -> None:
    """Take over what a child handed over."""
    path = folder / "tallies"
    if not path.exists():
        return
    tally = report.tally
    for line in path.read_text(encoding="utf-8").splitlines():
        cases, outcomes, findings, found, seconds, slowest, peak = ast.literal_eval(line)
        tally.cases += cases
        tally.outcomes.update(outcomes)
        tally.found.update(found)
        tally.findings = {**findings, **tally.findings}
        if seconds > tally.slowest_s:
            tally.slowest_s, tally.slowest = seconds, slowest
        report.peak_kib = max(report.peak_kib, peak)
    path.unlink()


def _save(arguments: argparse.Namespace, number: int, content: bytes) -> None:
    if arguments.save is not None:
        name = f"{arguments.reader}-{arguments.seed}-{number}"
        (arguments.save / name).write_bytes(content)


def reader_named(name: str) -> CurveReader | StackReader:
    """Return the reader of that name."""
    return {reader.NAME: reader for reader in readers()}[name]


def run_script(arguments: argparse.Namespace, folder: Path) -> _Report:
    """Run all cases in children, one after another where one ends before its time."""
    report, progress = _Report(), _Progress()
    reader = reader_named(arguments.reader)
    files = seeds(reader, LARGEST_MEASURED)
    first = arguments.first if arguments.only is None else arguments.only
    arguments.cases = arguments.cases if arguments.only is None else arguments.only + 1
    while first < arguments.cases:
        progress.set(first)
        ended = _ended(arguments, first, progress, folder)
        _collected(folder, report)
        number, _ = progress.get()
        first = number + 1
        if ended is None:
            continue
        name, content = damaged_file(reader, files, arguments.seed, number, arguments.flips)
        shown = f"case {number} of {name!r}: {ended}"
        if arguments.flips and holds_hdf5(content):
            report.library_hangs += ended == "hangs"
            report.library_crashes += ended != "hangs"
            report.tally.add(f"HDF5's library {ended}", shown, 0.0)
        else:
            report.tally.add(ended, shown, 0.0)
            report.tally.find(ended, shown)
        _save(arguments, number, content)
    return report


def _ended(
    arguments: argparse.Namespace, first: int, progress: _Progress, folder: Path
) -> str | None:
    """Run a child; return how it ended where that was before its time."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 2) if arguments.quiet else None
            _child(arguments, first, progress, folder)
            code = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(code)
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            if os.WIFSIGNALED(status):
                return f"crashes with {signal.Signals(os.WTERMSIG(status)).name}"
            return None if os.WEXITSTATUS(status) == 0 else "ends the process"
        if time.monotonic() - progress.get()[1] > _HANGS_S:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hangs"
        time.sleep(0.005)


def summary(arguments: argparse.Namespace, report: _Report, seconds: float) -> str:
    """What a person wants to know of a run."""
    tally = report.tally
    lines = [f"{arguments.reader}: {tally.cases:,} cases in {seconds:.0f} s, "
             f"{tally.cases / seconds:,.0f} a second; seed {arguments.seed}"]  # fmt: skip
    lines += [f"{count:9,} {outcome}" for outcome, count in tally.outcomes.most_common(60)]
    lines.append(f"slowest: {tally.slowest_s:.2f} s, {tally.slowest}")
    lines.append(f"largest resident memory: {report.peak_kib >> 10} MiB")
    if report.library_crashes or report.library_hangs:
        lines.append(f"HDF5's library: {report.library_crashes} crashes, "
                     f"{report.library_hangs} hangs")  # fmt: skip
    for kind, count in tally.found.most_common():
        lines.append(f"\nFINDING, {count} times: {kind}\n{tally.findings[kind]}")
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--reader", choices=[reader.NAME for reader in readers()], required=True)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="run the one case of this number")
    parser.add_argument("--save", type=Path, help="folder for the first file of each finding")
    parser.add_argument("--quiet", action="store_true", help="leave out what the library prints")
    parser.add_argument("--no-flips", dest="flips", action="store_false",
                        help="change no bytes of HDF5 files")  # fmt: skip
    arguments = parser.parse_args(words)
    if arguments.save is not None:
        arguments.save.mkdir(parents=True, exist_ok=True)
    fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else environment.get("TMPDIR")
    folder = Path(tempfile.mkdtemp(prefix="gpusaxs-fuzzing-", dir=fast))
    tempfile.tempdir = str(folder)
    try:
        begin = time.monotonic()
        report = run_script(arguments, folder)
        sys.stdout.write(summary(arguments, report, max(time.monotonic() - begin, 1e-9)))
    finally:
        shutil.rmtree(folder)
    return 1 if report.tally.found else 0


if __name__ == "__main__":
    sys.exit(main())
