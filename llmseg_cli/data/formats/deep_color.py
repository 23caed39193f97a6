"""Pictures of 16 bits a channel in color, of which Pillow keeps 8."""

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


def has_deep_color(picture: Image.Image, path: Path) -> bool:
    """Whether a picture has several channels of more than 8 bits each.

    Args:
        picture: Opened by Pillow.
        path: Its file.
    """
    if picture.format == "PNG":
        with path.open("rb") as stream:
            head = stream.read(HEADER_END)
        return len(head) == HEADER_END and head[DEPTH_AT] > 8 and head[KIND_AT] in COLOR_PNG
    if picture.format == "TIFF":
        bits = getattr(picture, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))
        return len(picture.getbands()) > 1 and max(bits) > 8
    return False


def read_deep_color(picture: Image.Image, path: Path) -> tuple[NDArray[Any], bool]:
    """All bits of such a picture, through SimpleITK; of grey with transparency, through Pillow.

    Returns:
        `(rows, columns[, 3])`, and whether transparency, left out, says something.

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
        return array[..., 0], bool(array[..., 1].min() != array[..., 1].max())
    alpha = array[..., ALPHA:]
    return array[..., :ALPHA], bool(alpha.size and alpha.min() != alpha.max())


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
