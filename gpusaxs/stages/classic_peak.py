"""Fit the current peak as an older program did, and take it away."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.kernels import peak_table as table
from gpusaxs.kernels import status as codes
from gpusaxs.kernels.classic_peak import classic_peak
from gpusaxs.stages.base import Part, Requests, Stage, parameter

_TAKEN_AWAY = (codes.FIT_CONVERGED, codes.FIT_BOUND_HIT)


class ClassicPeak(Stage):
    """Fit a Gaussian about the highest point of a peak, subtract it, and ask for another search.

    The recipe of an older program, with its faults: see docs/classic.md. A parabola says how wide
    the window of the Gaussian is; both are centred on a point of the curve, and their width and
    height stay within bounds that were chosen for intensities of about ten. Without
    uncertainties: the recipe has none. A fit that fails ends the search for that curve.
    """

    may_request: ClassVar[tuple[str, ...]] = ("find_peak",)
    on_request: ClassVar[bool] = True
    reads: ClassVar[frozenset[Part]] = frozenset({"curve", "search", "peaks"})
    may_write: ClassVar[frozenset[Part]] = frozenset({"search", "peaks"})

    max_width: float = parameter(
        0.5, "Largest s of exp(-(q - centre)^2 / s^2).", unit="1/nm", gt=0.0
    )
    min_height: float = parameter(1.0, "Least height of a fit.", unit="intensity", gt=0.0)
    max_height: float = parameter(
        4.0, "Largest height of a fit, over the highest point of the curve.", gt=0.0
    )

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Fit one peak of each curve; those that it was taken away from ask for `find_peak`."""
        batch.launch(
            classic_peak,
            rows,
            batch.q,
            batch.sigma,
            batch.search,
            batch.residual,
            batch.candidates,
            batch.peaks,
            batch.n_peaks,
            batch.start,
            self.max_width,
            self.min_height,
            self.max_height,
        )
        statuses = batch.peaks[rows, batch.n_peaks[rows] - 1, table.STATUS]
        fitted = np.isin(batch.backend.to_host(statuses), _TAKEN_AWAY)
        return {"find_peak": rows[fitted]}
