"""3D U-Net as TraCoCo uses it for BraTS-2019."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from llmseg_cli.models.base import Segmenter
from llmseg_cli.models.layers import (
    CONVOLUTION,
    INTERPOLATION,
    MAX_POOL,
    check_settings,
    convolve_twice,
    draw_he_weights,
)

HALVINGS = 4


class UNet(Segmenter):
    """Two 3x3x3 convolutions a level, max pooling, linear upsampling, concatenated skips.

    Every convolution but the last is followed by normalization and ReLU. Channels double at each
    of four halvings, so that the bottleneck has `16 * filters`; each side of a patch is a multiple
    of 16. Weights start as in He et al. (normal, fan in). LLM-SegNet leaves its network for
    BraTS-2019 open; this is the one of its ancestor.

    Args:
        in_channels: Image channels `C`.
        classes: Classes `K`, with the background.
        dimensions: 2 or 3.
        filters: Channels of the first level.
        dropout: Probability of dropping a value of the bottleneck and of the last level.
        normalization: `instance` (the ancestor, without scale and shift), `batch` or `group`.

    Raises:
        UsageError: If an option is out of its range.

    References:
        Cicek et al., 3D U-Net, MICCAI 2016. arXiv:1606.06650. In the form of Liu et al., TraCoCo,
        2022. arXiv:2203.14523.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        dimensions: int = 3,
        filters: int = 16,
        dropout: float = 0.3,
        normalization: str = "instance",
    ) -> None:
        check_settings(
            dimensions=dimensions, filters=filters, dropout=dropout, normalization=normalization
        )
        super().__init__(
            dimensions=dimensions,
            bottleneck_channels=filters << HALVINGS,
            stride=1 << HALVINGS,
            smallest_grid=2 if normalization == "instance" else 1,
        )

        def level(inputs: int, outputs: int) -> nn.Sequential:
            return convolve_twice(
                inputs, outputs, dimensions=dimensions, normalization=normalization
            )

        widths = [filters << depth for depth in range(HALVINGS + 1)]
        rising = widths[::-1]
        joined = [deep + skip for deep, skip in pairwise(rising)]
        self.encoder = nn.ModuleList(map(level, [in_channels, *widths], widths))
        self.pool = MAX_POOL[dimensions](2)
        self.decoder = nn.ModuleList(map(level, joined, rising[1:]))
        self.up = nn.Upsample(scale_factor=2, mode=INTERPOLATION[dimensions], align_corners=False)
        self.dropout = nn.Dropout(dropout)
        self.output = CONVOLUTION[dimensions](filters, classes, 1)
        draw_he_weights(self)

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        self.grid_of(image.shape[2:])
        features, skips = self.encoder[0](image), []
        for block in self.encoder[1:]:
            skips.append(features)
            features = block(self.pool(features))
        return self.dropout(features), skips

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        features = bottleneck
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            features = block(torch.cat([skip, self.up(features)], dim=1))
        return self.output(self.dropout(features))
