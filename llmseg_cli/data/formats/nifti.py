"""NIfTI, through nibabel."""

import gzip
import logging
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from llmseg_cli.data.formats.doubts import transparent
from llmseg_cli.data.formats.nifti_header import doubts_of, header_as_stored, millimeters
from llmseg_cli.data.formats.opening import (
    in_words,
    peak_bytes,
    reading,
    require_file,
    require_memory,
    voxels_in_words,
)
from llmseg_cli.data.formats.raw import RawImage
from llmseg_cli.data.grids import Grid, refuse_shear
from llmseg_cli.errors import DataError

BLOCK = 1 << 20  # bytes
OWN_ERRORS = (
    ImageFileError,
    HeaderDataError,
    HeaderTypeError,
    WrapStructError,
)  # are no ValueError
MOST_DEFLATED = 1040  # bytes that a byte of a gz file unpacks to at most, a little rounded up
RGBA, COLORS = ("R", "G", "B", "A"), 3  # transparency is no channel


def read(path: Path, *, as_label: bool = False) -> RawImage:
    """Read a NIfTI file; a fourth (or fifth) axis is the channels.

    Args:
        path: The file.
        as_label: Apply the header's scaling in float64, not in float32.

    Raises:
        DataError: If it is truncated, no NIfTI, or has too many axes.
        TooLargeError: If its header foretells more than memory holds.
    """

    def voxels(image: Any) -> NDArray[Any]:
        dtype, shape = image.get_data_dtype(), image.shape
        if _is_scaled(image):
            dtype = np.dtype(np.float64 if as_label else np.float32)
        needed = peak_bytes(shape, dtype, as_label=as_label)
        require_memory(path, needed, voxels_in_words(shape, image.get_data_dtype()))
        return _stored(image) if as_label else _intensities(image)

    return _raw(path, voxels)


def _is_scaled(image: Any) -> bool:
    return _scaling(image.dataobj) is not None


def _stored(image: Any) -> NDArray[Any]:
    return np.asanyarray(image.dataobj)


def _intensities(image: Any) -> NDArray[Any]:
    stored = image.dataobj
    return np.asarray(stored, dtype=np.float32) if _is_scaled(image) else np.asanyarray(stored)


def read_header(path: Path) -> RawImage:
    """Read all but the voxels, which are 0 here and take no memory.

    Raises:
        DataError: As `read`, but a truncated file of a sound length is not noticed.
    """
    return _raw(path, lambda image: np.broadcast_to(np.uint8(0), image.shape))


def _raw(path: Path, voxels: Callable[[Any], NDArray[Any]]) -> RawImage:
    require_file(path)
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # `doubts_of` tells instead
    remedy = "Copy or convert it again."
    unwarned = np.errstate(all="ignore")  # infinities are looked for, and told
    with reading(path, "NIfTI file", remedy=remedy, also=OWN_ERRORS), unwarned:
        stored = header_as_stored(path)
        doubts = () if stored is None else doubts_of(stored, path)
        image = nib.load(path)
        if stored is None or not isinstance(image, nib.Nifti1Pair):
            raise DataError(f"{path}: {type(image).__name__}, expected NIfTI. Convert it.")
        _refuse_nonsense(image, stored, path)
        affine = np.asarray(image.affine, dtype=np.float64)
        refuse_shear(affine, str(path))
        array = voxels(image)
        if array.dtype.names == RGBA:
            doubts += transparent(array[RGBA[COLORS]])
        channels = _channels_first(array, path)
    affine = np.diag([millimeters(stored)] * 3 + [1.0]) @ affine
    i, j, k = channels.shape[1:]
    grid = Grid((i, j, k), affine, "mm", "nifti", image.header)
    return RawImage(channels, grid, doubts, _scaling(image.dataobj))


def _scaling(stored: Any) -> tuple[float, float] | None:
    slope, intercept = float(stored.slope), float(stored.inter)
    return None if (slope, intercept) == (1, 0) else (slope, intercept)


def _refuse_nonsense(image: Any, stored: Any, path: Path) -> None:
    """Refuse, by the header alone, what no file of this length can hold and no network can see."""
    shape, dtype = image.shape, image.get_data_dtype()
    if not shape or min(shape) < 1:
        raise DataError(f"{path}: shape {shape}, expected 2 to 4 axes (X, Y, Z, channel).")
    if dtype.kind not in "biuf" and dtype.fields is None:
        raise DataError(
            f"{path}: voxels of {dtype}, expected real numbers. Save the magnitude as floats."
        )
    if np.isinf(stored["scl_slope"]):  # NaN and 0 mean that there is no scaling
        raise DataError(f"{path}: a scaling by infinity. Write the right scl_slope in its header.")
    foretold = math.prod(shape) * dtype.itemsize + int(image.dataobj.offset)
    length = path.stat().st_size
    most = length * MOST_DEFLATED if path.name.lower().endswith(".gz") else length
    if foretold > most:
        raise DataError(
            f"{path}: not a whole NIfTI file (its header foretells {in_words(foretold)}, and it "
            f"has {in_words(length)}). Copy or convert it again."
        )


def _channels_first(array: NDArray[Any], path: Path) -> NDArray[Any]:
    if array.dtype.fields is not None:  # RGB
        names = (array.dtype.names or ())[:COLORS]
        array = np.stack([array[name] for name in names], axis=-1)
    if array.ndim >= 5 and array.shape[3] == 1:  # vectors: X, Y, Z, time, component
        array = array[:, :, :, 0]
    while array.ndim > 4 and array.shape[-1] == 1:
        array = array[..., 0]
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
