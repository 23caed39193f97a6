"""What every segmentation network is: an encoder, a decoder, and the sides that they divide."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from llmseg_cli.errors import UsageError
from llmseg_cli.models.layers import CONVOLUTION, start_undecided
from llmseg_cli.models.recomputation import recomputed


class Segmenter(nn.Module, ABC):
    """A network with a bottleneck, so that knowledge can enter between encoder and decoder.

    Args:
        in_channels: Image channels `C`.
        classes: Classes `K`, with the background.
        dimensions: 2 for pictures `(B, C, X, Y)`, 3 for volumes `(B, C, X, Y, Z)`.
        bottleneck_channels: Channels of the bottleneck.
        stride: Voxels of the image per voxel of the bottleneck, along each side; every side of a
            patch is a multiple of it.
        smallest_grid: Bottleneck voxels that the network needs, 2 where a layer takes statistics
            over the voxels of one case.
        deep_supervision: The network has several heads, and each is trained. Those of full size
            predict together; coarser ones (`coarser_heads`) only help to train.
        sums_heads: Those of full size predict with the sum of their logits, not with the mean.
        live_maps: Feature maps of full size and first width that predicting holds at once, as
            measured; what is held of smaller ones is counted in.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        classes: int,
        dimensions: int,
        bottleneck_channels: int,
        stride: int,
        smallest_grid: int = 1,
        deep_supervision: bool = False,
        sums_heads: bool = False,
        live_maps: int = 5,
    ) -> None:
        super().__init__()
        self.in_channels, self.classes = in_channels, classes
        self.dimensions = dimensions
        self.bottleneck_channels = bottleneck_channels
        self.stride = stride
        self.smallest_grid = smallest_grid
        self.deep_supervision = deep_supervision
        self.sums_heads = sums_heads
        self.live_maps = live_maps
        self.recomputes = False

    def through(self, block: nn.Module, *inputs: object) -> Tensor:
        """The answer of a block of this network, whose activations are kept or computed again."""
        if self.recomputes:
            return recomputed(block, *inputs)
        answer: Tensor = block(*inputs)
        return answer

    @abstractmethod
    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Bottleneck `(B, bottleneck_channels, X/stride, ...)` and what the decoder needs besides.

        Raises:
            UsageError: If a side of the image is not a multiple of `stride`.
        """

    @abstractmethod
    def decode(self, bottleneck: Tensor, skips: list[Tensor]) -> Tensor:
        """Logits `(B, K, X, Y[, Z])` of what `encode` returned."""

    def decode_heads(self, bottleneck: Tensor, skips: list[Tensor]) -> list[Tensor]:
        """Logits of every head, full size first; `decode` returns those of full size `together`.

        A coarser head has `(B, K, X / n, Y / n[, Z / n])`.
        """
        return [self.decode(bottleneck, skips)]

    def together(self, heads: Sequence[Tensor]) -> Tensor:
        """What the heads of full size predict: the mean of their logits, or the sum."""
        if not self.sums_heads:
            return mean_of_heads(heads)
        first, *others = heads_of_full_size(heads)
        return sum(others, start=first)

    def forward(
        self, image: Tensor, *, heads: bool = False, factors: Tensor | None = None
    ) -> Tensor | list[Tensor]:
        """Logits `(B, K, X, Y[, Z])` of an image `(B, C, X, Y[, Z])`.

        Args:
            image: The image.
            heads: Return the logits of every head, to train each, and not what they predict. Going
                through `forward`, this is compiled and hooked like any other call.
            factors: What the channels of the bottleneck are multiplied by,
                `(B, bottleneck_channels)`, before text enters; None for nothing.
        """
        return self.changed(image, scaled_by(factors), heads=heads)

    def changed(
        self, image: Tensor, change: Callable[[Tensor], Tensor] | None, *, heads: bool
    ) -> Tensor | list[Tensor]:
        """What `forward` returns, with *change* applied to the bottleneck on its way."""
        bottleneck, skips = self.encode(image)
        if change is not None:
            bottleneck = change(bottleneck)
        return self.decode_heads(bottleneck, skips) if heads else self.decode(bottleneck, skips)

    def refuse_text(self) -> None:
        """Refuse text if it could enter nowhere.

        Raises:
            UsageError: If the network has no bottleneck, which every network written here has.
        """

    def grid_of(self, patch: Sequence[int]) -> tuple[int, ...]:
        """Sides of the bottleneck for the sides of a patch, in voxels.

        Raises:
            UsageError: If the patch has another number of sides or one that is no multiple of
                `stride`; the message names the nearest sizes that work.
        """
        patch = tuple(patch)
        if len(patch) != self.dimensions:
            raise UsageError(
                f"Patch {_cross(patch)} has {len(patch)} sides; "
                f"this network has {self.dimensions} dimensions."
            )
        wrong = [side for side in patch if side < 1 or side % self.stride]
        if wrong:
            raise UsageError(
                f"Patch {_cross(patch)}: this network needs sides that are multiples of "
                f"{self.stride}. {' '.join(map(self._remedy, dict.fromkeys(wrong)))}"
            )
        grid = tuple(side // self.stride for side in patch)
        if self.smallest_grid > 1 and all(side == 1 for side in grid):
            raise UsageError(
                f"Patch {_cross(patch)} leaves one voxel at the bottleneck, and this network's "
                f"normalization needs two. Use at least {2 * self.stride} along one side."
            )
        return grid

    def _remedy(self, side: int) -> str:
        below = side // self.stride * self.stride
        if below < self.stride:
            return f"Instead of {side} use {self.stride}."
        return f"Instead of {side} use {below} or {below + self.stride}."


def scaled_by(factors: Tensor | None) -> Callable[[Tensor], Tensor] | None:
    """What multiplies the channels of a bottleneck by `(B, channels)`; None for None."""
    if factors is None:
        return None

    def change(found: Tensor) -> Tensor:
        shaped = factors.view(*factors.shape, *[1] * (found.ndim - factors.ndim))
        return found * shaped.to(found.dtype)

    return change


def shape_of(network: nn.Module) -> tuple[int, int, int]:
    """Image channels C, classes K and dimensions of a network, for parts that go with it."""
    known: Any = network  # a `Segmenter`, or like one
    return int(known.in_channels), int(known.classes), int(known.dimensions)


def recompute_activations(networks: nn.Module) -> None:
    """From now on keep the inputs of blocks alone, and compute the rest again when needed."""
    for module in networks.modules():
        if isinstance(module, Segmenter):
            module.recomputes = True


def mean_of_heads(heads: Sequence[Tensor]) -> Tensor:
    """What the heads of full size predict together; of a single one, its own logits."""
    full = heads_of_full_size(heads)
    return full[0] if len(full) == 1 else torch.stack(full).mean(dim=0)


def heads_of_full_size(heads: Sequence[Tensor]) -> list[Tensor]:
    """Those that predict."""
    return [head for head in heads if head.shape == heads[0].shape]


def coarser_heads(widths: Sequence[int], classes: int, dimensions: int) -> nn.ModuleList:
    """Heads on coarser levels of a decoder, for deep supervision.

    The networks here leave out the coarsest level of their decoder; nnU-Net has a head there, and
    weighs it with 0.

    Args:
        widths: Channels of the levels, the finest first.
        classes: Classes K.
        dimensions: 2 or 3.
    """
    heads = [CONVOLUTION[dimensions](width, classes, 1) for width in widths]
    for head in heads:
        start_undecided(head)
    return nn.ModuleList(heads)


def _cross(patch: Sequence[int]) -> str:
    return " x ".join(map(str, patch))
