"""Digests cover what is read, and nothing else."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from tiny_data import label_with, random_image, write_dicom, write_dicom_report, write_nifti

from llmseg_cli.data.case import Case
from llmseg_cli.data.cases import find_cases
from llmseg_cli.data.digests import (
    as_recorded,
    image_digest,
    label_digest,
    voxel_digest,
    voxels_of,
)
from llmseg_cli.data.patches.cache import prepare_image, prepare_labels
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.data.volumes import load_image
from llmseg_cli.errors import DataError, PolicyError
from llmseg_cli.workflows.split import run as make_split

VOXELS = np.arange(60, dtype=np.int16).reshape(5, 4, 3)


def sha256(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def digest(*paths: Path) -> str:
    return image_digest(Case("x", paths, None))


def write_itk(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(random_image(seed)), str(path))
    return path


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "a.nrrd"])
def test_a_file_that_holds_all_is_digested_as_it_is(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if ".nii" in name:
        write_nifti(path, random_image(1))
    else:
        write_itk(path)
    (tmp_path / "a.raw").write_bytes(b"not of it")
    assert digest(path) == label_digest(path) == sha256(path)


@pytest.mark.parametrize(("header", "data"), [("a.mhd", "a.raw"), ("a.nhdr", "a.raw")])
def test_the_data_behind_a_header_are_digested(tmp_path: Path, header: str, data: str) -> None:
    path = write_itk(tmp_path / header)
    if not (tmp_path / data).exists():
        (data,) = (entry.name for entry in tmp_path.iterdir() if entry.name != header)
    assert digest(path) == label_digest(path) == sha256(path, tmp_path / data)
    before = digest(path)
    change_a_byte(tmp_path / data)
    assert digest(path) != before
    (tmp_path / data).unlink()
    with pytest.raises(DataError, match=f"takes its voxels from '{data}', which is not readable"):
        digest(path)


def numbered(tmp_path: Path, data: str) -> Path:
    """A MetaImage of two slices, each in a file of its own, which *data* names."""
    for index in (1, 2):
        (tmp_path / f"s{index:02d}.raw").write_bytes(bytes(range(index, index + 12)))
    path = tmp_path / "a.mhd"
    path.write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 4 3 2\nElementType = MET_UCHAR\n"
        f"ElementSpacing = 1 1 1\nElementDataFile = {data}\n"
    )
    return path


@pytest.mark.parametrize("data", ["LIST\ns01.raw\ns02.raw", "s%02d.raw 1 2 1"])
def test_every_file_of_a_list_or_pattern_is_digested(tmp_path: Path, data: str) -> None:
    path = numbered(tmp_path, data)
    assert load_image([path]).array.shape == (1, 4, 3, 2)
    assert digest(path) == sha256(path, tmp_path / "s01.raw", tmp_path / "s02.raw")


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret.raw", "x/../../secret.raw"])
@pytest.mark.parametrize("line", ["LIST\n{}", "{}"])
def test_a_header_never_leads_out_of_its_folder(tmp_path: Path, name: str, line: str) -> None:
    (tmp_path / "secret.raw").write_bytes(bytes(24))
    (tmp_path / "data").mkdir()
    path = numbered(tmp_path / "data", line.format(name))
    for use in (lambda: load_image([path]), lambda: digest(path)):
        with pytest.raises(DataError, match="outside of its folder"):
            use()


@pytest.mark.parametrize("pattern", ["%s%s%n 1 2", "s%02d.raw 1 999999999", "s%02d.raw one two"])
def test_a_pattern_that_is_none_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(DataError, match=r"no list of files|no pattern"):
        digest(numbered(tmp_path, pattern))


def add_litter(folder: Path) -> None:
    (folder / ".DS_Store").write_bytes(b"Bud1")
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "088.xml").write_text("<LidcReadMessage/>")
    (folder / "NOTES").write_text("a patient of three")
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    write_dicom_report(folder / "zz.dcm")
    (folder / "more").mkdir()
    (folder / "more" / "x.dcm").write_bytes(bytes(128) + b"DICM")


def test_of_a_dicom_folder_only_the_slices_are_digested(tmp_path: Path) -> None:
    folder = write_dicom(tmp_path / "p", VOXELS)
    slices = sorted(folder.iterdir())
    assert digest(folder) == sha256(*slices)
    before, pixels = digest(folder), load_image([folder]).array
    add_litter(folder)
    os.utime(slices[0], (1, 1))
    assert digest(folder) == before
    np.testing.assert_array_equal(load_image([folder]).array, pixels)
    change_a_byte(slices[1])
    assert digest(folder) != before


def test_several_series_in_a_folder_are_named(tmp_path: Path) -> None:
    write_dicom(tmp_path / "p", VOXELS)
    folder = write_dicom(tmp_path / "p", VOXELS, series=2)
    for use in (lambda: load_image([folder]), lambda: digest(folder)):
        with pytest.raises(DataError, match=r"2 DICOM series \(3 x MR from .*dcm; 3 x MR from"):
            use()


def test_labels_of_hdf5_are_digested_alone(tmp_path: Path) -> None:
    def write(name: str, image: int, label: np.ndarray) -> Path:
        with h5py.File(tmp_path / name, "w") as file:
            file["image"], file["label"] = random_image(image), label
            file.attrs["date"] = name
        return tmp_path / name

    first = label_digest(write("a.h5", 0, label_with([1])))
    assert first == label_digest(write("b.h5", 1, label_with([1])))
    assert first != label_digest(write("c.h5", 0, label_with([2])))
    assert first != label_digest(write("d.h5", 0, label_with([1]).transpose(1, 0, 2)))


REINTERPRETED = {
    "signed": lambda voxels: voxels.view("<i2"),
    "swapped": lambda voxels: voxels.view(">u2"),
    "reshaped": lambda voxels: voxels.reshape(5, 6, 4),
    "flat": lambda voxels: voxels.reshape(5, 24),
}


def write_hdf5(path: Path, voxels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = voxels, (voxels > 30000).astype(np.uint8)
    return path


@pytest.mark.parametrize("change", REINTERPRETED.values(), ids=REINTERPRETED)
def test_the_same_bytes_as_another_type_or_shape_are_another_image(tmp_path: Path, change) -> None:
    voxels = np.random.default_rng(0).integers(0, 60000, (6, 5, 4)).astype("<u2")
    first = write_hdf5(tmp_path / "a.h5", voxels)
    second = write_hdf5(tmp_path / "b.h5", change(voxels))
    assert digest(first) != digest(second)
    settings = Preprocessing((1.0, 1.0, 1.0), "zscore")
    for path in (first, second):
        case = Case("a", (path,), None)
        volume = load_image([path])
        made = prepare_image(case, image_digest(case), settings, tmp_path / "cache")
        expected = settings.image(volume.array, volume.spacing_mm)
        np.testing.assert_array_equal(np.load(made.image), expected)


def older(path: Path) -> str:
    """What earlier versions took for the digest of an HDF5 image."""
    with h5py.File(path) as file:
        return hashlib.sha256(file["image"][()].tobytes()).hexdigest()


def test_splits_of_earlier_versions_hold_for_hdf5(tmp_path: Path) -> None:
    for index in range(3):
        voxels = np.random.default_rng(index).integers(0, 60000, (6, 5, 4)).astype("<u2")
        write_hdf5(tmp_path / "data" / f"p{index}.h5", voxels)
    cases = find_cases(tmp_path / "data").cases
    new = make_split(tmp_path / "data", labeled="1", test="1")
    assert new.former == {case.id: older(case.images[0]) for case in cases}
    old = replace(new, images=new.former, former={})
    at_hand = {case.id: image_digest(case) for case in cases}
    with pytest.raises(PolicyError, match="3 changed"):
        old.refuse_other_data(at_hand)
    old.refuse_other_data(as_recorded(cases, at_hand, old.images))
    write_hdf5(tmp_path / "data" / "p0.h5", np.zeros((6, 5, 4), "<u2"))
    at_hand = {case.id: image_digest(case) for case in cases}
    for split in (old, new):
        with pytest.raises(PolicyError, match="1 changed"):
            split.refuse_other_data(as_recorded(cases, at_hand, split.images))


def prepare(case: Case, cache: Path) -> np.ndarray:
    settings = Preprocessing(load_image(case.images).spacing_mm, "zscore")
    prepared = prepare_labels(
        case, prepare_image(case, image_digest(case), settings, cache), settings, {}
    )
    assert prepared.labels is not None
    return np.load(prepared.labels)


def test_a_changed_data_file_is_prepared_again(tmp_path: Path) -> None:
    image = write_itk(tmp_path / "image.nrrd")
    label = tmp_path / "label.mhd"
    sitk.WriteImage(sitk.GetImageFromArray(label_with([1])), str(label))
    case = Case("a", (image,), label)
    first = prepare(case, tmp_path / "cache")
    (tmp_path / "label.raw").write_bytes(label_with([2]).tobytes())
    second = prepare(case, tmp_path / "cache")
    np.testing.assert_array_equal(second, 2 * first)


def test_a_dicom_series_as_label_map_trains(tmp_path: Path) -> None:
    image = write_dicom(tmp_path / "images" / "p", VOXELS)
    label = write_dicom(tmp_path / "labels" / "p", (VOXELS > 30).astype(np.int16))
    (case,) = find_cases(tmp_path).cases
    assert (case.images, case.label) == ((image,), label)
    assert prepare(case, tmp_path / "cache").sum() == (VOXELS > 30).sum()


@pytest.mark.parametrize(("litter", "refused"), [(True, False), (False, True)])
def test_a_split_refuses_changed_slices_alone(tmp_path: Path, litter: bool, refused: bool) -> None:
    for index in range(3):
        write_dicom(tmp_path / "images" / f"p{index}", VOXELS + index)
        write_dicom(tmp_path / "labels" / f"p{index}", (VOXELS > 30).astype(np.int16))
    split = make_split(tmp_path, labeled="1", test="1")
    folder = tmp_path / "images" / "p0"
    add_litter(folder) if litter else change_a_byte(folder / "001.dcm")
    at_hand = {case.id: image_digest(case) for case in find_cases(tmp_path).cases}
    if refused:
        with pytest.raises(PolicyError, match="1 changed"):
            split.refuse_other_data(at_hand)
    else:
        split.refuse_other_data(at_hand)


@pytest.mark.parametrize("name", ["pipe.dcm", ".pipe", "gone.dcm", "zero.dcm"])
def test_pipes_and_dead_links_among_slices_are_refused(tmp_path: Path, name: str) -> None:
    folder = write_dicom(tmp_path / "p", VOXELS)
    if "pipe" in name:
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("/dev/zero" if "zero" in name else "nowhere")
    for use in (lambda: load_image([folder]), lambda: digest(folder)):
        with pytest.raises(DataError, match=name):
            use()


def test_what_may_not_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_nifti(tmp_path / "a.nii.gz", random_image(0))
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    with pytest.raises(DataError, match=r"Cannot read .*a\.nii\.gz: Permission denied"):
        load_image([path])


def as_nrrd(path: Path, array: np.ndarray) -> Path:
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # ITK's axes are LPS
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def test_what_an_image_shows_does_not_depend_on_its_file(tmp_path: Path) -> None:
    """Name, format, compression, number type, order on disk, slope and header are one image."""
    array = np.random.default_rng(0).integers(-900, 900, (7, 6, 5)).astype(np.int16)
    flip = np.array([[-1.0, 0, 0, 6], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    scaled = nib.Nifti1Image(2 * array, np.eye(4))
    scaled.header.set_slope_inter(0.5, 0)
    nib.save(scaled, tmp_path / "scaled.nii")
    paths = [
        write_nifti(tmp_path / "plain.nii", array),
        write_nifti(tmp_path / "zipped.nii.gz", array),
        write_nifti(tmp_path / "float.nii.gz", array.astype(np.float32)),
        write_nifti(tmp_path / "double.nii.gz", array.astype(np.float64)),
        write_nifti(tmp_path / "spacing.nii", array, np.diag([2.0, 2.0, 5.0, 1.0])),
        write_nifti(tmp_path / "flipped.nii", array[::-1], flip),
        as_nrrd(tmp_path / "other.nrrd", array),
        tmp_path / "scaled.nii",
    ]
    expected = hashlib.sha256(b"(1, 7, 6, 5)" + array.astype("<f4").tobytes()).hexdigest()
    found = {path.name: voxel_digest(load_image([path]).array) for path in paths}
    assert found == dict.fromkeys([path.name for path in paths], expected)
    assert len({digest(path) for path in paths}) == len(paths)
    (tmp_path / "damaged.nii").write_bytes(b"no image")
    cases = [Case(path.stem, (path,), None) for path in (*paths[:1], tmp_path / "damaged.nii")]
    assert voxels_of(cases) == {"plain": expected}


@pytest.mark.parametrize("change", ["voxel", "shape", "order"])
def test_what_another_image_shows_differs(change: str) -> None:
    array = np.random.default_rng(0).standard_normal((2, 7, 6, 5)).astype(np.float32)
    other = array.copy()
    if change == "voxel":
        other[1, 6, 5, 4] = np.nextafter(other[1, 6, 5, 4], np.float32(9))
    other = {"shape": other.reshape(2, 7, 5, 6), "order": other[::-1]}.get(change, other)
    assert voxel_digest(other) != voxel_digest(array)
    zero = np.zeros((1, 2, 2, 2), np.float32)
    assert voxel_digest(-zero) == voxel_digest(zero)
