"""A Vision Transformer that segments pictures and volumes."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.models.base import Segmenter
from llmseg_cli.models.layers import CONVOLUTION, INTERPOLATION, check_settings
from llmseg_cli.models.token_heads import ConvolutionalHead, LinearHead

DECODERS = ("linear", "convolutional")  # what turns tokens into voxels
OWN_READING = ("none", "inferred")  # modules of which no equations are published
SCALES = (1, 3, 5)  # kernels of the fusion
SPREAD = 0.02  # standard deviation of fresh positions


DEEPEST = 1024  # blocks


class ViT(Segmenter):
    r"""Tokens of the image, transformer blocks, and a head that turns tokens back into voxels.

    The image is cut into tokens of $p$ voxels a side, each projected to E values; learned positions
    are added; pre-norm blocks follow, $x \mathrel{+}= \mathrm{MHA}(\mathrm{LN}(x))$ and
    $x \mathrel{+}= \mathrm{MLP}(\mathrm{LN}(x))$, without a norm behind the last (as in
    MedVisionLlama's code). Attention goes through PyTorch's `scaled_dot_product_attention`, which
    holds no matrix of T x T values. The positions stand on a grid of their own and are interpolated
    to that of the image, so that patches of other sizes can be predicted.

    The `linear` head projects each token to the logits of its own voxels, as published. The
    `convolutional` one doubles the sides step by step, joined with blocks further up, as UNETR.

    Hybrid attention and multi-scale fusion belong to MedVisionLlama's first version, whose abstract
    says that the one combines global and local features and the other aggregates across scales.
    Their equations are not public; `inferred` is our reading (`HybridAttention` and
    `MultiScaleFusion` give the formulas), and not the authors' modules.

    Args:
        in_channels: Image channels `C`.
        classes: Classes `K`, with the background.
        dimensions: 2 or 3.
        filters: Values of a token, E. A multiple of `heads`.
        token: Voxels of a token's side, $p$, a power of 2; each side of a patch is a multiple.
        depth: Transformer blocks.
        heads: Attention heads.
        expansion: Hidden values of the MLP per value of a token.
        dropout: Probability of dropping a value behind attention and within the MLP.
        positions: Sides of the grid that positions are learned on.
        decoder: `linear` or `convolutional`.
        hybrid_attention: `none` or `inferred`.
        multi_scale_fusion: `none` or `inferred`.

    Raises:
        UsageError: If an option is out of its range.

    References:
        Dosovitskiy et al., ICLR 2021, eq. 1-3. arXiv:2010.11929. As the segmenter of Marthi Krishna
        Kumar et al., MedVisionLlama, 2024, arXiv:2410.02458 (sizes: E 64, 16 blocks, 4 heads,
        dropout 0.2). The convolutional head: Hatamizadeh et al., UNETR, WACV 2022.
        arXiv:2103.10504.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        dimensions: int = 3,
        filters: int = 64,
        token: int = 8,
        depth: int = 16,
        heads: int = 4,
        expansion: int = 4,
        dropout: float = 0.2,
        positions: int = 8,
        decoder: str = "linear",
        hybrid_attention: str = "none",
        multi_scale_fusion: str = "none",
    ) -> None:
        check_settings(dimensions=dimensions, filters=filters, dropout=dropout)
        _check(filters, token, depth, heads, expansion, positions)
        if decoder not in DECODERS:
            raise unknown("decoder of a ViT", decoder, DECODERS)
        if hybrid_attention not in OWN_READING:
            raise unknown("hybrid attention", hybrid_attention, OWN_READING)
        if multi_scale_fusion not in OWN_READING:
            raise unknown("multi-scale fusion", multi_scale_fusion, OWN_READING)
        super().__init__(
            in_channels=in_channels,
            classes=classes,
            dimensions=dimensions,
            bottleneck_channels=filters,
            stride=token,
            live_maps=1 if decoder == "linear" else 4,
        )
        self.embedding = CONVOLUTION[dimensions](in_channels, filters, token, stride=token)
        self.positions = nn.Parameter(SPREAD * torch.randn(1, filters, *(positions,) * dimensions))
        local = dimensions if hybrid_attention == "inferred" else None
        self.blocks = nn.ModuleList(
            Block(filters, heads, expansion, dropout, local=local) for _ in range(depth)
        )
        self.fusion: nn.Module = nn.Identity()
        if multi_scale_fusion == "inferred":
            self.fusion = MultiScaleFusion(filters, dimensions)
        self.head: LinearHead | ConvolutionalHead
        if decoder == "linear":
            self.head = LinearHead(filters, classes, token, dimensions)
        else:
            self.head = ConvolutionalHead(in_channels, filters, classes, token, dimensions)
        self.joined = self.head.joined(depth)

    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        grid = self.grid_of(image.shape[2:])
        tokens = self.tokens_of(image)
        skips = [image] if self.joined else []
        for number, block in enumerate(self.blocks, start=1):
            tokens = self.through(block, tokens, grid)
            if number in self.joined:
                skips.append(on_grid(tokens, grid))
        return self.fusion(on_grid(self.behind_blocks(tokens), grid)), skips

    def behind_blocks(self, tokens: Tensor) -> Tensor:
        """What the tokens `(B, T, E)` pass behind the last block: nothing."""
        return tokens

    def tokens_of(self, image: Tensor) -> Tensor:
        """Embedded tokens with their positions, `(B, T, E)`, of an image `(B, C, X, Y[, Z])`."""
        return self.placed(self.embedding(image)).flatten(2).mT

    def placed(self, embedded: Tensor) -> Tensor:
        """Embedded tokens `(B, E, X/p, ...)` with the positions of their grid."""
        positions: Tensor = self.positions
        if positions.shape[2:] != embedded.shape[2:]:
            mode = INTERPOLATION[self.dimensions]
            positions = F.interpolate(positions, embedded.shape[2:], mode=mode)
        return embedded + positions

    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        logits: Tensor = self.head(bottleneck, skips)
        return logits


