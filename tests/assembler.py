"""What NVIDIA's assembler says of a compiled kernel: registers, stack, spills."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_FUNCTION = re.compile(
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
)
_REGISTERS = re.compile(r"Used (\d+) registers")
_WITH_CALLS = re.compile(r"(\d+) bytes cumulative stack size")


class AssemblerMissingError(Exception):
    """There is no assembler that reads the compiler's output; the message says why."""


@dataclass(frozen=True)
class Resources:
    """What one thread of a kernel takes.

    Attributes
    ----------
    registers
        Of 32 bits; a GPU has 65,536 a multiprocessor.
    stack
        Bytes of local memory, those of called functions and spills included.
    spill_stores, spill_loads
        Bytes that are moved because registers do not suffice, each instruction counted once.
    """

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int


def find_assembler() -> str:
    """Return the path of ptxas.

    Raises
    ------
    AssemblerMissingError
        If it is not installed.
    """
    try:
        from cuda.pathfinder import find_nvidia_binary_utility
    except ImportError as error:
        raise AssemblerMissingError(f"cuda-pathfinder is missing: {error}") from error
    found = find_nvidia_binary_utility("ptxas")
    if found is None:
        raise AssemblerMissingError("ptxas is not installed (pip install 'cuda-toolkit[nvcc]')")
    return found


def assemble(assembler: str, ptx: str, capability: tuple[int, int]) -> Resources:
    """Assemble a kernel for a GPU and return what the report says of it.

    Raises
    ------
    AssemblerMissingError
        If the assembler is older than the compiler.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx, "utf-8")
        done = subprocess.run(
            [
                assembler,
                "--verbose",
                f"--gpu-name=sm_{capability[0]}{capability[1]}",
                f"--output-file={source.with_suffix('.cubin')}",
                str(source),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    if "Unsupported .version" in done.stderr:
        raise AssemblerMissingError(f"{assembler} is older than the compiler: {done.stderr}")
    if done.returncode:
        raise RuntimeError(f"ptxas cannot assemble the kernel: {done.stderr}")
    return resources(done.stderr)


def resources(report: str) -> Resources:
    """Read what ``ptxas --verbose`` says of a kernel and of the functions that it calls."""
    frames, stores, loads = zip(*(map(int, one) for one in _FUNCTION.findall(report)), strict=True)
    [registers] = map(int, _REGISTERS.findall(report))
    stack = max([*frames, *map(int, _WITH_CALLS.findall(report))])
    return Resources(registers, stack, sum(stores), sum(loads))
