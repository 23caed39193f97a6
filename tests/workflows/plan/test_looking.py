"""The facts of data sets of several kinds, against arrays that the test made."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from planned import CPU
from tiny_data import write_nifti
from training_cli import write_split

from llmseg_cli.artifacts.split import Split
from llmseg_cli.data.cases import find_cases
from llmseg_cli.errors import DataError
from llmseg_cli.planning.recommended import recommend
from llmseg_cli.workflows.plan import looking
from llmseg_cli.workflows.plan.looking import look


def box(shape, *corners) -> np.ndarray:
    """A label map with class 1, 2, ... in the boxes `(from, to)`."""
    labels = np.zeros(shape, np.uint8)
    for value, (start, stop) in enumerate(corners, start=1):
        labels[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = value
    return labels


def noise(shape, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(100, 10, shape).astype(np.float32)


def write_scan(root: Path, name: str, labels: np.ndarray | None, shape=(30, 24, 20), mm=1.0):
    affine = np.diag([mm, mm, 2 * mm, 1.0])
    write_nifti(root / "images" / f"{name}.nii.gz", noise(shape, len(name)), affine)
    if labels is not None:
        write_nifti(root / "labels" / f"{name}.nii.gz", labels, affine)


def test_scans_and_label_maps(tmp_path):
    shape = (30, 24, 20)
    write_scan(tmp_path, "a", box(shape, ((2, 3, 4), (12, 8, 9)), ((20, 0, 0), (22, 4, 2))))
    write_scan(tmp_path, "b", box(shape, ((0, 0, 0), (20, 15, 11))))
    for name in ("c", "d", "e"):
        write_scan(tmp_path, name, None)
    found = look(find_cases(tmp_path), label_map={})
    assert found.sizes.cases == 5
    assert found.sizes.shape == shape
    assert found.sizes.spacing == (1.0, 1.0, 2.0)
    assert found.sizes.unit == "mm"
    assert found.sizes.is_even
    assert found.channels == 1
    assert found.classes == {1: "class 1", 2: "class 2"}
    assert found.labeled == 2
    assert found.extents == {1: (15.0, 10.0, 16.0), 2: (2.0, 4.0, 4.0)}  # medians, in mm
    assert found.telling == ("a", "b")
    assert found.silent == ("c", "d")
    assert found.low == pytest.approx(100 - 2.33 * 10, abs=1)
    assert found.high == pytest.approx(100 + 2.33 * 10, abs=1)
    low, high = found.window
    assert 65 < low < 80 < 120 < high < 135


def test_changed_and_unknown_values(tmp_path):
    shape = (30, 24, 20)
    labels = box(shape, ((2, 3, 4), (12, 8, 9))) * 255
    labels[20:22] = 50
    write_scan(tmp_path, "a", labels)
    write_scan(tmp_path, "b", None)
    found = look(find_cases(tmp_path), label_map={255: 1}, ignore_label=50)
    assert found.classes == {1: "class 1"}
    assert found.extents == {1: (10.0, 5.0, 10.0)}


def test_a_class_of_one_scan_is_looked_for_where_it_is_declared(tmp_path, monkeypatch):
    monkeypatch.setattr(looking, "SAMPLED_CASES", 2)
    shape = (30, 24, 20)
    common, rare = ((0, 0, 0), (9, 9, 9)), ((10, 10, 10), (12, 12, 12))
    for name in "abcdef":
        write_scan(tmp_path, name, box(shape, common, *[rare] * (name == "d")))
    plain = look(find_cases(tmp_path), label_map={})
    assert set(plain.classes) == {1}  # nobody said that there are two
    (tmp_path / "dataset.json").write_text(
        '{"labels": {"background": 0, "left lobe": 1, "nodule": 2}, "training": ['
        + ", ".join(
            f'{{"image": "./images/{n}.nii.gz", "label": "./labels/{n}.nii.gz"}}' for n in "abcdef"
        )
        + "]}"
    )
    found = look(find_cases(tmp_path), label_map={})
    assert found.classes == {1: "left lobe", 2: "nodule"}
    assert "d" in found.telling
    assert found.extents[2] == (2.0, 2.0, 4.0)
    assert recommend(found, CPU).choices["augment"].value == "no-flips"


def split_of(path: Path, data: Path, **roles) -> Split:
    empty = dict.fromkeys(("labeled", "unlabeled", "validation", "test"), ())
    return Split.load(write_split(path, data, **(empty | roles)))


def test_a_split_says_whose_label_maps_are_opened(tmp_path):
    data, shape = tmp_path / "data", (30, 24, 20)
    for name in "abcdef":
        write_scan(data, name, box(shape, ((0, 0, 0), (9, 9, 9))))
    split = split_of(
        tmp_path / "s.json",
        data,
        labeled=("b",),
        unlabeled=("c", "d", "e"),
        validation=("a",),
        test=("f",),
    )
    for name in "acdef":
        (data / "labels" / f"{name}.nii.gz").write_bytes(b"nothing that anybody reads")
    (data / "images" / "f.nii.gz").write_bytes(b"locked")
    found = look(find_cases(data), label_map={}, split=split)
    assert found.sizes.cases == 5
    assert found.labeled == 1
    assert found.telling == ("b",)
    assert found.silent == ("c", "d")


def test_validation_scans_are_not_unlabeled_ones(tmp_path):
    data, shape = tmp_path / "data", (30, 24, 20)
    for name in "abc":
        write_scan(data, name, box(shape, ((0, 0, 0), (9, 9, 9))))
    split = split_of(tmp_path / "s.json", data, labeled=("a", "b"), validation=("c",))
    found = look(find_cases(data), label_map={}, split=split)
    assert found.silent == ()
    assert recommend(found, CPU).method is None


def test_names_of_classes_that_the_split_brings(tmp_path):
    data = tmp_path / "data"
    for name in "ab":
        write_scan(data, name, box((30, 24, 20), ((0, 0, 0), (9, 9, 9))))
    split = split_of(tmp_path / "s.json", data, labeled=("a",), unlabeled=("b",))
    named = Split(**{**vars(split), "classes": {"0": "background", "1": "right kidney"}})
    found = look(find_cases(data), label_map={}, split=named)
    assert found.classes == {1: "right kidney"}


def test_one_scan_with_a_label_map(tmp_path):
    write_scan(tmp_path, "a", box((30, 24, 20), ((0, 0, 0), (9, 9, 9))))
    found = look(find_cases(tmp_path), label_map={})
    assert (found.labeled, found.telling, found.silent) == (1, ("a",), ())
    assert recommend(found, CPU).method is None


def test_label_maps_of_background_alone(tmp_path):
    write_scan(tmp_path, "a", np.zeros((30, 24, 20), np.uint8))
    found = look(find_cases(tmp_path), label_map={})
    assert found.classes == {}
    assert found.extents == {}
    assert found.window is None
    assert recommend(found, CPU).geometry.sides == (32, 32, 16)


def test_no_label_map_at_all(tmp_path):
    write_scan(tmp_path, "a", None)
    found = look(find_cases(tmp_path), label_map={})
    assert found.labeled == 0
    assert found.telling == ()


def test_pictures_of_very_different_sizes(tmp_path):
    random = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for index, (width, height) in enumerate([(60, 40), (300, 200), (100, 96), (640, 480)]):
        pixels = random.integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"p{index}.png")
        if index < 2:
            mask = np.zeros((height, width), np.uint8)
            mask[5:25, 10:50] = 255
            Image.fromarray(mask).save(tmp_path / "labels" / f"p{index}.png")
    found = look(find_cases(tmp_path), label_map={255: 1})
    assert found.sizes.shape == (200, 148, 1)  # medians of an even number
    assert found.sizes.unit == "px"
    assert found.channels == 3
    assert found.extents == {1: (40.0, 20.0, 1.0)}
    chosen = recommend(found, CPU)
    assert chosen.geometry.sides == (192, 144)
    assert chosen.choices["augment"].value == "turned"


def test_hdf5_without_spacing(tmp_path):
    for index in range(2):
        with h5py.File(tmp_path / f"c{index}.h5", "w") as file:
            file["image"] = noise((10, 64, 48), index)
            file["label"] = box((10, 64, 48), ((2, 10, 10), (8, 40, 30)))
    found = look(find_cases(tmp_path), label_map={})
    assert found.sizes.unit == "voxel"
    assert sorted(found.sizes.shape) == [10, 48, 64]
    assert sorted(found.extents[1]) == [6, 20, 30]
    assert recommend(found, CPU).geometry.millimeters == (0.0,)


def test_several_channels(tmp_path):
    for name in "ab":
        for channel in range(2):
            path = tmp_path / "imagesTr" / f"{name}_{channel:04d}.nii.gz"
            write_nifti(path, noise((20, 20, 20), channel))
        write_nifti(tmp_path / "labelsTr" / f"{name}.nii.gz", box((20,) * 3, ((1,) * 3, (9,) * 3)))
    (tmp_path / "dataset.json").write_text(
        '{"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "edema": 1}, '
        '"numTraining": 2, "file_ending": ".nii.gz"}'
    )
    found = look(find_cases(tmp_path), label_map={})
    assert found.channels == 2
    assert found.classes == {1: "edema"}


def test_test_scans_of_the_data_set_are_left_alone(tmp_path):
    for name in "ab":
        path = tmp_path / "imagesTr" / f"{name}_0000.nii.gz"
        write_nifti(path, noise((20, 20, 20)))
        write_nifti(tmp_path / "labelsTr" / f"{name}.nii.gz", box((20,) * 3, ((1,) * 3, (9,) * 3)))
    locked = tmp_path / "imagesTs" / "z_0000.nii.gz"
    write_nifti(locked, noise((90, 90, 90)))
    (tmp_path / "dataset.json").write_text(
        '{"channel_names": {"0": "T1"}, "labels": {"background": 0, "edema": 1}, '
        '"numTraining": 2, "file_ending": ".nii.gz"}'
    )
    dataset = find_cases(tmp_path)
    assert [case.id for case in dataset.cases if case.is_test] == ["z"]
    found = look(dataset, label_map={})
    assert found.sizes.cases == 2
    assert found.silent == ()
    mixed = split_of(tmp_path / "s.json", tmp_path, labeled=("a", "b"), unlabeled=("z",))
    assert look(dataset, label_map={}, split=mixed).silent == ("z",)


def test_only_locked_scans(tmp_path):
    write_scan(tmp_path, "a", None)
    split = split_of(tmp_path / "s.json", tmp_path, test=("a",))
    with pytest.raises(DataError, match="no scans"):
        look(find_cases(tmp_path), label_map={}, split=split)
