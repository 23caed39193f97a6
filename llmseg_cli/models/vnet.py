"""V-Net as LLM-SegNet and its ancestors use it."""

from functools import partial

from torch import Tensor, nn

from llmseg_cli.models.base import Segmenter, coarser_heads
from llmseg_cli.models.layers import (
    CHANNEL_DROPOUT,
    CONVOLUTION,
    TRANSPOSED,
    activated,
    check_settings,
    convolve,
    start_undecided,
)

ENCODER_DEPTHS = (1, 2, 3, 3, 3)  # convolutions of each block, the last at the bottleneck
DECODER_DEPTHS = (3, 3, 2, 1)


class VNet(Segmenter):
    """Blocks of 3x3x3 convolutions, four halvings by strided convolution, added skips.

    Every convolution but the last is followed by normalization and ReLU. Channels double at each
    halving, so that the bottleneck has `16 * filters`; each side of a patch is a multiple of 16.

    Args:
        in_channels: Image channels `C`.
        classes: Classes `K`, with the background.
        dimensions: 2 or 3.
        filters: Channels of the first block.
        dropout: Probability of dropping a channel of the bottleneck and of the last block.
        normalization: `batch` (the paper), `instance` or `group`.
        deep_supervision: Also train heads of a half and a quarter of the sides, as nnU-Net does
            (ours here); the one of full size predicts.

    Raises:
        UsageError: If an option is out of its range.

    References:
        Milletari et al., V-Net, 3DV 2016. arXiv:1606.04797. In the form of Yu et al., MICCAI 2019,
        arXiv:1907.07034, without residual blocks, as in Kumari et al. 2024, arXiv:2407.05088.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        dimensions: int = 3,
        filters: int = 16,
        dropout: float = 0.5,
        normalization: str = "batch",
        deep_supervision: bool = False,
    ) -> None:
        check_settings(
            dimensions=dimensions, filters=filters, dropout=dropout, normalization=normalization
        )
        halvings = len(DECODER_DEPTHS)
        super().__init__(
            in_channels=in_channels,
            classes=classes,
            dimensions=dimensions,
            bottleneck_channels=filters << halvings,
            stride=1 << halvings,
            smallest_grid=2 if normalization == "instance" else 1,
            deep_supervision=deep_supervision,
            live_maps=10 if normalization == "instance" else 5,
        )
        block = partial(convolve, dimensions=dimensions, normalization=normalization)

        def halve(inputs: int, outputs: int) -> nn.Sequential:
            layer = CONVOLUTION[dimensions](inputs, outputs, 2, stride=2)
            return nn.Sequential(*activated(layer, outputs, normalization))

        def double(inputs: int, outputs: int) -> nn.Sequential:
            layer = TRANSPOSED[dimensions](inputs, outputs, 2, stride=2)
            return nn.Sequential(*activated(layer, outputs, normalization))

        widths = [filters << level for level in range(halvings + 1)]
        inputs = [in_channels, *widths[1:]]
        self.encoder = nn.ModuleList(map(block, ENCODER_DEPTHS, inputs, widths))
        self.down = nn.ModuleList(map(halve, widths[:-1], widths[1:]))
        rising = widths[::-1]
        self.up = nn.ModuleList(map(double, rising[:-1], rising[1:]))
        self.decoder = nn.ModuleList(map(block, DECODER_DEPTHS, rising[1:], rising[1:]))
        self.dropout = CHANNEL_DROPOUT[dimensions](dropout)
        self.output = CONVOLUTION[dimensions](filters, classes, 1)
        start_undecided(self.output)
        coarser = widths[1:-2] if deep_supervision else []
        self.coarser = coarser_heads(coarser, classes, dimensions)

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        self.grid_of(image.shape[2:])
        features, skips = self.through(self.encoder[0], image), []
        for down, block in zip(self.down, self.encoder[1:], strict=True):
            skips.append(features)
            features = self.through(block, down(features))
        return self.dropout(features), skips

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
        return self.through(self.decoder[level], self.up[level](features) + skip)
