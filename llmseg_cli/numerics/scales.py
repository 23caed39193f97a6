"""The same image, and the same answer, at another scale."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def smaller_sides(
    sides: Sequence[int], *, scale: float, stride: int, smallest_grid: int = 1
) -> tuple[int, ...]:
    """Sides near *scale* of those given, multiples of *stride*, and none below it.

    Half of 352 is 192 at a stride of 32: Python rounds 5.5 to 6.

    Args:
        sides: Of a patch, multiples of *stride*.
        scale: From 0 to 1.
        stride: Of a network.
        smallest_grid: Voxels of the bottleneck that it needs; if fewer would be left, the longest
            side stays.

    References:
        Gu et al., DEC-Seg, Pattern Recognition 2025, its code. arXiv:2312.16039.
    """
    found = [min(side, max(1, round(scale * side / stride)) * stride) for side in sides]
    if torch.Size(found).numel() < smallest_grid * stride ** len(found):
        longest = max(range(len(sides)), key=sides.__getitem__)
        found[longest] = sides[longest]
    return tuple(found)


def reduced(image: Tensor, sides: Sequence[int]) -> Tensor:
    """Images `(B, C, X, Y[, Z])` at smaller sides, each voxel the mean of what it covers."""
    return F.interpolate(image, tuple(sides), mode="area")


def reduced_labels(labels: Tensor, sides: Sequence[int]) -> Tensor:
    """Label maps `(B, X, Y[, Z])` at smaller sides, the label at the middle of each voxel."""
    shown = F.interpolate(labels[:, None].float(), tuple(sides), mode="nearest-exact")
    return shown[:, 0].long()


def enlarged(maps: Tensor, sides: Sequence[int]) -> Tensor:
    """Maps `(B, K, X, Y[, Z])` at larger sides, linearly, corner voxels on corner voxels.

    That of torch (`align_corners=True`) has a gradient that is summed in any order on a GPU; this
    is a product of matrices.
    """
    with torch.autocast(maps.device.type, enabled=False):
        for axis, side in enumerate(sides, start=2):
            if maps.shape[axis] != side:
                weights = _weights(maps.shape[axis], side).to(maps.device, non_blocking=True)
                weights = weights.to(maps.dtype)
                maps = torch.tensordot(maps, weights, dims=([axis], [1])).movedim(-1, axis)
    return maps


def _weights(size: int, new_size: int) -> Tensor:
    """Weights of linear interpolation between the centers of corner voxels, `(new, size)`."""
    places = torch.linspace(0, size - 1, new_size, dtype=torch.float64)
    return (1 - (places[:, None] - torch.arange(size)).abs()).clamp_min(0)
