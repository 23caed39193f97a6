"""A sheet of small pictures of images, each with its caption and the outline of its mask."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from llmseg_cli.artifacts.files import atomic_path
from llmseg_cli.pictures.heat import OUTLINE, edges

SIDE, CAPTION, COLUMNS = 256, 16, 5  # pixels, pixels, pictures


@dataclass(frozen=True)
class Tile:
    """One picture.

    Args:
        caption: A line above it.
        image: `(3, X, Y)` in [0, 1].
        labels: `(X, Y)`; None draws no outline.
        spacing: Sides of a pixel along X and Y, so that it is not stretched.
    """

    caption: str
    image: NDArray[np.float32]
    labels: NDArray[Any] | None = None
    spacing: tuple[float, float] = (1.0, 1.0)


def save_contact(path: Path, tiles: Sequence[Tile]) -> None:
    """Write a PNG of tiles in rows of five, the first at the top left.

    Args:
        path: The file.
        tiles: The pictures, at least one.
    """
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * SIDE, rows * (SIDE + CAPTION)))
    draw = ImageDraw.Draw(sheet)
    for number, tile in enumerate(tiles):
        left, top = number % columns * SIDE, number // columns * (SIDE + CAPTION)
        drawn = _drawn(tile)
        place = ((SIDE - drawn.width) // 2, (SIDE - drawn.height) // 2)
        sheet.paste(drawn, (left + place[0], top + CAPTION + place[1]))
        draw.rectangle((left, top, left + SIDE - 1, top + CAPTION - 1), fill=(0, 0, 0))
        draw.text((left + 2, top + 2), tile.caption, fill=(255, 255, 255))
    with atomic_path(path) as temporary:
        sheet.save(temporary)


def _drawn(tile: Tile) -> Image.Image:
    """The picture, as large as a tile allows, its rows from top to bottom."""
    pixels = (255 * tile.image.transpose(2, 1, 0)).round().astype(np.uint8)
    lengths = [n * s for n, s in zip(tile.image.shape[1:], tile.spacing, strict=True)]
    width, height = (max(1, round(SIDE * one / max(lengths))) for one in lengths)
    shown = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    if tile.labels is None:
        return shown
    values = np.asarray(tile.labels > 0, np.uint8).T
    mask = Image.fromarray(values).resize((width, height), Image.Resampling.NEAREST)
    found = np.array(shown)
    found[edges(np.array(mask))] = OUTLINE
    return Image.fromarray(found)
