"""Masks of several folds, read as one: by what the runs behind all of them say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_data import label_with, write_nifti

from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.errors import DataError
from llmseg_cli.workflows.score.planned import ScoreOptions
from llmseg_cli.workflows.score.predictions import find_predictions
from llmseg_cli.workflows.score.run import run

READING: dict[str, Any] = {
    "label_map": ["70:1", "90:1", "140:2"],
    "label_values": [0, 70, 140],
    "classes": ["background", "left", "right"],
    "ignore_label": 200,
}


def write_fold(folder: Path, case: str, **details: Any) -> np.ndarray:
    """A mask in the values of the files, and `run.json` beside it."""
    mask = label_with([1, 2]).astype(np.uint8) * 70
    folder.mkdir(parents=True)
    write_nifti(folder / f"{case}.nii.gz", mask)
    manifest = Manifest("predict")
    manifest.details = {**READING, **details}
    manifest.write(folder, outputs=(f"{case}.nii.gz",))
    return mask


def test_folds_are_read_as_their_runs_have_learned(tmp_path: Path) -> None:
    for number, case in enumerate(("a", "b")):
        mask = write_fold(tmp_path / f"masks/fold-{number}", case)
        (tmp_path / "ref").mkdir(exist_ok=True)
        write_nifti(tmp_path / "ref" / f"{case}.nii.gz", np.where(mask == 70, 90, mask))
    found = find_predictions(tmp_path / "masks")
    assert sorted(found.files) == ["a", "b"]
    assert found.label_values == (0, 70, 140)
    scores = run(tmp_path / "masks", tmp_path / "ref", options=ScoreOptions(draws=0)).scores
    assert scores.classes == {"1": "left", "2": "right"}
    assert scores.metrics["dice"]["mean"] == 1
    assert scores.ignore is not None
    assert scores.ignore["label"] == 200


@pytest.mark.parametrize(
    ("details", "what"),
    [
        ({"label_map": ["70:1", "140:2"]}, "label maps"),
        ({"label_values": [0, 90, 140]}, "values of classes"),
        ({"classes": ["background", "right", "left"]}, "classes"),
        ({"ignore_label": None}, "ignore labels"),
    ],
)
def test_folds_of_runs_that_read_otherwise_are_refused(
    tmp_path: Path, details: dict[str, Any], what: str
) -> None:
    write_fold(tmp_path / "fold-0", "a")
    write_fold(tmp_path / "fold-1", "b", **details)
    with pytest.raises(DataError, match=f"the folds have different {what}. Score them one by one"):
        find_predictions(tmp_path)


def test_shards_that_are_not_joined_are_named(tmp_path: Path) -> None:
    write_fold(tmp_path / "masks/shard-1-of-2", "a")
    with pytest.raises(DataError, match=r"not joined \(shard-1-of-2\).*--merge instead of --shard"):
        find_predictions(tmp_path / "masks")
