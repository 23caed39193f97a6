"""Pictures of predicted masks: as many as asked, in the colors of the legend, none left over."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tiny_runs import run_config, write_run
from training_cli import invoke

from llmseg_cli.artifacts.manifest import load_manifest
from llmseg_cli.pictures.marks import ORANGE


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that answers at random, and five scans."""
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", run_config(), seed=1)
    (tmp_path / "scans").mkdir()
    for index, case in enumerate("abcde"):
        array = np.random.default_rng(index).normal(0, 1, (20, 18, 9)).astype(np.float32)
        nib.save(nib.Nifti1Image(array, np.diag([1, 1, 3, 1])), f"scans/{case}.nii.gz")
    return tmp_path


def predict(*words: str) -> dict:
    result = invoke(
        *("predict", "--run", "run", "--images", "scans", "-o", "masks", "--device", "cpu"),
        *("--json", *words),
    )
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def pictures(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "masks" / "overlays").iterdir())


def test_pictures_are_spread_over_the_cases_and_recorded(place: Path):
    report = predict("--overlays", "2")
    assert pictures(place) == ["a.png", "c.png"]
    assert [case["overlay"] for case in report["cases"]] == [
        *("overlays/a.png", None, "overlays/c.png", None, None)
    ]
    assert {"overlays/a.png", "overlays/c.png"} <= load_manifest(place / "masks")["outputs"].keys()


def test_a_picture_has_the_outline_of_the_mask_that_was_written(place: Path):
    predict("--overlays", "5")
    for case in "abcde":
        mask = np.asarray(nib.load(place / "masks" / f"{case}.nii.gz").dataobj)
        pixels = np.asarray(Image.open(place / "masks" / "overlays" / f"{case}.png"))
        outlined = (pixels[:-34] == ORANGE).all(axis=2)  # without the legend
        assert outlined.any() == mask.any()
        columns = np.nonzero(outlined.any(axis=0))[0]
        panels = 3 if len(np.nonzero(mask.any(axis=(0, 1)))[0]) > 2 else 1
        assert columns.max() < pixels.shape[1] - 12
        assert pixels.shape[1] >= panels * 345 + 24  # 20 mm of 384 pixels, 18 mm across


def test_fewer_pictures_replace_more_and_resuming_keeps_them(place: Path):
    predict("--overlays", "5")
    predict("--overlays", "1", "--force")
    assert pictures(place) == ["a.png"]
    predict("--overlays", "2", "--resume")
    assert pictures(place) == ["a.png", "c.png"]
    (place / "masks" / "a.nii.gz").write_bytes(b"damaged")
    predict("--resume")
    assert pictures(place) == ["c.png"]  # that of a showed another mask


def test_a_picture_of_somebody_else_is_not_replaced(place: Path):
    (place / "masks" / "overlays").mkdir(parents=True)
    (place / "masks" / "overlays" / "a.png").write_text("mine")
    words = ("--images", "scans", "-o", "masks", "--device", "cpu", "--overlays", "1", "--force")
    result = invoke("predict", "--run", "run", *words)
    assert result.exit_code == 2
    assert (place / "masks" / "overlays" / "a.png").read_text() == "mine"
