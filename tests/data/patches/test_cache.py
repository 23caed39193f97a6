"""What the cache holds, when it is made anew, and that an unlabeled mask is never opened."""

import errno
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from tiny_data import write_nifti
from toy_cohort import SPACING_MM, toy_case

from llmseg_cli.data.cases import Case, find_cases, image_digest
from llmseg_cli.data.digests import voxel_digest
from llmseg_cli.data.patches import cache as module
from llmseg_cli.data.patches.cache import prepare_image, prepare_labels
from llmseg_cli.data.patches.foreground import FOREGROUND_VOXELS, foreground_table
from llmseg_cli.data.patches.preprocessing import Preprocessing
from llmseg_cli.errors import DataError

OWN_SPACING = Preprocessing()


@pytest.fixture
def case(toy_data: Path) -> Case:
    return find_cases(toy_data).case("toy01")


def prepared_image(case: Case, cache: Path, preprocessing: Preprocessing = OWN_SPACING):
    return prepare_image(case, image_digest(case), preprocessing, cache)


def prepared_labels(case: Case, cache: Path, label_map=None, preprocessing=OWN_SPACING):
    image = prepared_image(case, cache, preprocessing)
    return prepare_labels(case, image, preprocessing, label_map or {})


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_image_is_the_preprocessed_one(case, tmp_path):
    found = prepared_image(case, tmp_path)
    expected = OWN_SPACING.image(toy_case(1)[0][None], SPACING_MM)
    np.testing.assert_allclose(np.load(found.image), expected, atol=1e-5)
    assert found.id == "toy01"
    assert found.labels is None
    assert found.foreground is None


@pytest.mark.parametrize("wanted", [(0.0,), (2.0,), (0.0, 3.0, 1.0)])
def test_the_spacing_is_that_of_the_prepared_voxels(case, tmp_path, wanted):
    """The body keeps its size in mm, in a first pass and from the cache."""
    preprocessing = Preprocessing(spacing=wanted)
    shape = toy_case(1)[1].shape
    for _ in range(2):
        found = prepared_image(case, tmp_path, preprocessing)
        prepared = np.load(found.image, mmap_mode="r").shape[1:]
        np.testing.assert_allclose(
            np.multiply(found.spacing_mm, prepared), np.multiply(SPACING_MM, shape)
        )
    with_labels = prepared_labels(case, tmp_path, preprocessing=preprocessing)
    assert with_labels.spacing_mm == found.spacing_mm


def test_labels_and_their_voxels(case, tmp_path):
    found = prepared_labels(case, tmp_path)
    labels = toy_case(1)[1]
    np.testing.assert_array_equal(np.load(found.labels), labels)
    rows = np.load(found.foreground)
    assert len(rows) == (labels > 0).sum()
    np.testing.assert_array_equal(labels[tuple(rows[:, 1:].T)], rows[:, 0])


def test_labels_may_lie_elsewhere_than_the_image(case, tmp_path):
    image = prepared_image(case, tmp_path / "cache")
    before = files(tmp_path / "cache")
    folder = tmp_path / "own" / "toy01"
    found = prepare_labels(case, image, OWN_SPACING, {}, folder=folder)
    assert files(folder) == sorted([found.labels, found.foreground])
    assert files(tmp_path / "cache") == before
    beside = prepare_labels(case, image, OWN_SPACING, {})
    assert (beside.image, beside.labels.parent) == (found.image, image.image.parent)
    assert beside.labels.name == found.labels.name
    assert beside.labels.read_bytes() == found.labels.read_bytes()
    assert beside.foreground.read_bytes() == found.foreground.read_bytes()


def test_many_foreground_voxels_are_sampled_once_and_for_all():
    labels = np.ones((20, 20, 20), np.uint8)
    rows = foreground_table(labels)
    assert len(rows) == FOREGROUND_VOXELS == len(np.unique(rows, axis=0))
    np.testing.assert_array_equal(rows, foreground_table(labels))


