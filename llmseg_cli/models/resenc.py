"""nnU-Net's U-Net with a residual encoder, of the package dynamic-network-architectures."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.errors import UsageError
from llmseg_cli.models.base import Segmenter
from llmseg_cli.models.layers import (
    CHANNEL_DROPOUT,
    CONVOLUTION,
    ScaledInstanceNormalization,
    check_settings,
    normalize,
    start_undecided,
)

PACKAGE = "dynamic-network-architectures"
BLOCKS = (1, 3, 4, 6)  # of the first stages as nnU-Net has them; all deeper ones have as the last
WIDEST = {2: 512, 3: 320}  # channels of a stage, as in nnU-Net
MOST_STAGES = 10  # a patch of 512 voxels is one voxel then
LAYERS = "all_modules"  # of the package's convolution: what it runs, beside aliases of each


class ResEnc(Segmenter):
    """Residual blocks (ResNet-D) with strided convolutions down, a plain decoder up.

    Built by `ResidualEncoderUNet` of the package, as nnU-Net's presets are: 3x3x3 convolutions with
    bias, LeakyReLU, channels that double per stage up to 320 (512 in 2D), one convolution per stage
    of the decoder, weights as in He et al. with the last normalization of a block at 0. nnU-Net
    chooses stages and anisotropic strides from the data; here every stage but the first halves each
    side, so that a side of a patch is a multiple of `2 ** (stages - 1)`. The names of its tensors
    are the package's, without its aliases.

    Args:
        in_channels: Image channels `C`.
        classes: Classes `K`, with the background.
        dimensions: 2 or 3.
        filters: Channels of the first stage.
        stages: Levels of the encoder, the bottleneck's too. The default is ours, as deep as the
            other networks here; nnU-Net mostly has 6 in 3D.
        blocks: Residual blocks of the stages, as `1,3,4,6,6`; one number for all of them; nothing
            for nnU-Net's.
        dropout: Probability of dropping a channel of the bottleneck; nnU-Net has none.
        normalization: `instance` (nnU-Net, with scale and shift), `batch` or `group`.
        deep_supervision: Also train heads of a half, a quarter and so on of the sides, as nnU-Net
            does; the one of full size predicts. Needs three stages.

    Raises:
        UsageError: If an option is out of its range, or the package is not installed.

    References:
        Isensee et al., nnU-Net Revisited, MICCAI 2024. arXiv:2404.09556.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        dimensions: int = 3,
        filters: int = 32,
        stages: int = 5,
        blocks: str = "",
        dropout: float = 0.0,
        normalization: str = "instance",
        deep_supervision: bool = False,
    ) -> None:
        check_settings(
            dimensions=dimensions, filters=filters, dropout=dropout, normalization=normalization
        )
        if not 2 <= stages <= MOST_STAGES:
            raise UsageError(f"stages is {stages}; this network has 2 to {MOST_STAGES}.")
        if deep_supervision and stages < 3:
            raise UsageError(f"stages is {stages}; deep_supervision needs 3, for a second head.")
        widest = max(filters, WIDEST[dimensions])
        widths = [min(filters << stage, widest) for stage in range(stages)]
        super().__init__(
            in_channels=in_channels,
            classes=classes,
            dimensions=dimensions,
            bottleneck_channels=widths[-1],
            stride=1 << stages - 1,
            smallest_grid=2 if normalization == "instance" else 1,
            deep_supervision=deep_supervision,
            live_maps=16 if normalization == "instance" else 7,
        )
        made = _library()(
            in_channels,
            stages,
            widths,
            CONVOLUTION[dimensions],
            kernel_sizes=3,
            strides=[1, *[2] * (stages - 1)],
            n_blocks_per_stage=_blocks_of(blocks, stages),
            num_classes=classes,
            n_conv_per_stage_decoder=1,
            conv_bias=True,
            norm_op=_normalization(normalization, dimensions),
            nonlin=nn.LeakyReLU,
            nonlin_kwargs={"inplace": True},
        )
        made.apply(made.initialize)
        _remove_aliases(made)
        self.encoder, self.decoder = made.encoder, made.decoder
        # nnU-Net weighs the coarsest head with 0; without deep supervision nothing trains others.
        del self.decoder.seg_layers[: 1 if deep_supervision else -1]
        for head in self.decoder.seg_layers:
            start_undecided(head)
        self.dropout = CHANNEL_DROPOUT[dimensions](dropout)

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        self.grid_of(image.shape[2:])
        features, skips = self.through(self.encoder.stem, image), []
        for stage in self.encoder.stages:
            features = self.through(stage, features)
            skips.append(features)
        return self.dropout(skips.pop()), skips

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        features = bottleneck
        for level, skip in enumerate(reversed(skips)):
            features = self._rise(level, features, skip)
        logits: Tensor = self.decoder.seg_layers[-1](features)
        return logits

    def decode_heads(self, bottleneck: Tensor, skips: list[Tensor]) -> list[Tensor]:
        levels = [bottleneck]
        for level, skip in enumerate(reversed(skips)):
            levels.append(self._rise(level, levels[-1], skip))
        heads = list(self.decoder.seg_layers)[::-1]
        return [head(features) for head, features in zip(heads, levels[::-1], strict=False)]

    def _rise(self, level: int, features: Tensor, skip: Tensor) -> Tensor:
        """Features of a level of the decoder, counted from the coarsest."""
        up, stage = self.decoder.transpconvs[level], self.decoder.stages[level]
        return self.through(stage, torch.cat([up(features), skip], dim=1))


def _library() -> Any:
    """The package's constructor.

    Raises:
        UsageError: If it is not installed.
    """
    try:
        from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
    except ImportError as error:
        raise UsageError(
            f"--model resenc needs the package {PACKAGE}: python -m pip install 'llmseg[resenc]'."
        ) from error
    return ResidualEncoderUNet


def _blocks_of(text: str, stages: int) -> list[int]:
    if not text:
        return [*BLOCKS, *BLOCKS[-1:] * stages][:stages]
    words = text.split(",")
    if not all(word.strip().isdecimal() and int(word) for word in words):
        raise UsageError(f"blocks is {text!r}; expected numbers of 1 or more, such as 1,3,4,6,6.")
    found = [int(word) for word in words] * (stages if len(words) == 1 else 1)
    if len(found) != stages:
        raise UsageError(f"blocks is {text!r}; expected one number, or {stages}, one a stage.")
    return found


def _normalization(name: str, dimensions: int) -> Any:
    """What makes the normalization of a number of channels, as the package asks for it."""
    if name == "instance":
        return ScaledInstanceNormalization
    return partial(normalize, name, dimensions=dimensions)


def _remove_aliases(network: Any) -> None:
    """Hold every layer under one name, as files of weights have to.

    The package names the layers of a convolution twice, and the encoder a second time in the
    decoder, for its own book-keeping.
    """
    for module in list(network.modules()):
        if hasattr(module, LAYERS):
            for name in [name for name, _ in module.named_children() if name != LAYERS]:
                delattr(module, name)
    del network.decoder.encoder
