"""seUNet-Trans: a U-Net's features, a bridge, and a transformer of which every pixel is a token."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.models.layers import (
    CONVOLUTION,
    INTERPOLATION,
    draw_he_weights,
    normalize,
    start_undecided,
)
from llmseg_cli.models.spatial_reduction import FEED_FORWARDS, ReducedBlock
from llmseg_cli.models.unet import HALVINGS, Pooling
from llmseg_cli.models.vit import on_grid

BRIDGES = ("all", "last")
POSITIONS = ("none", "learned")
PLACES = 8  # sides of the grid that positions are learned on
SCALES = (1, 2, 4, 8, 16)
REDUCTION = {2: 8, 3: 4}
MOST = 1024  # blocks


class SeUNetTrans(Pooling):
    r"""After seUNet-Trans: the transformer reads what the whole U-Net found, one behind the other.

    Stated by its abstract: a U-Net extracts several feature maps; a bridge layer hands them to a
    transformer in sequence; every pixel of the bridged map is a token, without patches and without
    position vectors; attention reduces its keys in space. Nothing else of the paper could be read
    and its code is not public, so that all else is ours:

    The U-Net is `unet`. Each level of its decoder passes a 1x1x1 convolution to `width` channels,
    normalization and GELU, is brought to one voxel in `scale` a side (finer levels by means,
    coarser ones linearly) and summed. Pre-norm blocks and a layer norm follow, a 1x1x1 convolution
    makes logits, and these are interpolated linearly. What stands where is known from the U-Net's
    features, from the convolution that reduces, and with `feed_forward=mix` from one in each block.
    "se" means simple yet effective: nothing is squeezed or excited.

    Args:
        in_channels: Image channels `C`.
        classes: Classes `K`, with the background.
        dimensions: 2 (as published) or 3 (ours).
        filters: Channels of the U-Net's first level; they double at each of four halvings.
        dropout: Probability of dropping a value of the bottleneck and before the head.
        normalization: `instance` (without scale and shift), `batch` or `group`.
        width: Values of a token. A multiple of `heads`.
        layers: Transformer blocks; 0 is the control without attention, bridge and head alone.
        heads: Attention heads.
        reduction: Tokens of a key along each side; 1 for keys of every token, 0 for 8 in 2D and 4
            in 3D.
        expansion: Hidden values of the feed-forward part per value of a token.
        feed_forward: `mix` (with a depthwise 3x3x3 convolution) or `plain`.
        bridge: `all` levels of the decoder or the `last` alone.
        scale: Voxels of a token's side: 1, 2, 4, 8 or 16.
        positions: `none` (stated) or `learned`, on a grid that is interpolated (the control).

    Raises:
        UsageError: If an option is out of its range.

    References:
        After Pham, Li and Nguyen, seUNet-Trans, IEEE Access 12, 2024. arXiv:2310.09998.
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
        width: int = 64,
        layers: int = 4,
        heads: int = 2,
        reduction: int = 0,
        expansion: int = 4,
        feed_forward: str = "mix",
        bridge: str = "all",
        scale: int = 4,
        positions: str = "none",
    ) -> None:
        for what, value, known in (
            ("feed_forward", feed_forward, FEED_FORWARDS),
            ("bridge", bridge, BRIDGES),
            ("positions", positions, POSITIONS),
        ):
            if value not in known:
                raise unknown(f"{what} of seunet-trans", value, known)
        _check(width, layers, heads, reduction, expansion, scale)
        super().__init__(
            in_channels,
            classes,
            [filters << level for level in range(HALVINGS + 1)],
            dimensions=dimensions,
            dropout=dropout,
            normalization=normalization,
        )
        self.scale = scale
        rising = [filters << level for level in reversed(range(HALVINGS + 1))]
        joined = [deep + skip for deep, skip in pairwise(rising)]
        self.decoder = nn.ModuleList(map(self.node, joined, rising[1:]))
        crossed = rising[1:] if bridge == "all" else rising[-1:]
        self.bridges = nn.ModuleList(
            nn.Sequential(
                CONVOLUTION[dimensions](channels, width, 1),
                normalize(normalization, width, dimensions),
                nn.GELU(),
            )
            for channels in crossed
        )
        self.positions: nn.Parameter | None = None
        if positions == "learned":
            self.positions = nn.Parameter(torch.zeros(1, width, *(PLACES,) * dimensions))
        self.blocks = nn.ModuleList(
            ReducedBlock(
                width,
                heads,
                reduction=reduction or REDUCTION[dimensions],
                expansion=expansion,
                feed_forward=feed_forward,
                dimensions=dimensions,
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.output = CONVOLUTION[dimensions](width, classes, 1)
        draw_he_weights(self)
        start_undecided(self.output)

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        levels = [bottleneck]
        for node, skip in zip(self.decoder, reversed(skips), strict=True):
            levels.append(self.through(node, torch.cat([skip, self.up(levels[-1])], dim=1)))
        bridged = self.bridged(levels[1:], tuple(side // self.scale for side in skips[0].shape[2:]))
        logits = self.output(self.dropout(self.transformed(bridged)))
        if self.scale == 1:
            return logits
        mode = INTERPOLATION[self.dimensions]
        return F.interpolate(logits, scale_factor=self.scale, mode=mode, align_corners=False)

    def bridged(self, levels: list[Tensor], grid: tuple[int, ...]) -> Tensor:
        """The sum of the decoder's levels, coarsest first, as tokens on their *grid*."""
        mode = INTERPOLATION[self.dimensions]
        found: list[Tensor] = []
        for bridge, level in zip(self.bridges, levels[-len(self.bridges) :], strict=True):
            features = level
            if features.shape[2] > grid[0]:
                features = _means(features, features.shape[2] // grid[0])
            features = self.through(bridge, features)
            if features.shape[2] < grid[0]:
                factor = grid[0] // features.shape[2]
                features = F.interpolate(
                    features, scale_factor=factor, mode=mode, align_corners=False
                )
            found.append(features)
        return torch.stack(found).sum(dim=0) if len(found) > 1 else found[0]

    def transformed(self, bridged: Tensor) -> Tensor:
        """Tokens `(B, width, X / scale, ...)` behind the blocks and the norm, on the same grid."""
        grid = bridged.shape[2:]
        if self.positions is not None:
            mode = INTERPOLATION[self.dimensions]
            bridged = bridged + F.interpolate(self.positions, grid, mode=mode, align_corners=False)
        tokens = bridged.flatten(2).mT
        for block in self.blocks:
            tokens = self.through(block, tokens, grid)
        return on_grid(self.norm(tokens), grid)


def _means(features: Tensor, factor: int) -> Tensor:
    pool = F.avg_pool2d if features.ndim == 4 else F.avg_pool3d
    return pool(features, factor)


def _check(width: int, layers: int, heads: int, reduction: int, expansion: int, scale: int) -> None:
    if heads < 1 or width < 1 or width % heads:
        raise UsageError(f"width is {width} and heads {heads}; width is a multiple of heads.")
    if not 0 <= layers <= MOST:
        raise UsageError(f"layers is {layers}; this network has 0 to {MOST} blocks.")
    if reduction < 0:
        raise UsageError(f"reduction is {reduction}; give 1 or more, or 0 for the default.")
    if expansion < 1:
        raise UsageError(f"expansion is {expansion}; this network needs at least 1.")
    if scale not in SCALES:
        raise UsageError(f"scale is {scale}; a token has 1, 2, 4, 8 or 16 voxels a side.")
