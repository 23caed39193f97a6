"""Centres of objects from probabilities: peaks of the foreground, one within a radius."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from llmseg_cli.numerics.centres import mean_places

LEAST = 0.5  # smoothed foreground probability of a centre
TO_DIGITS = 4  # of smoothed probabilities: what rounding makes of a plateau is one peak
BYTES = 24  # per voxel of the image, taken by finding them


def smoothed(
    probability: NDArray[np.float32], radius: float, spacing: Sequence[float]
) -> NDArray[np.float32]:
    """A Gaussian mean, whose standard deviation is half the radius.

    Args:
        probability: `(X, Y, Z)`.
        radius: In the unit of *spacing*.
        spacing: Distance between voxels along X, Y and Z.
    """
    sides = [radius / 2 / side for side in spacing]
    found: NDArray[np.float32] = ndimage.gaussian_filter(probability, sides, mode="nearest")
    return found


def find_centres(
    foreground: NDArray[np.float32], *, radius: float, spacing: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the foreground is most probable, in one place within a radius of it.

    The foreground is smoothed, so that a disc of probability 1 and this radius peaks at its centre,
    at 0.86 (a ball: 0.74). Peaks below 0.5 are none: a speck of a few voxels, or a disc of less
    than 0.59 of the radius (a ball: 0.77). A plateau without a higher neighbor is one peak, at its
    centre of mass. The highest peaks are taken first, and those within the radius of one that is
    taken are left out, as `peak_local_max` of scikit-image does. The threshold is ours.

    Args:
        foreground: Probability of all classes but the background, `(X, Y, Z)`.
        radius: In the unit of *spacing*.
        spacing: Distance between voxels along X, Y and Z.

    Returns:
        Centres `(n, 3)` in voxels, and the smoothed probability at each, `(n,)`; the highest first.
    """
    height = smoothed(foreground, radius, spacing).round(TO_DIGITS)
    is_top = height == ndimage.maximum_filter(height, size=3, mode="nearest")
    slopes = ndimage.maximum_filter(np.where(is_top, -1, height), size=3, mode="nearest")
    parts, count = ndimage.label(is_top & (height >= LEAST), np.ones((3, 3, 3)))
    numbers = np.arange(1, count + 1)
    if not count:
        return np.zeros((0, 3)), np.zeros(0)
    is_slope = ndimage.maximum(slopes == height, parts, numbers)
    numbers = numbers[~np.asarray(is_slope, bool)]
    points = mean_places(parts, numbers)
    heights = np.asarray(ndimage.maximum(height, parts, numbers), np.float64)
    order = np.argsort(-heights, kind="stable")
    kept = _apart(points[order] * np.asarray(spacing), radius)
    return points[order][kept], heights[order][kept]


def _apart(points: NDArray[np.float64], radius: float) -> NDArray[np.intp]:
    """Those that are further than the radius from all before them that are taken."""
    if not len(points):
        return np.zeros(0, np.intp)
    near = cKDTree(points).query_ball_point(points, radius)
    is_taken = np.zeros(len(points), bool)
    for index, others in enumerate(near):
        is_taken[index] = not is_taken[others].any()
    return np.flatnonzero(is_taken)
