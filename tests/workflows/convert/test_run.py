"""`llmseg convert`: what nnU-Net would read is what llmseg reads, and nothing locked is there."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from tiny_data import label_with, random_image, write_dicom, write_nifti
from training_cli import invoke, write_split

from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases, image_digest
from llmseg_cli.data.volumes import load_image, load_label_map

TURNED = np.array([[0, -2.0, 0, 7], [0, 0, 3.0, 5], [-1.0, 0, 0, 2], [0, 0, 0, 1]])
NAME = "Dataset007_Toy"


def split_of(data: Path, path: Path, **roles: tuple[str, ...]) -> Path:
    """A split with these roles, and the true digests."""
    images = {case.id: image_digest(case) for case in find_cases(data).cases}
    empty = dict.fromkeys(("labeled", "unlabeled", "validation", "test"), ())
    Split(**{**empty, **roles}, seed=0, images=images, groups={}).save(path)
    return path


def convert(data: Path, split: Path, out: Path, *words: str | Path, code: int = 0) -> str:
    found = invoke("convert", "--to", "nnunet", "--data", data, "--split", split, "-o", out, *words)
    assert found.exit_code == code, found.output
    return found.stderr


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def described(folder: Path) -> dict:
    return json.loads((folder / "dataset.json").read_text())


def test_labeled_cases_and_test_images_and_nothing_else(toy_data: Path, tmp_path: Path):
    out = tmp_path / NAME
    split = write_split(tmp_path / "split.json", toy_data)
    said = convert(toy_data, split, out)
    assert files(out) == {
        *(f"imagesTr/toy0{n}_0000.nii.gz" for n in (0, 1, 2)),
        *(f"labelsTr/toy0{n}.nii.gz" for n in (0, 1, 2)),
        *(f"imagesTs/toy0{n}_0000.nii.gz" for n in (6, 7)),
        *("dataset.json", "run.json"),
    }
    assert described(out) == {
        "channel_names": {"0": "channel0"},
        "labels": {"background": 0, "class 1": 1, "class 2": 2},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    assert "nnUNetv2_plan_and_preprocess -d 7" in said
    for name in ("toy00", "toy01", "toy02"):
        image = nib.load(out / "imagesTr" / f"{name}_0000.nii.gz")
        given = nib.load(toy_data / "images" / f"{name}.nii.gz")
        np.testing.assert_array_equal(image.get_fdata(), given.get_fdata())
        np.testing.assert_array_equal(image.affine, given.affine)
        label = nib.load(out / "labelsTr" / f"{name}.nii.gz")
        given = nib.load(toy_data / "labels" / f"{name}.nii.gz")
        np.testing.assert_array_equal(label.get_fdata(), given.get_fdata())


def test_locked_label_maps_are_not_even_opened(toy_data: Path, tmp_path: Path):
    data = tmp_path / "data"
    for kind in ("images", "labels"):
        (data / kind).mkdir(parents=True)
        for path in (toy_data / kind).iterdir():
            (data / kind / path.name).write_bytes(path.read_bytes())
    split = write_split(tmp_path / "split.json", data)
    for name in ("toy03", "toy04", "toy05", "toy06", "toy07"):
        (data / "labels" / f"{name}.nii.gz").write_bytes(b"damaged")
    convert(data, split, tmp_path / NAME)


def test_what_was_written_is_read_as_the_same_cases(tmp_path: Path):
    """Two channels in one file, axes in another order, values that are changed and ignored."""
    data = tmp_path / "data"
    for seed, name in enumerate("abc"):
        array = np.stack([random_image(seed), random_image(seed + 10)], axis=-1)
        write_nifti(data / "images" / f"{name}.nii.gz", array, TURNED)
        write_nifti(data / "labels" / f"{name}.nii.gz", label_with([3, 9, 4]), TURNED)
    names = {"labels": {"background": 0, "liver": 3, "tumor": 4, "ignore": 9}}
    (data / "dataset.json").write_text(json.dumps(names))
    split = split_of(data, tmp_path / "split.json", labeled=("a", "b"), test=("c",))
    out = tmp_path / NAME
    convert(data, split, out, "--label-map", "3:1,4:2", "--channels", "CT,PET")
    assert described(out)["labels"] == {"background": 0, "liver": 1, "tumor": 2, "ignore": 3}
    assert described(out)["channel_names"] == {"0": "CT", "1": "PET"}
    assert described(out)["numTraining"] == 2
    given, found = find_cases(data), find_cases(out)
    assert [case.id for case in found.cases] == ["a", "b", "c"]
    assert [case.is_test for case in found.cases] == [False, False, True]
    assert found.ignore == 3
    assert found.channels == ("CT", "PET")
    for name in "abc":
        ours, theirs = load_image(found.case(name).images), load_image(given.case(name).images)
        np.testing.assert_array_equal(ours.array, theirs.array)
        np.testing.assert_allclose(ours.grid.ras_affine, theirs.grid.ras_affine, atol=1e-6)
    for name in "ab":
        stored = load_label_map(given.case(name).label).array
        expected = np.select([stored == 3, stored == 4, stored == 9], [1, 2, 3], 0)
        label = load_label_map(found.case(name).label)
        np.testing.assert_array_equal(label.array, expected)
        np.testing.assert_allclose(
            label.grid.ras_affine, load_image(given.case(name).images).grid.ras_affine, atol=1e-6
        )


def write_pictures(data: Path, dtype: type, bands: int) -> Path:
    for kind in ("images", "labels"):
        (data / kind).mkdir(parents=True)
    for seed, name in enumerate("abc"):
        random = np.random.default_rng(seed)
        top = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
        shape = (6, 8, bands) if bands > 1 else (6, 8)
        values = (random.random(shape) * top).astype(dtype)
        ending = ".tif" if dtype is np.float32 else ".png"
        Image.fromarray(values).save(data / "images" / f"{name}{ending}")
        label = random.integers(0, 2, (6, 8)).astype(np.uint8)
        Image.fromarray(label).save(data / "labels" / f"{name}.png")
    return split_of(data, data.parent / "split.json", labeled=("a", "b"), test=("c",))


@pytest.mark.parametrize(
    ("dtype", "bands", "ending", "channels"),
    [
        (np.uint8, 1, ".png", ["channel0"]),
        (np.uint8, 3, ".png", ["R", "G", "B"]),
        (np.uint16, 1, ".png", ["channel0"]),
        (np.float32, 1, ".nii.gz", ["channel0"]),
    ],
)
def test_pictures(tmp_path: Path, dtype: type, bands: int, ending: str, channels: list[str]):
    data = tmp_path / "data"
    split = write_pictures(data, dtype, bands)
    out = tmp_path / NAME
    convert(data, split, out)
    assert described(out)["file_ending"] == ending
    assert [*described(out)["channel_names"].values()] == channels
    images = {path.name for path in (out / "imagesTr").iterdir()}
    assert images == {f"a_0000{ending}", f"b_0000{ending}"}
    if ending == ".png":
        kept = np.asarray(Image.open(out / "imagesTr" / f"a_0000{ending}"))
        np.testing.assert_array_equal(kept, np.asarray(Image.open(data / "images" / "a.png")))
    given, found = find_cases(data), find_cases(out)
    for name in "abc":
        ours, theirs = load_image(found.case(name).images), load_image(given.case(name).images)
        np.testing.assert_array_equal(ours.array, theirs.array)
    for name in "ab":
        ours, theirs = (load_label_map(side.case(name).label) for side in (found, given))
        np.testing.assert_array_equal(ours.array, theirs.array)


def test_a_dicom_series_becomes_nifti_in_its_place(tmp_path: Path):
    data = tmp_path / "data"
    values = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    for series, name in enumerate(("a", "b"), start=1):
        write_dicom(data / "images" / name, values + series, series=series)
    grid = load_image((data / "images" / "a",)).grid
    write_nifti(
        data / "labels" / "a.nii.gz", grid.from_ras(label_with([1], grid.ras_shape)), grid.affine
    )
    split = split_of(data, tmp_path / "split.json", labeled=("a",), test=("b",))
    convert(data, split, tmp_path / NAME)
    found = load_image((tmp_path / NAME / "imagesTr" / "a_0000.nii.gz",))
    np.testing.assert_array_equal(found.array, load_image((data / "images" / "a",)).array)
    np.testing.assert_allclose(found.grid.ras_affine, grid.ras_affine, atol=1e-5)


def write_masks(folder: Path, data: Path, name: str) -> np.ndarray:
    affine = nib.load(data / "images" / f"{name}.nii.gz").affine
    mask = nib.load(data / "labels" / f"{name}.nii.gz").get_fdata().astype(np.uint8)
    mask[:2] = 255
    write_nifti(folder / f"{name}.nii.gz", mask, affine)
    return mask


def test_pseudo_labels_train_and_their_unknown_is_ignored(toy_data: Path, tmp_path: Path):
    mask = write_masks(tmp_path / "pseudo", toy_data, "toy03")
    split = write_split(tmp_path / "split.json", toy_data)
    out = tmp_path / NAME
    convert(toy_data, split, out, "--pseudo", tmp_path / "pseudo")
    assert described(out)["labels"]["ignore"] == 3
    assert described(out)["numTraining"] == 4
    found = nib.load(out / "labelsTr" / "toy03.nii.gz").get_fdata()
    np.testing.assert_array_equal(found, np.where(mask == 255, 3, mask))
    assert not (out / "imagesTr" / "toy04_0000.nii.gz").exists()


def test_masks_of_locked_cases_are_refused(toy_data: Path, tmp_path: Path):
    write_masks(tmp_path / "pseudo", toy_data, "toy06")
    split = write_split(tmp_path / "split.json", toy_data)
    out = tmp_path / NAME
    said = convert(toy_data, split, out, "--pseudo", tmp_path / "pseudo", code=4)
    assert "masks of 1 test cases (toy06)" in said
    assert not out.exists()


def test_a_changed_image_is_refused(toy_data: Path, tmp_path: Path):
    images = {case.id: "0" * 64 for case in find_cases(toy_data).cases}
    split = write_split(tmp_path / "split.json", toy_data, images=images)
    assert "made from other data" in convert(toy_data, split, tmp_path / NAME, code=4)


def test_only_its_own_folder_is_replaced(toy_data: Path, tmp_path: Path):
    split, out = write_split(tmp_path / "split.json", toy_data), tmp_path / NAME
    convert(toy_data, split, out)
    assert "exists" in convert(toy_data, split, out, code=2)
    convert(toy_data, split, out, "--force")
    (out / "mine.txt").write_text("notes")
    assert "mine.txt was not written by" in convert(toy_data, split, out, "--force", code=2)
    assert (out / "mine.txt").read_text() == "notes"


def test_a_name_that_nnunet_does_not_find_is_told(toy_data: Path, tmp_path: Path):
    split = write_split(tmp_path / "split.json", toy_data)
    said = convert(toy_data, split, tmp_path / "heart")
    assert "heart is none. Rename the folder." in said


def test_names_that_do_not_fit_the_channels_are_refused(toy_data: Path, tmp_path: Path):
    split, out = write_split(tmp_path / "split.json", toy_data), tmp_path / NAME
    assert "names 2, and the images have 1" in convert(
        toy_data, split, out, "--channels", "T1,T2", code=3
    )
    assert not out.exists()


def test_another_program_is_unknown(toy_data: Path, tmp_path: Path):
    split = write_split(tmp_path / "split.json", toy_data)
    found = invoke(
        "convert", "--to", "nnunett", "--data", toy_data, "--split", split, "-o", tmp_path / "o"
    )
    assert found.exit_code == 2
    assert "Did you mean 'nnunet'?" in found.stderr
