"""Which voxels of a mask lie on its surface."""

import numpy as np
from numpy.typing import NDArray


def surface_voxels(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Voxels of *mask* with at least one face neighbor outside of it.

    The image counts as surrounded by background, so a mask that touches the border has its surface
    there. Equal to a mask minus its binary erosion with connectivity 1, as medpy defines it.

    Args:
        mask: `(X, Y, Z)` or `(X, Y)`.

    Returns:
        Indices, `(N, D)`.
    """
    padded = np.pad(mask, 1)
    inside = np.ones_like(mask)
    for axis in range(mask.ndim):
        for start in (0, 2):
            window = [slice(1, -1)] * mask.ndim
            window[axis] = slice(start, start + mask.shape[axis])
            inside &= padded[tuple(window)]
    return np.argwhere(mask & ~inside)