def test_no_foreground_is_an_empty_table():
    assert foreground_table(np.zeros((3, 3, 3), np.uint8)).shape == (0, 4)


@pytest.mark.parametrize("label", ["missing.nii.gz", "garbage.nii.gz"])
def test_an_unlabeled_mask_is_never_opened(case, tmp_path, label):
    (tmp_path / "garbage.nii.gz").write_bytes(b"no image at all")
    odd = replace(case, label=tmp_path / label)
    with_mask, without = (
        prepared_image(c, tmp_path / folder)
        for c, folder in ((odd, "a"), (replace(case, label=None), "b"))
    )
    assert with_mask.image.relative_to(tmp_path / "a") == without.image.relative_to(tmp_path / "b")
    assert with_mask.image.read_bytes() == without.image.read_bytes()


def test_nothing_is_made_twice(case, tmp_path, monkeypatch):
    first = prepared_labels(case, tmp_path)
    monkeypatch.setattr(module, "load_image", None)
    monkeypatch.setattr(module, "load_label_map", None)
    assert prepared_labels(case, tmp_path) == first


@pytest.mark.parametrize("changed", [{"spacing": (2.0,)}, {"normalize": "minmax"}])
def test_the_key_changes_with_settings(case, tmp_path, changed):
    first = prepared_image(case, tmp_path)
    assert prepared_image(case, tmp_path, replace(OWN_SPACING, **changed)).image != first.image


def test_the_key_changes_with_content_and_not_with_the_name(case, tmp_path):
    copy = tmp_path / "another.nii.gz"
    copy.write_bytes(case.images[0].read_bytes())
    first = prepared_image(case, tmp_path / "cache")
    again = prepared_image(Case("another", (copy,), None), tmp_path / "cache")
    assert (again.id, again.image) == ("another", first.image)
    write_nifti(copy, toy_case(2)[0])
    assert prepared_image(Case("another", (copy,), None), tmp_path / "cache").image != first.image


def test_the_key_of_labels_changes_with_content_and_label_map(case, tmp_path):
    first = prepared_labels(case, tmp_path)
    swapped = prepared_labels(case, tmp_path, {1: 2, 2: 1})
    assert first.image == swapped.image
    assert first.labels != swapped.labels
    labels = toy_case(1)[1]
    np.testing.assert_array_equal(np.load(swapped.labels), np.array([0, 2, 1])[labels])
    other = tmp_path / "other.nii.gz"
    write_nifti(other, np.flip(labels).copy(), nib.load(case.label).affine)
    assert prepared_labels(replace(case, label=other), tmp_path).labels != first.labels


def test_an_interrupted_write_leaves_nothing(case, tmp_path, monkeypatch):
    def save(stream, array, **options):
        stream.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(KeyboardInterrupt):
        prepared_image(case, tmp_path)
    assert files(tmp_path) == []
    monkeypatch.undo()
    assert np.load(prepared_image(case, tmp_path).image).shape[0] == 1


