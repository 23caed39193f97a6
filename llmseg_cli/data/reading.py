"""Any supported file in its own order and number type: which reader it takes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from llmseg_cli.data.formats import hdf5, nifti, picture
from llmseg_cli.data.formats.doubts import implausible
from llmseg_cli.data.formats.raw import RawImage
from llmseg_cli.data.grids import refuse_shear
from llmseg_cli.data.naming import HDF5, NIFTI, PICTURES, suffix
from llmseg_cli.data.sources import refuse_unreadable
from llmseg_cli.errors import DataError

SAME_AFFINE = 1e-3  # mm, between channels of one image


def read_raw(path: Path, *, as_label: bool = False) -> RawImage:
    """Read a file in its own order and number type.

    Raises:
        DataError: If it cannot be read or its axes are sheared.
    """
    refuse_unreadable(path)
    end = suffix(path)
    if end in HDF5:
        raw = hdf5.read(path, name="label" if as_label else "image")
    elif end in NIFTI:
        raw = nifti.read(path, as_label=as_label)
    elif end in PICTURES:
        raw = picture.read(path, as_label=as_label)
    elif end or path.is_dir():
        from llmseg_cli.data.formats import itk  # loads SimpleITK

        raw = itk.read(path, as_label=as_label)
    else:
        raise DataError(f"{path}: unknown format. Expected .nii.gz, .nrrd, .mha, .png, .jpg, .h5.")
    return _believed(raw, path)


def _believed(raw: RawImage, path: Path) -> RawImage:
    """The image, with doubts about a size that no scan has.

    Raises:
        DataError: If its axes are sheared.
    """
    refuse_shear(raw.grid.affine, str(path))
    if raw.grid.unit != "mm":
        return raw
    lengths = np.linalg.norm(raw.grid.affine[:3, :3], axis=0)
    return replace(raw, doubts=raw.doubts + implausible(lengths.tolist(), raw.grid.shape))


def read_header(path: Path) -> RawImage:
    """Like `read_raw`, with voxels that are all 0 and take no memory.

    Raises:
        DataError: If it cannot be read or its axes are sheared.
    """
    refuse_unreadable(path)
    end = suffix(path)
    if end in HDF5:
        return hdf5.read_header(path)
    if end in NIFTI:
        return _believed(nifti.read_header(path), path)
    if end in PICTURES:
        return picture.read_header(path)
    if end or path.is_dir():
        from llmseg_cli.data.formats import itk  # loads SimpleITK

        return _believed(itk.read_header(path), path)
    return read_raw(path)


def read_channels(images: Sequence[Path]) -> list[RawImage]:
    """Read the files of an image, in their own order and number type.

    Raises:
        DataError: If one cannot be read, or they lie on different grids or are turned apart.
    """
    raws = []
    for path in images:
        raws.append(read_raw(path))
        first, grid = raws[0].grid, raws[-1].grid
        same = np.allclose(grid.affine, first.affine, rtol=0, atol=SAME_AFFINE)
        if grid.shape != first.shape or not same:
            raise DataError(
                f"{path}: shape {grid.shape} and affine {grid.affine[:3].tolist()} differ "
                f"from those of {images[0].name}, {first.shape} and {first.affine[:3].tolist()}. "
                "Resample the channels to one grid."
            )
        if raws[-1].turn != raws[0].turn:
            raise DataError(
                f"{path}: turned by EXIF as {raws[-1].turn}, and {images[0].name} as "
                f"{raws[0].turn}, so that their stored pixels may not lie on each other. Save the "
                "channels upright, without EXIF (ImageMagick: mogrify -auto-orient)."
            )
    return raws
