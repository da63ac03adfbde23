"""Archives beside arrays in memory: ``python -m benchmarks.archive [--curves N] [--files N]``.

Each measurement is a process of its own, so that its peak of memory is its own; those that are
compared take turns.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import gpusaxs
from benchmarks.curves import Curves, seven_line_curves
from gpusaxs.archive.run import process_archive
from gpusaxs.io.nxcansas_writer import write_stack

_DIFFERENT = 200


@dataclass(frozen=True)
class Measured:
    """One process.

    Attributes
    ----------
    seconds
        From the first curve to the last result, warm.
    peak
        Most memory that the process held, in bytes.
    busy
        Share of the workers' time by what they did, for archives.
    """

    curves: int
    seconds: float
    peak: int
    busy: dict[str, float]


@dataclass(frozen=True)
class ArchiveReport:
    """An archive beside the same curves in memory, and what memory an archive takes.

    Attributes
    ----------
    stack, memory
        The HDF5 stack, and `gpusaxs.process` of the same curves; the best of the rounds.
    smaller_stack
        A quarter of the stack.
    texts, texts_memory
        The folder of text files, and `gpusaxs.process` of their curves.
    """

    stack: Measured
    memory: Measured
    smaller_stack: Measured
    texts: Measured
    texts_memory: Measured

    @property
    def stack_ratio(self) -> float:
        """Time of the stack over that of the same curves in memory."""
        return self.stack.seconds / self.memory.seconds

    @property
    def texts_ratio(self) -> float:
        """Time of the text files over that of the same curves in memory."""
        return self.texts.seconds / self.texts_memory.seconds

    @property
    def growth(self) -> float:
        """Peak memory of the stack over that of a quarter of it."""
        return self.stack.peak / self.smaller_stack.peak

    def document(self) -> dict[str, Any]:
        """Return the report as plain numbers and words."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return the report as paragraphs of a page."""
        return [
            f"An HDF5 stack of {self.stack.curves:,} curves (float32, chunked) from file to run "
            f"directory takes {self.stack.seconds:.1f} s, **{self.stack_ratio:.2f} times** the "
            f"{self.memory.seconds:.1f} s of `gpusaxs.process` for the same curves in memory. "
            f"Time of the workers: {_words(self.stack.busy)}. Peak memory "
            f"{self.stack.peak / 2**20:,.0f} MiB, {self.growth:.2f} times that of a stack of "
            f"{self.smaller_stack.curves:,} curves.",
            f"{self.texts.curves:,} text files of three columns in one folder take "
            f"{self.texts.seconds:.1f} s, **{self.texts_ratio:.2f} times** the "
            f"{self.texts_memory.seconds:.1f} s of the same curves in memory. Time of the "
            f"workers: {_words(self.texts.busy)}.",
        ]


def _words(busy: dict[str, float]) -> str:
    return ", ".join(f"{name} {100.0 * share:.0f} %" for name, share in busy.items())


def make_stack(path: Path, drawn: Curves, curves: int) -> None:
    """Write a chunked float32 stack: some curves, again and again."""
    write_stack(path, drawn.q, drawn.intensity, drawn.sigma, title="archive", dtype=np.float32)
    with h5py.File(path, "r+") as file:
        data = file["sasentry/sasdata"]
        for name in ("I", "Idev"):
            first = data[name]
            attributes = dict(first.attrs)
            rows, chunks = first[...], first.chunks
            del data[name]
            whole = data.create_dataset(
                name, (curves, rows.shape[1]), rows.dtype, chunks=chunks, maxshape=(None, None)
            )
            whole.attrs.update(attributes)
            for begin in range(0, curves, len(rows)):
                whole[begin : begin + len(rows)] = rows[: curves - begin]


def make_texts(folder: Path, files: int) -> None:
    """Write text files of q, intensity and sigma."""
    folder.mkdir()
    drawn = seven_line_curves(min(_DIFFERENT, files))
    texts = []
    for intensity, sigma in zip(drawn.intensity, drawn.sigma, strict=True):
        rows = zip(drawn.q.tolist(), intensity.tolist(), sigma.tolist(), strict=True)
        lines = [f"{q:.6e} {i:.6e} {s:.6e}" for q, i, s in rows]
        texts.append("# q(1/nm) intensity sigma\n" + "\n".join(lines) + "\n")
    for number in range(files):
        (folder / f"curve_{number:06d}.dat").write_text(texts[number % len(texts)], "utf-8")


