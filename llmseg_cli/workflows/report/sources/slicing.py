"""Slices of a scan with its label maps, as a page shows them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.data.case import Case
from llmseg_cli.data.reading import read_channels
from llmseg_cli.data.volumes import LabelMap
from llmseg_cli.pictures.slices import SLICES, Layers
from llmseg_cli.pictures.tiles import Inline, inline_webp, tile
from llmseg_cli.workflows.case_pictures import layers_of
from llmseg_cli.workflows.report.seen import Slice

COLORS = 3  # channels of a picture


def pictured(
    case: Case,
    mask: LabelMap | None,
    reference: LabelMap | None,
    *,
    limits: tuple[float, float] | None,
    most: int = SLICES,
) -> tuple[tuple[Slice, ...], tuple[Inline, ...]]:
    """Slices of a case, and their pictures.

    Args:
        case: Where its image is.
        mask: Its mask, `(X, Y, Z)`, or None.
        reference: Its reference, `(X, Y, Z)`, or None.
        limits: Intensities that become black and white; None for the first and 99th percentile.
        most: Slices at most.

    Raises:
        DataError: If the image cannot be read, or a label map lies on other voxels.
    """
    raws = read_channels(case.images)
    layers = layers_of(raws[0].grid, mask, reference)
    numbers, axis = layers.numbers(most), layers.axis
    images = [np.moveaxis(raw.grid.to_ras(raw.array), axis + 1, 0)[numbers] for raw in raws]
    image = np.concatenate([part.astype(np.float32) for part in images], axis=1)  # (S, C, ., .)
    is_color = raws[0].grid.format == "picture" and image.shape[1] == COLORS
    shown = _to_unit(image if is_color else image[:, :1], limits or limits_of(raws[0].array))
    box = layers.box()
    planes = [layers.plane(shown[index], number) for index, number in enumerate(numbers)]
    return (
        tuple(_slice(layers, number) for number in numbers),
        tuple(inline_webp(tile(plane, box)) for plane in planes),
    )


def limits_of(image: NDArray[Any]) -> tuple[float, float]:
    """First and 99th percentile of the intensities that are finite; 0 and 1 without any."""
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 1.0)
    return float(low), float(high)


def _to_unit(image: NDArray[np.float32], limits: tuple[float, float]) -> NDArray[np.float32]:
    finite = np.nan_to_num(image, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = limits
    unit: NDArray[np.float32] = ((finite - low) / max(high - low, 1e-12)).clip(0, 1)
    return unit


def _slice(layers: Layers, number: int) -> Slice:
    counts = layers.missed_and_false(number) or (None, None, None)
    return Slice(
        axis="" if layers.is_flat else "XYZ"[layers.axis],
        number=number + 1,
        of=layers.shape[layers.axis],
        missed=counts[0],
        false=counts[1],
        other_class=counts[2],
    )
