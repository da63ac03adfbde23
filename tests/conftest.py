"""What tests share: the measured curves, and small batches."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from gpusaxs.tables import Tables

# Half of what is usual: other examples are drawn in every run. Tests that need more say so. How
# long an example takes is up to what else runs.
settings.register_profile("suite", max_examples=50, deadline=None)
settings.load_profile("suite")

MEASURED = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: no process waits at the end for another one's."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="module", autouse=True)
def _young_heap() -> None:
    """Keep what files before left, such as compiled kernels, out of what a collection looks at.

    Tests that collect garbage to see what is released would take seconds each.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def measured() -> Path:
    """The folder of measured curves with known answers."""
    if not MEASURED.is_dir():
        pytest.skip("the measured curves (../shared/data) are not here")
    return MEASURED


@pytest.fixture(scope="session")
def tables_of_curves() -> Callable[[Sequence[Mapping[str, Any]]], Tables]:
    """Build the tables of results out of what is said of each curve.

    A curve has an id, a verdict, columns of the samples, ``lines`` (q of Bragg lines, or
    dictionaries of what the table of peaks has) and ``phases`` (names with lattice parameters, or
    dictionaries).
    """
    import pyarrow as pa

    from gpusaxs.tables import PEAKS, PHASE_ROWS, SAMPLES, Tables

    def build(curves: Sequence[Mapping[str, Any]]) -> Tables:
        samples, peaks, phases = [], [], []
        for number, curve in enumerate(curves):
            about = {"id": f"curve_{number}", "verdict": "none"} | dict(curve)
            same = {"id": about["id"]}
            for line in about.pop("lines", ()):
                known = line if isinstance(line, dict) else {"q": line}
                q = known["q"]
                fitted = {"q_sigma": 1e-4 * q, "fwhm": 0.01 * q, "height": 1.0, "bragg": True}
                peaks.append(same | fitted | known)
            for match in about.pop("phases", ()):
                known = (
                    match
                    if isinstance(match, dict)
                    else dict(zip(("phase", "lattice"), match, strict=True))
                )
                phases.append(same | {"candidate": 0, "lattice_sigma": 1e-3} | known)
            samples.append(about)
        schema = SAMPLES
        for name in {name for row in samples for name in row} - set(schema.names):
            schema = schema.append(pa.field(name, pa.scalar(samples[0][name]).type))
        return Tables(
            pa.Table.from_pylist(samples, schema),
            pa.Table.from_pylist(peaks, PEAKS),
            pa.Table.from_pylist(phases, PHASE_ROWS),
        )

    return build
