"""Pseudo-labels that do not serve, and wishes that nobody would heed: one clear sentence."""

from pathlib import Path

import numpy as np
import pytest
from pseudo_runs import AFFINE, UNLABELED, write_masks
from tiny_data import write_nifti
from toy_cohort import toy_case
from training_cli import ROLES, train, write_split

from llmseg_cli.artifacts.journal import Journal
from llmseg_cli.artifacts.manifest import Manifest
from llmseg_cli.artifacts.split import Split

pytestmark = pytest.mark.usefixtures("quiet_place")

SHIFTED = AFFINE.copy()
SHIFTED[0, 3] = 3.0  # mm


@pytest.fixture
def folder(quiet_place) -> Path:
    return write_masks(quiet_place / "masks")


@pytest.fixture
def refused(toy_data, toy_split, quiet_place):
    """Trains with the given words; it must say *parts*, and leave no run folder."""

    def check(method: str, *words: str | Path, code: int, parts: tuple[str, ...]) -> None:
        run = quiet_place / "run"
        result = train(method, toy_data, run, "--split", toy_split, *words, code=code)
        assert result.stderr.count("Error: ") == 1
        assert "Traceback" not in result.output
        for part in parts:
            assert part in result.stderr
        assert not run.exists()

    return check


# The folder


def test_no_folder(refused, quiet_place):
    parts = ("there is no such folder", "llmseg mine-sam")
    refused("usl", "--pseudo", quiet_place / "nowhere", code=3, parts=parts)


def test_a_folder_without_masks(refused, quiet_place):
    (quiet_place / "masks").mkdir()
    (quiet_place / "masks" / "qc.csv").write_text("case\n")
    refused("usl", "--pseudo", quiet_place / "masks", code=3, parts=("holds no masks",))


def test_names_of_no_case(refused, folder):
    (folder / "toy03.nii.gz").rename(folder / "toy03_seg.nii.gz")
    parts = ("1 masks are of no case of the split (toy03_seg)", "Name each like its case")
    refused("usl", "--pseudo", folder, code=3, parts=parts)


def test_two_masks_of_one_case(refused, folder):
    (folder / "toy03.png").write_bytes(b"another")
    parts = ("toy03.nii.gz and toy03.png", "Remove one")
    refused("usl", "--pseudo", folder, code=3, parts=parts)


@pytest.mark.parametrize("role", ["labeled", "validation", "test"])
def test_masks_of_cases_that_take_none(refused, folder, role):
    write_masks(folder, ROLES[role][:1])
    parts = (f"has masks of 1 {role} cases ({ROLES[role][0]})", "mine them with the same split")
    refused("usl", "--pseudo", folder, code=4, parts=parts)


def test_a_folder_for_another_split(refused, folder, toy_data, quiet_place):
    other = write_split(quiet_place / "other.json", toy_data, labeled=("toy00", "toy01"))
    manifest = Manifest("mine-sam", details={"split": Split.load(other).digest})
    manifest.write(folder)
    refused("usl", "--pseudo", folder, code=4, parts=("was made for another split", "mine-sam"))


def test_a_folder_for_other_images(refused, folder, toy_split):
    images = Split.load(toy_split).images
    journal = Journal(folder, resume=False)
    for case, image in (("toy03", images["toy03"]), ("toy04", images["toy00"])):
        journal.add(case, f"{case}.nii.gz", image=image, made_by="sam")
    parts = ("the mask of toy04 was made from another image",)
    refused("usl", "--pseudo", folder, code=4, parts=parts)


def test_a_folder_for_this_split_and_these_images_serves(folder, toy_data, toy_split, quiet_place):
    split = Split.load(toy_split)
    Manifest("mine-sam", details={"split": split.digest}).write(folder)
    journal = Journal(folder, resume=False)
    for case in UNLABELED:
        journal.add(case, f"{case}.nii.gz", image="an image of before", made_by="sam")
        journal.add(case, f"{case}.nii.gz", image=split.images[case], made_by="sam")
    words = ("--split", toy_split, "--pseudo", folder)
    train("usl", toy_data, quiet_place / "run", *words, "--dry-run")


def test_a_folder_within_the_run_folder(toy_data, toy_split, quiet_place):
    """It would be gone before it is read."""
    masks = write_masks(quiet_place / "run" / "pseudo")
    words = ("--split", toy_split, "--pseudo", masks, "--force")
    result = train("usl", toy_data, quiet_place / "run", *words, code=2)
    assert f"holds --pseudo {masks}, which is read" in result.stderr
    assert len(list(masks.iterdir())) == 2


