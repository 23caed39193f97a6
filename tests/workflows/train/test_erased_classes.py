"""Classes that are too fine for the spacing: named, with a spacing that keeps them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tiny_data import random_image, write_nifti
from training_cli import TINY, invoke

FINE = np.diag([0.5, 0.5, 0.5, 1.0])
SHAPE = (40, 36, 32)

pytestmark = pytest.mark.usefixtures("quiet_place")


def label_map(*, lesion: bool, large: bool = False) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:30, 10:26, 8:24] = 1
    if lesion:
        labels[5:7, 5:7, 5] = 2
    if large:
        labels[30:38, 28:35, 20:30] = 2
    return labels


def write(root: Path, maps: list[np.ndarray], classes: dict[str, int] | None = None) -> Path:
    for index, labels in enumerate(maps):
        write_nifti(root / "images" / f"p{index}.nii.gz", random_image(index, SHAPE), FINE)
        write_nifti(root / "labels" / f"p{index}.nii.gz", labels, FINE)
    if classes:
        (root / "dataset.json").write_text(json.dumps({"labels": classes}))
    return root


def train(data: Path, spacing: str, count: int = 2):
    words = ("--labeled", str(count), "--spacing", spacing, "--steps", "1")
    return invoke("train-sup", "--data", data, "-o", data.parent / "run", "-f", *TINY, *words)


@pytest.mark.parametrize("classes", [None, {"background": 0, "organ": 1, "lesion": 2}])
def test_a_class_that_no_case_keeps_is_an_error_and_the_spacing_named_keeps_it(
    tmp_path, caplog, classes
):
    data = write(tmp_path / "data", [label_map(lesion=True)] * 2, classes)
    for _ in range(2):  # from the cache as well
        result = train(data, "2")
        assert result.exit_code == 3
        name = "Class 2 (lesion)" if classes else "Class 2"
        assert f"{name} is lost in all 2 labeled cases that have it (p0, p1) at --spacing 2:" in (
            result.stderr
        )
    spacing = re.search(r"Pass --spacing ([\d.]+)", result.stderr)[1]
    assert 0.5 <= float(spacing) < 2
    result = train(data, spacing)
    assert result.exit_code == 0, result.stderr
    assert "lost" not in result.stderr + caplog.text
    classes = (tmp_path / "run" / "config.yaml").read_text()
    assert len(re.findall("^- (background|organ|lesion|class .)", classes, re.MULTILINE)) == 3


def test_the_only_class_lost_is_not_an_empty_label_map(tmp_path):
    only = (label_map(lesion=True) == 2).astype(np.uint8)
    result = train(write(tmp_path / "data", [only, only]), "2,2,4")
    assert result.exit_code == 3
    assert "Class 1 is lost in all 2 labeled cases that have it" in result.stderr
    assert "--spacing 2,2,4" in result.stderr


def test_a_class_that_some_cases_keep_is_a_warning(tmp_path, caplog):
    maps = [label_map(lesion=True), label_map(lesion=True, large=True), label_map(lesion=True)]
    result = train(write(tmp_path / "data", maps), "2", count=3)
    assert result.exit_code == 0, result.stderr
    assert "Class 2 of 2 cases (p0, p2) is lost at --spacing 2; use a smaller one" in caplog.text


def test_knowledge_that_resampling_erases_is_named(tmp_path):
    """One annotated slice among unknown ones: on a coarse grid the unknown wins everywhere."""
    labels = np.full(SHAPE, 3, np.uint8)
    labels[:, :, 9] = label_map(lesion=False)[:, :, 9]
    names = {"background": 0, "organ": 1, "ignore": 3}
    data = write(tmp_path / "data", [labels, labels], names)
    result = train(data, "2")
    assert result.exit_code == 3
    assert "Class 1 (organ) is lost in all 2 labeled cases" in result.stderr
    assert train(data, "0").exit_code == 0


def test_at_its_own_spacing_nothing_is_said(tmp_path, caplog):
    result = train(write(tmp_path / "data", [label_map(lesion=True)] * 2), "0")
    assert result.exit_code == 0
    assert "lost" not in result.stderr + caplog.text
