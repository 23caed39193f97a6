"""Preprocessed cases on disk, keyed by content and settings, read by memory map.

Images and label maps are cached apart: preparing an image never opens a label map.
"""

import errno
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.artifacts.cache_folder import note_use
from llmseg_cli.artifacts.files import atomic_path, sha256_json
from llmseg_cli.data.cases import Case
from llmseg_cli.data.checking.geometry import require_same_grid
from llmseg_cli.data.checking.label_values import count_values
from llmseg_cli.data.digests import label_digest, voxel_digest
from llmseg_cli.data.patches.blocks import SUFFIX, write_blocks
from llmseg_cli.data.patches.foreground import foreground_table
from llmseg_cli.data.patches.halves import as_half
from llmseg_cli.data.patches.mapped import Stored, open_array, open_stored
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.data.volumes import Volume, load_image, load_label_map, read_grid, tell_doubts
from llmseg_cli.errors import DataError

logger = logging.getLogger(__name__)

VERSION = 3  # of all that lies in a case's folder
LABEL_VERSION = 2  # stands in the names of label maps, which runs record
PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # the machine's faults, not the file's
MOST_CLASSES = 256
WHOLE, HALF, BLOCKS = "float32", "float16", "blocks"  # how images are kept; of label maps, two


@dataclass(frozen=True)
class PreparedCase:
    """A case as arrays on disk.

    Args:
        id: Case identifier.
        image: `(C, X, Y, Z)`, a `.npy` of float32 or float16, or float32 in compressed blocks.
        labels: `(X, Y, Z)` uint8, `.npy` or blocks, or None for an unlabeled case.
        foreground: `.npy` of a table of `foreground.py`, or None.
        spacing_mm: mm per voxel of these arrays along X, Y, Z.
        voxels: `voxel_digest` of the image before it was prepared.
        stored: Label values of the file, where some were to be changed or ignored; else empty.
    """

    id: str
    image: Path
    labels: Path | None = None
    foreground: Path | None = None
    spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0)
    voxels: str = ""
    stored: frozenset[int] = frozenset()


def prepare_image(
    case: Case, digest: str, preprocessing: Preprocessing, cache: Path, *, form: str = WHOLE
) -> PreparedCase:
    """Preprocess a case's image into the cache, unless it is there.

    Args:
        case: The case; its label map is not opened.
        digest: `image_digest(case)`, part of the key.
        preprocessing: Settings, part of the key.
        cache: The cache folder.
        form: How it is kept, a name of `CACHE_FORMATS`, part of the key.

    Raises:
        DataError: If the image cannot be used, or *form* would lose what it shows; the message
            names the case.
    """
    path = _image_file(digest, preprocessing, cache, form)
    spacing, voxels = path.with_name("spacing.npy"), path.with_name("shown.npy")
    whole = _is_whole(path, IMAGES[form], case) and _is_whole(
        spacing, SPACING, case, absent="damage"
    )
    if not (whole and _is_whole(voxels, VOXELS, case)):
        volume = load_image(case.images)
        array = None if whole else _prepared(case, volume, preprocessing)
        _save(voxels, np.frombuffer(bytes.fromhex(voxel_digest(volume.array)), np.uint8))
        if array is not None:
            sizes, shape = volume.array.shape[1:], array.shape[1:]
            _save(spacing, np.array(volume.spacing_mm) * sizes / shape)
            _save(path, _kept(case, array, form))  # last, for it says that the case is there
    else:
        note_use(path)
        tell_doubts(case.images)
    spacing_mm = tuple(map(float, open_array(spacing)))
    shown = open_array(voxels).tobytes().hex()
    return PreparedCase(id=case.id, image=path, spacing_mm=spacing_mm, voxels=shown)


def is_prepared(
    case: Case,
    digest: str,
    preprocessing: Preprocessing,
    cache: Path,
    *,
    label_map: Mapping[int, int],
    ignore: int | None = None,
    with_labels: bool,
    form: str = WHOLE,
) -> bool:
    """Whether the files of a case are in the cache; they are not opened.

    Args:
        case: The case.
        digest: `image_digest(case)`.
        preprocessing: Settings.
        cache: The cache folder.
        label_map: Label values that are changed.
        ignore: Value of voxels of which nothing is known.
        with_labels: Whether its label map is wanted, too.
        form: How they are kept.

    Raises:
        DataError: If the label map cannot be read.
    """
    image = _image_file(digest, preprocessing, cache, form)
    wanted = [image]
    if with_labels and case.label is not None:
        wanted += _label_files(image.parent, case.label, label_map, ignore, form)[:2]
    return all(path.is_file() for path in wanted)


def _image_file(digest: str, preprocessing: Preprocessing, cache: Path, form: str) -> Path:
    made_of = {"version": VERSION, "image": digest, **preprocessing.to_dict()}
    key = sha256_json(made_of if form == WHOLE else {**made_of, "format": form})
    return cache / "cases" / key[:32] / f"image{_suffix(form)}"


def _label_files(
    place: Path, label: Path, label_map: Mapping[int, int], ignore: int | None, form: str
) -> list[Path]:
    """Labels, the table of their voxels, and the values that the file had."""
    made_of = {
        "version": LABEL_VERSION,
        "labels": label_digest(label),
        "map": sorted(label_map.items()),
        **({} if ignore is None else {"ignore": ignore}),
    }
    key = sha256_json(made_of)[:32]
    others = (place / f"{kind}-{key}.npy" for kind in ("voxels", "stored"))
    return [place / f"labels-{key}{_suffix(form)}", *others]


