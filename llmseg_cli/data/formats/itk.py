"""NRRD, MetaImage and DICOM, through SimpleITK.

ITK's world is LPS+; ours is RAS+, so the first two world axes change sign.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk  # noqa: N813  the name its own manual uses
from numpy.typing import NDArray

from llmseg_cli.data.formats import dicom
from llmseg_cli.data.formats.dicom_frames import refuse_overlong
from llmseg_cli.data.formats.dicom_series import slices_of
from llmseg_cli.data.formats.opening import (
    peak_bytes,
    reading,
    require_file,
    require_memory,
    voxels_in_words,
)
from llmseg_cli.data.formats.raw import RawImage
from llmseg_cli.data.formats.text_header import Said, look_at, refuse_axes
from llmseg_cli.data.grids import Format, Grid
from llmseg_cli.errors import DataError, ResourceError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
FORMATS: dict[str, Format] = {
    ".nrrd": "nrrd", ".nhdr": "nrrd", ".mha": "mha", ".mhd": "mha", ".dcm": "dicom",
}  # fmt: skip
REMEDY = "Copy or convert it again."


@dataclass(frozen=True)
class Placement:
    """ITK's own numbers, kept so that writing repeats them exactly."""

    origin: tuple[float, ...]
    spacing: tuple[float, ...]
    direction: tuple[float, ...]


def read(path: Path, *, as_label: bool = False) -> RawImage:
    """Read an image file, or a folder that holds one DICOM series.

    Args:
        path: The file or folder.
        as_label: Whether it is a label map, of which more is held in memory at a time if its
            values are floats.

    Raises:
        DataError: If it cannot be read, or a series is not one evenly spaced stack.
        TooLargeError: If its header foretells more than memory holds.
    """
    files = _files(path)
    with reading(path, "image", remedy=REMEDY):
        first = _header(files[0])
        shape, dtype = _foretold(first, len(files)), _dtype(first, path)
        needed = peak_bytes(shape, dtype, as_label=as_label)
        require_memory(path, needed, voxels_in_words(shape, dtype))
        if _kind(path) == "dicom":
            found = dicom.read(path, files)
            return _raw(found.image, path, Said(1.0, found.is_placed, found.doubts))
        return _raw(sitk.ReadImage(str(path)), path, _said(first, path))


def read_header(path: Path) -> RawImage:
    """Read all but the voxels, which are 0 here; a DICOM series is read whole.

    Raises:
        DataError: As `read`.
    """
    if _kind(path) == "dicom":
        return read(path)
    files = _files(path)
    with reading(path, "image", remedy=REMEDY):
        header = _header(files[0])
        size = tuple(int(side) for side in header.GetSize())
        if len(size) == 4 and size[3] == 1:
            size = size[:3]
        _refuse_axes(len(size), path)
        numbers = (header.GetOrigin(), header.GetSpacing(), header.GetDirection())
        placement = _three_axes(*numbers, axes=len(size))
        said = _said(header, path)
    i, j, k = (*size, 1)[:3]
    channels = header.GetNumberOfComponents()
    empty = np.broadcast_to(np.uint8(0), (channels, i, j, k))
    return RawImage(empty, _grid((i, j, k), placement, path, said), said.doubts)


def _said(header: Any, path: Path) -> Said:
    """What the file says of its lengths that ITK does not."""
    axes = header.GetDimension()
    return look_at(path, np.array(header.GetDirection()).reshape(axes, axes)[:3, :3])


def _grid(shape: tuple[int, int, int], found: Placement, path: Path, said: Said) -> Grid:
    origin, spacing = (
        tuple(length * said.mm for length in lengths) for lengths in (found.origin, found.spacing)
    )
    placement = Placement(origin, spacing, found.direction)
    unit: Literal["mm", "voxel"] = "mm" if said.is_placed else "voxel"
    return Grid(shape, _affine(placement), unit, _kind(path), placement)


def _kind(path: Path) -> Format:
    return "dicom" if path.is_dir() else FORMATS[path.suffix.lower()]


