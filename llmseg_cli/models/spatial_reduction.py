"""Transformer blocks whose keys stand on a coarser grid than their queries."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.models.layers import CONVOLUTION

FEED_FORWARDS = ("mix", "plain")


class ReducedAttention(nn.Module):
    r"""Attention of every cell to blocks of $R^d$ cells.

    $\mathrm{softmax}(Q K^\top / \sqrt{d_h}) V$ with queries of the cells $z$, and keys and values
    of $\mathrm{LN}(\mathrm{Conv}_R(z))$, a convolution of size and stride R. A grid that R does not
    divide is padded with zeros on both sides (ours). With R = 1 there is neither convolution nor
    norm, as in PVT. PyTorch's `scaled_dot_product_attention` holds no matrix of cells and keys.

    Args:
        width: Values of a cell, a multiple of *heads*.
        heads: Attention heads.
        reduction: R, cells of a key along each side.
        dimensions: Of the grid.

    References:
        Wang et al., Pyramid Vision Transformer, ICCV 2021, eq. 1-3. arXiv:2102.12122.
    """

    def __init__(self, width: int, heads: int, reduction: int, dimensions: int) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.outward = nn.Linear(width, width)
        if reduction > 1:
            self.reduce = CONVOLUTION[dimensions](width, width, reduction, stride=reduction)
            self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, grid: Sequence[int]) -> Tensor:
        """Tokens `(B, T, E)` of a *grid* of T cells to the same."""
        query = self._by_head(self.query(tokens))
        key, value = self.key_value(self.reduced(tokens, grid)).chunk(2, dim=-1)
        found = F.scaled_dot_product_attention(query, self._by_head(key), self._by_head(value))
        return self.outward(found.transpose(1, 2).flatten(2))

    def reduced(self, tokens: Tensor, grid: Sequence[int]) -> Tensor:
        """What keys and values are made of, `(B, T / R ** d rounded up, E)`."""
        if self.reduction == 1:
            return tokens
        cells = tokens.mT.reshape(len(tokens), -1, *grid)
        padding: list[int] = []
        for side in reversed(grid):
            missing = -side % self.reduction
            padding += [missing // 2, missing - missing // 2]
        coarse = self.reduce(F.pad(cells, padding) if any(padding) else cells)
        normed: Tensor = self.norm(coarse.flatten(2).mT)
        return normed

    def _by_head(self, tokens: Tensor) -> Tensor:
        return tokens.reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    r"""$W_2\,\mathrm{GELU}(\mathrm{DWConv}_3(W_1 x))$, or without its convolution (`plain`).

    Args:
        width: Values of a cell.
        expansion: Hidden values per value of a cell.
        kind: `mix` or `plain`.
        dimensions: Of the grid.

    References:
        Mix-FFN: Xie et al., SegFormer, NeurIPS 2021, eq. 3, without its sum. arXiv:2105.15203.
    """

    def __init__(self, width: int, expansion: int, kind: str, dimensions: int) -> None:
        super().__init__()
        hidden = expansion * width
        self.inward = nn.Linear(width, hidden)
        self.neighbors: nn.Module | None = None
        if kind == "mix":
            self.neighbors = CONVOLUTION[dimensions](hidden, hidden, 3, padding=1, groups=hidden)
        self.outward = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor, grid: Sequence[int]) -> Tensor:
        """Tokens `(B, T, E)` of a *grid* of T cells to the same."""
        hidden = self.inward(tokens)
        if self.neighbors is not None:
            cells = hidden.mT.reshape(len(tokens), -1, *grid)
            hidden = self.neighbors(cells).flatten(2).mT
        answer: Tensor = self.outward(F.gelu(hidden))
        return answer


class ReducedBlock(nn.Module):
    """A pre-norm transformer block of reduced attention, `(B, T, E)` to the same.

    Args:
        width: Values of a cell.
        heads: Attention heads.
        reduction: Cells of a key along each side.
        expansion: Hidden values of the feed-forward part per value of a cell.
        feed_forward: `mix` or `plain`.
        dimensions: Of the grid.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        reduction: int,
        expansion: int,
        feed_forward: str,
        dimensions: int,
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = ReducedAttention(width, heads, reduction, dimensions)
        self.feed_forward = FeedForward(width, expansion, feed_forward, dimensions)

    def forward(self, tokens: Tensor, grid: Sequence[int]) -> Tensor:
        """Tokens `(B, T, E)` of a *grid* of T cells to the same."""
        before_attention, before_feed_forward = self.norms
        tokens = tokens + self.attention(before_attention(tokens), grid)
        changed: Tensor = tokens + self.feed_forward(before_feed_forward(tokens), grid)
        return changed
