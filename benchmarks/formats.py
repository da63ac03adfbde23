"""Speed of reading and converting: ``python -m benchmarks.formats [--curves N] [--files N]``."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import h5py
import numpy as np

from benchmarks.archive import make_texts, peak_of_this_process
from benchmarks.curves import seven_line_curves
from gpusaxs.archive.convert import convert
from gpusaxs.io import discover, read
from gpusaxs.io.nxcansas_writer import Compression, write_stack

SLICE = 1000
"""Frames of a stack that are read at once."""

ROUNDS = 3
_DIFFERENT = 200
_COMPRESSIONS: tuple[Compression | None, ...] = (None, "bitshuffle", "gzip")


@dataclass(frozen=True)
class StackSpeed:
    """A stack read by gpusaxs, and by h5py alone, in bytes of float64 a second.

    Attributes
    ----------
    frames
        How many are read at once.
    """

    compression: str
    frames: int
    gpusaxs: float
    h5py: float

    @property
    def share(self) -> float:
        """Speed of gpusaxs over that of h5py alone."""
        return self.gpusaxs / self.h5py

    def __str__(self) -> str:
        return (
            f"{self.compression}, {self.frames:,} frames at once: {self.gpusaxs / 1e6:,.0f} MB/s, "
            f"{100 * self.share:.0f} % of h5py's {self.h5py / 1e6:,.0f}"
        )


@dataclass(frozen=True)
class FormatsReport:
    """How fast files are read and converted.

    Attributes
    ----------
    files_a_minute
        Text files of 1,000 rows and three columns, read in a process a core.
    single
        Files a second of one curve of 1,000 points, by format, in one process.
    convert_rate
        Text files a second that `convert` makes a stack of.
    convert_peaks
        Its peak memory in bytes for a quarter of the files, and for all.
    """

    files: int
    files_a_minute: float
    single: dict[str, float] = field(default_factory=dict)
    stacks: list[StackSpeed] = field(default_factory=list)
    convert_rate: float = 0.0
    convert_peaks: tuple[float, float] = (0.0, 0.0)

    def lines(self) -> list[str]:
        """Return the report as paragraphs of a page."""
        single = ", ".join(f"{name} {rate:,.0f}" for name, rate in self.single.items())
        less, more = (peak / 2**20 for peak in self.convert_peaks)
        return [
            f"{self.files:,} text files of 1,000 rows: **{self.files_a_minute:,.0f} a minute** "
            f"in {os.cpu_count()} processes.",
            f"Files of one curve of 1,000 points in one process, a second: {single}.",
            "NXcanSAS stacks as float64, samples made of them included:",
            "\n".join(f"- {one}" for one in self.stacks),
            f"`convert` of the text files into one stack: {self.convert_rate:,.0f} files a second, "
            f"peak memory {more:,.0f} MiB, with a quarter of the files {less:,.0f} MiB.",
        ]


def text_rate(folder: Path, processes: int) -> float:
    """Text files a second, read in several processes."""
    sources = discover([folder])
    parts = [sources[first::processes] for first in range(processes)]
    with ProcessPoolExecutor(processes) as pool:
        list(pool.map(_read_all, [part[:1] for part in parts]))
        began = time.perf_counter()
        counts = list(pool.map(_read_all, parts))
    return sum(counts) / (time.perf_counter() - began)


def _read_all(sources: list[Path]) -> int:
    return sum(len(read(source)) for source in sources)


def single_rates(folder: Path) -> dict[str, float]:
    """Files a second of one curve, by format."""
    drawn = seven_line_curves(1, 1)
    columns = drawn.q, drawn.intensity[0], drawn.sigma[0]
    rates = {}
    for name, write in _WRITERS.items():
        path = folder / name
        write(path, *columns)
        assert len(read(path)) == 1
        rates[name] = 1.0 / _best(lambda path=path: _read_fresh(path), repeat=20)
    return rates


def _read_fresh(path: Path) -> None:
    """Read a file as one that was never read before."""
    os.utime(path)
    read(path)


def _npz(path: Path, q: np.ndarray, intensity: np.ndarray, sigma: np.ndarray) -> None:
    with path.open("wb") as file:
        np.savez(file, q=q, intensity=intensity, sigma=sigma)


def _pdh(path: Path, *columns: np.ndarray) -> None:
    rows = "".join(
        "".join(f"{cell:15.6E}" for cell in row) + "\n" for row in zip(*columns, strict=True)
    )
    counts = f"{len(columns[0]):9d}" + 7 * f"{0:10d}"
    numbers = "".join(f"{value:15.6E}" for value in (0.0, 261.2, 0.0, 1.0, 0.1542))
    path.write_text(f"a curve\nSAXS BOX\n{counts}\n{numbers}\n{numbers}\n{rows}")


def _xml(path: Path, *columns: np.ndarray) -> None:
    rows = "".join(
        f'<Idata><Q unit="1/nm">{q:.6e}</Q><I unit="1/cm">{i:.6e}</I>'
        f'<Idev unit="1/cm">{s:.6e}</Idev></Idata>\n'
        for q, i, s in zip(*columns, strict=True)
    )
    path.write_text(
        '<?xml version="1.0"?>\n<SASroot version="1.1" xmlns="urn:cansas1d:1.1"><SASentry>'
        f"<Title>a curve</Title><Run/><SASdata>{rows}</SASdata></SASentry></SASroot>\n"
    )


_WRITERS: dict[str, Callable[..., None]] = {
    "text": lambda path, *columns: np.savetxt(path, np.column_stack(columns), "%.6e"),
    "pdh": _pdh,
    "cansas_xml": _xml,
    "npz": _npz,
    "nxcansas": lambda path, q, i, s: write_stack(path, q, i[None], s[None], title="a curve"),
}


def stack_speeds(folder: Path, curves: int) -> list[StackSpeed]:
    """Speed of reading stacks, beside h5py alone."""
    drawn = seven_line_curves(curves, _DIFFERENT)
    values = 2 * drawn.intensity.nbytes
    speeds = []
    for compression in _COMPRESSIONS:
        path = folder / f"{compression}.h5"
        write_stack(
            path, drawn.q, drawn.intensity, drawn.sigma, title="stack", compression=compression
        )
        for frames in dict.fromkeys((SLICE, curves)):
            slices = [range(k, min(k + frames, curves)) for k in range(0, curves, frames)]
            ours = values / _best(lambda path=path, slices=slices: _read_stack(path, slices))
            alone = values / _best(lambda path=path, slices=slices: _read_h5py(path, slices))
            speeds.append(StackSpeed(compression or "plain", frames, ours, alone))
    return speeds


def _read_stack(path: Path, slices: list[range]) -> None:
    for frames in slices:
        assert len(read(path, frames=frames)) == len(frames)


def _read_h5py(path: Path, slices: list[range]) -> None:
    with h5py.File(path) as file:
        data = file["sasentry/sasdata"]
        for frames in slices:
            # Let go before the next slice, as that of gpusaxs is.
            rows = [data[name][frames.start : frames.stop] for name in ("I", "Idev")]
            assert len(rows[0]) == len(frames)
            del rows


def _best(work: Callable[[], object], repeat: int = 1) -> float:
    """Seconds of one call, the best of some rounds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(repeat):
            work()
        times.append((time.perf_counter() - began) / repeat)
    return min(times)


