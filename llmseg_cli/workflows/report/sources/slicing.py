"""Slices of a scan with its label maps: which are shown, and their pictures."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.data.case import Case
from llmseg_cli.data.grids import Grid
from llmseg_cli.data.reading import read_channels
from llmseg_cli.data.volumes import LabelMap
from llmseg_cli.errors import DataError
from llmseg_cli.pictures.tiles import Box, Inline, Plane, errors, inline_webp, tile
from llmseg_cli.workflows.report.seen import Slice

SLICES = 3  # of a volume
MARGIN = 0.15  # of what is shown, around the object
LEAST_MARGIN = 8  # voxels
COLORS = 3  # channels of a picture


@dataclass(frozen=True, eq=False)
class _Volume:
    """What is shown of a case, `(X, Y, Z)` in RAS+."""

    grid: Grid
    mask: NDArray[Any] | None
    reference: NDArray[Any] | None
    known: NDArray[np.bool_] | None

    @property
    def axis(self) -> int:
        """Across which it is sliced: that of the widest spacing, of equal ones Z."""
        spacing = self.grid.spacing_mm
        if self.grid.ras_shape[2] == 1:
            return 2
        return max((2, 1, 0), key=lambda axis: round(spacing[axis], 3))

    def plane_axes(self) -> tuple[int, int]:
        """Axes of columns and rows."""
        across, down = (axis for axis in range(3) if axis != self.axis)
        return across, down


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
    volume = _volume(raws[0].grid, mask, reference)
    numbers = _numbers(volume, most)
    images = [np.moveaxis(raw.grid.to_ras(raw.array), volume.axis + 1, 0)[numbers] for raw in raws]
    image = np.concatenate([part.astype(np.float32) for part in images], axis=1)  # (S, C, ., .)
    box = _box(volume)
    shades = limits or limits_of(raws[0].array)
    planes = [_plane(volume, image[index], number, shades) for index, number in enumerate(numbers)]
    return (
        tuple(_slice(volume, number) for number in numbers),
        tuple(inline_webp(tile(plane, box)) for plane in planes),
    )


def limits_of(image: NDArray[Any]) -> tuple[float, float]:
    """First and 99th percentile of the intensities that are finite; 0 and 1 without any."""
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, (1, 99)) if finite.size else (0.0, 1.0)
    return float(low), float(high)


def _volume(grid: Grid, mask: LabelMap | None, reference: LabelMap | None) -> _Volume:
    for labels in (mask, reference):
        if labels is not None and labels.array.shape != grid.ras_shape:
            sizes = [" x ".join(map(str, shape)) for shape in (labels.array.shape, grid.ras_shape)]
            raise DataError(f"a label map of {sizes[0]} voxels, and the image has {sizes[1]}")
    if reference is None:
        return _Volume(grid, None if mask is None else mask.array, None, None)
    known = reference.array != UNKNOWN
    values = np.where(known, reference.array, 0)
    return _Volume(
        grid, None if mask is None else mask.array, values, None if known.all() else known
    )


def _numbers(volume: _Volume, most: int) -> list[int]:
    """The slices with most errors, apart from each other; without errors, of most foreground."""
    size = volume.grid.ras_shape[volume.axis]
    others = volume.plane_axes()
    area = np.zeros(size)
    for labels in (volume.mask, volume.reference):
        if labels is not None:
            area += (labels > 0).sum(axis=others)
    wrong = np.zeros(size)
    if volume.mask is not None and volume.reference is not None:
        found = errors(volume.mask, volume.reference, volume.known)
        wrong += sum(part.sum(axis=others) for part in found)
    value = wrong * (area.max() * 2 + 1) + area + 1  # errors first, then size
    held = np.flatnonzero(area)
    apart = max(1, len(held) // (most + 1))
    if not held.size:
        return [size // 2]
    chosen: list[int] = []
    for number in map(int, np.argsort(-value, kind="stable")):
        if len(chosen) == most or not area[number]:
            break
        if all(abs(number - other) >= apart for other in chosen):
            chosen.append(number)
    return sorted(chosen)


def _box(volume: _Volume) -> Box:
    """Rows and columns around the object in all slices; all of them without an object."""
    object_ = np.zeros(volume.grid.ras_shape, bool)
    for labels in (volume.mask, volume.reference):
        if labels is not None:
            object_ |= labels > 0
    flat = _turned(np.asarray(object_.any(axis=volume.axis)), volume)
    if not flat.any():
        return slice(None), slice(None)
    spans = []
    for axis in (1, 0):
        held = np.flatnonzero(flat.any(axis=axis))
        margin = max(LEAST_MARGIN, round(MARGIN * (held[-1] - held[0] + 1)))
        spans.append(slice(max(0, int(held[0]) - margin), int(held[-1]) + margin + 1))
    return spans[0], spans[1]


def _turned(plane: NDArray[Any], volume: _Volume) -> NDArray[Any]:
    """`(columns, rows)` as one looks at it: of patients, front or head above and right at left."""
    rows = np.swapaxes(plane, 0, 1)
    return rows[::-1, ::-1] if volume.grid.unit == "mm" else rows


def _plane(
    volume: _Volume, image: NDArray[np.float32], number: int, limits: tuple[float, float]
) -> Plane:
    """A slice; *image* is `(C, columns, rows)` of it."""
    is_color = volume.grid.format == "picture" and len(image) == COLORS
    channels = image if is_color else image[:1]
    channels = np.nan_to_num(channels, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = limits
    unit = ((channels - low) / max(high - low, 1e-12)).clip(0, 1)
    shown = np.stack([_turned(channel, volume) for channel in unit], axis=-1)
    labels = [
        None if one is None else _turned(np.take(one, number, axis=volume.axis), volume)
        for one in (volume.mask, volume.reference, volume.known)
    ]
    across, down = volume.plane_axes()
    spacing = volume.grid.spacing_mm
    picture = shown if is_color else shown[..., 0]
    return Plane(picture, labels[0], labels[1], labels[2], (spacing[down], spacing[across]))


def _slice(volume: _Volume, number: int) -> Slice:
    is_flat = volume.grid.ras_shape[2] == 1
    counts: tuple[int | None, ...] = (None, None, None)
    if volume.mask is not None and volume.reference is not None:
        parts = [
            None if one is None else np.take(one, number, axis=volume.axis)
            for one in (volume.mask, volume.reference, volume.known)
        ]
        assert parts[0] is not None
        assert parts[1] is not None
        counts = tuple(int(part.sum()) for part in errors(parts[0], parts[1], parts[2]))
    return Slice(
        axis="" if is_flat else "XYZ"[volume.axis],
        number=number + 1,
        of=volume.grid.ras_shape[volume.axis],
        missed=counts[0],
        false=counts[1],
        other_class=counts[2],
    )
