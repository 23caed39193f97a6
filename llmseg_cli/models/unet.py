"""3D U-Net as TraCoCo uses it for BraTS-2019."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from llmseg_cli.errors import UsageError
from llmseg_cli.models.base import Segmenter, coarser_heads
from llmseg_cli.models.layers import (
    CONVOLUTION,
    INTERPOLATION,
    MAX_POOL,
    check_settings,
    convolve,
    draw_he_weights,
    start_undecided,
)

HALVINGS = 4


class FeatureMaps(Protocol):
    """A module that returns feature maps of pictures, each with half the side of the one before."""

    @property
    def widths(self) -> Sequence[int]:
        """Channels of the maps, the finest first."""

    @property
    def halvings(self) -> int:
        """How often the side of the finest is half that of the picture."""

    def __call__(self, image: Tensor) -> list[Tensor]:
        """`(B, widths[i], X / 2 ** (halvings + i), Y / ...)` of an image `(B, C, X, Y)`."""


def deepest(encoder: FeatureMaps) -> int:
    """How often the side of an encoder's coarsest map is half that of the picture."""
    return encoder.halvings + len(encoder.widths) - 1


def widths_with(encoder: FeatureMaps, own: Sequence[int], *, dimensions: int) -> list[int]:
    """Channels of the levels of a network whose lower ones are an encoder's feature maps.

    Args:
        encoder: A pre-trained encoder of pictures.
        own: Channels of the levels of the network without it.
        dimensions: Of the network.

    Raises:
        UsageError: If the network is for 3D, or has another depth than the encoder.
    """
    if dimensions != 2:
        raise UsageError("An image encoder is for pictures: give --patch two sides, as 128,128.")
    if len(own) - 1 != deepest(encoder):
        raise UsageError(
            f"depth is {len(own) - 1}; this image encoder halves {deepest(encoder)} times."
        )
    return [*own[: encoder.halvings], *encoder.widths]


class Pooling(Segmenter):
    """A network whose encoder halves by max pooling, and whose decoder doubles linearly.

    Args:
        in_channels: Image channels `C`.
        classes: Classes `K`, with the background.
        widths: Channels of the levels, the bottleneck's last.
        dimensions: 2 or 3.
        dropout: Probability of dropping a value of the bottleneck; subclasses use it again.
        normalization: `batch`, `instance` (without scale and shift) or `group`.
        deep_supervision: As of `Segmenter`.
        sums_heads: As of `Segmenter`.
        live_maps: As of `Segmenter`, without what instance normalization adds in full precision.
        own: Levels whose features are this network's own, the finest; None for all. Those below
            are the feature maps of `pretrained`, which a subclass sets once it has drawn weights.

    Raises:
        UsageError: If an option is out of its range.
    """

    pretrained: FeatureMaps | None

    def __init__(
        self,
        in_channels: int,
        classes: int,
        widths: Sequence[int],
        *,
        dimensions: int,
        dropout: float,
        normalization: str,
        deep_supervision: bool = False,
        sums_heads: bool = False,
        live_maps: int = 9,
        own: int | None = None,
    ) -> None:
        check_settings(
            dimensions=dimensions, filters=widths[0], dropout=dropout, normalization=normalization
        )
        super().__init__(
            in_channels=in_channels,
            classes=classes,
            dimensions=dimensions,
            bottleneck_channels=widths[-1],
            stride=1 << len(widths) - 1,
            smallest_grid=2 if normalization == "instance" else 1,
            deep_supervision=deep_supervision,
            sums_heads=sums_heads,
            live_maps=live_maps + (12 if normalization == "instance" else 0),
        )
        self.node = partial(convolve, 2, dimensions=dimensions, normalization=normalization)
        self.own_widths = [in_channels, *widths[:own]]
        self.encoder = self.own_levels()
        self.pretrained = None
        self.pool = MAX_POOL[dimensions](2)
        self.up = nn.Upsample(scale_factor=2, mode=INTERPOLATION[dimensions], align_corners=False)
        self.dropout = nn.Dropout(dropout)

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        self.grid_of(image.shape[2:])
        *skips, bottleneck = self.maps_of(image, self.encoder, self.pretrained)
        return self.dropout(bottleneck), skips

    def own_levels(self) -> nn.ModuleList:
        """The convolutions of the levels that are this network's own, with new weights."""
        return nn.ModuleList(self.node(above, own) for above, own in pairwise(self.own_widths))

    def maps_of(
        self, image: Tensor, levels: nn.ModuleList, pretrained: FeatureMaps | None
    ) -> list[Tensor]:
        """Feature maps of an image, the finest first: those of the levels, then of the encoder."""
        features: list[Tensor] = []
        for block in levels:
            features.append(self.through(block, self.pool(features[-1]) if features else image))
        return features if pretrained is None else features + pretrained(image)


class UNet(Pooling):
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
        encoder: A pre-trained encoder of pictures, or None. The network is then as deep as it is;
            its feature maps are the levels that they fit, and the finer ones keep the convolutions
            above.
        deep_supervision: Also train heads of a half and a quarter of the sides, as nnU-Net does
            (ours here); the one of full size predicts.

    Raises:
        UsageError: If an option is out of its range, or the encoder is given in 3D.

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
        encoder: FeatureMaps | None = None,
        deep_supervision: bool = False,
    ) -> None:
        halvings = deepest(encoder) if encoder else HALVINGS
        widths = [filters << depth for depth in range(halvings + 1)]
        if encoder:
            widths = widths_with(encoder, widths, dimensions=dimensions)
        super().__init__(
            in_channels,
            classes,
            widths,
            dimensions=dimensions,
            dropout=dropout,
            normalization=normalization,
            own=encoder.halvings if encoder else None,
            deep_supervision=deep_supervision,
        )
        rising = widths[::-1]
        joined = [deep + skip for deep, skip in pairwise(rising)]
        self.decoder = nn.ModuleList(map(self.node, joined, rising[1:]))
        self.output = CONVOLUTION[dimensions](widths[0], classes, 1)
        draw_he_weights(self)
        start_undecided(self.output)
        self.pretrained = encoder
        coarser = widths[1:-2] if deep_supervision else []
        self.coarser = coarser_heads(coarser, classes, dimensions)

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        features = bottleneck
        for level, skip in enumerate(reversed(skips)):
            features = self._rise(level, features, skip)
        return self.output(self.dropout(features))

    def decode_heads(self, bottleneck: Tensor, skips: list[Tensor]) -> list[Tensor]:
        levels = [bottleneck]
        for level, skip in enumerate(reversed(skips)):
            levels.append(self._rise(level, levels[-1], skip))
        heads = [self.output, *self.coarser]
        return [head(self.dropout(one)) for head, one in zip(heads, levels[::-1], strict=False)]

    def _rise(self, level: int, features: Tensor, skip: Tensor) -> Tensor:
        """Features of a level of the decoder, counted from the coarsest."""
        return self.through(self.decoder[level], torch.cat([skip, self.up(features)], dim=1))
