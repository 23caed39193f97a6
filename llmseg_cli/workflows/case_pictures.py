"""What commands share that draw a case: its slices, turned and named, from its files."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.files import remove_leftovers
from llmseg_cli.artifacts.journal import OVERLAYS
from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.data.grids import Grid
from llmseg_cli.data.volumes import LabelMap, Volume
from llmseg_cli.errors import DataError
from llmseg_cli.numerics.unit_range import to_unit, unit_range
from llmseg_cli.pictures.figure import Panel, Picture
from llmseg_cli.pictures.slices import WHOLE, Layers
from llmseg_cli.pictures.tiles import SIDE, Box, Plane, pixels_per_unit

LARGE = 640  # pixels of the longer side of a picture that stands alone
ENDS = ("left", "right", "back", "front", "feet", "head")

T = TypeVar("T")


def spread(cases: Sequence[T], count: int) -> list[T]:
    """At most *count* of the cases, evenly over all of them."""
    if count >= len(cases):
        return list(cases)
    return [cases[index * len(cases) // count] for index in range(count)]


def layers_of(grid: Grid, mask: LabelMap | None, reference: LabelMap | None) -> Layers:
    """Label maps over an image; unknown voxels of the reference count as background.

    Args:
        grid: Of the image.
        mask: A label map, or None.
        reference: Another, or None.

    Raises:
        DataError: If one has another size than the image.
    """
    for labels in (mask, reference):
        if labels is not None and labels.array.shape != grid.ras_shape:
            sizes = [" x ".join(map(str, shape)) for shape in (labels.array.shape, grid.ras_shape)]
            raise DataError(f"a label map of {sizes[0]} voxels, and the image has {sizes[1]}")
    shown = None if mask is None else mask.array
    if reference is None:
        return Layers(grid.ras_shape, grid.spacing_mm, grid.unit, shown)
    known = reference.array != UNKNOWN
    values = np.where(known, reference.array, 0)
    unknown = None if known.all() else known
    return Layers(grid.ras_shape, grid.spacing_mm, grid.unit, shown, values, unknown)


class Slicer:
    """Slices of an image that is loaded, in the gray values or colors of a picture.

    Args:
        volume: The image.
        layers: What lies over it.
    """

    def __init__(self, volume: Volume, layers: Layers) -> None:
        self.layers = layers
        self._array = volume.array
        self._limits = unit_range(_finite(volume.array))

    def plane(self, number: int) -> Plane:
        """A slice to be drawn."""
        cut: NDArray[np.float32] = np.take(self._array, number, axis=self.layers.axis + 1)
        return self.layers.plane(to_unit(_finite(cut), self._limits), number)

    def turned(self, labels: NDArray[Any], number: int) -> NDArray[Any]:
        """A slice of other labels of the image, `(X, Y, Z)`, as `plane` has it."""
        return self.layers.turned(np.take(labels, number, axis=self.layers.axis))

    def caption(self, number: int) -> str:
        """Which slice it is, such as `slice 45 of 88, counted from the feet`; empty of a picture.

        Counted as other programs do, from 1, in the order of the axis.
        """
        layers = self.layers
        if layers.is_flat:
            return ""
        of = f"slice {number + 1} of {layers.shape[layers.axis]}"
        return f"{of}, from the {ENDS[2 * layers.axis]}" if layers.unit == "mm" else of

    def panel(self, number: int, picture: Picture, box: Box = WHOLE, more: str = "") -> Panel:
        """A slice of a figure.

        Args:
            number: Its index.
            picture: As it was drawn.
            box: Rows and columns that are in it.
            more: What else to say below it, or empty.
        """
        scale = None
        if self.layers.unit == "mm":
            scale = pixels_per_unit(self.plane(number), box, side=max(picture.size))
        told = ", ".join(part for part in (self.caption(number), more) if part)
        return Panel(picture, told, scale, self.layers.sides)


def _finite(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return array if np.isfinite(array).all() else np.nan_to_num(array, posinf=0.0, neginf=0.0)


def side_of(numbers: Sequence[int]) -> int:
    """Pixels of the longer side of each of some slices of a case."""
    return LARGE if len(numbers) == 1 else SIDE


def picture_name(case: str) -> str:
    """The file of a case's picture in an output folder."""
    return f"{OVERLAYS}/{case}.png"


def remove_pictures(folder: Path, cases: Iterable[str]) -> None:
    """Delete pictures of cases in an output folder, and what a killed process left half-written."""
    remove_leftovers(folder / OVERLAYS)
    for case in cases:
        (folder / picture_name(case)).unlink(missing_ok=True)
