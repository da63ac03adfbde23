"""What tests share: the measured curves, and small batches."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

# Half of what is usual: other examples are drawn in every run. Tests that need more say so. How
# long an example takes is up to what else runs.
settings.register_profile("suite", max_examples=50, deadline=None)
settings.load_profile("suite")

MEASURED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def measured() -> Path:
    """The folder of measured curves with known answers."""
    if not MEASURED.is_dir():
        pytest.skip("the measured curves (../shared/data) are not here")
    return MEASURED
