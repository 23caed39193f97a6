"""Calibration error and likelihood, against plain loops and at their limits."""

import math

import numpy as np
import pytest

from llmseg_cli.metrics.calibration import (
    expected_calibration_error,
    negative_log_likelihood,
    reliability,
)

N, K = 400, 3


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.dirichlet([0.6] * K, size=N), random.integers(0, K, N)


def loop(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """Guo et al., eq. 2 and 3, a bin at a time."""
    total = 0.0
    for m in range(bins):
        inside = [
            (p, y)
            for p, y in zip(probabilities, labels, strict=True)
            if m / bins < max(p) <= (m + 1) / bins
        ]
        if inside:
            accuracy = sum(int(np.argmax(p)) == y for p, y in inside) / len(inside)
            confidence = sum(max(p) for p, _ in inside) / len(inside)
            total += len(inside) / len(labels) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_error_is_that_of_a_loop_over_bins(bins: int):
    probabilities, labels = drawn()
    found = expected_calibration_error(probabilities, labels, bins=bins)
    assert found == pytest.approx(loop(probabilities, labels, bins), abs=1e-12)
    assert found > 0.05


def test_bins_hold_every_voxel_with_its_own_means():
    probabilities, labels = drawn(2)
    found = reliability(probabilities, labels, bins=10)
    assert sum(one.voxels for one in found) == N
    for one in found:
        m = math.ceil(one.sure * 10) - 1
        own = [
            (max(p), int(np.argmax(p)) == y)
            for p, y in zip(probabilities, labels, strict=True)
            if m / 10 < max(p) <= (m + 1) / 10
        ]
        sure, right = zip(*own, strict=True)
        assert (one.voxels, one.sure) == (len(own), pytest.approx(sum(sure) / len(own)))
        assert one.right == pytest.approx(sum(right) / len(own))


def test_the_likelihood_is_that_of_a_loop():
    probabilities, labels = drawn(1)
    said = [-math.log(p[y]) for p, y in zip(probabilities, labels, strict=True)]
    assert negative_log_likelihood(probabilities, labels) == pytest.approx(sum(said) / N)


def test_certain_and_right_is_0_certain_and_wrong_is_1():
    certain, labels = np.eye(K)[[0, 1, 2]], np.array([0, 1, 2])
    assert expected_calibration_error(certain, labels) == 0
    assert negative_log_likelihood(certain, labels) == 0
    wrong = (labels + 1) % K
    assert expected_calibration_error(certain, wrong) == 1
    assert math.isfinite(negative_log_likelihood(certain, wrong))


def test_as_often_right_as_sure_is_0():
    probabilities = np.tile([0.75, 0.25], (4, 1))
    assert expected_calibration_error(probabilities, np.array([0, 0, 0, 1])) == pytest.approx(0)
    assert negative_log_likelihood(np.full((2, 4), 0.25), np.array([0, 3])) == pytest.approx(
        math.log(4)
    )


def test_on_the_edge_of_a_bin_rounding_does_not_count():
    thirds = np.full((4, 3), 1 / 3)
    labels = np.array([0, 1, 1, 2])
    sharp = np.tile([0.3334, 0.3333, 0.3333], (4, 1))  # in the bin above
    both, same = np.concatenate([thirds, sharp]), np.concatenate([labels, 1 - labels.clip(max=1)])
    found = expected_calibration_error(both, same)
    assert expected_calibration_error(both.astype(np.float32), same) == pytest.approx(found)
    assert found == pytest.approx((1 / 12 + abs(0.75 - 0.3334)) / 2)
