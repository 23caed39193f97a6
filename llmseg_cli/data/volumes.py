"""Images and label maps from any supported file, in RAS+ order, and label maps back to files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.files import atomic_path
from llmseg_cli.data.checking.label_values import map_values
from llmseg_cli.data.formats import hdf5, nifti, picture
from llmseg_cli.data.formats.raw import RawImage
from llmseg_cli.data.grids import Grid, refuse_shear
from llmseg_cli.data.naming import HDF5, NIFTI, PICTURES, suffix
from llmseg_cli.data.sources import refuse_unreadable
from llmseg_cli.errors import DataError, ResourceError

__all__ = [
    "Grid",
    "LabelMap",
    "Volume",
    "load_image",
    "load_label_map",
    "prediction_suffix",
    "read_grid",
    "read_raw",
    "save_label_map",
    "save_map",
    "whole_numbers",
]

SAME_AFFINE = 1e-3  # mm, between channels of one image
SHOWN_VALUES = 6
PREDICTION_SUFFIX = {"nrrd": ".nrrd", "mha": ".mha", "picture": ".png"}


@dataclass(frozen=True)
class Volume:
    """An image: `array` (C, X, Y, Z) float32 in RAS+, spacing along X Y Z, and the file's grid."""

    array: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    grid: Grid


@dataclass(frozen=True)
class LabelMap:
    """A label map: `array` (X, Y, Z) uint8 or int16 in RAS+, spacing, and the file's grid."""

    array: NDArray[np.uint8] | NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    grid: Grid


def load_image(images: Sequence[Path]) -> Volume:
    """Load an image from one file with all its channels, or from one file per channel.

    Raises:
        DataError: If a file cannot be read, the channels differ in geometry, or axes are sheared.
    """
    raws = [read_raw(path) for path in images]
    first = raws[0].grid
    for path, raw in zip(images[1:], raws[1:], strict=True):
        same = np.allclose(raw.grid.affine, first.affine, rtol=0, atol=SAME_AFFINE)
        if raw.grid.shape != first.shape or not same:
            raise DataError(
                f"{path}: shape {raw.grid.shape} and affine {raw.grid.affine[:3].tolist()} differ "
                f"from those of {images[0].name}, {first.shape} and {first.affine[:3].tolist()}. "
                "Resample the channels to one grid."
            )
    # Turned as they are stored, mostly int16, of which half as much is moved; wider ones after.
    stored = [raw.array for raw in raws]
    narrow = [a if a.itemsize <= 4 else a.astype(np.float32, copy=False) for a in stored]
    arrays = [first.to_ras(array).astype(np.float32, copy=False) for array in narrow]
    array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return Volume(array, first.spacing_mm, first)


def read_grid(images: Sequence[Path]) -> Grid:
    """Where the voxels of an image lie; of NIfTI, only the header is read.

    Raises:
        DataError: If it cannot be read.
    """
    path = images[0]
    refuse_unreadable(path)
    return nifti.read_grid(path) if suffix(path) in NIFTI else read_raw(path).grid


def load_label_map(path: Path, *, label_map: Mapping[int, int] | None = None) -> LabelMap:
    """Load a label map; whole numbers stored as floats become integers.

    Args:
        path: The file; for HDF5, its data set `label`.
        label_map: Values to change; others stay.

    Raises:
        DataError: If it cannot be read, has several channels, or values that are not whole numbers.
    """
    raw = read_raw(path, as_label=True)
    if len(raw.array) != 1:
        raise DataError(
            f"{path}: a label map with {len(raw.array)} channels, expected one value per voxel."
        )
    values = whole_numbers(raw.array[0], path)
    compact = _compact(map_values(values, label_map or {}), path)
    return LabelMap(raw.grid.to_ras(compact), raw.grid.spacing_mm, raw.grid)


def read_raw(path: Path, *, as_label: bool = False) -> RawImage:
    """Read a file in its own order and number type.

    Raises:
        DataError: If it cannot be read or its axes are sheared.
    """
    refuse_unreadable(path)
    end = suffix(path)
    if end in HDF5:
        raw = hdf5.read(path, name="label" if as_label else "image")
    elif end in NIFTI:
        raw = nifti.read(path, as_label=as_label)
    elif end in PICTURES:
        raw = picture.read(path, as_label=as_label)
    elif end or path.is_dir():
        from llmseg_cli.data.formats import itk  # loads SimpleITK

        raw = itk.read(path)
    else:
        raise DataError(f"{path}: unknown format. Expected .nii.gz, .nrrd, .mha, .png, .jpg, .h5.")
    refuse_shear(raw.grid.affine, str(path))
    return raw


