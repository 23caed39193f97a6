"""Numbers of an image and of a predicted mask, from which sentences are made."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

RING = 3  # voxels around a structure that count as its surroundings
DARK, BRIGHT = 1.0, 99.0  # percentiles between which intensities are said to lie


@dataclass(frozen=True)
class ImageNumbers:
    """What an image says of itself.

    Args:
        shape: Voxels along X, Y, Z; a picture has one along Z.
        spacing: Between them.
        unit: Of the spacing: `mm`, `px` or `voxel`.
        channels: Image channels.
        low: 1st percentile of the mean over the channels.
        high: 99th percentile of it.
        mean: Mean of it.
        deviation: Standard deviation of it.
        dark: Share of its voxels below the middle between `low` and `high`, from 0 to 1.
        symmetry: Correlation of it with its mirror image along X, from -1 to 1; 1 without contrast.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    unit: str
    channels: int
    low: float
    high: float
    mean: float
    deviation: float
    dark: float
    symmetry: float


@dataclass(frozen=True)
class PartNumbers:
    """What a mask says of one class of an image; place and form are those of its largest component.

    Args:
        voxels: Voxels of the class.
        share: Share of all voxels, from 0 to 1.
        size: Area in the squared unit of a picture, volume in the cubed one else.
        center: Of that component, along X, Y, Z, each from 0 (the first voxel) to 1 (the last).
        extent: Of the box around it along X, Y, Z, in the unit.
        parts: Components, of voxels that touch at a side, an edge or a corner.
        largest: Share of its voxels in the largest component.
        elongation: Longest over second longest half axis, 1 for a ball; see `_half_axes`.
        borders: Whether that component touches the border of the image; the ends of Z of a picture
            are none.
        contrast: Mean intensity inside less that of the voxels within 3 of it that are of no class,
            in standard deviations of the image; None where there are no such voxels, or the image
            has no contrast.
    """

    voxels: int
    share: float
    size: float
    center: tuple[float, float, float]
    extent: tuple[float, float, float]
    parts: int
    largest: float
    elongation: float
    borders: bool
    contrast: float | None


def image_numbers(
    array: NDArray[np.float32], spacing: tuple[float, float, float], unit: str
) -> ImageNumbers:
    """Measure an image.

    Args:
        array: `(C, X, Y, Z)`; values that are not finite count as 0.
        spacing: Along X, Y, Z.
        unit: Of the spacing.
    """
    gray = _gray(array)
    low, high = (float(value) for value in np.percentile(gray, (DARK, BRIGHT)))
    mean, deviation = float(gray.mean()), float(gray.std())
    dark, symmetry = float((gray < (low + high) / 2).mean()), 1.0
    if deviation > 0:
        apart = (gray - mean) / deviation
        symmetry = float((apart * apart[::-1]).mean())
    shape = (gray.shape[0], gray.shape[1], gray.shape[2])
    return ImageNumbers(
        shape, spacing, unit, len(array), low, high, mean, deviation, dark, symmetry
    )


def part_numbers(
    array: NDArray[np.float32],
    labels: NDArray[np.integer],
    value: int,
    spacing: tuple[float, float, float],
) -> PartNumbers | None:
    """Measure a class of a mask; None if the mask has none of it.

    Args:
        array: The image, `(C, X, Y, Z)`.
        labels: The mask, `(X, Y, Z)`.
        value: The class.
        spacing: Along X, Y, Z.
    """
    found = labels == value
    count = int(found.sum())
    if not count:
        return None
    is_flat = labels.shape[2] == 1
    numbers, parts = ndimage.label(found, np.ones((3, 3, 3)))
    counts = np.bincount(numbers[found])
    places = np.argwhere(numbers == counts.argmax())
    first, last = places.min(axis=0), places.max(axis=0)
    most = np.array(labels.shape) - 1
    center = np.where(most > 0, places.mean(axis=0) / np.maximum(most, 1), 0.5)
    ends = ((first == 0) | (last == most))[: 2 if is_flat else 3]
    sides = spacing[:2] if is_flat else spacing
    x, y, z = (float(side) for side in (last - first + 1) * np.array(spacing))
    return PartNumbers(
        voxels=count,
        share=count / labels.size,
        size=count * float(np.prod(sides)),
        center=(float(center[0]), float(center[1]), float(center[2])),
        extent=(x, y, z),
        parts=int(parts),
        largest=float(counts.max() / count),
        elongation=_elongation(places[:, : len(sides)], np.array(sides)),
        borders=bool(ends.any()),
        contrast=_contrast(_gray(array), found, labels),
    )


def _gray(array: NDArray[np.float32]) -> NDArray[np.float64]:
    """The mean over the channels, `(X, Y, Z)`."""
    mean: NDArray[np.float64] = np.nan_to_num(array, posinf=0.0, neginf=0.0).mean(
        axis=0, dtype=np.float64
    )
    return mean


def _elongation(places: NDArray[np.int64], sides: NDArray[np.float64]) -> float:
    """Longest over second longest half axis of the ellipsoid of the same second moments."""
    first, second = _half_axes(places, sides)[:2]
    return float(first / second)


def _half_axes(places: NDArray[np.int64], sides: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviations along the principal axes, longest first; a voxel itself has 1 / sqrt 12.

    A solid box of n voxels of side s has exactly n s / sqrt 12 along an axis, as the uniform
    distribution over it.
    """
    points = (places - places.mean(axis=0)) * sides
    spread = points.T @ points / len(points) + np.diag(sides**2 / 12)
    return np.sqrt(np.linalg.eigvalsh(spread)[::-1])


def _contrast(
    gray: NDArray[np.float64], found: NDArray[np.bool_], labels: NDArray[np.integer]
) -> float | None:
    deviation = float(gray.std())
    box = tuple(
        slice(max(0, int(held.min()) - RING), int(held.max()) + RING + 1)
        for held in np.nonzero(found)
    )
    inside = found[box]
    near = ndimage.binary_dilation(inside, np.ones((3, 3, 3)), iterations=RING)
    around = near & (labels[box] == 0)
    if not deviation or not around.any():
        return None
    seen = gray[box]
    return float((seen[inside].mean() - seen[around].mean()) / deviation)
