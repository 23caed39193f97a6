"""Exact distance to the nearest of many grid points, by whichever way is cheaper."""

from collections.abc import Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

# Measured on surfaces of Left Atrium scans and on adversarial shapes: a search costs about 0.8 us a
# point, the transform about 0.06 us a voxel, a search over a far and round surface up to 40 us.
DENSE = 0.1  # points per voxel from which the transform is cheaper
FAR_STEPS = 10  # a search beyond so many voxels may visit the whole tree
FAR_SHARE = 1 / 400  # far points per voxel from which the transform is cheaper

Points = NDArray[np.intp]


def nearest_distances(
    points: Points,
    targets: Points,
    *,
    shape: Sequence[int],
    spacing: Sequence[float],
    bound: float | None = None,
) -> NDArray[np.float64]:
    """Euclidean distance from each point to the nearest target.

    Args:
        points: Grid indices, `(N, D)`.
        targets: Grid indices, `(M, D)`, M > 0.
        shape: Size of the grid, `(D,)`.
        spacing: Size of a grid step along each axis, `(D,)`.
        bound: Distances above it may be returned as infinity, which is faster.

    Returns:
        Distances `(N,)` in the unit of *spacing*, computed from whole steps as scipy's distance
        transform does.
    """
    voxels = int(np.prod(shape))
    if len(points) + len(targets) > DENSE * voxels:
        return _by_transform(points, targets, shape, spacing)
    is_target = np.zeros(tuple(shape), dtype=bool)
    is_target[tuple(targets.T)] = True
    found = np.zeros(len(points))
    apart = np.flatnonzero(~is_target[tuple(points.T)])  # where both agree the distance is 0
    tree = cKDTree(targets * spacing, balanced_tree=False, compact_nodes=False)
    near = FAR_STEPS * max(spacing) if bound is None else bound * (1 + 1e-6) + 1e-12
    found[apart] = _by_search(tree, points[apart], targets, spacing, near)
    far = np.flatnonzero(np.isinf(found))
    if bound is not None or not far.size:
        return found
    if far.size > FAR_SHARE * voxels:
        found[far] = _by_transform(points[far], targets, shape, spacing)
    else:
        found[far] = _by_search(tree, points[far], targets, spacing, inf)
    return found


def _by_search(
    tree: cKDTree, points: Points, targets: Points, spacing: Sequence[float], bound: float
) -> NDArray[np.float64]:
    distances, index = tree.query(points * spacing, distance_upper_bound=bound)
    distances = np.asarray(distances, dtype=np.float64)
    within = np.isfinite(distances)
    distances[within] = _lengths(points[within] - targets[index[within]], spacing)
    return distances


def _by_transform(
    points: Points, targets: Points, shape: Sequence[int], spacing: Sequence[float]
) -> NDArray[np.float64]:
    background = np.ones(tuple(shape), dtype=bool)
    background[tuple(targets.T)] = False
    nearest = ndimage.distance_transform_edt(
        background, sampling=spacing, return_distances=False, return_indices=True
    )  # (D, *shape)
    return _lengths(points - nearest[(slice(None), *points.T)].T, spacing)


def _lengths(steps: NDArray[np.integer], spacing: Sequence[float]) -> NDArray[np.float64]:
    lengths: NDArray[np.float64] = np.sqrt(((steps * np.asarray(spacing)) ** 2).sum(axis=1))
    return lengths
