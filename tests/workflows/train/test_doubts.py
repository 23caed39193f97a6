"""What a person would stop at: patches that do not suit the scans, texts of other classes."""

from types import SimpleNamespace

import numpy as np
import pytest
from training_cli import train

from llmseg_cli.workflows.train.doubts import doubts, median_sizes, patch_doubt, text_doubt
from llmseg_cli.workflows.train.validation import Absences


@pytest.mark.parametrize(
    ("patch", "sizes", "said"),
    [
        ((64, 64, 48), (36, 50, 35), "larger than the scans along X and Y and Z (median 36 x 50"),
        ((64, 64, 48), (36, 50, 35), "Choose --patch 32,48,32."),
        ((64, 64, 48), (90, 50, 80), "along Y (median 90 x 50 x 80 voxels"),
        ((64, 64, 48), (90, 50, 80), "Choose --patch 64,48,48."),
        ((64, 64, 48), (90, 80, 10), "Choose --patch 64,64,16."),
        ((64, 64, 48), (256, 200, 1), "is 3D, and the scans have one slice (256 x 200 x 1 voxels)"),
        ((64, 64, 48), (256, 200, 1), "--patch 64,64."),
        ((512, 64), (256, 200, 1), "Choose --patch 256,64."),
    ],
)
def test_a_patch_that_does_not_suit(patch, sizes, said):
    assert said in patch_doubt(patch, sizes)


@pytest.mark.parametrize(
    ("patch", "sizes"),
    [
        ((64, 64, 48), (64, 64, 48)),
        ((64, 64, 48), (200, 150, 88)),
        ((64, 64, 16), (90, 80, 9)),  # no patch is smaller
        ((256, 192), (256, 200, 1)),
    ],
)
def test_a_patch_that_suits(patch, sizes):
    assert patch_doubt(patch, sizes) is None


def test_what_is_chosen_suits():
    random = np.random.default_rng(0)
    for _ in range(200):
        sizes = tuple(random.integers(2, 120, 3).tolist())
        said = patch_doubt((64, 64, 48), sizes)
        if said is not None:
            chosen = said.rpartition("--patch ")[2].rstrip(".")
            assert patch_doubt(tuple(map(int, chosen.split(","))), sizes) is None


def test_sizes_are_medians(tmp_path):
    cases = []
    for index, shape in enumerate([(1, 4, 9, 2), (1, 6, 7, 2), (1, 5, 8, 90)]):
        np.save(tmp_path / f"{index}.npy", np.zeros(shape, np.float32))
        cases.append(SimpleNamespace(image=tmp_path / f"{index}.npy"))
    assert median_sizes(cases) == (5, 8, 2)


@pytest.mark.parametrize(
    ("texts", "labels", "said"),
    [
        (("a", "b", "c"), ("x", "y"), "describe 3 classes, the labels have 2: x, y."),
        (("left atrium",), ("liver",), "'left atrium' guides to 'liver'"),
        (("anterior", "posterior"), ("Posterior", "Anterior"), "'anterior' guides to 'Posterior'"),
        (("left atrium",), ("Atrium",), None),
        (("left_lung", "right lung"), ("left lung", "right_lung"), None),
        (("left atrium",), ("class 1",), None),
        (("left atrium",), ("1",), None),
        (("brain",), ("grey", "white"), None),  # one text for all
    ],
)
def test_texts(texts, labels, said):
    found = text_doubt(texts, labels)
    assert (found is None) if said is None else said in found


def test_a_training_says_it_and_run_json_keeps_it(toy_data, toy_split, quiet_place, caplog):
    import json

    run, words = quiet_place / "run", ("--split", toy_split, "--patch", "16,16,32")
    train("supervised", toy_data, run, *words, steps=1)
    (said,) = json.loads((run / "run.json").read_text())["warnings"]
    assert said == (
        "--patch 16,16,32 is larger than the scans along Z (median 26 x 22 x 20 voxels as they are "
        "learned from), and the network learns from padding. Choose --patch 16,16,16."
    )
    assert said in caplog.text


CLASSES = ("background", "kidney", "tumor", "cyst")


@pytest.mark.parametrize(
    ("predicted", "wanted", "said"),
    [
        ([0, 1], [0, 1, 2], "Class tumor: predicted on no validation case."),
        ([1], [1, 2, 3], "Classes tumor, cyst: predicted on no validation case."),
        ([0, 1, 2], [0, 1, 2], None),
        ([0, 1], [0, 1], None),  # the cases do not have the others
        ([0], [0, 1, 2], None),  # nothing at all: the Dice says it
    ],
)
def test_a_class_that_is_never_predicted(predicted, wanted, said):
    absences = Absences()
    absences.add(np.array([[predicted[0]]], np.uint8), np.array([[0]], np.uint8))
    absences.add(np.array(predicted, np.uint8), np.array(wanted, np.uint8))
    found = absences.warnings(CLASSES)
    assert found == [] if said is None else found[0].startswith(said)


@pytest.mark.parametrize(
    ("depth", "said"), [(1, ["--slices 3: the scans have one slice"]), (4, [])]
)
def test_neighbors_that_are_none(tmp_path, depth, said):
    np.save(tmp_path / "image.npy", np.zeros((1, 9, 9, depth), np.float32))
    data = SimpleNamespace(labeled=(SimpleNamespace(image=tmp_path / "image.npy"),), unlabeled=())
    found = doubts((), data, None, slices=3)
    assert [sentence.partition(",")[0] for sentence in found] == said


@pytest.mark.parametrize(
    ("slices", "augment", "is_doubted"),
    [(3, "strong", True), (3, "strong-mr", True), (3, "standard", False), (1, "strong", False)],
)
def test_neighbors_are_no_other_sequences(tmp_path, slices, augment, is_doubted):
    np.save(tmp_path / "image.npy", np.zeros((1, 9, 9, 4), np.float32))
    data = SimpleNamespace(labeled=(SimpleNamespace(image=tmp_path / "image.npy"),), unlabeled=())
    found = doubts((), data, None, slices=slices, augment=augment)
    assert bool(found) == is_doubted
    if is_doubted:
        assert f"--augment {augment}: of --slices 3 each is changed by itself" in found[0]


def test_a_side_is_the_multiple_nearest_to_the_scans_that_the_network_takes():
    assert patch_doubt((224, 192), (216, 182, 1), stride=32) is None
    assert "Choose --patch 224,176." in patch_doubt((224, 192), (216, 182, 1))
    assert "Choose --patch 224,192." in patch_doubt((224, 256), (216, 182, 1), stride=32)
