"""Against the layers of the ancestor, and in the precision it is trained with."""

import pytest
import torch
import torch.nn.functional as F
from processor import both_formats, computing_in, keeps_layout
from torch import nn

from llmseg_cli.errors import UsageError
from llmseg_cli.models.unet import UNet


def parameters_by_level(in_channels: int, classes: int, *, dimensions: int, filters: int):
    """Weights and biases of two convolutions a level; instance normalization has none."""

    def level(inputs: int, outputs: int) -> int:
        return 3**dimensions * outputs * (inputs + outputs) + 2 * outputs

    widths = [filters * 2**depth for depth in range(5)]
    down = level(in_channels, widths[0]) + sum(map(level, widths[:-1], widths[1:]))
    up = sum(level(3 * width, width) for width in widths[:-1])  # a skip and twice its channels
    return down + up + filters * classes + classes


@pytest.mark.parametrize(("dimensions", "filters", "classes"), [(3, 16, 2), (2, 3, 4)])
def test_has_the_parameters_of_its_levels(dimensions, filters, classes):
    network = UNet(2, classes, dimensions=dimensions, filters=filters)
    assert sum(p.numel() for p in network.parameters()) == parameters_by_level(
        2, classes, dimensions=dimensions, filters=filters
    )


@pytest.mark.parametrize("normalization", ["batch", "instance", "group"])
@pytest.mark.parametrize("sides", [(16, 48), (16, 48, 32)])
def test_one_logit_per_class_and_voxel(sides, normalization):
    network = UNet(2, 3, dimensions=len(sides), filters=2, dropout=0, normalization=normalization)
    logits = network(torch.randn(2, 2, *sides))
    assert logits.shape == (2, 3, *sides)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert all(p.grad.any() for p in network.parameters() if p.ndim > 1)


def test_bottleneck_for_the_crop_of_brats():
    network = UNet(1, 2).eval().to("meta")
    bottleneck, skips = network.encode(torch.empty(1, 1, 96, 96, 96, device="meta"))
    assert bottleneck.shape == (1, network.bottleneck_channels, 6, 6, 6) == (1, 256, 6, 6, 6)
    assert [tuple(s.shape[1:3]) for s in skips] == [(16, 96), (32, 48), (64, 24), (128, 12)]


def test_decoder_joins_the_skip_and_the_upsampled_features():
    network = UNet(1, 2, filters=2).eval()
    image = torch.randn(1, 1, 16, 32, 16)
    features, skips = network.encode(image)
    for block, skip in zip(network.decoder, skips[::-1], strict=True):
        raised = F.interpolate(features, size=skip.shape[2:], mode="trilinear")
        features = block(torch.cat([skip, raised], dim=1))
    torch.testing.assert_close(network(image), network.output(features))


def test_weights_start_normal_with_their_fan_in():
    weight = UNet(1, 2).encoder[3][3].weight  # 128 to 128
    assert weight.std().item() == pytest.approx((2 / (27 * 128)) ** 0.5, rel=0.01)


@both_formats
def test_runs_with_channels_last(dtype):
    network = UNet(1, 2, filters=4).to(memory_format=torch.channels_last_3d)
    image = torch.randn(2, 1, 32, 16, 48).to(memory_format=torch.channels_last_3d)
    with computing_in(dtype):
        bottleneck, skips = network.encode(image)
        logits = network.decode(bottleneck, skips)
    assert logits.dtype == dtype
    if keeps_layout(dtype):
        assert all(s.is_contiguous(memory_format=torch.channels_last_3d) for s in skips)
    logits.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_a_patch_it_does_not_divide_is_refused():
    with pytest.raises(UsageError, match="Instead of 90 use 80 or 96"):
        UNet(1, 2, filters=2)(torch.zeros(1, 1, 90, 96, 96))


def test_one_bottleneck_voxel_is_refused():
    with pytest.raises(UsageError, match="at the bottleneck"):
        UNet(1, 2, filters=2)(torch.zeros(1, 1, 16, 16, 16))


class Halves(nn.Module):
    """Feature maps of 2, 4 and 8 pixels."""

    halvings, widths = 1, (3, 5, 7)

    def forward(self, image):
        means = (F.avg_pool2d(image, 1 << n).mean(1, keepdim=True) for n in (1, 2, 3))
        return [m.repeat(1, width, 1, 1) for m, width in zip(means, self.widths, strict=True)]


def test_feature_maps_of_an_encoder_are_its_lower_levels():
    torch.manual_seed(0)
    network = UNet(2, 3, dimensions=2, filters=4, encoder=Halves()).eval()
    image = torch.randn(2, 2, 16, 24)
    bottleneck, skips = network.encode(image)
    maps = Halves()(image)
    assert network.stride == 8
    torch.testing.assert_close(skips[0], network.encoder[0](image))
    for found, expected in zip((*skips[1:], bottleneck), maps, strict=True):
        torch.testing.assert_close(found, expected)
    assert [block[0].in_channels for block in network.decoder] == [7 + 5, 5 + 3, 3 + 4]
    assert network(image).shape == (2, 3, 16, 24)
    network(image).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())
