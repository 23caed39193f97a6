"""Uncertain spatial attention beside a calculation by hand and scipy's filters."""

import math

import pytest
import torch
from scipy import ndimage

from llmseg_cli.models.anchor import LearnedGaussian, UncertainAttention

HALF = math.sqrt(1 / (2 * math.log(2)))  # where a neighbor has half the weight: 1 2 1


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def attention(dimensions: int = 2, *, classes: int = 1) -> UncertainAttention:
    """With the kernel [1 2 1; 2 4 2; 1 2 1] / 16, and a convolution that passes what it reads."""
    found = UncertainAttention(classes, dimensions, size=3, deviation=HALF)
    torch.nn.init.ones_(found.reduce.weight)
    torch.nn.init.zeros_(found.reduce.bias)
    return found


def test_the_gate_of_a_dot():
    anchor = torch.zeros(1, 1, 5, 5)
    anchor[0, 0, 2, 2] = 1
    found = attention()(torch.full((1, 3, 5, 5), 2.0), anchor)
    for place, logit in (((2, 2), 1.0), ((2, 1), 0.125), ((1, 1), 0.0625), ((0, 0), 0.0)):
        for feature in found[0, :, *place].tolist():  # one gate for all features
            assert feature == pytest.approx(2 * sigmoid(logit) + 2, abs=1e-6)
    assert found[0, 0, 2, 2].item() == pytest.approx(3.462117, abs=1e-6)
    assert found[0, 0, 2, 1].item() == pytest.approx(3.062419, abs=1e-6)
    assert found[0, 0, 0, 0].item() == pytest.approx(3.0, abs=1e-6)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_blur_is_that_of_scipy(dimensions):
    maps = torch.randn(2, 3, *(7, 6, 5)[:dimensions], generator=torch.Generator().manual_seed(1))
    blur = LearnedGaussian(dimensions, size=5, deviation=0.8)
    with torch.no_grad():
        blur.log_deviation.copy_(torch.tensor([0.7, 1.1, 0.9][:dimensions]).log())
    deviations = [0, 0, 0.7, 1.1, 0.9][: 2 + dimensions]
    expected = ndimage.gaussian_filter(maps.numpy(), deviations, radius=2, mode="nearest")
    found = blur(maps).detach()
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_a_mean_that_moved_moves_the_blur():
    blur = LearnedGaussian(2, size=5, deviation=0.05)
    with torch.no_grad():
        blur.mean.copy_(torch.tensor([1.0, 0.0]))
    maps = torch.randn(1, 1, 6, 6)
    torch.testing.assert_close(blur(maps)[..., :-1, :], maps[..., 1:, :])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_blurring_lowers_nothing_and_a_gate_doubles_at_most(dimensions):
    generator = torch.Generator().manual_seed(3)
    anchor = torch.randn(2, 3, *(6, 5, 4)[:dimensions], generator=generator) - 2
    gate = attention(dimensions, classes=3)
    assert (gate.gate(anchor) >= anchor.sum(1, keepdim=True).sigmoid() - 1e-6).all()
    features = torch.rand(2, 4, *anchor.shape[2:], generator=generator)
    found = gate(features, anchor)
    assert (found >= features).all()
    assert (found <= 2 * features).all()


def test_blur_and_gate_learn():
    gate = UncertainAttention(2, 3)
    features = torch.randn(1, 2, 6, 6, 6)
    gate(features, torch.randn(1, 2, 6, 6, 6)).square().sum().backward()
    for name, parameter in gate.named_parameters():
        assert parameter.grad.any(), name
