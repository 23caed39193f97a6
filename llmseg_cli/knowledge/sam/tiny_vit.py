"""TinyViT, the image encoder of LiteMedSAM."""

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (64, 128, 160, 320)
DEPTHS = (2, 2, 6, 2)
HEADS = (2, 4, 5, 10)
WINDOWS = (7, 7, 14, 7)
STRIDES = (2, 2, 1)  # between stages; the last keeps the size
EXPANSION = 4


class TinyViT(nn.Module):
    """A convolutional stage and three of attention within windows; the image is a quarter at last.

    Names of parameters are those of the published checkpoint.

    Args:
        outputs: Channels of the embedding.

    References:
        Wu et al., TinyViT, ECCV 2022. arXiv:2207.10666. In the form of LiteMedSAM
        (github.com/bowang-lab/MedSAM, branch LiteMedSAM): patches of one pixel, no last halving.
    """

    def __init__(self, outputs: int = 256) -> None:
        super().__init__()
        pixels = (
            Normalized(3, WIDTHS[0] // 2, 1),
            nn.GELU(),
            Normalized(WIDTHS[0] // 2, WIDTHS[0], 1),
        )
        self.patch_embed = nn.ModuleDict({"seq": nn.Sequential(*pixels)})
        self.layers = nn.ModuleList(
            _Stage(stage, WIDTHS[stage], WIDTHS[min(stage + 1, len(WIDTHS) - 1)])
            for stage in range(len(WIDTHS))
        )
        self.neck = nn.Sequential(
            nn.Conv2d(WIDTHS[-1], outputs, 1, bias=False),
            ChannelNorm(outputs),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            ChannelNorm(outputs),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Embedding `(B, outputs, H/4, W/4)` of `(B, 3, H, W)` in [0, 1]."""
        features = self.patch_embed["seq"](image)
        for stage in self.layers:
            features = stage(features)
        return self.neck(features)


class Normalized(nn.Sequential):
    """A convolution without bias, then batch normalization."""

    def __init__(
        self, inputs: int, outputs: int, side: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        convolution = nn.Conv2d(inputs, outputs, side, stride, side // 2, groups=groups, bias=False)
        self.add_module("c", convolution)
        self.add_module("bn", nn.BatchNorm2d(outputs))


class ChannelNorm(nn.Module):
    """Layer normalization over the channels of `(B, C, H, W)`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        last = features.movedim(1, -1)
        normalized = F.layer_norm(last, self.weight.shape, self.weight, self.bias, 1e-6)
        return normalized.movedim(-1, 1)


class _Stage(nn.Module):
    def __init__(self, stage: int, width: int, following: int) -> None:
        super().__init__()
        heads, window = HEADS[stage], WINDOWS[stage]
        self.blocks = nn.ModuleList(
            _Attending(width, heads, window) if stage else _Convolving(width)
            for _ in range(DEPTHS[stage])
        )
        last = stage == len(WIDTHS) - 1
        self.downsample = (
            nn.Identity() if last else _Merging(width, following, stride=STRIDES[stage])
        )

    def forward(self, features: Tensor) -> Tensor:
        for block in self.blocks:
            features = block(features)
        return self.downsample(features)


class _Merging(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = Normalized(inputs, outputs, 1)
        self.conv2 = Normalized(outputs, outputs, 3, stride=stride, groups=outputs)
        self.conv3 = Normalized(outputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(features)))))


class _Convolving(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = width * EXPANSION
        self.conv1 = Normalized(width, hidden, 1)
        self.conv2 = Normalized(hidden, hidden, 3, groups=hidden)
        self.conv3 = Normalized(hidden, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        inner = F.gelu(self.conv2(F.gelu(self.conv1(features))))
        return F.gelu(features + self.conv3(inner))


class _Attending(nn.Module):
    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = _WindowAttention(width, heads, window)
        self.local_conv = Normalized(width, width, 3, groups=width)
        self.mlp = _Mlp(width)

    def forward(self, features: Tensor) -> Tensor:
        attended = features + self._attend(features)
        mixed = self.local_conv(attended)
        return mixed + self.mlp(mixed.movedim(1, -1)).movedim(-1, 1)

    def _attend(self, features: Tensor) -> Tensor:
        """Attention within windows; the last row and column of windows are filled with zeros."""
        batch, channels, height, width = features.shape
        side = self.window
        padded = F.pad(features, (0, -width % side, 0, -height % side))
        rows, columns = padded.shape[2] // side, padded.shape[3] // side
        tiles = padded.view(batch, channels, rows, side, columns, side)
        tokens = tiles.permute(0, 2, 4, 3, 5, 1).reshape(-1, side * side, channels)
        attended = self.attn(tokens).view(batch, rows, columns, side, side, channels)
        whole = attended.permute(0, 5, 1, 3, 2, 4).reshape(padded.shape)
        return whole[:, :, :height, :width]


class _WindowAttention(nn.Module):
    """Attention with a learned bias for each distance between two tokens of a window."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        places = list(product(range(window), repeat=2))
        offsets: dict[tuple[int, int], int] = {}
        index = [
            offsets.setdefault((abs(a[0] - b[0]), abs(a[1] - b[1])), len(offsets))
            for a, b in product(places, repeat=2)
        ]
        self.attention_biases = nn.Parameter(torch.zeros(heads, len(offsets)))
        square = torch.tensor(index).view(len(places), len(places))
        self.index: Tensor
        self.register_buffer("index", square, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, width = tokens.shape
        # per head: its queries, keys and values side by side
        split = self.qkv(self.norm(tokens)).view(batch, count, self.heads, 3, -1)
        query, key, value = split.permute(3, 0, 2, 1, 4)
        bias = self.attention_biases[:, self.index].to(query.dtype)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.proj(attended.transpose(1, 2).reshape(batch, count, width))


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, width * EXPANSION)
        self.fc2 = nn.Linear(width * EXPANSION, width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(self.norm(tokens))))
