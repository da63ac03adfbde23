"""Running a kernel on one curve."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pytest
from gpusaxs.kernels.curve_kernel import CurveKernel, Role

from gpusaxs.backends.numpy import NumpyBackend


class Run(Protocol):
    """What the fixture `run` gives."""

    def __call__(self, kernel: CurveKernel, *arguments: Any) -> None: ...


@pytest.fixture(scope="session")
def run() -> Run:
    """Run a kernel on one curve, given whole; what it writes stands in the arguments."""
    backend = NumpyBackend(1)

    def run(kernel: CurveKernel, *arguments: Any) -> None:
        roles = [p.role for p in kernel.parameters if p.role is not Role.SCRATCH]
        pairs = list(zip(roles, arguments, strict=True))
        points = next(argument.size for role, argument in pairs if role is Role.ROW)
        given = [a[np.newaxis] if role in (Role.ROW, Role.ROWS) else a for role, a in pairs]
        backend.launch(kernel, np.array([0]), (np.array([0]), np.array([points])), *given)

    return run
