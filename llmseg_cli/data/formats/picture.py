"""PNG, JPEG, TIFF and BMP, through Pillow.

X is the column, Y the row from the top, Z has one voxel; pixels are taken as stored, without the
rotation that a camera may note in EXIF (or a TIFF in its orientation), so that a mask lies on the
stored pixels. Transparency is no channel: it is left out.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from llmseg_cli.data.formats.deep_color import (
    OPAQUE,
    bits_of,
    has_deep_color,
    one_color_transparent,
    read_deep_color,
)
from llmseg_cli.data.formats.doubts import Doubt, transparent
from llmseg_cli.data.formats.opening import (
    peak_bytes,
    reading,
    require_file,
    require_memory,
    voxels_in_words,
)
from llmseg_cli.data.formats.raw import RawImage
from llmseg_cli.data.grids import Grid
from llmseg_cli.errors import DataError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")  # Pillow knows others, some of which start programs
GREY_ALPHA, COLOR_ALPHA = ("LA", "La"), ("RGBA", "RGBa", "PA")
COLORS = ("CMYK", "YCbCr", "LAB", "HSV", "P", "RGBX")
DEEP = {"I;16": 2, "I;16B": 2, "I;16L": 2, "I": 4, "F": 4}  # bytes of a grey pixel
ORIENTATION = 0x0112  # of EXIF and of TIFF
UPRIGHT = 1
STORED_AGAIN = {  # what undoes Pillow's turning of a TIFF
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def read(path: Path, *, as_label: bool = False) -> RawImage:
    """Read a picture: color becomes three channels, grey one; transparency is dropped.

    Args:
        path: The file.
        as_label: Keep the indices of a palette, and take a color picture only if it is grey.

    Raises:
        DataError: If it is truncated, no picture, has several pages, or is a colored label map.
        TooLargeError: If it has more pixels than memory holds.
    """
    require_file(path)
    try:
        with reading(path, "picture"), _opened(path) as picture:
            _refuse_pages(picture, path)
            _require_memory(picture, path, as_label=as_label)
            turn = _orientation(picture)
            array, alpha = _pixels(picture, path, as_label=as_label)
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: {error} Cut it into tiles.") from error
    channels = array[np.newaxis] if array.ndim == 2 else np.moveaxis(array, 2, 0)  # (C, row, col)
    if as_label and len(channels) > 1:
        channels = _grey(channels, path)
    columns_first = np.swapaxes(channels, 1, 2)[..., np.newaxis]  # (C, X, Y, 1)
    _, x, y, z = columns_first.shape
    grid = Grid((x, y, z), np.eye(4), "px", "picture", None)
    return RawImage(columns_first, grid, _turned(turn) + transparent(alpha), turn=turn)


def read_header(path: Path) -> RawImage:
    """Read all but the pixels, which are 0 here.

    Raises:
        DataError: If it is no picture.
    """
    require_file(path)
    try:
        with reading(path, "picture"), _opened(path) as picture:
            x, y = _stored_size(picture)
            turn = _orientation(picture)
    except Image.DecompressionBombError as error:
        raise DataError(f"{path}: {error} Cut it into tiles.") from error
    empty = np.broadcast_to(np.uint8(0), (1, x, y, 1))
    grid = Grid((x, y, 1), np.eye(4), "px", "picture", None)
    return RawImage(empty, grid, _turned(turn), turn=turn)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    # From a stream, for Pillow maps an uncompressed TIFF into memory by its turned size.
    with path.open("rb") as stream, Image.open(stream, formats=FORMATS) as picture:
        yield picture


def _refuse_pages(picture: Image.Image, path: Path) -> None:
    pages = getattr(picture, "n_frames", 1)
    if pages > 1:
        raise DataError(f"{path}: {pages} pages, expected one. Convert it to NIfTI.")


def _require_memory(picture: Image.Image, path: Path, *, as_label: bool) -> None:
    deep = DEEP.get(picture.mode, 2 if has_deep_color(picture, path) else 1)
    shape = (len(picture.getbands()), *picture.size)
    needed = peak_bytes(shape, np.dtype(f"u{deep}"), as_label=as_label)
    require_memory(path, needed, voxels_in_words(shape, np.dtype(f"u{deep}")))


def _orientation(picture: Image.Image) -> int:
    found = picture.getexif().get(ORIENTATION, UPRIGHT)
    return int(found) if isinstance(found, int) and found in STORED_AGAIN else UPRIGHT


def _stored_size(picture: Image.Image) -> tuple[int, int]:
    x, y = picture.size
    is_swapped = picture.format == "TIFF" and _orientation(picture) >= 5  # Pillow has turned it
    return (y, x) if is_swapped else (x, y)


def _turned(turn: int) -> tuple[Doubt, ...]:
    if turn == UPRIGHT:
        return ()
    return (
        Doubt(
            "turned picture",
            "the picture is turned by EXIF: programs show it in another orientation than it is "
            "stored in, and pixels are read as stored",
            "a mask on the stored pixels",
            "Is the mask drawn on the stored or on the shown picture? If on the shown one, save "
            "the picture turned, without EXIF (ImageMagick: mogrify -auto-orient).",
            is_warning=True,
        ),
    )


def _pixels(
    picture: Image.Image, path: Path, *, as_label: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """`(rows, columns[, C])`, and the transparency that is left out, of any shape."""
    orientation = _orientation(picture)
    if has_deep_color(picture, path):
        if orientation != UPRIGHT and picture.format == "TIFF":
            raise DataError(
                f"{path}: 16 bits a channel and an orientation tag, which are read together by no "
                "library at hand. Save it upright, or as PNG."
            )
        return read_deep_color(picture, path)
    picture.load()
    step = _step(picture, path)
    if picture.format == "TIFF" and orientation != UPRIGHT:
        picture = picture.transpose(STORED_AGAIN[orientation])
    mode = picture.mode
    if mode in GREY_ALPHA:
        both = np.asarray(picture.convert("LA"))
        return both[..., 0], both[..., 1]
    if mode in COLOR_ALPHA:
        alpha = np.asarray(picture.getchannel("A" if "A" in mode else "a"))
        return np.asarray(picture.convert("RGB")), alpha
    if mode == "P" and as_label:
        return np.asarray(picture), OPAQUE  # indices, of which no color is looked at
    if mode == "P" and "transparency" in picture.info:
        both = np.asarray(picture.convert("RGBA"))
        return both[..., :3], both[..., 3]
    if mode in COLORS:
        return np.asarray(picture.convert("RGB")), OPAQUE
    array = np.asarray(picture)
    array = array.astype(np.uint8) if array.dtype == bool else array
    stored = array // step if step > 1 else array
    return stored if as_label else array, one_color_transparent(picture, stored)


def _step(picture: Image.Image, path: Path) -> int:
    """What Pillow multiplies grey of 2 and 4 bits by, so that white is 255."""
    bits = bits_of(picture, path)
    return 255 // (2**bits - 1) if picture.mode == "L" and bits in (2, 4) else 1


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