# The masks


@pytest.mark.parametrize("method", ["usl", "sam-mining"])
@pytest.mark.parametrize(
    ("shape", "affine", "said"),
    [
        ((26, 24, 20), AFFINE, "shape (Z"),
        ((26, 24, 21), np.diag([1.0, 1.0, 2.4, 1.0]), "spacing (Z"),
        ((26, 24, 21), SHIFTED, "origin (X"),
    ],
)
def test_a_mask_on_other_voxels(refused, folder, method, shape, affine, said):
    write_nifti(folder / "toy03.nii.gz", np.ones(shape, np.uint8), affine)
    refused(method, "--pseudo", folder, code=3, parts=("--pseudo", "case toy03", said))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "values [3], expected 0 to 2 (background, class 1, class 2), and 255"),
        (254, "values [254], expected 0 to 2"),
        (256, "label values from 0 to 256"),
        (-1, "label values from -1 to 2"),
        (0.5, "no whole numbers (0.5)"),
    ],
)
def test_values_of_no_class(refused, folder, value, said):
    labels = toy_case(4)[1].astype(np.float32)
    labels[1, 2, 3] = value
    write_nifti(folder / "toy04.nii.gz", labels, AFFINE)
    refused("usl", "--pseudo", folder, code=3, parts=("toy04.nii.gz", said))


def test_a_damaged_mask(refused, folder):
    (folder / "toy04.nii.gz").write_bytes(b"no image at all")
    refused("sam-mining", "--pseudo", folder, code=3, parts=("toy04.nii.gz",))


# Wishes


@pytest.mark.parametrize("method", ["mean-teacher", "cross-pseudo-supervision"])
def test_a_method_that_learns_from_none(refused, folder, method):
    parts = (f"the method '{method}' does not learn from pseudo-labels", "usl")
    refused(method, "--pseudo", folder, code=2, parts=parts)


@pytest.mark.parametrize("method", ["usl", "mean-teacher"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--schedule", "continuous"), "--schedule continuous"),
        (("--every", "3"), "--every 3"),
        (("--min-iou", "0.5"), "--min-iou"),
        (("--sam", "vit_b:x"), "--sam"),
    ],
)
def test_a_method_that_makes_none(refused, method, words, said):
    parts = (said, f"the method '{method}'", "--method sam-mining")
    refused(method, *words, code=2, parts=parts)


def test_self_training_does_not_ask_sam(refused):
    words = ("--every", "2", "--min-iou", "0.5")
    refused("self-training", *words, code=2, parts=("--min-iou", "does not ask Segment Anything"))


@pytest.mark.parametrize("method", ["sam-mining", "self-training"])
@pytest.mark.parametrize("every", ["6", "100"])
def test_a_first_mining_after_the_last_step(refused, method, every):
    parts = (f"--every {every}: the first pseudo-labels", "of 6 steps", "--init RUN")
    refused(method, "--every", every, code=2, parts=parts)


def test_an_unknown_schedule(refused):
    words = ("--every", "2", "--schedule", "continous")
    refused("self-training", *words, code=2, parts=("Did you mean 'continuous'",))


@pytest.mark.parametrize("sam", ["lite-medsam", "vit_b:absent.pth", "transformers:absent/folder"])
def test_weights_of_sam_that_are_not_there(refused, sam):
    words = ("--every", "2", "--sam", sam, "--offline")
    refused("sam-mining", *words, code=7, parts=())


def test_a_value_that_no_rule_allows(refused):
    words = ("--every", "2", "--max-area-ratio", "0.5")
    refused("sam-mining", *words, code=2, parts=("max area ratio 0.5",))


@pytest.mark.parametrize("option", ["voxel_confidence", "mask_confidence"])
def test_limits_where_no_mask_is_made_that_they_could_drop(refused, folder, option):
    words = ("--pseudo", folder, "--method-option", f"{option}=0.9")
    parts = (f"--method-option {option}=0.9: the masks of --pseudo", "--schedule continuous")
    refused("self-training", *words, code=2, parts=parts)


def test_how_to_mine_where_nothing_is_mined(refused, folder):
    words = ("--pseudo", folder, "--min-iou", "0.9")
    parts = ("--min-iou: the masks of --pseudo", "--schedule continuous")
    refused("sam-mining", *words, code=2, parts=parts)
