"""HDF5 with the data sets `image` and `label`, as UA-MT and SSL4MIS publish, through h5py.

No spacing and no orientation is stored. Axes are taken as X, Y, Z with a spacing of 1, except where
the first is clearly the slices of a thick-slice scan (ACDC): fewer than 32 and fewer than half of
either other. Then the first axis is Z. A fourth axis, at the front, is the channels.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

MOST_SLICES = 32
NUMBERS = "biuf"  # kinds of numpy's types
SLICES_FIRST = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], dtype=np.float64)


def read(path: Path, *, name: str = "image") -> RawImage:
    """Read the data set `image` or `label` of a file.

    Raises:
        DataError: If the file or the data set cannot be read, or has too many axes.
        TooLargeError: If it has more voxels than memory holds.
    """
    with _opened(path, name) as stored:
        return _raw(_voxels(stored, path, as_label=name == "label"))


def read_header(path: Path) -> RawImage:
    """Read all but the voxels of `image`, which are 0 here.

    Raises:
        DataError: As `read`.
    """
    with _opened(path, "image") as stored:
        return _raw(np.broadcast_to(np.uint8(0), stored.shape))


def _raw(array: NDArray[Any]) -> RawImage:
    spatial = array if array.ndim == 4 else array.reshape(1, *array.shape, *(1,) * (3 - array.ndim))
    i, j, k = spatial.shape[1:]
    affine = SLICES_FIRST.copy() if _slices_first((i, j, k)) else np.eye(4)
    return RawImage(spatial, Grid((i, j, k), affine, "voxel", "hdf5", None))


def _slices_first(shape: tuple[int, int, int]) -> bool:
    return shape[0] < MOST_SLICES and shape[0] * 2 < min(shape[1:])


@contextmanager
def _opened(path: Path, name: str) -> Iterator[Any]:
    """The data set of that name, of numbers with two to four axes."""
    import h5py  # only for its files: a command starts sooner without it

    require_file(path)
    with reading(path, "HDF5 file"), h5py.File(path, "r") as file:
        link = file.get(name, getlink=True)
        if link is None:
            raise DataError(
                f"{path}: no data set '{name}' in the file; it has {', '.join(file) or 'none'}."
            )
        if isinstance(link, h5py.ExternalLink):
            raise _foreign(path, name)
        stored = file[name]
        if not isinstance(stored, h5py.Dataset):
            raise DataError(
                f"{path}: '{name}' is a {type(stored).__name__.lower()}, expected a data set of "
                "numbers. Save the voxels under that name."
            )
        if stored.is_virtual or stored.external or stored.file != file:
            raise _foreign(path, name)
        if stored.dtype.kind not in NUMBERS:
            raise DataError(
                f"{path}: '{name}' holds {_kind(stored.dtype)}, expected numbers. Save the voxels "
                "under that name."
            )
        shape = stored.shape
        if shape is None or not 2 <= len(shape) <= 4 or 0 in shape:
            raise DataError(
                f"{path}: '{name}' has shape {shape}, expected X, Y, Z (or C, X, Y, Z)."
            )
        yield stored


def _foreign(path: Path, name: str) -> DataError:
    return DataError(
        f"{path}: '{name}' lies in another file, expected in this one. Copy the voxels into it "
        "(h5repack or h5copy)."
    )


def _kind(dtype: np.dtype[Any]) -> str:
    if dtype.fields is not None:
        return f"records of {', '.join(dtype.names or ())}"
    return {"c": "complex numbers", "O": "texts or references", "S": "texts"}.get(
        dtype.kind, f"values of {dtype}"
    )


def _voxels(stored: Any, path: Path, *, as_label: bool) -> NDArray[Any]:
    chunk = math.prod(stored.chunks or ()) * stored.dtype.itemsize if stored.chunks else 0
    needed = peak_bytes(stored.shape, stored.dtype, as_label=as_label)
    require_memory(path, needed + chunk, voxels_in_words(stored.shape, stored.dtype))
    return np.asarray(stored[()])


def has_label(path: Path) -> bool:
    """Whether a data set `label`, or a link that should lead to one, is in the file.

    A broken file thereby counts as an unlabeled case, whose image, when read, is a `DataError`.
    """
    import h5py

    try:
        require_file(path)
        with reading(path, "HDF5 file"), h5py.File(path, "r") as file:
            return file.get("label", getlink=True) is not None
    except DataError:
        return False


def content(path: Path, *, name: str = "image") -> tuple[bytes, ...]:
    """Type, shape and voxels of a data set, for a digest that depends on nothing else in the file.

    Raises:
        DataError: If they cannot be read.
    """
    array = _content(path, name)
    return f"{array.dtype.str} {array.shape} ".encode(), array.tobytes()


def voxels_alone(path: Path) -> tuple[bytes, ...]:
    """The voxels of `image` alone, as digests of earlier versions had them.

    Raises:
        DataError: If they cannot be read.
    """
    return (_content(path, "image").tobytes(),)


def _content(path: Path, name: str) -> NDArray[Any]:
    with _opened(path, name) as stored:
        return _voxels(stored, path, as_label=name == "label")
