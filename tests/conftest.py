"""Fixtures that several tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_cohort import write_toy_cohort
from training_cli import write_split

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
EMBEDDED = ("smollm2", "minilm", "lite-medsam", "efficientnet-lite0")


LONG = ("train/test_run.py", "train/test_encoder_options.py", "report/test_run.py")  # minutes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long come first, so that two processes end at the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    slow |= {item.path for item in items if item.path.as_posix().endswith(LONG)}
    items.sort(key=lambda item: item.path not in slow)


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
def names_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and folders are names that go no further, and need not be there or be free."""
    monkeypatch.setattr("llmseg_cli.commands._command.refuse_early", lambda values: None)


@pytest.fixture(scope="session")
def weights_cache() -> Path:
    """The user's cache folder with the embedded models; the test is skipped where it has none."""
    from llmseg_cli.artifacts.cache_folder import default_cache
    from llmseg_cli.knowledge.weights.embedded import is_fetched

    found = Path(os.environ.get("LLMSEG_CACHE") or default_cache())
    absent = [name for name in EMBEDDED if not is_fetched(name, cache=found)]
    if absent:
        pytest.skip(f"not fetched: {', '.join(absent)} (llmseg weights fetch)")
    return found


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own, which commands use, too."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LLMSEG_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def toy_split(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A split of the toy cohort: 3 labeled, 2 unlabeled, 1 validation, 2 test."""
    return write_split(tmp_path_factory.mktemp("split") / "split.json", toy_data)


@pytest.fixture
def quiet_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Path]:
    """An empty working folder without anybody's configuration, and torch as it was before."""
    import torch

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("LLMSEG_CONFIG", "LLMSEG_DEVICE", "LLMSEG_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    yield place
    torch.use_deterministic_algorithms(False)
