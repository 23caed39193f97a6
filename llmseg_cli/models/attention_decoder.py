"""CASCADE's decoder: gates on the skips, attention over channels and places, a head a level."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmseg_cli.errors import UsageError, unknown
from llmseg_cli.models.layers import (
    CONVOLUTION,
    INTERPOLATION,
    activated,
    convolve,
    draw_he_weights,
    normalize,
    start_undecided,
)

JOINS = ("concatenate", "add")
ATTENTIONS = ("full", "none")
KERNEL = 7  # of the attention over places
Through = Callable[..., Tensor]


class Gate(nn.Module):
    r"""A skip times $\psi = \sigma(N(w^T \operatorname{ReLU}(N(W_g g) + N(W_x x))))$, 0 to 1.

    Args:
        channels: Of the skip $x$ and of what comes from below, $g$.
        inner: Channels in which the two are compared.
        dimensions: 2 or 3.
        normalization: Which $N$ is.

    References:
        Oktay et al., Attention U-Net, 2018. arXiv:1804.03999.
    """

    def __init__(self, channels: int, inner: int, *, dimensions: int, normalization: str) -> None:
        super().__init__()

        def pointwise(inputs: int, outputs: int) -> nn.Sequential:
            convolution = CONVOLUTION[dimensions](inputs, outputs, 1)
            return nn.Sequential(convolution, normalize(normalization, outputs, dimensions))

        self.of_below = pointwise(channels, inner)
        self.of_skip = pointwise(channels, inner)
        self.psi = pointwise(inner, 1)

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        """Of two `(B, channels, X, Y[, Z])`, the first, gated."""
        together = F.relu(self.of_below(below) + self.of_skip(skip), inplace=True)
        gated: Tensor = skip * self.psi(together).sigmoid()
        return gated


class ChannelAttention(nn.Module):
    r"""Channels times $\sigma(M(\operatorname{mean}_v x) + M(\max_v x))$, M an MLP without bias.

    Args:
        channels: Of the features.
        reduction: How many times narrower its hidden layer is, which has one value at least.
        dimensions: 2 or 3.

    References:
        Woo et al., CBAM, ECCV 2018. arXiv:1807.06521.
    """

    def __init__(self, channels: int, reduction: int, *, dimensions: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.mlp = nn.Sequential(
            CONVOLUTION[dimensions](channels, hidden, 1, bias=False),
            nn.ReLU(inplace=True),
            CONVOLUTION[dimensions](hidden, channels, 1, bias=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        places = tuple(range(2, features.ndim))
        mean, most = features.mean(places, keepdim=True), features.amax(places, keepdim=True)
        weighed: Tensor = features * (self.mlp(mean) + self.mlp(most)).sigmoid()
        return weighed


class SpatialAttention(nn.Module):
    r"""Places times $\sigma(w * [\operatorname{mean}_c x, \max_c x])$, w of 7 voxels a side.

    In full precision: on a CPU oneDNN's bfloat16 gradient of w, where maps are smaller than it,
    never ends or is not a number with two threads (torch 2.13).

    Args:
        dimensions: 2 or 3.

    References:
        Woo et al., CBAM, ECCV 2018. arXiv:1807.06521.
    """

    def __init__(self, *, dimensions: int) -> None:
        super().__init__()
        convolution = CONVOLUTION[dimensions]
        self.convolution = convolution(2, 1, KERNEL, padding=KERNEL // 2, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        mean, most = features.mean(1, keepdim=True), features.amax(1, keepdim=True)
        kind = features.device.type
        with nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False):
            both = torch.cat([mean, most], dim=1).to(self.convolution.weight.dtype)
            weights = self.convolution(both).sigmoid()
        weighed: Tensor = features * weights.to(features.dtype)
        return weighed


class Level(nn.Module):
    """One level of the decoder: from below, beside its skip, through attention, two convolutions.

    Args:
        below: Channels of the level below; 0 for the coarsest, which has no skip.
        channels: Of this level.
        inner: Channels of its gate.
        settings: Of `AttentionDecoder`.
    """

    def __init__(
        self,
        below: int,
        channels: int,
        inner: int,
        *,
        dimensions: int,
        normalization: str,
        join: str,
        attention: str,
        reduction: int,
    ) -> None:
        super().__init__()
        self.is_wider = bool(below) and join == "concatenate"
        self.up: nn.Sequential | None = None
        self.gate: Gate | None = None
        if below:
            convolution = CONVOLUTION[dimensions](below, channels, 3, padding=1)
            self.up = nn.Sequential(
                nn.Upsample(scale_factor=2), *activated(convolution, channels, normalization)
            )
            if attention == "full":
                self.gate = Gate(
                    channels, inner, dimensions=dimensions, normalization=normalization
                )
        joined = 2 * channels if self.is_wider else channels
        self.channels: ChannelAttention | None = None
        if attention == "full":
            self.channels = ChannelAttention(joined, reduction, dimensions=dimensions)
        self.block = convolve(
            2, joined, channels, dimensions=dimensions, normalization=normalization
        )

    def forward(
        self, features: Tensor, skip: Tensor | None, places: SpatialAttention | None
    ) -> Tensor:
        if self.up is not None and skip is not None:
            features = self.up(features)
            kept = skip if self.gate is None else self.gate(skip, features)
            features = torch.cat([kept, features], dim=1) if self.is_wider else kept + features
        if self.channels is not None and places is not None:
            features = places(self.channels(features))
        answer: Tensor = self.block(features)
        return answer


class AttentionDecoder(nn.Module):
    """A decoder of feature maps that halve, and a head on each of its levels.

    The attention over places is one for all levels, as in the authors' code.

    Args:
        widths: Channels of the maps, the finest first.
        classes: Classes `K`.
        dimensions: 2 or 3.
        normalization: `batch`, `instance` or `group`.
        join: `concatenate` (CASCADE) or `add` (MERIT) a gated skip and what comes from below.
        attention: `full`, or `none` for neither gates nor attention, the control.
        reduction: How many times narrower the hidden layer of the attention over channels is.

    Raises:
        UsageError: If an option is out of its range.

    References:
        Rahman and Marculescu, Medical Image Segmentation via Cascaded Attention Decoding, WACV
        2023, and the authors' code.
    """

    def __init__(
        self,
        widths: Sequence[int],
        classes: int,
        *,
        dimensions: int,
        normalization: str,
        join: str,
        attention: str,
        reduction: int,
    ) -> None:
        super().__init__()
        for name, value, known in (("join", join, JOINS), ("attention", attention, ATTENTIONS)):
            if value not in known:
                raise unknown(name, value, known)
        if reduction < 1:
            raise UsageError(f"reduction is {reduction}; this network needs at least 1.")
        options: dict[str, Any] = {"dimensions": dimensions, "normalization": normalization}
        options |= {"join": join, "attention": attention, "reduction": reduction}
        self.places: SpatialAttention | None = None
        if attention == "full":
            self.places = SpatialAttention(dimensions=dimensions)
        self.first = CONVOLUTION[dimensions](widths[-1], widths[-1], 1)
        rising = widths[::-1]
        inner = [0, *rising[2:], max(1, widths[0] // 2)]
        self.levels = nn.ModuleList(
            Level(below, own, between, **options)
            for below, own, between in zip([0, *rising], rising, inner, strict=False)
        )
        outputs = [CONVOLUTION[dimensions](width, classes, 1) for width in widths]
        self.outputs = nn.ModuleList(outputs)
        draw_he_weights(self)
        for output in outputs:
            start_undecided(output)

    def forward(self, maps: Sequence[Tensor], through: Through) -> list[Tensor]:
        """Features of the levels, the finest first, each of the shape of its map.

        Args:
            maps: The encoder's, the finest first.
            through: Calls a block, see `Segmenter.through`.
        """
        coarsest, *skips = maps[::-1]
        found = [through(self.levels[0], self.first(coarsest), None, self.places)]
        for level, skip in zip(self.levels[1:], skips, strict=True):
            found.append(through(level, found[-1], skip, self.places))
        return found[::-1]

    def heads(self, levels: Sequence[Tensor], sides: Sequence[int]) -> list[Tensor]:
        """Logits `(B, K, X, Y[, Z])` of each level, the finest first, interpolated to *sides*."""
        return [
            resized(output(level), sides)
            for output, level in zip(self.outputs, levels, strict=True)
        ]


def resized(maps: Tensor, sides: Sequence[int]) -> Tensor:
    """Maps `(B, C, X, Y[, Z])`, interpolated linearly to other sides."""
    if tuple(maps.shape[2:]) == tuple(sides):
        return maps
    return F.interpolate(maps, tuple(sides), mode=INTERPOLATION[len(sides)])
