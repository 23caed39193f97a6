"""Overlap of label maps, against Dice that is counted voxel by voxel."""

from itertools import combinations

import numpy as np
import pytest
import torch

from llmseg_cli.inference.agreement import Overlaps

SHAPE, CLASSES, VOICES = (3, 7, 6, 5), 4, 3  # B X Y Z


def label_maps(seed: int) -> np.ndarray:
    """`(V, B, X, Y, Z)`; the last class is in one voice alone."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES - 1, (VOICES, *SHAPE)).astype(np.uint8)
    labels[0, :, 0, 0] = CLASSES - 1
    return labels


def dice(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> float | None:
    whole = float((a * weights).sum() + (b * weights).sum())
    return None if not whole else 2 * float((a * b * weights).sum()) / whole


@pytest.mark.parametrize("weighing", ["alike", "otherwise", "partly not at all"])
def test_dice_of_each_pair_is_that_of_all_voxels_together(weighing):
    weights = np.ones(SHAPE[1:], np.float32)
    if weighing != "alike":
        weights = np.random.default_rng(9).random(SHAPE[1:]).astype(np.float32)
    if weighing == "partly not at all":
        weights[0] = 0
    overlaps, batches = Overlaps(VOICES, CLASSES), [label_maps(seed) for seed in range(4)]
    for batch in batches:
        overlaps.add(torch.from_numpy(batch), torch.from_numpy(weights))
    every = np.concatenate(batches, axis=1)
    pairs = list(combinations(range(VOICES), 2))
    for value in range(1, CLASSES):
        expected = [dice(every[a] == value, every[b] == value, weights) for a, b in pairs]
        found = [overlaps.dice([pair])[value] for pair in pairs]
        assert found == [None if one is None else pytest.approx(one, rel=1e-5) for one in expected]
        known = [one for one in expected if one is not None]
        mean = overlaps.dice(pairs)[value]
        assert mean == (pytest.approx(np.mean(known), rel=1e-5) if known else None)


def test_what_no_voice_says_has_no_dice_and_the_same_labels_have_one():
    labels = np.zeros((2, 1, 4, 4), np.uint8)
    labels[:, :, 1:3] = 2
    overlaps = Overlaps(2, 3)
    overlaps.add(torch.from_numpy(labels), torch.ones(4, 4))
    assert overlaps.dice([(0, 1)]) == {1: None, 2: pytest.approx(1)}


def test_windows_of_background_change_nothing():
    overlaps, plain = Overlaps(VOICES, CLASSES), Overlaps(VOICES, CLASSES)
    batch, weights = torch.from_numpy(label_maps(1)), torch.ones(SHAPE[1:])
    for one in (overlaps, plain):
        one.add(batch, weights)
    overlaps.add(torch.zeros_like(batch), weights)
    assert overlaps.dice([(0, 1)]) == plain.dice([(0, 1)])
