"""Networks that only predict, against the same networks as they were trained."""

import copy

import pytest
import torch
from torch import nn

from llmseg_cli.inference.folding import fold_normalization, hold_convolutions_as
from llmseg_cli.registry import MODELS

NORMALIZATIONS = (nn.BatchNorm2d, nn.BatchNorm3d)


def trained(model, dimensions, normalization):
    """A network whose statistics and scales are those of no fresh one."""
    torch.manual_seed(0)
    options = {"filters": 4, "normalization": normalization, "dimensions": dimensions}
    network = MODELS.load(model)(1, 3, **options).eval()
    for module in network.modules():
        if isinstance(module, NORMALIZATIONS):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    return network.requires_grad_(False)


def image(dimensions):
    return torch.randn(2, 1, *(32,) * dimensions, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("model", ["vnet", "unet", "unetpp", "resenc"])
def test_batch_normalization_is_gone_and_the_answer_is_the_same(model, dimensions):
    network = trained(model, dimensions, "batch")
    folded = copy.deepcopy(network)
    fold_normalization(folded)
    assert not any(isinstance(module, NORMALIZATIONS) for module in folded.modules())
    expected = network(image(dimensions))
    scale = float(expected.abs().max())
    torch.testing.assert_close(folded(image(dimensions)), expected, atol=1e-5 * scale, rtol=1e-4)


@pytest.mark.parametrize("normalization", ["instance", "group"])
def test_normalization_by_the_image_stays(normalization):
    network = trained("vnet", 3, normalization)
    folded = copy.deepcopy(network)
    fold_normalization(folded)
    assert torch.equal(folded(image(3)), network(image(3)))


def test_a_normalization_before_its_convolution_is_left_alone():
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Conv2d(1, 2, 3), nn.ReLU(), nn.BatchNorm2d(2))
    network.eval().requires_grad_(False)
    before = network(image(2))
    fold_normalization(network)
    assert torch.equal(network(image(2)), before)


@pytest.mark.parametrize("normalization", ["batch", "instance", "group"])
def test_weights_in_half_precision_answer_as_autocast_does(normalization):
    network = trained("vnet", 3, normalization)
    held = copy.deepcopy(network)
    hold_convolutions_as(held, torch.bfloat16)
    kinds = {module.weight.dtype for module in held.modules() if isinstance(module, nn.Conv3d)}
    assert kinds == {torch.bfloat16}
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(held(image(3)), network(image(3)))
