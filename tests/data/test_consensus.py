"""Several label maps as one: worked examples, laws, and STAPLE's own."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from llmseg_cli.choices import COMBINATIONS
from llmseg_cli.data.consensus import RULES, intersection, staple, union, vote


def bits(text):
    return np.array([[[int(sign)] for sign in text]])


def dice(mask, reference):
    return 2 * ((mask > 0) & (reference > 0)).sum() / ((mask > 0).sum() + (reference > 0).sum())


def test_the_rules_are_those_that_the_option_names():
    assert [*RULES, "mean", "best"] == list(COMBINATIONS)  # of probabilities; one of these


@pytest.mark.parametrize(
    ("a", "b", "reference", "united", "shared"),
    [
        ("11100000", "01110000", "11110000", 1.0, 0.6667),
        ("11100000", "01110000", "01100000", 0.6667, 1.0),
        ("11001", "10101", "11000", 0.6667, 0.5),
    ],
)
def test_union_and_intersection_of_two_masks(a, b, reference, united, shared):
    maps = [bits(a), bits(b)]
    assert dice(union(maps), bits(reference)) == pytest.approx(united, abs=1e-4)
    assert dice(intersection(maps), bits(reference)) == pytest.approx(shared, abs=1e-4)


@pytest.mark.parametrize(
    ("rule", "labels", "expected"),
    [
        (vote, (1, 2, 2), 2),
        (vote, (1, 2), 1),
        (vote, (0, 2), 0),
        (vote, (3, 1, 2, 2, 1), 1),
        (intersection, (1, 2), 0),
        (intersection, (2, 2, 2), 2),
        (union, (0, 2), 2),
        (union, (1, 2), 1),
    ],
)
def test_one_voxel_of_several_classes(rule, labels, expected):
    assert rule([np.full((1, 1, 1), label) for label in labels]).item() == expected


@pytest.mark.parametrize("rule", RULES)
def test_equal_maps_are_their_own_ensemble(rule):
    one = np.random.default_rng(0).integers(0, 4, (5, 6, 7)).astype(np.int16)
    assert np.array_equal(RULES[rule]([one, one, one]), one)
    nothing = np.zeros_like(one)
    assert np.array_equal(RULES[rule]([nothing, nothing]), nothing)


def test_a_vote_is_that_of_a_loop():
    maps = np.random.default_rng(1).integers(0, 3, (4, 3, 4, 5))
    found = vote(list(maps))
    for place in np.ndindex(3, 4, 5):
        labels = [int(one[place]) for one in maps]
        most = max(labels.count(label) for label in labels)
        assert found[place] == next(label for label in labels if labels.count(label) == most)


def test_staple_is_near_that_of_two_labels_and_doubts_a_bad_rater():
    random = np.random.default_rng(2)
    truth = np.zeros((12, 13, 14), np.uint8)
    truth[3:9, 3:9, 3:9] = 1
    good = [np.where(random.random(truth.shape) < 0.03, 1 - truth, truth) for _ in range(2)]
    bad = [np.where(random.random(truth.shape) < 0.45, 1 - truth, truth) for _ in range(3)]
    found = staple([*good, *bad])
    assert dice(found, truth) > dice(vote([*good, *bad]), truth)
    images = [sitk.GetImageFromArray(one) for one in (*good, *bad)]
    expected = sitk.GetArrayFromImage(sitk.STAPLE(images, 1)) > 0.5
    assert dice(found, expected.astype(np.uint8)) > 0.97
