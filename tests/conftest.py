"""What tests share: the measured curves, and small batches."""

from __future__ import annotations

from pathlib import Path

import pytest

MEASURED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def measured() -> Path:
    """The folder of measured curves with known answers."""
    if not MEASURED.is_dir():
        pytest.skip("the measured curves (../shared/data) are not here")
    return MEASURED
