"""Finding cases in every layout, and their digests."""

import csv
import json
from difflib import get_close_matches
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from tiny_data import label_with, random_image, write_cases, write_dicom, write_nifti

from llmseg_cli.data.case import BESIDE, nearest
from llmseg_cli.data.cases import Case, Dataset, find_cases, image_digest, survey
from llmseg_cli.errors import DataError, UsageError


def names(root: Path) -> list[str]:
    return [case.id for case in find_cases(root).cases]


def write_h5(path: Path, seed: int, *, label: bool = True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["image"] = random_image(seed)
        if label:
            file["label"] = label_with([1])
    return path


def test_folders_pair_by_stem_and_leave_the_rest_unlabeled(tmp_path: Path) -> None:
    write_cases(tmp_path, [[1], None, [1]], names=["b", "c", "a"])
    dataset = find_cases(tmp_path)
    assert [case.id for case in dataset.cases] == ["a", "b", "c"]
    assert [case.label and case.label.name for case in dataset.cases] == [
        "a.nii.gz",
        "b.nii.gz",
        None,
    ]


def test_formats_may_differ_and_a_label_may_say_that_it_is_one(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "images" / "x.jpg")
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "masks" / "x_mask.png")
    (case,) = find_cases(tmp_path).cases
    assert case.label == tmp_path / "masks" / "x_mask.png"


def test_labels_win_over_masks_that_do_not_exist(tmp_path: Path) -> None:
    write_cases(tmp_path, [[1]])
    (tmp_path / "masks").mkdir()
    assert find_cases(tmp_path).cases[0].label == tmp_path / "labels" / "case00.nii.gz"


def test_a_label_without_image_names_the_three_nearest(tmp_path: Path) -> None:
    write_cases(tmp_path, [[1], [1], [1], [1]], names=["liver_1", "liver_2", "liver_3", "spleen"])
    (tmp_path / "images" / "liver_2.nii.gz").rename(tmp_path / "images" / "liver_02.nii.gz")
    with pytest.raises(DataError, match="label map without an image") as caught:
        find_cases(tmp_path)
    assert "labels/liver_2.nii.gz" in str(caught.value)
    assert "nearest: liver_02, liver_" in str(caught.value)
    assert "spleen" not in str(caught.value)


def test_all_faults_of_pairing_are_told_at_once(tmp_path: Path) -> None:
    write_cases(tmp_path, [[1]] * 14)
    for path in sorted((tmp_path / "images").iterdir())[:12]:
        path.unlink()
    assert len(survey(tmp_path).faults) == 12
    with pytest.raises(DataError, match="and 2 more"):
        find_cases(tmp_path)


def test_two_images_of_one_stem_are_a_fault(tmp_path: Path) -> None:
    write_cases(tmp_path, [[1]])
    write_nifti(tmp_path / "images" / "case00.nii", random_image(1))
    with pytest.raises(DataError, match=r"two images have this identifier .*case00\.nii"):
        find_cases(tmp_path)