def _prepared(case: Case, volume: Volume, preprocessing: Preprocessing) -> NDArray[np.float32]:
    try:
        return preprocessing.image(volume.array, volume.spacing_mm)
    except DataError as error:
        raise type(error)(f"case {case.id}: {error}") from error


def _kept(case: Case, array: NDArray[np.float32], form: str) -> NDArray[np.generic]:
    if form != HALF:
        return array
    try:
        return as_half(array)
    except DataError as error:
        raise type(error)(f"case {case.id}: {error}") from error


def _suffix(form: str) -> str:
    return SUFFIX if form == BLOCKS else ".npy"


def name_of(labels: Path) -> str:
    """A prepared label map's name, which says what it was made of and not how it is kept."""
    return f"{labels.stem}.npy"


def prepare_labels(
    case: Case,
    prepared: PreparedCase,
    preprocessing: Preprocessing,
    label_map: Mapping[int, int],
    *,
    ignore: int | None = None,
    folder: Path | None = None,
    form: str = WHOLE,
) -> PreparedCase:
    """Preprocess a labeled case's label map.

    Args:
        case: The case.
        prepared: Its image.
        preprocessing: Settings.
        label_map: Label values to change.
        ignore: Value of voxels of which nothing is known; they become `UNKNOWN`.
        folder: Where to; in the cache beside the image if None.
        form: How it is kept; blocks for those, else as it is.

    Raises:
        DataError: If there is none, it cannot be read, or it lies on other voxels than the image.
    """
    if case.label is None:
        raise DataError(f"case {case.id} has no label map. Make a new split with 'llmseg split'.")
    place = folder or prepared.image.parent
    labels, foreground, stored = _label_files(place, case.label, label_map, ignore, form)
    image = open_stored(prepared.image)
    whole = _is_whole(labels, LABELS, case, shape=image.shape[1:])
    whole = whole and _is_whole(foreground, FOREGROUND, case)
    is_changed = bool(label_map) or ignore is not None
    if not (whole and (not is_changed or _is_whole(stored, STORED, case))):
        found = load_label_map(case.label, label_map=label_map, ignore=ignore)
        grid = read_grid(case.images)
        require_same_grid(grid, found.grid, case=case.id)
        _refuse_values(case, found.array)
        try:
            array = preprocessing.labels(found.array, grid.spacing_mm)
        except DataError as error:
            raise type(error)(f"case {case.id}: {error}") from error
        values = {value for value in count_values(found.array) if value}
        _save(labels, array)
        _save(foreground, foreground_table(array, values, has_unknown=ignore is not None))
        if is_changed:
            _save(stored, np.array(sorted(found.stored), np.int64))
    held = frozenset(open_array(stored).tolist() if is_changed else ())
    return replace(prepared, labels=labels, foreground=foreground, stored=held)


def _is_whole(
    path: Path, form: "_Form", case: Case, *, shape: tuple[int, ...] = (), absent: str = "new"
) -> bool:
    """Whether a file of the cache is there as it was made; one that is damaged is made again.

    Args:
        path: The file.
        form: What it holds.
        case: Whose it is.
        shape: What its shape begins with.
        absent: Whether a file that is not there is `new`, or `damage` to what others stand for.
    """
    if not path.exists() and absent == "new":
        return False
    try:
        array = open_stored(path)
    except (OSError, EOFError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in PASSING:
            raise
        found = str(error)
    else:
        found = f"{array.dtype} of shape {array.shape}"
        if form.fits(array) and array.shape[: len(shape)] == shape:
            return True
    logger.warning("case %s: prepared again, for %s was damaged (%s).", case.id, path, found)
    return False


@dataclass(frozen=True)
class _Form:
    """What a file of the cache holds: its number format and shape, None where any size will do."""

    dtype: type
    shape: tuple[int | None, ...]

    def fits(self, array: Stored) -> bool:
        alike = len(array.shape) == len(self.shape) and all(
            want in (None, have) for want, have in zip(self.shape, array.shape, strict=True)
        )
        return alike and array.dtype == self.dtype


IMAGES = {
    form: _Form(np.float16 if form == HALF else np.float32, (None,) * 4)
    for form in (WHOLE, HALF, BLOCKS)
}
LABELS = _Form(np.uint8, (None,) * 3)
FOREGROUND, SPACING = _Form(np.int32, (None, 4)), _Form(np.float64, (3,))
VOXELS = _Form(np.uint8, (32,))
STORED = _Form(np.int64, (None,))


def _refuse_values(case: Case, array: NDArray[np.generic]) -> None:
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= MOST_CLASSES:
        raise DataError(
            f"case {case.id}: label values from {low} to {high}, expected 0 to "
            f"{MOST_CLASSES - 1}. Change them with --label-map FROM:TO."
        )


def _save(path: Path, array: NDArray[np.generic]) -> None:
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            if path.suffix == SUFFIX:
                write_blocks(stream, array)
            else:
                np.save(stream, array, allow_pickle=False)
    except OSError as error:
        if error.errno is None:  # numpy's own: "Not enough free space to write"
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