def whole_numbers(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """Label values as integers.

    Raises:
        DataError: If some are fractions, NaN or infinite; the message shows them.
    """
    if array.dtype.kind in "ui":
        return array
    if array.dtype.kind != "f":
        raise DataError(f"{path}: label values of type {array.dtype}, expected whole numbers.")
    odd = array[~(np.isfinite(array) & (array == np.round(array)))]
    if odd.size:
        shown = ", ".join(f"{value:g}" for value in np.unique(odd)[:SHOWN_VALUES])
        raise DataError(
            f"{path}: {odd.size} label values are no whole numbers ({shown}). The map was "
            "interpolated or holds probabilities; resample it by nearest neighbor, or threshold it."
        )
    return array.astype(np.int64)


def _compact(values: NDArray[Any], path: Path) -> NDArray[Any]:
    low, high = int(values.min()), int(values.max())
    if low >= 0 and high <= np.iinfo(np.uint8).max:
        return values.astype(np.uint8)
    if np.iinfo(np.int16).min <= low and high <= np.iinfo(np.int16).max:
        return values.astype(np.int16)
    raise DataError(f"{path}: label values from {low} to {high}. Renumber them with --label-map.")


def save_label_map(path: Path, labels: NDArray[Any], grid: Grid) -> None:
    """Write a label map so that it lies exactly on the file that *grid* came from.

    NIfTI keeps the header, with qform and sform, byte for byte. NRRD and MetaImage keep origin,
    spacing and direction. What has no format of its own (HDF5, DICOM) becomes NIfTI.

    Args:
        path: The file, ending in `prediction_suffix(grid)`; it appears whole or not at all.
        labels: `(X, Y, Z)` in RAS+, values 0 to 65535.
        grid: Grid of the image.

    Raises:
        ValueError: If shape or values do not fit.
    """
    turned = grid.from_ras(np.asarray(labels))
    if turned.shape != grid.shape:
        raise ValueError(f"labels of shape {labels.shape} (RAS+) do not fit the grid {grid.shape}")
    low, high = int(turned.min()), int(turned.max())
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise ValueError(f"label values from {low} to {high}; expected 0 to 65535")
    compact = turned.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16)
    with atomic_path(path) as temporary:
        if suffix(path) in NIFTI:
            nifti.write(temporary, compact, grid)
        elif grid.format == "picture":
            picture.write(temporary, compact)
        elif grid.format in ("nrrd", "mha"):
            from llmseg_cli.data.formats import itk  # loads SimpleITK

            itk.write(temporary, compact, grid)
        else:
            raise ValueError(f"{path.name}: expected the suffix {prediction_suffix(grid)}")
        refuse_half_written(temporary, path, compact, grid)


def save_map(path: Path, values: NDArray[np.float32], grid: Grid) -> None:
    """Write a number for each voxel as NIfTI that lies on the file that *grid* came from.

    Args:
        path: The file, ending in `.nii.gz`; it appears whole or not at all.
        values: `(X, Y, Z)` in RAS+.
        grid: Grid of the image.

    Raises:
        ValueError: If the shape does not fit.
    """
    turned = np.ascontiguousarray(grid.from_ras(values), dtype=np.float32)
    if turned.shape != grid.shape:
        raise ValueError(f"values of shape {values.shape} (RAS+) do not fit the grid {grid.shape}")
    with atomic_path(path) as temporary:
        nifti.write(temporary, turned, grid)
        refuse_half_written(temporary, path, turned, grid)


def refuse_half_written(file: Path, target: Path, written: NDArray[Any], grid: Grid) -> None:
    """Read back what a writer made, for some report nothing when a disk is full.

    Args:
        file: What was written.
        target: The name that it is to get, for the message.
        written: `(I, J, K)` in the file's order.
        grid: Where its voxels lie.

    Raises:
        ResourceError: If size, place or voxels are not those that were written.
    """
    try:
        if suffix(file) in NIFTI:
            nifti.refuse_cut(file)
        elif suffix(file) in PICTURES:
            picture.refuse_cut(file)
        found = read_raw(file)
    except DataError as error:
        raise ResourceError(f"{target} was not written whole. Is the disk full?") from error
    lies_there = np.allclose(found.grid.affine, grid.affine, rtol=1e-5, atol=SAME_AFFINE)
    is_number = written.dtype.kind == "f"
    if not (lies_there and np.array_equal(found.array[0], written, equal_nan=is_number)):
        raise ResourceError(f"{target} was written with other voxels. Check the disk.")


def prediction_suffix(grid: Grid) -> str:
    """The suffix of label maps that lie on this grid: `.nii.gz`, `.nrrd`, `.mha` or `.png`."""
    return PREDICTION_SUFFIX.get(grid.format, ".nii.gz")
