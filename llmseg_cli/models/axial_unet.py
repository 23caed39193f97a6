"""A U-Net of residual blocks with axial attention."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.models.axial_attention import AxialAttention
from llmseg_cli.models.layers import (
    CONVOLUTION,
    INTERPOLATION,
    activated,
    draw_he_weights,
    normalize,
)

LEVELS = 4
BLOCKS = (1, 2, 4, 1)
EXPANSION = 2  # channels of a block's answer per channel of its attention
Through = Callable[..., Tensor]  # of a module and its inputs


class AxialBlock(nn.Module):
    """1x1 convolution, attention along each axis, 1x1 convolution, a sum, ReLU.

    Args:
        inputs: Channels in.
        width: Channels of attention; the block answers twice as many.
        stride: 1, or 2 for means of 2 x 2 behind the last axis.
        dimensions: Of the map.
        attention: Options of `AxialAttention`.
    """

    def __init__(
        self, inputs: int, width: int, stride: int, *, dimensions: int, **attention: object
    ) -> None:
        super().__init__()
        convolution, outputs = CONVOLUTION[dimensions], EXPANSION * width
        first = convolution(inputs, width, 1, bias=False)
        self.inward = nn.Sequential(*activated(first, width, "batch"))
        self.axes = nn.ModuleList(
            AxialAttention(width, axis, dimensions=dimensions, **attention)  # type: ignore[arg-type]
            for axis in range(dimensions)
        )
        self.outward = nn.Sequential(
            convolution(width, outputs, 1, bias=False), normalize("batch", outputs, dimensions)
        )
        self.stride = stride
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride > 1:
            shortened = convolution(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(shortened, normalize("batch", outputs, dimensions))

    def forward(self, features: Tensor) -> Tensor:
        """`(B, inputs, X, Y[, Z])` to `(B, 2 * width, X / stride rounded up, ...)`."""
        found = self.inward(features)
        for axis in self.axes:
            found = axis(found)
        if self.stride > 1:
            pool = F.avg_pool2d if found.ndim == 4 else F.avg_pool3d
            cells = tuple(min(self.stride, side) for side in found.shape[2:])
            found = pool(found, cells, ceil_mode=True)
        return F.relu(self.outward(F.relu(found)) + self.shortcut(features))


class Rise(nn.Module):
    """3x3 convolution, linear interpolation to the sides of the next level, ReLU, and its skip."""

    def __init__(self, inputs: int, outputs: int, dimensions: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = CONVOLUTION[dimensions](inputs, outputs, 3, stride=stride, padding=1)
        self.mode = INTERPOLATION[dimensions]

    def forward(self, features: Tensor, sides: Sequence[int], skip: Tensor | None) -> Tensor:
        """`(B, outputs, *sides)`."""
        found = self._convolved(features)
        risen = F.relu(F.interpolate(found, tuple(sides), mode=self.mode, align_corners=False))
        return risen if skip is None else risen + skip

    def _convolved(self, features: Tensor) -> Tensor:
        """The convolution, in full precision where it halves a side of one cell.

        There the gradient of a 3D kernel in bfloat16 is memory that nothing was written to (oneDNN
        of torch 2.13 on a CPU with AMX).
        """
        if self.convolution.stride[0] == 1 or min(features.shape[2:]) > 1 or not features.is_cpu:
            found: Tensor = self.convolution(features)
            return found
        with torch.autocast("cpu", enabled=False):
            found = self.convolution(features.to(self.convolution.weight.dtype))
        return found.to(features.dtype)


class AxialUNet(nn.Module):
    """A stem of three convolutions, levels of axial blocks, a decoder with skips that are added.

    The sides need no multiples: halves are rounded up, and the decoder rises to the sides that the
    encoder had. Where they are multiples of 2 to the power of the levels, this is as published.

    Args:
        in_channels: Image channels `C`.
        filters: Attention of level l, from 1 on, has `filters << l` channels.
        dimensions: 2 or 3.
        levels: 2, or 4, which has one more halving in front of the decoder.
        stem: Channels of the first and third convolution; the second has `16 * filters`.
        heads: As of `AxialAttention`.
        positions: Of the first level; each further one has a half.
        gates: As of `AxialAttention`.
        gate_start: The same.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        *,
        dimensions: int,
        levels: int,
        stem: int,
        heads: int,
        positions: int,
        gates: str,
        gate_start: float,
    ) -> None:
        super().__init__()
        convolution = CONVOLUTION[dimensions]
        wide = 16 * filters
        layers: list[nn.Module] = []
        for inputs, outputs, size in ((in_channels, stem, 7), (stem, wide, 3), (wide, stem, 3)):
            stride = 2 if size == 7 else 1
            one = convolution(inputs, outputs, size, stride, size // 2, bias=False)
            layers += activated(one, outputs, "batch")
        self.stem = nn.Sequential(*layers)
        self.levels = nn.ModuleList()
        channels, cells = stem, positions
        for level, blocks in enumerate(BLOCKS[:levels], start=1):
            width = filters << level
            made = nn.Sequential()
            for number in range(blocks):
                stride = 2 if level > 1 and number == 0 else 1
                made.append(
                    AxialBlock(
                        channels,
                        width,
                        stride,
                        dimensions=dimensions,
                        heads=heads,
                        positions=cells,
                        gates=gates,
                        gate_start=gate_start,
                    )
                )
                channels = EXPANSION * width
                if stride > 1 and cells:
                    cells = max(1, cells // 2)
            self.levels.append(made)
        falling = [EXPANSION * filters << level for level in range(levels, -1, -1)]
        self.rises = nn.ModuleList(Rise(a, b, dimensions) for a, b in pairwise(falling))
        self.bottom: Rise | None = None
        if levels == LEVELS:
            self.bottom = Rise(channels, channels, dimensions, stride=2)
        draw_he_weights(self)
        for module in self.modules():
            if isinstance(module, AxialAttention):
                module.draw_weights()

    def encode(self, image: Tensor, through: Through) -> list[Tensor]:
        """Maps of the levels, the finest first, of an image `(B, C, X, Y[, Z])`."""
        features = through(self.stem, image)
        maps: list[Tensor] = []
        for level in self.levels:
            for block in level.children():
                features = through(block, features)
            maps.append(features)
        return maps

    def decode(self, maps: list[Tensor], sides: Sequence[int], through: Through) -> Tensor:
        """`(B, 2 * filters, *sides)` of what `encode` returned of an image of these *sides*."""
        *skips, features = maps
        if self.bottom is not None:
            features = through(self.bottom, features, features.shape[2:], features)
        for rise, skip in zip(self.rises, [*skips[::-1], None], strict=True):
            features = through(rise, features, sides if skip is None else skip.shape[2:], skip)
        return features
