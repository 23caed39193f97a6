"""Attention between two feature maps over their frequencies, of which a learned band passes."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.models.layers import CONVOLUTION, INTERPOLATION

GRID = {2: 8, 3: 4}  # most tokens along a side
BANDS = ("band-pass", "positions", "all-pass")
BAND_FILTERS, BAND_BLOCKS = 16, 2


class BandPass(nn.Module):
    """Which pairs of frequencies pass at a time step, 0 to 1.

    Convolutions, each with layer normalization, scale and shift from the time and ReLU, then one of
    size 1 and a sigmoid. Channels and number of blocks are not stated by the paper (ours).

    Args:
        channels: Maps that it reads.
        heads: Maps that it makes.
        time_width: Values of the time embedding.
        dimensions: Of the network around it, 2 or 3: kernels of a 3D network have a third side of
            one, for all weights of a network share one layout in memory.
    """

    def __init__(self, channels: int, heads: int, *, time_width: int, dimensions: int) -> None:
        super().__init__()
        widths = [channels, *[BAND_FILTERS] * BAND_BLOCKS]
        convolution: Any = CONVOLUTION[dimensions]
        flat = (1,) * (dimensions - 2)
        padding = (1, 1, *[0] * len(flat))
        self.convolutions = nn.ModuleList(
            convolution(width, BAND_FILTERS, (3, 3, *flat), padding=padding)
            for width in widths[:-1]
        )
        self.norms = nn.ModuleList(nn.GroupNorm(1, BAND_FILTERS) for _ in widths[:-1])
        self.times = nn.ModuleList(_from_time(time_width, BAND_FILTERS) for _ in widths[:-1])
        self.output = convolution(BAND_FILTERS, heads, 1)
        self.flat = flat

    def forward(self, maps: Tensor, time: Tensor) -> Tensor:
        """The band `(B, heads, N, N)`.

        Args:
            maps: `(B, channels, N, N)`, or of a single row for all.
            time: `(B, time_width)`.
        """
        found = maps.reshape(*maps.shape, *self.flat)
        for convolve, norm, layer in zip(self.convolutions, self.norms, self.times, strict=True):
            changes = layer(time)
            scale, shift = changes.view(*changes.shape, 1, 1, *self.flat).chunk(2, dim=1)
            found = F.relu(norm(_convolved(convolve, found)) * (1 + scale) + shift)
        found = _convolved(self.output, found).sigmoid()
        return found.reshape(-1, self.output.out_channels, *maps.shape[2:])


class SpectralAttention(nn.Module):
    r"""One map asks another one in Fourier space.

    $M = (F(q) W^q) (F(k) W^k)^\top$ over the frequencies of queries and keys, $M' = \text{band}
    \odot M$, and $F^{-1}(M') v$ is the answer, then scale and shift from the time, and a layer with
    one hidden. Each of two real maps is projected before the transform and multiplied by a complex
    weight of each value behind it, 1 at first. There is no softmax. If all passes and those weights
    are 1, $F^{-1}(M)$ is the plain affinity $q k^\top$.

    Args:
        width: Values of a token, a multiple of *heads*.
        heads: Affinity maps.
        time_width: Values of the time embedding.
        band: `band-pass`: read from the size of the affinities, as the paper's formula has it.
            `positions`: from where the frequencies stand, which a re-implementation mentions.
            `all-pass`: no filter, the control.
        dimensions: Of the network around it, 2 or 3.

    References:
        Wu et al., MedSegDiff-V2, AAAI 2024, SS-Former and its band-pass filter. arXiv:2301.11798.
        What is not stated, and all sizes, are ours.
    """

    def __init__(
        self, width: int, heads: int, *, time_width: int, band: str, dimensions: int
    ) -> None:
        super().__init__()
        self.heads, self.kind = heads, band
        self.query_norm, self.key_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        ones = torch.tensor([1.0, 0.0]).repeat(heads, width // heads, 1)
        self.query_spectrum = nn.Parameter(ones.clone())  # (heads, width / heads, 2)
        self.key_spectrum = nn.Parameter(ones)
        self.band: BandPass | None = None
        if band != "all-pass":
            read = heads if band == "band-pass" else 2
            self.band = BandPass(read, heads, time_width=time_width, dimensions=dimensions)
        self.norm, self.time = nn.LayerNorm(width), _from_time(time_width, width)
        self.output = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, asking: Tensor, asked: Tensor, time: Tensor, grid: Sequence[int]) -> Tensor:
        """Tokens `(B, N, width)`.

        Args:
            asking: Tokens that make the queries, `(B, N, width)`.
            asked: Those of keys and values, of its shape.
            time: `(B, time_width)`.
            grid: Sides of the grid that the N tokens stand on.
        """
        keys = self.key_norm(asked)
        found = self.affinity(self.query_norm(asking), keys, time, grid) @ self._split(
            self.value(keys)
        )
        scale, shift = self.time(time)[:, None].chunk(2, dim=2)
        joined = found.transpose(1, 2).flatten(2)
        answer: Tensor = self.output(self.norm(joined) * (1 + scale) + shift)
        return answer

    def affinity(self, asking: Tensor, asked: Tensor, time: Tensor, grid: Sequence[int]) -> Tensor:
        """How much each token takes of each other one, `(B, heads, N, N)`, from normalized ones."""
        queries = _spectrum(self._split(self.query(asking)), grid)
        keys = _spectrum(self._split(self.key(asked)), grid)
        queries = queries * torch.view_as_complex(self.query_spectrum)[:, None]
        keys = keys * torch.view_as_complex(self.key_spectrum)[:, None]
        found = queries @ keys.mT / math.sqrt(queries.shape[-1])  # of queries by those of keys
        if self.band is not None:
            reads = found.abs().log1p() if self.kind == "band-pass" else _positions(grid, time)
            found = found * self.band(reads, time)
        return _places(found, grid) / found.shape[-1]

    def _split(self, tokens: Tensor) -> Tensor:
        """`(B, N, width)` as `(B, heads, N, width / heads)`."""
        return tokens.reshape(*tokens.shape[:2], self.heads, -1).transpose(1, 2)


class SSFormer(nn.Module):
    """Where the features of a denoiser meet those of an image.

    In each block the noise asks the image, and the answer asks the noise; the next block's image is
    that answer. What the last block says is added to the features (ours). Both maps are brought to
    a grid of at most 8 tokens a side in 2D and 4 in 3D (ours).

    Args:
        channels: Of the denoiser's features.
        condition_channels: Of the image's.
        dimensions: 2 or 3.
        blocks: Of two attentions each.
        heads: Affinity maps; `channels` is a multiple.
        time_width: Values of the time embedding.
        band: See `SpectralAttention`.
    """

    def __init__(
        self,
        channels: int,
        condition_channels: int,
        *,
        dimensions: int,
        blocks: int,
        heads: int,
        time_width: int,
        band: str,
    ) -> None:
        super().__init__()
        self.most = GRID[dimensions]
        self.noise = nn.Linear(channels, channels)
        self.condition = nn.Linear(condition_channels, channels)
        self.blocks = nn.ModuleList(
            SpectralAttention(
                channels, heads, time_width=time_width, band=band, dimensions=dimensions
            )
            for _ in range(2 * blocks)
        )
        self.output = nn.Linear(channels, channels)

    def forward(self, features: Tensor, condition: Tensor, time: Tensor) -> Tensor:
        """Features `(B, channels, X, Y[, Z])` that know of the image.

        Args:
            features: Of the denoiser.
            condition: Of the image, `(B, condition_channels, X', Y'[, Z'])`.
            time: `(B, time_width)`.
        """
        sides = zip(features.shape[2:], condition.shape[2:], strict=True)
        grid = tuple(min(self.most, *pair) for pair in sides)
        with torch.autocast(features.device.type, enabled=False):
            time = _wide(time)
            noise = self.noise(_tokens(features, grid))
            found = self.condition(_tokens(condition, grid))
            for first, second in zip(self.blocks[::2], self.blocks[1::2], strict=True):
                found = second(first(noise, found, time, grid), noise, time, grid)
            met = self.output(found).mT.reshape(*features.shape[:2], *grid)
            mode = INTERPOLATION[len(grid)]
            met = F.interpolate(met, features.shape[2:], mode=mode, align_corners=False)
        return features + met.to(features.dtype)


def _from_time(time_width: int, width: int) -> nn.Sequential:
    """Scale and shift of *width* values by the time; none at first."""
    last = nn.Linear(time_width, 2 * width)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.SiLU(), last)


def _convolved(convolve: Any, maps: Tensor) -> Tensor:
    """Maps behind a convolution, in their own number format, whatever its weights are held in."""
    found: Tensor = convolve(maps.to(convolve.weight.dtype))
    return found.to(maps.dtype)


def _tokens(features: Tensor, grid: Sequence[int]) -> Tensor:
    """`(B, F, X, Y[, Z])` as means over the cells of a grid, `(B, N, F)`."""
    pool: Any = F.adaptive_avg_pool2d if features.ndim == 4 else F.adaptive_avg_pool3d
    cells: Tensor = pool(_wide(features), tuple(grid))
    return cells.flatten(2).mT


def _spectrum(tokens: Tensor, grid: Sequence[int]) -> Tensor:
    """Tokens `(B, heads, N, d)` on a grid as their frequencies, complex, of the same shape."""
    axes = tuple(range(2, 2 + len(grid)))
    placed = tokens.reshape(*tokens.shape[:2], *grid, tokens.shape[3])
    return torch.fft.fftn(placed, dim=axes, norm="ortho").flatten(2, axes[-1])


def _places(affinity: Tensor, grid: Sequence[int]) -> Tensor:
    """Affinities of frequencies `(B, heads, N, N)` as those of places, their real part."""
    found = affinity.reshape(*affinity.shape[:2], *grid, *grid)
    for first in (2, 2 + len(grid)):
        axes = tuple(range(first, first + len(grid)))
        found = torch.fft.ifftn(found, dim=axes, norm="ortho")
    return found.real.flatten(2 + len(grid)).flatten(2, 1 + len(grid))


def _positions(grid: Sequence[int], like: Tensor) -> Tensor:
    """How high the frequencies of queries and of keys are, 0 to 1, `(1, 2, N, N)`."""
    made = {"device": like.device, "dtype": like.dtype}
    axes = [2 * torch.fft.fftfreq(side, **made).abs() for side in grid]
    squares = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().mean(dim=0)
    height = squares.sqrt().flatten()
    count = len(height)
    rows, columns = height[:, None].expand(count, count), height[None].expand(count, count)
    return torch.stack([rows, columns])[None]


def _wide(values: Tensor) -> Tensor:
    """In float32 at least, which transforms need."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
