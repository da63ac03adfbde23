"""Maximum and high-q level of the dimensionless Kratky curve."""

from __future__ import annotations

from typing import ClassVar

from gpusaxs.backends import IndexArray
from gpusaxs.batch import SampleBatch
from gpusaxs.kernels.kratky import NUMBERS, kratky
from gpusaxs.numbers import Number
from gpusaxs.stages.base import NO_REQUESTS, Part, Requests, Stage, parameter
from gpusaxs.stages.guinier import Guinier


class Kratky(Stage):
    """Find the maximum of (q Rg)² I / I0 over q Rg, and what is left of it at high q.

    A globule has its maximum of 3/e at √3 and little left; a flexible chain rises to 2.
    """

    reads: ClassVar[frozenset[Part]] = frozenset({"curve", "numbers"})
    may_write: ClassVar[frozenset[Part]] = frozenset({"numbers"})
    needs: ClassVar[tuple[str, ...]] = ("guinier",)
    # In the order of the kernel's columns.
    leaves: ClassVar[tuple[Number, ...]] = (
        Number("position", "", "q Rg of the maximum: 1.73 for a globule"),
        Number("position_sigma", "", "standard uncertainty of position"),
        Number("height", "", "(q Rg)^2 I / I0 at the maximum: 1.10 for a globule"),
        Number("height_sigma", "", "standard uncertainty of height"),
        Number(
            "plateau", "", "mean of (q Rg)^2 I / I0 at high q: below 0.5 if folded, 2 if a chain"
        ),
        Number("plateau_sigma", "", "standard uncertainty of plateau"),
        Number(
            "maximum",
            "",
            "whether there is a maximum, or why not",
            ("found", "no_rg", "too_few_points", "no_maximum"),
        ),
    )

    plateau_from: float = parameter(4.0, "Lowest q Rg of the mean at high q.", gt=0.0)
    plateau_to: float = parameter(6.0, "Highest q Rg of the mean at high q.", gt=0.0)
    max_position: float = parameter(4.0, "Highest q Rg at which a maximum is sought.", gt=1.0)
    min_points: int = parameter(8, "Points about the maximum.", unit="points", ge=5)

    def launch(self, batch: SampleBatch, rows: IndexArray) -> Requests:
        """Look at each curve."""
        numbers = self.numbers_in(batch)
        assert numbers.shape[1] == NUMBERS
        batch.launch(
            kratky,
            rows,
            batch.q,
            batch.intensity,
            batch.sigma,
            batch.number_table("guinier", Guinier.leaves),
            self.plateau_from,
            self.plateau_to,
            self.max_position,
            self.min_points,
            numbers,
        )
        return NO_REQUESTS
