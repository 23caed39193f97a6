"""A slice of a scan under the colors of a map, from dark blue for low to pale yellow for high."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from llmseg_cli.pictures.marks import Mark
from llmseg_cli.pictures.tiles import SIDE, Box, Plane, class_tile

SHARE = 0.55  # of the colors; the rest is the image
COLORS = np.array([(0, 0, 60), (90, 0, 140), (220, 50, 60), (255, 170, 0), (255, 255, 190)])


def heat_tile(
    plane: Plane,
    box: Box,
    values: NDArray[np.float32],
    limits: tuple[float, float],
    marks: Mapping[int, Mark],
    *,
    side: int = SIDE,
) -> Image.Image:
    """The slice with a map over it, and the outline of each class of its mask over both.

    Args:
        plane: The slice.
        box: Rows and columns that are shown.
        values: The map, `(rows, columns)` of the slice.
        limits: What has the first color and all below it, and what has the last.
        marks: Class to how it looks; others are not drawn.
        side: Pixels of the longer side.
    """
    image = class_tile(plane, box, {}, side=side)
    lines = np.asarray(class_tile(plane, box, marks, side=side))
    pixels = np.asarray(image).astype(np.float32)
    is_line = (lines != pixels).any(axis=-1)
    shown = Image.fromarray(np.ascontiguousarray(values[box], dtype=np.float32))
    spread = np.asarray(shown.resize(image.size, Image.Resampling.BILINEAR))
    drawn = (1 - SHARE) * pixels + SHARE * _colored(spread, *limits)
    drawn[is_line] = lines[is_line]
    return Image.fromarray(drawn.round().clip(0, 255).astype(np.uint8))


def color_scale(lowest: str, highest: str) -> list[Mark]:
    """What the colors mean, for a legend.

    Args:
        lowest: What the first one is.
        highest: What the last one is.
    """
    texts = (lowest, "a quarter of the way", "half", "three quarters", highest)
    colors = [(int(red), int(green), int(blue)) for red, green, blue in COLORS]
    return [Mark(text, color, "area") for text, color in zip(texts, colors, strict=True)]


def _colored(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float64]:
    place = ((values - low) / max(high - low, 1e-12)).clip(0, 1) * (len(COLORS) - 1)
    return np.stack([np.interp(place, range(len(COLORS)), c) for c in COLORS.T], axis=-1)
