"""Fixtures that several tests share."""

from pathlib import Path

import pytest
from toy_cohort import write_toy_cohort

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans; the test is skipped where there is none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder of real scans is absent")
    return SHARED_DATA


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of 8 small scans with two foreground classes; copy it before changing it."""
    return write_toy_cohort(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own, which commands use, too."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LLMSEG_CACHE", str(folder))
    return folder
