"""Pictures of an image for a model that looks at them: slices, windowed, upright."""

import io

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.data.volumes import Volume
from llmseg_cli.knowledge.sights.looking import Shown
from llmseg_cli.pictures.slices import WHOLE
from llmseg_cli.pictures.tiles import tile
from llmseg_cli.workflows.case_pictures import Slicer, layers_of, side_of

LOW, HIGH = 1, 99  # percentiles
WORDS = {
    "R": "right",
    "L": "left",
    "A": "front",
    "P": "back",
    "S": "upper end",
    "I": "lower end",
}


def pictures_of(volume: Volume, most: int) -> tuple[list[Shown], str]:
    """Pictures of an image, and how a patient lies on them; empty where nobody knows.

    Intensities are windowed as those of all pictures here, by percentiles of the whole image or, of
    bytes in color, not at all. Slices are across the widest spacing.

    Args:
        volume: The image.
        most: Slices of a volume, at most.
    """
    layers = layers_of(volume.grid, None, None)
    slicer = Slicer(volume, layers)
    numbers = chosen_slices(volume.array, layers.axis, most)
    found = []
    for number in numbers:
        picture = tile(slicer.plane(number), WHOLE, side=side_of(numbers)).convert("RGB")
        file = io.BytesIO()
        picture.save(file, "PNG")
        found.append(Shown(np.array(picture), file.getvalue(), slicer.caption(number)))
    if layers.sides is None:
        return found, ""
    left, right, top, bottom = (WORDS[side] for side in layers.sides)
    return found, (
        f"At the left, right, top and bottom of a picture are the patient's {left}, {right}, {top} "
        f"and {bottom}."
    )


def chosen_slices(array: NDArray[np.float32], axis: int, most: int) -> list[int]:
    """Slices at equal distances where the image has something bright.

    Args:
        array: `(C, X, Y, Z)`.
        axis: 0, 1 or 2, across which it is sliced.
        most: Slices at most.

    Returns:
        Indices, each the middle of an equal part between the first and the last slice that has a
        voxel above the middle of the 1st and the 99th percentile; of all slices without contrast.
    """
    gray = np.nan_to_num(array, posinf=0.0, neginf=0.0).mean(axis=0)
    low, high = np.percentile(gray, (LOW, HIGH))
    others = tuple(one for one in range(3) if one != axis)
    held = np.flatnonzero((gray > (low + high) / 2).any(axis=others))
    if not held.size:
        held = np.arange(gray.shape[axis])
    first, span = int(held[0]), int(held[-1]) - int(held[0]) + 1
    return sorted({first + int((part + 0.5) * span / most) for part in range(most)})
