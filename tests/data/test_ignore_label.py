"""Voxels of the ignore label: who names it, and what becomes of them until a batch is made."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_data import random_image, write_cases, write_nifti

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.ignore_label import ignored_value
from llmseg_cli.data.patches.augmentation import STANDARD, STRONG, Augmentation, augment
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.data.volumes import load_label_map
from llmseg_cli.errors import DataError, UsageError


@pytest.mark.parametrize(
    ("declared", "asked", "label_map", "expected"),
    [
        (None, None, {}, None),
        (2, None, {}, 2),
        (None, 255, {}, 255),
        (2, 2, {1: 3}, 2),
        (None, -1, {}, -1),
        (2, None, {2: 0}, None),  # said to be background
        (None, 0, {1: 0, 2: 1}, 0),
    ],
)
def test_who_names_it(declared, asked, label_map, expected):
    assert ignored_value(declared, asked, label_map) == expected


@pytest.mark.parametrize(
    ("declared", "asked", "label_map", "message"),
    [
        (2, 255, {}, "names 2 as its ignore label"),
        (None, 255, {255: 1}, "--label-map 255:1 contradict"),
        (None, 0, {}, "0 is the background"),
        (None, 10**20, {}, "expected a label value"),
        (None, -70000, {}, "expected a label value"),
    ],
)
def test_contradictions(declared, asked, label_map, message):
    with pytest.raises(UsageError, match=message):
        ignored_value(declared, asked, label_map)


@pytest.mark.parametrize("ignore", [2, 255, -1, 300])
def test_its_voxels_are_unknown_and_no_others(tmp_path: Path, ignore: int) -> None:
    stored = np.random.default_rng(0).choice([0, 1, 3, ignore], (6, 5, 4)).astype(np.int16)
    path = write_nifti(tmp_path / "a.nii", stored)
    found = load_label_map(path, label_map={3: 2}, ignore=ignore).array
    assert found.dtype == np.uint8
    expected = np.select([stored == ignore, stored == 3], [UNKNOWN, 2], stored)
    np.testing.assert_array_equal(found, expected)


def test_the_ignore_label_is_a_value_of_the_file(tmp_path: Path) -> None:
    """A value that --label-map moves onto it is a class like any other."""
    path = write_nifti(tmp_path / "a.nii", np.array([[[0, 1, 2, 3]]], np.uint8))
    found = load_label_map(path, label_map={3: 2}, ignore=2).array
    assert found.ravel().tolist() == [0, 1, UNKNOWN, 2]


def test_a_class_255_beside_it_is_refused(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "a.nii", np.array([[[0, 1, 2, 255]]], np.uint8))
    with pytest.raises(DataError, match="255 beside the ignore label 2"):
        load_label_map(path, ignore=2)


@pytest.mark.parametrize("augmentation", [STANDARD, STRONG])
def test_resampling_and_augmentation_make_no_new_value(augmentation: Augmentation) -> None:
    labels = np.zeros((16, 14, 12), np.uint8)
    labels[:, :, 6:], labels[4:9, 4:9, 2:9] = UNKNOWN, 2
    small = Preprocessing((2.0,)).labels(labels, (1, 1, 1))
    assert set(np.unique(small)) == {0, 2, UNKNOWN}
    assert (small[:, :, 4:][:2] == UNKNOWN).all()
    large = Preprocessing((0.5,)).labels(labels, (1, 1, 1))
    assert (large == UNKNOWN).mean() == pytest.approx((labels == UNKNOWN).mean(), abs=0.02)
    for seed in range(5):
        random = np.random.default_rng(seed)
        _, moved = augment(random_image(seed, (1, *labels.shape)), labels, augmentation, random)
        assert set(np.unique(moved)) <= {0, 2, UNKNOWN}
        assert (moved == UNKNOWN).any()


def dataset(root: Path, labels: object) -> Path:
    write_cases(root, [[1, 2]])
    (root / "dataset.json").write_text(json.dumps({"labels": labels}))
    return root


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "tumor": 1, "ignore": 2},
        {"0": "background", "1": "tumor", "2": "ignore"},
        {"ignore": 2, "background": 0, "tumor": 1},
    ],
)
def test_dataset_json_names_it(tmp_path: Path, labels: dict) -> None:
    found = find_cases(dataset(tmp_path, labels))
    assert (found.classes, found.ignore) == ({0: "background", 1: "tumor"}, 2)


def test_without_it_there_is_none(tmp_path: Path) -> None:
    found = find_cases(dataset(tmp_path, {"background": 0, "ignored organ": 1, "tumor": 2}))
    assert found.ignore is None
    assert found.classes == {0: "background", 1: "ignored organ", 2: "tumor"}


def test_a_case_list_names_it(tmp_path: Path) -> None:
    write_cases(tmp_path, [[1]])
    row = {"image": "images/case00.nii.gz", "label": "labels/case00.nii.gz"}
    content = {"classes": {"1": "cyst", "255": "ignore"}, "cases": [row]}
    (tmp_path / "cases.json").write_text(json.dumps(content))
    found = find_cases(tmp_path)
    assert (found.classes, found.ignore) == ({1: "cyst"}, 255)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"background": 0, "ignore": 0}, "value 0 is both"),
        ({"ignore": 0}, "'ignore' is 0"),
        ({"1": "ignore", "2": "ignore"}, "'ignore' is 2"),
        ({"a": 1, "ignore": [2]}, "no single value"),
        ({"whole": []}, r"label 'whole': \[\]"),
        ({"whole": [0, 1]}, "above 0"),
        ({"whole": [1, "2"]}, "above 0"),
        ({"whole": [1, True]}, "above 0"),
        ({"whole": [2, 1], "core": [1, 2]}, "'whole' and 'core' are both"),
        ({"1": [1, 2]}, "no single value"),
        ({"a": 1, "b": 1}, "both 'a' and 'b'"),
        ({"a": None}, "expected a value and its name"),
        ({"a": True}, "expected a value and its name"),
        ({"a": 1.5}, "expected a value and its name"),
        ({"a": "b"}, "expected a value and its name"),
    ],
)
def test_labels_that_say_nothing_clear(tmp_path: Path, labels: dict, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        find_cases(dataset(tmp_path, labels))
    assert "dataset.json" in str(raised.value)
    assert "\n" not in str(raised.value)
