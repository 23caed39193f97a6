"""Attention along one axis of a map, with learned relative positions and gates."""

from math import gcd

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.models.layers import CONVOLUTION, normalize
from llmseg_cli.numerics.over_rows import over_rows

AT_ONCE = 1 << 18  # similarities: they stay in the cache of a core
AT_ONCE_ELSEWHERE = 1 << 26
GATES = ("effective", "published", "none")


class AxialAttention(nn.Module):
    r"""Every cell of a line attends to every other cell of it.

    With G heads of g = C / G values, q and k of g / 2 and v of g from a 1x1 convolution with batch
    normalization, and a table R of offsets -n + 1 to n - 1 that all heads share, with rows
    $r^q, r^k$ and $r^v$,

    $$s_{ij} = \mathrm{BN}(q_i \cdot k_j) + G_Q \mathrm{BN}(q_i \cdot r^q_{i-j})
    + G_K \mathrm{BN}(k_j \cdot r^k_{j-i}), \qquad a = \mathrm{softmax}_j(s)$$
    $$y_i = G_{V1} \mathrm{BN}\Big(\sum_j a_{ij} v_j\Big)
    + G_{V2} \mathrm{BN}\Big(\sum_j a_{ij} r^v_{i-j}\Big)$$

    This is `gates=effective` and ours. In the authors' code (`published`) each gate stands within
    the norm behind it, which divides it out again.

    The norms of the similarities see all lines and pairs of cells. Their batch statistics are taken
    from Gram matrices of q, k and R, so that a line's similarities are computed once, their sum,
    and a few lines at a time. On a CPU all this is in full precision, where bfloat16 is slower.

    Args:
        channels: C, even.
        axis: 0 for X, 1 for Y, 2 for Z.
        dimensions: Of the map.
        heads: G; of a layer that they do not divide, the largest common divisor with C / 2.
        positions: Cells n of the longest line with offsets of its own; further ones have the
            outermost. 0 for no positions, and then no gates.
        gates: `effective`, `published` or `none`.
        gate_start: $G_Q$, $G_K$ and $G_{V2}$ at first; $G_{V1}$ is 1.

    References:
        Valanarasu et al., Medical Transformer, MICCAI 2021, eq. 3, arXiv:2102.10662, with the norms
        of the authors' code. Without gates: Wang et al., Axial-DeepLab, ECCV 2020.
        arXiv:2003.07853.
    """

    def __init__(
        self,
        channels: int,
        axis: int,
        *,
        dimensions: int,
        heads: int,
        positions: int,
        gates: str,
        gate_start: float,
    ) -> None:
        super().__init__()
        self.axis, self.heads = axis, gcd(heads, channels // 2)
        width = channels // self.heads  # values of v in a head
        self.split = [width // 2, width // 2, width]
        inward = CONVOLUTION[dimensions](channels, 2 * channels, 1, bias=False)
        self.inward = nn.Sequential(inward, normalize("batch", 2 * channels, dimensions))
        self.draw_weights()
        self.similarity = nn.BatchNorm2d((3 if positions else 1) * self.heads)
        self.value = nn.BatchNorm1d(channels)
        self.table: nn.Parameter | None = None
        self.gates: nn.Parameter | None = None
        self.is_within = gates == "published"
        if positions:
            self.place = nn.BatchNorm1d(channels)
            table = torch.randn(2 * width, 2 * positions - 1)
            self.table = nn.Parameter(table * width**-0.5)
            if gates != "none":  # G_Q, G_K, G_V1, G_V2
                self.gates = nn.Parameter(torch.tensor([gate_start, gate_start, 1.0, gate_start]))

    def forward(self, features: Tensor) -> Tensor:
        """`(B, C, X, Y[, Z])` to the same."""
        projected = self.inward(features).movedim(1, -1).movedim(1 + self.axis, -1)
        shape = projected.shape  # (B, others..., 2 C, n)
        lines = projected.reshape(-1, self.heads, sum(self.split), shape[-1])
        if lines.is_cpu:
            with torch.autocast("cpu", enabled=False):
                found = self.attended(_wide(lines))
        else:
            found = self.attended(lines)
        return found.reshape(*shape[:-2], -1, shape[-1]).movedim(-1, 1 + self.axis).movedim(-1, 1)

    def draw_weights(self) -> None:
        """Let queries, keys and values begin with a variance of 1 / C, as published."""
        weight = self.inward.get_parameter("0.weight")
        nn.init.normal_(weight, std=weight.shape[1] ** -0.5)

    def attended(self, lines: Tensor) -> Tensor:
        """`(L, C, n)` of L lines of queries, keys and values of every head, `(L, G, 2 g, n)`."""
        length = lines.shape[-1]
        tables = self.offsets(length)
        query, key, _ = torch.split(lines, self.split, dim=2)
        scales, shift = self._of_similarities(query, key, tables)
        together = AT_ONCE if lines.is_cpu else AT_ONCE_ELSEWHERE
        chunks = torch.split(lines, max(1, together // (self.heads * length**2)))
        found = [self._of_chunk(chunk, tables, scales, shift) for chunk in chunks]
        seen = torch.cat([values for values, _ in found])
        if tables is None:
            return self.value(seen)
        placed = torch.cat([places for _, places in found])
        if self.gates is None:
            return self.value(seen) + self.place(placed)
        if self.is_within:
            return self.value(self.gates[2] * seen) + self.place(self.gates[3] * placed)
        return self.gates[2] * self.value(seen) + self.gates[3] * self.place(placed)

    def _of_chunk(
        self, lines: Tensor, tables: Tensor | None, scales: Tensor, shift: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What attention finds among values and, with *tables*, places: `(L, C, n)` each."""
        query, key, value = torch.split(lines, self.split, dim=2)
        one = torch.ones_like(key[:, :, :1])
        left = torch.cat([scales[0] * query, shift * one], dim=2).to(query.dtype)
        score = left.mT @ torch.cat([key, one], dim=2)
        if tables is None:
            found = value @ score.softmax(dim=-1).mT
            return found.flatten(1, 2), found
        by_query, by_key, by_place = torch.split(tables, self.split)
        score += skewed((scales[1] * query).mT @ by_query.flip(1))
        score += skewed((scales[2] * key).mT @ by_key.flip(1)).mT
        weights = score.softmax(dim=-1)
        placed = torch.einsum("lgij,cij->lgci", weights, spread(by_place))
        return (value @ weights.mT).flatten(1, 2), placed.flatten(1, 2)

    def offsets(self, length: int) -> Tensor | None:
        """R for lines of *length* cells, `(2 g, 2 length - 1)`; None without positions."""
        if self.table is None:
            return None
        own = (self.table.shape[1] + 1) // 2
        if length <= own:
            return self.table[:, own - length : own + length - 1]
        beyond = length - own
        return F.pad(self.table[None], (beyond, beyond), mode="replicate")[0]

    def _of_similarities(
        self, query: Tensor, key: Tensor, tables: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What norm and gates make of the similarities: factors, and what is added to their sum.

        `(3, G, 1, 1)` and `(G, 1, 1)`.
        """
        norm, heads = self.similarity, self.heads
        kinds = norm.num_features // heads
        within = outside = norm.weight.new_ones(kinds, 1)
        if self.gates is not None:
            gates = torch.cat([torch.ones_like(self.gates[:1]), self.gates[:2]])[:, None]
            within, outside = (gates, outside) if self.is_within else (within, gates)
        if norm.training:
            with torch.autocast(query.device.type, enabled=False):
                mean, variance, pairs = moments(_wide(query), _wide(key), tables)
            mean, variance = within * mean, within.square() * variance
            unbiased = pairs / (pairs - 1).clamp_min(1)
            _remember(norm, mean.flatten(), variance.flatten() * unbiased)
        else:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            mean, variance = norm.running_mean.view(kinds, -1), norm.running_var.view(kinds, -1)
        rate = norm.weight.view(kinds, heads) * (variance + norm.eps).rsqrt()
        shift = (outside * (norm.bias.view(kinds, heads) - mean * rate)).sum(dim=0)
        scales = outside * within * rate
        return scales.view(kinds, heads, 1, 1), shift.view(heads, 1, 1)


def moments(query: Tensor, key: Tensor, tables: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    r"""Mean and variance of the three similarities, `(3, G)` each, and how many were seen, `()`.

    They are over lines and pairs of cells, and over the lines of all processes that share a batch.

    $\sum_{ij} (q_i \cdot k_j)^2$ is the sum of the products of the entries of
    $\sum_i q_i q_i^\top$ and $\sum_j k_j k_j^\top$, and likewise with R, cell by cell.

    Args:
        query: `(L, G, c, n)`.
        key: The same.
        tables: R, `(2 g, 2 n - 1)`, or None: the first similarity alone then.
    """
    lines, _, width, length = query.shape
    pairs = over_rows(query.new_tensor(float(lines * length**2)))
    means = [(query.sum(-1) * key.sum(-1)).sum((0, 2))]
    squares = [((query @ query.mT) * (key @ key.mT)).sum((0, 2, 3))]
    if tables is not None:
        for seen, table in ((query, tables[:width]), (key, tables[width : 2 * width])):
            rows = spread(_wide(table))  # (c, n, n)
            means.append(torch.einsum("gci,ci->g", seen.sum(0), rows.sum(-1)))
            of_cells = torch.einsum("lgci,lgdi->gcdi", seen, seen)
            squares.append(torch.einsum("gcdi,cij,dij->g", of_cells, rows, rows))
    mean, square = (over_rows(torch.stack([*means, *squares])) / pairs).chunk(2)
    return mean, (square - mean.square()).clamp_min(0), pairs


def spread(table: Tensor) -> Tensor:
    """`(c, 2 n - 1)` by offset to `(c, n, n)`, the offset of cells i and j being i - j."""
    length = (table.shape[1] + 1) // 2
    place = torch.arange(length, device=table.device)
    return table[:, place[:, None] - place + length - 1]


def skewed(products: Tensor) -> Tensor:
    """`(..., n, 2 n - 1)` by the offset j - i to `(..., n, n)` by i and j, without a copy."""
    length = products.shape[-2]
    if length == 1:
        return products
    flat = products.flatten(-2)[..., length - 1 : -1]
    return flat.reshape(*flat.shape[:-1], -1, 2 * length - 2)[..., :length]


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


@torch.no_grad()
def _remember(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Let a norm's running statistics see a batch, as its own forward pass would."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.num_batches_tracked += 1
    norm.running_mean.lerp_(mean.to(norm.running_mean), norm.momentum)
    norm.running_var.lerp_(variance.to(norm.running_var), norm.momentum)
