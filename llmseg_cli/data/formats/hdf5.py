"""HDF5 with the data sets `image` and `label`, as UA-MT and SSL4MIS publish, through h5py.

No spacing and no orientation is stored. Axes are taken as X, Y, Z with a spacing of 1, except where
the first is clearly the slices of a thick-slice scan (ACDC): fewer than 32 and fewer than half of
either other. Then the first axis is Z. A fourth axis, at the front, is the channels.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.data.formats.raw import RawImage
from llmseg_cli.data.grids import Grid
from llmseg_cli.data.regular_files import refuse_irregular
from llmseg_cli.errors import DataError

MOST_SLICES = 32
SLICES_FIRST = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64)


def read(path: Path, *, name: str = "image") -> RawImage:
    """Read the data set `image` or `label` of a file.

    Raises:
        DataError: If the file or the data set cannot be read, or has too many axes.
    """
    array = _array(path, name)
    if not 2 <= array.ndim <= 4 or 0 in array.shape:
        raise DataError(
            f"{path}: '{name}' has shape {array.shape}, expected X, Y, Z (or C, X, Y, Z)."
        )
    spatial = array if array.ndim == 4 else array.reshape(1, *array.shape, *(1,) * (3 - array.ndim))
    i, j, k = spatial.shape[1:]
    affine = SLICES_FIRST.copy() if _slices_first((i, j, k)) else np.eye(4)
    return RawImage(spatial, Grid((i, j, k), affine, "voxel", "hdf5", None))


def _slices_first(shape: tuple[int, int, int]) -> bool:
    return shape[0] < MOST_SLICES and shape[0] * 2 < min(shape[1:])


def _array(path: Path, name: str) -> NDArray[Any]:
    import h5py  # only for its files: a command starts sooner without it

    refuse_irregular(path)
    try:
        with h5py.File(path, "r") as file:
            if name not in file:
                raise DataError(
                    f"{path}: no data set '{name}' in the file; it has {', '.join(file) or 'none'}."
                )
            _refuse_elsewhere(file, name, path)
            return np.asarray(file[name][()])
    except (OSError, RuntimeError, AttributeError) as error:
        raise DataError(f"{path}: not a whole HDF5 file ({error}). Copy it again.") from error


def _refuse_elsewhere(file: Any, name: str, path: Path) -> None:
    """Refuse voxels that the file leaves to other files, which may lie anywhere."""
    import h5py

    link, found = file.get(name, getlink=True), None
    if not isinstance(link, h5py.ExternalLink):
        found = file[name]
        is_own = not (found.external or found.is_virtual) and found.file == file
    if found is None or not is_own:
        raise DataError(f"{path}: '{name}' lies in another file. Copy it into this one (h5copy).")


def has_label(path: Path) -> bool:
    """Whether a data set `label` is in the file; False also if the file cannot be opened.

    A broken file thereby counts as an unlabeled case, whose image, when read, is a `DataError`.
    """
    import h5py

    if not path.is_file():  # opening a pipe would wait for ever
        return False
    try:
        with h5py.File(path, "r") as file:
            return "label" in file
    except OSError:
        return False


def image_bytes(path: Path) -> bytes:
    """The voxels of `image` as bytes, for a digest that does not depend on `label`.

    Raises:
        DataError: If they cannot be read.
    """
    return _array(path, "image").tobytes()


def label_bytes(path: Path) -> bytes:
    """Type, shape and voxels of `label` as bytes, for a digest that depends on nothing else.

    Raises:
        DataError: If they cannot be read.
    """
    array = _array(path, "label")
    return f"{array.dtype.str} {array.shape} ".encode() + array.tobytes()
