"""Centres of mass of what a label map holds: of instances, or of connected parts of classes."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def instance_centres(
    instances: NDArray[np.integer],
) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """The centre of mass of each value above 0, whether its voxels touch or not.

    Args:
        instances: `(X, Y, Z)`; each object has a value of its own.

    Returns:
        Values `(n,)` in ascending order, and their centres `(n, 3)` in voxels.
    """
    values = np.unique(instances[instances > 0])
    return values, mean_places(np.maximum(instances, 0), values)


def component_centres(
    labels: NDArray[np.integer], classes: Collection[int]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The centre of mass of each connected part of each class; corners connect.

    Args:
        labels: `(X, Y, Z)`, classes.
        classes: Those that are looked at.

    Returns:
        The class of each part `(n,)`, and its centre `(n, 3)` in voxels.
    """
    found, points = [np.zeros(0, np.int64)], [np.zeros((0, 3))]
    for value in classes:
        parts, count = ndimage.label(labels == value, np.ones((3, 3, 3)))
        found.append(np.full(count, value, np.int64))
        points.append(mean_places(parts, np.arange(1, count + 1)))
    return np.concatenate(found), np.concatenate(points)


def mean_places(parts: NDArray[np.integer], values: NDArray[np.integer]) -> NDArray[np.float64]:
    """The mean place of the voxels of each value, `(n, 3)`.

    Args:
        parts: `(X, Y, Z)`, 0 for no part.
        values: Those that are asked, in ascending order; each is there.
    """
    places = np.nonzero(parts)
    found = parts[places]
    index = np.minimum(np.searchsorted(values, found), max(0, len(values) - 1))
    is_asked = values[index] == found if len(values) else np.zeros(len(found), bool)
    own = index[is_asked]
    counts = np.bincount(own, minlength=len(values))
    sums = [np.bincount(own, axis[is_asked], minlength=len(values)) for axis in places]
    return np.stack(sums, axis=1) / counts[:, None] if len(values) else np.zeros((0, 3))