def test_a_full_disk_is_named_although_numpy_does_not(case, tmp_path, monkeypatch):
    def save(stream, array, **options):
        raise OSError("Not enough free space to write 48 bytes after offset 128")

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(OSError, match="No space left") as caught:
        prepared_image(case, tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert str(caught.value.filename).endswith(".npy")
    assert files(tmp_path) == []


def test_other_faults_of_a_disk_keep_their_name(case, tmp_path, monkeypatch):
    def save(stream, array, **options):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(OSError, match="Input/output error"):
        prepared_image(case, tmp_path)


@pytest.mark.parametrize("spacing", [0.0, 1.0])
def test_what_an_image_shows_is_kept_beside_it(tmp_path, spacing, monkeypatch):
    """Whatever the preparation; a cache from before it was kept is completed, and nothing else."""
    path = write_nifti(tmp_path / "a.nii.gz", toy_case(0)[0])
    case, settings = Case("a", (path,), None), Preprocessing((spacing,))
    expected = voxel_digest(toy_case(0)[0][None])
    first = prepared_image(case, tmp_path / "cache", settings)
    assert first.voxels == expected
    made = first.image.stat().st_ino  # a file that is written anew is another
    first.image.with_name("shown.npy").unlink()
    assert prepared_image(case, tmp_path / "cache", settings) == first
    monkeypatch.setattr(module, "load_image", None)  # not read again
    assert prepared_image(case, tmp_path / "cache", settings) == first
    assert first.image.stat().st_ino == made


def test_nan_voxels_name_the_case(tmp_path):
    image = toy_case(0)[0]
    image[3, 4, 5] = np.nan
    path = write_nifti(tmp_path / "a.nii.gz", image)
    with pytest.raises(DataError, match="case a: 1 voxels are NaN"):
        prepared_image(Case("a", (path,), None), tmp_path / "cache")
    assert files(tmp_path / "cache") == []


def test_labels_need_a_label_map(case, tmp_path):
    with pytest.raises(DataError, match="toy01 has no label map"):
        prepared_labels(replace(case, label=None), tmp_path)


@pytest.mark.parametrize(
    ("affine", "shape", "message"),
    [
        (np.diag([1.0, 1.0, 2.4, 1.0]), (25, 23, 20), r"case toy01: spacing \(Z"),
        (np.diag([-1.0, 1.0, 1.2, 1.0]), (25, 23, 20), "case toy01: orientation"),
        (np.diag([1.0, 1.0, 1.2, 1.0]), (25, 23, 21), r"case toy01: shape \(Z"),
    ],
)
def test_labels_must_lie_on_the_image(case, tmp_path, affine, shape, message):
    label = write_nifti(tmp_path / "label.nii.gz", np.ones(shape, np.uint8), affine)
    with pytest.raises(DataError, match=message):
        prepared_labels(replace(case, label=label), tmp_path / "cache")


@pytest.mark.parametrize("value", [-1, 256])
def test_label_values_fit_a_byte(case, tmp_path, value):
    labels = toy_case(1)[1].astype(np.int16)
    labels[0, 0, 0] = value
    label = write_nifti(tmp_path / "l.nii.gz", labels, nib.load(case.label).affine)
    with pytest.raises(DataError, match=r"case toy01: label values from .* --label-map"):
        prepared_labels(replace(case, label=label), tmp_path / "cache")


def test_labels_are_resampled_onto_the_image(case, tmp_path):
    found = prepared_labels(case, tmp_path, preprocessing=Preprocessing((1.7,)))
    assert np.load(found.labels).shape == np.load(found.image).shape[1:] == (15, 14, 14)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "cut short": truncated,
    "emptied": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no array"),
    "other shape": lambda path: np.save(path, np.zeros((2, 3), np.float32)),
    "other numbers": lambda path: np.save(path, np.load(path).astype(np.complex64)),
    "pickled": lambda path: np.save(path, np.array([{}], object), allow_pickle=True),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["image", "spacing", "labels", "voxels", "shown"])
def test_what_is_damaged_is_prepared_again(case, tmp_path, caplog, name, damage):
    found = prepared_labels(case, tmp_path)
    whole = {path: path.read_bytes() for path in files(tmp_path)}
    (path,) = (path for path in whole if path.name.startswith(name))
    DAMAGES[damage](path)
    assert prepared_labels(case, tmp_path) == found
    assert {path: path.read_bytes() for path in files(tmp_path)} == whole
    if damage != "gone":
        assert "case toy01: prepared again" in caplog.text
    caplog.clear()
    assert prepared_labels(case, tmp_path) == found
    assert caplog.text == ""


def test_labels_of_another_shape_than_the_image_are_prepared_again(case, tmp_path, caplog):
    found = prepared_labels(case, tmp_path)
    whole = found.labels.read_bytes()
    np.save(found.labels, np.zeros((3, 3, 3), np.uint8))
    assert prepared_labels(case, tmp_path) == found
    assert found.labels.read_bytes() == whole
    assert "prepared again" in caplog.text