def of_memory(curves: Curves) -> Measured:
    """Measure `gpusaxs.process`."""

    def work() -> dict[str, float]:
        gpusaxs.process(curves.q, curves.intensity, curves.sigma, q_unit="1/nm", backend="numpy")
        return {}

    return _measured(len(curves), work)


def of_archive(path: Path) -> Measured:
    """Measure `gpusaxs.process_archive`."""
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        summary = process_archive([path], Path(place) / "run", backend="numpy")
        assert summary.all_well, summary
        return _measured(summary.curves, lambda: summary.progress.busy, summary.seconds)


def _measured(
    curves: int, work: Callable[[], dict[str, float]], seconds: float | None = None
) -> Measured:
    began = time.perf_counter()
    busy = work()
    spent = time.perf_counter() - began if seconds is None else seconds
    return Measured(curves, spent, peak_of_this_process(), busy)


def peak_of_this_process() -> int:
    """Return the most memory that this program held, in bytes.

    What getrusage says of a process may be what the one was that started it.
    """
    status = Path("/proc/self/status").read_text("utf-8")
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return 1024 * int(line.split()[1])


def of_stack_in_memory(path: Path) -> Measured:
    """Measure `gpusaxs.process` of the curves of a stack."""
    with h5py.File(path) as file:
        data = file["sasentry/sasdata"]
        return of_memory(
            Curves(data["Q"][...], data["I"][...].astype(float), data["Idev"][...].astype(float))
        )


def of_texts_in_memory(folder: Path) -> Measured:
    """Measure `gpusaxs.process` of the curves of text files."""
    read = [np.loadtxt(path) for path in sorted(folder.iterdir())[:_DIFFERENT]]
    places = np.arange(sum(1 for _ in folder.iterdir())) % len(read)
    columns = np.stack(read)[places]
    return of_memory(Curves(columns[0, :, 0], columns[:, :, 1].copy(), columns[:, :, 2].copy()))


_MEASUREMENTS: dict[str, Callable[[Path], Measured]] = {
    "archive": of_archive,
    "stack in memory": of_stack_in_memory,
    "texts in memory": of_texts_in_memory,
}


def in_process(what: str, path: Path) -> Measured:
    """Measure something in a process of its own: see `_MEASUREMENTS`."""
    command = [sys.executable, "-m", "benchmarks.archive", "--measure", what, str(path)]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Measured(**json.loads(ended.stdout))


def measure_archives(curves: int, files: int, rounds: int) -> ArchiveReport:
    """Measure an HDF5 stack and a folder of texts, each beside the same curves in memory."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        drawn = seven_line_curves(_DIFFERENT, _DIFFERENT)
        make_stack(folder / "stack.h5", drawn, curves)
        make_stack(folder / "quarter.h5", drawn, curves // 4)
        make_texts(folder / "texts", files)

        def turns(*measurements: tuple[str, str]) -> list[Measured]:
            found = [
                [in_process(what, folder / name) for what, name in measurements]
                for _ in range(rounds)
            ]
            return [min(each, key=lambda one: one.seconds) for each in zip(*found, strict=True)]

        stack, memory = turns(("archive", "stack.h5"), ("stack in memory", "stack.h5"))
        texts, texts_memory = turns(("archive", "texts"), ("texts in memory", "texts"))
        smaller = in_process("archive", folder / "quarter.h5")
    return ArchiveReport(stack, memory, smaller, texts, texts_memory)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive", description=__doc__)
    parser.add_argument("--curves", type=int, default=200_000, help="curves of the stack")
    parser.add_argument("--files", type=int, default=20_000, help="text files")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is measured")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "PATH"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        what, path = asked.measure
        few = gpusaxs.simulate(100, seed=1)
        gpusaxs.process(few.q, few.intensity, few.sigma, q_unit="1/nm", backend="numpy")
        print(json.dumps(asdict(_MEASUREMENTS[what](Path(path)))))
        return
    report = measure_archives(asked.curves, asked.files, asked.rounds)
    print("\n\n".join(report.lines()))
    if asked.json:
        asked.json.write_text(json.dumps(report.document(), indent=2) + "\n")


if __name__ == "__main__":
    main()
