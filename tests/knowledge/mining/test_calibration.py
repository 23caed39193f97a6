"""Thresholds that give each class its share, against sorting the probabilities."""

import numpy as np
import pytest

from llmseg_cli.knowledge.mining.calibration import HIGHEST, LOWEST, class_shares, thresholds_for


def softmax_maps(cases: int, classes: int, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    raw = random.gamma(0.7, size=(cases, classes, 20, 30)).astype(np.float32)
    return list(raw / raw.sum(axis=1, keepdims=True))


def test_shares_are_means_over_cases_and_not_over_voxels():
    small, large = np.array([[0, 1]], np.uint8), np.zeros((10, 10), np.uint8)
    large[0, :2] = 2
    np.testing.assert_allclose(
        class_shares([small, large], 3), [(0.5 + 0.98) / 2, 0.25, 0.01], rtol=1e-12
    )


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("wanted", [0.08, 0.2, 0.4])
def test_the_predicted_share_is_the_wanted_one(classes, wanted):
    maps = softmax_maps(5, classes, seed=classes)
    found = thresholds_for(iter(maps), [0.0] + [wanted] * (classes - 1))
    assert len(found) == classes
    for label in range(1, classes):
        every = np.sort(np.concatenate([one[label].ravel() for one in maps]))
        exact = float(np.quantile(every, 1 - wanted))
        if LOWEST < exact < HIGHEST:
            share = np.mean([(one[label] > found[label]).mean() for one in maps])
            assert share == pytest.approx(wanted, abs=0.005)
            assert found[label] == pytest.approx(exact, abs=0.01)


def test_cases_count_alike_whatever_their_size():
    low, high = np.full((2, 4, 4), 0.2, np.float32), np.full((2, 40, 40), 0.8, np.float32)
    found = thresholds_for([low, high], [0.5, 0.5])
    assert 0.5 <= found[1] <= 0.8  # half of the cases, not of the pixels, lie above
    assert thresholds_for([low, high], [0.5, 1.0])[1] == LOWEST  # 0.2 would give that share


def test_a_hopeless_network_is_not_asked_at_the_ends():
    certain = np.stack([np.zeros((8, 8)), np.ones((8, 8))]).astype(np.float32)
    assert thresholds_for([certain], [0.9, 0.1])[1] <= HIGHEST
    assert thresholds_for([1 - certain], [0.1, 0.9])[1] >= LOWEST
