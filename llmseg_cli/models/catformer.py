"""CATformer: class-aware transformers on four levels of an encoder, and a decoder of MLPs."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.models import standardized_resnet
from llmseg_cli.models.cascade import LEVELS, four_levels
from llmseg_cli.models.class_aware import SAMPLINGS, ClassAwareLevel
from llmseg_cli.models.layers import (
    CONVOLUTION,
    INTERPOLATION,
    draw_he_weights,
    normalize,
    start_undecided,
)
from llmseg_cli.models.unet import HALVINGS, FeatureMaps, Pooling, deepest
from llmseg_cli.models.vit import on_grid

CONVOLUTIONS = ("unet", "r50")
DETAILS = ("none", "maps")
COARSEST_CELL = 16  # voxels; the coarsest map has a token for each of its own
FINEST = 4  # voxels of the image along a side of the decoder's grid
MOST = 1024  # blocks


class CATformer(Pooling):
    """Per level of a convolutional pyramid tokens that choose where they look, and MLPs on all.

    The generator of CASTformer (in its first version, CA-GANformer) as a network of its own; its
    critic is `--method adversarial`. Tokens of each level (`ClassAwareLevel`) are projected to one
    width, interpolated to a quarter of the image's sides, joined and passed by one layer;
    a last one makes logits, which are interpolated.

    Published: `convolutions=r50`, `filters=32`, `cell=8` (28 x 28 tokens at 224 on the three finest
    levels and 14 x 14 on the coarsest, the table of the appendix; its text names 16 x 16 as best,
    `cell=14`), `iterations=4`, `layers=12`; no code is public. Ours are the width and heads
    (unknown; 768 and 12 if the blocks are those of ViT-B), the decoder's width, learned positions
    on a grid that is interpolated, points outside the image that read its edge, and 3D. "As ViT" is
    said of the blocks: pre-norm, with an MLP of four times the width.

    Args:
        in_channels: Image channels `C`.
        classes: Classes `K`, with the background.
        dimensions: 2 (as published) or 3.
        filters: Channels of a `unet` encoder's first level, of which each halving doubles them;
            `r50` has twice as many behind its first convolution.
        width: Values of a token. A multiple of `heads`.
        heads: Attention heads.
        cell: Voxels of the image, along each side, for which there is a token, 1 to 16; no level
            has more tokens than voxels.
        iterations: Times that the points are read; 1 is the control of a fixed grid.
        layers: Transformer blocks behind them; 0 is "without TEM".
        sampling: `learned`, or the controls of equal depth `fixed` and `random`.
        expansion: Hidden values of an MLP per value of a token.
        dropout: Probability of dropping a value behind attention, in MLPs, and before the last
            layer.
        positions: Sides of the grid that positions are learned on.
        decoder_width: Channels of the decoder.
        detail: `none` (as published), or `maps` (ours): the decoder is given the encoder's own
            maps, too, which are finer than tokens.
        convolutions: `unet` (two 3x3x3 convolutions a level, max pooling; ours) or `r50` (2D).
        normalization: Of the decoder and a `unet` encoder: `batch`, `instance` or `group`.
        encoder: A pre-trained encoder of pictures instead of the convolutions, or None.

    Raises:
        UsageError: If an option is out of its range, or the encoder is given in 3D.

    References:
        You et al., Class-Aware Adversarial Transformers for Medical Image Segmentation, NeurIPS
        2022. arXiv:2201.10737.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        dimensions: int = 3,
        filters: int = 16,
        width: int = 192,
        heads: int = 6,
        cell: int = 8,
        iterations: int = 4,
        layers: int = 2,
        sampling: str = "learned",
        expansion: int = 4,
        dropout: float = 0.0,
        positions: int = 8,
        decoder_width: int = 128,
        detail: str = "none",
        convolutions: str = "unet",
        normalization: str = "batch",
        encoder: FeatureMaps | None = None,
    ) -> None:
        for what, value, known in (
            ("convolutions", convolutions, CONVOLUTIONS),
            ("sampling", sampling, SAMPLINGS),
            ("detail", detail, DETAILS),
        ):
            if value not in known:
                raise unknown(f"{what} of catformer", value, known)
        _check(width, heads, cell, iterations, layers, expansion, positions, decoder_width)
        _check_convolutions(convolutions, dimensions, encoder)
        depth = deepest(encoder) if encoder else HALVINGS
        widths, own = four_levels(filters, depth, encoder, dimensions)
        is_resnet = convolutions == "r50"
        super().__init__(
            in_channels,
            classes,
            widths,
            dimensions=dimensions,
            dropout=dropout,
            normalization=normalization,
            live_maps=4 if is_resnet else 9,
            own=0 if is_resnet else own,
        )
        if is_resnet:
            self.encoder, channels = standardized_resnet.stages(in_channels, filters)
            self.pool = nn.Identity()  # type: ignore[assignment]  # its stages halve
        else:
            channels = list(widths[-LEVELS:])
        self.bottleneck_channels, self.cell, self.detail = width, cell, detail
        self.levels = nn.ModuleList(
            ClassAwareLevel(
                one,
                width=width,
                heads=heads,
                iterations=iterations,
                layers=layers,
                expansion=expansion,
                dropout=dropout,
                positions=positions,
                sampling=sampling,
                dimensions=dimensions,
            )
            for one in channels
        )

        def projected(inputs: Sequence[int]) -> nn.ModuleList:
            return nn.ModuleList(CONVOLUTION[dimensions](n, decoder_width, 1) for n in inputs)

        self.projections = projected([width] * LEVELS)
        self.details = projected(channels if detail == "maps" else ())
        self.joined = nn.Sequential(
            CONVOLUTION[dimensions](LEVELS * decoder_width, decoder_width, 1, bias=False),
            normalize(normalization, decoder_width, dimensions),
            nn.ReLU(inplace=True),
        )
        self.output = CONVOLUTION[dimensions](decoder_width, classes, 1)
        for part in (self.encoder, self.joined, self.output):
            draw_he_weights(part)
        start_undecided(self.output)
        self.pretrained = encoder

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        self.grid_of(image.shape[2:])
        maps = self.maps_of(image, self.encoder, self.pretrained)[-LEVELS:]
        tokens: list[Tensor] = []
        for level, found in zip(self.levels, maps, strict=True):
            grid = self.cells(image.shape[2:], found.shape[2:])
            tokens.append(on_grid(self.through(level, found, grid), grid))
        bottleneck = tokens.pop()
        return self.dropout(bottleneck), [*tokens, *(maps if self.details else ())]

    def cells(self, image: Sequence[int], level: Sequence[int]) -> tuple[int, ...]:
        """Tokens along each side of a level, of an image and a feature map of such sides."""
        sides = zip(image, level, strict=True)
        return tuple(min(own, max(1, round(side / self.cell))) for side, own in sides)

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        factor = self.stride // FINEST
        grid = tuple(side * factor for side in bottleneck.shape[2:])
        levels, maps = [*skips[: LEVELS - 1], bottleneck], skips[LEVELS - 1 :]
        found = [
            self._resized(p(one), grid) for p, one in zip(self.projections, levels, strict=True)
        ]
        for index, detail in enumerate(self.details):
            found[index] = found[index] + self._resized(detail(maps[index]), grid)
        features = self.through(self.joined, torch.cat(found, dim=1))
        logits = self.output(self.dropout(features))
        mode = INTERPOLATION[self.dimensions]
        return F.interpolate(logits, scale_factor=FINEST, mode=mode, align_corners=False)

    def _resized(self, features: Tensor, grid: Sequence[int]) -> Tensor:
        """Features on a finer grid linearly, on a coarser one by means."""
        if features.shape[2:] == torch.Size(grid):
            return features
        if features.shape[2] > grid[0]:
            return F.interpolate(features, tuple(grid), mode="area")
        mode = INTERPOLATION[self.dimensions]
        return F.interpolate(features, tuple(grid), mode=mode, align_corners=False)


