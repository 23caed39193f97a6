"""Which of a network's predictions are sure enough: against a loop over voxels, and at limits."""

import numpy as np
import pytest

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.knowledge.mining.confidence import (
    UNSURE,
    ConfidenceRules,
    keep_confident,
    labels_with_certainty,
)

SHAPE = (5, 4, 3)


def shares(seed: int = 0, classes: int = 3) -> np.ndarray:
    """Probabilities `(K, X, Y, Z)` that sum to one."""
    drawn = np.random.default_rng(seed).gamma(0.5, size=(classes, *SHAPE))
    return (drawn / drawn.sum(axis=0)).astype(np.float32)


@pytest.mark.parametrize("thresholds", [(), (0.5, 0.3, 0.6)])
def test_labels_and_certainty_are_those_of_a_loop(thresholds):
    found = shares()
    labels, certainty = labels_with_certainty(found, SHAPE, thresholds)
    for place in np.ndindex(SHAPE):
        each = found[(slice(None), *place)]
        if thresholds:
            multiples = [1.0, *(each[k] / thresholds[k] for k in (1, 2))]
            expected = int(np.argmax(multiples))
        else:
            expected = int(np.argmax(each))
        assert labels[place] == expected
        assert certainty[place] == each[expected]
    assert set(np.unique(labels)) == {0, 1, 2}
    assert not np.shares_memory(certainty, found)


def test_certainty_lies_on_the_voxels_of_the_image():
    found = np.zeros((2, 4, 1, 1), np.float32)
    found[1] = np.array([0, 0, 1, 1], np.float32).reshape(4, 1, 1)
    found[0] = 1 - found[1]
    labels, certainty = labels_with_certainty(found, (8, 1, 1))
    # Voxel centers of the fine grid lie a quarter off those of the coarse one.
    assert labels.ravel().tolist() == [0] * 4 + [1] * 4
    assert certainty.ravel().tolist() == [1, 1, 1, 0.75, 0.75, 1, 1, 1]


def test_voxels_below_the_limit_are_unknown_also_in_the_background():
    labels = np.array([0, 0, 1, 1, 2], np.uint8).reshape(5, 1, 1)
    certainty = np.array([0.95, 0.6, 0.9, 0.89, 0.99], np.float32).reshape(5, 1, 1)
    mined = keep_confident(labels, certainty, ConfidenceRules(voxel=0.9))
    assert mined.labels.ravel().tolist() == [0, UNKNOWN, 1, UNKNOWN, 2]
    assert mined.labels.dtype == np.uint8
    assert mined.reason == ""
    # (0.9 + 0.89 + 0.99) / 3, and three of five
    assert mined.measures == {"confidence": 0.9267, "known": 0.6}


@pytest.mark.parametrize(("limit", "is_kept"), [(0.0, True), (0.75, True), (0.7501, False)])
def test_a_case_is_judged_by_its_foreground_alone(limit, is_kept):
    labels = np.array([0, 0, 0, 1, 2], np.uint8).reshape(5, 1, 1)
    certainty = np.array([0.2, 0.2, 1.0, 0.5, 1.0], np.float32).reshape(5, 1, 1)
    mined = keep_confident(labels, certainty, ConfidenceRules(mask=limit))
    assert (mined.labels is not None) == is_kept
    np.testing.assert_array_equal(mined.predicted, labels)
    assert mined.reason == ("" if is_kept else "mean confidence 0.7500 below 0.7501")
    if is_kept:
        np.testing.assert_array_equal(mined.labels, labels)


def test_a_case_without_a_sure_voxel_of_a_class_has_no_pseudo_label():
    labels = np.array([0, 1], np.uint8).reshape(2, 1, 1)
    certainty = np.array([1.0, 0.8], np.float32).reshape(2, 1, 1)
    mined = keep_confident(labels, certainty, ConfidenceRules(voxel=0.9))
    assert mined.labels is None
    assert mined.reason == UNSURE


def test_nothing_predicted_is_no_dropped_mask():
    zeros = np.zeros(SHAPE, np.uint8)
    mined = keep_confident(zeros, np.ones(SHAPE, np.float32), ConfidenceRules(0.5, 0.5))
    assert mined.labels is None
    assert mined.predicted is None
    assert (mined.reason, dict(mined.measures)) == ("", {})
