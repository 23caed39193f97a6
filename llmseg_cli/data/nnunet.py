"""Raw data sets of nnU-Net 2: names of files, number types, label values, and `dataset.json`.

As documentation/dataset_format.md of nnU-Net 2 has it: a file a channel, named `CASE_0000`, of one
lossless format in the whole data set; label maps named `CASE`, with 0 for the background, classes
without gaps behind it, and the ignore label behind these.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from llmseg_cli.artifacts.files import atomic_path
from llmseg_cli.artifacts.pseudo import UNKNOWN
from llmseg_cli.data.case import Case
from llmseg_cli.data.formats import nifti, picture
from llmseg_cli.data.grids import Grid
from llmseg_cli.data.ignore_label import NAME as IGNORE
from llmseg_cli.data.naming import PICTURES, suffix
from llmseg_cli.data.reading import read_channels
from llmseg_cli.data.volumes import Volume, load_image, refuse_half_written, save_label_map

IMAGES, LABELS, TEST_IMAGES = "imagesTr", "labelsTr", "imagesTs"
PICTURE, VOLUME = ".png", ".nii.gz"
BACKGROUND = "background"
COLORS = ("R", "G", "B")
COLOR = np.dtype(np.uint8)  # what a color picture has of each channel
GREY = (COLOR, np.dtype(np.uint16))  # what a PNG holds
WHOLE = (np.int16, np.uint16)  # number types that take half the room


def file_ending(cases: Iterable[Case]) -> str:
    """The one suffix of a data set: of pictures, unless one holds what a PNG does not.

    Raises:
        DataError: If a picture cannot be read.
    """
    return PICTURE if all(map(_fits_png, cases)) else VOLUME


def _fits_png(case: Case) -> bool:
    if any(suffix(path) not in PICTURES for path in case.images):
        return False
    return all(raw.array.dtype in GREY for raw in read_channels(case.images))


def save_image(case: Case, folder: Path, ending: str) -> tuple[list[str], Volume]:
    """Write the image of a case on its own grid, a file a channel; a color picture is one file.

    Args:
        case: The case.
        folder: Where to.
        ending: As of `file_ending`.

    Returns:
        The names of the files, and the image.

    Raises:
        DataError, TooLargeError: As `load_image`.
        ResourceError: If a file was not written whole.
    """
    if ending == PICTURE and _is_color(case):
        volume = load_image(case.images)
        name = f"{case.id}_0000{PICTURE}"
        with atomic_path(folder / name) as temporary:
            pixels = volume.array[..., 0].T  # (rows, columns, C)
            Image.fromarray(np.ascontiguousarray(pixels.astype(COLOR))).save(temporary)
            picture.refuse_cut(temporary)
        return [name], volume
    volume = load_image(case.images)
    names = [f"{case.id}_{index:04d}{ending}" for index in range(len(volume.array))]
    for name, channel in zip(names, volume.array, strict=True):
        save_channel(folder / name, channel, volume.grid)
    return names, volume


def _is_color(case: Case) -> bool:
    if len(case.images) > 1:
        return False
    (raw,) = read_channels(case.images)
    return len(raw.array) == len(COLORS) and raw.array.dtype == COLOR


def save_channel(path: Path, values: NDArray[np.float32], grid: Grid) -> None:
    """Write a channel on the grid of its file, as 16 bit where that loses nothing.

    Args:
        path: The file, ending in `.nii.gz` or `.png`; it appears whole or not at all.
        values: `(X, Y, Z)` in RAS+.
        grid: Where they lie.
    """
    turned = _narrow(np.ascontiguousarray(grid.from_ras(values)))
    with atomic_path(path) as temporary:
        if suffix(path) in PICTURES:
            is_small = turned.max() <= np.iinfo(COLOR).max
            picture.write(temporary, turned.astype(COLOR if is_small else GREY[1]))
        else:
            nifti.write(temporary, turned, grid)
        refuse_half_written(temporary, path, turned, grid)


def _narrow(values: NDArray[np.float32]) -> NDArray[Any]:
    """Whole numbers as 16 bit, whatever else as it is."""
    if not np.isfinite(values).all() or (values != np.rint(values)).any():
        return values
    low, high = float(values.min()), float(values.max())
    for kind in WHOLE:
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return values.astype(kind)
    return values


def save_labels(path: Path, labels: NDArray[Any], grid: Grid, *, classes: int) -> bool:
    """Write a label map, the unknown as the value behind the classes.

    Args:
        path: The file.
        labels: `(X, Y, Z)` in RAS+, values below *classes*, and `UNKNOWN`.
        grid: Of the image.
        classes: K, the background included.

    Returns:
        Whether it holds the unknown.
    """
    is_unknown = labels == UNKNOWN if classes <= UNKNOWN else np.zeros(labels.shape, bool)
    has_unknown = bool(is_unknown.any())
    if has_unknown:
        labels = labels.astype(np.uint16)
        labels[is_unknown] = classes
    save_label_map(path, labels, grid)
    return has_unknown


def description(
    *,
    channels: Sequence[str],
    classes: Sequence[str],
    training: int,
    ending: str,
    with_ignore: bool = False,
) -> dict[str, Any]:
    """What nnU-Net 2 reads in `dataset.json`.

    Args:
        channels: A name per channel; nnU-Net normalizes one named `CT` otherwise than all others.
        classes: Names of the K classes, the background first.
        training: Cases with a label map.
        ending: Suffix of all files.
        with_ignore: Whether label maps have the ignore label, which is K.
    """
    labels = dict(zip(_own_names(classes), range(len(classes)), strict=True))
    return {
        "channel_names": {str(index): name for index, name in enumerate(channels)},
        "labels": {**labels, **({IGNORE: len(classes)} if with_ignore else {})},
        "numTraining": training,
        "file_ending": ending,
    }


def _own_names(classes: Sequence[str]) -> list[str]:
    """Names of which each is there once: nnU-Net finds values by names."""
    times = Counter(name.casefold() for name in (BACKGROUND, IGNORE, *classes[1:]))
    return [
        BACKGROUND,
        *(
            name if times[name.casefold()] == 1 else f"{name} {value}"
            for value, name in enumerate(classes[1:], start=1)
        ),
    ]


def names_of_channels(known: Mapping[str, str] | Sequence[str], count: int) -> list[str]:
    """Names of *count* channels: those that are known, `R`, `G` and `B` of three, or numbers."""
    named = [*known.values()] if isinstance(known, Mapping) else [*known]
    if len(named) == count:
        return named
    return [*COLORS] if count == len(COLORS) else [f"channel{index}" for index in range(count)]
