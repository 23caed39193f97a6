"""Pictures of 16 bits a channel in color, of which Pillow keeps 8, and what it says of others."""

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from llmseg_cli.errors import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
HEADER_END = 8 + 8 + 13 + 4  # signature, length and name of IHDR, its content, its check sum
DEPTH_AT, KIND_AT = 24, 25
GREY_ALPHA_PNG, RGBA_PNG = 4, 6  # kinds of PNG
COLOR_PNG = (2, 4, 6)
BITS_PER_SAMPLE = 258  # tag of TIFF
ALPHA = 3  # index of transparency among four channels
OPAQUE = np.zeros(0, np.uint8)  # transparency of pictures without


def has_deep_color(picture: Image.Image, path: Path) -> bool:
    """Whether a picture has several channels of more than 8 bits each.

    Args:
        picture: Opened by Pillow.
        path: Its file.
    """
    if picture.format == "PNG" and _png_head(path)[KIND_AT] not in COLOR_PNG:
        return False
    return len(picture.getbands()) > 1 and bits_of(picture, path) > 8


def bits_of(picture: Image.Image, path: Path) -> int:
    """Bits of a channel as they are stored; 8 in formats that have no others."""
    if picture.format == "PNG":
        return _png_head(path)[DEPTH_AT]
    if picture.format == "TIFF":
        return max(getattr(picture, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,)))
    return 8


def _png_head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEADER_END).ljust(HEADER_END, b"\0")


def one_color_transparent(picture: Image.Image, array: NDArray[Any]) -> NDArray[np.bool_]:
    """Which pixels have the one color that a PNG calls transparent; nothing without one.

    Args:
        picture: Opened by Pillow.
        array: Its pixels, `(rows, columns[, C])`, as they are stored.
    """
    color = picture.info.get("transparency")
    if not isinstance(color, int | tuple):
        return OPAQUE.astype(bool)
    found: NDArray[np.bool_] = np.equal(array, bool(color) if picture.mode == "1" else color)
    return np.all(found, axis=2) if array.ndim == 3 else found


def read_deep_color(picture: Image.Image, path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """All bits of such a picture, through SimpleITK; of grey with transparency, through Pillow.

    Returns:
        `(rows, columns[, 3])`, and the transparency that is left out, of any shape.

    Raises:
        DataError: If it is of a kind that neither of them reads whole.
    """
    kind = path.read_bytes()[KIND_AT] if picture.format == "PNG" else None
    array = _grey_alpha_png(path) if kind == GREY_ALPHA_PNG else _through_itk(path)
    columns, rows = picture.size
    if array.dtype.itemsize != 2 or array.shape[:2] != (rows, columns) or array.ndim != 3:
        raise DataError(
            f"{path}: 16 bits a channel, of which no library at hand keeps more than 8. Save it as "
            "PNG without layers or planes, or as NIfTI."
        )
    if kind == GREY_ALPHA_PNG:
        return array[..., 0], array[..., 1]
    colors, alpha = array[..., :ALPHA], array[..., ALPHA:]
    return colors, alpha if alpha.size else one_color_transparent(picture, colors)


def _through_itk(path: Path) -> NDArray[Any]:
    import SimpleITK as sitk  # noqa: N813  loaded for such pictures only

    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def _grey_alpha_png(path: Path) -> NDArray[Any]:
    """Grey and transparency of 16 bits, `(rows, columns, 2)`.

    A pixel takes four bytes, as one of RGBA of 8 bits does, so under that header Pillow unpacks the
    bytes as they are.
    """
    content = bytearray(path.read_bytes())
    content[DEPTH_AT], content[KIND_AT] = 8, RGBA_PNG
    check = zlib.crc32(content[12 : HEADER_END - 4])
    content[HEADER_END - 4 : HEADER_END] = check.to_bytes(4, "big")
    with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
        pairs = np.asarray(picture)
    return np.ascontiguousarray(pairs).view(">u2").astype(np.uint16)
