"""Linear resampling along voxel axes."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


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
    result = array
    for axis, new_size in zip((-3, -2, -1), shape, strict=True):
        if result.shape[axis] != new_size:
            weights = axis_weights(result.shape[axis], new_size)
            moved = np.tensordot(result.astype(np.float32, copy=False), weights, ((axis,), (1,)))
            result = np.moveaxis(moved, -1, axis)
    return np.ascontiguousarray(result, dtype=np.float32)
