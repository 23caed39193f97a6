"""Whether an image and its label map lie on the same voxels."""

from dataclasses import dataclass

import numpy as np

from llmseg_cli.data.grids import AXES, Grid
from llmseg_cli.errors import DataError

TOLERANCE = 1e-3  # relative for spacing, radians for direction: headers are rounded
ORIGIN_TOLERANCE = 0.05  # voxels; half a voxel is a real shift, a rounded header is not
REMEDY = "Resample one to the other, or copy the right header."


@dataclass(frozen=True)
class Difference:
    """One way in which two grids differ.

    Args:
        what: `orientation`, `shape`, `spacing`, `direction` or `origin`, with the axes.
        image: The value of the image.
        label: The value of the label map.
    """

    what: str
    image: str
    label: str

    def __str__(self) -> str:
        return f"{self.what}: image {self.image}, label map {self.label}"


def compare(image: Grid, label: Grid) -> list[Difference]:
    """All differences between two grids, after both are turned to RAS+.

    Files that store the same voxels in another order (RAS and LPS, say) do not differ.
    """
    found = []
    shapes = np.array([image.ras_shape, label.ras_shape])
    odd = np.flatnonzero(shapes[0] != shapes[1])
    if odd.size:
        found.append(Difference(f"shape ({_axes(odd)})", _sizes(shapes[0]), _sizes(shapes[1])))
    spacings = np.array([image.spacing_mm, label.spacing_mm])
    odd = np.flatnonzero(np.abs(spacings[0] - spacings[1]) > TOLERANCE * spacings[0])
    if odd.size:
        unit = image.unit
        found.append(
            Difference(
                f"spacing ({_axes(odd)})",
                f"{_vector(spacings[0])} {unit}",
                f"{_vector(spacings[1])} {unit}",
            )
        )
    found += _placement(image, label)
    if found and image.codes != label.codes:
        found.insert(0, Difference("orientation", image.codes, label.codes))
    return found


def _placement(image: Grid, label: Grid) -> list[Difference]:
    found = []
    first, second = image.ras_affine, label.ras_affine
    axes = [affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0) for affine in (first, second)]
    odd = np.flatnonzero(np.linalg.norm(axes[0] - axes[1], axis=0) > TOLERANCE)
    if odd.size:
        shown = [" ".join(_vector(column) for column in axis.T[odd]) for axis in axes]
        found.append(Difference(f"direction ({_axes(odd)})", *shown))
    shift = axes[0].T @ (second[:3, 3] - first[:3, 3]) / np.array(image.spacing_mm)
    odd = np.flatnonzero(np.abs(shift) > ORIGIN_TOLERANCE)
    if odd.size:
        origins = [_vector(affine[:3, 3]) for affine in (first, second)]
        found.append(
            Difference(f"origin ({_axes(odd)}, {np.abs(shift).max():.2f} voxels)", *origins)
        )
    return found


def require_same_grid(image: Grid, label: Grid, *, case: str) -> None:
    """Refuse a label map that does not lie on its image.

    Raises:
        DataError: Naming the case, the axes and the values.
    """
    differences = compare(image, label)
    if differences:
        raise DataError(f"case {case}: {'; '.join(map(str, differences))}. {REMEDY}")


def _axes(indices: np.ndarray) -> str:
    return ", ".join(f"{'XYZ'[index]}, {AXES[index]}" for index in indices)


def _sizes(shape: np.ndarray) -> str:
    return " x ".join(str(int(size)) for size in shape)


def _vector(values: np.ndarray) -> str:
    return "(" + ", ".join(f"{float(value):.6g}" for value in values) + ")"
