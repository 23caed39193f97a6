"""The class-aware transformer: points of a feature map that move to where tokens are read."""

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.models.layers import INTERPOLATION
from llmseg_cli.models.vit import Block

SAMPLINGS = ("learned", "fixed", "random")
PLACES = 8  # sides of the grids on which random offsets are drawn


class ClassAwareLevel(nn.Module):
    r"""Tokens of one level of an encoder: points that move, and a transformer behind them.

    Points $s_1$ are the middles of a grid's cells on the feature map $F$. For $t = 1 \dots M$
    $V_t = F(s_t) + W_t s_t + I_{t-1}$ (linear interpolation, and $F$ projected to the width),
    $I_t = \mathrm{Transformer}_t(V_t)$ and $s_{t+1} = s_t + \theta_t(I_t)$, in voxels of the map;
    $\theta_t$ starts as zero, so that all points are regular at first, and the last has none.
    Gradient reaches an offset through its own sample alone, as in PS-ViT. Then come positions,
    transformer blocks and a layer norm. "Class-aware" is what the authors call it; no class enters.

    Args:
        channels: Of the feature map.
        width: Values of a token.
        heads: Attention heads.
        iterations: M.
        layers: Transformer blocks behind.
        expansion: Hidden values of an MLP per value of a token.
        dropout: Behind attention and within MLPs.
        positions: Sides of the grid that positions are learned on.
        sampling: `learned`, or the controls `fixed` (points stay) and `random` (points of
            iterations behind the first lie within a cell of the regular ones, drawn once).
        dimensions: 2 or 3.

    References:
        You et al., CASTformer, NeurIPS 2022, arXiv:2201.10737; its sampling: Yue et al., PS-ViT,
        ICCV 2021, arXiv:2108.01684, and its code.
    """

    drawn: Tensor

    def __init__(
        self,
        channels: int,
        *,
        width: int,
        heads: int,
        iterations: int,
        layers: int,
        expansion: int,
        dropout: float,
        positions: int,
        sampling: str,
        dimensions: int,
    ) -> None:
        super().__init__()
        self.dimensions, self.sampling = dimensions, sampling
        self.seen = nn.Linear(channels, width)
        self.places = nn.ModuleList(nn.Linear(dimensions, width) for _ in range(iterations))
        self.iterations = nn.ModuleList(
            Block(width, heads, expansion, dropout) for _ in range(iterations)
        )
        moves = iterations - 1 if sampling == "learned" else 0
        self.offsets = nn.ModuleList(_still(width, dimensions) for _ in range(moves))
        if sampling == "random":
            shape = (iterations - 1, dimensions, *(PLACES,) * dimensions)
            self.register_buffer("drawn", 2 * torch.rand(shape) - 1)
        self.positions = nn.Parameter(torch.zeros(1, width, *(positions,) * dimensions))
        self.blocks = nn.ModuleList(Block(width, heads, expansion, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor, grid: Sequence[int]) -> Tensor:
        """Tokens `(B, T, E)` of a *grid* of T cells over features `(B, C, X, Y[, Z])`."""
        kind = torch.promote_types(features.dtype, torch.float32)
        sides = torch.tensor(features.shape[2:], dtype=kind, device=features.device)
        start = start_points(features.shape[2:], grid, device=features.device).to(kind)
        points = start.expand(len(features), -1, -1)
        tokens: Tensor | None = None
        for number, (place, block) in enumerate(zip(self.places, self.iterations, strict=True)):
            seen = self.seen(sampled(features, points))
            points = points.detach()
            seen = seen + place(points.clamp(min=0).minimum(sides) / sides)
            tokens = block(seen if tokens is None else seen + tokens)
            if number < len(self.offsets):
                points = points + self.offsets[number](tokens).to(kind)
            elif self.sampling == "random" and number + 1 < len(self.iterations):
                points = (start + self._moves(number, sides, grid)).expand(len(features), -1, -1)
        assert tokens is not None  # there is an iteration
        tokens = tokens + self._placed(grid)
        for block in self.blocks:
            tokens = block(tokens)
        normed: Tensor = self.norm(tokens)
        return normed

    def _moves(self, number: int, sides: Tensor, grid: Sequence[int]) -> Tensor:
        """Random offsets of the cells of a grid, `(T, D)` in voxels, up to a cell."""
        cells = torch.tensor(tuple(grid), dtype=sides.dtype, device=sides.device)
        drawn = F.interpolate(self.drawn[number][None], tuple(grid), mode="nearest")[0]
        return drawn.flatten(1).mT * (sides / cells)

    def _placed(self, grid: Sequence[int]) -> Tensor:
        """The positions of a grid's cells, `(1, T, E)`."""
        positions: Tensor = self.positions
        if positions.shape[2:] != torch.Size(grid):
            mode = INTERPOLATION[self.dimensions]
            positions = F.interpolate(positions, tuple(grid), mode=mode)
        return positions.flatten(2).mT


def _still(width: int, dimensions: int) -> nn.Linear:
    """A layer that answers 0 at first."""
    layer = nn.Linear(width, dimensions)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def start_points(
    sides: Sequence[int], grid: Sequence[int], *, device: torch.device | None = None
) -> Tensor:
    r"""The middles of a grid's cells, $\beta \tau + \tau / 2$ with $\tau$ a cell's sides.

    Coordinates count from the edge: the middle of the first voxel is 0.5.

    Args:
        sides: Of the feature map, in voxels.
        grid: Cells along each side.
        device: Where they are to be.

    Returns:
        `(T, D)`, the last side fastest, as tokens are.
    """
    axes = [
        (torch.arange(cells, dtype=torch.float32, device=device) + 0.5) * (side / cells)
        for side, cells in zip(sides, grid, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)


def sampled(features: Tensor, points: Tensor) -> Tensor:
    """Linear interpolation of feature maps at points; outside, the nearest edge counts (ours).

    Torch's own `grid_sample` has a gradient that is summed in any order on a GPU; this gathers.

    Args:
        features: `(B, C, X, Y[, Z])`.
        points: `(B, T, D)` in voxels from the edge.

    Returns:
        `(B, T, C)` in float32 at least; both arguments receive gradient.
    """
    sides = features.shape[2:]
    wide = torch.promote_types(features.dtype, torch.float32)
    kind = features.device.type
    with nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False):
        flat = features.to(wide).flatten(2)
        lows, shares = [], []
        for axis, side in enumerate(sides):
            place = (points[..., axis].to(wide) - 0.5).clamp(0, side - 1)
            low = place.detach().floor().clamp(max=max(0, side - 2))
            lows.append(low.long())
            shares.append(place - low)
        total = torch.zeros((), device=features.device)
        for corner in product((0, 1), repeat=len(sides)):
            index = torch.zeros_like(lows[0])
            weight = torch.ones_like(shares[0])
            for axis, (upper, side) in enumerate(zip(corner, sides, strict=True)):
                index = index * side + (lows[axis] + upper).clamp(max=side - 1)
                weight = weight * (shares[axis] if upper else 1 - shares[axis])
            found = flat.gather(2, index[:, None].expand(-1, flat.shape[1], -1))
            total = total + found * weight[:, None]
        return total.mT