def test_two_labels_of_one_case_are_a_fault(tmp_path: Path) -> None:
    write_cases(tmp_path, [[1]])
    write_nifti(tmp_path / "labels" / "case00_seg.nii.gz", label_with([1]))
    with pytest.raises(DataError, match="second label map"):
        find_cases(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_nothing_to_find(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"does not exist|No cases in"):
        find_cases(tmp_path / name)


def test_a_plain_folder_is_an_unlabeled_data_set(tmp_path: Path) -> None:
    for index in range(3):
        write_nifti(tmp_path / f"scan_{index:04d}.nii.gz", random_image(index))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden.nii.gz").write_text("nor this")
    dataset = find_cases(tmp_path)
    assert [case.id for case in dataset.cases] == ["scan_0000", "scan_0001", "scan_0002"]
    assert all(case.label is None for case in dataset.cases)


def test_one_image_is_a_data_set(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "scan.nii.gz", random_image(0))
    assert find_cases(path).cases == (Case("scan", (path,), None),)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(DataError, match="neither a case list"):
        find_cases(path)


def test_dicom_folders(tmp_path: Path) -> None:
    voxels = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    for name in ("p1", "p2"):
        write_dicom(tmp_path / "images" / name, voxels)
    write_nifti(tmp_path / "labels" / "p1.nii.gz", np.zeros((5, 4, 3), np.uint8))
    first, second = find_cases(tmp_path).cases
    assert (first.id, first.images) == ("p1", (tmp_path / "images" / "p1",))
    assert first.label is not None
    assert second.label is None
    assert names(tmp_path / "images") == ["p1", "p2"]
    assert names(tmp_path / "images" / "p1") == ["p1"]


def test_dicom_files_are_known_by_their_magic_bytes(tmp_path: Path) -> None:
    folder = write_dicom(tmp_path / "p1", np.zeros((5, 4, 3), np.int16))
    for file in sorted(folder.iterdir()):
        file.rename(file.with_suffix(""))
    assert names(tmp_path) == ["p1"]


def test_decathlon(tmp_path: Path) -> None:
    for folder, name in (("imagesTr", "a"), ("imagesTr", "b"), ("imagesTs", "c")):
        write_nifti(tmp_path / folder / f"{name}.nii.gz", random_image(ord(name)))
    write_nifti(tmp_path / "labelsTr" / "a.nii.gz", label_with([1]))
    content = {
        "labels": {"0": "background", "1": "tumor"},
        "training": [
            {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"},
            {"image": "./imagesTr/b.nii.gz", "label": "./labelsTr/b.nii.gz"},
        ],
        "test": ["./imagesTs/c.nii.gz"],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    found = survey(tmp_path)
    assert found.dataset.classes == {0: "background", 1: "tumor"}
    assert [(c.id, c.label is not None) for c in found.dataset.cases] == [
        ("a", True),
        ("b", False),
        ("c", False),
    ]
    (fault,) = found.faults
    assert fault.file == "labelsTr/b.nii.gz"


def nnunet(root: Path, *, cases: list[str], channels: int = 2) -> Path:
    for name in cases:
        for channel in range(channels):
            path = root / "imagesTr" / f"{name}_{channel:04d}.nii.gz"
            write_nifti(path, random_image(channel))
        write_nifti(root / "labelsTr" / f"{name}.nii.gz", label_with([1]))
    content = {
        "channel_names": {str(channel): "MRI" for channel in range(channels)},
        "labels": {"background": 0, "ventricle": 1},
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def test_nnunet(tmp_path: Path) -> None:
    nnunet(tmp_path, cases=["x_0001", "x_0002"])
    write_nifti(tmp_path / "imagesTs" / "y_0000.nii.gz", random_image(5))
    write_nifti(tmp_path / "imagesTs" / "y_0001.nii.gz", random_image(6))
    dataset = find_cases(tmp_path)
    assert dataset.layout == "nnU-Net"
    assert dataset.classes == {0: "background", 1: "ventricle"}
    assert [(c.id, len(c.images), c.label is None) for c in dataset.cases] == [
        ("x_0001", 2, False),
        ("x_0002", 2, False),
        ("y", 2, True),
    ]
    assert dataset.cases[0].images[1].name == "x_0001_0001.nii.gz"


def test_nnunet_lacks_a_channel(tmp_path: Path) -> None:
    nnunet(tmp_path, cases=["x", "y"])
    (tmp_path / "imagesTr" / "y_0001.nii.gz").unlink()
    with pytest.raises(DataError, match=r"case y: 1 image file\(s\); expected 2"):
        find_cases(tmp_path)


def test_nnunet_1_lists_names_without_channels(tmp_path: Path) -> None:
    nnunet(tmp_path, cases=["x"])
    entry = {"image": "./imagesTr/x.nii.gz", "label": "./labelsTr/x.nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {}, "training": [entry]}))
    (case,) = find_cases(tmp_path).cases
    assert (case.id, len(case.images)) == ("x", 2)


def test_imagestr_without_a_dataset_json(tmp_path: Path) -> None:
    nnunet(tmp_path, cases=["x", "y"])
    (tmp_path / "dataset.json").unlink()
    assert [len(case.images) for case in find_cases(tmp_path).cases] == [2, 2]


def test_a_dataset_json_may_only_name_the_classes(tmp_path: Path) -> None:
    write_cases(tmp_path, [[2]])
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "2": "cyst"}}))
    dataset = find_cases(tmp_path)
    assert dataset.classes == {0: "background", 2: "cyst"}
    assert len(dataset.cases) == 1


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"labels": 3}',
        '{"labels": {"whole": [0, 1]}}',
        '{"labels": {"0": "b"}}',
        '{"labels": {}, "training": [{"label": "x"}]}',
    ],
)
def test_a_faulty_dataset_json_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=r"dataset\.json"):
        find_cases(tmp_path)


