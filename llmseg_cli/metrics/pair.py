"""One class of a prediction beside the same class of its reference."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from llmseg_cli.metrics.nearest import nearest_distances
from llmseg_cli.metrics.surface_voxels import surface_voxels

Mask = NDArray[np.bool_]
Distances = NDArray[np.float64]
STATUSES = ("scored", "missed", "false_alarm", "both_empty")


@dataclass(frozen=True)
class MaskPair:
    """Two masks, cropped to a box that holds both; outside of it both are empty.

    The crop changes no metric: the surface of a mask is defined as if the image were surrounded by
    background, and distances only need the voxels of the surfaces.

    Args:
        prediction: Cropped mask, `(X, Y, Z)` or `(X, Y)`.
        reference: Cropped mask of the same shape.
        spacing: Size of a voxel along each axis, in *unit*.
        unit: `mm`, `px` or `voxel`.
        image_voxels: Number of voxels of the image before the crop.
        tolerance: Largest distance that the normalized surface Dice forgives, in *unit*.
    """

    prediction: Mask
    reference: Mask
    spacing: tuple[float, ...]
    unit: str
    image_voxels: int
    tolerance: float

    @cached_property
    def both(self) -> int:
        """Voxels in both masks."""
        return int(np.count_nonzero(self.prediction & self.reference))

    @cached_property
    def predicted(self) -> int:
        """Voxels of the prediction."""
        return int(np.count_nonzero(self.prediction))

    @cached_property
    def referenced(self) -> int:
        """Voxels of the reference."""
        return int(np.count_nonzero(self.reference))

    @property
    def status(self) -> str:
        """`scored`, or which is empty: `missed` (prediction), `false_alarm` (reference) or both."""
        if self.referenced:
            return "scored" if self.predicted else "missed"
        return "false_alarm" if self.predicted else "both_empty"

    @property
    def voxel_volume(self) -> float:
        """Volume of a voxel: ml if the unit is mm, else 1 (voxels or pixels)."""
        return prod(self.spacing) / 1000 if self.unit == "mm" else 1.0

    @cached_property
    def surface_distances(self) -> tuple[Distances, Distances] | None:
        """Distances from each surface voxel of one mask to the nearest of the other, both ways.

        Returns:
            From prediction to reference `(N,)`, from reference to prediction `(M,)`, in `unit`;
            None if a mask is empty.
        """
        if self.status != "scored":
            return None
        prediction = surface_voxels(self.prediction)
        reference = surface_voxels(self.reference)
        shape = self.prediction.shape
        return (
            nearest_distances(prediction, reference, shape=shape, spacing=self.spacing),
            nearest_distances(reference, prediction, shape=shape, spacing=self.spacing),
        )


def mask_pairs(
    prediction: NDArray[np.integer],
    reference: NDArray[np.integer],
    *,
    classes: Sequence[int],
    spacing_mm: Sequence[float],
    unit: str = "mm",
    tolerance: float = 1.0,
    known: Mask | None = None,
) -> Iterator[MaskPair]:
    """One `MaskPair` per class, in the order of *classes*.

    An axis of length 1 is dropped, so that a picture, or a single slice, is measured in its plane.

    Args:
        prediction: Label map `(X, Y, Z)`.
        reference: Label map of the same shape.
        classes: Label values above 0.
        spacing_mm: Size of a voxel in mm, `(3,)`; used only if *unit* is `mm`.
        unit: `mm`, or `px` or `voxel` to measure in steps of the grid.
        tolerance: Of the normalized surface Dice, in *unit*.
        known: Voxels that count, of the same shape; None for all. The others are in neither mask
            and no part of the image, so that where they cut a mask, there is a surface.

    Raises:
        ValueError: If the shapes differ or a class is below 1.
    """
    if prediction.shape != reference.shape or prediction.ndim != len(spacing_mm):
        raise ValueError(
            f"shapes differ: {prediction.shape}, {reference.shape}, spacing of {len(spacing_mm)}"
        )
    if known is not None and known.shape != reference.shape:
        raise ValueError(f"shapes differ: {known.shape} and {reference.shape}")
    if min(classes, default=1) < 1:
        raise ValueError(f"classes are above 0, got {list(classes)}")
    spacing = tuple(float(s) if unit == "mm" else 1.0 for s in spacing_mm)
    image_voxels = prediction.size
    if known is not None:
        image_voxels = int(np.count_nonzero(known))
        prediction, reference = np.where(known, prediction, 0), np.where(known, reference, 0)
    if 1 in prediction.shape:
        flat = prediction.ndim - 1 - prediction.shape[::-1].index(1)
        prediction, reference = prediction.squeeze(flat), reference.squeeze(flat)
        spacing = (*spacing[:flat], *spacing[flat + 1 :])
    box = _box((prediction != 0) | (reference != 0))
    prediction, reference = prediction[box], reference[box]
    found = [_boxes(labels, max(classes, default=0)) for labels in (prediction, reference)]
    for number in classes:
        inner = _union(found[0][number - 1], found[1][number - 1], prediction.ndim)
        yield MaskPair(
            prediction[inner] == number,
            reference[inner] == number,
            spacing,
            unit,
            image_voxels,
            tolerance,
        )


def _box(mask: Mask) -> tuple[slice, ...]:
    """The smallest box that holds *mask*; empty if there is nothing in it."""
    found = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        used = np.flatnonzero(mask.any(axis=others))
        found.append(slice(int(used[0]), int(used[-1]) + 1) if used.size else slice(0, 0))
    return tuple(found)


def _boxes(labels: NDArray[np.integer], highest: int) -> list[tuple[slice, ...] | None]:
    """The box of each label value from 1 to *highest*; None where it does not occur."""
    if not labels.size:
        return [None] * highest
    found: list[tuple[slice, ...] | None] = ndimage.find_objects(labels, max_label=highest)
    return found


def _union(
    first: tuple[slice, ...] | None, second: tuple[slice, ...] | None, dimensions: int
) -> tuple[slice, ...]:
    if first is None or second is None:
        return first or second or (slice(0, 0),) * dimensions
    return tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop))
        for a, b in zip(first, second, strict=True)
    )
