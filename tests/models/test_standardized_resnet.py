"""TransUNet's ResNet beside timm's, whose published weights it is meant for."""

import pytest
import torch

from llmseg_cli.models import standardized_resnet
from llmseg_cli.models.standardized_resnet import StandardizedConvolution, same, stages
from llmseg_cli.numerics.torchvision_operators import ensure_torchvision

TINY = 1e-18  # added to variances, where timm demands something


def by_timm(image: torch.Tensor, ours: torch.nn.ModuleList) -> list[torch.Tensor]:
    """The maps of timm's ResNet with the weights of ours."""
    ensure_torchvision()
    from timm.models.vision_transformer_hybrid import _resnetv2

    network = _resnetv2((3, 4, 9)).double().eval()
    weights = dict(network.state_dict())
    order = {"conv1": 0, "norm1": 1, "conv2": 3, "norm2": 4, "conv3": 6, "norm3": 7}
    for key in weights:
        parts = key.split(".")
        if parts[0] == "stem":
            place = {"conv": 0, "norm": 1}[parts[1]]
            weights[key] = ours[0].get_parameter(f"{place}.{parts[2]}")
        elif parts[0] == "stages":
            stage, unit = int(parts[1]), int(parts[3])
            block = ours[stage + 1][unit + (stage == 0)]
            if parts[4] == "downsample":
                place = {"conv": 0, "norm": 1}[parts[5]]
                weights[key] = block.shortcut.get_parameter(f"{place}.{parts[6]}")
            else:
                weights[key] = block.layers.get_parameter(f"{order[parts[4]]}.{parts[5]}")
    network.load_state_dict(weights)
    for module in network.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.eps = standardized_resnet.EPSILON
        elif isinstance(module, torch.nn.Conv2d):
            module.eps = TINY
    found = [network.stem.norm(network.stem.conv(image))]
    features = network.stem(image)
    for stage in network.stages:
        features = stage(features)
        found.append(features)
    return found


@torch.no_grad()
def test_the_maps_are_those_of_timm_with_the_same_weights(monkeypatch):
    """But for the numbers that keep divisors from 0, which are Google's here."""
    monkeypatch.setattr(standardized_resnet, "STANDARD", 0.0)
    torch.manual_seed(0)
    ours, widths = stages(3, 32)
    ours.double()
    for parameter in ours.parameters():
        if parameter.ndim == 1:  # scales and shifts that are not those of the start
            parameter.add_(0.1 * torch.randn_like(parameter))
    image = torch.randn(1, 3, 224, 224, dtype=torch.float64)
    maps = []
    for stage in ours:
        maps.append(stage(maps[-1] if maps else image))
    assert [(m.shape[1], m.shape[2]) for m in maps] == [(64, 112), (256, 56), (512, 28), (1024, 14)]
    assert widths == [64, 256, 512, 1024]
    assert sum(p.numel() for p in ours.parameters()) == 11_894_848
    for found, expected in zip(maps, by_timm(image, ours), strict=True):
        assert (found - expected).norm() < 1e-9 * expected.norm()
    assert maps[1][0, :, -1].std() > 0.1  # no row of zeros, as the authors' code has
    assert maps[1][0, :, :, -1].std() > 0.1


def test_weights_have_mean_0_and_deviation_1():
    convolution = StandardizedConvolution(4, 6, 3)
    seen = []
    image = torch.zeros(1, 4, 27, 9)
    index = [(c, x, y) for c in range(4) for x in range(3) for y in range(3)]
    for c, x, y in index:
        one = torch.zeros(1, 4, 3, 3)
        one[0, c, x, y] = 1
        seen.append(convolution(one)[0, :, 1, 1])
    kernels = torch.stack(seen, dim=1)
    torch.testing.assert_close(kernels.mean(1), torch.zeros(6), atol=1e-6, rtol=0)
    torch.testing.assert_close(kernels.std(1, correction=0), torch.ones(6), atol=1e-3, rtol=0)
    assert convolution(image).shape == (1, 6, 27, 9)


@pytest.mark.parametrize(("size", "stride", "side", "before", "behind"), [
    (7, 2, 224, 2, 3), (3, 2, 112, 0, 1), (3, 1, 10, 1, 1), (3, 2, 11, 1, 1), (1, 2, 8, 0, 0),
])  # fmt: skip
def test_padding_is_that_of_tensorflow(size, stride, side, before, behind):
    padded = same(torch.ones(1, 1, side, side), size, stride)
    line = padded[0, 0, padded.shape[2] // 2]
    assert line.tolist() == [0] * before + [1] * side + [0] * behind
