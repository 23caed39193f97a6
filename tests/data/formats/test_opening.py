"""A foretold size is compared with memory before anything is allocated."""

import gzip
import tracemalloc
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest

from llmseg_cli.data.formats import opening
from llmseg_cli.data.reading import read_header, read_raw
from llmseg_cli.errors import DataError, ExitCode, TooLargeError

SIDE = 400
FREE = 1 << 27


def packed_zeros(path: Path) -> Path:
    """A NIfTI file of 61 KB that unpacks to 64 MB."""
    header = nib.Nifti1Image(np.zeros((1, 1, 1), np.uint8), np.eye(4)).header
    header.set_data_shape((SIDE,) * 3)
    with gzip.open(path, "wb") as stream:
        stream.write(header.binaryblock + b"\0" * (4 + SIDE**3))
    return path


def meta_image(path: Path) -> Path:
    path.write_text(
        f"ObjectType = Image\nNDims = 3\nDimSize = {SIDE} {SIDE} {SIDE}\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    return path


def nrrd(path: Path) -> Path:
    path.write_text(
        f"NRRD0004\ntype: float\ndimension: 3\nsizes: {SIDE} {SIDE} {SIDE}\n"
        "encoding: raw\nendian: little\n\n"
    )
    return path


def hdf5(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("image", (SIDE,) * 3, "f4", chunks=(8, 8, 8), fillvalue=1)
    return path


MAKERS = {"a.nii.gz": packed_zeros, "a.mhd": meta_image, "a.nrrd": nrrd, "a.h5": hdf5}


@pytest.mark.parametrize("name", MAKERS)
def test_what_memory_cannot_hold_is_refused_unread(tmp_path, monkeypatch, name):
    path = MAKERS[name](tmp_path / name)
    monkeypatch.setattr(opening, "available_bytes", lambda: FREE)
    assert read_header(path).grid.shape == (SIDE,) * 3  # the header alone costs nothing
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError, match=f"{SIDE} x {SIDE} x {SIDE} voxels") as caught:
            read_raw(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()
    assert "134 MB are available" in str(caught.value)
    assert caught.value.exit_code == ExitCode.RESOURCE


def test_memory_that_runs_out_all_the_same_is_told(tmp_path):
    with pytest.raises(TooLargeError, match="out of memory"), opening.reading(tmp_path, "file"):
        raise MemoryError("Unable to allocate 9 TB")


@pytest.mark.parametrize(
    "error", [KeyError("x"), OverflowError("x"), EOFError(), RecursionError("x"), IndexError("x")]
)
def test_whatever_a_library_raises_names_the_file(tmp_path, error):
    with pytest.raises(DataError, match="not a whole thing"), opening.reading(tmp_path, "thing"):
        raise error


@pytest.mark.parametrize(
    ("dtype", "as_label", "expected"),
    [("u1", False, 5), ("i2", False, 6), ("f4", False, 8), ("f8", False, 12), ("u1", True, 4)],
)
def test_bytes_per_voxel_at_the_peak(dtype, as_label, expected):
    assert opening.peak_bytes((10, 10), np.dtype(dtype), as_label=as_label) == 100 * expected