def of_convert(folder: Path) -> dict[str, float]:
    """Seconds and peak memory of `convert`, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.formats", "--convert", str(folder)]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, float] = json.loads(ended.stdout)
    return measured


def _convert_here(folder: Path) -> dict[str, float]:
    began = time.perf_counter()
    convert([folder], folder.parent / f"{folder.name}.h5", overwrite=True)
    return {
        "seconds": time.perf_counter() - began,
        "peak": peak_of_this_process(),
    }


def measure_formats(curves: int, files: int) -> FormatsReport:
    """Measure reading and converting."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_texts(folder / "texts", files)
        make_texts(folder / "quarter", max(1, files // 4))
        rate = max(text_rate(folder / "texts", os.cpu_count() or 1) for _ in range(ROUNDS))
        less, more = (of_convert(folder / name) for name in ("quarter", "texts"))
        return FormatsReport(
            files,
            60.0 * rate,
            single_rates(folder),
            stack_speeds(folder, curves),
            files / more["seconds"],
            (less["peak"], more["peak"]),
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.formats", description=__doc__)
    parser.add_argument("--curves", type=int, default=20_000, help="curves of the stacks")
    parser.add_argument("--files", type=int, default=20_000, help="text files")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--convert", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.convert:
        print(json.dumps(_convert_here(asked.convert)))
        return
    report = measure_formats(asked.curves, asked.files)
    print("\n\n".join(report.lines()))
    if asked.json:
        asked.json.write_text(json.dumps(asdict(report), indent=2) + "\n")


if __name__ == "__main__":
    main()
