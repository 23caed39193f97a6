"""NRRD, MetaImage and DICOM series, through SimpleITK.

ITK's world is LPS+; ours is RAS+, so the first two world axes change sign.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813  the name its own manual uses
from numpy.typing import NDArray

from llmseg_cli.data.formats.dicom_series import slices_of
from llmseg_cli.data.formats.raw import RawImage
from llmseg_cli.data.grids import Format, Grid
from llmseg_cli.errors import DataError, ResourceError

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
STEP_TOLERANCE = 0.02  # of a slice's distance
FORMATS: dict[str, Format] = {
    ".nrrd": "nrrd", ".nhdr": "nrrd", ".mha": "mha", ".mhd": "mha", ".dcm": "dicom",
}  # fmt: skip


@dataclass(frozen=True)
class Placement:
    """ITK's own numbers, kept so that writing repeats them exactly."""

    origin: tuple[float, ...]
    spacing: tuple[float, ...]
    direction: tuple[float, ...]


def read(path: Path) -> RawImage:
    """Read an image file, or a folder that holds one DICOM series.

    Raises:
        DataError: If it cannot be read, or a series is not one evenly spaced stack.
    """
    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    try:
        image = _read_series(path) if path.is_dir() else sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DataError(
            f"{path}: not a whole image ({reason}). Copy or convert it again."
        ) from error
    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        image = image[:, :, :, 0]
    return _raw(image, path)


def _raw(image: Any, path: Path) -> RawImage:
    dimensions = image.GetDimension()
    if dimensions not in (2, 3):
        raise DataError(f"{path}: {dimensions} axes, expected 2 or 3 (channels as components).")
    array = sitk.GetArrayFromImage(image)  # ([K,] J, I [, C])
    if image.GetNumberOfComponentsPerPixel() == 1:
        array = array[..., np.newaxis]
    if dimensions == 2:
        array = array[np.newaxis]
    channels = np.transpose(array, (3, 2, 1, 0))
    placement = Placement(image.GetOrigin(), image.GetSpacing(), image.GetDirection())
    i, j, k = channels.shape[1:]
    kind = "dicom" if path.is_dir() else FORMATS[path.suffix.lower()]
    return RawImage(channels, Grid((i, j, k), _affine(placement), "mm", kind, placement))


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


def _read_series(folder: Path) -> Any:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in slices_of(folder)])
    reader.MetaDataDictionaryArrayUpdateOn()
    image = reader.Execute()
    _refuse_uneven(reader, image, folder)
    return image


def _refuse_uneven(reader: Any, image: Any, folder: Path) -> None:
    """Refuse missing slices and a tilted gantry, which ITK's grid cannot express."""
    tag = "0020|0032"  # Image Position (Patient)
    slices = range(image.GetSize()[2])
    if len(slices) < 2 or not all(reader.HasMetaDataKey(index, tag) for index in slices):
        return
    texts = [reader.GetMetaData(index, tag) for index in slices]
    positions = np.array([[float(part) for part in text.split("\\")] for text in texts])
    normal = np.array(image.GetDirection()).reshape(3, 3)[:, 2]
    steps = np.diff(positions, axis=0)
    expected = normal * image.GetSpacing()[2]
    errors = np.linalg.norm(steps - expected, axis=1)
    worst = int(errors.argmax())
    if errors[worst] > STEP_TOLERANCE * image.GetSpacing()[2]:
        step = ", ".join(f"{value:.3f}" for value in steps[worst])
        raise DataError(
            f"{folder}: slice {worst + 2} lies ({step}) mm from the one before, expected "
            f"({', '.join(f'{value:.3f}' for value in expected)}): a slice is missing, or the "
            "gantry was tilted. Resample the series to an even grid."
        )
