"""A picture of two masks on an image, to look at."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from llmseg_cli.artifacts.files import atomic_path

BEFORE, AFTER, DOUBT = (255, 210, 0), (0, 220, 90), (255, 40, 40)
SMALLEST_SIDE = 384  # pixels; smaller images are enlarged


def save_overlay(
    path: Path,
    image: NDArray[np.float32],
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    *,
    unknown: int,
) -> None:
    """Write a PNG with the outlines of two label maps: yellow before, green after, red unknown.

    Args:
        path: The file.
        image: `(3, X, Y)` in [0, 1].
        before: `(X, Y)` label map.
        after: `(X, Y)` label map.
        unknown: Its value for what nobody knows.
    """
    scale = max(1, -(-SMALLEST_SIDE // max(image.shape[1:])))
    pixels = (_enlarged(image, scale).transpose(2, 1, 0) * 255).round().astype(np.uint8)
    masks = (before > 0, (after > 0) & (after != unknown), after == unknown)
    for chosen, color in zip(masks, (BEFORE, AFTER, DOUBT), strict=True):
        mask = _enlarged(chosen, scale)
        pixels[(mask & ~ndimage.binary_erosion(mask, border_value=1)).T] = color
    with atomic_path(path) as temporary:
        Image.fromarray(np.ascontiguousarray(pixels)).save(temporary)


def _enlarged(array: NDArray[Any], scale: int) -> NDArray[Any]:
    return array.repeat(scale, axis=-2).repeat(scale, axis=-1)