def test_channel_numbers_without_labels(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for channel in range(2):
            write_nifti(tmp_path / f"{name}_{channel:04d}.nii.gz", random_image(channel))
    assert [(c.id, len(c.images)) for c in find_cases(tmp_path).cases] == [("a", 2), ("b", 2)]


def test_hdf5_tree_of_folders(tmp_path: Path) -> None:
    write_h5(tmp_path / "AB" / "mri_norm2.h5", 0)
    write_h5(tmp_path / "CD" / "mri_norm2.h5", 1, label=False)
    (tmp_path / "train.list").write_text("AB\nCD\n\n")
    first, second = find_cases(tmp_path).cases
    assert (first.id, second.id) == ("AB", "CD")
    assert first.label == first.images[0]
    assert second.label is None


def test_hdf5_files_under_data(tmp_path: Path) -> None:
    for name in ("p1_frame01", "p1_frame02", "image0001_norm"):
        write_h5(tmp_path / "data" / f"{name}.h5", 0)
    write_h5(tmp_path / "data" / "slices" / "p1_frame01_slice_0.h5", 0)
    (tmp_path / "train.list").write_text("p1_frame01.h5\nimage0001\n")
    (tmp_path / "train_slices.list").write_text("p1_frame01_slice_0\n")
    assert names(tmp_path) == ["image0001", "p1_frame01", "p1_frame02"]


def test_hdf5_list_names_a_case_that_is_not_there(tmp_path: Path) -> None:
    write_h5(tmp_path / "AB" / "mri_norm2.h5", 0)
    (tmp_path / "train.list").write_text("AB/mri_norm2.h5\nABC\n")
    with pytest.raises(DataError, match=r"train\.list: lists 'ABC'.*nearest: AB"):
        find_cases(tmp_path)


def test_a_broken_hdf5_file_is_an_unlabeled_case(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"broken")
    assert find_cases(tmp_path).cases[0].label is None


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_csv_case_list(tmp_path: Path) -> None:
    write_cases(tmp_path / "scans", [[1], [1], None])
    rows = [
        {"id": "A", "image": "scans/images/case00.nii.gz;scans/images/case01.nii.gz"}
        | {"label": "scans/labels/case00.nii.gz", "group": "p", "age": "61"},
        {"id": "", "image": "scans/images/case02.nii.gz", "label": "", "group": "", "age": ""},
    ]
    path = write_csv(tmp_path / "cases.csv", rows)
    for root in (path, tmp_path):
        first, second = find_cases(root).cases
        assert (first.id, first.group, len(first.images)) == ("A", "p", 2)
        assert (second.id, second.group, second.label) == ("case02", None, None)


def test_csv_with_numbered_images_in_their_order(tmp_path: Path) -> None:
    write_cases(tmp_path, [None] * 11)
    row = {f"image_{i}": f"images/case{i:02d}.nii.gz" for i in range(11)}
    (case,) = find_cases(write_csv(tmp_path / "my.csv", [row])).cases
    assert [path.name for path in case.images] == [f"case{i:02d}.nii.gz" for i in range(11)]


def test_json_case_list(tmp_path: Path) -> None:
    write_cases(tmp_path, [[1], None])
    rows = [
        {"image": ["images/case00.nii.gz"], "label": "labels/case00.nii.gz"},
        {"image": "images/case01.nii.gz", "group": 7},
    ]
    (tmp_path / "cases.json").write_text(json.dumps({"classes": {"1": "cyst"}, "cases": rows}))
    dataset = find_cases(tmp_path)
    assert dataset.classes == {1: "cyst"}
    assert [(c.id, c.group) for c in dataset.cases] == [("case00", None), ("case01", "7")]
    (tmp_path / "cases.json").write_text(json.dumps(rows))
    assert names(tmp_path) == ["case00", "case01"]


def test_case_list_of_hdf5_files(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "x.h5", 0)
    (case,) = find_cases(write_csv(tmp_path / "cases.csv", [{"image": "x.h5"}])).cases
    assert case.label == path


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"image": "no.nii.gz"}, {"image": "nor.nii.gz"}],
            r"no\.nii\.gz: the file does(.|\n)*nor",
        ),
        ([{"image": ""}], "entry 1 names no image"),
        ([{"picture": "a.png"}], "has the columns picture; expected 'image'"),
        ([{"image": "a.png", "lable": "b.png"}], "unknown column 'lable'. Did you mean 'label'"),
    ],
)
def test_faulty_case_lists(tmp_path: Path, rows: list[dict[str, str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        find_cases(write_csv(tmp_path / "cases.csv", rows))


@pytest.mark.parametrize("text", ["{", '{"x": 1}', "[1]", "3"])
def test_json_that_is_no_case_list(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cases.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"cases\.json"):
        find_cases(path)


def test_group_by_takes_the_first_group_or_the_match(tmp_path: Path) -> None:
    write_cases(tmp_path, [[1], [1]], names=["patient1_a", "patient2_a"])
    groups = [case.group for case in find_cases(tmp_path, group_by=r"patient(\d)_").cases]
    assert groups == ["1", "2"]
    groups = [case.group for case in find_cases(tmp_path, group_by=r"patient\d").cases]
    assert groups == ["patient1", "patient2"]


def test_group_by_must_match_and_compile(tmp_path: Path) -> None:
    write_cases(tmp_path, [[1], [1]], names=["patient1", "control1"])
    with pytest.raises(DataError, match="does not match 1 of 2 cases"):
        find_cases(tmp_path, group_by="patient")
    with pytest.raises(UsageError, match="no regular expression"):
        find_cases(tmp_path, group_by="(")


def test_a_case_is_found_by_name(tmp_path: Path) -> None:
    dataset = find_cases(write_cases(tmp_path, [[1], [1]]))
    assert dataset.case("case01").id == "case01"
    with pytest.raises(DataError, match=r"No case 'case1' .* Nearest: case0"):
        dataset.case("case1")


def test_digest_covers_content_and_order(tmp_path: Path) -> None:
    a, b = (write_nifti(tmp_path / f"{name}.nii", random_image(i)) for i, name in enumerate("ab"))
    copy = tmp_path / "copy.nii"
    copy.write_bytes(a.read_bytes())
    digest = image_digest(Case("a", (a,), None))
    assert digest == image_digest(Case("other", (copy,), None))
    assert digest != image_digest(Case("b", (b,), None))
    assert image_digest(Case("ab", (a, b), None)) != image_digest(Case("ba", (b, a), None))
    with pytest.raises(DataError, match="Cannot read"):
        image_digest(Case("gone", (tmp_path / "gone.nii",), None))


def test_digest_of_hdf5_does_not_know_the_label(tmp_path: Path) -> None:
    with_label = write_h5(tmp_path / "a.h5", 3)
    without = write_h5(tmp_path / "b.h5", 3, label=False)
    digests = {image_digest(Case("x", (path,), None)) for path in (with_label, without)}
    assert len(digests) == 1


def test_digest_of_a_dicom_series(tmp_path: Path) -> None:
    voxels = np.zeros((5, 4, 3), np.int16)
    first = write_dicom(tmp_path / "a", voxels)
    second = write_dicom(tmp_path / "b", voxels + 1)
    digests = [image_digest(Case("x", (path,), None)) for path in (first, second)]
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("folder", "cases", "layout"),
    [
        ("la", 80, "images/ and labels/"),
        ("la-h5", 2, "HDF5"),
        ("hippocampus", 200, "Decathlon"),
        ("acdc", 24, "HDF5"),
        ("kvasir", 300, "images/ and labels/"),
        ("chest-xray", 42, "images/ and labels/"),
    ],
)
def test_real_data(shared_data: Path, folder: str, cases: int, layout: str) -> None:
    dataset = find_cases(shared_data / folder)
    assert len(dataset.cases) == cases
    assert layout in dataset.layout
    assert all(case.label is not None for case in dataset.cases)


def test_a_name_among_thousands_is_compared_with_those_beside_it(monkeypatch) -> None:
    compared: list[int] = []

    def spy(word, possibilities, n, cutoff):
        compared.append(len(possibilities))
        return get_close_matches(word, possibilities, n=n, cutoff=cutoff)

    monkeypatch.setattr("llmseg_cli.data.case.get_close_matches", spy)
    known = [f"scan_{number:05d}" for number in range(10_000)]
    assert nearest("scan_05000x", known)[0] == "scan_05000"
    assert nearest("a", known)
    assert nearest("z", known)
    assert nearest("scan_1", known[:3]) == get_close_matches("scan_1", known[:3], n=3, cutoff=0)
    assert max(compared) == 2 * BESIDE


def test_asking_for_every_case_by_name_looks_through_the_cases_once() -> None:
    looked: list[str] = []

    class Told(tuple):
        def __iter__(self):
            looked.append("forward")
            return super().__iter__()

        def __reversed__(self):
            looked.append("backward")
            return reversed(tuple(super().__iter__()))

    cases = Told(Case(f"c{number}", (Path("c.nii"),), None) for number in range(50))
    dataset = Dataset(Path("data"), "folders", cases, {})
    assert [dataset.case(f"c{number}").id for number in range(50)] == [f"c{n}" for n in range(50)]
    assert len(looked) == 1
