"""Images and label maps that a program holds in memory, as if they had been read from files."""

import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmseg_cli.data.grids import Grid
from llmseg_cli.data.label_numbers import compact, whole_numbers
from llmseg_cli.data.volumes import Volume


def voxel_sizes(spacing: Sequence[float]) -> tuple[float, float, float]:
    """Sides of a voxel along X, Y, Z in mm; pictures are one voxel of 1 mm thick.

    Args:
        spacing: Two or three sides.

    Raises:
        ValueError: If there are fewer or more, or one is not above 0.
    """
    sides = tuple(float(side) for side in spacing)
    if len(sides) not in (2, 3) or not all(0 < side < math.inf for side in sides):
        raise ValueError(f"spacing {sides}: expected two or three sides of a voxel in mm, above 0")
    return (*sides, 1.0) if len(sides) == 2 else sides  # type: ignore[return-value]


def image_volume(array: ArrayLike, spacing: Sequence[float]) -> Volume:
    """An image in RAS+ order.

    Args:
        array: `(X, Y, Z)` or `(C, X, Y, Z)`; `(X, Y)` or `(C, X, Y)` where *spacing* has two sides.
        spacing: Sides of a voxel in mm.

    Raises:
        ValueError: If shape or type do not fit.
    """
    sizes, axes = voxel_sizes(spacing), len(spacing)
    found = np.asarray(array)
    if found.ndim not in (axes, axes + 1) or 0 in found.shape:
        raise ValueError(
            f"image of shape {found.shape}, expected {axes} axes as in spacing {tuple(spacing)}, "
            "with or without one of channels before them"
        )
    if found.dtype.kind not in "buif":
        raise ValueError(f"image of type {found.dtype}, expected real numbers")
    channels = found[None] if found.ndim == axes else found
    whole = channels.reshape(*channels.shape[: axes + 1], *[1] * (3 - axes))
    grid = Grid(whole.shape[1:], np.diag([*sizes, 1.0]), "mm", "nifti", None)
    return Volume(np.array(whole, np.float32, order="C"), grid.spacing_mm, grid)


def label_array(array: ArrayLike, axes: int, *, name: str) -> NDArray[Any]:
    """Label values `(X, Y, Z)` as whole numbers.

    Args:
        array: `(X, Y, Z)`, or `(X, Y)` where *axes* is 2.
        axes: 2 or 3.
        name: What it is, for messages.

    Raises:
        ValueError: If the shape does not fit.
        DataError: If a value is no whole number, or huge.
    """
    found = np.asarray(array)
    if found.ndim != axes or 0 in found.shape:
        raise ValueError(f"{name} of shape {found.shape}, expected {axes} axes as in spacing")
    whole = whole_numbers(found, Path(name))
    return compact(whole.reshape(*whole.shape, *[1] * (3 - axes)), Path(name))


def write_image(path: Path, volume: Volume) -> None:
    """Write an image as NIfTI, float32, channels last; the folder must be there."""
    channels = np.moveaxis(volume.array, 0, -1)
    nib.save(_image(channels[..., 0] if channels.shape[-1] == 1 else channels, volume.grid), path)


def write_label_array(path: Path, labels: NDArray[Any], grid: Grid) -> None:
    """Write label values `(X, Y, Z)` as NIfTI that lies on an image's grid."""
    nib.save(_image(labels, grid), path)


def packed_nifti(array: NDArray[np.uint8], affine: NDArray[np.float64]) -> bytes:
    """A volume as the content of a `.nii.gz`, the same bytes for the same voxels.

    Args:
        array: `(X, Y, Z)`.
        affine: Voxel to RAS+ world in mm, `(4, 4)`.
    """
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), mtime=0)


def _image(array: NDArray[Any], grid: Grid) -> nib.Nifti1Image:
    image = nib.Nifti1Image(array, grid.affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(grid.affine, code="scanner")
    image.set_sform(grid.affine, code="scanner")
    return image
