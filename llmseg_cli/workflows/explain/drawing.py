"""A picture of the maps of a case: the slice by itself, and under each map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.data.volumes import Volume
from llmseg_cli.pictures.figure import figure, save_picture
from llmseg_cli.pictures.heat import color_scale, heat_tile
from llmseg_cli.pictures.marks import SKY_BLUE, Mark
from llmseg_cli.pictures.slices import WHOLE, Layers
from llmseg_cli.pictures.tiles import class_tile
from llmseg_cli.workflows.case_pictures import Slicer

QUANTILES = (0.01, 0.99)  # of a map that has no zero of its own


@dataclass(frozen=True, eq=False)
class Told:
    """What is said around the slices.

    Args:
        title: Above them.
        notes: Lines below the title.
        outline: What the outline is.
        scale: What the lowest and the highest color mean.
        from_zero: Colors begin at 0 and end at the largest value; else they leave out the lowest
            and highest hundredth.
    """

    title: str
    notes: Sequence[str]
    outline: str
    scale: tuple[str, str]
    from_zero: bool = False


def the_layers(volume: Volume, labels: NDArray[Any]) -> Layers:
    """A label map `(X, Y, Z)` over an image."""
    grid = volume.grid
    return Layers(grid.ras_shape, grid.spacing_mm, grid.unit, labels)


def save_maps_picture(
    path: Path,
    volume: Volume,
    layers: Layers,
    number: int,
    maps: Mapping[str, NDArray[np.float32]],
    told: Told,
) -> None:
    """Write a picture of one slice.

    Args:
        path: A PNG file.
        volume: The image.
        layers: The mask over it, whose outline is drawn.
        number: The slice.
        maps: What stands below each to its slice, `(columns, rows)`.
        told: The words.
    """
    slicer = Slicer(volume, layers)
    plane = slicer.plane(number)
    values = () if layers.mask is None else np.unique(layers.mask)
    marks = {int(value): Mark(told.outline, SKY_BLUE) for value in values if value}
    panels = [replace(slicer.panel(number, class_tile(plane, WHOLE, marks)), caption="the image")]
    for name, flat in maps.items():
        turned = layers.turned(flat)
        low, high = map(float, np.quantile(turned, (0, 1) if told.from_zero else QUANTILES))
        limits = (0.0, high) if told.from_zero else (low, high)
        panel = slicer.panel(number, heat_tile(plane, WHOLE, turned, limits, marks))
        panels.append(replace(panel, caption=name if high > limits[0] else f"{name}: 0 everywhere"))
    where = slicer.caption(number)
    if where:
        place = f"This is {where}."
    else:
        place = f"The picture has {layers.shape[0]} x {layers.shape[1]} pixels."
    notes = [*told.notes, place]
    legend = [Mark(told.outline, SKY_BLUE), *color_scale(*told.scale)]
    save_picture(path, figure(told.title, panels, legend, notes=notes))


def slice_of(layers: Layers, values: NDArray[Any], number: int) -> NDArray[Any]:
    """A slice of a map `(X, Y, Z)`, `(columns, rows)`."""
    return np.take(values, number, axis=layers.axis)
