"""Linear resampling along voxel axes."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@lru_cache(maxsize=256)
def axis_weights(size: int, new_size: int) -> NDArray[np.float32]:
    """Weights of linear interpolation along one axis whose extent stays the same.

    Output voxel $i$ has its center at $(i + 1/2) s - 1/2$ in input voxels, with $s$ = size /
    new_size. When shrinking, the triangle widens to $s$ voxels, so that fine detail is averaged
    and not aliased. Rows sum to 1; centers beyond the first or last voxel take its value.

    Args:
        size: Input voxels.
        new_size: Output voxels.

    Returns:
        `(new_size, size)`; do not change it, it is cached.
    """
    scale = size / new_size
    width = max(scale, 1.0)
    centers = (np.arange(new_size) + 0.5) * scale - 0.5
    if scale <= 1:
        centers = centers.clip(0, size - 1)
    weights = (1 - np.abs(np.arange(size)[None, :] - centers[:, None]) / width).clip(0)
    weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    weights.setflags(write=False)
    return weights


def resample(array: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.float32]:
    """Resample the last three axes of *array* to *shape*, linearly, axis by axis.

    Args:
        array: `(..., X, Y, Z)`.
        shape: New `(X, Y, Z)`; the extent in mm stays, so the spacing changes.

    Returns:
        `(..., *shape)` float32; the array itself where the shape is already right.
    """
    if array.shape[-3:] == tuple(shape):
        return np.ascontiguousarray(array, dtype=np.float32)
    owned = np.require(array, np.float32, ["C", "W"])
    if min(owned.strides) < 0:  # of a side of one voxel, which counts as contiguous
        owned = owned.copy()
    result = torch.from_numpy(owned)
    for axis, new_size in zip((-3, -2, -1), shape, strict=True):
        if result.shape[axis] != new_size:
            result = _along(axis, _weights(result.shape[axis], new_size), result)
    found: NDArray[np.float32] = result.numpy()
    return found


@lru_cache(maxsize=256)
def _weights(size: int, new_size: int) -> Tensor:
    return torch.from_numpy(axis_weights(size, new_size).copy())


def _along(axis: int, weights: Tensor, array: Tensor) -> Tensor:
    """The weights `(new, old)` times one of the last three axes.

    Torch multiplies, for numpy's library keeps threads of its own, which go on turning for a
    while after each product and take the processor from torch's.
    """
    if axis == -1:
        return array @ weights.T
    if axis == -2:
        return weights @ array
    found = weights @ array.flatten(-2)
    return found.reshape(*found.shape[:-1], *array.shape[-2:])
