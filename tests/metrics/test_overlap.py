"""Dice, Jaccard, sensitivity, specificity and volumes against loops over voxels and medpy."""

from itertools import product
from math import isnan

import numpy as np
import pytest
from medpy.metric import binary

from llmseg_cli.metrics.overlap import dice_per_class
from llmseg_cli.metrics.scoring import score_pair

SHAPE = (4, 5, 6)  # all different, so a mixed-up axis fails
SPACING = (0.5, 1.25, 3.0)


def random_labels(seed: int, classes: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes + 1, SHAPE).astype(np.uint8)


def count(prediction: np.ndarray, reference: np.ndarray, number: int) -> dict[str, int]:
    found = dict.fromkeys(("tp", "fp", "fn", "tn"), 0)
    for index in product(*map(range, SHAPE)):
        predicted, referenced = prediction[index] == number, reference[index] == number
        found[
            "tp"
            if predicted and referenced
            else "fp"
            if predicted
            else "fn"
            if referenced
            else "tn"
        ] += 1
    return found


@pytest.mark.parametrize("number", [1, 2, 3])
def test_equal_a_loop_over_voxels(number):
    prediction, reference = random_labels(0), random_labels(1)
    n = count(prediction, reference, number)
    values = score_pair(prediction, reference, classes=[1, 2, 3], spacing_mm=SPACING)[number].values
    voxel_ml = 0.5 * 1.25 * 3.0 / 1000
    expected = {
        "dice": 2 * n["tp"] / (2 * n["tp"] + n["fp"] + n["fn"]),
        "jaccard": n["tp"] / (n["tp"] + n["fp"] + n["fn"]),
        "sensitivity": n["tp"] / (n["tp"] + n["fn"]),
        "precision": n["tp"] / (n["tp"] + n["fp"]),
        "specificity": n["tn"] / (n["tn"] + n["fp"]),
        "prediction_volume": (n["tp"] + n["fp"]) * voxel_ml,
        "reference_volume": (n["tp"] + n["fn"]) * voxel_ml,
        "volume_difference": (n["fp"] - n["fn"]) * voxel_ml,
        "relative_volume_difference": (n["fp"] - n["fn"]) / (n["tp"] + n["fn"]),
    }
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_equal_medpy():
    prediction, reference = random_labels(2), random_labels(3)
    values = score_pair(prediction, reference, classes=[2], spacing_mm=SPACING)[2].values
    masks = prediction == 2, reference == 2
    assert values["dice"] == pytest.approx(binary.dc(*masks), abs=1e-12)
    assert values["jaccard"] == pytest.approx(binary.jc(*masks), abs=1e-12)
    assert values["sensitivity"] == pytest.approx(binary.sensitivity(*masks), abs=1e-12)
    assert values["precision"] == pytest.approx(binary.precision(*masks), abs=1e-12)
    assert values["specificity"] == pytest.approx(binary.specificity(*masks), abs=1e-12)
    assert values["relative_volume_difference"] == pytest.approx(binary.ravd(*masks), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_dice_per_class_equals_the_full_score(dtype):
    prediction, reference = random_labels(4).astype(dtype), random_labels(5).astype(dtype)
    scores = score_pair(prediction, reference, classes=[1, 2, 3], spacing_mm=SPACING)
    expected = [scores[number].values["dice"] for number in (1, 2, 3)]
    np.testing.assert_allclose(
        dice_per_class(prediction, reference, classes=[1, 2, 3]), expected, atol=1e-12
    )


def test_dice_per_class_is_nan_where_both_are_empty():
    labels = random_labels(6)
    first, second = dice_per_class(labels, labels, classes=[1, 9])
    assert first == 1
    assert isnan(second)


def test_perfect():
    labels = random_labels(7)
    values = score_pair(labels, labels, classes=[1], spacing_mm=SPACING)[1].values
    assert all(
        values[name] == 1
        for name in ("dice", "jaccard", "nsd", "sensitivity", "precision", "specificity")
    )
    assert all(values[name] == 0 for name in ("hd95", "asd", "assd", "volume_difference"))


def test_one_voxel_apart_from_another():
    prediction, reference = np.zeros((2, *SHAPE), dtype=np.uint8)
    prediction[0, 0, 0] = reference[1, 2, 3] = 1
    values = score_pair(prediction, reference, classes=[1], spacing_mm=SPACING)[1].values
    distance = np.sqrt(0.5**2 + 2.5**2 + 9**2)
    assert values["hd95"] == values["asd"] == values["assd"] == pytest.approx(distance)
    assert values["dice"] == values["nsd"] == 0


def test_a_reference_that_fills_the_image_has_no_specificity():
    full = np.ones(SHAPE, dtype=np.uint8)
    values = score_pair(full, full, classes=[1], spacing_mm=SPACING)[1].values
    assert values["specificity"] is None
    assert values["dice"] == 1


@pytest.mark.parametrize("other", [np.zeros((4, 5, 7)), np.zeros((4, 5))])
def test_shapes_that_differ_are_refused(other):
    labels = random_labels(8)
    with pytest.raises(ValueError, match="shapes differ"):
        score_pair(other.astype(np.uint8), labels, classes=[1], spacing_mm=SPACING)
    with pytest.raises(ValueError, match="shapes differ"):
        dice_per_class(other.astype(np.uint8), labels, classes=[1])


def test_background_is_no_class():
    with pytest.raises(ValueError, match="above 0"):
        score_pair(random_labels(0), random_labels(1), classes=[0, 1], spacing_mm=SPACING)


def test_volumes_in_voxels():
    labels = random_labels(9)
    score = score_pair(labels, labels, classes=[1], spacing_mm=SPACING, unit="voxel")[1]
    assert score.values["reference_volume"] == score.referenced == (labels == 1).sum()
