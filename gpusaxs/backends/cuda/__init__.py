"""The GPU backend. Nothing outside this folder imports CuPy.

`backend` is what the rest of the package sees; `devices` finds the cards, or says why there are
none; `lanes` has the streams and what belongs to one; `copying` moves arrays between host and
card; `launching` runs kernels, which `kept_kernels` keeps on disk; `memory` says how much there
is; `simulator` runs the same drivers in plain Python.
"""

from __future__ import annotations

from gpusaxs.backends.cuda.backend import CudaBackend
from gpusaxs.backends.cuda.memory import SCRATCH_BESIDE, SCRATCH_ROWS

__all__ = ["SCRATCH_BESIDE", "SCRATCH_ROWS", "CudaBackend"]
