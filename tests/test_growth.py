"""What more cases cost: no more listings of folders, and a fixed number of files opened for each.

Python's own audit hears of both.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from training_cli import invoke

SIDE = 16
FEW, MORE, MOST = 6, 12, 24
TINY = ("--patch", f"{SIDE},{SIDE}", "--model", "vnet", "--model-option", "filters=2")
TRAIN = ("train-sup", "--data", "data", "--split", "split.json", "--device", "cpu", *TINY)
PREDICT = ("predict", "--run", "run", "--data", "data", "--split", "split.json", "-o", "masks")
COMMANDS = {
    "check": ("check", "--data", "data", "-o", "check.json"),
    "split": ("split", "--data", "data", "--test", "50%", "-o", "split.json"),
    "train": (*TRAIN, "--steps", "1", "-o", "run"),
    "predict": (*PREDICT, "--device", "cpu"),
    "resume": (*PREDICT, "--device", "cpu", "--resume"),
    "score": (
        *("score", "--pred", "masks", "--ref", "data/labels", "--split", "split.json"),
        *("-o", "scores.json"),
    ),
    "cache": ("cache", "ls"),
}
NO_FOLDER = "__editable__"  # begins a place in sys.path, which imports ask, of an editable install
LISTS_A_CASE = ("cache",)  # each entry of the cache is a folder, which has a size


class _Ears:
    """A hook of Python's audit, which no one can take away again."""

    def __init__(self) -> None:
        self.below = ""
        self.heard: Counter[str] = Counter()

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.below and event in ("open", "os.listdir", "os.scandir"):
            where = arguments[0]
            is_path = isinstance(where, (str, Path)) and not str(where).startswith(NO_FOLDER)
            if is_path and str(Path.cwd() / where).startswith(self.below):
                self.heard["opened" if event == "open" else "listed"] += 1

    @contextmanager
    def on(self, folder: Path) -> Iterator[Counter[str]]:
        self.heard = Counter()
        self.below = f"{folder}"
        try:
            yield self.heard
        finally:
            self.below = ""


@pytest.fixture(scope="module")
def ears() -> _Ears:
    found = _Ears()
    sys.addaudithook(found)
    return found


@pytest.fixture(scope="module")
def counted(ears, tmp_path_factory) -> dict[int, dict[str, Counter[str]]]:
    """Number of cases to what each command did."""
    found: dict[int, dict[str, Counter[str]]] = {}
    for number in (FEW, MORE, MOST):
        place = tmp_path_factory.mktemp(f"of{number}")
        write_pictures(place / "data", number)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(place)
            patch.setenv("LLMSEG_CACHE", str(place / "cache"))
            found[number] = {}
            for name, words in COMMANDS.items():
                with ears.on(place) as heard:
                    result = invoke(*words)
                assert result.exit_code == 0, result.output
                found[number][name] = heard
    return found


def write_pictures(root: Path, number: int) -> None:
    noise = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for index in range(number):
        labels = np.zeros((SIDE, SIDE), np.uint8)
        labels[4:12, 3 : 5 + index % 8] = 1
        image = noise.normal(60 + 120 * labels, 10).clip(0, 255).astype(np.uint8)
        for folder, array in (("images", image), ("labels", labels)):
            Image.fromarray(array).save(root / folder / f"p{index:03d}.png")


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in LISTS_A_CASE])
def test_no_folder_is_listed_once_a_case(counted, command):
    listed = [counted[number][command]["listed"] for number in (FEW, MORE, MOST)]
    assert listed[0] == listed[1] == listed[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_files_are_opened_in_proportion_to_the_cases(counted, command):
    few, more, most = (counted[number][command]["opened"] for number in (FEW, MORE, MOST))
    assert most - more == (MOST - MORE) / (MORE - FEW) * (more - few)


def test_the_count_hears_of_listings_and_files(ears, tmp_path):
    with ears.on(tmp_path) as heard:
        (tmp_path / "a").write_text("1")
        list(tmp_path.iterdir())
        list(tmp_path.glob("*"))
    assert heard == {"opened": 1, "listed": 2}
