"""Headers name their data beside them, or are refused before ITK follows them."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from llmseg_cli.data.formats.detached import LONGEST_HEADER, data_files
from llmseg_cli.data.volumes import load_image
from llmseg_cli.errors import DataError

VOXELS = np.arange(60, dtype=np.int16).reshape(5, 4, 3)


def write_meta(header: Path, data: str) -> Path:
    header.write_text(
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 5 4 3\n"
        f"ElementSpacing = 1 1 1\nElementType = MET_SHORT\nElementDataFile = {data}\n"
    )
    return header


def write_nrrd(header: Path, data: str) -> Path:
    header.write_text(
        "NRRD0004\n# a comment\ntype: short\ndimension: 3\nsizes: 5 4 3\nencoding: raw\n"
        f"endian: little\n{data}\n\n"
    )
    return header


def write_raw(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(VOXELS.tobytes(order="F"))


@pytest.mark.parametrize("name", ["a.raw", "./a.raw", "with space.raw"])
def test_data_beside_the_header_are_read(tmp_path: Path, name: str):
    write_raw(tmp_path / name)
    headers = (
        write_meta(tmp_path / "a.mhd", name),
        write_nrrd(tmp_path / "a.nhdr", f"data file: {name}"),
    )
    for header in headers:
        assert data_files(header) == (tmp_path / name.removeprefix("./"),)
        first = np.abs(load_image([header]).array[0])
        np.testing.assert_array_equal(np.sort(first.ravel()), np.arange(60))


@pytest.mark.parametrize(
    "name", ["../secret.raw", "{root}/secret.raw", "sub/../../secret.raw", "sub\\a.raw"]
)
@pytest.mark.parametrize("kind", ["a.mhd", "a.mha", "a.nhdr", "a.nrrd", "LIST.mhd", "LIST.nhdr"])
def test_data_elsewhere_are_refused(tmp_path: Path, kind: str, name: str):
    write_raw(tmp_path / "secret.raw")
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    name = name.format(root=tmp_path)
    if kind.startswith("LIST"):
        name = f"LIST\nfirst.raw\n{name}"
    header = folder / kind
    if kind.endswith((".mhd", ".mha")):
        write_meta(header, name)
    else:
        write_nrrd(header, f"data file: {name}")
    with pytest.raises(DataError, match="takes its voxels from"):
        load_image([header])


@pytest.mark.parametrize(
    "line", ["datafile: ../a.raw", "DATA FILE: /etc/a", "data file:../a 1 2 1"]
)
def test_other_spellings_of_the_key(tmp_path: Path, line: str):
    with pytest.raises(DataError, match="takes its voxels from"):
        data_files(write_nrrd(tmp_path / "a.nrrd", line))


@pytest.mark.parametrize("line", ["elementdatafile=../a", "\tElementDataFile : /etc/a"])
def test_other_spellings_of_the_last_key(tmp_path: Path, line: str):
    header = write_meta(tmp_path / "a.mhd", "x")
    header.write_text(header.read_text().replace("ElementDataFile = x", line))
    with pytest.raises(DataError, match="takes its voxels from"):
        data_files(header)


def test_a_list_that_does_not_end_is_not_followed(tmp_path: Path):
    names = "\n".join(["LIST", *["a.raw"] * (LONGEST_HEADER // 6), "../secret.raw"])
    with pytest.raises(DataError, match="does not end"):
        data_files(write_meta(tmp_path / "a.mhd", names))


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_attached_data_need_no_name(tmp_path: Path, suffix: str):
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(path))
    assert data_files(path) == ()
    assert load_image([path]).array.shape[0] == 1


@pytest.mark.parametrize("where", ["link", "soft", "external", "virtual"])
def test_hdf5_holds_its_voxels_itself(tmp_path: Path, where: str):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["image"] = VOXELS
    with h5py.File(tmp_path / "a.h5", "w") as file:
        if where == "link":
            file["image"] = h5py.ExternalLink(str(other), "/image")
        elif where == "soft":
            file["group"] = h5py.ExternalLink(str(other), "/")
            file["image"] = h5py.SoftLink("/group/image")
        elif where == "external":
            (tmp_path / "raw").write_bytes(VOXELS.tobytes())
            places = [(os.fsencode(tmp_path / "raw"), 0, VOXELS.nbytes)]
            file.create_dataset("image", VOXELS.shape, VOXELS.dtype, external=places)
        else:
            layout = h5py.VirtualLayout(VOXELS.shape, VOXELS.dtype)
            layout[:] = h5py.VirtualSource(str(other), "image", VOXELS.shape)
            file.create_virtual_dataset("image", layout)
    with pytest.raises(DataError, match="lies in another file"):
        load_image([tmp_path / "a.h5"])