class Block(nn.Module):
    """A pre-norm transformer block, `(B, T, E)` to the same.

    Args:
        width: Values of a token, E.
        heads: Attention heads.
        expansion: Hidden values of the MLP per value of a token.
        dropout: Behind attention and within the MLP.
        local: Dimensions of the tokens' grid, for hybrid attention; None for attention alone.
    """

    def __init__(
        self, width: int, heads: int, expansion: int, dropout: float, *, local: int | None = None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.inward = nn.Linear(width, 3 * width)
        self.outward = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.mlp = nn.Sequential(
            nn.Linear(width, expansion * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(expansion * width, width),
            nn.Dropout(dropout),
        )
        self.hybrid = HybridAttention(width, local) if local else None

    def forward(self, tokens: Tensor, grid: Sequence[int] = ()) -> Tensor:
        """Tokens `(B, T, E)` to the same; hybrid attention needs their *grid*, with T places."""
        before_attention, before_mlp = self.norms
        normed = before_attention(tokens)
        found = self.dropout(self.attention(normed))
        if self.hybrid is not None:
            found = self.hybrid(found, normed, grid)
        tokens = tokens + found
        return tokens + self.mlp(before_mlp(tokens))

    def attention(self, tokens: Tensor) -> Tensor:
        """Every token attends to every token, `(B, T, E)`."""
        query, key, value = self.by_head(self.inward(tokens))
        found = F.scaled_dot_product_attention(query, key, value)
        return self.outward(found.transpose(1, 2).flatten(2))

    def by_head(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, `(B, heads, T, E / heads)` each, of `inward`'s answer."""
        split = projected.reshape(*projected.shape[:2], 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        return query, key, value


class HybridAttention(nn.Module):
    r"""Attention to all tokens, mixed with a convolution of the neighbors.

    $\alpha \odot G + (1 - \alpha) \odot L$ with $G$ the attention and
    $L = W\,\mathrm{GELU}(\mathrm{DWConv}_3(\mathrm{LN}(x)))$, a convolution of each channel by
    itself and a projection; $\alpha = \sigma(w)$ is learned per channel, 0.5 at first. Our reading:
    no equations are published.

    Args:
        width: Values of a token, E.
        dimensions: Of the tokens' grid.
    """

    def __init__(self, width: int, dimensions: int) -> None:
        super().__init__()
        self.neighbors = CONVOLUTION[dimensions](width, width, 3, padding=1, groups=width)
        self.projection = nn.Linear(width, width)
        self.share = nn.Parameter(torch.zeros(width))

    def forward(self, attended: Tensor, normed: Tensor, grid: Sequence[int]) -> Tensor:
        """The mixture, `(B, T, E)`, of what attention found and of the tokens that it saw."""
        local = self.neighbors(on_grid(normed, grid)).flatten(2).mT
        share = self.share.sigmoid()
        mixed: Tensor = share * attended + (1 - share) * self.projection(F.gelu(local))
        return mixed


class MultiScaleFusion(nn.Module):
    r"""What convolutions of several sizes see, added to the tokens.

    $x + W [\mathrm{Conv}_1(x); \mathrm{Conv}_3(x); \mathrm{Conv}_5(x)]$ on the tokens' grid. Our
    reading: no equations are published.

    Args:
        width: Values of a token, E.
        dimensions: Of the tokens' grid.
    """

    def __init__(self, width: int, dimensions: int) -> None:
        super().__init__()
        convolution = CONVOLUTION[dimensions]
        self.scales = nn.ModuleList(
            convolution(width, width, size, padding=size // 2) for size in SCALES
        )
        self.joined = convolution(len(SCALES) * width, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """`(B, E, X/p, ...)` to the same."""
        seen = torch.cat([scale(features) for scale in self.scales], dim=1)
        fused: Tensor = features + self.joined(seen)
        return fused


def on_grid(tokens: Tensor, grid: Sequence[int]) -> Tensor:
    """Tokens `(B, T, E)` where they lie in the image, `(B, E, *grid)`."""
    return tokens.mT.reshape(len(tokens), -1, *grid)


def _check(
    filters: int, token: int, depth: int, heads: int, expansion: int, positions: int
) -> None:
    if heads < 1 or filters % heads:
        raise UsageError(f"filters is {filters} and heads {heads}; filters is a multiple of heads.")
    if token < 2 or token & (token - 1):
        raise UsageError(f"token is {token}; give a power of 2 from 2 on.")
    for name, value in (("depth", depth), ("expansion", expansion), ("positions", positions)):
        if value < 1:
            raise UsageError(f"{name} is {value}; this network needs at least 1.")
    if depth > DEEPEST:
        raise UsageError(f"depth is {depth}; this network has at most {DEEPEST}.")
