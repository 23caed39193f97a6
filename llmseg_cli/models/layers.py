"""Layers in two and three dimensions, and the checks that networks share."""

from math import gcd

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.errors import UsageError, unknown


class Convolution3d(nn.Conv3d):
    """A 3D convolution that is right for thin inputs, too.

    oneDNN's bfloat16 kernels of size 3 (torch 2.13, processors with avx512_bf16) leave the gradient
    of the weights unwritten where X is 2 voxels, and miscompute one channel where it is 1. Padding
    X beforehand, and not in the kernel, avoids them.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002 - torch's name
        if input.shape[2] > THIN or self.padding != (1, 1, 1) or input.device.type != "cpu":
            return super()._conv_forward(input, weight, bias)
        padded = F.pad(input, (0, 0, 0, 0, 1, 1))
        return F.conv3d(padded, weight, bias, self.stride, (0, 1, 1), self.dilation, self.groups)


CONVOLUTION: dict[int, type[nn.Conv2d | nn.Conv3d]] = {2: nn.Conv2d, 3: Convolution3d}
TRANSPOSED: dict[int, type[nn.ConvTranspose2d | nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
CHANNEL_DROPOUT: dict[int, type[nn.Dropout2d | nn.Dropout3d]] = {2: nn.Dropout2d, 3: nn.Dropout3d}
MAX_POOL: dict[int, type[nn.MaxPool2d | nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
INTERPOLATION = {2: "bilinear", 3: "trilinear"}
NORMALIZATIONS = ("batch", "instance", "group")
GROUPS = 16
THIN = 2  # voxels along X


class InstanceNormalization(nn.Module):
    """Mean 0 and variance 1 in each channel of each case, without scale and shift.

    Torch returns it contiguous; here channels stay last where they were, without which all
    convolutions behind it are slow.
    """

    def forward(self, features: Tensor) -> Tensor:
        return _normalized(features)


class ScaledInstanceNormalization(nn.Module):
    """The same, with a learned scale and shift for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        return _normalized(features, self.weight, self.bias)


def _normalized(
    features: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    normalized = F.instance_norm(features, weight=weight, bias=bias)
    last = torch.channels_last if features.ndim == 4 else torch.channels_last_3d
    if features.is_contiguous(memory_format=last):
        return normalized.contiguous(memory_format=last)
    return normalized


def normalize(normalization: str, channels: int, dimensions: int) -> nn.Module:
    """The layer that *normalization* names.

    Instance normalization has no scale and shift, as in the V-Net and U-Net of TraCoCo. Groups are
    16, or the largest number that divides both 16 and *channels*.
    """
    if normalization == "batch":
        return (nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d)(channels)
    if normalization == "instance":
        return InstanceNormalization()
    return nn.GroupNorm(gcd(GROUPS, channels), channels)


def activated(layer: nn.Module, channels: int, normalization: str) -> list[nn.Module]:
    """A convolution with *channels* outputs, its normalization, and ReLU.

    ReLU works in place: the backward pass of a normalization needs its input, which ReLU leaves
    alone.
    """
    dimensions = 2 if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) else 3
    return [layer, normalize(normalization, channels, dimensions), nn.ReLU(inplace=True)]


def convolve(
    times: int, inputs: int, outputs: int, *, dimensions: int, normalization: str
) -> nn.Sequential:
    """That many 3x3x3 convolutions of the same size, each with normalization and ReLU."""
    stages: list[nn.Module] = []
    for channels in (inputs, *[outputs] * (times - 1)):
        convolution = CONVOLUTION[dimensions](channels, outputs, 3, padding=1)
        stages += activated(convolution, outputs, normalization)
    return nn.Sequential(*stages)


def draw_he_weights(network: nn.Module) -> None:
    """Draw the weights of all convolutions as He et al. (normal, fan in). arXiv:1502.01852.

    Weights without values (meta) stay so: torch would load its compiler to draw none.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d) and not module.weight.is_meta:
            nn.init.kaiming_normal_(module.weight)


def start_undecided(output: nn.Conv2d | nn.Conv3d) -> None:
    """Let a network's last layer begin without a preference for a class.

    What it reads is behind a ReLU and never negative, so a class whose weights happen to be drawn
    below those of the others stays below them wherever it is, and an optimizer of small steps never
    learns it. Here the weights of each class add up to 0, as those of all others do. Weights
    without values (meta) stay so, as in `draw_he_weights`.
    """
    if output.weight.is_meta:
        return
    with torch.no_grad():
        if output.weight.shape[1] > 1:
            output.weight -= output.weight.mean(dim=1, keepdim=True)
        if output.bias is not None:
            output.bias.zero_()


def check_settings(
    *, dimensions: int, filters: int, dropout: float, normalization: str = "batch"
) -> None:
    """Refuse values that no network can be built with.

    Raises:
        UsageError: If a value is out of its range or the normalization is unknown.
    """
    if dimensions not in CONVOLUTION:
        raise UsageError(f"dimensions is {dimensions}; a network has 2 or 3.")
    if filters < 1:
        raise UsageError(f"filters is {filters}; a network needs at least 1.")
    if not 0 <= dropout < 1:
        raise UsageError(f"dropout is {dropout}; give a probability from 0 to below 1.")
    if normalization not in NORMALIZATIONS:
        raise unknown("normalization", normalization, NORMALIZATIONS)
