"""`gpusaxs info`: what is installed here and what can be used."""

from __future__ import annotations

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
    for line in _cards() if problem is None else [f"not available: {problem}"]:
        typer.echo(f"backend cuda: {line}")
    typer.echo(f"compiled kernels: {cache.folder() or 'no folder that can be written'}")
    typer.echo(f"pipelines: {', '.join(presets())}")


def _cards() -> list[str]:
    """What there is to be said of the driver and of each GPU."""
    from gpusaxs.backends.cuda.devices import devices, driver, modules

    _, cupy = modules()
    return [
        f"driver {driver(cupy)}",
        *(
            f"{card.number}: {card.name}, compute capability "
            f"{card.compute_capability[0]}.{card.compute_capability[1]}, "
            f"{card.free / 1e9:.1f} of {card.total / 1e9:.1f} GB free"
            for card in devices(cupy)
        ),
    ]
