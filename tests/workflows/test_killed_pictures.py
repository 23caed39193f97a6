"""Killed before any change of a file that it makes, a command that draws can be asked again."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from forked_llmseg import Forks, forks
from PIL import Image
from tiny_runs import run_config, write_run
from training_cli import write_split

CASES = "ab"
LIMIT = 200
pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A run that answers at random, a data set of two scans, and masks of them."""
    write_run(tmp_path / "run", run_config(), seed=1)
    for index, case in enumerate(CASES):
        array = np.random.default_rng(index).normal(0, 1, (20, 18, 9)).astype(np.float32)
        for folder, values in (("images", array), ("labels", np.uint8(array > 1))):
            path = tmp_path / "data" / folder / f"{case}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(values, np.diag([1, 1, 3, 1])), path)
    shutil.copytree(tmp_path / "data/labels", tmp_path / "masks")
    roles = {"labeled": (), "unlabeled": tuple(CASES), "validation": (), "test": ()}
    write_split(tmp_path / "split.json", tmp_path / "data", **roles)
    return tmp_path


@pytest.fixture
def llmseg(tmp_path: Path) -> Iterator[Forks]:
    with forks(tmp_path / "stderr.txt") as found:
        yield found


def commands(place: Path, name: str) -> tuple[str | Path, ...]:
    """A command that draws; all that it writes is below `out`."""
    data, out = place / "data", place / "out"
    return {
        "predict": (
            *("predict", "--run", place / "run", "--images", data / "images/a.nii.gz"),
            *("-o", out / "new", "--device", "cpu", "--overlays", "1", "--uncertainty"),
        ),
        "score": (
            *("score", "--pred", place / "masks", "--ref", data, "--bootstrap", "0"),
            *("-o", out / "s.json", "--overlays", "1"),
        ),
        "suggest": (
            *("suggest", "--data", data, "--split", place / "split.json", "-o", out / "next"),
        ),
        "check": ("check", "--data", data, "--pictures", out / "sheets"),
    }[name]


def files(out: Path) -> set[str]:
    """What is there, without what was written halfway by a process that was killed."""
    found = (path for path in out.rglob("*") if path.is_file())
    names = {str(path.relative_to(out)) for path in found}
    return {name for name in names if ".tmp-" not in name and not name.endswith(".lock")}


@pytest.mark.parametrize("name", ["predict", "score", "check", "suggest"])
def test_force_goes_on_wherever_it_was_killed(place: Path, llmseg: Forks, name: str):
    words, out = commands(place, name), place / "out"
    assert llmseg.run(words) == 0, llmseg.errors.read_text()
    expected = files(out)
    assert any(one.endswith(".png") for one in expected)
    finished = shutil.copytree(out, place / "finished")
    for number in range(1, LIMIT):
        shutil.rmtree(out)
        shutil.copytree(finished, out)
        if not llmseg.run_until(number, (*words, "--force"), folder=out):
            break
        assert llmseg.run((*words, "--force")) == 0, f"{number}: {llmseg.errors.read_text()}"
        assert files(out) == expected, number
        for path in out.rglob("[!.]*.png"):
            Image.open(path).load()
    else:
        pytest.fail(f"it does not end after {LIMIT} changes")
    assert number > len(expected), "it was never killed"