def _check_convolutions(convolutions: str, dimensions: int, encoder: FeatureMaps | None) -> None:
    if convolutions == "r50" and dimensions == 3:
        raise UsageError("convolutions=r50 is 2D: give --patch two sides, or leave it out.")
    if convolutions == "r50" and encoder is not None:
        raise UsageError("convolutions=r50 stands instead of an image encoder: leave one out.")


def _check(
    width: int,
    heads: int,
    cell: int,
    iterations: int,
    layers: int,
    expansion: int,
    positions: int,
    decoder_width: int,
) -> None:
    if heads < 1 or width < 1 or width % heads:
        raise UsageError(f"width is {width} and heads {heads}; width is a multiple of heads.")
    if not 1 <= cell <= COARSEST_CELL:
        raise UsageError(f"cell is {cell}; a token stands for 1 to {COARSEST_CELL} voxels a side.")
    for name, value, least in (("iterations", iterations, 1), ("layers", layers, 0)):
        if not least <= value <= MOST:
            raise UsageError(f"{name} is {value}; this network has {least} to {MOST}.")
    for name, value in (
        ("expansion", expansion),
        ("positions", positions),
        ("decoder_width", decoder_width),
    ):
        if value < 1:
            raise UsageError(f"{name} is {value}; this network needs at least 1.")
