"""SHA-256 over exactly what is read of an image or a label map.

That is the file; behind a header, the files that hold the voxels, too; of a folder, the slices of
its DICOM series; of HDF5, the one data set. Files that happen to lie beside them do not matter.
`voxel_digest` alone is over what an image shows, whatever file it stands in.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmseg_cli.data.case import Case
from llmseg_cli.data.formats import hdf5
from llmseg_cli.data.naming import HDF5, suffix
from llmseg_cli.data.sources import files_read
from llmseg_cli.data.volumes import load_image
from llmseg_cli.errors import DataError

if TYPE_CHECKING:
    from hashlib import _Hash

BLOCK = 1 << 20


def image_digest(case: Case) -> str:
    """Hexadecimal SHA-256 over what is read of the image, in the order of the channels.

    For HDF5 it covers type, shape and voxels of the `image` data set only, so deleting `label` does
    not change it.

    Raises:
        DataError: If a file cannot be read.
    """
    return _image_digest(case, hdf5.content)


def former_digest(case: Case) -> str | None:
    """The digest that earlier versions gave an image, if it was another: of HDF5, by voxels alone.

    Raises:
        DataError: If a file cannot be read.
    """
    if not any(suffix(path) in HDF5 for path in case.images):
        return None
    return _image_digest(case, hdf5.voxels_alone)


def as_recorded(
    cases: Iterable[Case], digests: Mapping[str, str], recorded: Mapping[str, str]
) -> dict[str, str]:
    """The digests at hand in the form in which a document has them, to be compared with it.

    Args:
        cases: The cases at hand.
        digests: Their `image_digest`.
        recorded: Case to digest, as an older version may have written it.

    Raises:
        DataError: If a file cannot be read.
    """
    found = dict(digests)
    for case in cases:
        wanted = recorded.get(case.id)
        if wanted not in (None, found.get(case.id)) and wanted == former_digest(case):
            found[case.id] = wanted
    return found


def _image_digest(case: Case, of_hdf5: Callable[[Path], Iterable[bytes]]) -> str:
    digest = hashlib.sha256()
    for path in case.images:
        if suffix(path) in HDF5:
            for part in of_hdf5(path):
                digest.update(part)
        else:
            _update(digest, files_read(path))
    return digest.hexdigest()


def label_digest(path: Path) -> str:
    """Hexadecimal SHA-256 over what is read of a label map.

    Raises:
        DataError: If a file cannot be read.
    """
    digest = hashlib.sha256()
    if suffix(path) in HDF5:
        for part in hdf5.content(path, name="label"):
            digest.update(part)
    else:
        _update(digest, files_read(path))
    return digest.hexdigest()


def voxel_digest(array: NDArray[np.float32]) -> str:
    """Hexadecimal SHA-256 over shape and voxels of an image that is loaded.

    It is the same for every name, format, compression, number type and header of the same image.

    Args:
        array: `(C, X, Y, Z)` in RAS+, as `load_image` gives it.
    """
    digest = hashlib.sha256(str(array.shape).encode())
    rows = max(1, BLOCK // math.prod(array.shape[2:]))
    for channel in array:
        for x in range(0, len(channel), rows):
            part = channel[x : x + rows] + np.float32(0)  # of the two zeros, one
            digest.update(np.ascontiguousarray(part, dtype="<f4").data)
    return digest.hexdigest()


def voxels_of(cases: Iterable[Case]) -> dict[str, str]:
    """Case to `voxel_digest` of its image; of those that can be read, for no other is predicted."""
    found = {}
    for case in cases:
        try:
            found[case.id] = voxel_digest(load_image(case.images).array)
        except DataError:
            continue
    return found


def _update(digest: "_Hash", files: Iterable[Path]) -> None:
    for file in files:
        try:
            with file.open("rb") as stream:
                while block := stream.read(BLOCK):
                    digest.update(block)
        except OSError as error:
            raise DataError(f"Cannot read {file}: {error.strerror}.") from error
