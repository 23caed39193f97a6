"""Images and label maps from any supported file, in RAS+ order, and label maps back to files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.files import atomic_path
from llmseg_cli.data.checking.label_values import count_values, map_values
from llmseg_cli.data.formats import nifti, picture
from llmseg_cli.data.formats.doubts import tell
from llmseg_cli.data.grids import Grid
from llmseg_cli.data.ignore_label import mark_unknown
from llmseg_cli.data.label_numbers import compact, whole_numbers
from llmseg_cli.data.naming import NIFTI, PICTURES, suffix
from llmseg_cli.data.reading import SAME_AFFINE, read_channels, read_header, read_raw
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
    "tell_doubts",
    "whole_numbers",
]

PREDICTION_SUFFIX = {"nrrd": ".nrrd", "mha": ".mha", "picture": ".png"}


@dataclass(frozen=True)
class Volume:
    """An image: `array` (C, X, Y, Z) float32 in RAS+, spacing along X Y Z, and the file's grid."""

    array: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]
    grid: Grid


@dataclass(frozen=True)
class LabelMap:
    """A label map: `array` (X, Y, Z) uint8 or int16 in RAS+, spacing, and the file's grid.

    Where values were to be changed or ignored, `stored` are those of the file; else it is empty.
    """

    array: NDArray[np.uint8] | NDArray[np.int16]
    spacing_mm: tuple[float, float, float]
    grid: Grid
    stored: frozenset[int] = frozenset()


def load_image(images: Sequence[Path]) -> Volume:
    """Load an image from one file with all its channels, or from one file per channel.

    Raises:
        DataError: If a file cannot be read, the channels differ in geometry, or axes are sheared.
        TooLargeError: If memory cannot hold it.
    """
    raws = read_channels(images)
    grid = raws[0].grid
    for path, raw in zip(images, raws, strict=True):
        tell(path, raw.doubts)
    arrays = []
    while raws:  # each goes as it is turned, so that it is held twice at most
        arrays.append(_turned(raws.pop(0).array, grid))
    array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return Volume(array, grid.spacing_mm, grid)


def _turned(stored: NDArray[Any], grid: Grid) -> NDArray[np.float32]:
    # Turned as it is stored, mostly int16, of which half as much is moved; wider ones after.
    narrow = stored if stored.itemsize <= 4 else stored.astype(np.float32, copy=False)
    del stored
    return grid.to_ras(narrow).astype(np.float32, copy=False)


def read_grid(images: Sequence[Path]) -> Grid:
    """Where the voxels of an image lie; only the header is read, but of a DICOM series.

    Raises:
        DataError: If it cannot be read.
    """
    return read_header(images[0]).grid


def tell_doubts(images: Sequence[Path]) -> None:
    """Warn of what the headers of an image say and cannot be believed, once per kind.

    A DICOM series has no header of its own, and is told of when it is read.

    Raises:
        DataError: If it cannot be read.
    """
    for path in images:
        if not path.is_dir():
            tell(path, read_header(path).doubts)


def load_label_map(
    path: Path, *, label_map: Mapping[int, int] | None = None, ignore: int | None = None
) -> LabelMap:
    """Load a label map; whole numbers stored as floats or booleans become integers.

    Args:
        path: The file; for HDF5, its data set `label`.
        label_map: Values to change; others stay.
        ignore: Value in the file that becomes `UNKNOWN`; None for none.

    Raises:
        DataError: If it cannot be read, has several channels, or values that are not whole numbers.
    """
    raw = read_raw(path, as_label=True)
    tell(path, raw.doubts)
    if len(raw.array) != 1:
        raise DataError(
            f"{path}: a label map with {len(raw.array)} channels, expected one value per voxel."
        )
    stored = whole_numbers(raw.array[0], path, scaling=raw.scaling)
    values = mark_unknown(map_values(stored, label_map or {}), stored, ignore, path)
    array = raw.grid.to_ras(compact(values, path))
    own = array if array.flags.writeable else array.copy()  # not a file mapped into memory
    is_changed = bool(label_map) or ignore is not None
    held = frozenset(count_values(stored) if is_changed else ())
    return LabelMap(own, raw.grid.spacing_mm, raw.grid, held)


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
