"""`check` and `split` on label maps that are known in part, or that hold one side only."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_data import SHAPE, label_with, write_cases, write_nifti

from llmseg_cli.errors import DataError, UsageError
from llmseg_cli.workflows import check, split


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four cases; the last slice of each is 9, and the fourth is 9 everywhere."""
    write_cases(tmp_path, [[1, 2]] * 4)
    for index in range(4):
        labels = label_with([1, 2])
        labels[..., -1:] = 9
        if index == 3:
            labels[:] = 9
        write_nifti(tmp_path / "labels" / f"case{index:02d}.nii.gz", labels)
    return tmp_path


def name_it(data: Path) -> None:
    content = {"labels": {"background": 0, "a": 1, "b": 2, "ignore": 9}}
    (data / "dataset.json").write_text(json.dumps(content))


@pytest.mark.parametrize("named", [False, True])
def test_check_counts_the_known_voxels(data, named):
    if named:
        name_it(data)
    report = check.run(data, ignore_label=None if named else 9)
    assert report.faults == ()
    assert [(one.kind, one.case) for one in report.warnings] == [("nothing known", "case03")]
    expected = label_with([1, 2])
    expected[..., -1:] = 9
    content = report.to_dict()
    assert content["ignore_label"] == 9
    counts = {str(value): int((expected == value).sum()) for value in (0, 1, 2)}
    assert content["cases"][0]["label_values"] == counts
    assert content["cases"][0]["ignored_voxels"] == SHAPE[0] * SHAPE[1]
    assert content["cases"][3]["ignored_voxels"] == np.prod(SHAPE)
    assert report.class_cases == {0: 3, 1: 3, 2: 3}


def test_check_without_it_takes_the_value_for_a_class(data):
    report = check.run(data)
    assert {fault.kind for fault in report.faults} == {"label values"}


@pytest.mark.parametrize("odd", [255, -1])
def test_the_remedy_for_a_usual_ignore_label_names_the_option(tmp_path, odd):
    data = write_cases(tmp_path, [[1]])
    labels = label_with([1, 2]).astype(np.int16)
    labels[0, 0, 0] = odd
    path = write_nifti(data / "labels" / "case00.nii.gz", labels)
    option = f"If {odd} means that nothing is known there, pass --ignore-label {odd}."
    (fault,) = check.run(data).faults
    assert option in fault.remedy
    with pytest.raises(DataError) as raised:
        split.run(data, labeled="1")
    assert option in str(raised.value)
    assert check.run(data, ignore_label=odd).faults == ()
    write_nifti(path, np.where(labels == odd, 255, 0).astype(np.uint8))
    assert "--ignore-label" not in check.run(data).faults[0].remedy  # 0 and 255: a binary mask


def test_more_values_than_classes_are_not_listed_one_by_one(tmp_path):
    data = write_cases(tmp_path, [[1]])
    (data / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "a": 1}}))
    values = np.arange(np.prod(SHAPE), dtype=np.uint8).reshape(SHAPE)
    write_nifti(data / "labels" / "case00.nii.gz", values)
    (fault,) = check.run(data).faults
    assert "lossy compression" in fault.remedy
    assert len(str(fault)) < 400


def test_one_sided_label_maps_are_warnings(tmp_path):
    data = write_cases(tmp_path, [[1], [1], []])
    full = np.ones(SHAPE, np.uint8)
    write_nifti(data / "labels" / "case01.nii.gz", full)
    report = check.run(data)
    assert report.faults == ()
    assert [(one.kind, one.case) for one in report.warnings] == [
        ("no background", "case01"),
        ("no foreground", "case02"),
    ]
    full[0] = 9
    write_nifti(data / "labels" / "case01.nii.gz", full)
    warnings = check.run(data, ignore_label=9).warnings
    assert warnings[0].found == "what is known of the label map is foreground only"


@pytest.mark.parametrize("named", [False, True])
def test_split_knows_the_classes_of_the_known_voxels(data, named):
    if named:
        name_it(data)
    planned = split.plan(data, labeled="3", ignore_label=None if named else 9)
    known = label_with([1, 2])[..., :-1]
    volumes = {value: float((known == value).sum()) for value in (1, 2)}
    assert planned.facts["case00"].foreground == volumes
    assert planned.facts["case03"].foreground is None  # as good as no label map
    assert planned.split.labeled == ("case00", "case01", "case02")
    assert planned.split.unlabeled == ("case03",)
    assert set(planned.classes) == {1, 2}


def test_a_contradiction_is_refused(data):
    name_it(data)
    for run in (check.run, lambda *words, **more: split.run(*words, labeled="1", **more)):
        with pytest.raises(UsageError, match="names 9 as its ignore label"):
            run(data, ignore_label=8)
