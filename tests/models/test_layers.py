"""Normalizations against their definitions."""

import pytest
import torch
from torch import nn

from llmseg_cli.models.layers import normalize, start_undecided
from llmseg_cli.registry import MODELS


def test_instance_normalization_is_mean_0_and_variance_1_per_case_and_channel():
    features = torch.randn(2, 3, 4, 5, 6) * 7 + 3
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        given = features.to(memory_format=layout)
        normalized = normalize("instance", 3, 3)(given)
        mean = features.mean((2, 3, 4), keepdim=True)
        variance = features.var((2, 3, 4), keepdim=True, correction=0)
        expected = (features - mean) / (variance + 1e-5).sqrt()
        torch.testing.assert_close(normalized, expected)
        assert normalized.stride() == given.stride()


def test_groups_divide_the_channels():
    assert [normalize("group", n, 3).num_groups for n in (16, 64, 24, 7)] == [16, 16, 8, 1]


@pytest.mark.parametrize("name", ["unet", "vnet"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_networks_begin_without_a_preference_for_a_class(name, dimensions):
    """What is the same in all channels, as of a ReLU's mean, tells no class from another."""
    for seed in range(3):
        torch.manual_seed(seed)
        network = MODELS.load(name)(1, 4, filters=4, dimensions=dimensions)
        output = network.output
        even = torch.full((1, output.weight.shape[1], *[2] * dimensions), 7.0)
        assert output(even).abs().max() < 1e-4
        assert output.weight.std() > 0.01  # and yet all are different


def test_a_last_layer_keeps_the_differences_of_its_weights():
    torch.manual_seed(0)
    layer = nn.Conv3d(5, 3, 1)
    before = layer.weight.detach().clone()
    start_undecided(layer)
    torch.testing.assert_close(
        layer.weight[:, 1:] - layer.weight[:, :1], before[:, 1:] - before[:, :1]
    )
    torch.testing.assert_close(layer.weight.sum(dim=1), torch.zeros(3, 1, 1, 1))
    assert layer.bias.tolist() == [0, 0, 0]


def test_a_last_layer_of_one_channel_or_without_bias():
    single, plain = nn.Conv2d(1, 3, 1), nn.Conv2d(4, 3, 1, bias=False)
    before = single.weight.detach().clone()
    start_undecided(single)
    start_undecided(plain)
    assert torch.equal(single.weight, before)  # of which nothing would be left
    torch.testing.assert_close(plain.weight.sum(dim=1), torch.zeros(3, 1, 1))
