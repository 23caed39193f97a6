"""PNG, JPEG and TIFF, through Pillow.

X is the column, Y the row from the top, Z has one voxel; pixels are taken as stored, without the
rotation that a camera may note in EXIF, so that a mask lies on the stored pixels.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from llmseg_cli.data.formats.raw import RawImage
from llmseg_cli.data.grids import Grid
from llmseg_cli.errors import DataError

GREY_ALPHA, COLOR_ALPHA = ("LA", "La"), ("RGBA", "RGBa", "PA")
COLORS = ("CMYK", "YCbCr", "LAB", "HSV", "P")


def read(path: Path, *, as_label: bool = False) -> RawImage:
    """Read a picture: color becomes three channels, grey one; transparency is dropped.

    Args:
        path: The file.
        as_label: Keep the indices of a palette, and take a color picture only if it is grey.

    Raises:
        DataError: If it is truncated, no picture, has several pages, or is a colored label map.
    """
    try:
        with Image.open(path) as picture:
            if getattr(picture, "n_frames", 1) > 1:
                raise DataError(
                    f"{path}: {picture.n_frames} pages, expected one. Convert it to NIfTI."
                )
            array = _pixels(picture, as_label=as_label)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise DataError(f"{path}: not a whole picture ({error}). Copy it again.") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: {error} Cut it into tiles.") from error
    channels = array[np.newaxis] if array.ndim == 2 else np.moveaxis(array, 2, 0)  # (C, row, col)
    if as_label and len(channels) > 1:
        channels = _grey(channels, path)
    columns_first = np.swapaxes(channels, 1, 2)[..., np.newaxis]  # (C, X, Y, 1)
    _, x, y, z = columns_first.shape
    return RawImage(columns_first, Grid((x, y, z), np.eye(4), "px", "picture", None))


def _pixels(picture: Image.Image, *, as_label: bool) -> NDArray[Any]:
    mode = picture.mode
    if mode in GREY_ALPHA:
        return np.asarray(picture.convert("LA"))[..., 0]
    if mode in COLOR_ALPHA or (mode in COLORS and not (as_label and mode == "P")):
        return np.asarray(picture.convert("RGB"))
    array = np.asarray(picture)
    return array.astype(np.uint8) if array.dtype == bool else array


def _grey(channels: NDArray[Any], path: Path) -> NDArray[Any]:
    if (channels != channels[:1]).any():
        raise DataError(
            f"{path}: a label map in color, expected one value per pixel. Save it as grey PNG "
            "with the class numbers 0, 1, 2, ..."
        )
    return channels[:1]


def write(path: Path, labels: NDArray[Any]) -> None:
    """Write `(X, Y, 1)` whole numbers as a grey PNG of 8 bits, or 16 if needed."""
    Image.fromarray(np.ascontiguousarray(labels[..., 0].T)).save(path)


def refuse_cut(path: Path) -> None:
    """Refuse a PNG without its end, of which Pillow may read all pixels nevertheless.

    Raises:
        DataError: If a part is missing or has another checksum.
    """
    try:
        with Image.open(path) as picture:
            picture.verify()
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: not a whole picture ({error}).") from error
