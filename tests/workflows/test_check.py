"""Faults that `check` must find, all in one pass."""

import json
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tiny_data import SHAPE, label_with, random_image, write_cases, write_nifti

from llmseg_cli.artifacts.files import to_json
from llmseg_cli.data.case import Fault
from llmseg_cli.data.formats import opening
from llmseg_cli.errors import DataError
from llmseg_cli.workflows.check import CheckReport, run


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four sound cases, of which one has no label map."""
    return write_cases(tmp_path / "data", [[1], [1], [1], None])


def only(report: CheckReport) -> Fault:
    assert len(report.faults) == 1, list(map(str, report.faults))
    return report.faults[0]


def test_a_sound_data_set_has_no_fault(data: Path) -> None:
    steps: list[tuple[int, int]] = []
    report = run(data, progress=lambda phase, done, total, **_: steps.append((done, total)))
    assert (report.faults, report.warnings) == ((), ())
    assert report.class_cases == {0: 3, 1: 3}
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    content = json.loads(to_json(report.to_dict()))
    assert content["ok"] is True
    assert content["counts"] == {
        "cases": 4,
        "with_label_map": 3,
        "groups": 0,
        "faults": 0,
        "warnings": 0,
    }
    assert content["cases"][0]["shape"] == list(SHAPE)
    assert content["cases"][0]["label_values"] == {"0": 207, "1": 3}
    assert content["cases"][3]["label"] is None


def test_every_channel_is_doubted_under_its_own_name(tmp_path: Path) -> None:
    """A second file whose pixdim contradicts its sform, which alone is read as 1 mm."""
    for index, name in enumerate("ab"):
        image = nib.Nifti1Image(random_image(index), np.eye(4))
        image.set_sform(np.eye(4), 1)
        image.set_qform(np.eye(4), 0)
        image.header.set_xyzt_units("mm")
        if name == "b":
            image.header["pixdim"][1:4] = (1.5, 1.5, 10)
        nib.save(nib.Nifti1Image(random_image(index), None, image.header), tmp_path / f"{name}.nii")
    (tmp_path / "cases.csv").write_text("id,image\nx,a.nii;b.nii\n")
    report = run(tmp_path)
    fault = only(report)
    assert (fault.file, fault.kind) == ("b.nii", "spacing disagrees")


def test_every_fault_is_reported_in_one_pass(data: Path) -> None:
    images, labels = data / "images", data / "labels"
    write_nifti(labels / "orphan.nii.gz", label_with([1]))
    write_nifti(labels / "case00.nii.gz", label_with([255]))
    broken = (images / "case01.nii.gz").read_bytes()
    (images / "case01.nii.gz").write_bytes(broken[: len(broken) // 2])
    write_nifti(labels / "case02.nii.gz", label_with([1], (7, 6, 4)))
    holes = random_image(9)
    holes[1, 2, 3] = np.nan
    write_nifti(images / "case03.nii.gz", holes)
    write_nifti(images / "case04.nii.gz", np.full(SHAPE, 7, np.int16))
    write_nifti(images / "case05.nii.gz", random_image(0))  # the voxels of case00
    report = run(data)
    assert sorted((fault.kind, fault.case) for fault in report.faults) == [
        ("NaN", "case03"),
        ("duplicate", "case05"),
        ("empty", "case04"),
        ("geometry", "case02"),
        ("label values", "case00"),
        ("pairing", "orphan"),
        ("unreadable", "case01"),
    ]
    for fault in report.faults:
        assert fault.file
        assert fault.found
        assert fault.expected
        assert fault.remedy.endswith(".")
    problems = {case["id"]: case["problems"] for case in report.to_dict()["cases"]}
    assert all(len(problems[f"case0{index}"]) == 1 for index in range(6))


def test_truncated_files_are_named_with_a_remedy(data: Path) -> None:
    path = data / "labels" / "case02.nii.gz"
    path.write_bytes(path.read_bytes()[:40])
    fault = only(run(data))
    assert (fault.kind, fault.file) == ("unreadable", "labels/case02.nii.gz")
    assert fault.found.startswith("not a whole NIfTI file")
    assert fault.remedy == "Copy or convert it again."


def test_spacing_that_differs_names_the_axis(data: Path) -> None:
    path = data / "labels" / "case01.nii.gz"
    write_nifti(path, label_with([1]), np.diag([1.0, 1.0, 2.5, 1.0]))
    fault = only(run(data))
    assert str(fault) == (
        "labels/case01.nii.gz: spacing (Z, inferior-superior) (1, 1, 2.5) mm; expected the "
        "image's (1, 1, 1) mm. Resample one to the other, or copy the right header."
    )


def test_orientation_that_differs(data: Path) -> None:
    path = data / "labels" / "case01.nii.gz"
    write_nifti(path, label_with([1]), np.diag([-1.0, 1.0, 1.0, 1.0]))
    kinds = [str(fault) for fault in run(data).faults]
    assert kinds[0].startswith("labels/case01.nii.gz: orientation LAS; expected the image's RAS")


def test_a_header_off_by_rounding_is_no_fault(data: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 1e-8
    write_nifti(data / "labels" / "case01.nii.gz", label_with([1]), affine)
    assert run(data).faults == ()


@pytest.mark.parametrize(
    ("values", "remedy"),
    [
        ([255], "--label-map 255:1"),
        ([1, 2, 4], "--label-map 4:3"),
        ([1, 3], "--label-map 3:2"),
    ],
)
def test_label_values_get_the_map_that_repairs_them(
    tmp_path: Path, values: list[int], remedy: str
) -> None:
    data = write_cases(tmp_path, [values, values])
    report = run(data)
    assert [fault.kind for fault in report.faults] == ["label values"] * 2
    assert remedy in report.faults[0].remedy
    source, target = (int(part) for part in remedy.split()[1].split(":"))
    assert run(data, label_map={source: target}).faults == ()


def test_values_outside_the_declared_classes(data: Path) -> None:
    (data / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "a": 1, "b": 2}}))
    write_nifti(data / "labels" / "case00.nii.gz", label_with([1, 7]))
    report = run(data)
    fault = only(report)
    assert "label values 0, 1, 7; expected the declared 0, 1, 2. Pass --label-map 7:2" in str(fault)
    assert [warning.kind for warning in report.warnings] == ["unused class"]


def test_labels_with_fractions_are_faults_and_floats_are_not(data: Path) -> None:
    write_nifti(data / "labels" / "case00.nii.gz", label_with([1]).astype(np.float32))
    write_nifti(data / "labels" / "case01.nii.gz", label_with([1]) * np.float32(0.4))
    report = run(data)
    fault = only(report)
    assert (fault.kind, fault.case) == ("label values", "case01")
    assert "3 label values are no whole numbers (0.4)" in fault.found
    assert [(w.kind, w.case) for w in report.warnings] == [("label type", "case00")]


def test_labels_with_channels(data: Path) -> None:
    write_nifti(data / "labels" / "case00.nii.gz", np.zeros((*SHAPE, 2), np.uint8))
    assert only(run(data)).found == "2 channels"


def test_an_empty_label_map_is_a_warning(data: Path) -> None:
    write_nifti(data / "labels" / "case00.nii.gz", label_with([]))
    report = run(data)
    assert report.faults == ()
    assert [(w.kind, w.case) for w in report.warnings] == [("no foreground", "case00")]


def test_infinite_and_all_nan_images(data: Path) -> None:
    holes = random_image(9)
    holes[0, 0, :2] = np.inf
    write_nifti(data / "images" / "case02.nii.gz", holes)
    write_nifti(data / "images" / "case03.nii.gz", np.full(SHAPE, np.nan, np.float32))
    first, second = run(data).faults
    assert "2 voxels are NaN or infinite (first at X Y Z = 0 0 0)" in first.found
    assert second.found.startswith("210 voxels")


def test_duplicates_are_found_across_formats_and_names(data: Path) -> None:
    image = nib.load(data / "images" / "case00.nii.gz")
    nib.save(image, data / "images" / "copy.nii")
    fault = only(run(data))
    assert fault.kind == "duplicate"
    assert fault.found == "the same voxels as case case00 (images/case00.nii.gz)"


def test_images_of_other_channels_and_dimensions(data: Path) -> None:
    write_nifti(data / "images" / "two.nii.gz", random_image(8, (*SHAPE, 2)))
    write_nifti(data / "images" / "flat.nii.gz", random_image(7, (7, 6)))
    report = run(data)
    assert (only(report).kind, only(report).found) == ("channels", "2 channel(s)")
    assert [warning.kind for warning in report.warnings] == ["dimensions"]


def test_scales_that_differ_hugely_are_a_warning(data: Path) -> None:
    write_nifti(data / "images" / "case03.nii.gz", random_image(3) * 1000)
    report = run(data)
    assert report.faults == ()
    assert [warning.kind for warning in report.warnings] == ["intensity scale"]


def test_pictures_and_jpeg_label_maps(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for index in range(2):
        pixels = random.integers(0, 255, (64, 48), dtype=np.uint8)
        mask = np.where(np.add.outer(np.arange(64), np.arange(48)) % 41 < 20, 255, 0)
        Image.fromarray(pixels).save(tmp_path / "images" / f"p{index}.png")
        Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "labels" / f"p{index}.jpg")
    report = run(tmp_path)
    assert {fault.kind for fault in report.faults} == {"label values"}
    assert "lossy compression" in report.faults[0].remedy


def test_hdf5_without_image(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["label"] = label_with([1])
    fault = run(tmp_path).faults[0]
    assert (fault.kind, fault.file) == ("unreadable", "a.h5")
    assert "no data set 'image'" in fault.found + fault.remedy


def test_groups_are_counted(data: Path) -> None:
    report = run(data, group_by=r"case0[01]|case0")
    assert report.to_dict()["counts"]["groups"] == 3


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No cases in"):
        run(tmp_path)


def test_real_hippocampus_has_float_labels_and_wild_scales(shared_data: Path) -> None:
    report = run(shared_data / "hippocampus")
    assert report.faults == ()
    assert {warning.kind for warning in report.warnings} == {"label type", "intensity scale"}
    assert report.class_cases == {0: 200, 1: 200, 2: 200}


def test_a_case_that_memory_cannot_hold_is_one_fault_among_others(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nifti(data / "images" / "case01.nii.gz", np.zeros((200, 200, 200), np.uint8))
    write_nifti(data / "labels" / "case02.nii.gz", np.zeros((300, 300, 300), np.uint8))
    (data / "images" / "case03.nii.gz").write_bytes(b"nothing")
    monkeypatch.setattr(opening, "available_bytes", lambda: 1 << 25)
    report = run(data)
    found = {fault.case: fault for fault in report.faults}
    assert {case: fault.kind for case, fault in found.items()} == {
        "case01": "too large",
        "case02": "too large",
        "case03": "unreadable",
    }
    assert found["case01"].file == "images/case01.nii.gz"
    assert "200 x 200 x 200 voxels of uint8 take 40 MB" in found["case01"].found
    assert found["case02"].file == "labels/case02.nii.gz"


def test_a_header_that_contradicts_itself_is_a_fault_of_its_file(data: Path) -> None:
    path = data / "images" / "case03.nii.gz"
    image = nib.load(path)
    image.header["pixdim"][1:4] = (1.5, 1.5, 10)
    image.header.set_sform(np.eye(4), code=1)
    nib.save(nib.Nifti1Image(np.asanyarray(image.dataobj), None, image.header), path)
    fault = only(run(data))
    assert (fault.case, fault.file) == ("case03", "images/case03.nii.gz")
    assert "the sform says a spacing of 1 x 1 x 1, pixdim says 1.5 x 1.5 x 10" in fault.found
    assert "which is right" in fault.remedy


def test_options_of_values_that_no_label_map_holds_are_a_warning(data: Path) -> None:
    for path in (data / "labels").iterdir():
        write_nifti(path, label_with([1, 7]))
    report = run(data, label_map={7: 2, 9: 1}, ignore_label=77)
    said = [str(fault) for fault in report.warnings if fault.kind == "unused option"]
    assert not report.faults
    assert len(said) == 2
    assert "no label map holds the value 9 of --label-map 9:1; expected 0, 1, 7" in said[0]
    assert "no label map holds the value 77 of --ignore-label 77" in said[1]
    held = run(data, label_map={1: 2}, ignore_label=7)
    assert not [fault for fault in held.warnings if fault.kind == "unused option"]
