"""Entropy of probabilities, against scipy's."""

import numpy as np
import pytest
import torch
from scipy import stats

from llmseg_cli.inference import entropy as module
from llmseg_cli.inference.entropy import ForegroundEntropy, entropy


def probabilities(classes: int = 4, shape: tuple[int, ...] = (9, 6, 5), seed: int = 0):
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.4), shape).transpose(3, 0, 1, 2)


def test_entropy_is_scipys_in_units_of_the_most_there_can_be():
    values = probabilities()
    expected = stats.entropy(values, axis=0, base=4)
    np.testing.assert_allclose(entropy(torch.from_numpy(values)), expected, atol=1e-9)


def test_it_is_zero_where_one_class_is_certain_and_one_where_none_is():
    certain = torch.tensor([[1.0, 0.25], [0.0, 0.25], [0.0, 0.25], [0.0, 0.25]])
    torch.testing.assert_close(entropy(certain), torch.tensor([0.0, 1.0]))


@pytest.mark.parametrize("at_once", [1, 4 * 30 * 2, 1 << 22])
def test_the_mean_is_that_of_voxels_of_foreground(monkeypatch, at_once):
    monkeypatch.setattr(module, "VALUES_AT_ONCE", at_once)
    values = probabilities()
    found = ForegroundEntropy()
    for start, stop in ((0, 4), (4, 9)):
        found.add(torch.from_numpy(values[:, start:stop]))
    foreground = values.argmax(axis=0) > 0
    expected = stats.entropy(values, axis=0, base=4)[foreground].mean()
    assert found.voxels == foreground.sum()
    assert found.mean == pytest.approx(expected)


def test_without_foreground_there_is_none():
    found = ForegroundEntropy()
    found.add(torch.tensor([0.9, 0.1]).view(2, 1, 1, 1))
    assert found.mean is None
