"""A picture of numbers that lie on an image, to look at."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from llmseg_cli.artifacts.files import atomic_path

SMALLEST_SIDE = 256  # pixels; smaller images are enlarged
CAPTION = 14  # pixels
OUTLINE = (255, 210, 0)
SHARE = 0.55  # of the colors; the rest is the image
COLORS = np.array([(0, 0, 60), (90, 0, 140), (220, 50, 60), (255, 170, 0), (255, 255, 190)])


def save_heat(
    path: Path,
    image: NDArray[np.float32],
    labels: NDArray[Any],
    maps: Mapping[str, NDArray[np.float32]],
) -> None:
    """Write a PNG with the image and the outline of its label map, and each map over the image.

    Colors of a map go from its 1 % to its 99 % quantile, which its caption gives.

    Args:
        path: The file.
        image: `(3, X, Y)` in [0, 1].
        labels: `(X, Y)`.
        maps: Name to `(X, Y)`.
    """
    scale = max(1, -(-SMALLEST_SIDE // max(image.shape[1:])))
    pixels = 255 * _shown(image.transpose(1, 2, 0), scale)
    mask = _shown(labels, scale)
    first = pixels.copy()
    first[edges(mask)] = OUTLINE
    panels = {"prediction": first}
    for name, values in maps.items():
        low, high = np.quantile(values, (0.01, 0.99))
        caption = f"{name} {low:.2f} to {high:.2f}"
        panels[caption] = (1 - SHARE) * pixels + SHARE * _colored(_shown(values, scale), low, high)
    height, width = pixels.shape[:2]
    sheet = Image.new("RGB", (width * len(panels), height + CAPTION))
    draw = ImageDraw.Draw(sheet)
    for number, (caption, panel) in enumerate(panels.items()):
        drawn = Image.fromarray(panel.round().astype(np.uint8))
        sheet.paste(drawn, (number * width, CAPTION))
        draw.text((number * width + 2, 1), caption, fill=(255, 255, 255))
    with atomic_path(path) as temporary:
        sheet.save(temporary)


def _shown(array: NDArray[Any], scale: int) -> NDArray[Any]:
    """Rows from top to bottom: `(X, Y[, 3])` becomes `(Y, X[, 3])`, enlarged."""
    return array.swapaxes(0, 1).repeat(scale, axis=0).repeat(scale, axis=1)


def edges(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Where a neighbor has another label."""
    return ndimage.maximum_filter(labels, 3) != ndimage.minimum_filter(labels, 3)


def _colored(values: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    place = ((values - low) / max(high - low, 1e-12)).clip(0, 1) * (len(COLORS) - 1)
    return np.stack([np.interp(place, range(len(COLORS)), c) for c in COLORS.T], axis=-1)
