"""Elements of a surface between voxels, with their areas.

Between the centers of 2 x 2 x 2 voxels lies one element of the surface, a surfel, unless all eight
are inside or all outside. Which eight are inside makes a code of 8 bits; marching cubes gives the
triangles of each code, and the triangles' normals the area at any spacing. In two dimensions the
element is a piece of a contour between 2 x 2 pixels, with a length.

References:
    Nikolov et al., JMIR 23(7), 2021 (arXiv:1809.04430), and the package surface-distance 0.1
    (Copyright 2018 Google Inc., Apache-2.0), whose table of normals is condensed here: areas need
    no signs and no order of triangles, which leaves 27 different sets among the 256 codes.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

# Absolute components of the triangles' normals, three digits a triangle, in eighths of a face.
SETS = (
    "",
    "111",
    "220220",
    "202202",
    "111111",
    "111222400",
    "400400",
    "022022",
    "040111222",
    "004111222",
    "111111111",
    "111111222222",
    "022022111",
    "111202202",
    "022111202333",
    "111220220",
    "022111220333",
    "111111222400",
    "040040",
    "111202220333",
    "040111111222",
    "220220220220",
    "004004",
    "004111111222",
    "202202202202",
    "022022022022",
    "111111111111",
)
# The set of each code; a code and its complement have the same.
CODES = (
    "ABBCBDEFBEDFCFFGBHEIEJKLEMNOPQRFBEHIENMOEKJLPRQFCIISPTUIPUTIVPPC"
    "BEEPHJMQEKNRILOFDJNTJWXJNXYNTJNDEKMUMXZMKaXKUKMEFLOIQJMHRKNEPEEB"
)


def surfels(
    mask: NDArray[np.bool_], *, spacing: Sequence[float]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Position and size of each surfel of *mask*, the image counting as surrounded by background.

    Args:
        mask: `(X, Y, Z)` or `(X, Y)`.
        spacing: Size of a voxel along each axis, `(D,)`.

    Returns:
        Corners of voxels, indices `(N, D)` into a grid one larger than *mask* along each axis; and
        area (length in two dimensions) of each, `(N,)`.
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    corners = tuple(side + 1 for side in mask.shape)
    codes = np.zeros(corners, dtype=np.uint8)
    for offset in product((0, 1), repeat=mask.ndim):  # first offset is the highest bit
        window = tuple(
            slice(start, start + side) for start, side in zip(offset, corners, strict=True)
        )
        codes = codes * np.uint8(2) + padded[window]
    full = 2**2**mask.ndim - 1
    position = np.argwhere((codes != 0) & (codes != full))
    sizes = areas(spacing) if mask.ndim == 3 else lengths(spacing)
    return position, sizes[codes[tuple(position.T)]]


def areas(spacing: Sequence[float]) -> NDArray[np.float64]:
    """Area of the surface of each of the 256 codes, `(256,)`, at a spacing of three numbers."""
    x, y, z = spacing
    faces = np.array([y * z, x * z, x * y]) / 8
    by_set = [
        np.linalg.norm(np.array(list(map(int, digits))).reshape(-1, 3) * faces, axis=1).sum()
        for digits in SETS
    ]
    half = [by_set["ABCDEFGHIJKLMNOPQRSTUVWXYZa".index(letter)] for letter in CODES]
    return np.array(half + half[::-1])


def lengths(spacing: Sequence[float]) -> NDArray[np.float64]:
    """Length of the contour of each of the 16 codes, `(16,)`, at a spacing of two numbers."""
    x, y = spacing
    corner = float(np.hypot(x, y)) / 2
    half = [0.0, corner, corner, y, corner, x, 2 * corner, corner]
    return np.array(half + half[::-1])
