"""TransUNet: convolutions, a Vision Transformer on their coarsest map, a U-Net's decoder."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.models import standardized_resnet
from llmseg_cli.models.base import Segmenter
from llmseg_cli.models.boosted import Boosted
from llmseg_cli.models.layers import (
    CONVOLUTION,
    INTERPOLATION,
    MAX_POOL,
    activated,
    check_settings,
    convolve,
    draw_he_weights,
    start_undecided,
)
from llmseg_cli.models.medvisionllama import Booster
from llmseg_cli.models.vit import Block, on_grid

CONVOLUTIONS = ("unet", "r50")
STRIDE = 16
EPSILON = 1e-6  # of the layer norms
MOST = 1024  # blocks


class TransUNet(Segmenter):
    r"""Each voxel of a convolutional map at a sixteenth of the sides is a token of a ViT.

    $x_0 = W f + p$ with learned positions $p$, zero at first; pre-norm blocks and a layer norm
    follow, and the tokens go back onto their grid. Four steps double the sides linearly (corners
    aligned), each joined with a map of the encoder (the first three) and passed by two
    3x3 convolutions; a 3x3 convolution makes logits. Positions stand on a grid of their own and are
    interpolated, so that patches of other sizes can be predicted (ours).

    The published network is `convolutions=r50`, `width=768`, `depth=12`, `heads=12`,
    `positions=14`, 2D. Its authors pad it otherwise than the network was trained whose weights they
    load, which shifts a skip by half a cell; here it is padded as that one. 3D is ours: the
    authors' own 3D network is another one.

    Args:
        in_channels: Image channels `C`.
        classes: Classes `K`, with the background.
        dimensions: 2 (as published) or 3.
        filters: Channels of the decoder's finest level but one, and of a `unet` encoder's finest;
            `r50` has twice as many behind its first convolution. 32 as published.
        width: Values of a token, E. A multiple of `heads`.
        depth: Transformer blocks; 0 is the control without attention.
        heads: Attention heads.
        expansion: Hidden values of the MLP per value of a token.
        dropout: Probability of dropping a value of the positioned tokens and within the MLP.
        skips: Maps of the encoder that the decoder is given, the coarsest first, 0 to 3.
        positions: Sides of the grid that positions are learned on.
        convolutions: `unet` (two 3x3x3 convolutions a level, max pooling; ours) or `r50` (2D).
        normalization: Of the decoder and a `unet` encoder: `batch`, `instance` or `group`.
        booster: A block of a language model behind the last transformer block, or None.

    Raises:
        UsageError: If an option is out of its range.

    References:
        Chen et al., TransUNet, 2021, arXiv:2102.04306, and Medical Image Analysis 2024, 103280.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        dimensions: int = 3,
        filters: int = 32,
        width: int = 256,
        depth: int = 4,
        heads: int = 8,
        expansion: int = 4,
        dropout: float = 0.1,
        skips: int = 3,
        positions: int = 8,
        convolutions: str = "unet",
        normalization: str = "batch",
        booster: Booster | None = None,
    ) -> None:
        check_settings(
            dimensions=dimensions, filters=filters, dropout=dropout, normalization=normalization
        )
        _check(width, depth, heads, expansion, skips, positions)
        if convolutions not in CONVOLUTIONS:
            raise unknown("convolutions of transunet", convolutions, CONVOLUTIONS)
        if convolutions == "r50" and dimensions == 3:
            raise UsageError("convolutions=r50 is 2D: give --patch two sides, or leave it out.")
        super().__init__(
            in_channels=in_channels,
            classes=classes,
            dimensions=dimensions,
            bottleneck_channels=width,
            stride=STRIDE,
            smallest_grid=2 if normalization == "instance" else 1,
            live_maps=(7 if convolutions == "unet" else 4)
            + (10 if normalization == "instance" else 0),
        )
        if convolutions == "r50":
            self.encoder, widths = standardized_resnet.stages(in_channels, filters)
        else:
            self.encoder, widths = _stages(in_channels, filters, dimensions, normalization)
        self.embedding = CONVOLUTION[dimensions](widths[-1], width, 1)
        self.positions = nn.Parameter(torch.zeros(1, width, *(positions,) * dimensions))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_block(width, heads, expansion, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.boosted = Boosted(booster, width) if booster else None

        def double(times: int, inputs: int, outputs: int) -> nn.Sequential:
            return _convolved(times, inputs, outputs, dimensions, normalization)

        falling = [16 * filters, 8 * filters, 4 * filters, 2 * filters, max(1, filters // 2)]
        joined = [*widths[2::-1][:skips], *[0] * (4 - skips)]
        self.lift = double(1, width, falling[0])
        steps = zip(pairwise(falling), joined, strict=True)
        self.steps = nn.ModuleList(double(2, a + skip, b) for (a, b), skip in steps)
        self.skips = skips
        self.output = CONVOLUTION[dimensions](falling[-1], classes, 3, padding=1)
        for part in (self.encoder, self.lift, self.steps, self.output):
            draw_he_weights(part)
        start_undecided(self.output)

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        grid = self.grid_of(image.shape[2:])
        maps: list[Tensor] = []
        for stage in self.encoder:
            maps.append(self.through(stage, maps[-1] if maps else image))
        tokens = self.dropout(self.placed(self.embedding(maps.pop())).flatten(2).mT)
        for block in self.blocks:
            tokens = self.through(block, tokens)
        tokens = self.norm(tokens)
        if self.boosted is not None:
            tokens = self.through(self.boosted, tokens)
        return on_grid(tokens, grid), maps

    def placed(self, embedded: Tensor) -> Tensor:
        """Embedded tokens `(B, E, X/16, ...)` with the positions of their grid."""
        positions: Tensor = self.positions
        if positions.shape[2:] != embedded.shape[2:]:
            mode = INTERPOLATION[self.dimensions]
            positions = F.interpolate(positions, embedded.shape[2:], mode=mode)
        return embedded + positions

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        features = self.lift(bottleneck)
        for number, step in enumerate(self.steps):
            doubled = F.interpolate(
                features, scale_factor=2, mode=INTERPOLATION[self.dimensions], align_corners=True
            )
            if number < self.skips:
                doubled = torch.cat([doubled, skips[-1 - number]], dim=1)
            features = self.through(step, doubled)
        logits: Tensor = self.output(features)
        return logits


def _stages(
    in_channels: int, filters: int, dimensions: int, normalization: str
) -> tuple[nn.ModuleList, list[int]]:
    """Maps of a half to a sixteenth of the sides, as a U-Net's encoder makes them."""

    def node(inputs: int, outputs: int) -> nn.Sequential:
        return convolve(2, inputs, outputs, dimensions=dimensions, normalization=normalization)

    widths = [filters << level for level in range(5)]
    pool = MAX_POOL[dimensions](2)
    first = nn.Sequential(node(in_channels, filters), pool, node(filters, widths[1]))
    others = [nn.Sequential(pool, node(a, b)) for a, b in pairwise(widths[1:])]
    return nn.ModuleList([first, *others]), widths[1:]


def _convolved(
    times: int, inputs: int, outputs: int, dimensions: int, normalization: str
) -> nn.Sequential:
    """3x3x3 convolutions without bias, each with normalization and ReLU."""
    layers: list[nn.Module] = []
    for channels in (inputs, *[outputs] * (times - 1)):
        convolution = CONVOLUTION[dimensions](channels, outputs, 3, padding=1, bias=False)
        layers += activated(convolution, outputs, normalization)
    return nn.Sequential(*layers)


def _block(width: int, heads: int, expansion: int, dropout: float) -> Block:
    """A transformer block as published: dropout within the MLP alone."""
    block = Block(width, heads, expansion, dropout)
    block.dropout.p = 0.0
    for norm in block.norms:
        norm.eps = EPSILON  # type: ignore[assignment]  # of a LayerNorm
    for layer in block.mlp:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)
    return block


def _check(width: int, depth: int, heads: int, expansion: int, skips: int, positions: int) -> None:
    if heads < 1 or width < 1 or width % heads:
        raise UsageError(f"width is {width} and heads {heads}; width is a multiple of heads.")
    if not 0 <= depth <= MOST:
        raise UsageError(f"depth is {depth}; this network has 0 to {MOST} blocks.")
    if not 0 <= skips <= 3:
        raise UsageError(f"skips is {skips}; this network has 0 to 3.")
    for name, value in (("expansion", expansion), ("positions", positions)):
        if value < 1:
            raise UsageError(f"{name} is {value}; this network needs at least 1.")
