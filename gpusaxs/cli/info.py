"""`gpusaxs info`: what is installed here and what can be used."""

from __future__ import annotations

from typing import Any

import typer


def info() -> None:
    """Show versions, backends, devices, cores and the folder of compiled kernels."""
    from gpusaxs.archive.settings import versions
    from gpusaxs.backends import cuda_problem
    from gpusaxs.backends.numpy import available_cores
    from gpusaxs.kernels import cache
    from gpusaxs.pipeline import presets

    for name, version in versions().items():
        typer.echo(f"{name:10s} {version}")
    typer.echo(f"\nbackend numpy: {available_cores()} cores")
    problem = cuda_problem()
    if problem is None:
        for device in _devices():
            typer.echo(f"backend cuda: {device}")
    else:
        typer.echo(f"backend cuda: not available: {problem}")
    typer.echo(f"compiled kernels: {cache.folder() or 'no folder that can be written'}")
    typer.echo(f"pipelines: {', '.join(presets())}")


def _devices() -> list[str]:
    from numba import cuda

    module: Any = cuda
    return [f"{device.id}: {_text(device.name)}" for device in module.list_devices()]


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
