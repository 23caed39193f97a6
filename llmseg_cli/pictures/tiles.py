"""Slices of a scan with what was right, missed and false, small enough to stand in a page."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from llmseg_cli.pictures.marks import BLUISH_GREEN, ORANGE, PURPLE, SKY_BLUE, VERMILLION, Mark

SIDE = 384  # pixels of the longer side
QUALITIES = (80, 60, 40, 20)  # of WebP; the first that is small enough
LARGEST = 40_000  # bytes of a tile; noise alone comes near
SHARE = 0.45  # of the color where a mask is wrong; the rest is the image
DASH, WIDTH = 5, 2  # pixels
LEAST_FOR_WIDE = 250  # pixels of the longer side; in smaller tiles lines are one pixel wide
REFERENCE, PREDICTION = BLUISH_GREEN, ORANGE
MISSED, FALSE, OTHER_CLASS = SKY_BLUE, VERMILLION, PURPLE

Box = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Plane:
    """A slice, as one looks at it.

    Args:
        image: `(rows, columns)` or `(rows, columns, 3)`, in [0, 1].
        mask: `(rows, columns)` label map, or None.
        reference: `(rows, columns)` label map, or None.
        known: `(rows, columns)`, where the reference says something; None for everywhere.
        step: Height and width of a voxel, in any unit.
    """

    image: NDArray[np.float32]
    mask: NDArray[Any] | None
    reference: NDArray[Any] | None
    known: NDArray[np.bool_] | None
    step: tuple[float, float]


def tile(plane: Plane, box: Box, *, side: int = SIDE) -> Image.Image:
    """The slice with the outlines of both label maps, the mask's dashed, and errors filled.

    Args:
        plane: The slice.
        box: Rows and columns that are shown.
        side: Pixels of the longer side.
    """
    pixels = _gray_or_colors(plane, box, side)
    rows, columns = pixels.shape[:2]
    mask, reference = (
        None if labels is None else _nearest(labels[box], rows, columns)
        for labels in (plane.mask, plane.reference)
    )
    if mask is not None and reference is not None:
        known = None if plane.known is None else _nearest(plane.known[box], rows, columns)
        for where, color in zip(
            errors(mask, reference, known), (MISSED, FALSE, OTHER_CLASS), strict=True
        ):
            pixels[where] = (1 - SHARE) * pixels[where] + SHARE * np.array(color)
    if reference is not None:
        pixels[outline(reference, width=WIDTH)] = REFERENCE
    if mask is not None:
        pixels[outline(mask, width=WIDTH) & _dashes(rows, columns)] = PREDICTION
    return _picture(pixels)


def class_tile(
    plane: Plane, box: Box, marks: Mapping[int, Mark], *, side: int = SIDE
) -> Image.Image:
    """The slice with the outline of each class of its mask.

    Args:
        plane: The slice.
        box: Rows and columns that are shown.
        marks: Value to how its outline looks; others are not drawn.
        side: Pixels of the longer side.
    """
    pixels = _gray_or_colors(plane, box, side)
    if plane.mask is not None:
        mask = _nearest(plane.mask[box], *pixels.shape[:2])
        edge = outline(mask, width=WIDTH if side >= LEAST_FOR_WIDE else 1)
        for value, mark in marks.items():
            where = edge & (mask == value)
            if mark.kind == "dashes":
                where &= _dashes(*pixels.shape[:2])
            pixels[where] = mark.color
    return _picture(pixels)


def outlines_tile(
    plane: Plane, box: Box, drawn: Sequence[tuple[NDArray[Any], Mark]], *, side: int = SIDE
) -> Image.Image:
    """The slice with outlines of several label maps, a later one over an earlier.

    Args:
        plane: The slice; its label maps are not drawn.
        box: Rows and columns that are shown.
        drawn: Label maps, `(rows, columns)`, each with how its classes look.
        side: Pixels of the longer side.
    """
    pixels = _gray_or_colors(plane, box, side)
    for labels, mark in drawn:
        where = outline(_nearest(labels[box], *pixels.shape[:2]), width=WIDTH)
        if mark.kind == "dashes":
            where &= _dashes(*pixels.shape[:2])
        pixels[where] = mark.color
    return _picture(pixels)


def pixels_per_unit(plane: Plane, box: Box, *, side: int = SIDE) -> float:
    """How long one unit of the plane's step is in a tile, in pixels."""
    height, width = _extent(plane.image[box].shape, plane.step)
    return side / max(height, width)


def errors(
    mask: NDArray[Any], reference: NDArray[Any], known: NDArray[np.bool_] | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Where the reference alone has a class, the mask alone, and both have different ones.

    Args:
        mask: Label map of any shape.
        reference: Likewise.
        known: Where the reference says something; None for everywhere.
    """
    wrong = mask != reference
    if known is not None:
        wrong &= known
    return wrong & (mask == 0), wrong & (reference == 0), wrong & (mask > 0) & (reference > 0)


def outline(labels: NDArray[Any], *, width: int = 1) -> NDArray[np.bool_]:
    """The pixels of classes, background aside, that have one of another near.

    Args:
        labels: Label map.
        width: How near, in pixels.
    """
    from scipy import ndimage  # a check without pictures does not wait for it

    size = 2 * width + 1
    edges = ndimage.maximum_filter(labels, size) != ndimage.minimum_filter(labels, size)
    found: NDArray[np.bool_] = edges & (labels > 0)
    return found


@dataclass(frozen=True)
class Inline:
    """A picture that stands in a page.

    Args:
        address: All of it, as text in the place of an address.
        width: In pixels.
        height: In pixels.
    """

    address: str
    width: int
    height: int


def inline_webp(picture: Image.Image) -> Inline:
    """The picture as WebP, for a page; of noise, at a lower quality."""
    for quality in QUALITIES:
        stream = io.BytesIO()
        picture.save(stream, "WEBP", quality=quality, method=4)
        if stream.tell() <= LARGEST:
            break
    text = base64.b64encode(stream.getvalue()).decode("ascii")
    return Inline(f"data:image/webp;base64,{text}", *picture.size)


def _extent(shape: tuple[int, ...], step: tuple[float, float]) -> tuple[float, float]:
    return shape[0] * step[0], shape[1] * step[1]


def _gray_or_colors(plane: Plane, box: Box, side: int) -> NDArray[np.float32]:
    """The slice `(rows, columns, 3)`, 0 to 255, as long and wide as it is in space."""
    image = plane.image[box]
    gray = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    scale = pixels_per_unit(plane, box, side=side)
    rows, columns = (max(1, round(one * scale)) for one in _extent(image.shape, plane.step))
    return _resized(gray, rows, columns)


def _dashes(rows: int, columns: int) -> NDArray[np.bool_]:
    where: NDArray[np.bool_] = np.add.outer(np.arange(rows), np.arange(columns)) // DASH % 2 == 0
    return where


def _picture(pixels: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def _resized(image: NDArray[np.float32], rows: int, columns: int) -> NDArray[np.float32]:
    picture = Image.fromarray((image * 255).round().clip(0, 255).astype(np.uint8))
    drawn = picture.resize((columns, rows), Image.Resampling.BICUBIC)
    return np.asarray(drawn, dtype=np.float32).copy()


def _nearest(labels: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """The label at the middle of each pixel."""
    down = (np.arange(rows) + 0.5) * labels.shape[0] / rows
    across = (np.arange(columns) + 0.5) * labels.shape[1] / columns
    return labels[down.astype(int)[:, None], across.astype(int)[None, :]]
