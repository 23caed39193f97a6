"""Centres of objects as networks of label maps can learn them: discs that do not touch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def discs(
    points: NDArray[np.float64],
    values: Sequence[int],
    *,
    shape: Sequence[int],
    spacing: Sequence[float],
    radius: float,
) -> tuple[NDArray[np.uint16], int]:
    """A disc (in 3D a ball) of each centre's class around it; between two discs is background.

    A voxel within the radius of several centres belongs to the nearest, and of two discs that would
    touch, also at a corner, one loses its edge, so that each is a connected part of its own.

    Args:
        points: Centres `(n, 3)` in voxels.
        values: Class of each.
        shape: `(X, Y, Z)`.
        spacing: Distance between voxels along X, Y and Z.
        radius: In the unit of *spacing*; a disc has the voxel of its centre at least.

    Returns:
        `(X, Y, Z)`, and how many centres have no voxel: those that share that of another, and those
        whose neighbors leave them nothing.
    """
    labels = np.zeros(tuple(shape), np.uint16)
    if not len(points):
        return labels, 0
    last = np.asarray(shape) - 1
    voxels = np.clip(np.rint(points).astype(int), 0, last)
    owners = np.zeros(labels.shape, np.int32)
    owners[tuple(voxels.T)] = np.arange(1, len(points) + 1)
    far, nearest = ndimage.distance_transform_edt(
        owners == 0, sampling=[*spacing], return_indices=True
    )
    discs_of = np.where(far <= radius, owners[tuple(nearest)], 0)
    highest = ndimage.maximum_filter(discs_of, size=3, mode="nearest")
    discs_of[(discs_of > 0) & (highest > discs_of)] = 0
    kinds = np.concatenate([[0], np.asarray(values)]).astype(np.uint16)
    left = len(np.unique(discs_of[discs_of > 0]))
    return kinds[discs_of], len(points) - left
