"""Fixtures that several tests share."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans; the test is skipped where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder of real scans is absent")
    return SHARED_DATA
