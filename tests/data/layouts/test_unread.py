"""What is not read is said: a fault where the data would be others with it, a warning elsewhere."""

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from tiny_data import (
    label_with,
    random_image,
    write_cases,
    write_dicom,
    write_dicom_report,
    write_nifti,
)

from llmseg_cli.data.cases import find_cases, survey
from llmseg_cli.errors import DataError
from llmseg_cli.workflows.check import run as check
from llmseg_cli.workflows.split import run as split

VOXELS = np.arange(60, dtype=np.int16).reshape(5, 4, 3)


def faults(root: Path) -> list[str]:
    return [str(fault) for fault in survey(root).faults if not fault.is_warning]


def warnings(root: Path) -> list[str]:
    return [str(fault) for fault in survey(root).faults if fault.is_warning]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def pictures(root: Path, ending: str) -> None:
    for index in range(2):
        for folder, end in (("images", ".tif"), ("labels", ending)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(np.full((6, 5), index, np.uint8))
            picture.save(root / folder / f"{index}{end}")


def test_label_maps_of_another_format_are_a_fault(tmp_path: Path) -> None:
    pictures(tmp_path, ".gif")
    (found,) = faults(tmp_path)
    assert found == (
        "labels/: 2 files of unknown format (.gif), as 0.gif, 1.gif. Convert them to grey .png or "
        ".nii.gz."
    )
    with pytest.raises(DataError, match=r"2 files of unknown format \(\.gif\)"):
        split(tmp_path, labeled="1")


@pytest.mark.parametrize("ending", [".json", ".txt", ".npy", ".xyz"])
def test_a_file_named_like_a_case_without_label_map_is_a_fault(tmp_path: Path, ending: str) -> None:
    write_cases(tmp_path, [[1], None])
    touch(tmp_path / "labels" / f"case01{ending}")
    assert [ending in line for line in faults(tmp_path)] == [True]


def test_pairs_of_header_and_data_beside_nifti_are_a_fault(tmp_path: Path) -> None:
    write_cases(tmp_path, [[1], [1]])
    for ending in (".img", ".hdr"):
        touch(tmp_path / "images" / f"p9{ending}")
    (found,) = faults(tmp_path)
    assert found.startswith("images/: 2 files of unknown format (.hdr, .img)")


def test_notes_and_previews_are_warnings_and_litter_is_nothing(tmp_path: Path) -> None:
    write_cases(tmp_path, [[1], [1]])
    for name in ("images/.DS_Store", "labels/Thumbs.db", ".git/x.nii.gz", "README.md"):
        touch(tmp_path / name)
    assert survey(tmp_path).faults == ()
    for name in ("images/case00.json", "images/case00.gif", "labels/notes.txt"):
        touch(tmp_path / name)
    assert faults(tmp_path) == []
    assert len(warnings(tmp_path)) == 2
    assert [w.kind for w in check(tmp_path).warnings] == ["not read"] * 2
    assert len(find_cases(tmp_path).notes) == 2


@pytest.mark.parametrize(
    "name", ["label", "Labels_", "mask", "segmentations", "gt", "ground_truth", "annotations"]
)
def test_a_folder_of_label_maps_with_another_name_is_a_fault(tmp_path: Path, name: str) -> None:
    write_cases(tmp_path, [[1], [1]])
    (tmp_path / "labels").rename(tmp_path / name)
    (found,) = faults(tmp_path)
    assert found.startswith(f"{name}/: this folder is not read; it holds 2 images")
    assert found.endswith("Rename it to labels/.")


def test_the_remedy_fits_the_folder_of_images(tmp_path: Path) -> None:
    write_cases(tmp_path, [[1]])
    (tmp_path / "images").rename(tmp_path / "imagesTr")
    (tmp_path / "labels").rename(tmp_path / "labelTr")
    assert faults(tmp_path)[0].endswith("Rename it to labelsTr/.")


def test_images_of_another_name_are_a_fault(tmp_path: Path) -> None:
    write_cases(tmp_path, [[1]])
    (tmp_path / "images").rename(tmp_path / "image")
    assert any(line.startswith("image/: ") and "images/" in line for line in faults(tmp_path))


def test_other_folders_are_warnings_if_they_hold_images(tmp_path: Path) -> None:
    write_cases(tmp_path, [[1]])
    touch(tmp_path / "docs" / "manual.pdf")
    write_nifti(tmp_path / "masks" / "case00.nii.gz", label_with([1]))
    write_nifti(tmp_path / "loose.nii.gz", random_image(4))
    assert faults(tmp_path) == []
    assert [line.split(":")[0] for line in warnings(tmp_path)] == ["masks/", "data set"]


def test_masks_beside_their_images_are_no_images(tmp_path: Path) -> None:
    for index in range(3):
        write_nifti(tmp_path / f"p{index}.nii.gz", random_image(index))
        write_nifti(tmp_path / f"p{index}_seg.nii.gz", label_with([1]))
    (found,) = faults(tmp_path)
    assert "3 images are named like a label map of another (p0_seg, p1_seg, p2_seg)" in found
    for index in range(3):
        (tmp_path / f"p{index}.nii.gz").unlink()
    assert len(find_cases(tmp_path).cases) == 3  # label maps alone, to score against


def test_channels_and_their_mask(tmp_path: Path) -> None:
    for name in ("p0_t1", "p0_t2", "p0-seg"):
        write_nifti(tmp_path / "images" / f"{name}.nii.gz", random_image(len(name)))
    assert "p0-seg" in faults(tmp_path)[0]


@pytest.mark.parametrize("first", ["088.xml", "README.txt", "0.json", "A", ".DS_Store"])
def test_a_folder_is_dicom_whatever_file_comes_first(tmp_path: Path, first: str) -> None:
    for index in range(3):
        write_dicom(tmp_path / f"p{index}", VOXELS + index)
    touch(tmp_path / "p0" / first)
    touch(tmp_path / "p1" / first)
    assert [case.id for case in find_cases(tmp_path).cases] == ["p0", "p1", "p2"]
    report = check(tmp_path)
    assert report.faults == ()
    assert [fault.case for fault in report.warnings] == ["p0", "p1"] * first.endswith(
        (".xml", ".txt", ".json")
    )


def test_patients_with_folders_of_studies(tmp_path: Path) -> None:
    for index in range(2):
        write_dicom(tmp_path / "images" / f"p{index}" / "study" / "series", VOXELS + index)
        write_nifti(tmp_path / "labels" / f"p{index}.nii.gz", np.zeros((5, 4, 3), np.uint8))
    assert [(c.id, c.label is not None) for c in find_cases(tmp_path).cases] == [
        ("p0", True),
        ("p1", True),
    ]
    write_dicom(tmp_path / "images" / "p1" / "study" / "scout", VOXELS)
    (fault, orphan) = faults(tmp_path)
    assert "a label map without an image" in fault
    assert "images/p1/: a folder in images/ that is not read" in orphan


def test_a_patient_with_two_series_in_folders(tmp_path: Path) -> None:
    write_dicom(tmp_path / "p0", VOXELS)
    for name in ("t1", "t2"):
        write_dicom(tmp_path / "p1" / name, VOXELS)
    assert "p1/: this folder is not read; it holds 2 DICOM folders (t1, t2)" in faults(tmp_path)[0]


@pytest.mark.parametrize("content", ["a.nii.gz", "notes.txt", None])
def test_a_folder_among_images_that_is_not_understood(tmp_path: Path, content: str | None) -> None:
    write_cases(tmp_path, [[1]])
    (tmp_path / "images" / "p1").mkdir()
    if content:
        touch(tmp_path / "images" / "p1" / content)
    (found,) = faults(tmp_path)
    assert found.startswith("images/p1/: a folder in images/ that is not read")


def test_loose_slices_are_no_cases(tmp_path: Path) -> None:
    write_dicom(tmp_path / "images", VOXELS)
    write_dicom(tmp_path / "images", VOXELS, series=2)
    (found,) = faults(tmp_path)
    assert "6 slices of 2 DICOM series lie loose in it" in found


def test_volumes_beside_slices_leave_doubt(tmp_path: Path) -> None:
    write_dicom(tmp_path / "p0", VOXELS)
    write_dicom_report(tmp_path / "p0" / "report.dcm")
    assert survey(tmp_path).faults == ()
    write_nifti(tmp_path / "p0" / "p0.nii.gz", random_image(1))
    assert "1 volume beside its DICOM slices (p0.nii.gz)" in faults(tmp_path)[0]
    assert "1 volume beside its DICOM slices" in faults(tmp_path / "p0")[0]


def test_images_beside_hdf5_files_are_a_fault(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = random_image(0)
    write_nifti(tmp_path / "b.nii.gz", random_image(1))
    assert "1 images of other formats lie beside the HDF5 files" in faults(tmp_path)[0]


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


def link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


ODD: list[Callable[[Path], None]] = [make_fifo, link_to_nothing, link_to_device, Path.mkdir]


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("name", ["images/z.nii.gz", "images/z.png", "images/z.mhd", "images/z.h5"])
def test_what_is_no_regular_file_is_a_fault_of_its_case(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    write_cases(tmp_path, [[1], [1]])
    make(tmp_path / name)
    (fault,) = check(tmp_path).faults
    assert (fault.kind, fault.case) == ("unreadable", "z")
    with pytest.raises(DataError, match=r"z\.(nii\.gz|png|mhd|h5)"):
        split(tmp_path, labeled="1")


@pytest.mark.parametrize("make", ODD[:3])
@pytest.mark.parametrize("name", ["labels", "dataset.json", "cases.csv"])
def test_a_name_of_a_layout_that_is_something_else(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    write_cases(tmp_path, [None])
    make(tmp_path / name)
    assert [line.split(":")[0] for line in faults(tmp_path)] == [name]


@pytest.mark.parametrize("make", ODD[:3])
def test_odd_files_named_as_data_are_one_sentence(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "z.nii.gz")
    with pytest.raises(DataError):
        find_cases(tmp_path / "z.nii.gz")


def test_why_there_are_no_label_maps_is_said(tmp_path: Path) -> None:
    for index in range(2):
        write_nifti(tmp_path / f"p{index}.nii.gz", random_image(index))
    write_nifti(tmp_path / "old" / "p0.nii.gz", label_with([1]))
    with pytest.raises(DataError, match=r"(?s)images only.*has a label map.*old/: this folder is"):
        split(tmp_path, labeled="1")


def test_a_data_set_one_folder_deeper_is_named(tmp_path: Path) -> None:
    write_cases(tmp_path / "Task01", [[1]])
    (found,) = faults(tmp_path)
    assert found.endswith(f"It is a data set of its own: --data {tmp_path / 'Task01'}.")


def test_a_folder_that_may_not_be_read_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cases(tmp_path, [[1]])

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)  # root may read everything
    assert faults(tmp_path) == [
        f"{tmp_path / 'images'}: cannot be read: Permission denied. Change its permissions, or "
        "remove it."
    ]


def test_slices_of_one_scan_suggest_groups(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for patient in ("p0", "p1"):
        for index in range(3):
            pixels = np.random.default_rng(ord(patient[1]) * 10 + index).integers(0, 255, (6, 5))
            picture = Image.fromarray(pixels.astype(np.uint8))
            picture.save(tmp_path / "images" / f"{patient}_slice_{index:03d}.png")
    (note,) = check(tmp_path).warnings
    assert "--group-by '(.+)_slice_[0-9]+$'" in note.remedy
    grouped = check(tmp_path, group_by="(.+)_slice_[0-9]+$")
    assert {found.case.group for found in grouped.cases} == {"p0", "p1"}
    assert grouped.warnings == ()


def test_what_split_refuses_check_refuses(tmp_path: Path) -> None:
    write_cases(tmp_path, [[], []])
    assert [fault.kind for fault in check(tmp_path).faults] == ["no foreground"]
    write_cases(tmp_path, [[1], [1]])
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "a": 1, "b": 2}}')
    assert [fault.kind for fault in check(tmp_path).faults] == ["unused class"]
    with pytest.raises(DataError, match="in no label map"):
        split(tmp_path, labeled="1")
