"""A small transformer that chooses affine views of an image."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.models.layers import CONVOLUTION
from llmseg_cli.models.vit import Block

SEEN = {2: 32, 3: 16}  # sides of what it sees of an image, in voxels
TOKEN = 4
WIDTH, HEADS, EXPANSION = 64, 8, 4
SPREAD = 1e-6  # of the token that gathers, at first


class AffineViews(nn.Module):
    """How far the views of an image are from their start, entry by entry of their maps.

    The image is averaged to 32 x 32 (16 x 16 x 16) voxels and cut into tokens of 4 voxels a side;
    a token of its own, of which the last layer reads the maps, attends to them in one transformer
    block. The last layer starts at zero, so that training starts from the first views.

    Args:
        in_channels: Image channels `C`.
        dimensions: 2 or 3, D.
        views: Views of an image, N.

    References:
        Huang et al., AC-Former, ICCV 2023, its Adaptive Affine Transformer. arXiv:2310.14154. There
        the image has 250 pixels a side, and the block two branches of attention and of MLP each and
        dropout; the third dimension is ours.
    """

    def __init__(self, in_channels: int, *, dimensions: int, views: int) -> None:
        super().__init__()
        self.shape = (views, dimensions, dimensions + 1)
        self.seen = (SEEN[dimensions],) * dimensions
        self.embedding = CONVOLUTION[dimensions](in_channels, WIDTH, TOKEN, stride=TOKEN)
        self.embedded = nn.LayerNorm(WIDTH)
        tokens = (SEEN[dimensions] // TOKEN) ** dimensions
        self.positions = nn.Parameter(0.02 * torch.randn(1, tokens, WIDTH))
        self.token = nn.Parameter(SPREAD * torch.randn(1, 1, WIDTH))
        self.block = Block(WIDTH, HEADS, EXPANSION, 0.0)
        self.norm = nn.LayerNorm(WIDTH)
        self.output = nn.Linear(WIDTH, math.prod(self.shape))
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, image: Tensor) -> Tensor:
        """`(B, N, D, D + 1)` of an image `(B, C, X, Y[, Z])`; no gradient flows to the image."""
        small = F.interpolate(image.detach().contiguous(), self.seen, mode="area")
        tokens = self.embedded(self.embedding(small).flatten(2).mT) + self.positions
        joined = torch.cat([self.token.expand(len(tokens), -1, -1).to(tokens.dtype), tokens], dim=1)
        gathered = self.norm(self.block(joined)[:, 0])
        found: Tensor = self.output(gathered).view(-1, *self.shape)
        return found
