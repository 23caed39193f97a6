"""The ResNet with standardized weights that TransUNet's tokens come from."""

from math import gcd

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 32
UNITS = (3, 4, 9)  # of the three stages
EXPANSION = 4  # channels of a stage per channel within its units
STANDARD = 1e-5  # added to the standard deviation, as google-research/vision_transformer does
EPSILON = 1e-6  # of the group normalizations


class StandardizedConvolution(nn.Conv2d):
    r"""A convolution with weights $(w - \mu) / (\sigma + 10^{-5})$ per output channel, `SAME`.

    Padding is TensorFlow's, with the odd voxel behind: the network whose weights are published was
    trained so. No bias.
    """

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, size, stride, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)
        weight = (self.weight - mean) / (variance.sqrt() + STANDARD)
        padded = same(input, self.kernel_size[0], self.stride[0])
        return F.conv2d(padded, weight, None, self.stride)


class Unit(nn.Module):
    """A bottleneck unit: 1x1, 3x3 and 1x1 convolutions, a sum, ReLU; each with group normalization.

    Args:
        inputs: Channels in.
        within: Channels of the 3x3 convolution, which has the stride.
        stride: 1 or 2.
    """

    def __init__(self, inputs: int, within: int, stride: int) -> None:
        super().__init__()
        outputs = EXPANSION * within
        self.layers = nn.Sequential(
            *activated(StandardizedConvolution(inputs, within, 1)),
            *activated(StandardizedConvolution(within, within, 3, stride)),
            *activated(StandardizedConvolution(within, outputs, 1))[:2],
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            layers = activated(StandardizedConvolution(inputs, outputs, 1, stride))[:2]
            self.shortcut = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.layers(features) + self.shortcut(features))


class Pool(nn.Module):
    """The largest of 3 x 3 with stride 2, half the sides rounded up."""

    def forward(self, features: Tensor) -> Tensor:
        return F.max_pool2d(same(features, 3, 2, value=-float("inf")), 3, 2)


def stages(in_channels: int, filters: int) -> tuple[nn.ModuleList, list[int]]:
    """Root and three stages, for maps of a half to a sixteenth of the sides, and their channels.

    Args:
        in_channels: Image channels.
        filters: 32 makes the ResNet-50 of TransUNet, with 64, 256, 512 and 1,024 channels.

    References:
        Kolesnikov et al., Big Transfer, ECCV 2020. arXiv:1912.11370. In the form of Dosovitskiy et
        al., ICLR 2021, arXiv:2010.11929, appendix B: the last stage joins the third.
    """
    widths = [2 * filters << shift for shift in (0, 2, 3, 4)]
    found = [nn.Sequential(*activated(StandardizedConvolution(in_channels, widths[0], 7, 2)))]
    for number, (inputs, outputs, units) in enumerate(zip(widths, widths[1:], UNITS, strict=False)):
        stride = 2 if number else 1
        layers: list[nn.Module] = [] if number else [Pool()]
        for unit in range(units):
            ins, step = (outputs, 1) if unit else (inputs, stride)
            layers.append(Unit(ins, outputs // EXPANSION, step))
        found.append(nn.Sequential(*layers))
    return nn.ModuleList(found), widths


def activated(convolution: StandardizedConvolution) -> list[nn.Module]:
    """A convolution, group normalization, ReLU."""
    channels = convolution.out_channels
    return [
        convolution,
        nn.GroupNorm(gcd(GROUPS, channels), channels, eps=EPSILON),
        nn.ReLU(inplace=True),
    ]


def same(features: Tensor, size: int, stride: int, *, value: float = 0.0) -> Tensor:
    """Features padded so that a kernel answers once for every *stride* voxels, rounded up."""
    pads: list[int] = []
    for side in reversed(features.shape[2:]):
        total = max((-(-side // stride) - 1) * stride + size - side, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(features, pads, value=value) if any(pads) else features