def _files(path: Path) -> tuple[Path, ...]:
    """The file, or those of the one series in a folder."""
    require_file(path)
    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    if not path.is_dir():
        check = refuse_overlong if _kind(path) == "dicom" else refuse_axes
        check(path)
        return (path,)
    with reading(path, "DICOM series", remedy=REMEDY):
        return slices_of(path)


def _header(file: Path) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.ReadImageInformation()
    return reader


def _foretold(header: Any, files: int) -> tuple[int, ...]:
    """Axes of a file, times the files of a series, and components."""
    sides = tuple(int(side) for side in header.GetSize())
    more = (header.GetNumberOfComponents(),) if header.GetNumberOfComponents() > 1 else ()
    if files > 1 and math.prod(sides[2:]) == 1:
        sides = sides[:2]
    return (*sides, *((files,) if files > 1 else ()), *more)


def _dtype(header: Any, path: Path) -> np.dtype[Any]:
    """Numpy's type of ITK's pixels; the widest for those that have no such."""
    names = sitk.GetPixelIDValueAsString(header.GetPixelID())
    bits = next((bits for bits in (8, 16, 32, 64) if f"{bits}-bit" in names), 64)
    if "complex" in names:
        raise DataError(f"{path}: complex numbers, expected real ones. Save the magnitude.")
    return np.dtype(f"{'f' if 'float' in names else 'i'}{bits // 8}")


def _refuse_axes(axes: int, path: Path) -> None:
    if axes not in (2, 3):
        raise DataError(f"{path}: {axes} axes, expected 2 or 3 (channels as components).")


def _raw(image: Any, path: Path, said: Said) -> RawImage:
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    dimensions = image.GetDimension()
    _refuse_axes(dimensions, path)
    array = sitk.GetArrayFromImage(image)  # ([K,] J, I [, C])
    if image.GetNumberOfComponentsPerPixel() == 1:
        array = array[..., np.newaxis]
    if dimensions == 2:
        array = array[np.newaxis]
    channels = np.transpose(array, (3, 2, 1, 0))
    placement = Placement(image.GetOrigin(), image.GetSpacing(), image.GetDirection())
    i, j, k = channels.shape[1:]
    return RawImage(channels, _grid((i, j, k), placement, path, said), said.doubts)


def _three_axes(
    origin: tuple[float, ...],
    spacing: tuple[float, ...],
    direction: tuple[float, ...],
    *,
    axes: int,
) -> Placement:
    """Numbers of the first *axes* axes of those that a header has."""
    size = len(spacing)
    rows = np.array(direction).reshape(size, size)[:axes, :axes]
    return Placement(origin[:axes], spacing[:axes], tuple(rows.ravel().tolist()))


def _affine(placement: Placement) -> NDArray[np.float64]:
    size = len(placement.spacing)
    affine = np.eye(4)
    direction = np.array(placement.direction).reshape(size, size)
    affine[:size, :size] = direction * np.array(placement.spacing)
    affine[:size, 3] = placement.origin
    return LPS_TO_RAS @ affine


def write(path: Path, labels: NDArray[Any], grid: Grid) -> None:
    """Write a label map, compressed, with the origin, spacing and direction of the grid's file.

    Args:
        path: The file.
        labels: `(I, J, K)` whole numbers in the file's order.
        grid: Where they lie, from an NRRD or MetaImage file.

    Raises:
        ResourceError: If the file cannot be written.
    """
    placement: Placement = grid.header
    array = np.ascontiguousarray(labels.T)  # (K, J, I)
    image = sitk.GetImageFromArray(array if len(placement.spacing) == 3 else array[0])
    image.SetOrigin(placement.origin)
    image.SetSpacing(placement.spacing)
    image.SetDirection(placement.direction)
    try:
        sitk.WriteImage(image, str(path), useCompression=True)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ResourceError(f"Cannot write {path}: {reason}. Is the disk full?") from error
