"""Entropy of a network's probabilities: how far from one class it is, from 0 to 1."""

import math

import torch
from torch import Tensor

VALUES_AT_ONCE = 1 << 22  # of all classes, 16 MB


def entropy(probabilities: Tensor) -> Tensor:
    """`-sum_k p_k ln p_k / ln K` over the first axis.

    Args:
        probabilities: `(K, ...)`, which sum to 1 over K; K is at least 2.

    Returns:
        `(...)`, 0 for certain, 1 where all classes are equally probable.
    """
    return share_of_entropy(probabilities).sum(dim=0).div_(math.log(len(probabilities)))


def share_of_entropy(probabilities: Tensor) -> Tensor:
    """`-p ln p` of each value; 0 for 0."""
    return torch.special.entr(probabilities.clamp(0, 1))


class ForegroundEntropy:
    """The mean entropy over voxels whose most probable class is not the background.

    It takes slabs as they come and keeps two numbers.
    """

    def __init__(self) -> None:
        self.total, self.voxels = 0.0, 0

    def add(self, slab: Tensor, told: Tensor | None = None) -> None:
        """Count the voxels of `(K, dx, Y, Z)` probabilities.

        Args:
            slab: Says where the foreground is.
            told: Probabilities of the same voxels whose entropy counts instead.
        """
        told = slab if told is None else told
        step = max(1, VALUES_AT_ONCE // max(1, slab[:, 0].numel()))
        for start in range(0, slab.shape[1], step):
            rows = slice(start, start + step)
            self._add(slab[:, rows], told[:, rows])

    def _add(self, part: Tensor, told: Tensor) -> None:
        foreground = part[1:].amax(dim=0) > part[0]
        found = entropy(told[:, foreground])
        self.total += float(found.sum(dtype=torch.float64))
        self.voxels += found.numel()

    @property
    def mean(self) -> float | None:
        """The mean, 0 to 1; None if there is no foreground."""
        return self.total / self.voxels if self.voxels else None
