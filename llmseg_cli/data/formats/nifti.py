"""NIfTI, through nibabel."""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from llmseg_cli.data.formats.raw import RawImage
from llmseg_cli.data.grids import Grid
from llmseg_cli.errors import DataError

MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 1e-3}  # codes of meter, mm, micron; others are taken as mm
BLOCK = 1 << 20  # bytes
SPATIAL_BITS = 7  # of xyzt_units


def read(path: Path, *, as_label: bool = False) -> RawImage:
    """Read a NIfTI file; a fourth (or fifth) axis is the channels.

    Args:
        path: The file.
        as_label: Apply the header's scaling in float64, not in float32.

    Raises:
        DataError: If it is truncated, no NIfTI, or has too many axes.
    """
    return _raw(path, _stored if as_label else _intensities)


def _stored(image: Any) -> NDArray[Any]:
    return np.asanyarray(image.dataobj)


def _intensities(image: Any) -> NDArray[Any]:
    stored = image.dataobj
    is_scaled = (stored.slope, stored.inter) != (1, 0)
    return np.asarray(stored, dtype=np.float32) if is_scaled else np.asanyarray(stored)


def read_grid(path: Path) -> Grid:
    """Read where the voxels lie, from the header alone.

    Raises:
        DataError: As `read`, but a truncated file is not noticed.
    """
    return _raw(path, lambda image: np.broadcast_to(np.uint8(0), image.shape)).grid


def _raw(path: Path, voxels: Callable[[Any], NDArray[Any]]) -> RawImage:
    try:
        image = nib.load(path)
        array = voxels(image)
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(
            f"{path}: not a whole NIfTI file ({error}). Copy or convert it again."
        ) from error
    if not isinstance(image, nib.Nifti1Pair):
        raise DataError(f"{path}: {type(image).__name__}, expected NIfTI. Convert it.")
    channels = _channels_first(array, path)
    unit = int(image.header["xyzt_units"]) & SPATIAL_BITS
    scale = np.diag([MM_PER_UNIT.get(unit, 1.0)] * 3 + [1.0])
    affine = scale @ np.asarray(image.affine, dtype=np.float64)
    i, j, k = channels.shape[1:]
    return RawImage(channels, Grid((i, j, k), affine, "mm", "nifti", image.header))


def _channels_first(array: NDArray[Any], path: Path) -> NDArray[Any]:
    if array.dtype.fields is not None:  # RGB
        array = np.stack([array[name] for name in array.dtype.names or ()], axis=-1)
    if array.ndim == 5 and array.shape[3] == 1:  # vectors: X, Y, Z, time, component
        array = array[:, :, :, 0]
    if not 2 <= array.ndim <= 4 or 0 in array.shape:
        raise DataError(f"{path}: shape {array.shape}, expected 2 to 4 axes (X, Y, Z, channel).")
    spatial = array.reshape(array.shape + (1,) * (4 - array.ndim))  # (I, J, K, C)
    return np.moveaxis(spatial, 3, 0)


def write(path: Path, labels: NDArray[Any], grid: Grid) -> None:
    """Write a map; if the grid came from NIfTI, its header is kept but for the number type.

    Args:
        path: The file.
        labels: `(I, J, K)` numbers in the file's order.
        grid: Where they lie.
    """
    if grid.format != "nifti":
        image = nib.Nifti1Image(labels, grid.affine)
        image.header.set_xyzt_units("mm" if grid.unit == "mm" else "unknown")
        image.set_sform(grid.affine, code="scanner")
        image.set_qform(grid.affine, code="scanner", strip_shears=True)
        nib.save(image, path)
        return
    header = grid.header.copy()
    header.set_data_dtype(labels.dtype)
    header.set_slope_inter(1, 0)
    header.set_intent("none")
    header["cal_min"] = header["cal_max"] = 0
    is_flat = len(header.get_data_shape()) == 2
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    # Without an affine nibabel leaves the header's own sform and qform as they are, byte for byte.
    nib.save(kind(labels[:, :, 0] if is_flat else labels, None, header), path)


def refuse_cut(path: Path) -> None:
    """Refuse a compressed file without its end or with another checksum; nibabel looks at neither.

    Raises:
        DataError: If it is so.
    """
    if path.suffix != ".gz":
        return
    try:
        with gzip.open(path) as stream:
            while stream.read(BLOCK):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole NIfTI file ({error}).") from error
