"""Means in which voxels and classes count as much as their class."""

import torch
from torch import Tensor

SMALLEST = 1e-12  # sum of weights that is divided by


def weighted_mean(values: Tensor, classes: Tensor, weights: Tensor | None, mask: Tensor) -> Tensor:
    """Mean of the values of voxels, each counting as much as its class.

    Args:
        values: `(B, X, Y[, Z])`.
        classes: Class of every voxel, same shape, int64.
        weights: Of the classes, `(K,)` or longer; None for equal ones.
        mask: Voxels that count, same shape, bool.

    Returns:
        Scalar; 0 where none counts.
    """
    if weights is None:
        return (values * mask).sum() / mask.sum().clamp_min(1)
    shares = weights.to(values.dtype)[classes] * mask
    return (values * shares).sum() / shares.sum().clamp_min(SMALLEST)


def mean_over_classes(values: Tensor, weights: Tensor | None, *, first: int) -> Tensor:
    """Mean of one value for each class from *first* on, `(K - first,)`."""
    if weights is None:
        return values.mean()
    shares = weights.to(values.dtype)[first : first + len(values)]
    return torch.dot(values, shares) / shares.sum().clamp_min(SMALLEST)
